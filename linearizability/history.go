package linearizability

import (
	"fmt"
	"math"
	"strings"
)

// Never is the return time of an operation that did not return.
const Never = int64(math.MaxInt64)

// Kind is what an operation, or one step of a transaction, asks.
type Kind string

// The kinds of operation.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
	// Read is a linearizable read.
	Read Kind = "read"
	// Local is a read of whatever the node holds.
	Local Kind = "local"
	// Txn does several steps at one revision, if all its compares hold. One that
	// only reads is a linearizable read.
	Txn Kind = "txn"
	// Append, a step only, adds an element to a list: a value whose elements are
	// separated by spaces. Stores without it do it with a read and a compare.
	Append Kind = "append"
)

// Outcome is what the client was told.
type Outcome string

// The outcomes.
const (
	// Applied: the write changed something, at Op.Revision.
	Applied Outcome = "applied"
	// Unchanged: everything was as asked already.
	Unchanged Outcome = "unchanged"
	// CompareFailed: a condition did not hold.
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
	// Session, unless 0, names a sequence of operations whose client passed on the
	// highest revision it had seen: its reads see its writes and never go back.
	Session uint64
	Node    string
	Kind    Kind
	Key     string // not of a Txn
	Value   string // Put only; unique, but for retries
	// IfRevision, unless 0, and IfAbsent are conditions of a put or delete.
	IfRevision uint64
	IfAbsent   bool
	// Compares and Steps are what a Txn asks; the steps carry its answers too.
	Compares []Compare
	Steps    []Step
	// RetryOf is the operation that this one repeats as a new proposal, with the
	// same value and conditions; each may have an effect. 0: none.
	RetryOf uint64
	// IdempotencyKey, unless empty, makes all operations that have it attempts at
	// one: they have one effect at most.
	IdempotencyKey string
	// MinRevision is the least revision that the client accepts an answer at.
	MinRevision uint64
	// MaxStaleness, unless 0, is how old an answer the client accepts, in ns.
	MaxStaleness int64

	Call, Return int64 // ns; Return is Never if there was none
	Outcome      Outcome
	// Revision is the store's after the write, or the one that was read at.
	Revision uint64
	// Found and Got are what a read saw; KeyRevision is the last change of the key
	// as a read, an unchanged write or a failed compare saw it, 0 if there was no
	// record. A Txn has them in its steps.
	Found       bool
	Got         string
	KeyRevision uint64
	// Claims: the answer claims to hold all that was acknowledged before FreshAt.
	Claims  bool
	FreshAt int64
}

// Compare is a condition of a transaction on the state before it.
type Compare struct {
	Key string `json:"key"`
	// Revision is the key's last change; 0: there is no record.
	Revision uint64 `json:"revision,omitempty"`
	// Exists asks for any record, whatever its revision.
	Exists bool `json:"exists,omitempty"`
}

// Step is a part of a transaction; it sees what the steps before it did.
type Step struct {
	Kind  Kind   `json:"kind"` // Put, Delete, Read or Append
	Key   string `json:"key"`
	Value string `json:"value,omitempty"` // of Put, or the element of Append
	// What a Read saw; not known unless the transaction was answered.
	Found       bool   `json:"found,omitempty"`
	Got         string `json:"got,omitempty"`
	KeyRevision uint64 `json:"key_revision,omitempty"`
}

// Change is one key changed by one revision of the change log. The changes of one
// transaction have the same revision and follow each other.
type Change struct {
	Revision uint64
	Op       uint64 // 0: of no operation in the history
	Key      string
}

// History is what was asked and answered, and what is known of the cluster
// meanwhile. Only Ops is needed; each judge says what it can do without the rest.
type History struct {
	Ops []Op // in any order
	// Changes is the change log from revision 1, complete, if HasChanges.
	Changes    []Change
	HasChanges bool
	Watches    []Watch
	Events     []Event
	// Workload says what else must hold; its zero value: nothing.
	Workload Workload
}

// Workload names a set of keys whose values obey a rule.
type Workload struct {
	Name  string   // Bank, Set or ListAppend
	Keys  []string // empty: all keys of the history
	Total int64    // of Bank: the sum of all values, at each revision
}

// String names an operation for people.
func (o *Op) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "op %d (client %d on %s, ", o.ID, o.Client, o.Node)
	o.describe(&b)
	if o.Return == Never {
		fmt.Fprintf(&b, "; called at %d, never returned)", o.Call)
		return b.String()
	}
	fmt.Fprintf(&b, "; from %d to %d: %s", o.Call, o.Return, o.Outcome)
	o.describeAnswer(&b)
	b.WriteString(")")
	return b.String()
}

// describe writes what was asked.
func (o *Op) describe(b *strings.Builder) {
	b.WriteString(string(o.Kind))
	if o.Kind != Txn {
		b.WriteString(" " + o.Key)
	}
	if o.Kind == Put {
		b.WriteString("=" + o.Value)
	}
	for _, s := range o.Steps {
		fmt.Fprintf(b, " %s %s", s.Kind, s.Key)
		if s.Kind == Put || s.Kind == Append {
			b.WriteString("=" + s.Value)
		}
	}
	if o.IfAbsent {
		b.WriteString(" if absent")
	}
	if o.IfRevision != 0 {
		fmt.Fprintf(b, " if at %d", o.IfRevision)
	}
	for _, c := range o.Compares {
		fmt.Fprintf(b, " if %v", c)
	}
	if o.IdempotencyKey != "" {
		b.WriteString(" under key " + o.IdempotencyKey)
	}
}

// describeAnswer writes what was answered.
func (o *Op) describeAnswer(b *strings.Builder) {
	switch {
	case o.Outcome == Applied:
		fmt.Fprintf(b, " at %d", o.Revision)
	case o.Outcome != ReadDone && o.Outcome != Unchanged && o.Outcome != CompareFailed:
		return
	case o.Kind == Txn:
		fmt.Fprintf(b, ", store at %d", o.Revision)
	default:
		if o.Outcome == ReadDone {
			b.WriteString(" " + sawText(o.Found, o.Got))
		}
		fmt.Fprintf(b, ", key at %d, store at %d", o.KeyRevision, o.Revision)
	}
	for _, s := range o.Steps {
		if s.Kind == Read && o.Outcome != CompareFailed {
			fmt.Fprintf(b, ", %s: %s at %d", s.Key, sawText(s.Found, s.Got), s.KeyRevision)
		}
	}
}

func sawText(found bool, value string) string {
	if !found {
		return "nothing"
	}
	return value
}

func (c Compare) String() string {
	switch {
	case c.Exists:
		return c.Key + " exists"
	case c.Revision == 0:
		return c.Key + " is absent"
	}
	return fmt.Sprintf("%s at %d", c.Key, c.Revision)
}

// holds tells whether the compare lets a key through that was last changed at rev.
func (c Compare) holds(rev uint64) bool {
	if c.Exists {
		return rev != 0
	}
	return rev == c.Revision
}

// isWrite tells operations that may change something from reads.
func (o *Op) isWrite() bool {
	if o.Kind != Txn {
		return o.Kind == Put || o.Kind == Delete
	}
	for i := range o.Steps {
		if o.Steps[i].Kind != Read {
			return true
		}
	}
	return false
}

// isUnknown tells whether the write may or may not have had an effect.
func (o *Op) isUnknown() bool {
	return o.isWrite() && (o.Outcome == Unknown || o.Return == Never)
}

// isAnswered tells whether the operation has an answer that names a revision.
func (o *Op) isAnswered() bool {
	if o.Return == Never {
		return false
	}
	switch o.Outcome {
	case Applied, Unchanged, CompareFailed, ReadDone:
		return true
	case NotApplied, Unknown, ReadFailed:
	}
	return false
}

// end is when the operation's effect was there at the latest.
func (o *Op) end() int64 {
	if o.isUnknown() {
		return Never
	}
	return o.Return
}

// steps are what the operation does, whatever its kind.
func (o *Op) steps() []Step {
	switch o.Kind {
	case Txn:
		return o.Steps
	case Put, Delete:
		return []Step{{Kind: o.Kind, Key: o.Key, Value: o.Value}}
	case Read, Local, Append:
	}
	return []Step{{Kind: Read, Key: o.Key, Found: o.Found, Got: o.Got, KeyRevision: o.KeyRevision}}
}

// compares are its conditions, whatever its kind.
func (o *Op) compares() []Compare {
	switch {
	case o.Kind == Txn:
		return o.Compares
	case o.IfAbsent:
		return []Compare{{Key: o.Key}}
	case o.IfRevision != 0:
		return []Compare{{Key: o.Key, Revision: o.IfRevision}}
	}
	return nil
}

// appended is the list with one more element.
func appended(list, element string) string {
	if list == "" {
		return element
	}
	return list + " " + element
}
