package jepsen

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	workloads[linearizability.ListAppend] = func() Workload { return &lists{spells{each: 300}} }
}

// listKeys are how many lists a spell has.
const listKeys = 3

// forgets is how often a client does not remember what it added: when it goes on, its compares must fail, also if nobody else was there.
const forgets = 0.1

// lists are values that clients add elements to: they read, and put what they read with one element more, if the key is
// still as it was.
type lists struct{ spells }

func listsOf(spell uint64) (keys []string) {
	for n := range listKeys {
		keys = append(keys, fmt.Sprintf("list-append/%d/%d", spell, n))
	}
	return keys
}

// Prepare is part of Workload.
func (*lists) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *lists) Step(ctx context.Context, c *Caller) {
	keys, known := listsOf(w.next()), knownBy(c)
	if c.Rng.IntN(8) == 0 {
		c.Do(ctx, c.op(linearizability.Local, keys[c.Rng.IntN(len(keys))]))
		return
	}
	op := c.op(linearizability.Txn, "")
	if !knows(known, keys) || c.Rng.IntN(4) == 0 {
		op.Steps = readSteps(keys)
		c.Do(ctx, op)
		learn(known, op)
		return
	}
	c.Rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	adds := 1 + c.Rng.IntN(len(keys))
	var then []client.TxnOp
	for n, key := range keys {
		if n >= adds { // and reads the rest
			op.Steps = append(op.Steps, linearizability.Step{Kind: linearizability.Read, Key: key})
			then = append(then, client.GetOp(key))
			continue
		}
		element := fmt.Sprintf("e%d", op.ID)
		was := known[key]
		op.Compares = append(op.Compares, linearizability.Compare{Key: key, Revision: was.revision})
		op.Steps = append(op.Steps, linearizability.Step{Kind: linearizability.Append, Key: key, Value: element})
		then = append(then, client.PutOp(key, []byte(strings.TrimSpace(was.value+" "+element)), textType))
	}
	c.Ask(ctx, c.At(op.Node), op, then)
	if op.Outcome == linearizability.Applied && c.chance(forgets) {
		return
	}
	w.learn(known, op)
}

// learn remembers what became of lists, as learn does of other values.
func (*lists) learn(known map[string]sight, op *linearizability.Op) {
	for _, s := range op.Steps {
		switch {
		case op.Outcome != linearizability.Applied:
			delete(known, s.Key)
		case s.Kind == linearizability.Read:
			known[s.Key] = sight{s.KeyRevision, s.Got}
		default:
			known[s.Key] = sight{op.Revision, strings.TrimSpace(known[s.Key].value + " " + s.Value)}
		}
	}
}

func (w *lists) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for _, key := range listsOf(spell) {
				if !yield(key) {
					return
				}
			}
		}
	}
}

// Settle is part of Workload.
func (w *lists) Settle(ctx context.Context, r *Run) error { return r.readBack(ctx, w.keys()) }

// Rules is part of Ruler.
func (w *lists) Rules() []linearizability.Workload {
	rule := linearizability.Workload{Name: linearizability.ListAppend}
	for key := range w.keys() {
		rule.Keys = append(rule.Keys, key)
	}
	if rule.Keys == nil {
		return nil
	}
	return []linearizability.Workload{rule}
}

// Judge is part of Workload.
func (*lists) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*lists) Thin(h *linearizability.History) error {
	return thin(h, "list-append",
		answered(linearizability.Txn, linearizability.Applied), answered(linearizability.Txn, linearizability.ReadDone),
		answered(linearizability.Txn, linearizability.CompareFailed), answered(linearizability.Local, linearizability.ReadDone),
	)
}
