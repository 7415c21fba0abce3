package linearizability

import (
	"slices"
	"sort"
	"strings"
)

// CheckSet decides, of the keys of Set workloads, whose values are lists of elements that
// are appended once each, whether every read has each element once at most, none
// that was not added or was refused, and, unless it is a local read, all that
// were acknowledged before it was called. It takes O(n log n) in the size of the
// file and returns how many reads there were.
func CheckSet(h *History) (reads int, err error) {
	c := newSetCheck(h)
	for i := range h.Ops {
		o := &h.Ops[i]
		if !o.sawSteps() {
			continue
		}
		for _, s := range o.steps() {
			if s.Kind != Read || !c.of.has(s.Key) {
				continue
			}
			reads++
			if err := c.check(o, &s); err != nil {
				return reads, err
			}
		}
	}
	return reads, nil
}

type setCheck struct {
	of     ruled
	adders map[keyValue][]*Op
	acks   map[string][]added // by key, by return
}

// added is an element that was acknowledged.
type added struct {
	element string
	op      *Op
}

func newSetCheck(h *History) *setCheck {
	c := &setCheck{of: h.ruled(Set), adders: map[keyValue][]*Op{}, acks: map[string][]added{}}
	ops, _ := h.operations()
	for _, o := range ops {
		for _, s := range o.steps() {
			if s.Kind != Append || !c.of.has(s.Key) {
				continue
			}
			what := keyValue{s.Key, s.Value}
			c.adders[what] = append(c.adders[what], o)
			if o.Outcome == Applied && o.isAnswered() {
				c.acks[s.Key] = append(c.acks[s.Key], added{s.Value, o})
			}
		}
	}
	for _, acks := range c.acks {
		slices.SortStableFunc(acks, func(a, b added) int { return byReturn(a.op, b.op) })
	}
	return c
}

// check judges what one read step saw.
func (c *setCheck) check(o *Op, s *Step) error {
	elements := strings.Fields(s.Got)
	in := make(map[string]bool, len(elements))
	for _, e := range elements {
		adders := c.adders[keyValue{s.Key, e}]
		switch {
		case in[e]:
			return violation(append([]*Op{o}, adders...), "element %s is in %s twice: %v", e, s.Key, o)
		case len(adders) == 0:
			return violation([]*Op{o}, "element %s, which nobody added, is in %s: %v", e, s.Key, o)
		case !slices.ContainsFunc(adders, (*Op).mayApply):
			return violation([]*Op{o, adders[0]}, "element %s is in %s although it was refused: %v, and %v", e, s.Key, adders[0], o)
		}
		in[e] = true
	}
	if o.Kind == Local {
		return nil
	}
	acks := c.acks[s.Key]
	n := sort.Search(len(acks), func(i int) bool { return acks[i].op.Return >= o.Call })
	for _, a := range acks[:n] {
		if !in[a.element] {
			return violation([]*Op{a.op, o}, "acknowledged element %s is lost from %s: %v, and then %v", a.element, s.Key, a.op, o)
		}
	}
	return nil
}

// mayApply tells whether the write can have had an effect.
func (o *Op) mayApply() bool {
	return o.isUnknown() || (o.Outcome == Applied && o.isAnswered())
}
