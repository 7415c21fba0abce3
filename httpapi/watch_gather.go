package httpapi

import (
	"context"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// gatherer gathers changes for one watch, within what all watches may hold in memory together.
//
// Each gathers on its turn, of which there are few, and short: no client is waited for. What is
// small may wait for its client then; there is a bound on it for each watch. What is large needs
// a turn of another kind until it is sent. If there is none, it is thrown away, and gathered
// again once there is: a slow client makes others wait only for what is large, too.
type gatherer struct {
	c    *call
	w    *node.Watcher
	held chan struct{} // whose turn it has; nil: none
	// large: the next batch was found to be, and waits for its turn.
	large bool
	// expiry is when the caller is not let in any more; nil: never.
	expiry *time.Timer
}

func newGatherer(c *call, w *node.Watcher) *gatherer {
	g := &gatherer{c: c, w: w}
	if at := c.who.expires(); !at.IsZero() {
		g.expiry = time.NewTimer(at.Sub(c.api.Now()))
	}
	return g
}

// end releases all that g has.
func (g *gatherer) end() {
	g.release()
	if g.expiry != nil {
		g.expiry.Stop()
	}
}

func (g *gatherer) release() {
	if g.held != nil {
		<-g.held
		g.held = nil
	}
}

// gather has add append what there is to the call's buffer, which may be nothing, and says how
// fresh the state was that it was read from. Once it is sent, release must be called.
func (g *gatherer) gather(add func(batch []node.WatchChange, through fsm.Revision)) (standing, error) {
	c := g.c
	if g.held == nil {
		if err := g.turn(); err != nil {
			return standing{}, err
		}
	}
	before, at := g.w.Through(), len(c.buf)
	batch, through, st, err := c.take(g.w)
	if err != nil {
		return st, err
	}
	add(batch, through)
	if g.held == c.api.large {
		return st, nil
	}
	g.release()
	if len(c.buf)-at <= MaxWaitingBatchBytes {
		return st, nil
	}
	select {
	case c.api.large <- struct{}{}:
		g.held = c.api.large
	default:
		c.buf = slices.Clone(c.buf[:at])
		g.w.Again(before)
		g.large = true
	}
	return st, nil
}

// turn waits until there may be another that gathers; who need not wait is not asked why.
func (g *gatherer) turn() error {
	c := g.c
	select {
	case c.api.batches <- struct{}{}:
		g.held = c.api.batches
		return nil
	default:
	}
	select {
	case c.api.batches <- struct{}{}:
		g.held = c.api.batches
		return nil
	case <-c.r.Context().Done():
		return context.Canceled
	case <-c.api.drained:
	case <-c.api.Node.Done():
	}
	return node.ErrStopped
}

// rest waits until there may be more to gather, or the timer is up. An error ends the watch.
func (g *gatherer) rest(timer <-chan time.Time) (timeout bool, err error) {
	c := g.c
	if err := c.expired(); err != nil { // timers stand still while a machine sleeps
		return false, err
	}
	var expiry <-chan time.Time
	if g.expiry != nil {
		expiry = g.expiry.C
	}
	woken, large := g.w.Woken(), chan<- struct{}(nil)
	if g.large {
		woken, large = nil, c.api.large
	}
	select {
	case <-woken:
	case large <- struct{}{}:
		g.held, g.large = c.api.large, false
	case <-timer:
		return true, nil
	case <-expiry:
		return false, expired()
	case <-c.r.Context().Done():
		return false, context.Canceled
	case <-c.api.drained:
		return false, node.ErrStopped
	case <-c.api.Node.Done():
		return false, node.ErrStopped
	}
	return false, nil
}

// take gives what there is for w, and how fresh the state was that it was read from.
func (c *call) take(w *node.Watcher) (batch []node.WatchChange, through fsm.Revision, st standing, err error) {
	v, proof, err := c.look(time.Time{})
	if err != nil {
		return nil, 0, st, err
	}
	defer v.Close()
	if batch, through, err = w.Take(v); err != nil {
		c.tellDamage(v, err)
		return nil, 0, st, err
	}
	st.revision = v.State().Revision
	st.age, st.fresh = c.api.age(proof)
	return batch, through, st, nil
}
