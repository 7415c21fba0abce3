package node

import (
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// Effect is something the driver must do. Effects of one Step are handed out in
// order; Appends among themselves, and Applies with Flushes among themselves, are done
// in order. Everything else may overlap.
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

// Apply hands committed entries to the store, then answers Applied.
type Apply struct{ Entries []fsm.Entry }

// Flush calls fsm.Store.BeginFlush in the order of the applies and Commit beside
// later ones, then answers Flushed. At most one is under way.
type Flush struct{}

// Prove calls wal.Log.Prove, after the Appends before it, then answers Proved.
type Prove struct{}

// Scrub calls fsm.Store.Scrub with Budget, then answers Scrubbed. At most one is under way.
type Scrub struct{ Budget int }

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
func (Scrub) isEffect()        {}
func (ProposeReply) isEffect() {}
func (ReadReply) isEffect()    {}
func (Stop) isEffect()         {}
