package linearizability

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// store is what the drawn histories are histories of.
type store struct {
	rev  uint64
	keys map[string]keyVersion
}

// do performs o at one instant and gives it the answer.
func (s *store) do(o *Op) {
	for _, c := range o.compares() {
		now := s.keys[c.Key]
		if c.holds(now) {
			continue
		}
		if len(o.Else) > 0 {
			o.ElseDone = true
			break
		}
		o.Outcome, o.Revision = CompareFailed, s.rev
		if o.Kind != Txn {
			o.KeyRevision = now.keyRevision()
		}
		return
	}
	steps := slices.Clone(o.steps())
	next := map[string]keyVersion{}
	for i := range steps {
		step := &steps[i]
		now, ok := next[step.Key]
		if !ok {
			now = s.keys[step.Key]
			now.known = true
		}
		if step.Kind == Read {
			step.Found, step.Got, step.KeyRevision = now.found, now.value, now.keyRevision()
		} else if after, did := now.after(step, revisionWrite{rev: s.rev + 1, op: o}); did {
			next[step.Key] = after
		}
	}
	switch {
	case !o.isWrite():
		o.Outcome = ReadDone
	case len(next) == 0:
		o.Outcome = Unchanged
	default:
		o.Outcome = Applied
		s.rev++
	}
	o.Revision = s.rev
	for k, v := range next {
		s.keys[k] = v
	}
	switch {
	case o.ElseDone:
		o.Else = steps
	case o.Kind == Txn:
		o.Steps = steps
	case o.Outcome == ReadDone:
		o.Found, o.Got, o.KeyRevision = steps[0].Found, steps[0].Got, steps[0].KeyRevision
	case o.Outcome == Unchanged:
		o.KeyRevision = s.keys[o.Key].keyRevision()
	}
}

// drawHistory draws what clients of a right store see whose calls overlap, some of
// them with unknown outcome.
func drawHistory(t *rapid.T) *History {
	h := &History{HasChanges: true}
	s := &store{keys: map[string]keyVersion{}}
	free := make([]int64, 4) // when each client is free
	now := int64(1)
	key := rapid.SampledFrom([]string{"a", "b", "c"})
	ops := rapid.Uint64Range(5, 40).Draw(t, "ops")
	for id := uint64(1); id <= ops; id++ {
		o := Op{ID: id, Client: rapid.IntRange(0, 3).Draw(t, "client"), Node: "n"}
		drawRequest(t, &o, s, key)
		now = max(now+rapid.Int64Range(0, 3).Draw(t, "later"), free[o.Client]) + 1
		o.Call = now - rapid.Int64Range(0, now-free[o.Client]-1).Draw(t, "before")
		o.Return = now + rapid.Int64Range(0, 6).Draw(t, "after")
		fate := rapid.IntRange(0, 9).Draw(t, "fate")
		if o.isWrite() && fate == 0 {
			o.Outcome = NotApplied
		} else if !o.isWrite() || fate != 1 {
			before := s.rev
			s.do(&o)
			for k, v := range s.keys {
				if o.Outcome == Applied && v.rev == s.rev && s.rev > before {
					h.Changes = append(h.Changes, Change{Revision: s.rev, Op: id, Key: k})
				}
			}
		}
		if o.isWrite() && (fate == 1 || fate == 2) { // one without, one perhaps with an effect
			o = forget(o)
		}
		free[o.Client] = now
		if o.Return != Never {
			free[o.Client] = o.Return
		}
		h.Ops = append(h.Ops, o)
	}
	return h
}

// forget takes the answer from an operation.
func forget(o Op) Op {
	o.Outcome, o.Return, o.Revision, o.KeyRevision, o.ElseDone = Unknown, Never, 0, 0, false
	o.Steps, o.Else = unanswered(o.Steps), unanswered(o.Else)
	return o
}

func drawRequest(t *rapid.T, o *Op, s *store, key *rapid.Generator[string]) {
	o.Kind = rapid.SampledFrom([]Kind{Put, Put, Put, Delete, Read, Read, Txn}).Draw(t, "kind")
	value := fmt.Sprint("v", o.ID)
	if o.Kind != Txn {
		o.Key = key.Draw(t, "key")
		if o.Kind == Put {
			o.Value = value
		}
		switch cond := rapid.IntRange(0, 3).Draw(t, "condition"); {
		case !o.isWrite():
		case cond == 0:
			o.IfRevision = rapid.Uint64Range(0, s.rev).Draw(t, "if")
		case cond == 1:
			o.IfAbsent = true
		}
		return
	}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		k := key.Draw(t, "key")
		c := Compare{Key: k, Revision: s.keys[k].keyRevision()}
		switch rapid.IntRange(0, 5).Draw(t, "compare") {
		case 0:
			c = Compare{Key: k, Exists: true}
		case 4:
			c = Compare{Key: k, Value: s.keys[k].value}
		case 5:
			c = Compare{Key: k, Value: fmt.Sprint("v", rapid.Uint64Range(1, o.ID).Draw(t, "value"))}
		case 1:
			c.Revision = rapid.Uint64Range(0, s.rev).Draw(t, "if")
		}
		o.Compares = append(o.Compares, c)
	}
	for range rapid.IntRange(1, 3).Draw(t, "steps") {
		step := Step{Kind: rapid.SampledFrom([]Kind{Put, Delete, Read, Read, Append}).Draw(t, "step"), Key: key.Draw(t, "key")}
		if step.Kind == Put || step.Kind == Append {
			step.Value = value
		}
		o.Steps = append(o.Steps, step)
	}
	if len(o.Compares) > 0 && rapid.Bool().Draw(t, "else") {
		step := Step{Kind: rapid.SampledFrom([]Kind{Put, Delete, Read}).Draw(t, "step"), Key: key.Draw(t, "key")}
		if step.Kind == Put {
			step.Value = "not " + value
		}
		o.Else = []Step{step}
		if o.validElse() != nil {
			o.Else[0] = Step{Kind: Read, Key: step.Key}
		}
	}
}

// TestGoodAccepted: no judge objects to what a right store did, with the change log
// or without.
func TestGoodAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		// Now and then the search takes long: the clock must not decide what is right.
		require.Empty(t, Check(h, time.Second).Caught())
		h.Changes, h.HasChanges = nil, false
		require.Empty(t, Check(h, time.Second).Caught())
	})
}

// TestJudgesAgree: with the change log, what CheckRevisions accepts Porcupine
// accepts, whatever was done to the history. The reverse does not hold: Porcupine does not
// look at the store's revision of reads, nor at the log.
func TestJudgesAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		for range rapid.IntRange(1, 3).Draw(t, "corruptions") {
			corrupt(t, h)
		}
		byRevisions, byRegisters := CheckRevisions(h), registers(h)
		if byRevisions == nil {
			require.NoError(t, byRegisters)
		}
	})
}

// corrupt changes one thing at random, which may be of no consequence.
func corrupt(t *rapid.T, h *History) {
	o := &h.Ops[rapid.IntRange(0, len(h.Ops)-1).Draw(t, "op")]
	other := &h.Ops[rapid.IntRange(0, len(h.Ops)-1).Draw(t, "other")]
	switch rapid.IntRange(0, 6).Draw(t, "corruption") {
	case 0:
		o.Got = other.Got
	case 1:
		o.KeyRevision = other.KeyRevision
	case 2:
		o.Revision, other.Revision = other.Revision, o.Revision
	case 3:
		if o.isAnswered() {
			o.Call, o.Return = o.Call+5, o.Return+5
		}
	case 4:
		if o.isWrite() {
			*o = forget(*o)
		}
	case 5:
		if n := len(h.Changes); n > 0 {
			h.Changes[rapid.IntRange(0, n-1).Draw(t, "change")].Op = o.ID
		}
	case 6:
		if len(o.Steps) > 0 {
			s := &o.Steps[0]
			s.Found, s.Got, s.KeyRevision = other.Found, other.Got, other.KeyRevision
		}
	}
}

// TestBothRefuse: a read of a value that nobody wrote, a read of what was overwritten before
// it was called, and writes of one key in the wrong order are refused by both.
func TestBothRefuse(t *testing.T) {
	breaks := []func(*History) bool{foreignValue, staleRead, swapWrites}
	for i, broken := range breaks {
		h := plainHistory()
		require.NoError(t, CheckRevisions(h))
		require.NoError(t, registers(h))
		require.True(t, broken(h), "break %d", i)
		require.Error(t, CheckRevisions(h), "break %d", i)
		require.Error(t, registers(h), "break %d", i)
	}
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		if !rapid.SampledFrom(breaks).Draw(t, "break")(h) {
			return
		}
		require.Error(t, CheckRevisions(h))
		// Now and then the search takes long: the clock must not decide what is right.
		if report, err := CheckRegisters(h, time.Second); len(report.NoAnswer) == 0 {
			require.Error(t, err)
		}
	})
}

// plainHistory is two puts of a key, one after the other, and a read of it.
func plainHistory() *History {
	h := &History{HasChanges: true}
	s := &store{keys: map[string]keyVersion{}}
	for id := uint64(1); id <= 3; id++ {
		o := Op{ID: id, Node: "n", Kind: Put, Key: "a", Value: fmt.Sprint("v", id), Call: int64(id) * 10, Return: int64(id)*10 + 5}
		if id == 3 {
			o.Kind, o.Value = Read, ""
		}
		s.do(&o)
		if o.Outcome == Applied {
			h.Changes = append(h.Changes, Change{Revision: o.Revision, Op: id, Key: o.Key})
		}
		h.Ops = append(h.Ops, o)
	}
	return h
}

func foreignValue(h *History) bool {
	i := slices.IndexFunc(h.Ops, func(o Op) bool { return o.Kind == Read && o.Outcome == ReadDone && o.Found })
	if i >= 0 {
		h.Ops[i].Got = "nobody's"
	}
	return i >= 0
}

// pair finds two puts of a key that were applied one after the other.
func pair(h *History) (first, second *Op) {
	for i := range h.Ops {
		for j := range h.Ops {
			a, b := &h.Ops[i], &h.Ops[j]
			if a.Kind == Put && b.Kind == Put && a.Outcome == Applied && b.Outcome == Applied && a.Key == b.Key && a.Return < b.Call {
				return a, b
			}
		}
	}
	return nil, nil
}

func staleRead(h *History) bool {
	first, second := pair(h)
	if first == nil {
		return false
	}
	at := second.Return + 1
	for i := range h.Ops {
		at = max(at, h.Ops[i].Call+1)
		if h.Ops[i].Return != Never {
			at = max(at, h.Ops[i].Return+1)
		}
	}
	h.Ops = append(h.Ops, Op{
		ID: 1000, Kind: Read, Key: first.Key, Call: at, Return: at + 1, Outcome: ReadDone,
		Found: true, Got: first.Value, KeyRevision: first.Revision, Revision: first.Revision,
	})
	return true
}

func swapWrites(h *History) bool {
	first, second := pair(h)
	if first == nil {
		return false
	}
	first.Revision, second.Revision = second.Revision, first.Revision
	h.Changes, h.HasChanges = nil, false
	return true
}

// BenchmarkCheckRevisions judges a million operations.
func BenchmarkCheckRevisions(b *testing.B) {
	const ops = 1_000_000
	h := &History{HasChanges: true}
	s := &store{keys: map[string]keyVersion{}}
	for id := uint64(1); id <= ops; id++ {
		o := Op{ID: id, Client: int(id % 30), Node: "n", Kind: Read, Key: fmt.Sprint("k", id%1000), Call: int64(id) * 10, Return: int64(id)*10 + 25}
		if id%2 == 0 {
			o.Kind, o.Value = Put, fmt.Sprint("v", id)
		}
		s.do(&o)
		if o.Outcome == Applied {
			h.Changes = append(h.Changes, Change{Revision: o.Revision, Op: id, Key: o.Key})
		}
		h.Ops = append(h.Ops, o)
	}
	for b.Loop() {
		if err := CheckRevisions(h); err != nil {
			b.Fatal(err)
		}
	}
}
