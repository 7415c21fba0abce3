package jepsen

import (
	"context"
	"fmt"
	"strconv"

	"github.com/confman/confman/linearizability"
)

func init() {
	workloads[linearizability.Bank] = func() Workload { return &bank{spells{each: 300}} }
}

const (
	accounts    = 4
	maxTransfer = 9
)

// bank moves money between accounts, of which there is none to begin with: what one has another one owes. Each spell
// is a bank of its own.
type bank struct{ spells }

func accountsOf(spell uint64) (keys []string) {
	for n := range accounts {
		keys = append(keys, fmt.Sprintf("bank/%d/%d", spell, n))
	}
	return keys
}

// Prepare is part of Workload.
func (*bank) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *bank) Step(ctx context.Context, c *Caller) {
	spell := w.next()
	keys, known := accountsOf(spell), knownBy(c)
	if c.Rng.IntN(6) == 0 {
		w.list(ctx, c, spell)
		return
	}
	op := c.op(linearizability.Txn, "")
	if !knows(known, keys) || c.Rng.IntN(4) == 0 {
		op.Steps = readSteps(keys)
	} else {
		way, amount := c.Rng.Perm(len(keys)), 1+c.Rng.IntN(maxTransfer)
		transfer(op, known, keys[way[0]], -amount)
		transfer(op, known, keys[way[1]], amount)
	}
	c.Do(ctx, op)
	learn(known, op)
}

// transfer adds to what is in an account, if that is what the client knows still.
func transfer(op *linearizability.Op, known map[string]sight, account string, amount int) {
	has, _ := strconv.Atoi(known[account].value) // a missing one has nothing
	op.Compares = append(op.Compares, linearizability.Compare{Key: account, Revision: known[account].revision})
	op.Steps = append(op.Steps, linearizability.Step{Kind: linearizability.Put, Key: account, Value: strconv.Itoa(has + amount)})
}

// knows tells whether a client knows all these keys.
func knows(known map[string]sight, keys []string) bool {
	for _, key := range keys {
		if _, ok := known[key]; !ok {
			return false
		}
	}
	return true
}

// readSteps read keys in one view.
func readSteps(keys []string) (steps []linearizability.Step) {
	for _, key := range keys {
		steps = append(steps, linearizability.Step{Kind: linearizability.Read, Key: key})
	}
	return steps
}

// list reads all accounts by a listing of one node, whatever it has. To the history that is a read of each at one
// revision.
func (w *bank) list(ctx context.Context, c *Caller, spell uint64) {
	var ops []*linearizability.Op
	node := c.AnyNode()
	for _, key := range accountsOf(spell) {
		op := &linearizability.Op{ID: c.Recorder.ID(), Client: c.ID, Node: node, Kind: linearizability.Local, Key: key}
		if !c.Recorder.Call(op) {
			break
		}
		ops = append(ops, op)
	}
	ctx, h := listening(context.WithoutCancel(ctx))
	items, ok := list(ctx, c.At(node), fmt.Sprintf("bank/%d/", spell), readOptions(&linearizability.Op{Kind: linearizability.Local}))
	for _, op := range ops {
		if ok {
			op.Outcome, op.Revision = linearizability.ReadDone, h.Revision
			claim(op, h)
		}
		for i := range items {
			if items[i].Path == op.Key {
				op.Found, op.Got, op.KeyRevision = true, string(items[i].Value), items[i].Revision
			}
		}
		c.Recorder.Return(op)
	}
}

// Settle is part of Workload.
func (w *bank) Settle(ctx context.Context, r *Run) error {
	return r.atAll(func(node string) error {
		for spell := range w.all() {
			_, err := r.insist(ctx, func() *linearizability.Op {
				op := &linearizability.Op{Client: settler, Node: node, Kind: linearizability.Txn, Steps: readSteps(accountsOf(spell))}
				r.Do(ctx, op)
				return op
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Rules is part of Ruler.
func (w *bank) Rules() (rules []linearizability.Workload) {
	for spell := range w.all() {
		rules = append(rules, linearizability.Workload{Name: linearizability.Bank, Keys: accountsOf(spell)})
	}
	return rules
}

// Judge is part of Workload.
func (*bank) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*bank) Thin(h *linearizability.History) error {
	return thin(h, "bank",
		answered(linearizability.Txn, linearizability.Applied), answered(linearizability.Txn, linearizability.ReadDone),
		answered(linearizability.Local, linearizability.ReadDone),
	)
}
