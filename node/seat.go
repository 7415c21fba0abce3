package node

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"github.com/confman/confman/fsm"
)

// Seat is what a node with an empty data directory needs to become a member that was added: which one,
// of which cluster, and where the others are. It is no secret, and good for one directory.
type Seat struct {
	Cluster fsm.ClusterID
	RaftID  uint64
	Name    string
	// Membership is as it was when the seat was given out; each of its members has an address.
	Membership Membership
}

// Membership is who takes part, and how, for Raft.
type Membership struct {
	Members    []fsm.Member
	Conf       fsm.ConfState
	LastRaftID uint64
}

// seatPrefix begins the text of a seat; the digit is its version.
const seatPrefix = "confman-seat-1."

// maxSeatBytes bounds the text of a seat.
const maxSeatBytes = 16 << 10

// seatBody is a seat as JSON.
type seatBody struct {
	Cluster    string         `json:"cluster"`
	RaftID     uint64         `json:"raft_id"`
	Name       string         `json:"name"`
	Membership membershipBody `json:"membership"`
}

// String is the seat as one word of text, which ParseSeat reads.
func (s *Seat) String() string {
	body, err := json.Marshal(seatBody{Cluster: hex.EncodeToString(s.Cluster[:]), RaftID: s.RaftID, Name: s.Name, Membership: membershipToBody(&s.Membership)})
	must(err == nil, "a seat does not encode: %v", err)
	return seatText(body)
}

func seatText(body []byte) string {
	return fmt.Sprintf("%s%s.%08x", seatPrefix, base64.RawURLEncoding.EncodeToString(body), crc32.Checksum(body, identityTable))
}

// ParseSeat reads what String wrote. Spaces and line breaks around and in it, as of a letter, are no matter.
func ParseSeat(text string) (*Seat, error) {
	text = strings.Join(strings.Fields(text), "")
	bad := func(why string) (*Seat, error) {
		return nil, fmt.Errorf("node: this is no seat (%s): it is the word that confman cluster add or replace printed, which begins with %s", why, seatPrefix)
	}
	rest, ok := strings.CutPrefix(text, seatPrefix)
	if !ok || len(text) > maxSeatBytes {
		return bad("it begins otherwise, or is too long")
	}
	encoded, sum, ok := strings.Cut(rest, ".")
	body, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil || sum != fmt.Sprintf("%08x", crc32.Checksum(body, identityTable)) {
		return bad("part of it is missing")
	}
	var in seatBody
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return bad(err.Error())
	}
	s := &Seat{RaftID: in.RaftID, Name: in.Name}
	if err := decodeHex(s.Cluster[:], in.Cluster); err != nil {
		return bad("its cluster: " + err.Error())
	}
	m, err := in.Membership.membership()
	if err != nil {
		return bad(err.Error())
	}
	if !slices.ContainsFunc(m.Members, func(x fsm.Member) bool { return x.RaftID == s.RaftID && x.Name == s.Name }) || len(m.Conf.Voters) == 0 {
		return bad("it is of no member, or of a cluster without voters")
	}
	s.Membership = *m
	return s, nil
}

// membershipBody is a Membership as JSON, in seats and identities.
type membershipBody struct {
	Members        []memberBody `json:"members"`
	Voters         []uint64     `json:"voters"`
	Learners       []uint64     `json:"learners,omitempty"`
	VotersOutgoing []uint64     `json:"voters_outgoing,omitempty"`
	LearnersNext   []uint64     `json:"learners_next,omitempty"`
	LastRaftID     uint64       `json:"last_raft_id"`
}

type memberBody struct {
	RaftID   uint64 `json:"raft_id"`
	Name     string `json:"name"`
	Address  string `json:"address,omitempty"`
	APIPort  uint16 `json:"api_port,omitempty"`
	RaftPort uint16 `json:"raft_port,omitempty"`
	Want     uint8  `json:"want"`
	Replaces uint64 `json:"replaces,omitempty"`
	Life     string `json:"life,omitempty"`
	Version  uint8  `json:"version"`
}

func membershipToBody(m *Membership) membershipBody {
	b := membershipBody{
		Voters: m.Conf.Voters, Learners: m.Conf.Learners, VotersOutgoing: m.Conf.VotersOutgoing, LearnersNext: m.Conf.LearnersNext, LastRaftID: m.LastRaftID,
	}
	for i := range m.Members {
		x := &m.Members[i]
		out := memberBody{
			RaftID: x.RaftID, Name: x.Name, Address: x.Address, APIPort: x.APIPort, RaftPort: x.RaftPort,
			Want: uint8(x.Want), Replaces: x.Replaces, Version: x.Version,
		}
		if x.Life != (fsm.Life{}) {
			out.Life = hex.EncodeToString(x.Life[:])
		}
		b.Members = append(b.Members, out)
	}
	return b
}

func (b *membershipBody) membership() (*Membership, error) {
	m := &Membership{
		Conf:       fsm.ConfState{Voters: b.Voters, Learners: b.Learners, VotersOutgoing: b.VotersOutgoing, LearnersNext: b.LearnersNext},
		LastRaftID: b.LastRaftID,
	}
	for _, x := range b.Members {
		in := fsm.Member{
			RaftID: x.RaftID, Name: x.Name, MemberSpec: fsm.MemberSpec{Address: x.Address, APIPort: x.APIPort, RaftPort: x.RaftPort},
			Want: fsm.MemberRole(x.Want), Replaces: x.Replaces, Version: x.Version,
		}
		if x.Life != "" {
			if err := decodeHex(in.Life[:], x.Life); err != nil {
				return nil, fmt.Errorf("the life of member %s: %w", x.Name, err)
			}
		}
		m.Members = append(m.Members, in)
	}
	return m, nil
}
