package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"runtime/debug"
	"strings"
)

// Entry is one committed log entry.
type Entry struct {
	Index Index
	Term  uint64
	Data  []byte // an encoded command; empty for raft's own entries
}

// Outcome is what Apply did with a command.
type Outcome uint8

const (
	// Applied means that the change was made; Result.Revision is its revision.
	Applied Outcome = iota + 1
	// Unchanged means that everything was as asked already; Result.Revision is the store's.
	Unchanged
	// CompareFailed means that a condition did not hold; nothing changed.
	CompareFailed
	// Repeated means that this origin and sequence was applied before, or fell out of the window; nothing changed now.
	Repeated
	// Undecodable means that the bytes were not a command; nothing changed.
	Undecodable
	// Empty is an entry without a command.
	Empty
	// TreeTooLarge means that an operation on a subtree would touch more than is allowed; nothing changed.
	TreeTooLarge
)

var outcomeNames = [...]string{
	Applied: "applied", Unchanged: "unchanged", CompareFailed: "compare failed",
	Repeated: "repeated", Undecodable: "undecodable", Empty: "empty",
	TreeTooLarge: "subtree too large",
}

// String returns the outcome in words.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) && outcomeNames[o] != "" {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// OpResult is what became of one operation's key.
type OpResult struct {
	Revision Revision // of the key's record afterwards; 0 if it has none
	Created  bool
	Changed  bool
	Removed  int // keys; DeleteTree only
}

// Result is what became of one entry.
type Result struct {
	Index   Index
	Term    uint64
	Origin  Origin // zero when there was no command
	Outcome Outcome
	// Revision is the store's afterwards.
	Revision Revision
	Ops      []OpResult // Applied and Unchanged only
	// FailedCompare is the position of the first condition that did not hold, Current the revision of its key then (0: absent).
	FailedCompare int
	Current       Revision
	// First is, for Repeated, the outcome and revision of the first time if the window still has it; else zero.
	First         Outcome
	FirstRevision Revision
}

// Apply applies committed entries in order, each exactly once, to the overlay.
// It is a function of the state and the entries alone, and never waits for a
// flush. Of one goroutine, which is also the one that calls BeginFlush. It keeps
// no part of an entry's Data.
//
// The results are those of the entries before the one at fault, if any; nothing
// of that one was applied.
//
// Errors, after each of which the node must stop: ErrUnknownVersion; ErrDamaged;
// ErrOrder; ErrOverlayFull; ErrClosed.
func (s *Store) Apply(ents []Entry) ([]Result, error) {
	if len(ents) == 0 {
		return nil, nil
	}
	if n := s.OverlayBytes(); n >= 2*s.opts.MaxOverlayBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrOverlayFull, n)
	}
	p := s.acquire()
	if p == nil {
		return nil, ErrClosed
	}
	defer p.base.release()
	a := applier{s: s, frozen: p.frozen, base: p.base}
	results := make([]Result, 0, len(ents))
	var err error
	for i := range ents {
		var r Result
		if r, err = a.apply(&ents[i]); err != nil {
			break
		}
		results = append(results, r)
	}
	if len(results) > 0 {
		s.publish()
	}
	return results, err
}

// applier applies entries to s.active, over what frozen and base hold.
type applier struct {
	s       *Store
	frozen  *overlay
	base    *base
	changed []pendingChange
}

// pendingChange is an operation that changes something, before it is done.
type pendingChange struct {
	op  *Op
	old body // nil: the key had no record
	// oldValue is old as stored, oldDelta the delta of its entry in the active overlay.
	oldValue []byte
	oldDelta tally
}

func (a *applier) apply(e *Entry) (Result, error) {
	s := a.s
	if e.Index != s.state.applied+1 {
		return Result{}, fmt.Errorf("%w: index %d after %d", ErrOrder, e.Index, s.state.applied)
	}
	r, err := a.command(e)
	if err != nil {
		return Result{}, err
	}
	s.state.applied, s.state.term = e.Index, e.Term
	r.Index, r.Term, r.Revision = e.Index, e.Term, s.state.revision
	return r, nil
}

func (a *applier) command(e *Entry) (Result, error) {
	if len(e.Data) == 0 {
		return Result{Outcome: Empty}, nil
	}
	s := a.s
	cmd, err := Decode(e.Data)
	if errors.Is(err, ErrUnknownVersion) {
		return Result{}, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if undecodable := err != nil || cmd.Origin.incomplete(); undecodable {
		s.state.undecodable++
		origin, _ := OriginOf(e.Data)
		return Result{Outcome: Undecodable, Origin: origin}, nil
	}
	w := s.windows[cmd.Origin.Node]
	if w != nil {
		if first, repeated := w.seen(cmd.Origin); repeated {
			return Result{
				Outcome: Repeated, Origin: cmd.Origin,
				First: first.outcome, FirstRevision: first.revision,
			}, nil
		}
	}
	r, err := a.evaluate(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	// From here on nothing fails.
	if r.Outcome == Applied {
		a.commit(cmd, &r)
	}
	if w == nil {
		w = newWindow(cmd.Origin.Node)
		s.windows[cmd.Origin.Node] = w
	} else {
		s.state.windows.sub(w.sum)
	}
	w.record(cmd.Origin, windowSlot{r.Outcome, s.state.revision})
	s.state.windows.add(w.sum)
	return r, nil
}

// evaluate decides what cmd does, without doing it; the operations that change
// something are left in a.changed.
func (a *applier) evaluate(cmd *Command) (r Result, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	r.Origin = cmd.Origin
	for i := range cmd.Compares {
		old, _, _, err := a.lookup(cmd.Compares[i].Key)
		if err != nil {
			return Result{}, err
		}
		if !cmd.Compares[i].holds(old) {
			r.Outcome, r.FailedCompare = CompareFailed, i
			if old != nil {
				r.Current = old.revision()
			}
			return r, nil
		}
	}
	a.changed = a.changed[:0]
	next := a.s.state.revision + 1
	r.Ops = make([]OpResult, len(cmd.Ops))
	room := treeRoom{keys: MaxTreeKeys, bytes: MaxTreeBytes}
	for i := range cmd.Ops {
		op := &cmd.Ops[i]
		if op.Kind == DeleteTree {
			n, err := a.removeTree(op.Key, &room)
			if err != nil {
				return Result{}, err
			}
			if room.exceeded() {
				return Result{Origin: cmd.Origin, Outcome: TreeTooLarge}, nil
			}
			r.Ops[i] = OpResult{Changed: n > 0, Removed: n}
			continue
		}
		old, oldValue, oldDelta, err := a.lookup(op.Key)
		if err != nil {
			return Result{}, err
		}
		if op.changes(old) {
			a.changed = append(a.changed, pendingChange{op, old, oldValue, oldDelta})
			r.Ops[i] = OpResult{Changed: true}
			if op.Kind == Put {
				r.Ops[i].Revision, r.Ops[i].Created = next, old == nil
			}
		} else if old != nil {
			r.Ops[i].Revision = old.revision()
		}
	}
	r.Outcome = Unchanged
	if len(a.changed) > 0 {
		r.Outcome = Applied
	}
	return r, nil
}

// treeRoom is how much more the operations of a command on subtrees may touch.
type treeRoom struct{ keys, bytes int }

func (r *treeRoom) exceeded() bool { return r.keys < 0 || r.bytes < 0 }

// removeTree finds the records below prefix and leaves the removal of each in
// a.changed, in the order of keys, as if an operation had named it. It ends early when there
// is no more room.
func (a *applier) removeTree(prefix string, room *treeRoom) (int, error) {
	// What was published before this batch lacks the entries of the batch itself.
	view := View{p: &snapshot{active: a.s.active, frozen: a.frozen, base: a.base}}
	m := view.merge(current)
	defer m.release()
	n := 0
	ok, err := m.seek(prefix)
	for ; ok && err == nil && strings.HasPrefix(m.key, prefix); ok, err = m.next() {
		room.keys--
		room.bytes -= len(m.key) + len(m.value)
		if room.exceeded() {
			return n, nil
		}
		old, oldValue, oldDelta, err := a.lookup(m.key)
		if err != nil {
			return n, err
		}
		a.changed = append(a.changed, pendingChange{&Op{Kind: Delete, Key: m.key}, old, oldValue, oldDelta})
		n++
	}
	return n, err
}

func (cmp *Compare) holds(old body) bool {
	switch cmp.Kind {
	case KeyExists:
		return old != nil
	case KeyAbsent:
		return old == nil
	case RevisionIs:
		return old != nil && old.revision() == cmp.Revision
	}
	panic("fsm: compare of unknown kind got past Decode")
}

// changes tells whether op does something to a key whose record is old.
func (op *Op) changes(old body) bool {
	if op.Kind == Delete || old == nil {
		return op.Kind == Put || old != nil
	}
	return string(old.contentType()) != op.ContentType || !bytes.Equal(old.value(), op.Value)
}

// lookup returns key's record, nil if it has none, as stored, and the delta of
// its entry in the active overlay, zero if it has none there. What it returns
// may alias the mapping: it is good while the base is held.
func (a *applier) lookup(key string) (b body, value []byte, delta tally, err error) {
	probe := entry{key: key}
	e, found := a.s.active.current.Get(&probe)
	if found {
		delta = e.delta
	} else if a.frozen != nil {
		e, found = a.frozen.current.Get(&probe)
	}
	if found {
		if e.value == nil {
			return nil, nil, delta, nil
		}
		return e.value[checksumBytes:], e.value, delta, nil
	}
	value, found, err = a.base.current.stored(key)
	if err != nil || !found {
		return nil, nil, delta, err
	}
	b, err = checkBody(key, value[checksumBytes:])
	return b, value, delta, err
}

// commit does what evaluate decided on, at the next revision.
func (a *applier) commit(cmd *Command, r *Result) {
	s := a.s
	st := &s.state
	st.revision++
	st.acceptedAt = max(st.acceptedAt, cmd.AcceptedAt)
	by := cmd.Principal.String()
	content := sha256.New()
	ops := make([]ChangedKey, 0, len(a.changed))
	for i := range a.changed {
		c := &a.changed[i]
		a.change(c, by, content)
		ops = append(ops, ChangedKey{Kind: c.op.Kind, Key: c.op.Key})
	}
	ch := Change{
		Revision: st.revision, Origin: cmd.Origin, RequestID: cmd.RequestID,
		At: st.acceptedAt, Source: cmd.Source, Comment: cmd.Comment, Principal: cmd.Principal, Ops: ops,
	}
	content.Sum(ch.Content[:0])
	s.active.log(ch.Revision, encodeChange(&ch, st.chain))
	st.chain = ch.Chain
	r.Revision = st.revision
}

// change puts one operation's effect into the overlay: the new record, and the
// old one among the superseded.
func (a *applier) change(c *pendingChange, by string, content hash.Hash) {
	s := a.s
	st := &s.state
	e := &entry{key: c.op.Key, delta: c.oldDelta}
	if c.old != nil {
		gone := recordTally(&s.scratch, current, e.key, c.oldValue)
		e.delta.sub(gone)
		st.current.sub(gone)

		key := supersededKey(e.key, c.old.revision())
		kept := &entry{key: key, value: encodeSuperseded(key, st.revision, c.old)}
		kept.delta = recordTally(&s.scratch, superseded, key, kept.value)
		st.superseded.add(kept.delta)
		s.active.put(superseded, kept)
	}
	if c.op.Kind == Put {
		rec := Record{
			Key: e.key, Value: c.op.Value, ContentType: c.op.ContentType,
			Revision: st.revision, CreateRevision: st.revision, Version: 1,
			ModifiedAt: st.acceptedAt, ModifiedBy: by,
		}
		if c.old != nil {
			rec.CreateRevision, rec.Version = c.old.created(), c.old.version()+1
		}
		e.value = encodeCurrent(&rec)
		come := recordTally(&s.scratch, current, e.key, e.value)
		e.delta.add(come)
		st.current.add(come)
		_, _ = content.Write(come.sum.append(nil))
	}
	s.active.put(current, e)
}
