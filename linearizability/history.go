package linearizability

import (
	"fmt"
	"math"
)

// Never is the return time of an operation that did not return.
const Never = int64(math.MaxInt64)

// Kind is what an operation asks.
type Kind string

// The kinds of operation.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
	// Read is a linearizable read.
	Read Kind = "read"
	// Local is a read of whatever the node holds.
	Local Kind = "local"
)

// Outcome is what the client was told.
type Outcome string

// The outcomes.
const (
	// Applied: the write changed the key, at Op.Revision.
	Applied Outcome = "applied"
	// Unchanged: the key was as asked already.
	Unchanged Outcome = "unchanged"
	// CompareFailed: the condition did not hold.
	CompareFailed Outcome = "compare_failed"
	// NotApplied: the write has no effect and never will.
	NotApplied Outcome = "not_applied"
	// Unknown: nobody can say.
	Unknown Outcome = "unknown"
	// ReadDone: a read was answered.
	ReadDone Outcome = "read"
	// ReadFailed: a read was not.
	ReadFailed Outcome = "failed"
)

// Op is one operation of one client, from call to return.
type Op struct {
	ID     uint64 // from 1, unique
	Client int
	Node   string
	Kind   Kind
	Key    string
	Value  string // Put only; unique, but for retries
	// IfRevision, unless 0, and IfAbsent are conditions of a write.
	IfRevision uint64
	IfAbsent   bool
	RetryOf    uint64 // 0: none

	Call, Return int64 // ns; Return is Never if there was none
	Outcome      Outcome
	// Revision is the store's after the write, or the one that was read at.
	Revision uint64
	// Found and Got are what a read saw; KeyRevision is the last change of the key
	// as a read, an unchanged write or a failed compare saw it, 0 if there was no record.
	Found       bool
	Got         string
	KeyRevision uint64
	// Claims: the answer claims to hold all that was acknowledged before FreshAt.
	Claims  bool
	FreshAt int64
}

// Change is one revision of the change log as it was in the end.
type Change struct {
	Revision uint64
	Op       uint64 // 0: of no operation in the history
	Key      string
}

// History is what was asked and answered.
type History struct {
	Ops []Op // in any order
	// Changes is the change log from revision 1, complete, if HasChanges.
	Changes    []Change
	HasChanges bool
}

// String names an operation for people.
func (o *Op) String() string {
	s := fmt.Sprintf("op %d (client %d on %s, %s %s", o.ID, o.Client, o.Node, o.Kind, o.Key)
	if o.Kind == Put {
		s += "=" + o.Value
	}
	if o.IfAbsent {
		s += " if absent"
	}
	if o.IfRevision != 0 {
		s += fmt.Sprintf(" if at %d", o.IfRevision)
	}
	if o.Return == Never {
		return s + fmt.Sprintf("; called at %d, never returned)", o.Call)
	}
	s += fmt.Sprintf("; from %d to %d: %s", o.Call, o.Return, o.Outcome)
	if o.Outcome == ReadDone {
		if o.Found {
			s += fmt.Sprintf(" %s", o.Got)
		} else {
			s += " nothing"
		}
	}
	switch o.Outcome {
	case ReadDone, Unchanged, CompareFailed:
		s += fmt.Sprintf(", key at %d, store at %d)", o.KeyRevision, o.Revision)
	case Applied:
		s += fmt.Sprintf(" at %d)", o.Revision)
	case NotApplied, Unknown, ReadFailed:
		s += ")"
	}
	return s
}

// isWrite tells puts and deletes from reads.
func (o *Op) isWrite() bool { return o.Kind == Put || o.Kind == Delete }

// isUnknown tells whether the write may or may not have had an effect.
func (o *Op) isUnknown() bool {
	return o.isWrite() && (o.Outcome == Unknown || o.Return == Never)
}

// conditionHolds tells whether a key last changed at rev (0: absent) lets o through.
func (o *Op) conditionHolds(rev uint64) bool {
	switch {
	case o.IfAbsent:
		return rev == 0
	case o.IfRevision != 0:
		return rev == o.IfRevision
	}
	return true
}
