package jepsen

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["bounded"] = func() Workload { return &bounded{spells{each: 400}} }
}

// boundedKeys are how many keys a spell has.
const boundedKeys = 4

// bounds are how old an answer may be that is asked for; 0: as old as it is. The shortest are about as long as a node's
// claims are when all is well: there a claim that is wrong by little shows.
var bounds = []time.Duration{0, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second}

// bounded writes at one node, and as soon as that is acknowledged reads at others what they have, which must be what they claim.
type bounded struct{ spells }

func boundedKey(spell, n uint64) string { return fmt.Sprintf("bounded/%d/%d", spell, n) }

// Prepare is part of Workload.
func (*bounded) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *bounded) Step(ctx context.Context, c *Caller) {
	key := boundedKey(w.next(), c.Rng.Uint64N(boundedKeys))
	put := c.op(linearizability.Put, key)
	c.Do(ctx, put)
	for range 1 + c.Rng.IntN(3) {
		op := c.op(linearizability.Local, key)
		for tries := 0; op.Node == put.Node && tries < 3; tries++ {
			op.Node = c.AnyNode()
		}
		op.MaxStaleness = int64(bounds[c.Rng.IntN(len(bounds))])
		c.Do(ctx, op)
	}
}

func (w *bounded) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for n := range uint64(boundedKeys) {
				if !yield(boundedKey(spell, n)) {
					return
				}
			}
		}
	}
}

// Settle is part of Workload.
func (w *bounded) Settle(ctx context.Context, r *Run) error { return r.readBack(ctx, w.keys()) }

// Judge is part of Workload.
func (*bounded) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*bounded) Thin(h *linearizability.History) error {
	claims := answered(linearizability.Local, linearizability.ReadDone)
	bound := kind{"local with a bound", func(o *linearizability.Op) bool { return claims.is(o) && o.MaxStaleness != 0 }}
	free := kind{"local that claims something", func(o *linearizability.Op) bool { return claims.is(o) && o.MaxStaleness == 0 && o.Claims }}
	return thin(h, "bounded", answered(linearizability.Put, linearizability.Applied), bound, free)
}
