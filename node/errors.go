package node

import (
	"errors"
	"fmt"
)

var (
	// ErrOverloaded means that a queue of the node, or of the leader, was full. Nothing was proposed.
	ErrOverloaded = errors.New("too much in flight")
	// ErrNoQuorum means that no quorum answered in time: no leader is known, or it cannot reach a majority.
	ErrNoQuorum = errors.New("no quorum answered in time")
	// ErrStorageFull means that the disk of this node or of the leader is full, or has less free
	// space than its floor. Nothing was proposed.
	ErrStorageFull = errors.New("disk is full: no writes are taken")
	// ErrQuota means that the store of the node that was asked has reached its quota, and the write
	// would make it larger (QuotaError). Nothing was proposed.
	ErrQuota = errors.New("store has reached its quota")
	// ErrLost means that another entry was committed where the command had been appended.
	ErrLost = errors.New("leadership changed and the command was lost")
	// ErrOvertaken means that this node was brought up to date by another's state while the command was on its way.
	ErrOvertaken = errors.New("node was brought up to date by another's state while the command was on its way")
	// ErrRepeated means that the store had already seen the command's sequence number and no longer knows its result.
	ErrRepeated = errors.New("command was seen before")
	// ErrUndecodable means that the store could not read the command; a bug or damage in transit.
	ErrUndecodable = errors.New("command does not decode")
	// ErrForming means that the cluster is not formed yet: some configured member has not been met.
	ErrForming = errors.New("cluster is not formed yet")
	// ErrRebuilding means that this node's store is damaged and being replaced by a peer's.
	ErrRebuilding = errors.New("store is being rebuilt from a peer")
	// ErrNotLeader means that only the leader can do that, and this node does not lead.
	ErrNotLeader = errors.New("this node does not lead")
	// ErrNoSuchVoter means that there is no voter of that name.
	ErrNoSuchVoter = errors.New("no such voter")
	// ErrBackupUnderWay means that this node makes a backup already.
	ErrBackupUnderWay = errors.New("a backup is being made here already")
	// ErrStopped means that the node is stopping or has stopped.
	ErrStopped = errors.New("node is stopping")
)

// Outcome is what became of a failed write.
type Outcome uint8

const (
	// NotApplied: the write has no effect and never will.
	NotApplied Outcome = iota + 1
	// Unknown: the write may have been applied, or may still be.
	Unknown
)

// String returns the outcome as the API spells it.
func (o Outcome) String() string {
	switch o {
	case NotApplied:
		return "not_applied"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("Outcome(%d)", uint8(o))
}

// WriteError is a failed write and what became of it.
type WriteError struct {
	Outcome Outcome // zero is a bug
	Leader  uint64  // raft id of the node to try next; 0: not known
	Err     error   // one of this package's errors
}

func (e *WriteError) Error() string { return fmt.Sprintf("%v (%v)", e.Err, e.Outcome) }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }
