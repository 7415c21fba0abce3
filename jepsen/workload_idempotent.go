package jepsen

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["idempotent"] = func() Workload { return &idempotent{spells: spells{each: 300}} }
}

const (
	idempotentKeys = 4
	// maxSent bounds the writes that one client has in mind to make again.
	maxSent = 12
	// keptFor is how long a write is made again: less than half of how long its key is remembered, so that neither
	// clocks nor delays matter.
	keptFor = 4 * time.Minute
)

// idempotent writes under idempotency keys, and makes what it wrote again: when nobody knows what became of it, when
// somebody does, at once and much later, at whichever node.
type idempotent struct {
	spells

	mu    sync.Mutex
	minds []*memory
}

// sent is a write that may be made again.
type sent struct {
	as    linearizability.Op // as it was first asked
	since time.Time
	known bool // what became of it
}

func idempotentKey(spell, n uint64) string { return fmt.Sprintf("idempotent/%d/%d", spell, n) }

// memory is what a client of this workload has in mind.
type memory struct {
	known map[string]sight
	sent  []*sent
}

// Prepare is part of Workload.
func (*idempotent) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *idempotent) Step(ctx context.Context, c *Caller) {
	m, _ := c.State.(*memory)
	if m == nil {
		m = &memory{}
		c.State = m
		w.mu.Lock()
		w.minds = append(w.minds, m)
		w.mu.Unlock()
	}
	if m.known == nil || len(m.known) > maxKnown {
		m.known = map[string]sight{}
	}
	if len(m.sent) > 0 && c.chance(0.4) {
		w.again(ctx, c, m)
		return
	}
	key := idempotentKey(w.next(), c.Rng.Uint64N(idempotentKeys))
	if c.Rng.IntN(5) == 0 {
		op := c.op(linearizability.Read, key)
		c.Do(ctx, op)
		learn(m.known, op)
		return
	}
	s := w.write(c, m, key)
	if c.chance(0.2) { // at two nodes at once
		double := s.attempt(c.Run, c.ID, c.AnyNode())
		var other sync.WaitGroup
		other.Go(func() { c.Do(ctx, double) })
		defer func() {
			other.Wait()
			s.learn(double)
		}()
	}
	first := s.as
	c.Do(ctx, &first)
	learn(m.known, &first)
	s.learn(&first)
	if !s.known || c.chance(0.3) {
		m.sent = append(m.sent, s)
	}
	if len(m.sent) > maxSent { // rather one of which it is known what became of it
		n := max(0, slices.IndexFunc(m.sent, func(s *sent) bool { return s.known }))
		m.sent = slices.Delete(m.sent, n, n+1)
	}
}

// write draws a write under a new key.
func (w *idempotent) write(c *Caller, m *memory, key string) *sent {
	op := c.op(linearizability.Put, key)
	op.IdempotencyKey = fmt.Sprintf("%x-%d", c.Seed, op.ID)
	switch was := m.known[key]; c.Rng.IntN(8) {
	case 0:
		op.IfRevision = was.revision
	case 1:
		op.IfAbsent = true
	case 2:
		op.Kind, op.Value = linearizability.Delete, ""
	case 3:
		op.Kind, op.Value, op.IfRevision = linearizability.Delete, "", was.revision
	case 4:
		(&register{}).orElse(op, was.value)
	}
	return &sent{as: *op, since: time.Now()}
}

// attempt is one more at a write, by a client at a node.
func (s *sent) attempt(r *Run, who int, node string) *linearizability.Op {
	op := s.as
	op.ID, op.Client, op.Node = r.Recorder.ID(), who, node
	op.Steps, op.Else = slices.Clone(op.Steps), slices.Clone(op.Else)
	return &op
}

// again makes a write of before again, until it is known what became of it, and now and then once more.
func (w *idempotent) again(ctx context.Context, c *Caller, m *memory) {
	n := c.Rng.IntN(len(m.sent))
	s := m.sent[n]
	if time.Since(s.since) > keptFor {
		m.sent = slices.Delete(m.sent, n, n+1)
		return
	}
	op := s.attempt(c.Run, c.ID, c.AnyNode())
	c.Do(ctx, op)
	s.learn(op)
	if s.known && c.chance(0.3) {
		m.sent = slices.Delete(m.sent, n, n+1)
	}
}

// learn notes what became of an attempt.
func (s *sent) learn(op *linearizability.Op) {
	switch op.Outcome {
	case linearizability.Applied, linearizability.Unchanged, linearizability.CompareFailed:
		s.known = true
	default:
	}
}

func (w *idempotent) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for n := range uint64(idempotentKeys) {
				if !yield(idempotentKey(spell, n)) {
					return
				}
			}
		}
	}
}

// Settle is part of Workload. What was left open is made again, at each node in turn, until it is known.
func (w *idempotent) Settle(ctx context.Context, r *Run) error {
	var open []*sent
	w.mu.Lock()
	for _, m := range w.minds {
		open = append(open, m.sent...)
	}
	w.mu.Unlock()
	names := r.Members()
	for i, s := range open {
		if time.Since(s.since) > keptFor {
			continue
		}
		turn := i
		_, err := r.insist(ctx, func() *linearizability.Op {
			turn++
			op := s.attempt(r, settler, names[turn%len(names)])
			r.Do(ctx, op)
			return op
		})
		if err != nil {
			return err
		}
	}
	return r.readBack(ctx, w.keys())
}

// Judge is part of Workload.
func (*idempotent) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*idempotent) Thin(h *linearizability.History) error {
	answers := map[string]int{}
	repeated := 0
	for i := range h.Ops {
		if h.Ops[i].Client == settler {
			continue
		}
		switch o := &h.Ops[i]; o.Outcome {
		case linearizability.Applied, linearizability.Unchanged, linearizability.CompareFailed:
			if answers[o.IdempotencyKey]++; o.IdempotencyKey != "" && answers[o.IdempotencyKey] == 2 {
				repeated++
			}
		default:
		}
	}
	if repeated < leastOfKind {
		return fmt.Errorf("%w: workload idempotent had %d writes that were answered twice", errThin, repeated)
	}
	return thin(h, "idempotent",
		answered(linearizability.Put, linearizability.Applied), answered(linearizability.Put, linearizability.CompareFailed),
		answered(linearizability.Delete, linearizability.Applied), answered(linearizability.Read, linearizability.ReadDone),
	)
}
