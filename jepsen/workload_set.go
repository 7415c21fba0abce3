package jepsen

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	workloads[linearizability.Set] = func() Workload { return &set{spells{each: 30}} }
}

// set adds elements that are never removed. A set is small: that many clients add at the same time to one that is not read meanwhile
// leaves Porcupine all orders of theirs to try. In the store each is a key of its own; in the history a spell's set is one
// key, a list of them in the order of their revisions, which is what a listing shows.
type set struct{ spells }

func setKey(spell uint64) string { return fmt.Sprintf("set/%d", spell) }

// HistoryKey is part of Renamer.
func (*set) HistoryKey(key string) string {
	if strings.HasPrefix(key, "set/") {
		return key[:strings.LastIndex(key, "/")]
	}
	return key
}

// Prepare is part of Workload.
func (*set) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *set) Step(ctx context.Context, c *Caller) {
	key := setKey(w.next())
	switch c.Rng.IntN(10) {
	case 0, 1, 2, 3, 4, 5, 6:
		op := c.op(linearizability.Txn, "")
		add(ctx, c.Run, op, key)
	case 7:
		members(ctx, c.Run, c.op(linearizability.Local, key))
	default:
		members(ctx, c.Run, c.op(linearizability.Read, key))
	}
}

// add adds an element that is op's.
func add(ctx context.Context, r *Run, op *linearizability.Op, key string) {
	element := fmt.Sprintf("e%d", op.ID)
	op.Steps = []linearizability.Step{{Kind: linearizability.Append, Key: key, Value: element}}
	r.record(ctx, op, func(ctx context.Context, _ *heard) {
		o := client.WriteOptions{IfAbsent: true, NoIdempotencyKey: true, Comment: remark(op)}
		_, meta, err := r.At(op.Node).Put(ctx, key+"/"+element, []byte(element), textType, o)
		op.Outcome = outcomeOf(err)
		if err == nil {
			op.Revision = meta.Revision
		}
	})
}

// members reads a set.
func members(ctx context.Context, r *Run, op *linearizability.Op) {
	r.record(ctx, op, func(ctx context.Context, h *heard) {
		items, ok := list(ctx, r.At(op.Node), op.Key+"/", readOptions(op))
		if !ok {
			return
		}
		slices.SortFunc(items, func(a, b client.Item) int { return cmp.Compare(a.Revision, b.Revision) })
		elements := make([]string, len(items))
		for i := range items {
			elements[i], op.KeyRevision = string(items[i].Value), items[i].Revision
		}
		op.Outcome, op.Revision = linearizability.ReadDone, h.Revision
		op.Found, op.Got = len(items) > 0, strings.Join(elements, " ")
	})
}

// Settle is part of Workload.
func (w *set) Settle(ctx context.Context, r *Run) error {
	return r.atAll(func(node string) error {
		for spell := range w.all() {
			_, err := r.insist(ctx, func() *linearizability.Op {
				op := &linearizability.Op{Client: settler, Node: node, Kind: linearizability.Read, Key: setKey(spell)}
				members(ctx, r, op)
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
func (w *set) Rules() []linearizability.Workload {
	rule := linearizability.Workload{Name: linearizability.Set}
	for spell := range w.all() {
		rule.Keys = append(rule.Keys, setKey(spell))
	}
	if rule.Keys == nil {
		return nil
	}
	return []linearizability.Workload{rule}
}

// Judge is part of Workload.
func (*set) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*set) Thin(h *linearizability.History) error {
	return thin(h, "set",
		answered(linearizability.Txn, linearizability.Applied), answered(linearizability.Read, linearizability.ReadDone),
		answered(linearizability.Local, linearizability.ReadDone),
	)
}
