package fsm

import (
	"bytes"
	"errors"
	"runtime/debug"
	"strings"

	"github.com/tidwall/btree"
)

// View is a consistent snapshot of the store. It must be closed. One goroutine.
// What it reads was verified: a record that is not what was written is
// ErrDamaged, never a value.
type View struct {
	p    *snapshot
	past bool // it shows revision at, not the newest
	at   Revision
	room *treeRoom // of its walks; nil: enough
}

// View takes a snapshot of the newest applied state, without waiting for apply
// or flush. Any goroutine. A view that stays open keeps pages from being used
// again, so the database grows meanwhile. ErrClosed.
func (s *Store) View() (*View, error) {
	p := s.acquire()
	if p == nil {
		return nil, ErrClosed
	}
	return &View{p: p}, nil
}

// Close ends the view. A second call does nothing.
func (v *View) Close() {
	if v.p != nil {
		v.p.base.release()
		v.p = nil
	}
}

// Of reports whether v is open and of s, not of a store that another has replaced.
func (v *View) Of(s *Store) bool { return v.p != nil && v.p.base.store == s }

// State is the newest state; Revision tells which one the view shows.
func (v *View) State() State { return v.p.state }

// Get returns key's record. The value is the caller's. ErrDamaged if the record is.
func (v *View) Get(key string) (Record, bool, error) {
	b, err := v.shown(key)
	if b == nil || err != nil {
		return Record{}, false, err
	}
	return b.record(key, &commonTexts), true, nil
}

// shown returns a copy of the record of key that the view shows, nil if there is none.
func (v *View) shown(key string) (body, error) {
	if v.past {
		return v.pastBody(key)
	}
	return v.body(key)
}

// commonTexts are what most records say.
var commonTexts = Record{ContentType: "application/json", ModifiedBy: "anonymous"}

// body returns a copy of key's newest record, nil if it has none.
func (v *View) body(key string) (b body, err error) {
	if len(key) > MaxKeyBytes {
		return nil, nil
	}
	probe := entry{key: key}
	e, found := v.p.active.tree(current).Get(&probe)
	if !found && v.p.frozen != nil {
		e, found = v.p.frozen.tree(current).Get(&probe)
	}
	if found {
		if e.value == nil {
			return nil, nil
		}
		return bytes.Clone(e.value[checksumBytes:]), nil
	}
	defer catchFault(debug.SetPanicOnFault(true), &err)
	value, found, err := v.p.base.current.stored(key)
	if err != nil || !found {
		return nil, err
	}
	return checkBody(key, bytes.Clone(value[checksumBytes:]))
}

// Scan calls fn for the records in [lo, hi) in ascending order of key until it
// returns false; hi "" means no end. The record's Value is valid during the call.
// ErrDamaged ends it before the record at fault.
func (v *View) Scan(lo, hi string, fn func(Record) bool) error {
	w := v.walk()
	defer w.release()
	like := commonTexts
	for ok, err := w.seek(lo, hi); ; ok, err = w.next() {
		if err != nil || !ok {
			return err
		}
		key, b := w.here()
		like = b.record(key, &like)
		if !fn(like) {
			return nil
		}
	}
}

// Changes calls fn for the change log's records with revisions in [from, to] in
// ascending order until it returns false. *CompactedError if the first is not held any more;
// ErrDamaged if one is damaged or missing.
func (v *View) Changes(from, to Revision, fn func(Change) bool) error {
	from = max(from, 1)
	to = min(to, v.p.state.Revision)
	if floor := v.p.state.Floor; from <= floor {
		return &CompactedError{Floor: floor}
	}
	after := gaps(v.p.state.Gaps).after
	from = after(from - 1) // in a gap there are none
	want := from
	err := v.rawChanges(from, func(key string, value []byte) error {
		ch, err := openChange(key, value)
		if err != nil {
			return err
		}
		if ch.Revision != want {
			return chainError(want, "it is missing")
		}
		if ch.Revision > to || !fn(ch) {
			return errStop
		}
		want = after(want)
		return nil
	})
	if errors.Is(err, errStop) {
		return nil
	}
	if err == nil && want <= to {
		err = chainError(want, "it is missing")
	}
	return err
}

// errStop ends rawChanges early.
var errStop = errors.New("stop")

// rawChanges calls fn for the records of the change log from revision from on, in
// order, as stored.
func (v *View) rawChanges(from Revision, fn func(key string, value []byte) error) error {
	if err := v.rawBaseChanges(from, fn); err != nil {
		return err
	}
	for _, o := range [...]*overlay{v.p.frozen, v.p.active} {
		if o == nil {
			continue
		}
		for _, ch := range o.changesFrom(from) {
			if err := fn(changeKey(ch.revision), ch.value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *View) rawBaseChanges(from Revision, fn func(key string, value []byte) error) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	c := cursor{t: &v.p.base.changes}
	ok, err := c.seek([]byte(changeKey(from)))
	for ; ok && err == nil; ok, err = c.next() {
		if err := fn(string(c.key), c.val); err != nil {
			return err
		}
	}
	return err
}

// merge goes through one bucket of the view in order of key: the newest of
// active, frozen and base for each, without those that were deleted.
type merge struct {
	layers [2]layer // active, frozen
	base   cursor
	atBase bool   // base is at a key
	hi     string // the merge ends before this key; "": it has no end
	key    string
	value  []byte // as stored; it may alias the mapping
	// What is sought, for the layers and for base.
	probe entry
	bytes []byte
}

// layer is an overlay's tree with where the merge is in it.
type layer struct {
	iter btree.IterG[*entry]
	at   *entry // nil at the end
}

func (l *layer) move(ok bool) {
	l.at = nil
	if ok {
		l.at = l.iter.Item()
	}
}

func (v *View) merge(in bucket) *merge {
	m := &merge{base: cursor{t: v.p.base.tree(in)}}
	m.layers[0].iter = v.p.active.tree(in).Iter()
	if v.p.frozen != nil {
		m.layers[1].iter = v.p.frozen.tree(in).Iter()
	}
	return m
}

func (m *merge) release() {
	for i := range m.layers {
		m.layers[i].iter.Release()
	}
}

// seek moves to the first key not below key; false if there is none.
func (m *merge) seek(key string) (bool, error) { return m.seekIn(key, "") }

// seekIn moves to the first key in [key, hi), hi "" meaning no end; false if there is none,
// and next ends there, too. So it does not pass over what was deleted behind hi.
func (m *merge) seekIn(key, hi string) (bool, error) {
	m.hi = hi
	m.probe.key = key
	for i := range m.layers {
		l := &m.layers[i]
		l.move(l.iter.Seek(&m.probe))
	}
	if err := m.seekBase(key); err != nil {
		return false, err
	}
	return m.settle()
}

func (m *merge) seekBase(key string) (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	m.bytes = append(m.bytes[:0], key...)
	m.atBase, err = m.base.seek(m.bytes)
	return err
}

// next moves to the key after m.key; false if there is none.
func (m *merge) next() (bool, error) {
	if err := m.pass(m.key); err != nil {
		return false, err
	}
	return m.settle()
}

// pass moves every layer that is at key beyond it.
func (m *merge) pass(key string) (err error) {
	for i := range m.layers {
		if l := &m.layers[i]; l.at != nil && l.at.key == key {
			l.move(l.iter.Next())
		}
	}
	if m.atBase && string(m.base.key) == key {
		defer catchFault(debug.SetPanicOnFault(true), &err)
		m.atBase, err = m.base.next()
	}
	return err
}

// settle takes the least key that any layer is at from the newest that is at it,
// passing over keys whose newest is a delete.
func (m *merge) settle() (bool, error) {
	for {
		var newest *entry
		for i := range m.layers {
			if at := m.layers[i].at; at != nil && (newest == nil || at.key < newest.key) {
				newest = at
			}
		}
		switch {
		case m.atBase && (newest == nil || string(m.base.key) < newest.key):
			if m.hi != "" && string(m.base.key) >= m.hi {
				return false, nil
			}
			return true, m.fromBase()
		case newest == nil || m.hi != "" && newest.key >= m.hi:
			return false, nil
		case newest.value != nil:
			m.key, m.value = newest.key, newest.value
			return true, nil
		}
		if err := m.pass(newest.key); err != nil {
			return false, err
		}
	}
}

func (m *merge) fromBase() (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	m.key, m.value = string(m.base.key), m.base.val
	_, err = unseal(m.base.t.in, m.key, m.value)
	return err
}

// Child is one step below a path: a key, a subtree, or both.
type Child struct {
	Name    string  // one segment
	Record  *Record // nil if only a subtree; its Value is the caller's
	Subtree bool
}

// Children lists what is directly below prefix (which ends in "/", or is "" for
// the root) in ascending order of name, names after `after`, at most limit.
func (v *View) Children(prefix, after string, limit int) ([]Child, error) {
	w := v.walk()
	defer w.release()
	var out []Child
	for len(out) < limit {
		name, err := childAfter(w, prefix, after)
		if err != nil || name == "" {
			return out, err
		}
		child := Child{Name: name}
		path := prefix + name
		b, err := v.shown(path)
		if err != nil {
			return nil, err
		}
		if b != nil {
			r := b.record(path, &commonTexts)
			child.Record = &r
		}
		if child.Subtree, err = hasPrefix(w, path+"/"); err != nil {
			return nil, err
		}
		out = append(out, child)
		after = name
	}
	return out, nil
}

// childAfter returns the least name below prefix that is greater than after, ""
// if there is none.
//
// Names are not in the order of keys: "a-b" < "a/x", but "a" < "a-b". So the
// first key after the last name is in hand may be "a-b", while "a" is only a
// subtree that comes later. A name that key order hides so is the start of the
// one found, up to a byte below '/'.
func childAfter(w walk, prefix, after string) (string, error) {
	from, end := prefix, prefixEnd(prefix)
	if after != "" {
		from = prefix + after + "\x00"
	}
	for {
		ok, err := w.seek(from, end)
		if err != nil || !ok {
			return "", err
		}
		key, _ := w.here()
		found, _, _ := strings.Cut(strings.TrimPrefix(key, prefix), "/")
		if found <= after {
			// The subtree of after, or of a name before it that is its start.
			from = prefix + found + "0" // '0' is next to '/'
			continue
		}
		for i := 1; i < len(found); i++ {
			if found[i] >= '/' || found[:i] <= after {
				continue
			}
			hidden, err := hasPrefix(w, prefix+found[:i]+"/")
			if err != nil || hidden {
				return found[:i], err
			}
		}
		return found, nil
	}
}

// hasPrefix reports whether a key starts with prefix. It moves the walk.
func hasPrefix(w walk, prefix string) (bool, error) { return w.seek(prefix, prefixEnd(prefix)) }

// prefixEnd is the first key behind all that begin with prefix; "" if there is none.
func prefixEnd(prefix string) string {
	if prefix == "" {
		return ""
	}
	return strings.TrimSuffix(prefix, "/") + "0" // '0' is next to '/'
}
