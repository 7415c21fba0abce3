package linearizability

import (
	"cmp"
	"slices"
)

// operations are the history's operations with all attempts at one request under one
// idempotency key made one, and what each attempt became.
func (h *History) operations() (ops []*Op, byID map[uint64]*Op) {
	byID = make(map[uint64]*Op, len(h.Ops))
	for i := range h.Ops {
		if o := &h.Ops[i]; o.IdempotencyKey == "" {
			ops = append(ops, o)
			byID[o.ID] = o
		}
	}
	for _, attempts := range h.attempts() {
		for _, same := range byRequest(attempts) {
			whole := merge(same)
			ops = append(ops, whole)
			for _, a := range same {
				byID[a.ID] = whole
			}
		}
	}
	return ops, byID
}

// byRequest splits the attempts under one key: whoever uses a key for another request may
// be the first, so that the other one is refused. Either is an operation of its own.
func byRequest(attempts []*Op) [][]*Op {
	var out [][]*Op
	for _, o := range attempts {
		i := slices.IndexFunc(out, func(same []*Op) bool { return sameRequest(same[0], o) })
		if i < 0 {
			out = append(out, []*Op{o})
			continue
		}
		out[i] = append(out[i], o)
	}
	return out
}

// attempts are the operations of each idempotency key, in order of their calls,
// and of the keys' first calls.
func (h *History) attempts() [][]*Op {
	var keyed []*Op
	for i := range h.Ops {
		if h.Ops[i].IdempotencyKey != "" {
			keyed = append(keyed, &h.Ops[i])
		}
	}
	slices.SortStableFunc(keyed, func(a, b *Op) int { return cmp.Or(cmp.Compare(a.Call, b.Call), cmp.Compare(a.ID, b.ID)) })
	var out [][]*Op
	at := map[string]int{}
	for _, o := range keyed {
		i, ok := at[o.IdempotencyKey]
		if !ok {
			i = len(out)
			at[o.IdempotencyKey] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], o)
	}
	return out
}

// merge makes one operation of attempts. It begins with the first attempt that may
// have had an effect and ends with the first that said what it was: what is
// acknowledged has happened, whatever is asked again later.
func merge(attempts []*Op) *Op {
	effective := slices.DeleteFunc(slices.Clone(attempts), func(o *Op) bool { return o.Outcome == NotApplied })
	if len(effective) == 0 {
		return attempts[0]
	}
	whole := *effective[0]
	for _, o := range effective[1:] {
		switch {
		case !o.isAnswered():
		case !whole.isAnswered() || o.Return < whole.Return:
			answer := *o
			answer.ID, answer.Client, answer.Node, answer.Call = whole.ID, whole.Client, whole.Node, whole.Call
			whole = answer
		}
	}
	return &whole
}

// CheckIdempotency decides whether each idempotency key has had one effect at most
// and all its answers say the same. It needs no change log, but sees more with one.
// It returns how many keys had several attempts.
func CheckIdempotency(h *History) (repeated int, err error) {
	writers := h.writersOf()
	seen := h.revisionsSeen()
	made := map[uint64]uint64{}
	for _, c := range h.Changes {
		made[c.Op] = c.Revision
	}
	for _, attempts := range h.attempts() {
		if len(attempts) > 1 {
			repeated++
		}
		if err := oneAnswer(attempts); err != nil {
			return repeated, err
		}
		if err := oneEffect(attempts, made); err != nil {
			return repeated, err
		}
		if err := seenOnce(attempts, writers, seen); err != nil {
			return repeated, err
		}
	}
	return repeated, nil
}

// oneAnswer: the attempts that were answered had the same answer to the same request.
func oneAnswer(attempts []*Op) error {
	var first *Op
	for _, o := range attempts {
		switch {
		case !o.isAnswered():
		case first == nil:
			first = o
		case !sameRequest(first, o):
			return violation([]*Op{first, o}, "one idempotency key did two things: %v and %v", first, o)
		case o.Outcome != first.Outcome || o.Revision != first.Revision || o.KeyRevision != first.KeyRevision || o.ElseDone != first.ElseDone:
			return violation([]*Op{first, o}, "one idempotency key has two answers: %v and %v", first, o)
		}
	}
	return nil
}

func sameRequest(a, b *Op) bool {
	same := func(x, y Step) bool { return x.Kind == y.Kind && x.Key == y.Key && x.Value == y.Value }
	return a.Kind == b.Kind && slices.EqualFunc(a.asked(), b.asked(), same) && slices.EqualFunc(a.Else, b.Else, same) &&
		slices.Equal(a.compares(), b.compares())
}

// asked are the steps that the operation does if its conditions hold.
func (o *Op) asked() []Step {
	if o.Kind == Txn {
		return o.Steps
	}
	return o.steps()
}

// oneEffect: the change log has one revision made by any of the attempts.
func oneEffect(attempts []*Op, made map[uint64]uint64) error {
	var first *Op
	for _, o := range attempts {
		switch rev := made[o.ID]; {
		case rev == 0:
		case first == nil:
			first = o
		default:
			return violation([]*Op{first, o}, "one idempotency key took effect twice: at revision %d by %v, at revision %d by %v", made[first.ID], first, rev, o)
		}
	}
	return nil
}

// seenOnce: a value that only these attempts can have written has one revision.
func seenOnce(attempts []*Op, writers map[keyValue][]*Op, seen map[keyValue][]sighting) error {
	own := attempts[0].IdempotencyKey
	for _, s := range attempts[0].mayDo() {
		if s.Kind != Put {
			continue
		}
		what := keyValue{s.Key, s.Value}
		if slices.ContainsFunc(writers[what], func(o *Op) bool { return o.IdempotencyKey != own }) {
			continue
		}
		var first sighting
		for _, at := range seen[what] {
			if first.op != nil && at.rev != first.rev {
				return violation([]*Op{attempts[0], first.op, at.op}, "one idempotency key took effect twice: %v is seen at revision %d by %v and at revision %d by %v",
					attempts[0], first.rev, first.op, at.rev, at.op)
			}
			first = at
		}
	}
	return nil
}

// keyValue is a value of a key.
type keyValue struct{ key, value string }

// sighting is a read that saw a value, and the revision it had there.
type sighting struct {
	op  *Op
	rev uint64
}

// writersOf are the operations that may put a value.
func (h *History) writersOf() map[keyValue][]*Op {
	out := map[keyValue][]*Op{}
	for i := range h.Ops {
		o := &h.Ops[i]
		for _, s := range o.mayDo() {
			if s.Kind == Put {
				out[keyValue{s.Key, s.Value}] = append(out[keyValue{s.Key, s.Value}], o)
			}
		}
	}
	return out
}

// revisionsSeen are the revisions that reads saw values at, in order of the operations.
func (h *History) revisionsSeen() map[keyValue][]sighting {
	out := map[keyValue][]sighting{}
	for i := range h.Ops {
		o := &h.Ops[i]
		if !o.sawSteps() {
			continue
		}
		for _, s := range o.steps() {
			if s.Kind == Read && s.Found {
				what := keyValue{s.Key, s.Got}
				out[what] = append(out[what], sighting{op: o, rev: s.KeyRevision})
			}
		}
	}
	return out
}

// sawSteps tells whether the operation's read steps have answers.
func (o *Op) sawSteps() bool {
	return o.isAnswered() && (o.Outcome != CompareFailed || o.ElseDone)
}
