package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// textType is the type of all values.
const textType = "text/plain"

// Do asks op's node, once, for what op says, and records what came of it.
func (r *Run) Do(ctx context.Context, op *linearizability.Op) { r.Ask(ctx, r.At(op.Node), op, nil) }

// Ask is Do by a client of op's node that is not one of the run's. then, unless nil, is what a transaction does in the
// store, one for each of op.Steps: where it appends to a list, the store has it otherwise.
func (r *Run) Ask(ctx context.Context, c *client.Client, op *linearizability.Op, then []client.TxnOp) {
	r.record(ctx, op, func(ctx context.Context, h *heard) {
		switch op.Kind {
		case linearizability.Put, linearizability.Delete:
			write(ctx, c, op, h)
		case linearizability.Read, linearizability.Local:
			_ = read(ctx, c, op, h) // op has it
		case linearizability.Txn:
			transact(ctx, c, op, then)
		case linearizability.Append:
			panic("jepsen: an append is a step of a transaction")
		}
	})
}

// record records op, whose outcome and answer ask finds out. Its context does not end with ctx: that the
// run is over is no reason not to know what became of op. If there is no room, op has no outcome.
func (r *Run) record(ctx context.Context, op *linearizability.Op, ask func(context.Context, *heard)) {
	if !r.Recorder.Call(op) {
		return
	}
	defer r.Recorder.Return(op)
	ctx, h := listening(context.WithoutCancel(ctx))
	ask(ctx, h)
	claim(op, h)
}

// claim notes how fresh the answer claims to be. The node said so after the call, of an instant that was so much earlier:
// what was acknowledged so long before the call must be there.
func claim(op *linearizability.Op, h *heard) {
	if op.Outcome == linearizability.ReadDone && h.Fresh {
		op.Claims, op.FreshAt = true, op.Call-int64(math.Round(h.Staleness*1000))*int64(time.Millisecond)
	}
}

// What comments begin with.
const (
	remarkOp  = "op "
	remarkKey = "key "
)

// remark is the comment of op, which goes into the change log: it tells whose a change is.
func remark(op *linearizability.Op) string {
	if op.IdempotencyKey != "" {
		return remarkKey + op.IdempotencyKey // attempts must not differ
	}
	return fmt.Sprintf("%s%d", remarkOp, op.ID)
}

// write puts or deletes one key.
func write(ctx context.Context, c *client.Client, op *linearizability.Op, h *heard) {
	o := client.WriteOptions{
		IfRevision: op.IfRevision, IfAbsent: op.IfAbsent, Comment: remark(op),
		NoIdempotencyKey: op.IdempotencyKey == "", IdempotencyKey: op.IdempotencyKey,
	}
	var (
		wrote client.Written
		meta  client.Meta
		err   error
	)
	if op.Kind == linearizability.Put {
		wrote, meta, err = c.Put(ctx, op.Key, []byte(op.Value), textType, o)
	} else {
		wrote, meta, err = c.Delete(ctx, op.Key, o)
	}
	op.Outcome = outcomeOf(err)
	var p *client.Problem
	_ = errors.As(err, &p)
	switch {
	case err == nil:
		op.Revision, op.KeyRevision = meta.Revision, wrote.Revision
		if !wrote.Changed {
			op.Outcome = linearizability.Unchanged
		}
	case p == nil:
	case p.Name() == "precondition-failed":
		op.Outcome, op.Revision, op.KeyRevision = linearizability.CompareFailed, h.Revision, p.CurrentRevision
	case p.Name() == "not-found" && op.Kind == linearizability.Delete:
		op.Outcome, op.Revision = linearizability.Unchanged, h.Revision
	}
}

// read reads one key.
func read(ctx context.Context, c *client.Client, op *linearizability.Op, h *heard) error {
	rec, _, err := c.Get(ctx, op.Key, readOptions(op))
	switch {
	case err == nil:
		op.Outcome, op.Revision, op.Found, op.Got, op.KeyRevision = linearizability.ReadDone, h.Revision, true, string(rec.Value), rec.Revision
	case client.IsNotFound(err):
		op.Outcome, op.Revision = linearizability.ReadDone, h.Revision
	}
	return err
}

// readOptions are how a read of op's kind is asked for.
func readOptions(op *linearizability.Op) client.ReadOptions {
	o := client.ReadOptions{Consistency: client.Linearizable, MinRevision: op.MinRevision}
	switch {
	case op.Kind != linearizability.Local:
	case op.MaxStaleness != 0:
		o.Consistency, o.MaxStaleness = client.Bounded, time.Duration(op.MaxStaleness)
	default:
		o.Consistency = client.Local
	}
	return o
}

// transact does a transaction.
func transact(ctx context.Context, c *client.Client, op *linearizability.Op, then []client.TxnOp) {
	if then == nil {
		then = stored(op.Steps)
	}
	t := client.Txn{Then: then, Else: stored(op.Else)}
	for _, cond := range op.Compares {
		t.Compare = append(t.Compare, compare(cond))
	}
	o := client.TxnOptions{Comment: remark(op), NoIdempotencyKey: op.IdempotencyKey == "", IdempotencyKey: op.IdempotencyKey}
	res, _, err := c.Txn(ctx, t, o)
	switch {
	case err != nil && reads(op):
	case err != nil:
		op.Outcome = outcomeOf(err)
	default:
		told(op, &res)
	}
}

func compare(c linearizability.Compare) client.Compare {
	switch {
	case c.Exists:
		return client.IfExists(c.Key)
	case c.Value != "":
		return client.IfValue(c.Key, []byte(c.Value))
	}
	return client.IfRevision(c.Key, c.Revision)
}

// stored are steps as the store has them.
func stored(steps []linearizability.Step) []client.TxnOp {
	var ops []client.TxnOp
	for _, s := range steps {
		switch s.Kind {
		case linearizability.Put:
			ops = append(ops, client.PutOp(s.Key, []byte(s.Value), textType))
		case linearizability.Delete:
			ops = append(ops, client.DeleteOp(s.Key))
		case linearizability.Read:
			ops = append(ops, client.GetOp(s.Key))
		case linearizability.Append, linearizability.Local, linearizability.Txn:
			panic("jepsen: the store has no " + string(s.Kind))
		}
	}
	return ops
}

// told takes the answer of a transaction.
func told(op *linearizability.Op, res *client.TxnResult) {
	op.Revision, op.ElseDone = res.Revision, !res.Succeeded && len(op.Else) > 0
	switch {
	case !res.Succeeded && len(op.Else) == 0:
		op.Outcome = linearizability.CompareFailed
		return
	case reads(op):
		op.Outcome = linearizability.ReadDone
	case res.Changed:
		op.Outcome = linearizability.Applied
	default:
		op.Outcome = linearizability.Unchanged
	}
	steps := op.Steps
	if op.ElseDone {
		steps = op.Else
	}
	for i := range min(len(steps), len(res.Results)) {
		if rec := res.Results[i].Record; steps[i].Kind == linearizability.Read && rec != nil {
			steps[i].Found, steps[i].Got, steps[i].KeyRevision = true, string(rec.Value), rec.Revision
		}
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

// list reads all that is directly below prefix, in one view. ok: it was answered. The revision is in h.
func list(ctx context.Context, c *client.Client, prefix string, o client.ReadOptions) (items []client.Item, ok bool) {
	for item, err := range c.List(ctx, prefix, client.ListOptions{ReadOptions: o, Recursive: true, PageSize: listPage}) {
		switch {
		case client.IsNotFound(err):
			return nil, true
		case err != nil:
			return nil, false
		}
		items = append(items, item)
	}
	return items, true
}

// listPage is the size of a listing's pages: whatever a workload lists is one.
const listPage = 10_000
