package node

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/confman/confman/fsm"
)

// ErrTooManyWatchers means that MaxWatchers are registered at this node.
var ErrTooManyWatchers = errors.New("too many watchers")

// WatchLimits bound what watchers are given and what is remembered for them. The zero
// value of a field means its default.
type WatchLimits struct {
	// Pending bounds the revisions that wait for one watcher; with one more it is given
	// its changes from the store (default 64).
	Pending int
	// Gap bounds the changes that one Advance looks at; when there are more, all watchers
	// are given theirs from the store (default 1,000).
	Gap int
	// Changes and Bytes bound what one Take gives; its last change may exceed the bytes
	// (default 64, and 64 KiB).
	Changes int
	Bytes   int
	// Scan bounds the changes that one Take looks at in the store (default 1,000).
	Scan int
}

func (l WatchLimits) withDefaults() WatchLimits {
	def(&l.Pending, 64)
	def(&l.Gap, 1_000)
	def(&l.Changes, 64)
	def(&l.Bytes, 64<<10)
	def(&l.Scan, 1_000)
	return l
}

// Watches tells watchers which revisions touched what they watch. What they are given
// comes from the store, which has all changes: so one that does not keep up costs a list
// of bounded length, and misses nothing.
//
// It has no goroutine and no clock: who applies calls Advance. A change costs a look-up
// for each step of its keys' paths, and a little for each watcher on them, however many
// there are elsewhere. A change of a namespace is told to nobody and wakes all. Safe for
// concurrent use, but for Advance: one at a time.
type Watches struct {
	limits WatchLimits

	mu    sync.Mutex
	told  fsm.Revision          // up to it every watcher was told, or is behind
	shown fsm.Revision          // by the view of the last Advance
	paths map[string][]*Watcher // by what they watch
	all   []*Watcher
	// stalled were told of what no view shows: they wait for the next Advance.
	stalled []*Watcher
}

// NewWatches makes one that has no watchers.
func NewWatches(l WatchLimits) *Watches {
	return &Watches{limits: l.withDefaults(), paths: make(map[string][]*Watcher)}
}

// Watcher is somebody who watches a key or a subtree. Its position is the revision up to
// which it was given everything; it never goes back. Take, Through and Close are for one
// goroutine; a Watcher must be closed.
type Watcher struct {
	hub   *Watches
	path  string
	wake  chan struct{}
	order []fsm.Revision // Take's own, used again

	// Guarded by hub.mu.
	inAll, inPath int // where it is in these lists; -1: it is in none
	given         fsm.Revision
	pending       []fsm.Revision // that touch path, after given, ascending
	// scan is the first revision that was not looked at for it: it and what follows must
	// be looked for in the store. 0: pending has everything up to hub.told.
	scan    fsm.Revision
	stalled bool
	ended   bool
}

// Watch registers a watcher of a key, or of the subtree below path if that ends in a
// slash or is "", which is everything. It is given the changes after revision from, which
// may lie ahead. ErrTooManyWatchers.
func (h *Watches) Watch(path string, from fsm.Revision) (*Watcher, error) {
	w := &Watcher{hub: h, path: path, wake: make(chan struct{}, 1), given: from}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= MaxWatchers {
		return nil, ErrTooManyWatchers
	}
	w.inAll, w.inPath = len(h.all), len(h.paths[path])
	h.all = append(h.all, w)
	h.paths[path] = append(h.paths[path], w)
	if from < h.told {
		w.fallBehind(from + 1)
	}
	return w, nil
}

// Len is how many watchers there are.
func (h *Watches) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// at is the revision up to which the watchers were told of changes.
func (h *Watches) at() fsm.Revision {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}

// Advance tells the watchers of the changes that v shows after those of the view before.
// An error of the change log goes to the watchers, too: they meet it where they read.
func (h *Watches) Advance(v *fsm.View) error {
	newest := v.State().Revision
	h.mu.Lock()
	h.shown = newest
	from := h.told + 1
	idle := len(h.all) == 0
	if idle && newest >= from {
		h.told = newest // who comes later looks in the store
	}
	h.wakeStalled()
	h.mu.Unlock()
	if idle || newest < from {
		// A store that was rebuilt from a peer's may be behind the one before: there is
		// nothing to tell until it has passed that.
		return nil
	}
	if newest-from >= fsm.Revision(h.limits.Gap) {
		h.leaveBehind(newest)
		return nil
	}
	changes := make([]fsm.Change, 0, newest-from+1)
	err := v.Changes(from, newest, func(ch fsm.Change) bool {
		changes = append(changes, ch)
		return true
	})
	if err != nil {
		h.leaveBehind(newest)
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range changes {
		h.dispatch(&changes[i])
	}
	h.told = newest
	return nil
}

// leaveBehind moves to revision to without a look at the changes before.
func (h *Watches) leaveBehind(to fsm.Revision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.all {
		if from := max(h.told, w.given) + 1; from <= to {
			w.fallBehind(from)
		}
	}
	h.wakeAll() // one of the changes may be of a namespace
	h.told = to
}

// dispatch tells the watchers on the paths of ch's keys. A change of a namespace touches no key,
// but whoever watches may not be allowed to any more: all are woken, to find that out.
func (h *Watches) dispatch(ch *fsm.Change) {
	if ofNamespace(ch) {
		h.wakeAll()
		return
	}
	if len(ch.Ops) > 0 && !ch.Ops[0].IsKey() {
		return // nor does a change of the members, or a restore
	}
	steps(ch.Ops, func(path string) {
		for _, w := range h.paths[path] {
			w.touch(ch.Revision)
		}
	})
}

// steps calls tell with each step of the paths of keys, and with the keys. A removal has
// thousands, in order: the steps that a key has in common with the one before are told once.
func steps(keys []fsm.ChangedKey, tell func(path string)) {
	before := ""
	for i := range keys {
		key := keys[i].Key
		if i == 0 {
			tell("")
		}
		for at := common(before, key); at < len(key); at++ {
			if key[at] == '/' {
				tell(key[:at+1])
			}
		}
		tell(key)
		before = key
	}
}

// common is how many bytes a and b begin with alike.
func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// touch notes that rev touches what w watches; it may be told so several times.
func (w *Watcher) touch(rev fsm.Revision) {
	n := len(w.pending)
	switch {
	case rev <= w.given || w.scan != 0 || n > 0 && w.pending[n-1] == rev:
		return
	case n == w.hub.limits.Pending:
		w.fallBehind(rev)
		return
	}
	w.pending = append(w.pending, rev)
	w.signal()
}

// fallBehind makes w look in the store for what touches its path from rev on.
func (w *Watcher) fallBehind(rev fsm.Revision) {
	if w.scan == 0 {
		w.scan = rev
	}
	w.signal()
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (h *Watches) wakeAll() {
	for _, w := range h.all {
		w.signal()
	}
}

func (h *Watches) wakeStalled() {
	for _, w := range h.stalled {
		w.stalled = false
		w.signal()
	}
	clear(h.stalled)
	h.stalled = h.stalled[:0]
}

// End ends all watchers: the store that they read from is given up, and what it showed
// need not be true. Their Takes then return ErrRebuilding.
func (h *Watches) End() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range h.all {
		w.inAll, w.inPath = -1, -1
		w.ended = true
		w.signal()
	}
	clear(h.all)
	clear(h.paths)
	h.all = h.all[:0]
	h.told = 0
	h.wakeStalled()
}

// Close takes w out. A second call does nothing.
func (w *Watcher) Close() {
	h := w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.inAll < 0 {
		return
	}
	h.all[w.inAll] = last(h.all)
	h.all[w.inAll].inAll = w.inAll
	h.all = shorter(h.all)
	on := h.paths[w.path]
	on[w.inPath] = last(on)
	on[w.inPath].inPath = w.inPath
	if on = shorter(on); len(on) > 0 {
		h.paths[w.path] = on
	} else {
		delete(h.paths, w.path)
	}
	w.inAll, w.inPath = -1, -1
	w.pending = nil
}

func last(ws []*Watcher) *Watcher { return ws[len(ws)-1] }

func shorter(ws []*Watcher) []*Watcher {
	ws[len(ws)-1] = nil
	return ws[:len(ws)-1]
}

// covers tells whether key is, or is below, what w watches.
func (w *Watcher) covers(key string) bool {
	return key == w.path || isSubtree(w.path) && strings.HasPrefix(key, w.path)
}

// isSubtree tells a subtree's path from a key.
func isSubtree(path string) bool { return path == "" || path[len(path)-1] == '/' }

// touches tells whether ch changed what w watches.
func (w *Watcher) touches(ch *fsm.Change) bool {
	return slices.ContainsFunc(ch.Ops, func(op fsm.ChangedKey) bool { return op.IsKey() && w.covers(op.Key) })
}

// ofNamespace tells whether ch is of a namespace, and so of no key: the prefix that it names is
// not the subtree's. It is alone in its change.
func ofNamespace(ch *fsm.Change) bool { return len(ch.Ops) > 0 && ch.Ops[0].IsNamespace() }
