package jepsen

import (
	"context"
	"fmt"
	"iter"

	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["register"] = func() Workload { return &register{spells{each: 400}} }
}

// registerKeys are how many keys a spell has.
const registerKeys = 8

// register puts, compares and sets, deletes, and reads single keys.
type register struct{ spells }

func registerKey(spell, n uint64) string { return fmt.Sprintf("register/%d/%d", spell, n) }

// Prepare is part of Workload.
func (*register) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *register) Step(ctx context.Context, c *Caller) {
	known := knownBy(c)
	key := registerKey(w.next(), c.Rng.Uint64N(registerKeys))
	op := c.op(linearizability.Read, key)
	switch c.Rng.IntN(12) {
	case 0, 1, 2:
		op.Kind, op.Value = linearizability.Put, valueOf(op)
	case 3:
		op.Kind, op.Value, op.IfRevision = linearizability.Put, valueOf(op), known[key].revision
	case 4:
		op.Kind, op.Value, op.IfAbsent = linearizability.Put, valueOf(op), true
	case 5:
		op.Kind = linearizability.Delete
	case 6:
		op.Kind, op.IfRevision = linearizability.Delete, known[key].revision
	case 7:
		w.orElse(op, known[key].value)
	case 8, 9:
		op.Kind = linearizability.Local
	}
	c.Do(ctx, op)
	learn(known, op)
}

// orElse makes of op a put if the key has a value, and else another one.
func (*register) orElse(op *linearizability.Op, value string) {
	put := linearizability.Step{Kind: linearizability.Put, Key: op.Key, Value: valueOf(op)}
	other := put
	other.Value = "else-" + put.Value
	op.Compares = []linearizability.Compare{{Key: op.Key, Value: value, Exists: value == ""}}
	op.Kind, op.Key = linearizability.Txn, ""
	op.Steps, op.Else = []linearizability.Step{put}, []linearizability.Step{other}
}

// sight is what a client knows of a key.
type sight struct {
	revision uint64 // 0: it has no value
	value    string
}

// knownBy are the keys that a client knows.
func knownBy(c *Caller) map[string]sight {
	known, _ := c.State.(map[string]sight)
	if known == nil || len(known) > maxKnown {
		known = map[string]sight{}
		c.State = known
	}
	return known
}

// maxKnown bounds what a client remembers: of spells that are over it needs nothing.
const maxKnown = 1000

// learn remembers what an answer said of keys, and forgets those of which it is not certain any more.
func learn(known map[string]sight, op *linearizability.Op) {
	steps := op.Steps
	switch {
	case op.Kind != linearizability.Txn && op.Outcome == linearizability.ReadDone:
		known[op.Key] = sight{op.KeyRevision, op.Got}
		return
	case op.Kind != linearizability.Txn && (op.Outcome == linearizability.Unchanged || op.Outcome == linearizability.CompareFailed):
		known[op.Key] = sight{revision: op.KeyRevision}
		return
	case op.Kind != linearizability.Txn:
		steps = []linearizability.Step{{Kind: op.Kind, Key: op.Key, Value: op.Value}}
	case op.ElseDone:
		steps = op.Else
	}
	for _, s := range steps {
		switch {
		case s.Kind == linearizability.Read && op.Outcome == linearizability.ReadDone:
			known[s.Key] = sight{s.KeyRevision, s.Got}
		case s.Kind == linearizability.Read:
		case s.Kind == linearizability.Put && op.Outcome == linearizability.Applied:
			known[s.Key] = sight{op.Revision, s.Value}
		default:
			delete(known, s.Key)
		}
	}
}

func (w *register) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for n := range uint64(registerKeys) {
				if !yield(registerKey(spell, n)) {
					return
				}
			}
		}
	}
}

// Settle is part of Workload.
func (w *register) Settle(ctx context.Context, r *Run) error { return r.readBack(ctx, w.keys()) }

// Judge is part of Workload.
func (*register) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*register) Thin(h *linearizability.History) error {
	return thin(h, "register",
		answered(linearizability.Put, linearizability.Applied), answered(linearizability.Put, linearizability.CompareFailed),
		answered(linearizability.Delete, linearizability.Applied), answered(linearizability.Delete, linearizability.Unchanged, linearizability.CompareFailed),
		answered(linearizability.Read, linearizability.ReadDone), answered(linearizability.Local, linearizability.ReadDone),
		answered(linearizability.Txn, linearizability.Applied),
	)
}
