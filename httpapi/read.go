package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// read calls fn with a view as fresh as f asks for, and says how fresh it was
// once fn had read. fn may be called twice: its first result then was too old.
func (c *call) read(f freshness, fn func(*fsm.View) error) (standing, error) {
	v, st, err := c.open(f, fn)
	if v != nil {
		v.Close()
	}
	return st, err
}

// open is read, but leaves the view open, which the caller must close unless it is nil.
func (c *call) open(f freshness, fn func(*fsm.View) error) (*fsm.View, standing, error) {
	var tried standing
	if f.consistency != linearizable {
		v, st, err := c.try(fn)
		if err != nil || f.consistency == local || st.within(f.maxStaleness) {
			return v, st, err
		}
		v.Close()
		tried = st
	}
	asked := c.api.Now()
	ctx, cancel := context.WithTimeout(c.r.Context(), ReadWait)
	defer cancel()
	if err := c.api.Node.Linearize(ctx); err != nil {
		if f.consistency == bounded && (errors.Is(err, node.ErrNoQuorum) || errors.Is(err, context.DeadlineExceeded)) {
			err = &readError{tried, tooStale(f, tried)}
		}
		return nil, standing{}, err
	}
	v, st, err := c.try(fn)
	if err != nil {
		return nil, st, err
	}
	// The view holds every write acknowledged before the question, so it is no
	// older than the question is, whatever else the node has proven.
	if age := elapsed(asked, c.api.Now()); !st.within(age) {
		st.age, st.fresh = age, true
	}
	if f.consistency == bounded && !st.within(f.maxStaleness) {
		v.Close()
		return nil, st, &readError{st, tooStale(f, st)}
	}
	return v, st, nil
}

// elapsed is the longest that may have passed between two times of Config.Now.
// Go's monotonic clock stops while a machine sleeps, the wall clock may be set:
// the greater of both is taken, widened by what the clocks may drift.
func elapsed(from, to time.Time) time.Duration {
	d := max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
	return d + d*node.MaxClockDriftPPM/1_000_000*2
}

// try calls fn with a view of what is applied here.
func (c *call) try(fn func(*fsm.View) error) (*fsm.View, standing, error) {
	v, proof, err := c.api.Node.View()
	if err != nil {
		return nil, standing{}, err
	}
	read := false
	defer func() {
		if !read {
			v.Close()
		}
	}()
	if err = fn(v); err != nil {
		c.tellDamage(v, err)
		return nil, standing{}, err
	}
	st := standing{revision: v.State().Revision}
	st.age, st.fresh = c.api.age(proof) // after the last read: see Freshness
	read = true
	return v, st, nil
}

// tellDamage tells the node, if err says so, that v's store is damaged: a reader is
// often the first to meet it. v is open.
func (c *call) tellDamage(v *fsm.View, err error) {
	if errors.Is(err, fsm.ErrDamaged) {
		c.api.Node.StoreDamaged(v, err)
	}
}

func tooStale(f freshness, st standing) *problem {
	found := "its age is not known"
	if st.fresh {
		found = fmt.Sprintf("it may be %v old", st.age)
	}
	return problemf(kindStaleness, "the state here is not proven to be at most %v old (%s), and no quorum confirmed it in time",
		f.maxStaleness, found).with("max_staleness", f.maxStaleness.String())
}
