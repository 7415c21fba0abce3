package fsm

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Member is one node of the cluster as the replicated state knows it. While one member replaces
// another, the two have one name.
type Member struct {
	RaftID uint64
	Name   string
	MemberSpec
	// Want is what the member is to be. What it is for Raft says ConfState, which the leader takes
	// there step by step: see State.NextConf.
	Want MemberRole
	// Replaces is the raft id of the member that goes in the moment when this one becomes a voter; 0: none.
	Replaces uint64
	// Life is of the data directory that holds the seat: it was drawn when that was empty. Zero: nobody
	// came for it yet. Another directory never gets the same seat, since what the first one has voted
	// would be forgotten. Members from formation on have the cluster's id here.
	Life Life
	// Version is the newest command version that the member's program knows, as it said last.
	Version uint8
}

// Life is 128 random bits that stand for one data directory.
type Life [16]byte

// MemberSpec is where a member listens. Without an Address, which is a host name or an IP address,
// the other nodes have all of it from their configuration.
type MemberSpec struct {
	Address           string
	APIPort, RaftPort uint16
}

// MemberRole is what a member is to be.
type MemberRole uint8

const (
	// Voter takes part in elections and quorums.
	Voter MemberRole = iota + 1
	// Learner has the state, and no voice.
	Learner
	// Gone is to leave, and then forgotten.
	Gone
)

var memberRoleNames = [...]string{Voter: "voter", Learner: "learner", Gone: "gone"}

// String returns the role as the API spells it.
func (r MemberRole) String() string {
	if int(r) < len(memberRoleNames) && r > 0 {
		return memberRoleNames[r]
	}
	return fmt.Sprintf("member role %d", uint8(r))
}

// Gap says that no revision after From and before To ever was: a restore skipped them.
type Gap struct{ From, To Revision }

// ConfState is the membership Raft runs with (the fields of raftpb.ConfState). Its slices ascend,
// are shared and never changed.
type ConfState struct {
	Voters, Learners, VotersOutgoing, LearnersNext []uint64
	AutoLeave                                      bool
}

// Joint tells whether two sets of voters must agree.
func (c *ConfState) Joint() bool { return len(c.VotersOutgoing) > 0 }

// Has tells whether a member is in the configuration, in whatever part.
func (c *ConfState) Has(raftID uint64) bool {
	return c.Votes(raftID) || slices.Contains(c.Learners, raftID) || slices.Contains(c.LearnersNext, raftID)
}

// Votes tells whether a member's vote counts, in either set.
func (c *ConfState) Votes(raftID uint64) bool {
	return slices.Contains(c.Voters, raftID) || slices.Contains(c.VotersOutgoing, raftID)
}

// appendMembership appends the part of the state record that says who is a member.
func (l *logical) appendMembership(b []byte) []byte {
	b = append(b, l.version)
	b = binary.LittleEndian.AppendUint64(b, l.lastRaftID)
	b = binary.AppendUvarint(b, uint64(len(l.members)))
	for i := range l.members {
		m := &l.members[i]
		b = binary.LittleEndian.AppendUint64(b, m.RaftID)
		b = appendText(b, m.Name)
		b = m.append(b)
		b = append(b, byte(m.Want))
		b = binary.LittleEndian.AppendUint64(b, m.Replaces)
		b = append(b, m.Life[:]...)
		b = append(b, m.Version)
	}
	for _, ids := range [...][]uint64{l.conf.Voters, l.conf.Learners, l.conf.VotersOutgoing, l.conf.LearnersNext} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	b = append(b, oneIf(l.conf.AutoLeave))
	b = binary.AppendUvarint(b, uint64(len(l.gaps)))
	for _, g := range l.gaps {
		b = binary.LittleEndian.AppendUint64(b, uint64(g.From))
		b = binary.LittleEndian.AppendUint64(b, uint64(g.To))
	}
	return b
}

// membership reads what appendMembership wrote.
func (d *decoder) membership(l *logical) {
	l.version = d.byte()
	l.lastRaftID = d.uint64()
	for range d.count(MaxMembers) {
		m := Member{RaftID: d.uint64(), Name: d.text(), MemberSpec: d.memberSpec(), Want: MemberRole(d.byte()), Replaces: d.uint64()}
		copy(m.Life[:], d.fixed(len(m.Life)))
		m.Version = d.byte()
		l.members = append(l.members, m)
	}
	for _, ids := range [...]*[]uint64{&l.conf.Voters, &l.conf.Learners, &l.conf.VotersOutgoing, &l.conf.LearnersNext} {
		for range d.count(MaxMembers) {
			*ids = append(*ids, d.uint64())
		}
	}
	l.conf.AutoLeave = d.bool()
	for range d.count(MaxGaps) {
		l.gaps = append(l.gaps, Gap{From: Revision(d.uint64()), To: Revision(d.uint64())})
	}
}

// RaftAddress is where the member listens for the others, host:port; "" if nodes have that from their configuration.
func (s *MemberSpec) RaftAddress() string {
	if s.Address == "" {
		return ""
	}
	return net.JoinHostPort(s.Address, strconv.Itoa(int(s.RaftPort)))
}

func (s *MemberSpec) append(b []byte) []byte {
	b = appendText(b, s.Address)
	b = binary.LittleEndian.AppendUint16(b, s.APIPort)
	return binary.LittleEndian.AppendUint16(b, s.RaftPort)
}

func (d *decoder) memberSpec() (s MemberSpec) {
	s.Address = d.text()
	for _, port := range [...]*uint16{&s.APIPort, &s.RaftPort} {
		if b := d.fixed(2); b != nil {
			*port = binary.LittleEndian.Uint16(b)
		}
	}
	return s
}

// Encode returns s as Op.Value of AddMember and ReplaceMember takes it.
func (s *MemberSpec) Encode() []byte { return s.append(nil) }

// DecodeMemberSpec reads what Encode wrote. Errors: *LimitError, or a text that says what is wrong.
func DecodeMemberSpec(b []byte) (MemberSpec, error) {
	d := decoder{b: b}
	s := d.memberSpec()
	if d.err == "" && len(d.b) > 0 {
		d.fail(fmt.Sprintf("%d bytes follow it", len(d.b)))
	}
	if d.err != "" {
		return MemberSpec{}, fmt.Errorf("fsm: where a member listens: %s", d.err)
	}
	return s, s.Validate()
}

// Validate checks s against the limits.
func (s *MemberSpec) Validate() error {
	if err := checkText("member's address", s.Address, MaxMemberAddressBytes); err != nil {
		return err
	}
	if none := s.Address == ""; none != (s.APIPort == 0) || none != (s.RaftPort == 0) {
		return fmt.Errorf("fsm: a member's address and its two ports go together: %q, %d, %d", s.Address, s.APIPort, s.RaftPort)
	}
	return nil
}

// ValidateMemberName checks the name of a member: letters, digits, '.', '-' and '_', and no more than a DNS name has.
func ValidateMemberName(name string) error {
	if name == "" || len(name) > MaxMemberNameBytes {
		return fmt.Errorf("fsm: a member's name has 1 to %d bytes, not %d", MaxMemberNameBytes, len(name))
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return fmt.Errorf("fsm: member %q: its name may have letters, digits, '.', '-' and '_' only", name)
		}
	}
	return nil
}

// memberNames are those that an operation's key lists.
func memberNames(key string) []string { return strings.Split(key, ",") }
