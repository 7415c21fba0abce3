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

// Applied says that an Apply effect is done.
type Applied struct {
	// Results are those of its entries, or of the first of them, if the overlay has no room for more.
	Results []fsm.Result
	// State is the store's after the last of them.
	State        fsm.State
	OverlayBytes int
	// Tight: the disk has so little room that flushes should be small, as they are while an image is sent.
	Tight bool
}

// Flushed says that a Flush effect is done.
type Flushed struct {
	// Index is what the database holds now, Term that of its entry.
	Index        fsm.Index
	Term         uint64
	OverlayBytes int
	// Pages is how many pages the database has, Free how many of them are free, Written how many the flush wrote.
	Pages, Free, Written int
	// Took is how long it was under way.
	Took time.Duration
}

// Proved says that a Prove effect is done.
type Proved struct {
	// Full is wal.Log.Full afterwards.
	Full bool
}

// DiskLow says that the free space of the disk came below the floor that an operator set, or is
// above it again: no writes are taken meanwhile. The log may have room.
type DiskLow struct{ Low bool }

// Scrubbed says that a Scrub effect is done.
type Scrubbed struct {
	// Err is fsm.ErrDamaged wrapped with the place, or nil.
	Err error
}

// Truncated says that a Truncate effect is done.
type Truncated struct {
	// Full is wal.Log.Full afterwards.
	Full bool
}

// ImageOpened says that an OpenImage effect is done.
type ImageOpened struct {
	Transfer uint64
	// State is that of the image, Size its length in bytes.
	State fsm.State
	Size  uint64
	// Err: it could not be opened; nothing is to be closed.
	Err error
}

// ImageRead says that a ReadImage effect is done. The core owns Data from then on.
type ImageRead struct {
	Transfer uint64
	Offset   uint64
	Data     []byte
	Err      error
}

// ImageWritten says that a WriteImage effect is done.
type ImageWritten struct {
	// Offset is the end of what was written.
	Offset uint64
	// Err: what is there of the image is of no use; no room is one reason.
	Err error
}

// ImageVerified says that a VerifyImage effect is done.
type ImageVerified struct {
	// State is that of the image, if Err is nil.
	State fsm.State
	// Err is fsm.ErrDamaged, wrapped, if the bytes are not those of a sound database.
	Err error
}

// Installed says that an Install effect is done: State is what the store holds now.
type Installed struct{ State fsm.State }

// Repacked says that a Repack effect is done.
type Repacked struct {
	// Done: the copy is whole and checked.
	Done bool
	// Err: there is no copy any more. fsm.ErrDamaged, wrapped, if the database is.
	Err error
}

// Swapped says that a Swap effect is done, or that the copy was of no use and is dropped: the
// store is what it was.
type Swapped struct {
	// Pages is how many pages the database has now, Free how many of them are free.
	Pages, Free int
}

// Lingered says that the time of a Linger is over.
type Lingered struct{}

// Damaged says that the store was found to be damaged, by a read, an Apply or a
// Flush: those are not done, and their effects not answered.
type Damaged struct{ Err error }

// FlushNow asks that the database take in what is applied now. No answer: the driver sees the Flush
// that it leads to.
type FlushNow struct{}

// Unreachable says that messages to Peer were lost.
type Unreachable struct{ Peer uint64 }

// Gone says that the process that was Peer has ended: nobody listens at its address. If it led, it leads no more. It may
// be wrong, and may come again and again.
type Gone struct{ Peer uint64 }

// TransferLeadership asks a leader to hand over to Peer, a voter that is heard, or to the one that has
// most of the log if it is zero. No answer: watch Status.
type TransferLeadership struct{ Peer uint64 }

// Drain asks a node not to lead any more, if another one can, or ends that.
type Drain struct{ On bool }

// Dismissed says that Peer, a member, refused this node because it is none any more.
type Dismissed struct{ Peer uint64 }

func (Tick) isInput()               {}
func (Receive) isInput()            {}
func (Propose) isInput()            {}
func (ReadIndex) isInput()          {}
func (Appended) isInput()           {}
func (Applied) isInput()            {}
func (Flushed) isInput()            {}
func (Proved) isInput()             {}
func (DiskLow) isInput()            {}
func (Lingered) isInput()           {}
func (Scrubbed) isInput()           {}
func (Truncated) isInput()          {}
func (ImageOpened) isInput()        {}
func (ImageRead) isInput()          {}
func (ImageWritten) isInput()       {}
func (ImageVerified) isInput()      {}
func (Installed) isInput()          {}
func (Repacked) isInput()           {}
func (Swapped) isInput()            {}
func (Damaged) isInput()            {}
func (FlushNow) isInput()           {}
func (Unreachable) isInput()        {}
func (Gone) isInput()               {}
func (TransferLeadership) isInput() {}
func (Drain) isInput()              {}
func (Dismissed) isInput()          {}
