package jepsen

import (
	"context"
	"net"
	"time"
)

// Ground is where nodes run, and what can be done to them there. Its methods may be called from several goroutines, but
// for Close. What it cannot do, it says in Can, and does not pretend to do.
type Ground interface {
	// Means says, a line each, by which means faults are made here, and why some cannot be.
	Means() []string
	// Can says why a kind of fault cannot be made here; nil: it can.
	Can(Capability) error
	// Machines are those that run nodes; the first ones form the cluster, spares come after them.
	Machines() []Machine
	// Dial connects a client of the harness to a machine's API: it is the DialContext of an http.Transport.
	Dial(ctx context.Context, network, address string) (net.Conn, error)

	// Start runs "confman serve" with args added on a machine on which no node runs.
	Start(ctx context.Context, machine string, args ...string) error
	// Signal sends a signal to a machine's node. It is no error if the process is ending.
	Signal(ctx context.Context, machine string, s Signal) error
	// Runs tells whether a node's process is there, stopped or not.
	Runs(machine string) bool
	// Ended waits until the node's process has ended, and returns how.
	Ended(ctx context.Context, machine string) error

	// SetLinks makes the network such that these links are as they say, and all others whole.
	SetLinks(ctx context.Context, links map[Link]Condition) error
	// SetDisk makes a machine's disk such.
	SetDisk(ctx context.Context, machine string, d DiskState) error
	// LosePower ends the nodes at once and has their disks forget what was not synced.
	LosePower(ctx context.Context, machines ...string) error
	// Damage changes what a machine whose node does not run has on its disk. It returns what it did.
	Damage(ctx context.Context, machine string, d Damage) (string, error)
	// SetClock has a machine's wall clock tell another time.
	SetClock(ctx context.Context, machine string, c Clock) error

	// Confman runs the command-line program where it reaches the nodes, and returns its standard output.
	Confman(ctx context.Context, args ...string) ([]byte, error)
	// Collect copies the nodes' logs and configurations into a directory.
	Collect(ctx context.Context, dir string) error
	// Close ends all processes and undoes all that was done, also what other calls left half done.
	Close(ctx context.Context) error
}

// Machine is where one node runs.
type Machine struct {
	Name  string // of its node, too
	URL   string // of its API, such as http://10.77.0.1:5000
	Spare bool   // it is not among those that form the cluster

	// Address, APIPort and RaftPort are what the others need to reach it.
	Address           string
	APIPort, RaftPort int
}

// Signal is what a process can be told.
type Signal string

// The signals.
const (
	Kill      Signal = "KILL"
	Terminate Signal = "TERM"
	Stop      Signal = "STOP"
	Continue  Signal = "CONT"
)

// Capability is a kind of fault that a Ground may be able to make.
type Capability string

// The capabilities. Processes can be signalled everywhere.
const (
	Cuts       Capability = "cuts"        // Condition.Cut, each way of a link
	Delays     Capability = "delays"      // Condition.Delay and Jitter
	Losses     Capability = "losses"      // Condition.Loss
	Reorders   Capability = "reorders"    // Condition.Reorder
	Corruption Capability = "corruption"  // Condition.Corrupt
	Bandwidth  Capability = "bandwidth"   // Condition.BytesPerSecond
	DiskFaults Capability = "disk faults" // SetDisk, but for DiskState.Bytes
	DiskSizes  Capability = "disk sizes"  // DiskState.Bytes
	PowerLoss  Capability = "power loss"  // LosePower
	Damages    Capability = "damage"      // Damage, but for LoseDirectory
	LostDisks  Capability = "lost disks"  // LoseDirectory
	Clocks     Capability = "clocks"      // SetClock
	Spares     Capability = "spares"      // at least two machines more than form the cluster
)

// Link is one way between two machines. Clients stands for the harness.
type Link struct{ From, To string }

// Clients is the harness as an end of a link.
const Clients = ""

// Condition is how a link is. The zero value is a whole one.
type Condition struct {
	Cut            bool
	Delay, Jitter  time.Duration
	Loss           float64 // share of packets that are lost, 0 to 1
	Reorder        float64 // share of packets that are overtaken by later ones
	Corrupt        float64 // share of packets with a bit changed
	BytesPerSecond int     // 0: no limit
}

// merge is a link under two faults at once.
func (c Condition) merge(d Condition) Condition {
	least := func(a, b int) int {
		if a == 0 || b != 0 && b < a {
			return b
		}
		return a
	}
	return Condition{
		Cut:   c.Cut || d.Cut,
		Delay: c.Delay + d.Delay, Jitter: c.Jitter + d.Jitter,
		Loss: 1 - (1-c.Loss)*(1-d.Loss), Reorder: 1 - (1-c.Reorder)*(1-d.Reorder), Corrupt: 1 - (1-c.Corrupt)*(1-d.Corrupt),
		BytesPerSecond: least(c.BytesPerSecond, d.BytesPerSecond),
	}
}

// DiskState is how a disk is. The zero value is a sound one.
type DiskState struct {
	Bytes     int64         // 0: as much as there is; else what there is room for, used or not
	SyncDelay time.Duration // more for each sync
	SyncError bool          // syncs fail with EIO, and what was not synced may be lost
	ReadError bool          // reads fail with EIO
	ReadOnly  bool          // writes fail with EROFS
}

// Damage is what is done to what a disk holds.
type Damage struct {
	Kind DamageKind
	Seed uint64 // of which file, where
	// Key and Value are those of the record that FlipRecord hits.
	Key, Value string
}

// DamageKind says what is damaged.
type DamageKind string

// The damages.
const (
	FlipLog          DamageKind = "a bit in a closed segment of the log"
	TruncateLog      DamageKind = "the end of a closed segment of the log"
	FlipDatabase     DamageKind = "a bit in the database"
	FlipRecord       DamageKind = "a bit of a key's value in the database"
	TruncateDatabase DamageKind = "the end of the database"
	LoseDatabase     DamageKind = "the database"
	LoseDirectory    DamageKind = "all of the data directory"
)

func (k DamageKind) ofDatabase() bool {
	return k == FlipDatabase || k == FlipRecord || k == TruncateDatabase || k == LoseDatabase
}

// Clock is how a machine's wall clock differs from the harness's.
type Clock struct {
	Offset time.Duration
	Rate   float64 // 0 and 1: as fast as it is
}
