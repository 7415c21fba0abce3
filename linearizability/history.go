package linearizability

import (
	"fmt"
	"math"
	"slices"
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
	// Else is what a Txn does in place of Steps if a compare does not hold. ElseDone is its
	// answer's; the answers to reads are in Else then.
	Else     []Step
	ElseDone bool
	// RetryOf is the operation that this one repeats as a new proposal, with the
	// same value and conditions; each may have an effect. 0: none.
	RetryOf uint64
	// IdempotencyKey, unless empty, makes all operations that have it attempts at
	// one: they have one effect at most. One that is refused since the key was used for
	// another request is NotApplied. The key names its principal, if there are several.
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
	// Value, unless empty, asks for a record with that value, whatever its revision.
	Value string `json:"value,omitempty"`
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
	Key      string // "": the revision changed no key
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
	// Workloads say what else must hold. Several of one name are so many of its kind.
	Workloads []Workload
}

// Workload names a set of keys whose values obey a rule.
type Workload struct {
	Name  string   // Bank, Set or ListAppend
	Keys  []string // empty: all keys of the history
	Total int64    // of Bank: the sum of all values, at each revision
}

// ruled are the keys of all workloads of a name.
type ruled struct {
	all  bool // of the history
	keys map[string]bool
}

func (h *History) ruled(name string) ruled {
	r := ruled{keys: map[string]bool{}}
	for _, w := range h.Workloads {
		if w.Name != name {
			continue
		}
		r.all = r.all || len(w.Keys) == 0
		for _, key := range w.Keys {
			r.keys[key] = true
		}
	}
	return r
}

// has tells whether a key belongs to them.
func (r ruled) has(key string) bool { return r.all || r.keys[key] }

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
	describeSteps(b, o.Steps)
	if o.IfAbsent {
		b.WriteString(" if absent")
	}
	if o.IfRevision != 0 {
		fmt.Fprintf(b, " if at %d", o.IfRevision)
	}
	for _, c := range o.Compares {
		fmt.Fprintf(b, " if %v", c)
	}
	if len(o.Else) > 0 {
		b.WriteString(" else")
		describeSteps(b, o.Else)
	}
	if o.IdempotencyKey != "" {
		b.WriteString(" under key " + o.IdempotencyKey)
	}
}

// maxNamed bounds the steps, or keys, that a text for people names.
const maxNamed = 8

func describeSteps(b *strings.Builder, steps []Step) {
	for i, s := range steps {
		if i == maxNamed {
			fmt.Fprintf(b, " and %d more", len(steps)-i)
			return
		}
		fmt.Fprintf(b, " %s %s", s.Kind, s.Key)
		if s.Kind == Put || s.Kind == Append {
			b.WriteString("=" + s.Value)
		}
	}
}

// describeAnswer writes what was answered.
func (o *Op) describeAnswer(b *strings.Builder) {
	if o.ElseDone {
		b.WriteString(" by else")
	}
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
	if !o.sawSteps() {
		return
	}
	named := 0
	for _, s := range o.branch() {
		if s.Kind != Read {
			continue
		}
		if named++; named > maxNamed {
			b.WriteString(", ...")
			return
		}
		fmt.Fprintf(b, ", %s: %s at %d", s.Key, sawText(s.Found, s.Got), s.KeyRevision)
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
	case c.Value != "":
		return c.Key + " is " + c.Value
	case c.Revision == 0:
		return c.Key + " is absent"
	}
	return fmt.Sprintf("%s at %d", c.Key, c.Revision)
}

// holds tells whether the compare lets a key through.
func (c Compare) holds(now keyVersion) bool {
	switch {
	case c.Exists:
		return now.found
	case c.Value != "":
		return now.found && now.value == c.Value
	}
	return now.keyRevision() == c.Revision
}

// lastAt is what a compare of a single key is given: by its revision, not its value.
func lastAt(rev uint64) keyVersion { return keyVersion{found: rev != 0, rev: rev} }

// isWrite tells operations that may change something from reads.
func (o *Op) isWrite() bool {
	if o.Kind != Txn {
		return o.Kind == Put || o.Kind == Delete
	}
	writes := func(s Step) bool { return s.Kind != Read }
	return slices.ContainsFunc(o.Steps, writes) || slices.ContainsFunc(o.Else, writes)
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

// branch are the steps of a Txn that its answer speaks of; without an answer, those that it
// does if its conditions hold.
func (o *Op) branch() []Step {
	if o.ElseDone {
		return o.Else
	}
	return o.Steps
}

// mayDo are all steps that the operation may have done.
func (o *Op) mayDo() []Step {
	if len(o.Else) > 0 && !o.isAnswered() {
		return slices.Concat(o.Steps, o.Else)
	}
	return o.steps()
}

// steps are what the operation does, whatever its kind: of a Txn, its branch.
func (o *Op) steps() []Step {
	switch o.Kind {
	case Txn:
		return o.branch()
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
