package jepsen

import (
	"context"
	"errors"
	"fmt"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() { workloads["register"] = func() Workload { return &register{} } }

const (
	// After so many operations the clients go on to other keys, of which there are so many: each is asked often enough to
	// show a fault, and seldom enough to be judged quickly.
	registerSpell = 400
	registerKeys  = 8
)

// register writes, compares and sets, and reads single keys.
type register struct{}

func registerKey(spell, n uint64) string { return fmt.Sprintf("register/%d/%d", spell, n) }

// Prepare is part of Workload.
func (*register) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *register) Step(ctx context.Context, c *Caller) {
	id := c.Recorder.ID()
	known, _ := c.State.(map[string]uint64)
	if known == nil {
		known = map[string]uint64{}
		c.State = known
	}
	key := registerKey(id/registerSpell, c.Rng.Uint64N(registerKeys))
	op := &linearizability.Op{ID: id, Client: c.ID, Node: c.AnyNode(), Kind: linearizability.Read, Key: key}
	switch c.Rng.IntN(5) {
	case 0, 1:
		op.Kind, op.Value = linearizability.Put, fmt.Sprintf("v%d", id)
	case 2:
		op.Kind, op.Value, op.IfRevision = linearizability.Put, fmt.Sprintf("v%d", id), known[key]
	}
	c.Do(ctx, op)
	if op.KeyRevision != 0 {
		known[key] = op.KeyRevision
	}
}

// Do asks op's node for a read or a put of one key, and records what came of it.
func (r *Run) Do(ctx context.Context, op *linearizability.Op) {
	if !r.Recorder.Call(op) {
		return
	}
	defer r.Recorder.Return(op)
	ctx, heard := listening(ctx)
	c := r.At(op.Node)
	if op.Kind == linearizability.Put {
		o := client.WriteOptions{IfRevision: op.IfRevision, NoIdempotencyKey: op.IdempotencyKey == "", IdempotencyKey: op.IdempotencyKey}
		wrote, meta, err := c.Put(ctx, op.Key, []byte(op.Value), "text/plain", o)
		op.Outcome = outcomeOf(err)
		var p *client.Problem
		switch {
		case err == nil:
			op.Revision, op.KeyRevision = meta.Revision, wrote.Revision
		case client.IsConflict(err) && errors.As(err, &p):
			op.Outcome, op.Revision, op.KeyRevision = linearizability.CompareFailed, heard.Revision, p.CurrentRevision
		}
		return
	}
	rec, meta, err := c.Get(ctx, op.Key, client.ReadOptions{Consistency: client.Linearizable})
	switch {
	case err == nil:
		op.Outcome, op.Revision, op.Found, op.Got, op.KeyRevision = linearizability.ReadDone, meta.Revision, true, string(rec.Value), rec.Revision
	case client.IsNotFound(err):
		op.Outcome, op.Revision = linearizability.ReadDone, heard.Revision
	}
}

// outcomeOf is what became of a write.
func outcomeOf(err error) linearizability.Outcome {
	switch {
	case err == nil:
		return linearizability.Applied
	case client.OutcomeOf(err) == client.NotApplied:
		return linearizability.NotApplied
	default:
		return linearizability.Unknown
	}
}

// Settle is part of Workload.
func (w *register) Settle(ctx context.Context, r *Run) error {
	for spell := range r.Recorder.ID()/registerSpell + 1 {
		for n := range uint64(registerKeys) {
			for _, name := range r.Members() {
				op := &linearizability.Op{Client: -1, Node: name, Kind: linearizability.Read, Key: registerKey(spell, n)}
				r.Do(ctx, op)
				if op.Outcome != linearizability.ReadDone {
					return fmt.Errorf("%s does not read %s", name, op.Key)
				}
			}
		}
	}
	return nil
}

// Judge is part of Workload.
func (*register) Judge(*linearizability.History) error { return nil }
