package jepsen

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["sessions"] = func() Workload { return &sessions{spells{each: 400}} }
}

const (
	sessionKeys = 4
	// sessionOps is how many operations a session has.
	sessionOps = 50
)

// sessions pass on the greatest revision that any answer told, from node to node: what client.Session does.
type sessions struct{ spells }

// session is one of a client's.
type session struct {
	id   uint64
	left int
	seen uint64
}

func sessionKey(spell, n uint64) string { return fmt.Sprintf("sessions/%d/%d", spell, n) }

// Prepare is part of Workload.
func (*sessions) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *sessions) Step(ctx context.Context, c *Caller) {
	s, _ := c.State.(*session)
	key := sessionKey(w.next(), c.Rng.Uint64N(sessionKeys))
	op := c.op(linearizability.Local, key)
	if s == nil || s.left == 0 {
		s = &session{id: op.ID, left: sessionOps}
		c.State = s
	}
	s.left--
	switch c.Rng.IntN(8) {
	case 0, 1, 2:
		op.Kind, op.Value = linearizability.Put, valueOf(op)
	case 3:
		op.Kind = linearizability.Delete
	case 4:
		op.MaxStaleness = int64(time.Second)
	case 5:
		op.Kind = linearizability.Read
	}
	op.Session = s.id
	if reads(op) {
		op.MinRevision = s.seen
	}
	c.Do(ctx, op)
	s.seen = max(s.seen, op.Revision)
}

func (w *sessions) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for n := range uint64(sessionKeys) {
				if !yield(sessionKey(spell, n)) {
					return
				}
			}
		}
	}
}

// Settle is part of Workload.
func (w *sessions) Settle(ctx context.Context, r *Run) error { return r.readBack(ctx, w.keys()) }

// Judge is part of Workload.
func (*sessions) Judge(*linearizability.History) error { return nil }

// Thin is part of Thinner.
func (*sessions) Thin(h *linearizability.History) error {
	local := answered(linearizability.Local, linearizability.ReadDone)
	waits := kind{"local at a revision or later", func(o *linearizability.Op) bool { return local.is(o) && o.MinRevision != 0 }}
	return thin(h, "sessions", answered(linearizability.Put, linearizability.Applied), answered(linearizability.Read, linearizability.ReadDone), waits)
}
