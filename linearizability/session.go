package linearizability

import (
	"maps"
	"slices"
)

// CheckSessions decides whether every answer is at the revision that its client
// asked for at least (Op.MinRevision), and whether within a session reads see the
// session's own writes and never go back (Op.Session). It takes O(n log n) and
// returns how many reads had such a promise.
func CheckSessions(h *History) (reads int, err error) {
	sessions := map[uint64][]*Op{}
	for i := range h.Ops {
		o := &h.Ops[i]
		if !o.isAnswered() {
			continue
		}
		if o.MinRevision != 0 && o.Revision < o.MinRevision {
			return reads, violation([]*Op{o}, "too early: %v was asked for at revision %d or later", o, o.MinRevision)
		}
		if o.Outcome == ReadDone && (o.MinRevision != 0 || o.Session != 0) {
			reads++
		}
		if o.Session != 0 {
			sessions[o.Session] = append(sessions[o.Session], o)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(sessions)) {
		if err := checkSession(sessions[id]); err != nil {
			return reads, err
		}
	}
	return reads, nil
}

// checkSession: a read is not older than anything of the session that had
// returned before it was called.
func checkSession(ops []*Op) error {
	returns := slices.SortedFunc(slices.Values(ops), byReturn)
	slices.SortFunc(ops, byCall)
	var seen *Op
	n := 0
	for _, o := range ops {
		for ; n < len(returns) && returns[n].Return < o.Call; n++ {
			if seen == nil || returns[n].Revision > seen.Revision {
				seen = returns[n]
			}
		}
		switch {
		case seen == nil || o.Outcome != ReadDone || o.Revision >= seen.Revision:
		case seen.Outcome == Applied:
			return violation([]*Op{seen, o}, "own write not read: session %d wrote %v, and then %v", o.Session, seen, o)
		default:
			return violation([]*Op{seen, o}, "session %d went back: %v, and then %v", o.Session, seen, o)
		}
	}
	return nil
}
