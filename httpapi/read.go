package httpapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// treeRead is what reads of a key or a subtree begin with: what they are of, and how fresh.
func (c *call) treeRead(params []string) (t target, q query, f freshness, err error) {
	if t, err = parseTarget(c.r.URL, c.param); err != nil {
		return t, q, f, err
	}
	if q, err = parseQuery(c.r.URL.RawQuery, params); err != nil {
		return t, q, f, err
	}
	f, err = q.freshness(c.api.MaxStaleness)
	c.need(fsm.VerbRead, t.path())
	return t, q, f, err
}

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
	if err := c.await(f.min); err != nil {
		return nil, standing{}, err
	}
	if f.consistency != linearizable {
		v, st, err := c.try(f, fn, c.wrote)
		// A revision, or a policy, that is not here yet may be at other nodes.
		ahead := err != nil && f.consistency == bounded && (errors.Is(err, fsm.ErrFuture) || isStale(err))
		if err != nil && !ahead || f.consistency == local || err == nil && st.within(f.maxStaleness) {
			return v, st, err
		}
		if err == nil {
			v.Close()
		}
		tried = st
		if isStale(err) {
			f.maxStaleness = min(f.maxStaleness, c.api.MaxPolicyStaleness)
		}
	}
	asked := c.api.Now()
	if err := c.api.Node.Linearize(dueIn(c.r.Context(), ReadWait)); err != nil {
		if f.consistency == bounded && (errors.Is(err, node.ErrNoQuorum) || errors.Is(err, context.DeadlineExceeded)) {
			err = &readError{tried, tooStale(f, tried)}
		}
		return nil, standing{}, err
	}
	v, st, err := c.try(f, fn, asked)
	if err != nil {
		return nil, st, err
	}
	// The view holds every write acknowledged before the question, so it is no
	// older than the question is, whatever else the node has proven.
	st.atMost(elapsed(asked, c.api.Now(), c.api.MaxClockDriftPPM))
	if f.consistency == bounded && !st.within(f.maxStaleness) {
		v.Close()
		return nil, st, &readError{st, tooStale(f, st)}
	}
	return v, st, nil
}

// await waits until this node has applied a revision.
func (c *call) await(rev fsm.Revision) error {
	if rev == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), ReadWait)
	defer cancel()
	err := c.api.Node.WaitRevision(ctx, rev)
	status := c.api.Node.Status()
	if errors.Is(err, context.DeadlineExceeded) {
		return behind(status.State.Revision, rev)
	}
	if g, lost := status.State.GapAt(rev); lost && err == nil {
		return problemf(kindRevisionLost, "min_revision, or the cursor, asks for what was at revision %d, which is lost: the cluster was restored from a backup of revision %d, and went on at %d; look at what is there, and forget revisions from before", rev, g.From, g.To).
			with("min_revision", uint64(rev))
	}
	return err
}

func behind(have, want fsm.Revision) *problem {
	return problemf(kindBehind, "this node has applied revision %d, and min_revision asks for %d; ask another node, or again", have, want).
		with("min_revision", uint64(want))
}

// elapsed is the longest that may have passed between two times of Config.Now.
// Go's monotonic clock stops while a machine sleeps, the wall clock may be set:
// the greater of both is taken, widened by what the clocks may drift.
func elapsed(from, to time.Time, driftPPM int) time.Duration {
	d := max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
	return node.Widened(d, driftPPM)
}

// try calls fn with a view of what is applied here, at the revision that f names, if the caller
// may read it; asked is what look takes.
func (c *call) try(f freshness, fn func(*fsm.View) error, asked time.Time) (*fsm.View, standing, error) {
	v, proof, err := c.look(asked)
	if err != nil {
		var re *readError
		if errors.As(err, &re) {
			return nil, re.standing, err
		}
		return nil, standing{}, err
	}
	if have := v.State().Revision; have < f.min { // an image took the store's place meanwhile
		v.Close()
		return nil, standing{}, behind(have, f.min)
	}
	if f.dated && !f.past {
		f.past = true
		if f.at, err = v.RevisionAt(f.moment); err != nil {
			c.tellDamage(v, err)
			v.Close()
			return nil, standing{}, err
		}
	}
	if f.past {
		newest := v
		v, err = newest.At(f.at)
		newest.Close()
		if err != nil {
			return nil, standing{}, err
		}
	}
	read := false
	defer func() {
		if !read {
			v.Close()
		}
	}()
	st := standing{revision: v.Revision()}
	if err = fn(v); err == nil && f.dated {
		st.memento, err = dateOf(v)
	}
	if err != nil {
		c.tellDamage(v, err)
		return nil, standing{}, err
	}
	st.age, st.fresh = c.api.age(proof) // after the last read: see Freshness
	read = true
	return v, st, nil
}

// afterwards calls fn with a view of the revision that a write of this call left. It is here,
// where the write was applied, unless another node's state took this one's place meanwhile. An
// error leaves open what became of the write: the answer that would tell cannot be made.
func (c *call) afterwards(revision fsm.Revision, fn func(*fsm.View) error) error {
	_, err := c.read(freshness{consistency: local, min: revision, past: true, at: revision}, fn)
	var p *problem
	if errors.As(err, &p) && p.name == kindBehind.name { // that is for who asked for min_revision
		err = node.ErrOvertaken
	}
	if err != nil {
		return &node.WriteError{Outcome: node.Unknown, Err: err}
	}
	return nil
}

// isCompacted tells whether err is that something is not held any more.
func isCompacted(err error) bool {
	var old *fsm.CompactedError
	return errors.As(err, &old)
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
