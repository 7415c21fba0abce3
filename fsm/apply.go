package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tidwall/btree"

	"github.com/confman/confman/faultpoint"
)

// Entry is one committed log entry.
type Entry struct {
	Index Index
	Term  uint64
	Data  []byte // an encoded command; empty for raft's own entries
	// Conf, unless nil, is what the entry is instead of a command.
	Conf *ConfChange
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
	// Compacted means that a revision to restore is not held any more, below Result.Floor; nothing changed.
	Compacted
	// FutureRevision means that there is no revision yet that was to be restored; nothing changed.
	FutureRevision
	// KeyReused means that the idempotency key is that of another request; nothing changed.
	KeyReused
	// AnswersFull means that so many idempotency keys are remembered that a new one cannot be; nothing changed.
	AnswersFull
	// Maintained is what becomes of a Maintenance.
	Maintained
	// Denied means that the principal lacks Result.Missing.Verbs on Result.Missing.Path; nothing
	// changed, but that it is in the ring of what was denied.
	Denied
	// AdminExists means that a Bootstrap came late; nothing changed.
	AdminExists
	// LastAdmin means that nobody would administer the cluster any more; nothing changed.
	LastAdmin
	// UnknownRole means that a role was to be bound that there is not; nothing changed.
	UnknownRole
	// RoleInUse means that a role was to go that is bound somewhere; nothing changed.
	RoleInUse
	// PolicyFull means that there are as many namespaces as can be, or as large ones; nothing changed.
	PolicyFull
	// Recorded is what becomes of Denials.
	Recorded
	// SelfDenied means that whoever asked would be among those who are denied everything, so that
	// nobody who could end that need be left; nothing changed.
	SelfDenied
	// MemberExists means that there is a member of that name, or one that is leaving; nothing changed.
	MemberExists
	// UnknownMember means that there is no member of that name; nothing changed.
	UnknownMember
	// MemberPending means that the member is being replaced already; nothing changed.
	MemberPending
	// MembersFull means that there are, or ever were, as many members as can be; nothing changed.
	MembersFull
	// FewerFailures means that too few voters would be left; nothing changed.
	FewerFailures
	// VersionUnknown means that it is not the next version, or that a member's program does not know it; nothing changed.
	VersionUnknown
	// Reported is what becomes of a Report.
	Reported
	// ConfChanged means that Result.Conf is Raft's configuration from here on; ConfRefused, that the
	// step leads nowhere, and nothing changed.
	ConfChanged
	ConfRefused
)

var outcomeNames = [...]string{
	Applied: "applied", Unchanged: "unchanged", CompareFailed: "compare failed",
	Repeated: "repeated", Undecodable: "undecodable", Empty: "empty",
	TreeTooLarge: "subtree too large", Compacted: "compacted", FutureRevision: "no such revision yet",
	KeyReused: "idempotency key reused", AnswersFull: "too many idempotency keys", Maintained: "maintained",
	Denied: "denied", AdminExists: "there is an administrator", LastAdmin: "it is the last administrator",
	UnknownRole: "no such role", RoleInUse: "role is in use", PolicyFull: "too many namespaces", Recorded: "recorded",
	SelfDenied:   "would deny its own sender",
	MemberExists: "there is such a member", UnknownMember: "no such member", MemberPending: "member is being replaced",
	MembersFull: "too many members", FewerFailures: "too few voters would be left", VersionUnknown: "not every member knows the version",
	Reported: "reported", ConfChanged: "configuration changed", ConfRefused: "configuration not changed",
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
	Removed  int // keys; DeleteTree and Restore only
	Restored int // keys; Restore only
}

// Result is what became of one entry.
type Result struct {
	Index   Index
	Term    uint64
	Origin  Origin // zero when there was no command
	Outcome Outcome
	// Revision is the store's afterwards; of Replayed, after the first time.
	Revision Revision
	Ops      []OpResult // of Command.Ops, or Else; Applied and Unchanged only
	// Else: a compare did not hold, and Command.Else was done.
	Else bool
	// FailedCompare, of CompareFailed or Else, is the position of the first condition that did not
	// hold, Current the revision of its key then (0: absent).
	FailedCompare int
	Current       Revision
	// Floor is, for Compacted, the oldest revision that could be restored.
	Floor Revision
	// Missing is, for Denied, what the principal lacks.
	Missing Need
	// Replayed: this is what became of an equal command before; nothing changed now.
	Replayed bool
	// Busy is, for Maintained, that there will be more to do soon; Behind, that more is due, and one
	// command may not do all of it.
	Busy, Behind bool
	// First is, for Repeated, the outcome and revision of the first time if the window still has it; else zero.
	First         Outcome
	FirstRevision Revision
	// Conf is, for ConfChanged, Raft's configuration.
	Conf *ConfState
}

// Apply applies committed entries in order, each exactly once, to the overlay: the first, and
// those behind it as long as the overlay is below its bound. It is a function of the state and the entries alone, and never waits for a
// flush. Of one goroutine, which is also the one that calls BeginFlush. It keeps
// no part of an entry's Data.
//
// The results are those of the entries that it applied. If one is at fault, they are those
// of the entries before it; nothing of that one was applied.
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
	if err := faultpoint.Hit("fsm/before-apply"); err != nil {
		return nil, err
	}
	a := applier{s: s, frozen: p.frozen, base: p.base}
	results := make([]Result, 0, len(ents))
	var err error
	for i := range ents {
		if i > 0 && p.frozen.size()+s.active.bytes >= s.opts.MaxOverlayBytes {
			break
		}
		var r Result
		if r, err = a.apply(&ents[i]); err != nil {
			break
		}
		results = append(results, r)
	}
	if len(results) > 0 {
		s.publish()
	}
	if err == nil {
		err = faultpoint.Hit("fsm/after-apply")
	}
	return results, err
}

// applier applies entries to s.active, over what frozen and base hold.
type applier struct {
	s       *Store
	frozen  *overlay
	base    *base
	changed []pendingChange
	writes  []write // of the command's answer, or of maintenance
	content []byte  // what Change.Content is the hash of
	members membersBeing
	probe   entry // what stored looks for
	// hints are where in the active overlay's trees stored looked last: what is put is mostly that.
	hints [len(records)]btree.PathHint
}

// write is a record of a bucket that is to be put or removed, with what there was.
type write struct {
	in    bucket
	key   string
	value []byte // as stored; nil: it goes
	old   []byte // as stored; nil: there is none
	delta tally  // of its entry in the active overlay
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
	r.Index, r.Term = e.Index, e.Term
	if !r.Replayed {
		r.Revision = s.state.revision
	}
	return r, nil
}

func (a *applier) command(e *Entry) (Result, error) {
	if e.Conf != nil {
		if err := faultpoint.Hit("fsm/before-conf"); err != nil {
			return Result{}, err
		}
		return a.reconfigure(e.Conf), nil
	}
	if len(e.Data) == 0 {
		return Result{Outcome: Empty}, nil
	}
	s := a.s
	cmd, err := decodeAs(e.Data, s.opts.MaxVersion)
	if errors.Is(err, ErrUnknownVersion) {
		return Result{}, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if err == nil && cmd.Maintenance != nil {
		r, err := a.maintain(cmd.Maintenance)
		if err != nil {
			return Result{}, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		return r, nil
	}
	if err == nil && cmd.Report != nil {
		return a.report(cmd.Report), nil
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
	r, err := a.transact(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("entry %d: %w", e.Index, err)
	}
	if w == nil {
		w = newWindow(cmd.Origin.Node)
		s.windows[cmd.Origin.Node] = w
	} else {
		s.state.windows.sub(w.sum)
	}
	revision := s.state.revision
	if r.Replayed {
		revision = r.Revision
	}
	w.record(cmd.Origin, windowSlot{r.Outcome, revision})
	s.state.windows.add(w.sum)
	return r, nil
}

// transact does what cmd, which comes for the first time, asks for, unless an equal one was
// answered before.
func (a *applier) transact(cmd *Command) (Result, error) {
	if len(cmd.Denials) > 0 {
		return Result{Origin: cmd.Origin, Outcome: Recorded}, a.record(cmd.Origin.Node, cmd.Denials)
	}
	var ans answering
	if cmd.Idempotency.Key != "" {
		var err error
		if ans, err = a.recall(cmd); err != nil || ans.known {
			return ans.result, err
		}
	}
	// After the answer to an equal command: what was done before its principal lost the permission
	// was done. What is denied is not remembered, else whoever may do nothing could use up the
	// room for answers.
	if missing := a.s.policy.Refused(&cmd.Principal, cmd); missing.Verbs != 0 {
		return Result{Origin: cmd.Origin, Outcome: Denied, Missing: missing}, a.recordDenied(cmd, missing)
	}
	if ans.full {
		return Result{Origin: cmd.Origin, Outcome: AnswersFull}, nil
	}
	evaluate := a.evaluate
	if len(cmd.Ops) == 1 && cmd.Ops[0].Kind.isNamespace() {
		evaluate = a.namespace
	}
	if len(cmd.Ops) == 1 && cmd.Ops[0].Kind.isMembers() {
		evaluate = a.membership
	}
	r, err := evaluate(cmd)
	if err != nil {
		return Result{}, err
	}
	// From here on nothing fails.
	if r.Outcome == Applied {
		a.commit(cmd, &r)
	}
	if cmd.Idempotency.Key != "" && (r.Outcome != CompareFailed || !cmd.Idempotency.OnlyIfDone) {
		r.Revision = a.s.state.revision
		a.remember(cmd, &ans, &r)
	}
	return r, nil
}

// evaluate decides what cmd does, without doing it; the operations that change
// something are left in a.changed.
func (a *applier) evaluate(cmd *Command) (r Result, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	r.Origin = cmd.Origin
	ops := cmd.Ops
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
			if len(cmd.Else) == 0 {
				return r, nil
			}
			ops, r.Else = cmd.Else, true
			break
		}
	}
	a.changed = a.changed[:0]
	next := a.s.state.revision + 1
	r.Ops = make([]OpResult, len(ops))
	room := treeRoom{keys: MaxTreeKeys, bytes: MaxTreeBytes, passed: MaxTreePassed}
	for i := range ops {
		op := &ops[i]
		if op.Kind == DeleteTree || op.Kind == Restore {
			var refusal Result
			if r.Ops[i], refusal, err = a.tree(op, &room); err != nil {
				return Result{}, err
			}
			if refusal.Outcome != 0 {
				refusal.Origin = cmd.Origin
				return refusal, nil
			}
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

// tree evaluates an operation on a subtree, or its refusal.
func (a *applier) tree(op *Op, room *treeRoom) (r OpResult, refusal Result, err error) {
	before := len(a.changed)
	if op.Kind == DeleteTree {
		err = a.removeTree(op.Key, room)
	} else {
		refusal, err = a.restore(op, room)
	}
	switch {
	case err != nil || refusal.Outcome != 0:
		return r, refusal, err
	case room.exceeded():
		return r, Result{Outcome: TreeTooLarge}, nil
	}
	for i := range a.changed[before:] {
		if a.changed[before+i].op.Kind == Put {
			r.Restored++
		} else {
			r.Removed++
		}
	}
	r.Changed = len(a.changed) > before
	if op.isTree() {
		return r, refusal, nil
	}
	if r.Changed {
		if c := &a.changed[before]; c.op.Kind == Put {
			r.Revision, r.Created = a.s.state.revision+1, c.old == nil
		}
		return r, refusal, nil
	}
	old, _, _, err := a.lookup(op.Key)
	if old != nil {
		r.Revision = old.revision()
	}
	return r, refusal, err
}

// treeRoom is how much more the operations of a command on subtrees may touch.
type treeRoom struct {
	keys, bytes int
	passed      int // keys that have a past, but were not there
}

func (r *treeRoom) exceeded() bool { return r.keys < 0 || r.bytes < 0 || r.passed < 0 }

// removeTree finds the records below prefix and leaves the removal of each in
// a.changed, in the order of keys, as if an operation had named it. It ends early when there
// is no more room.
func (a *applier) removeTree(prefix string, room *treeRoom) error {
	m := a.view().merge(current)
	defer m.release()
	ok, err := m.seekIn(prefix, prefixEnd(prefix))
	for ; ok && err == nil; ok, err = m.next() {
		room.keys--
		room.bytes -= len(m.key) + len(m.value)
		if room.exceeded() {
			return nil
		}
		if err := a.expand(&Op{Kind: Delete, Key: m.key}); err != nil {
			return err
		}
	}
	return err
}

// expand leaves an operation in a.changed that another one stands for.
func (a *applier) expand(op *Op) error {
	old, oldValue, oldDelta, err := a.lookup(op.Key)
	if err != nil {
		return err
	}
	a.changed = append(a.changed, pendingChange{op, old, oldValue, oldDelta})
	return nil
}

// view is the state before the command. What was published before this batch lacks the
// entries of the batch itself.
func (a *applier) view() *View {
	st := &a.s.state
	return &View{p: &snapshot{
		state:  State{Revision: st.revision, Floor: st.floor, Gaps: st.gaps},
		active: a.s.active, frozen: a.frozen, base: a.base,
	}}
}

func (cmp *Compare) holds(old body) bool {
	switch cmp.Kind {
	case KeyExists:
		return old != nil
	case KeyAbsent:
		return old == nil
	case RevisionIs:
		return old != nil && old.revision() == cmp.Revision
	case ValueIs:
		return old != nil && bytes.Equal(old.value(), cmp.Value)
	case NamespaceIs: // of commands that are not evaluated here
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
	value, delta, err = a.stored(current, key)
	if err != nil || value == nil {
		return nil, nil, delta, err
	}
	b, err = checkBody(key, value[checksumBytes:])
	return b, value, delta, err
}

// stored returns what bucket in has under key, nil if nothing, and the delta of its entry in
// the active overlay. What it returns may alias the mapping.
func (a *applier) stored(in bucket, key string) (value []byte, delta tally, err error) {
	a.probe.key = key
	hint := &a.hints[in-current]
	*hint = btree.PathHint{} // one that leads elsewhere costs more than none
	e, found := a.s.active.tree(in).GetHint(&a.probe, hint)
	if found {
		delta = e.delta
	} else if a.frozen != nil {
		e, found = a.frozen.tree(in).Get(&a.probe)
	}
	if found {
		return e.value, delta, nil
	}
	value, found, err = a.base.tree(in).stored(key)
	if err != nil || !found {
		return nil, delta, err
	}
	return value, delta, nil
}

// put does a write.
func (a *applier) put(w *write) (come tally) {
	s := a.s
	e := &entry{key: w.key, value: w.value, delta: w.delta}
	if w.old != nil {
		gone := recordTally(&s.scratch, w.in, w.key, w.old)
		e.delta.sub(gone)
		s.state.tally(w.in).sub(gone)
	}
	if w.value != nil {
		come = recordTally(&s.scratch, w.in, w.key, w.value)
		e.delta.add(come)
		s.state.tally(w.in).add(come)
	}
	s.active.put(w.in, e, &a.hints[w.in-current])
	return come
}

// commit does what evaluate decided on, at the next revision.
func (a *applier) commit(cmd *Command, r *Result) {
	s := a.s
	st := &s.state
	st.revision++
	st.acceptedAt = max(st.acceptedAt, cmd.AcceptedAt)
	by := cmd.Principal.String()
	a.content = a.content[:0]
	ops := make([]ChangedKey, 0, len(a.changed))
	for i := range a.changed {
		c := &a.changed[i]
		a.change(c, by)
		changed := ChangedKey{Kind: c.op.Kind, Key: c.op.Key}
		if c.old != nil {
			changed.Old = c.old.revision()
		}
		ops = append(ops, changed)
	}
	ch := Change{
		Revision: st.revision, Origin: cmd.Origin, RequestID: cmd.RequestID,
		At: st.acceptedAt, Time: time.Duration(st.time), Source: cmd.Source, Comment: cmd.Comment, Principal: cmd.Principal, Ops: ops,
		Content: sha256.Sum256(a.content),
	}
	s.active.log(ch.Revision, encodeChange(&ch, st.chain))
	st.chain = ch.Chain
	r.Revision = st.revision
}

// change puts one operation's effect into the overlay: the new record, and the
// old one among the superseded.
func (a *applier) change(c *pendingChange, by string) {
	if c.op.Kind.isNamespace() {
		a.changeNamespace(c, by)
		return
	}
	if c.op.Kind.isMembers() {
		a.changeMembers()
		return
	}
	st := &a.s.state
	now := write{in: current, key: c.op.Key, old: c.oldValue, delta: c.oldDelta}
	if c.old != nil {
		key := supersededKey(now.key, c.old.revision())
		a.put(&write{in: superseded, key: key, value: encodeSuperseded(key, st.revision, c.old)})
		a.s.pasts.changed(now.key)
	}
	if c.op.Kind == Put {
		rec := Record{
			Key: now.key, Value: c.op.Value, ContentType: c.op.ContentType,
			Revision: st.revision, CreateRevision: st.revision, Version: 1,
			ModifiedAt: st.acceptedAt, ModifiedBy: by,
		}
		if c.old != nil {
			rec.CreateRevision, rec.Version = c.old.created(), c.old.version()+1
		}
		now.value = encodeCurrent(&rec)
	}
	if come := a.put(&now); c.op.Kind == Put {
		a.content = come.sum.append(a.content)
	}
}
