package httpapi

import (
	"context"
	"time"
)

// due is a context whose end is told to the node, which ends the wait by then, with a timer that it has at
// hand: every write, and every read that asks a quorum, would pay for one more. It is done when its parent is, so it is
// for Node's Propose and Linearize alone.
type due struct {
	context.Context
	at time.Time
}

// Deadline is part of context.Context.
func (d due) Deadline() (time.Time, bool) { return d.at, true }

// dueIn gives Propose or Linearize of a Node so much time, less if ctx leaves less.
func dueIn(ctx context.Context, wait time.Duration) context.Context {
	at := time.Now().Add(wait)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(at) {
		return ctx
	}
	return due{ctx, at}
}
