package linearizability

import (
	"cmp"
	"slices"
)

// CheckSplitBrain decides, from answers and events, whether there was one cluster:
// one leader in a term, one write acknowledged at a revision, the same entry at an
// index on all nodes, and nothing acknowledged by nodes without a majority that was
// asked after they had lost it. It returns how many events it had to go by.
func CheckSplitBrain(h *History) (events int, err error) {
	for _, check := range []func(*History) error{oneLeader, oneEntry, onePerRevision, noMinority} {
		if err := check(h); err != nil {
			return len(h.Events), err
		}
	}
	return len(h.Events), nil
}

// oneLeader: a term has one leader at most.
func oneLeader(h *History) error {
	leaders := map[uint64]*Event{}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind != Leads {
			continue
		}
		first := leaders[e.Term]
		if first == nil {
			leaders[e.Term] = e
		} else if first.Node != e.Node {
			return violation(nil, "two leaders in term %d: %s at %d and %s at %d", e.Term, first.Node, first.At, e.Node, e.At).during(first.At, e.At)
		}
	}
	return nil
}

// oneEntry: what nodes applied at an index is the same.
func oneEntry(h *History) error {
	applied := map[uint64]*Event{}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind != AppliedEntry {
			continue
		}
		first := applied[e.Index]
		if first == nil {
			applied[e.Index] = e
		} else if first.Term != e.Term || first.Digest != e.Digest {
			return violation(nil, "logs differ at index %d: %s applied %s of term %d, %s applied %s of term %d",
				e.Index, first.Node, first.Digest, first.Term, e.Node, e.Digest, e.Term).during(first.At, e.At)
		}
	}
	return nil
}

// onePerRevision: a revision is acknowledged to one write.
func onePerRevision(h *History) error {
	ops, _ := h.operations()
	made := map[uint64]*Op{}
	for _, o := range ops {
		if o.Outcome != Applied || !o.isAnswered() {
			continue
		}
		if first := made[o.Revision]; first != nil {
			return violation([]*Op{first, o}, "revision %d was acknowledged twice: %v and %v", o.Revision, first, o)
		}
		made[o.Revision] = o
	}
	return nil
}

// span is a time in which nodes had no majority.
type span struct {
	event    *Event
	from, to int64
}

// noMinority: a node that cannot reach a majority acknowledges no write and
// answers no linearizable read that was called since.
func noMinority(h *History) error {
	spans := h.minorities()
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.Kind == Local || !o.isAnswered() {
			continue
		}
		for _, s := range spans[o.Node] {
			if o.Call > s.from && o.Return < s.to {
				return violation([]*Op{o}, "acknowledged without a majority: %v, while %s was cut off (fault %d, %s, from %d)",
					o, o.Node, s.event.Fault, s.event.Name, s.from).during(s.from)
			}
		}
	}
	return nil
}

// minorities are the times in which each node reached no majority.
func (h *History) minorities() map[string][]span {
	ends := map[uint64]int64{}
	for i := range h.Events {
		if e := &h.Events[i]; e.Kind == FaultEnds {
			ends[e.Fault] = e.At
		}
	}
	out := map[string][]span{}
	for i := range h.Events {
		e := &h.Events[i]
		if e.Kind != FaultBegins {
			continue
		}
		end, ok := ends[e.Fault]
		if !ok {
			end = Never
		}
		for _, n := range e.Minority {
			out[n] = append(out[n], span{event: e, from: e.At, to: end})
		}
	}
	for _, spans := range out {
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	}
	return out
}
