package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// State is a consistent summary of the store. Its slices are shared and must not
// be changed.
type State struct {
	Cluster  ClusterID
	Applied  Index
	Term     uint64 // of the entry at Applied
	Revision Revision
	Hash     [32]byte // of the whole logical state: equal on all replicas at equal Applied
	Chain    [32]byte // head of the change log's hash chain
	// Time is the replicated time: how long the cluster has had a leader that measured it.
	Time time.Duration
	// Floor is the oldest revision that can be read; the change log begins after it. What only
	// older ones show is compacted. FloorAt is when its change was accepted (Change.At), FloorChain
	// the hash chain at it.
	Floor      Revision
	FloorAt    int64
	FloorChain [32]byte
	// Answers is how many idempotency keys are remembered.
	Answers uint64
	// Denials is how many rows there are of what was refused, at most MaxDenialRows.
	Denials uint64
	// Version is of the commands that the cluster uses; LastRaftID the greatest that any member ever
	// had; Gaps are the revisions that a restore skipped, ascending.
	Version    uint8
	Conf       ConfState
	Members    []Member
	LastRaftID uint64
	Gaps       []Gap
	// Records is how many keys have a current record.
	Records uint64
	// Undecodable counts the committed commands that did not decode. More than 0
	// is an alarm: some node proposed what it should not have.
	Undecodable uint64
}

// logical is everything that the state hash covers, and where apply stands. It
// is copied by value; its slices are never changed in place.
type logical struct {
	cluster     ClusterID
	version     uint8 // of commands, see Version
	members     []Member
	lastRaftID  uint64 // no member ever had a greater one
	conf        ConfState
	gaps        []Gap // ascending
	applied     Index
	term        uint64
	revision    Revision
	chain       [32]byte
	time        int64 // replicated, ns
	floor       Revision
	floorAt     int64    // when the change of floor was accepted
	floorChain  [32]byte // the chain at floor
	trimmed     Revision // up to which the keys of changes were looked at for versions too many
	trimmedKeys uint64   // how many keys of the change after it were, too
	current     tally
	superseded  tally
	answers     tally
	namespaces  tally
	former      tally
	denied      tally
	denials     uint64 // the number of the newest row of bucket denied
	windows     sum
	acceptedAt  int64 // the greatest of all changes
	undecodable uint64
}

// tally returns that of a record bucket.
func (l *logical) tally(in bucket) *tally {
	must(in.hasTally(), "bucket %s has no tally", in)
	return [...]*tally{&l.current, &l.superseded, &l.answers, &l.namespaces, &l.former, &l.denied}[in-current]
}

// state summarises l.
func (l *logical) state() State {
	return State{
		Cluster:     l.cluster,
		Applied:     l.applied,
		Term:        l.term,
		Revision:    l.revision,
		Hash:        l.hash(),
		Chain:       l.chain,
		Time:        time.Duration(l.time),
		Floor:       l.floor,
		FloorAt:     l.floorAt,
		FloorChain:  l.floorChain,
		Answers:     uint64(l.answers.count) / 2,
		Denials:     uint64(l.denied.count),
		Version:     l.version,
		Conf:        l.conf,
		Members:     l.members,
		LastRaftID:  l.lastRaftID,
		Gaps:        l.gaps,
		Records:     uint64(l.current.count),
		Undecodable: l.undecodable,
	}
}

// hash is over the whole logical state. Where apply stands is not part of it:
// an entry that changes nothing leaves it as it was.
func (l *logical) hash() [32]byte {
	var buf [768]byte
	return sha256.Sum256(l.appendHashed(append(buf[:0], "confman state 1\n"...)))
}

// The one record of bucket metadata, integers little-endian:
//
//	offset  bytes
//	     0      8  checksum
//	     8      1  version of the database's layout: 5
//	     9      8  applied index
//	    17      8  its term
//	    25     32  state hash, of what follows
//	    57     16  cluster id
//	    73      8  revision
//	    81     32  head of the chain
//	   113      8  replicated time, nanoseconds
//	   121      8  floor
//	   129      8  when the change of the floor was accepted, two's complement
//	   137     32  chain at the floor
//	   169      8  revision up to which versions were counted
//	   177      8  keys of the change after it of which they were, too
//	   185     48  tally of current: 32 sum, 8 count, 8 bytes
//	   233     48  tally of superseded
//	   281     48  tally of answers
//	   329     48  tally of namespaces
//	   377     48  tally of former
//	   425     48  tally of denied
//	   473      8  number of the newest row of denied
//	   481     32  sum of windows
//	   513      8  greatest accepted-at, two's complement
//	   521      8  undecodable commands
//	   529      1  version of commands
//	   530      8  greatest raft id of any member ever
//	   538         members: count, then for each
//	                  8  raft id
//	                     name, address        text each
//	                  4  port of the API, port of Raft
//	                  1  what it is to be
//	                  8  raft id of the member that it replaces
//	                 16  life
//	                  1  newest version that it knows
//	               voters, learners, outgoing voters, next learners: count, then 8 each
//	            1  auto leave: 0 or 1
//	               gaps: count, then 8 from and 8 to each
const (
	layoutVersion   = 5
	metaKey         = "state"
	metaHeaderBytes = checksumBytes + 1 + 16 + 32
)

// appendHashed appends the part of the record that the state hash covers.
func (l *logical) appendHashed(b []byte) []byte {
	b = append(b, l.cluster[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.revision))
	b = append(b, l.chain[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.time))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.floor))
	b = binary.LittleEndian.AppendUint64(b, uint64(l.floorAt))
	b = append(b, l.floorChain[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.trimmed))
	b = binary.LittleEndian.AppendUint64(b, l.trimmedKeys)
	for _, in := range records {
		b = l.tally(in).append(b)
	}
	b = binary.LittleEndian.AppendUint64(b, l.denials)
	b = l.windows.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.acceptedAt))
	b = binary.LittleEndian.AppendUint64(b, l.undecodable)
	return l.appendMembership(b)
}

// encode returns the record.
func (l *logical) encode() []byte {
	b := make([]byte, checksumBytes, 768)
	b = append(b, layoutVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(l.applied))
	b = binary.LittleEndian.AppendUint64(b, l.term)
	hash := l.hash()
	b = append(b, hash[:]...)
	b = l.appendHashed(b)
	seal(metadata, metaKey, b)
	return b
}

// decodeLogical reads what encode wrote.
func decodeLogical(value []byte) (logical, error) {
	if _, err := unseal(metadata, metaKey, value); err != nil {
		return logical{}, err
	}
	if len(value) < metaHeaderBytes {
		return logical{}, damaged("state record: %d bytes", len(value))
	}
	if v := value[checksumBytes]; v != layoutVersion { // it was written so: the checksum is right
		return logical{}, fmt.Errorf("%w: database of layout %d, known is %d", ErrUnknownVersion, v, layoutVersion)
	}
	d := decoder{b: value[checksumBytes+1:]}
	var l logical
	l.applied = Index(d.uint64())
	l.term = d.uint64()
	hash := d.fixed(32)
	copy(l.cluster[:], d.fixed(16))
	l.revision = Revision(d.uint64())
	copy(l.chain[:], d.fixed(32))
	l.time = int64(d.uint64())
	l.floor = Revision(d.uint64())
	l.floorAt = int64(d.uint64())
	copy(l.floorChain[:], d.fixed(32))
	l.trimmed = Revision(d.uint64())
	l.trimmedKeys = d.uint64()
	for _, in := range records {
		*l.tally(in) = d.tally()
	}
	l.denials = d.uint64()
	l.windows = d.tallySum()
	l.acceptedAt = int64(d.uint64())
	l.undecodable = d.uint64()
	d.membership(&l)
	if d.err != "" || len(d.b) != 0 {
		return logical{}, damaged("state record: %s", d.trouble())
	}
	if got := l.hash(); !slices.Equal(hash, got[:]) {
		return logical{}, damaged("state record: its hash does not match")
	}
	return l, nil
}

// fixed reads n bytes, not copied; nil if fewer are left.
func (d *decoder) fixed(n int) []byte {
	if len(d.b) < n {
		d.fail("it ends early")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) tally() tally {
	if b := d.fixed(tallyBytes); b != nil {
		return decodeTally(b)
	}
	return tally{}
}

func (d *decoder) tallySum() sum {
	if b := d.fixed(sumBytes); b != nil {
		return decodeSum(b)
	}
	return sum{}
}
