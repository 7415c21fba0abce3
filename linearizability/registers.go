package linearizability

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// RegisterReport is what CheckRegisters found.
type RegisterReport struct {
	// Keys were judged, each on its own.
	Keys int
	// NoAnswer are the keys that the budget did not suffice for: neither right nor wrong.
	NoAnswer []string
}

// CheckRegisters asks Porcupine whether each key's operations are those of one
// linearizable register with compare-and-set. Unknown writes may take effect at
// any time after their call, or never. budget bounds the real time spent on one
// key; a key without answer by then is reported as such, and is no pass.
//
// The error names the first key (in order) that is not linearizable and the
// operation that fits nowhere.
func CheckRegisters(h *History, budget time.Duration) (RegisterReport, error) {
	byKey := map[string][]porcupine.Operation{}
	for i := range h.Ops {
		o := &h.Ops[i]
		if o.judged() {
			byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Call, Return: o.end()})
		}
	}
	var report RegisterReport
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		report.Keys++
		switch porcupine.CheckOperationsTimeout(registerModel, byKey[key], budget) {
		case porcupine.Ok:
		case porcupine.Unknown:
			report.NoAnswer = append(report.NoAnswer, key)
		case porcupine.Illegal:
			return report, fmt.Errorf("key %s is not linearizable: %s", key, misfit(byKey[key], budget))
		}
	}
	return report, nil
}

// judged tells whether the operation says anything about its key: a failed read
// does not, a write that was not applied must not, and a local read promises nothing.
func (o *Op) judged() bool {
	switch o.Kind {
	case Local:
		return false
	case Read:
		return o.Return != Never && o.Outcome == ReadDone
	case Put, Delete:
	}
	return o.Outcome != NotApplied
}

// end is when the operation's effect was there at the latest.
func (o *Op) end() int64 {
	if o.isUnknown() {
		return Never
	}
	return o.Return
}

// misfit names the first operation to return that the longest partial
// linearization leaves out.
func misfit(ops []porcupine.Operation, budget time.Duration) string {
	_, info := porcupine.CheckOperationsVerbose(registerModel, ops, budget)
	var longest []porcupine.Operation
	for _, partition := range info.PartialLinearizationsOperations() {
		for _, l := range partition {
			if len(l) > len(longest) {
				longest = l
			}
		}
	}
	placed := map[uint64]bool{}
	state := registerModel.Init()
	for _, p := range longest {
		o := p.Input.(*Op)
		placed[o.ID] = true
		_, state = registerModel.Step(state, p.Input, nil)
	}
	var left []*Op
	for _, p := range ops {
		if o := p.Input.(*Op); !placed[o.ID] {
			left = append(left, o)
		}
	}
	if len(left) == 0 {
		return "no partial order was found"
	}
	first := slices.MinFunc(left, func(a, b *Op) int {
		return cmp.Or(cmp.Compare(a.end(), b.end()), cmp.Compare(a.ID, b.ID))
	})
	s := fmt.Sprintf("%d of %d operations fit, then the key is %v, and %v fits nowhere", len(longest), len(ops), state, first)
	if len(longest) > 0 {
		s += fmt.Sprintf("; before it came %v", longest[len(longest)-1].Input)
	}
	return s
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

// wrote returns the state after o's change, at rev; 0: not known.
func (r register) wrote(o *Op, rev uint64) register {
	next := register{floor: max(r.floor, rev)}
	if o.Kind == Put {
		next.found, next.value, next.rev, next.blind = true, o.Value, rev, rev == 0
	}
	return next
}

var registerModel = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, _ any) (bool, any) {
		r, o := state.(register), input.(*Op)
		next, ok := r.step(o)
		return ok, next
	},
	Hash: func(state any) uint64 {
		r := state.(register)
		h := r.rev*0x9e3779b97f4a7c15 ^ r.floor
		for i := range len(r.value) {
			h = (h ^ uint64(r.value[i])) * 0x100000001b3
		}
		return h
	},
	DescribeOperation: func(input, _ any) string { return input.(*Op).String() },
	DescribeState:     func(state any) string { return state.(register).String() },
}

// step is the model: may o come next, and what is the key then?
func (r register) step(o *Op) (register, bool) {
	if o.isUnknown() {
		return r.stepUnknown(o), true
	}
	switch o.Outcome {
	case ReadDone:
		if o.Found != r.found || o.Got != r.value {
			return r, false
		}
		return r.at(o.KeyRevision)
	case CompareFailed:
		next, ok := r.at(o.KeyRevision)
		return next, ok && !o.conditionHolds(o.KeyRevision)
	case Unchanged:
		if r.found != (o.Kind == Put) || r.value != o.Value {
			return r, false
		}
		next, ok := r.at(o.KeyRevision)
		return next, ok && o.conditionHolds(o.KeyRevision)
	case Applied:
		next, ok := r.met(o)
		if !ok || o.Revision <= next.floor || (o.Kind == Delete && !next.found) {
			return r, false
		}
		return next.wrote(o, o.Revision), true
	case NotApplied, Unknown, ReadFailed:
	}
	return r, false
}

// stepUnknown lets an unknown write take effect if it can. That it never did is
// the same as that it did after everything else, where nobody looks, so there is
// no second case.
func (r register) stepUnknown(o *Op) register {
	next, ok := r.met(o)
	if !ok || (o.Kind == Delete && !next.found) || (o.Kind == Put && next.found && next.value == o.Value) {
		return r
	}
	return next.wrote(o, 0)
}

// met returns r if o's condition can hold in it.
func (r register) met(o *Op) (register, bool) {
	switch {
	case o.IfAbsent:
		return r, !r.found
	case o.IfRevision != 0:
		return r.at(o.IfRevision)
	}
	return r, true
}
