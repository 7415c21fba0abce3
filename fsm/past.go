package fsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrFuture means that a revision was asked for that the view does not have yet.
var ErrFuture = errors.New("fsm: the revision is not there yet")

// At returns a view of the records as they were at revision rev, 0 being the empty store.
// It is a view of its own, which must be closed, and State is still that of v. What it reads may
// be a *CompactedError too, of a key with more versions than are kept. ErrFuture;
// *CompactedError.
func (v *View) At(rev Revision) (*View, error) {
	if newest := v.p.state.Revision; rev > newest {
		return nil, fmt.Errorf("%w: %d, the newest is %d", ErrFuture, rev, newest)
	}
	if floor := v.p.state.Floor; rev < floor {
		return nil, &CompactedError{Floor: floor}
	}
	if err := gaps(v.p.state.Gaps).refuse(rev); err != nil {
		return nil, err
	}
	must(v.p.base.acquire(), "the base of an open view is gone")
	return &View{p: v.p, past: true, at: rev}, nil
}

// asOf is At for a view of the applier's, which holds no reference and is not closed. A walk of
// it ends where room does.
func (v *View) asOf(rev Revision, room *treeRoom) *View {
	return &View{p: v.p, past: true, at: rev, room: room}
}

// Revision is the newest revision that the view shows.
func (v *View) Revision() Revision {
	if v.past {
		return v.at
	}
	return v.p.state.Revision
}

// walk goes through the records that a view shows in ascending order of key.
type walk interface {
	// seek moves to the first record with a key in [lo, hi), hi "" meaning no end; false if
	// there is none. What is behind hi is not looked at: it may be compacted.
	seek(lo, hi string) (bool, error)
	// next moves to the record after, still below hi; false if there is none.
	next() (bool, error)
	// here is the record: good until the next move, while the view is open.
	here() (key string, b body)
	release()
}

func (v *View) walk() walk {
	if v.past {
		return &pastWalk{at: v.at, room: v.room, now: v.merge(current), then: v.merge(superseded)}
	}
	return &newestWalk{merge: v.merge(current)}
}

// newestWalk goes through bucket current.
type newestWalk struct {
	*merge
	b body
}

func (w *newestWalk) seek(lo, hi string) (bool, error) { return w.check(w.merge.seekIn(lo, hi)) }

func (w *newestWalk) next() (bool, error) { return w.check(w.merge.next()) }

func (w *newestWalk) check(ok bool, err error) (bool, error) {
	if !ok || err != nil {
		return false, err
	}
	w.b, err = checkBody(w.key, w.value[checksumBytes:])
	return err == nil, err
}

func (w *newestWalk) here() (string, body) { return w.key, w.b }

// pastWalk goes through the records of a past revision: of each key the newest that is
// not newer, be it current or superseded, unless it had ended by then.
type pastWalk struct {
	at        Revision
	room      *treeRoom // nil: enough
	now, then *merge    // at the first records whose keys were not looked at yet
	thenHi    string    // where then ends
	atNow     bool      // now is at a record
	atThen    bool
	key       string
	b         body
}

func (w *pastWalk) release() {
	w.now.release()
	w.then.release()
}

func (w *pastWalk) here() (string, body) { return w.key, w.b }

func (w *pastWalk) seek(lo, hi string) (ok bool, err error) {
	if w.atNow, err = w.now.seekIn(lo, hi); err != nil {
		return false, err
	}
	w.thenHi = pastEnd(hi)
	if err := w.seekThen(lo); err != nil {
		return false, err
	}
	if w.atThen && w.ofThen() < lo {
		// The key asked for is behind a record's, but not behind where its past is kept.
		if err := w.seekThen(pastOf(w.ofThen())); err != nil {
			return false, err
		}
	}
	return w.settle()
}

func (w *pastWalk) seekThen(key string) (err error) {
	w.atThen, err = w.then.seekIn(key, w.thenHi)
	return err
}

// ofThen is the key of the record that then is at.
func (w *pastWalk) ofThen() string { return w.then.key[:max(0, len(w.then.key)-pastBytes)] }

// pastOf is behind all that bucket superseded has of key, and before any other key's.
func pastOf(key string) string { return key + "\x01" }

// pastEnd is behind all that bucket superseded has of the keys below hi, and before all that
// it has of others.
func pastEnd(hi string) string {
	if key, _, ok := strings.Cut(hi, "\x00"); ok {
		return pastOf(key) // no key has a zero byte
	}
	return hi
}

func (w *pastWalk) next() (bool, error) {
	if err := w.pass(w.key); err != nil {
		return false, err
	}
	return w.settle()
}

// pass moves beyond all records of key.
func (w *pastWalk) pass(key string) (err error) {
	if w.atNow && w.now.key == key {
		if w.atNow, err = w.now.next(); err != nil {
			return err
		}
	}
	if w.atThen && w.ofThen() == key {
		return w.seekThen(pastOf(key))
	}
	return nil
}

// settle finds the first key from here on that had a record at the revision.
func (w *pastWalk) settle() (bool, error) {
	for w.atNow || w.atThen {
		key := w.now.key
		if !w.atNow || w.atThen && w.ofThen() < key {
			key = w.ofThen()
		}
		b, err := w.version(key)
		if err != nil {
			return false, err
		}
		if b != nil {
			w.key, w.b = key, b
			return true, nil
		}
		if w.room != nil {
			if w.room.passed--; w.room.exceeded() {
				return false, nil
			}
		}
		if err := w.pass(key); err != nil {
			return false, err
		}
	}
	return false, nil
}

// version is what key, the least that now and then are at, had at the revision; nil: nothing.
func (w *pastWalk) version(key string) (body, error) {
	if w.atNow && w.now.key == key {
		b, err := checkBody(key, w.now.value[checksumBytes:])
		if err != nil || b.revision() <= w.at {
			return b, err
		}
	}
	if !w.atThen || w.ofThen() != key {
		return nil, nil
	}
	if err := w.seekThen(supersededKey(key, w.at)); err != nil || !w.atThen || w.ofThen() != key {
		return nil, err
	}
	return endedAfter(key, w.then.value, w.at)
}

// endedAfter is a superseded record as stored, nil if it had ended at revision at.
func endedAfter(key string, value []byte, at Revision) (body, error) {
	ended, err := endOf(key, value)
	switch {
	case err != nil:
		return nil, err
	case ended <= at:
		return nil, nil
	case isTrimmed(value):
		return nil, &CompactedError{Floor: ended}
	}
	return checkBody(key, value[checksumBytes+endedBytes:])
}

// endOf is the revision that ended a superseded record.
func endOf(key string, value []byte) (Revision, error) {
	if len(value) < checksumBytes+endedBytes {
		return 0, damaged("superseded record of %q: %d bytes are no record", key, len(value))
	}
	return Revision(binary.LittleEndian.Uint64(value[checksumBytes:])), nil
}

// isTrimmed tells what stands for all that a key had before some revision, and is not held.
func isTrimmed(value []byte) bool { return len(value) == checksumBytes+endedBytes }

// pastBody returns a copy of key's record at v.at, nil if it had none.
func (v *View) pastBody(key string) (body, error) {
	b, err := v.body(key)
	if err != nil || b != nil && b.revision() <= v.at {
		return b, err
	}
	m := v.merge(superseded)
	defer m.release()
	ok, err := m.seekIn(supersededKey(key, v.at), pastOf(key))
	if err != nil || !ok {
		return nil, err
	}
	b, err = endedAfter(key, m.value, v.at)
	return bytes.Clone(b), err
}
