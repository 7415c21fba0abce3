package node

import (
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// Input is something that happened to the node.
//
//sumtype:decl
type Input interface{ isInput() }

// Tick is one raft tick, every Config.TickInterval of the driver's monotonic
// clock. A driver that fell behind ticks once, not once for each interval missed.
type Tick struct {
	// Now is the driver's monotonic clock, which keeps running while the machine sleeps. It never goes back.
	Now time.Duration
}

// Receive is a message from another node.
type Receive struct{ Message transport.Message }

// Propose asks for a command to be applied. The core owns Command from then on
// and writes its origin into it. Answered by exactly one ProposeReply.
type Propose struct {
	Request uint64
	Command []byte
	// Deadline is on the clock of Tick.Now.
	Deadline time.Duration
}

// ReadIndex asks for a moment from which this node's state holds every write
// acknowledged anywhere before the question. Answered by exactly one ReadReply.
type ReadIndex struct {
	Request  uint64
	Deadline time.Duration
}

// Appended says that an Append effect is done, durably if it asked for that.
// Appends are acknowledged in their order; one may stand for several.
type Appended struct {
	Seq uint64 // of the last Append done
	// Full is wal.Log.Full afterwards.
	Full bool
}

// Applied says that an Apply effect is done; in order.
type Applied struct {
	Results      []fsm.Result
	OverlayBytes int
}

// Flushed says that a Flush effect is done.
type Flushed struct {
	// Index is what the database holds now.
	Index        fsm.Index
	OverlayBytes int
}

// Proved says that a Prove effect is done.
type Proved struct {
	// Full is wal.Log.Full afterwards.
	Full bool
}

// Scrubbed says that a Scrub effect is done.
type Scrubbed struct {
	// Err is fsm.ErrDamaged wrapped with the place, or nil.
	Err error
}

// Unreachable says that messages to Peer were lost.
type Unreachable struct{ Peer uint64 }

// TransferLeadership asks a leader to hand over to Peer. No answer: watch Status.
type TransferLeadership struct{ Peer uint64 }

func (Tick) isInput()               {}
func (Receive) isInput()            {}
func (Propose) isInput()            {}
func (ReadIndex) isInput()          {}
func (Appended) isInput()           {}
func (Applied) isInput()            {}
func (Flushed) isInput()            {}
func (Proved) isInput()             {}
func (Scrubbed) isInput()           {}
func (Unreachable) isInput()        {}
func (TransferLeadership) isInput() {}
