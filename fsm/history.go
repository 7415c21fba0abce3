package fsm

import (
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"time"
)

// Event is what one change did to one key.
type Event struct {
	Key string
	// Deleted: the key's record went; else Record is what was stored. Its Value is valid
	// during the call.
	Deleted bool
	Record  Record
	// Trimmed: a record was stored that is not held any more, since the key has too many.
	// Record is zero.
	Trimmed bool
}

// Change returns the line of the change log of revision rev, which must be one that the
// view shows. *CompactedError if it is not held any more; ErrDamaged if it is damaged or missing.
func (v *View) Change(rev Revision) (Change, error) {
	must(rev >= 1 && rev <= v.Revision(), "change %d of a view of revision %d", rev, v.Revision())
	return v.change(rev)
}

// change is Change of any revision that the store has.
func (v *View) change(rev Revision) (Change, error) {
	key := changeKey(rev)
	value, err := v.storedChange(rev, key)
	if err != nil {
		return Change{}, err
	}
	return decodeChange(key, value)
}

// storedChange is the record of a change, which its checksum vouches for. Good while the view is open.
func (v *View) storedChange(rev Revision, key string) (value []byte, err error) {
	if floor := v.p.state.Floor; rev <= floor {
		return nil, &CompactedError{Floor: floor}
	}
	if err := gaps(v.p.state.Gaps).refuse(rev); err != nil {
		return nil, err
	}
	for _, o := range [...]*overlay{v.p.active, v.p.frozen} {
		if o == nil || len(o.changes) == 0 || o.changes[0].revision > rev {
			continue
		}
		value := o.changes[rev-o.changes[0].revision].value
		_, err := unseal(changes, key, value)
		return value, err
	}
	value, found, err := v.baseChange(key)
	if err == nil && !found {
		err = chainError(rev, "it is missing")
	}
	return value, err
}

// changedKeys are the operations of the change of revision rev, which the store has: what a change has of other things
// costs more to decode.
func (v *View) changedKeys(rev Revision) ([]ChangedKey, error) {
	value, err := v.storedChange(rev, changeKey(rev))
	if err != nil {
		return nil, err
	}
	return decodeChangedKeys(rev, value)
}

func (v *View) baseChange(key string) (value []byte, found bool, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	value, found, err = v.p.base.changes.stored(key)
	return slices.Clone(value), found, err
}

// RevisionAt returns the newest revision that the view shows whose change was accepted at t
// or before, 0 if none was. The time of acceptance never goes back from one change to the
// next, whatever the clocks of the nodes did. *CompactedError, if that is not known any more;
// ErrDamaged.
func (v *View) RevisionAt(t time.Time) (Revision, error) {
	oldest := v.p.state.Floor // the changes after it are held
	var failed error
	n := sort.Search(int(v.Revision()-oldest), func(i int) bool {
		if failed != nil {
			return true
		}
		ch, err := v.Change(v.p.state.After(oldest + Revision(i))) // of those in a gap, the one behind it
		failed = err
		return err != nil || time.Unix(0, ch.At).After(t)
	})
	if n == 0 && oldest > 0 && failed == nil && time.Unix(0, v.p.state.FloorAt).After(t) {
		failed = &CompactedError{Floor: oldest}
	}
	return oldest + Revision(n), failed
}

// KeyHistory calls fn for what happened to key at revision from and before, newest first,
// as far as that is held, until it returns false. ErrDamaged ends it before the record at fault.
func (v *View) KeyHistory(key string, from Revision, fn func(Revision, Event) bool) error {
	from = min(from, v.Revision())
	like := commonTexts
	put := func(b body) bool {
		like = b.record(key, &like)
		return fn(like.Revision, Event{Key: key, Record: like})
	}
	newer := Revision(0) // of the record after; 0: there is none
	b, err := v.body(key)
	if err != nil {
		return err
	}
	if b != nil && b.revision() <= from {
		if newer = b.revision(); !put(b) {
			return nil
		}
	}
	m := v.merge(superseded)
	defer m.release()
	for ok, err := m.seekIn(supersededKey(key, from), pastOf(key)); ; ok, err = m.next() {
		if err != nil || !ok {
			return err
		}
		ended, err := endOf(key, m.value)
		if err != nil {
			return err
		}
		// What ended where nothing followed was deleted.
		if ended <= from && ended != newer && !fn(ended, Event{Key: key, Deleted: true}) {
			return nil
		}
		if isTrimmed(m.value) {
			return nil
		}
		b, err := endedAfter(key, m.value, 0)
		if err != nil {
			return err
		}
		if newer = b.revision(); !put(b) {
			return nil
		}
	}
}

// Events calls fn for what ch, a change that the view shows, did to the keys that begin
// with prefix, in their order, until it returns false. ErrDamaged ends it before the
// record at fault.
func (v *View) Events(ch *Change, prefix string, fn func(Event) bool) error {
	like := commonTexts
	for i := range ch.Ops {
		e := Event{Key: ch.Ops[i].Key, Deleted: ch.Ops[i].Kind == Delete}
		if !strings.HasPrefix(e.Key, prefix) || ch.Ops[i].Kind.alone() {
			continue
		}
		if !e.Deleted {
			b, err := v.bodyAt(e.Key, ch.Revision)
			if err != nil {
				return err
			}
			if e.Trimmed = b == nil; !e.Trimmed {
				like = b.record(e.Key, &like)
				e.Record = like
			}
		}
		if !fn(e) {
			return nil
		}
	}
	return nil
}

// Difference is a key that is not what it was.
type Difference struct {
	Key           string
	Before, After *Record // nil: there was, or is, none; their Values are valid during the call
}

// Diff calls fn for the keys in [lo, hi) whose records differ between the views before and
// after, in ascending order, until it returns false; hi "" means no end. ErrDamaged ends
// it before the record at fault.
func Diff(before, after *View, lo, hi string, fn func(Difference) bool) error {
	return diff(before, after, lo, hi, func() bool { return true }, fn)
}

// diff is Diff, and calls visit for each key that it looks at, until that returns false.
func diff(before, after *View, lo, hi string, visit func() bool, fn func(Difference) bool) error {
	walks := [2]walk{before.walk(), after.walk()}
	var at [2]bool
	for i, w := range walks {
		defer w.release()
		var err error
		if at[i], err = w.seek(lo, hi); err != nil {
			return err
		}
	}
	like := commonTexts
	for at[0] || at[1] {
		key := ""
		var b [2]body
		for i, w := range walks {
			if !at[i] {
				continue
			}
			switch k, rec := w.here(); {
			case key == "" || k < key:
				key, b = k, [2]body{}
				b[i] = rec
			case k == key:
				b[i] = rec
			}
		}
		if !visit() {
			return nil
		}
		if b[0] == nil || b[1] == nil || b[0].revision() != b[1].revision() {
			d := Difference{Key: key}
			for i, to := range [2]**Record{&d.Before, &d.After} {
				if b[i] != nil {
					rec := b[i].record(key, &like)
					*to = &rec
				}
			}
			if !fn(d) {
				return nil
			}
		}
		for i, w := range walks {
			if b[i] == nil {
				continue
			}
			var err error
			if at[i], err = w.next(); err != nil {
				return err
			}
		}
	}
	return nil
}
