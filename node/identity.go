package node

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// Identity is who a data directory belongs to. It is durable before the node first votes.
type Identity struct {
	Cluster fsm.ClusterID
	Name    string
	RaftID  uint64
	// Members are those the cluster was formed with, if the node was one of them: their raft ids and names.
	Members []fsm.Member
	// Version is of commands, as of the formation; 0 if the node was not there.
	Version uint8
	// Life is of this directory, if the node came for a seat; zero: it is a member since the formation.
	Life fsm.Life
	// Current is who took part when that last changed here; nil: nobody but Members ever did. A node whose
	// store is lost must not take for a quorum what once was one.
	Current *Membership
	// Formed: all members had made Cluster durable; from here on the node may vote.
	Formed bool
	// Incarnation counts the starts of this node.
	Incarnation uint64
	// Restored is how the directory began, if that was with a backup; nil: it began empty. It is
	// never changed in place.
	Restored *Restored
}

// Restored is what the members of a restored cluster know each other by.
type Restored struct {
	// State is a digest of the state that the node began with: members have the same.
	State [32]byte
	// Life was drawn when the directory was made, Lives are those of all members when the cluster
	// formed, by raft id - 1. A directory that is restored again has forgotten its votes, and is not
	// the same member.
	Life  [16]byte
	Lives [][16]byte
}

// ErrIdentityDamaged means that the identity file is not what was written. What
// the node did before cannot be known then, so it must not take part again.
var ErrIdentityDamaged = errors.New("identity is damaged: this node may have voted before and must be replaced by a new member")

const (
	identityFile = "identity"
	identityTemp = "identity.new"

	// identityMagic and identityVersion begin the file.
	identityMagic   = "confman-identity "
	identityVersion = "1"

	// maxIdentityBytes bounds what is read of a file that calls itself an identity.
	maxIdentityBytes = 1 << 20
)

// identityTable is CRC-32C's.
var identityTable = crc32.MakeTable(crc32.Castagnoli)

// identityBody is an Identity as it stands in the file: one line of text, for
// people too, and one line of JSON, whose bytes the first line's checksum covers:
//
//	confman-identity 1 crc32c=0a1b2c3d
//	{"cluster":"...32 hex digits...","name":"node1",...}
type identityBody struct {
	Cluster     string           `json:"cluster"`
	Name        string           `json:"name"`
	RaftID      uint64           `json:"raft_id"`
	Members     []identityMember `json:"members"`
	Formed      bool             `json:"formed"`
	Incarnation uint64           `json:"incarnation"`
	Version     uint8            `json:"version,omitempty"`
	Life        string           `json:"life,omitempty"`
	Current     *membershipBody  `json:"current,omitempty"`

	Restored *identityRestored `json:"restored,omitempty"`
}

type identityRestored struct {
	State string   `json:"state"`
	Life  string   `json:"life"`
	Lives []string `json:"lives,omitempty"`
}

type identityMember struct {
	RaftID uint64 `json:"raft_id"`
	Name   string `json:"name"`
}

// LoadIdentity reads the identity from a data directory. fs.ErrNotExist: the
// directory has none. ErrIdentityDamaged: it has one that is not what was written.
func LoadIdentity(fsys wal.FS) (Identity, error) {
	f, err := fsys.Open(identityFile)
	if err != nil {
		return Identity{}, fmt.Errorf("node: %s: %w", identityFile, err)
	}
	b, err := readAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return Identity{}, fmt.Errorf("node: %s: %w", identityFile, err)
	}
	id, err := decodeIdentity(b)
	if err != nil {
		return Identity{}, fmt.Errorf("node: %s: %w", identityFile, err)
	}
	return id, nil
}

func readAll(f wal.File) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > maxIdentityBytes {
		return nil, fmt.Errorf("%d bytes: %w", size, ErrIdentityDamaged)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// StoreIdentity replaces the identity, durably: after a crash at any moment the
// directory holds the old one or the new one.
func StoreIdentity(fsys wal.FS, id Identity) error {
	if err := storeIdentity(fsys, encodeIdentity(id)); err != nil {
		return fmt.Errorf("node: storing %s: %w", identityFile, err)
	}
	return nil
}

func storeIdentity(fsys wal.FS, b []byte) error {
	// One may be left of a crash between Create and Rename.
	if err := fsys.Remove(identityTemp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(identityTemp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = fsys.Rename(identityTemp, identityFile); err != nil {
		return err
	}
	return fsys.SyncDir()
}

func encodeIdentity(id Identity) []byte {
	body := identityBody{
		Cluster:     hex.EncodeToString(id.Cluster[:]),
		Name:        id.Name,
		RaftID:      id.RaftID,
		Formed:      id.Formed,
		Incarnation: id.Incarnation,
		Version:     id.Version,
	}
	if id.Life != (fsm.Life{}) {
		body.Life = hex.EncodeToString(id.Life[:])
	}
	if id.Current != nil {
		now := membershipToBody(id.Current)
		body.Current = &now
	}
	for _, m := range id.Members {
		body.Members = append(body.Members, identityMember{RaftID: m.RaftID, Name: m.Name})
	}
	if r := id.Restored; r != nil {
		body.Restored = &identityRestored{State: hex.EncodeToString(r.State[:]), Life: hex.EncodeToString(r.Life[:])}
		for _, life := range r.Lives {
			body.Restored.Lives = append(body.Restored.Lives, hex.EncodeToString(life[:]))
		}
	}
	b, err := json.Marshal(body)
	must(err == nil, "an identity does not encode: %v", err)
	return append(identityHeader(b), b...)
}

func identityHeader(body []byte) []byte {
	return fmt.Appendf(nil, "%s%s crc32c=%08x\n", identityMagic, identityVersion, crc32.Checksum(body, identityTable))
}

// decodeHex reads all of to.
func decodeHex(to []byte, text string) error {
	if len(text) != 2*len(to) { // hex.Decode panics if there is more than that
		return fmt.Errorf("%q has not %d hex digits", text, 2*len(to))
	}
	_, err := hex.Decode(to, []byte(text))
	return err
}

func decodeIdentity(b []byte) (Identity, error) {
	end := bytes.IndexByte(b, '\n') + 1
	header, body := b[:end], b[end:]
	// The header is a function of the body, so equality leaves no byte unchecked.
	if !bytes.Equal(header, identityHeader(body)) {
		return Identity{}, ErrIdentityDamaged
	}
	var in identityBody
	if err := json.Unmarshal(body, &in); err != nil {
		return Identity{}, fmt.Errorf("%w (%w)", ErrIdentityDamaged, err)
	}
	id := Identity{Name: in.Name, RaftID: in.RaftID, Formed: in.Formed, Incarnation: in.Incarnation, Version: in.Version}
	damaged := func(what string, err error) (Identity, error) {
		return Identity{}, fmt.Errorf("%s: %w (%w)", what, ErrIdentityDamaged, err)
	}
	if err := decodeHex(id.Cluster[:], in.Cluster); err != nil {
		return damaged("cluster id", err)
	}
	if r := in.Restored; r != nil {
		id.Restored = &Restored{Lives: make([][16]byte, len(r.Lives))}
		err := errors.Join(decodeHex(id.Restored.State[:], r.State), decodeHex(id.Restored.Life[:], r.Life))
		for i, life := range r.Lives {
			err = errors.Join(err, decodeHex(id.Restored.Lives[i][:], life))
		}
		if err != nil {
			return damaged("what it began with", err)
		}
	}
	if in.Life != "" {
		if err := decodeHex(id.Life[:], in.Life); err != nil {
			return damaged("life", err)
		}
	}
	if in.Current != nil {
		now, err := in.Current.membership()
		if err != nil {
			return damaged("members", err)
		}
		id.Current = now
	}
	for _, m := range in.Members {
		id.Members = append(id.Members, fsm.Member{RaftID: m.RaftID, Name: m.Name})
	}
	return id, nil
}

// membership is who takes part, as far as it is known without the store.
func (id *Identity) membership() Membership {
	if id.Current != nil {
		return *id.Current
	}
	m := Membership{LastRaftID: uint64(len(id.Members))}
	for _, x := range id.Members {
		m.Members = append(m.Members, fsm.Member{RaftID: x.RaftID, Name: x.Name, Want: fsm.Voter, Life: fsm.Life(id.Cluster), Version: max(id.Version, fsm.MinVersion)})
		m.Conf.Voters = append(m.Conf.Voters, x.RaftID)
	}
	return m
}

// WithoutStore is what a node knows of the state when it has no store.
func (id *Identity) WithoutStore() fsm.State {
	m := id.membership()
	return fsm.State{Cluster: id.Cluster, Members: m.Members, Conf: m.Conf, LastRaftID: m.LastRaftID}
}

// Take sets Current to the membership of a state that the store holds; it reports whether that is new,
// and must be made durable before the core hears of it.
func (id *Identity) Take(s *fsm.State) bool {
	now := id.membership()
	members := now.placed(s.Members)
	if slices.Equal(now.Members, members) && equalConf(&now.Conf, &s.Conf) && now.LastRaftID == s.LastRaftID {
		return false
	}
	id.Current = &Membership{Members: members, Conf: s.Conf, LastRaftID: s.LastRaftID}
	return true
}

// placed are members with where they listen, as far as m knows that of those of whom the state does not say it: a node
// that joined has it from its seat.
func (m *Membership) placed(members []fsm.Member) []fsm.Member {
	members = slices.Clone(members)
	for i := range members {
		if x := &members[i]; x.Address == "" {
			x.MemberSpec = m.place(x.Name)
		}
	}
	return members
}

// place is where the member called name listens; zero if m does not know.
func (m *Membership) place(name string) fsm.MemberSpec {
	for i := range m.Members {
		if x := &m.Members[i]; x.Name == name && x.Address != "" {
			return x.MemberSpec
		}
	}
	return fsm.MemberSpec{}
}

func equalConf(a, b *fsm.ConfState) bool {
	return slices.Equal(a.Voters, b.Voters) && slices.Equal(a.Learners, b.Learners) &&
		slices.Equal(a.VotersOutgoing, b.VotersOutgoing) && slices.Equal(a.LearnersNext, b.LearnersNext)
}
