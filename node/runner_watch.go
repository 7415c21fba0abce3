package node

import (
	"errors"

	"github.com/confman/confman/fsm"
)

// Watch registers a watcher of a key, or of the subtree below path if that ends in a slash
// or is "", which is everything. It is given the changes after revision from, which may not
// be applied here yet; it must be closed. What it is given is read from views of this node.
//
// When the store is replaced because it was damaged, Take returns ErrRebuilding. When the
// node stops nobody is woken: see Done. Errors: ErrForming, ErrStopped, ErrTooManyWatchers.
func (r *Runner) Watch(path string, from fsm.Revision) (*Watcher, error) {
	if r.stopping() {
		return nil, ErrStopped
	}
	m := r.member.Load()
	if m == nil {
		return nil, ErrForming
	}
	w, err := r.watches.Watch(path, from)
	if err == nil && r.watches.at() < m.state().Revision {
		r.applied.notify() // a store that was rebuilt came into use without an apply
	}
	return w, err
}

// watchLoop tells the watchers of what is applied, until the node is to stop.
func (r *Runner) watchLoop() {
	for {
		applied := r.applied.next() // before the look, so that nothing comes between
		r.advanceWatches()
		select {
		case <-applied:
		case <-r.stop:
			return
		}
	}
}

func (r *Runner) advanceWatches() {
	r.watching.Lock()
	defer r.watching.Unlock()
	v, _, err := r.View()
	if err != nil {
		return // there is nothing to be given: watchers that look are told why
	}
	defer v.Close()
	if err = r.watches.Advance(v); err != nil {
		r.log.Warn("the change log cannot be read for watchers", slogError(err))
	}
	if errors.Is(err, fsm.ErrDamaged) {
		r.StoreDamaged(v, err)
	}
}
