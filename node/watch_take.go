package node

import (
	"slices"

	"github.com/confman/confman/fsm"
)

// WatchChange is a change with all that it did to what is watched.
type WatchChange struct {
	fsm.Change
	Events []fsm.Event
}

// Woken is ready when there may be something to Take, and when a namespace was changed: who may
// read what is watched may be others then.
func (w *Watcher) Woken() <-chan struct{} { return w.wake }

// Through is w's position. It moves with the node's while nothing happens to what is
// watched, and never beyond what a Take has yet to give.
func (w *Watcher) Through() fsm.Revision {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	return w.settle()
}

// settle moves w's position as far as nothing keeps it back.
func (w *Watcher) settle() fsm.Revision {
	if w.inAll < 0 {
		return w.given
	}
	if len(w.pending) == 0 && w.scan != 0 && w.scan <= w.given {
		w.scan = w.given + 1
	}
	if len(w.pending) == 0 && w.scan > w.hub.told {
		w.scan = 0 // it was looked at everything that others were told of
	}
	switch {
	case len(w.pending) > 0:
		w.given = max(w.given, w.pending[0]-1)
	case w.scan != 0:
		w.given = max(w.given, w.scan-1)
	default:
		w.given = max(w.given, w.hub.told)
	}
	return w.given
}

// Take gives the next changes of what w watches, read from v, in their order and each
// once, and the position that w has with them. There may be none, and more: then Woken is
// ready again. A view that is older than one before gives nothing until the store has
// caught up.
//
// Errors: those of the view, such as that the store does not hold the changes any more;
// ErrRebuilding after End. What was read before comes without the error: that comes again.
func (w *Watcher) Take(v *fsm.View) (batch []WatchChange, through fsm.Revision, err error) {
	h := w.hub
	h.mu.Lock()
	if w.ended {
		h.mu.Unlock()
		return nil, w.given, ErrRebuilding
	}
	w.order = append(w.order[:0], w.pending...)
	scan, at := w.scan, h.told
	h.mu.Unlock()

	newest := v.State().Revision
	t := taking{w: w, v: v, given: w.given}
	if err = t.pending(newest); err == nil && scan != 0 {
		err = t.scan(scan, min(at, newest))
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	w.given = max(w.given, t.given)
	known, _ := slices.BinarySearch(w.pending, w.given+1)
	w.pending = slices.Delete(w.pending, 0, known)
	through = w.settle()
	switch next := w.next(); {
	case next == 0:
	case next > max(newest, h.shown):
		if !w.stalled {
			w.stalled = true
			h.stalled = append(h.stalled, w)
		}
	default:
		w.signal()
	}
	if len(t.batch) > 0 {
		err = nil
	}
	return t.batch, through, err
}

// Again takes w back to position rev, which it had before: what came after that is given again,
// from the store.
func (w *Watcher) Again(rev fsm.Revision) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	w.given, w.pending = rev, w.pending[:0]
	w.scan = rev + 1
	w.signal()
}

// next is the first revision that w has yet to be given or to look at; 0: there is none.
func (w *Watcher) next() fsm.Revision {
	if len(w.pending) > 0 {
		return w.pending[0]
	}
	return w.scan
}

// taking is one Take, without the lock: who tells w of more does not wait for it.
type taking struct {
	w     *Watcher
	v     *fsm.View
	batch []WatchChange
	bytes int
	given fsm.Revision
	whole bool // all that was pending is given
}

func (t *taking) full() bool {
	return len(t.batch) >= t.w.hub.limits.Changes || t.bytes >= t.w.hub.limits.Bytes
}

// pending reads the revisions that w was told of, as far as the view has them.
func (t *taking) pending(newest fsm.Revision) error {
	for _, rev := range t.w.order {
		if rev > newest || t.full() {
			return nil
		}
		ch, err := t.v.Change(rev)
		if err == nil {
			err = t.add(&ch)
		}
		if err != nil {
			return err
		}
		t.given = rev
	}
	t.whole = true
	return nil
}

// scan looks for what w was not told of, a piece of the change log at a time.
func (t *taking) scan(from, to fsm.Revision) error {
	st := t.v.State()
	from = st.After(from - 1) // in a gap there is nothing, and much of it
	to = min(to, from+fsm.Revision(t.w.hub.limits.Scan)-1)
	if !t.whole || from > to {
		return nil
	}
	var failed error
	err := t.v.Changes(from, to, func(ch fsm.Change) bool {
		if t.w.touches(&ch) {
			if t.full() {
				return false
			}
			if failed = t.add(&ch); failed != nil {
				return false
			}
		}
		t.given = ch.Revision
		return true
	})
	if err == nil {
		err = failed
	}
	return err
}

// eventBytes is about what an event takes beside its texts.
const eventBytes = 200

// add reads what ch did to what is watched: all of it.
func (t *taking) add(ch *fsm.Change) error {
	c := WatchChange{Change: *ch}
	trimmed := ""
	err := t.v.Events(ch, t.w.path, func(e fsm.Event) bool {
		if t.w.covers(e.Key) {
			if e.Trimmed {
				trimmed = e.Key
				return false
			}
			e.Record.Value = slices.Clone(e.Record.Value)
			c.Events = append(c.Events, e)
			t.bytes += eventBytes + len(e.Key) + len(e.Record.Value)
		}
		return true
	})
	if trimmed != "" {
		return t.compacted(trimmed, ch.Revision)
	}
	if err == nil {
		t.batch = append(t.batch, c)
	}
	return err
}

// compacted is why what a change put under key cannot be given: it has had too many versions
// since. It says from where on the key is held.
func (t *taking) compacted(key string, rev fsm.Revision) error {
	past, err := t.v.At(rev)
	if err != nil {
		return err
	}
	defer past.Close()
	_, _, err = past.Get(key)
	must(err != nil, "the record of %q at revision %d is trimmed, and held", key, rev)
	return err
}
