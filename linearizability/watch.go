package linearizability

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

// CheckWatches decides whether every watch stream has each change under its prefix
// exactly once, in the order of revisions, transactions whole, from the revision
// asked for to the last that it delivered or was said to be complete to. Without the
// change log, what is missing is known of acknowledged writes to single keys only. It returns how
// many events there were.
func CheckWatches(h *History) (events int, err error) {
	if len(h.Watches) == 0 {
		return 0, nil
	}
	log := h.changeLog()
	values := h.valuesOf()
	for i := range h.Watches {
		w := &h.Watches[i]
		events += len(w.Events)
		if err := checkStream(h, w, log); err != nil {
			return events, err
		}
		for _, e := range w.Events {
			at, ok := values[revisionKey{e.Revision, e.Key}]
			if ok && (at.deleted != e.Deleted || at.value != e.Value) {
				return events, violation([]*Op{at.op}, "wrong value: %v was sent key %s at revision %d as %s, which %v made %s",
					w, e.Key, e.Revision, sawText(!e.Deleted, e.Value), at.op, sawText(!at.deleted, at.value)).during(e.At)
			}
		}
	}
	return events, nil
}

// changeLog is the change log, or what is known of it.
func (h *History) changeLog() []Change {
	if h.HasChanges {
		return h.Changes
	}
	var out []Change
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Outcome == Applied && o.isAnswered() && o.Kind != Txn {
			out = append(out, Change{Revision: o.Revision, Op: o.ID, Key: o.Key})
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Or(cmp.Compare(a.Revision, b.Revision), cmp.Compare(a.Op, b.Op)) })
	return slices.CompactFunc(out, func(a, b Change) bool { return a.Revision == b.Revision })
}

// checkStream holds one stream against the log.
func checkStream(h *History, w *Watch, log []Change) error {
	through := w.Through
	last := uint64(0)
	var previous *WatchEvent
	sent := map[revisionKey]bool{}
	for i := range w.Events {
		e := &w.Events[i]
		at := revisionKey{e.Revision, e.Key}
		switch {
		case !strings.HasPrefix(e.Key, w.Prefix) || e.Revision <= w.From:
			return violation(nil, "%v was sent key %s at revision %d, which it did not ask for", w, e.Key, e.Revision).during(e.At)
		case sent[at]:
			return violation(nil, "%v was sent key %s at revision %d twice", w, e.Key, e.Revision).during(e.At)
		case e.Revision < last:
			return violation(nil, "%v was sent revision %d after revision %d", w, e.Revision, last).during(previous.At, e.At)
		}
		sent[at] = true
		last, previous = e.Revision, e
		through = max(through, e.Revision)
	}
	known := map[revisionKey]bool{}
	n := sort.Search(len(log), func(i int) bool { return log[i].Revision > w.From })
	for _, c := range log[n:] {
		if c.Revision > through {
			break
		}
		at := revisionKey{c.Revision, c.Key}
		known[at] = true
		if c.Key == "" {
			continue // of no key
		}
		if strings.HasPrefix(c.Key, w.Prefix) && !sent[at] {
			what := "misses"
			if c.Revision == last {
				what = "has half of a transaction, it misses"
			}
			o := h.opOf(c.Op)
			v := violation([]*Op{o}, "%v %s key %s at revision %d, made by op %d, and has all up to %d", w, what, c.Key, c.Revision, c.Op, through)
			if previous != nil {
				v = v.during(previous.At)
			}
			return v
		}
	}
	if !h.HasChanges {
		return nil
	}
	for _, e := range w.Events {
		if !known[revisionKey{e.Revision, e.Key}] {
			return violation(nil, "%v was sent key %s at revision %d, which never happened", w, e.Key, e.Revision).during(e.At)
		}
	}
	return nil
}

// opOf finds an operation, or nil; for messages only.
func (h *History) opOf(id uint64) *Op {
	for i := range h.Ops {
		if h.Ops[i].ID == id {
			return &h.Ops[i]
		}
	}
	return nil
}

// revisionKey is a key at a revision.
type revisionKey struct {
	rev uint64
	key string
}

// madeValue is what a write made of a key.
type madeValue struct {
	op      *Op
	deleted bool
	value   string
}

// valuesOf are the values that puts and deletes made, where their revision is known.
func (h *History) valuesOf() map[revisionKey]madeValue {
	made := map[uint64]uint64{}
	for _, c := range h.Changes {
		made[c.Op] = c.Revision
	}
	out := map[revisionKey]madeValue{}
	for i := range h.Ops {
		o := &h.Ops[i]
		rev := made[o.ID]
		if o.Outcome == Applied && o.isAnswered() {
			rev = o.Revision
		}
		if rev == 0 || !o.isWrite() || len(o.mayDo()) > len(o.steps()) {
			continue // of an unknown branch, for one
		}
		for _, s := range o.steps() {
			switch s.Kind {
			case Append:
				delete(out, revisionKey{rev, s.Key})
			case Put, Delete:
				out[revisionKey{rev, s.Key}] = madeValue{op: o, deleted: s.Kind == Delete, value: s.Value}
			case Read, Local, Txn:
			}
		}
	}
	return out
}
