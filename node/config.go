package node

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
)

// Settings are what an operator or a simulation may vary. The zero value of a
// field means its default.
type Settings struct {
	// TickInterval is the time between two Ticks (default 50 ms).
	TickInterval time.Duration
	// ElectionTicks is how long a follower waits for a leader, at least (default 10; raft draws up to twice that).
	ElectionTicks int
	// HeartbeatTicks is the time between heartbeats (default 1).
	HeartbeatTicks int
	// MaxMessageBytes bounds the entries of one append message (default 1 MiB).
	MaxMessageBytes uint64
	// MaxApplyBytes bounds the entries handed out to apply at a time (default 8 MiB).
	MaxApplyBytes uint64
	// FlushBytes is the overlay's size at which a flush starts (default 48 MiB); at some nodes a third less, so that not all
	// flush at once, and everywhere a third of it while the disk has little room or an image is sent.
	FlushBytes int
	// FlushInterval is the time between two flushes (default 250 ms): the less there is to be written at once, the less do
	// syncs of the log wait for it. While flushes take long it is a multiple of what the last one took, up to a few seconds.
	FlushInterval time.Duration
	// MaxOverlayBytes is the size at which applying waits for the flush (default 96 MiB); a third of it, but for what one
	// Apply does, while the disk has little room or an image is sent.
	MaxOverlayBytes int
	// TailBytes bounds the newest entries kept in memory (default 8 MiB).
	TailBytes int
	// ProbeInterval is the time between freshness probes (default 100 ms).
	ProbeInterval time.Duration
	// ResendInterval is how long a forwarded proposal waits for the leader's word before it is sent again (default 500 ms).
	ResendInterval time.Duration
	// ScrubInterval is the time between scrub steps; negative: none (default 1 s).
	ScrubInterval time.Duration
	// CatchUpEntries and CatchUpBytes are how many entries, and how many bytes of them,
	// stay in the log behind the store's previous commit, for followers that lag; the
	// less of the two counts (default 10,000 and 256 MiB; negative: none).
	CatchUpEntries int
	CatchUpBytes   int
	// ImageBytesPerSecond bounds the bytes of images sent (default 32 MiB: sender, receiver and disk have other work).
	ImageBytesPerSecond int
	// ImageChunkBytes is the size of one piece of an image (default 256 KiB).
	ImageChunkBytes int
	// DigestInterval is the time between comparisons of the replicas' state hashes (default 10 s; negative: none).
	DigestInterval time.Duration
	// MaintenanceInterval is the time between two Maintenances of a leader while there is
	// something to do, and ten times that otherwise (default 1 s; negative: none, and no
	// replicated time passes).
	MaintenanceInterval time.Duration
	// KeepFor is how long what is not current any more can be read, in replicated time, and
	// KeepVersions how many versions of a key that are not current (0: for ever, and all). The
	// leader's count.
	KeepFor      time.Duration
	KeepVersions int
	// RepackBytes is the size of the database from which on it is copied into a new file when
	// more than RepackShare of it is free (default 32 MiB and 0.5; negative: never), RepackPause
	// the least time between two copies (default 1 min).
	RepackBytes int
	RepackShare float64
	RepackPause time.Duration
	// RepackStepBytes is how much of it is copied, or checked, at each tick (default 1 MiB: 20
	// MiB in a second, so that log and clients keep the disk).
	RepackStepBytes int
	// MaxProposals bounds the proposals in flight at this node; the next one is refused with
	// ErrOverloaded (default fsm.WindowSize, which is also the most).
	MaxProposals int
	// MaxReadRounds bounds the ReadIndex contexts that are outstanding (default 64): raft's
	// own queues of them have no bound. A node whose answers are late asks again every half
	// election, and gives the oldest up when there is no room: so answers that take up to
	// MaxReadRounds half elections still count.
	MaxReadRounds int
	// Watch bounds what watchers are given; the drivers', not the core's.
	Watch WatchLimits
	// Checks turns on the expensive invariants.
	Checks bool
	// Mark, unless nil, is told each time the core comes by one of its rare places
	// which one: a simulation counts what it reached. It must change nothing.
	Mark func(name string)
}

// LogReader is the one thing Core reads: entries that no longer are in its
// memory. An error there stops the node. *wal.Log is one.
type LogReader interface {
	FirstIndex() uint64
	LastIndex() uint64
	Term(index uint64) (uint64, error)
	Entries(lo, hi, maxBytes uint64) ([]*raftpb.Entry, error)
}

// Config is what a core starts from.
type Config struct {
	Settings
	// ID is this node's raft id.
	ID uint64
	// Life is of this node's data directory (Identity.Life); zero: it is a member since the formation.
	Life fsm.Life
	// Version is the newest version of commands that the program knows (default fsm.Version).
	Version uint8
	// Incarnation is new at each start, and durable before it.
	Incarnation uint64
	// HardState is the log's last one.
	HardState *raftpb.HardState
	// Log reads the log; nothing is appended to it but by Append effects.
	Log LogReader
	// State is what the store holds. If Damaged is set, only Cluster, Conf, Members and
	// LastRaftID count.
	State fsm.State
	// Damaged says why the store cannot be used, nil if it can: then the core asks its
	// peers for an image, and until it is installed takes part in Raft but serves nothing.
	Damaged error
	// Now is the driver's monotonic clock.
	Now time.Duration
}

// Role is a node's part in Raft.
type Role uint8

// The roles.
const (
	Follower Role = iota
	PreCandidate
	Candidate
	Leader
)

var roleNames = [...]string{"follower", "pre-candidate", "candidate", "leader"}

// String returns the role as the API spells it.
func (r Role) String() string { return roleNames[r] }

// Status is the core's view of itself and its cluster.
type Status struct {
	ID          uint64
	Incarnation uint64
	Role        Role
	Leader      uint64 // 0: not known
	Term        uint64
	Commit      uint64
	Applied     uint64
	Durable     uint64 // applied index that the database holds
	// FreshAt is the instant, on the clock of Tick.Now, such that the state applied here
	// holds every write acknowledged before it; Fresh tells whether there is one.
	FreshAt time.Duration
	Fresh   bool
	// Reachable are the peers heard from within an election timeout, ascending. A leader hears all, a follower its leader.
	Reachable []uint64
	// StorageFull: the disk is full, or has less free space than its floor; no writes are taken.
	StorageFull bool
	// FirstIndex is the oldest entry that the log still gives out.
	FirstIndex uint64
	// Damage is why the store cannot be used: nothing is served until a peer's image has
	// taken its place and the log has brought that to where this node was; nil if it serves.
	Damage error
	// Disputed: another member's state differed from this one's when they were compared
	// last, and no majority says whose is wrong. An operator must: see docs/operations.md.
	Disputed bool
	// Proposals and Reads are in flight.
	Proposals, Reads int
	// Draining: it leads only until another one does.
	Draining bool
}

// Progress is what a leader knows of a member.
type Progress struct {
	RaftID uint64
	// Match is the last index that the member is known to have, durably.
	Match uint64
	// State is raft's: probe, replicate or snapshot.
	State string
	// CaughtUp: a learner could be promoted.
	CaughtUp bool
}

// Progress returns what a leader knows of the others, in the order of their ids; nil if this node does not lead.
func (c *Core) Progress() []Progress {
	if c.role != Leader {
		return nil
	}
	st := c.raft.Status()
	var out []Progress
	for _, id := range c.peers {
		if p, ok := st.Progress[id]; ok {
			out = append(out, Progress{RaftID: id, Match: p.Match, State: p.State.String(), CaughtUp: c.caughtUp(id)})
		}
	}
	return out
}
