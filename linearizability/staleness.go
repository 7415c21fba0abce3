package linearizability

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
)

// CheckStaleness decides whether every answer that claims to be as fresh as an
// instant has the revision of every write that was acknowledged before it. It
// returns how many claims there were.
func CheckStaleness(h *History) (claims int, err error) {
	var writes []*Op
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Outcome == Applied && o.Return != Never {
			writes = append(writes, o)
		}
	}
	slices.SortStableFunc(writes, func(a, b *Op) int { return cmp.Compare(a.Return, b.Return) })
	newest := make([]*Op, len(writes)) // of writes[:i+1], the one of the greatest revision
	for i, w := range writes {
		newest[i] = w
		if i > 0 && newest[i-1].Revision > w.Revision {
			newest[i] = newest[i-1]
		}
	}
	for i := range h.Ops {
		o := &h.Ops[i]
		if !o.Claims || o.Outcome != ReadDone {
			continue
		}
		claims++
		n := sort.Search(len(writes), func(i int) bool { return writes[i].Return >= o.FreshAt })
		if n > 0 && newest[n-1].Revision > o.Revision {
			return claims, fmt.Errorf("stale: %v claims to hold all that was acknowledged before %d, but has not %v", o, o.FreshAt, newest[n-1])
		}
	}
	return claims, nil
}
