package linearizability

import (
	"slices"
	"sort"
)

// CheckStaleness decides whether every answer that claims to be as fresh as an
// instant has the revision of every write that was acknowledged before it, and
// whether each answer to a client that bounded its age claims to keep to that. It
// takes O(n log n) and returns how many claims there were.
func CheckStaleness(h *History) (claims int, err error) {
	acks := h.acknowledgments()
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.Return == Never || o.Outcome != ReadDone {
			continue
		}
		if o.MaxStaleness != 0 && (!o.Claims || o.FreshAt < o.Call-o.MaxStaleness) {
			return claims, violation([]*Op{o}, "older than asked: %v does not claim to be fresh at %d, %d before its call", o, o.Call-o.MaxStaleness, o.MaxStaleness)
		}
		if !o.Claims {
			continue
		}
		claims++
		if newest := acks.before(o.FreshAt); newest != nil && newest.Revision > o.Revision {
			return claims, violation([]*Op{o, newest}, "stale: %v claims to hold all that was acknowledged before %d, but has not %v", o, o.FreshAt, newest)
		}
	}
	return claims, nil
}

// acknowledgments answer which revision was acknowledged when.
type acknowledgments struct {
	writes []*Op // by return
	newest []*Op // of writes[:i+1], the one of the greatest revision
}

func (h *History) acknowledgments() acknowledgments {
	var a acknowledgments
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Outcome == Applied && o.isAnswered() {
			a.writes = append(a.writes, o)
		}
	}
	slices.SortFunc(a.writes, byReturn)
	a.newest = make([]*Op, len(a.writes))
	for i, w := range a.writes {
		a.newest[i] = w
		if i > 0 && a.newest[i-1].Revision > w.Revision {
			a.newest[i] = a.newest[i-1]
		}
	}
	return a
}

// before is the write of the greatest revision that had returned before an
// instant, or nil.
func (a *acknowledgments) before(at int64) *Op {
	n := sort.Search(len(a.writes), func(i int) bool { return a.writes[i].Return >= at })
	if n == 0 {
		return nil
	}
	return a.newest[n-1]
}
