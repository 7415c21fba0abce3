package node

import (
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// Effect is something the driver must do. Effects of one Step are handed out in
// order. Within each of these groups they are done in order: Append, Prove and
// Truncate; Apply, Flush, Install and Swap; the six of images. Everything else may overlap.
//
//sumtype:decl
type Effect interface{ isEffect() }

// Send hands a message to the transport. It may be lost.
type Send struct{ Message transport.Message }

// Append writes Batch to the log, then answers Appended. Batches that wait may be
// merged into one write and one sync: concatenate their entries where they
// continue each other, or append them one by one and sync the last.
type Append struct {
	Seq   uint64
	Batch wal.Batch
}

// Apply hands committed entries to the store, then answers Applied. At most one is under way.
type Apply struct{ Entries []fsm.Entry }

// Flush calls fsm.Store.BeginFlush in the order of the applies and Commit beside
// later ones, then answers Flushed. At most one is under way.
type Flush struct{}

// Prove calls wal.Log.Prove, after the Appends before it, then answers Proved.
type Prove struct{}

// Linger answers Lingered when LingerTime is over, or somewhat later. At most one is under way.
type Linger struct{}

// Scrub calls fsm.Store.Scrub with Budget, then answers Scrubbed. At most one is under way.
type Scrub struct{ Budget int }

// Truncate calls wal.Log.Truncate, after the Appends before it, then answers
// Truncated. At most one is under way.
type Truncate struct{ Index uint64 }

// OpenImage pins the newest commit of the store (fsm.Store.OpenImage) under the
// name Transfer, then answers ImageOpened. At most one image is open for reading.
type OpenImage struct{ Transfer uint64 }

// ReadImage reads Bytes bytes at Offset of an open image, then answers ImageRead.
type ReadImage struct {
	Transfer uint64
	Offset   uint64
	Bytes    int
}

// CloseImage unpins an image. It may be one that was never opened.
type CloseImage struct{ Transfer uint64 }

// WriteImage writes a piece of an image that comes in, then answers ImageWritten.
// The piece at Offset 0 begins a new file and drops what there was. It need not be durable.
type WriteImage struct {
	Offset uint64
	Data   []byte
}

// VerifyImage makes the image that came in durable, checks all of it
// (fsm.VerifyImage), and then names it as the image of Index, durably; then it
// answers ImageVerified (protocol.md §4, step 1).
type VerifyImage struct{ Index uint64 }

// DropImage removes what came in of an image, whole or not, and is not to be installed.
type DropImage struct{}

// Install makes the image of Index the store, durably, then answers Installed.
// Nothing is being applied or flushed meanwhile. Views of the old store stay good
// until they are closed (protocol.md §4, step 3).
type Install struct{ Index uint64 }

// Reconfigure says who is a member now. What the driver knows of where each is, and who must not be listened
// to (a raft id up to LastRaftID that is not among Members), is this. It was made durable with what was applied, or before.
type Reconfigure struct {
	Members    []fsm.Member
	Conf       fsm.ConfState
	LastRaftID uint64
	// Introduced are members whom the state does not have yet: one that it has spoke for them.
	Introduced []transport.Peer
}

// Repack does a step of Budget bytes of the copy that is to be the database
// (fsm.Repack.Step), and begins one if none is under way at this store; then it answers
// Repacked. After an error it has dropped the copy. At most one is under way.
type Repack struct{ Budget int }

// Swap makes the copy the database (fsm.Repack.Swap), then answers Swapped. Nothing is
// being flushed or installed meanwhile; applies go on.
type Swap struct{}

// ProposeReply answers a Propose: Err is nil if the command was applied, or
// refused by the store for a reason that Result tells (compare failed, unchanged).
type ProposeReply struct {
	Request uint64
	Result  fsm.Result
	Err     *WriteError
}

// ReadReply answers a ReadIndex. If Err is nil, a view taken from now on holds
// every write acknowledged before the question.
type ReadReply struct {
	Request uint64
	Index   fsm.Index
	// Err is ErrNoQuorum or ErrOverloaded.
	Err error
}

// Stop says that the node must not go on. No effect follows it.
type Stop struct{ Err error }

func (Send) isEffect()         {}
func (Append) isEffect()       {}
func (Apply) isEffect()        {}
func (Flush) isEffect()        {}
func (Prove) isEffect()        {}
func (Linger) isEffect()       {}
func (Scrub) isEffect()        {}
func (Truncate) isEffect()     {}
func (OpenImage) isEffect()    {}
func (ReadImage) isEffect()    {}
func (CloseImage) isEffect()   {}
func (WriteImage) isEffect()   {}
func (VerifyImage) isEffect()  {}
func (DropImage) isEffect()    {}
func (Install) isEffect()      {}
func (Reconfigure) isEffect()  {}
func (Repack) isEffect()       {}
func (Swap) isEffect()         {}
func (ProposeReply) isEffect() {}
func (ReadReply) isEffect()    {}
func (Stop) isEffect()         {}
