package linearizability

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// RegisterReport is what CheckRegisters found.
type RegisterReport struct {
	// Keys were judged, each on its own or with those that it shares a transaction with.
	Keys int
	// NoAnswer are the keys that the budget did not suffice for: neither right nor
	// wrong. Keys that were judged together are one text.
	NoAnswer []string
}

// CheckRegisters asks Porcupine whether each key's operations are those of one
// linearizable register with compare-and-set. Keys that a transaction touches
// together are judged together. Unknown writes may take effect at any time after
// their call, or never. budget bounds the real time spent on one key or such a set; one
// without answer by then is reported as such, and is no pass.
//
// It believes revisions as far as they are part of an answer. That the keys which
// one unknown transaction changed have one revision, it does not check.
//
// The error is a *Violation that names the first key (in order) that is not
// linearizable and the operation that fits nowhere.
func CheckRegisters(h *History, budget time.Duration) (RegisterReport, error) {
	var report RegisterReport
	for _, p := range h.partitions() {
		report.Keys += len(p.keys)
		switch porcupine.CheckOperationsTimeout(p.model(), p.ops, budget) {
		case porcupine.Ok:
		case porcupine.Unknown:
			report.NoAnswer = append(report.NoAnswer, p.String())
		case porcupine.Illegal:
			return report, p.misfit(budget)
		}
	}
	return report, nil
}

// visualize writes Porcupine's own page of the first partition that is not
// linearizable. It reports whether there is one.
func visualize(h *History, budget time.Duration, w io.Writer) (bool, error) {
	for _, p := range h.partitions() {
		if porcupine.CheckOperationsTimeout(p.model(), p.ops, budget) != porcupine.Illegal {
			continue
		}
		_, info := porcupine.CheckOperationsVerbose(p.model(), p.ops, budget)
		return true, porcupine.Visualize(p.model(), info, w)
	}
	return false, nil
}

// partition is a set of keys that no operation joins to any other key.
type partition struct {
	keys []string // in order
	at   map[string]int
	ops  []porcupine.Operation
	// changed are the revisions, ascending, at which it is known that a key changed.
	changed [][]uint64
}

// knowChanges notes what the answers say about when each key changed.
func (p *partition) knowChanges() {
	p.changed = make([][]uint64, len(p.keys))
	for _, l := range p.ops {
		o := l.Input.(*Op)
		if steps := o.steps(); o.Outcome == Applied && !o.ElseDone && len(steps) == 1 && steps[0].Kind != Read {
			at := p.at[steps[0].Key]
			p.changed[at] = append(p.changed[at], o.Revision)
		}
	}
	for _, revs := range p.changed {
		slices.Sort(revs)
	}
}

// dropUnseen leaves out unknown appends whose element nobody saw, if all that writes the key is unconditional appends. Such
// a list only grows: if one took effect it did after everything that looked, where it makes no difference. Tried in all
// places and orders, a few of them leave no time for an answer.
func (p *partition) dropUnseen() {
	seen := map[string]bool{}
	for _, l := range p.ops {
		o := l.Input.(*Op)
		steps := o.steps()
		switch {
		case len(p.keys) > 1 || len(o.Else) > 0 || len(steps) != 1:
			return
		case steps[0].Kind == Read:
			for e := range strings.SplitSeq(steps[0].Got, " ") {
				seen[e] = true
			}
		case steps[0].Kind != Append || len(o.compares()) > 0:
			return
		}
	}
	p.ops = slices.DeleteFunc(p.ops, func(l porcupine.Operation) bool {
		o := l.Input.(*Op)
		return o.isUnknown() && !seen[o.steps()[0].Value]
	})
}

// tooEarly tells whether a change of a key at a revision comes before one that is known to be older. That one could
// not come any more: the sooner that is seen, the fewer orders are tried.
func (p *partition) tooEarly(key int, rev uint64, r register) bool {
	n, _ := slices.BinarySearch(p.changed[key], rev)
	return n > 0 && r.floor < p.changed[key][n-1]
}

func (p *partition) String() string {
	if more := len(p.keys) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(p.keys[:maxNamed], "+"), more)
	}
	return strings.Join(p.keys, "+")
}

// partitions splits the judged operations, in the order of their first keys.
func (h *History) partitions() []*partition {
	all, _ := h.operations()
	ops := slices.DeleteFunc(all, func(o *Op) bool { return !o.judged() })
	slices.SortFunc(ops, byCall)
	sets := joined{}
	for _, o := range ops {
		for _, key := range o.keys() {
			sets.join(o.keys()[0], key)
		}
	}
	of := map[string]*partition{} // by root
	var out []*partition
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		p := of[sets.root(key)]
		if p == nil {
			p = &partition{at: map[string]int{}}
			of[sets.root(key)] = p
			out = append(out, p)
		}
		p.at[key] = len(p.keys)
		p.keys = append(p.keys, key)
	}
	for _, o := range ops {
		p := of[sets.root(o.keys()[0])]
		p.ops = append(p.ops, porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.end()})
	}
	for _, p := range out {
		p.dropUnseen()
		p.knowChanges()
	}
	return out
}

// joined is a forest of keys; each tree is a set that belongs together.
type joined map[string]string

func (j joined) root(key string) string {
	for j[key] != key {
		j[key] = j[j[key]]
		key = j[key]
	}
	return key
}

func (j joined) join(a, b string) {
	for _, key := range []string{a, b} {
		if _, ok := j[key]; !ok {
			j[key] = key
		}
	}
	j[j.root(b)] = j.root(a)
}

// keys are all that the operation touches.
func (o *Op) keys() []string {
	if o.Kind != Txn {
		return []string{o.Key}
	}
	keys := make([]string, 0, len(o.Compares)+len(o.Steps))
	for _, c := range o.Compares {
		keys = append(keys, c.Key)
	}
	for _, steps := range [...][]Step{o.Steps, o.Else} {
		for i := range steps {
			keys = append(keys, steps[i].Key)
		}
	}
	return keys
}

// judged tells whether the operation says anything about its keys: a failed read
// does not, a write that was not applied must not, and a local read promises nothing.
func (o *Op) judged() bool {
	return o.Kind != Local && (o.isUnknown() || o.isAnswered())
}

// misfit names the first operation to return that the longest partial
// linearization leaves out.
func (p *partition) misfit(budget time.Duration) error {
	model := p.model()
	_, info := porcupine.CheckOperationsVerbose(model, p.ops, budget)
	var longest []porcupine.Operation
	for _, set := range info.PartialLinearizationsOperations() {
		for _, l := range set {
			if len(l) > len(longest) {
				longest = l
			}
		}
	}
	placed := map[uint64]bool{}
	state := model.Init()
	for _, l := range longest {
		placed[l.Input.(*Op).ID] = true
		_, state = model.Step(state, l.Input, nil)
	}
	var left []*Op
	for _, l := range p.ops {
		if o := l.Input.(*Op); !placed[o.ID] {
			left = append(left, o)
		}
	}
	if len(left) == 0 {
		return violation(nil, "key %v is not linearizable: no partial order was found", p)
	}
	first := slices.MinFunc(left, byReturn)
	if first.isUnknown() {
		first = left[0]
	}
	v := violation([]*Op{first}, "key %v is not linearizable: %d of %d operations fit, then it is %s, and %v fits nowhere",
		p, len(longest), len(p.ops), model.DescribeState(state), first)
	if len(longest) > 0 {
		last := longest[len(longest)-1].Input.(*Op)
		v.Text += fmt.Sprintf("; before it came %v", last)
		v.Ops = append(v.Ops, last.ID)
		v = v.during(last.Call)
	}
	return v
}

// register is the state of one key.
type register struct {
	found bool
	value string
	// rev is the key's last change, 0 while a write of unknown revision made it, or
	// none did; it is greater than floor then.
	rev, floor uint64
	// blind: made by a write whose revision is not known yet.
	blind bool
}

func (r register) String() string {
	switch {
	case !r.found:
		return "absent"
	case r.blind:
		return fmt.Sprintf("%s at a revision above %d", r.value, r.floor)
	}
	return fmt.Sprintf("%s at %d", r.value, r.rev)
}

// at returns r if its last change can have been at rev, with that known from now
// on. rev 0 means that there is no record.
func (r register) at(rev uint64) (register, bool) {
	switch {
	case rev == 0:
		return r, !r.found
	case !r.found:
		return r, false
	case !r.blind:
		return r, r.rev == rev
	case rev <= r.floor:
		return r, false
	}
	r.blind, r.rev, r.floor = false, rev, rev
	return r, true
}

// after returns the state after a step that writes, at rev (0: not known), and
// whether it differs.
func (r register) after(s *Step, rev uint64) (register, bool) {
	next := register{floor: max(r.floor, rev)}
	switch s.Kind {
	case Put:
		next.found, next.value = true, s.Value
	case Append:
		next.found, next.value = true, appended(r.value, s.Value)
	case Delete, Read, Local, Txn:
	}
	if next.found {
		next.rev, next.blind = rev, rev == 0
	}
	if next.found == r.found && next.value == r.value {
		return r, false
	}
	return next, true
}

// keyStates are the keys of a partition; a step never changes them in place.
type keyStates []register

// model is a partition's for Porcupine.
func (p *partition) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return make(keyStates, len(p.keys)) },
		Step: func(state, input, _ any) (bool, any) {
			next, ok := p.step(state.(keyStates), input.(*Op))
			return ok, next
		},
		Equal:             func(a, b any) bool { return slices.Equal(a.(keyStates), b.(keyStates)) },
		Hash:              func(state any) uint64 { return state.(keyStates).hash() },
		DescribeOperation: func(input, _ any) string { return input.(*Op).short() },
		DescribeState:     func(state any) string { return p.describe(state.(keyStates)) },
	}
}

// short names an operation where there is little room.
func (o *Op) short() string {
	s := fmt.Sprintf("%d %s", o.ID, o.Kind)
	switch {
	case o.isUnknown():
		return s + " " + o.Value + "?"
	case o.Outcome == ReadDone && o.Kind == Read:
		return s + " " + sawText(o.Found, o.Got)
	case o.Outcome == Applied:
		return fmt.Sprintf("%s %s @%d", s, o.Value, o.Revision)
	}
	return fmt.Sprintf("%s %s", s, o.Outcome)
}

func (p *partition) describe(rs keyStates) string {
	if len(rs) == 1 {
		return rs[0].String()
	}
	parts := make([]string, min(len(rs), maxNamed))
	for i := range parts {
		parts[i] = p.keys[i] + ": " + rs[i].String()
	}
	return strings.Join(parts, ", ")
}

func (rs keyStates) hash() uint64 {
	h := uint64(len(rs))
	for _, r := range rs {
		h = (h ^ r.rev*0x9e3779b97f4a7c15 ^ r.floor) * 0x100000001b3
		for i := range len(r.value) {
			h = (h ^ uint64(r.value[i])) * 0x100000001b3
		}
	}
	return h
}

// step is the model: may o come next, and what are the keys then?
func (p *partition) step(rs keyStates, o *Op) (keyStates, bool) {
	switch {
	case o.isUnknown():
		// That it never took effect is the same as that it did after everything else,
		// where nobody looks: if it cannot take effect here, it has none here.
		next, ok, _ := p.perform(rs, o, 0)
		if !ok {
			return rs, true
		}
		return next, true
	case o.Outcome == CompareFailed && !o.ElseDone:
		return p.refuse(rs, o)
	case o.Outcome == Applied:
		next, ok, changed := p.perform(rs, o, o.Revision)
		return next, ok && changed
	}
	next, ok, changed := p.perform(rs, o, o.Revision)
	if ok && o.Outcome == Unchanged && o.Kind != Txn {
		at := p.at[o.Key]
		if next[at], ok = next[at].at(o.KeyRevision); !ok {
			return rs, false
		}
	}
	return next, ok && !changed
}

// perform does o at rev, 0 if that is not known. It reports whether o can come
// next and whether it changes anything.
func (p *partition) perform(rs keyStates, o *Op, rev uint64) (next keyStates, ok, changed bool) {
	steps := o.steps()
	if o.ElseDone {
		if _, ok := p.refuse(rs, o); !ok {
			return rs, false, false
		}
		next = slices.Clone(rs)
	} else if next, ok = p.admit(rs, o); !ok {
		if len(o.Else) == 0 || !o.isUnknown() {
			return rs, false, false
		}
		next, steps = slices.Clone(rs), o.Else
	}
	before := next
	if len(steps) > 1 { // one step looks at its key before it changes it
		before = slices.Clone(next)
	}
	for _, s := range steps {
		r := &next[p.at[s.Key]]
		if s.Kind == Read {
			if rev == 0 && o.isUnknown() {
				continue
			}
			if s.Found != r.found || s.Got != r.value {
				return rs, false, false
			}
			if *r, ok = r.at(s.KeyRevision); !ok {
				return rs, false, false
			}
			continue
		}
		after, did := r.after(&s, rev)
		if was := before[p.at[s.Key]]; did && rev != 0 && (rev <= was.floor || p.tooEarly(p.at[s.Key], rev, was)) {
			return rs, false, false
		}
		*r, changed = after, changed || did
	}
	return next, true, changed
}

// admit returns the keys after o's conditions were found to hold, if they can: a key's
// revision may be known from then on.
func (p *partition) admit(rs keyStates, o *Op) (next keyStates, ok bool) {
	next = slices.Clone(rs)
	for _, c := range o.compares() {
		r := &next[p.at[c.Key]]
		if c.Exists || c.Value != "" {
			ok = r.found && (c.Exists || r.value == c.Value)
		} else {
			*r, ok = r.at(c.Revision)
		}
		if !ok {
			return rs, false
		}
	}
	return next, true
}

// refuse tells whether one of o's conditions can fail.
func (p *partition) refuse(rs keyStates, o *Op) (keyStates, bool) {
	if o.Kind != Txn {
		at := p.at[o.Key]
		now, ok := rs[at].at(o.KeyRevision)
		if !ok || !slices.ContainsFunc(o.compares(), func(c Compare) bool { return !c.holds(lastAt(o.KeyRevision)) }) {
			return rs, false
		}
		next := slices.Clone(rs)
		next[at] = now
		return next, true
	}
	return rs, slices.ContainsFunc(o.compares(), func(c Compare) bool {
		r := rs[p.at[c.Key]]
		if c.Value != "" {
			return !r.found || r.value != c.Value
		}
		return r.found != (c.Exists || c.Revision != 0) || (r.found && !c.Exists && (r.blind || r.rev != c.Revision))
	})
}
