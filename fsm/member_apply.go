package fsm

import (
	"errors"
	"fmt"
	"slices"
)

func (op *Op) validateMembers() error {
	if op.ContentType != "" || op.Revision != 0 {
		return errors.New("fsm: an operation on members carries what only one on keys does")
	}
	if op.Kind == FinalizeUpgrade {
		if op.Key != "" || len(op.Value) != 1 {
			return errors.New("fsm: an upgrade is finalized to one version, and without a key")
		}
		return nil
	}
	names := memberNames(op.Key)
	if n := len(names); n > MaxMembers {
		return &LimitError{What: "members of the operation", Got: n, Max: MaxMembers}
	}
	for i, name := range names {
		if err := ValidateMemberName(name); err != nil {
			return err
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("fsm: member %s is named twice", name)
		}
	}
	switch op.Kind {
	case AddMember, ReplaceMember:
		if len(names) != 1 {
			return errors.New("fsm: one member is added or replaced at a time")
		}
		_, err := DecodeMemberSpec(op.Value)
		return err
	case RemoveMember:
		if v := string(op.Value); v != "" && v != EvenFewer {
			return fmt.Errorf("fsm: a removal with the value %q", v)
		}
	default:
		if len(op.Value) != 0 {
			return errors.New("fsm: a promotion carries a value")
		}
	}
	return nil
}

// membership evaluates a command that says what the members are to be, as evaluate does for keys. What they
// become is left in a.members.
func (a *applier) membership(cmd *Command) (Result, error) {
	st, op := &a.s.state, &cmd.Ops[0]
	r := Result{Origin: cmd.Origin, Outcome: Unchanged, Ops: make([]OpResult, 1)}
	a.members = membersBeing{version: st.version, members: slices.Clone(st.members), lastRaftID: st.lastRaftID, conf: &st.conf}
	var refusal Outcome
	switch op.Kind {
	case AddMember:
		refusal = a.members.add(op)
	case PromoteMember:
		refusal = a.members.promote(memberNames(op.Key))
	case RemoveMember:
		refusal = a.members.remove(memberNames(op.Key), string(op.Value) == EvenFewer)
	case ReplaceMember:
		refusal = a.members.replace(op)
	case FinalizeUpgrade:
		refusal = a.members.finalize(op.Value[0])
	default:
		panic("fsm: an operation on members of unknown kind got past Decode")
	}
	if refusal != 0 {
		return Result{Origin: cmd.Origin, Outcome: refusal}, nil
	}
	// Whether it is done says the state alone, the same on every replica. A program that does not know the version,
	// since it took the place of one that did, goes no further.
	if v := a.members.version; v > a.s.opts.MaxVersion {
		return Result{}, fmt.Errorf("%w: the cluster goes over to version %d of commands, newest known is %d", ErrUnknownVersion, v, a.s.opts.MaxVersion)
	}
	a.members.forget()
	a.changed = a.changed[:0]
	if a.members.version == st.version && slices.Equal(a.members.members, st.members) {
		return r, nil
	}
	a.changed = append(a.changed, pendingChange{op: op})
	r.Outcome, r.Ops[0].Changed = Applied, true
	return r, nil
}

// changeMembers does what membership decided on.
func (a *applier) changeMembers() {
	st := &a.s.state
	st.version, st.members, st.lastRaftID = a.members.version, a.members.members, a.members.lastRaftID
}

// membersBeing is what a command makes of the membership.
type membersBeing struct {
	version    uint8
	members    []Member // its own
	lastRaftID uint64
	conf       *ConfState
}

// called is the members with a name: none, one, or one and the one that is to replace it.
func (b *membersBeing) called(name string) (found []*Member) {
	for i := range b.members {
		if m := &b.members[i]; m.Name == name && m.Want != Gone {
			found = append(found, m)
		}
	}
	return found
}

// seat makes one for a member that nobody came for yet.
func (b *membersBeing) seat(op *Op, want MemberRole, replaces uint64) Outcome {
	if len(b.members) >= MaxMembers || b.lastRaftID >= MaxRaftIDs {
		return MembersFull
	}
	spec, err := DecodeMemberSpec(op.Value)
	must(err == nil, "a member got past Decode: %v", err)
	b.lastRaftID++
	b.members = append(b.members, Member{RaftID: b.lastRaftID, Name: op.Key, MemberSpec: spec, Want: want, Replaces: replaces, Version: MinVersion})
	return 0
}

func (b *membersBeing) add(op *Op) Outcome {
	// Also one that is leaving: its name is free when it has left.
	if slices.ContainsFunc(b.members, func(m Member) bool { return m.Name == op.Key }) {
		return MemberExists
	}
	return b.seat(op, Learner, 0)
}

func (b *membersBeing) promote(names []string) Outcome {
	for _, name := range names {
		found := b.called(name)
		if len(found) == 0 {
			return UnknownMember
		}
		found[len(found)-1].Want = Voter // one that is replaced is a voter, or its replacement would not wait
	}
	return 0
}

func (b *membersBeing) remove(names []string, evenFewer bool) Outcome {
	before := b.voters()
	for _, name := range names {
		found := b.called(name)
		if len(found) == 0 {
			return UnknownMember
		}
		found[len(found)-1].Want = Gone
	}
	after := b.voters()
	if after == 0 || after < 3 && before >= 3 && !evenFewer {
		return FewerFailures
	}
	return 0
}

// voters is how many there are to be. One and the one that is to replace it are one.
func (b *membersBeing) voters() (n int) {
	for i := range b.members {
		if m := &b.members[i]; m.Want == Voter && m.Replaces == 0 {
			n++
		}
	}
	return n
}

func (b *membersBeing) replace(op *Op) Outcome {
	found := b.called(op.Key)
	switch {
	case len(found) == 0:
		return UnknownMember
	case len(found) > 1:
		return MemberPending
	}
	old := found[0]
	want, replaces := old.Want, old.RaftID
	if !slices.Contains(b.conf.Voters, old.RaftID) {
		old.Want, replaces = Gone, 0 // nobody waits for its vote
	}
	return b.seat(op, want, replaces)
}

func (b *membersBeing) finalize(version uint8) Outcome {
	if version == b.version {
		return 0
	}
	if version != b.version+1 {
		return VersionUnknown
	}
	for i := range b.members {
		if m := &b.members[i]; m.Want != Gone && m.Version < version {
			return VersionUnknown
		}
	}
	b.version = version
	return 0
}

// forget drops the seats that nobody came for and that were to go. A member that did come stays until the leader
// says that nobody needs its vote any more: see report.
func (b *membersBeing) forget() {
	b.members = slices.DeleteFunc(b.members, func(m Member) bool { return m.Want == Gone && m.Life == Life{} })
}

// report takes a member's word on itself. Of one that was to go, and is in no part of the configuration, it is the last:
// it is forgotten. A leader says so only once it has applied that, and so what was committed tells a majority of those
// who are left: before, one of them that does not know that the member has left may need its vote.
func (a *applier) report(r *Report) Result {
	st := &a.s.state
	i := slices.IndexFunc(st.members, func(m Member) bool { return m.RaftID == r.RaftID })
	if i < 0 {
		return Result{Outcome: Reported}
	}
	m := st.members[i]
	if m.Life == (Life{}) {
		m.Life = r.Life
	}
	if m.Life == r.Life {
		m.Version = r.Version
	}
	if m.Want == Gone && !st.conf.Has(m.RaftID) {
		st.members = slices.Delete(slices.Clone(st.members), i, i+1)
		return Result{Outcome: Reported}
	}
	if m != st.members[i] {
		st.members = slices.Clone(st.members)
		st.members[i] = m
	}
	return Result{Outcome: Reported}
}

// ConfChange is one step of Raft's configuration: a learner that comes or goes, or the way into two sets of
// voters that must agree, or out of it.
type ConfChange struct {
	// Voters become voters, and were learners; Learners become learners; Removed leave.
	Voters, Learners, Removed []uint64
	// Leave: the new set of voters is the only one from here on. Nothing else is in the same step.
	Leave bool
}

// reconfigure takes a step of Raft's configuration, if it leads from where that is towards what the members
// are to be: the leader that proposed it may have known less.
func (a *applier) reconfigure(ch *ConfChange) Result {
	st := &a.s.state
	conf, ok := st.conf.after(ch, st.members)
	if !ok {
		return Result{Outcome: ConfRefused}
	}
	being := membersBeing{members: slices.Clone(st.members), conf: &conf}
	for i := range being.members {
		m := &being.members[i]
		if slices.Contains(ch.Removed, m.RaftID) {
			m.Want = Gone
		}
		if slices.Contains(ch.Voters, m.RaftID) {
			m.Replaces = 0
		}
	}
	being.forget()
	st.conf, st.members = conf, being.members
	return Result{Outcome: ConfChanged, Conf: &conf} // its own: the next entry of the same batch may change the state's
}

// after is the configuration after a step; false if the step does not lead from c towards what members are to be.
func (c *ConfState) after(ch *ConfChange, members []Member) (ConfState, bool) {
	one := func(raftID uint64) *Member {
		i := slices.IndexFunc(members, func(m Member) bool { return m.RaftID == raftID })
		if i < 0 {
			return &Member{}
		}
		return &members[i]
	}
	none := func(ids ...[]uint64) bool { return len(slices.Concat(ids...)) == 0 }
	switch {
	case ch.Leave:
		return ConfState{Voters: c.Voters, Learners: unite(c.Learners, c.LearnersNext)}, c.Joint() && none(ch.Voters, ch.Learners, ch.Removed)
	case c.Joint():
		return ConfState{}, false
	case len(ch.Learners) == 1 && none(ch.Voters, ch.Removed):
		m := one(ch.Learners[0])
		return ConfState{Voters: c.Voters, Learners: unite(c.Learners, ch.Learners)},
			(m.Want == Learner || m.Want == Voter) && m.Life != Life{} && !c.Has(m.RaftID)
	case len(ch.Removed) == 1 && none(ch.Voters, ch.Learners) && slices.Contains(c.Learners, ch.Removed[0]):
		return ConfState{Voters: c.Voters, Learners: without(c.Learners, ch.Removed)}, one(ch.Removed[0]).Want == Gone
	case !none(ch.Learners) || none(ch.Voters, ch.Removed):
		return ConfState{}, false
	}
	var replaced []uint64
	for _, id := range ch.Voters {
		if m := one(id); m.Want != Voter || !slices.Contains(c.Learners, id) {
			return ConfState{}, false
		} else if m.Replaces != 0 {
			replaced = append(replaced, m.Replaces)
		}
	}
	for _, id := range ch.Removed {
		if !slices.Contains(c.Voters, id) || one(id).Want != Gone && !slices.Contains(replaced, id) {
			return ConfState{}, false
		}
	}
	for _, id := range replaced {
		// Or there would be one voter more, and nobody else takes the other one out.
		if slices.Contains(c.Voters, id) && !slices.Contains(ch.Removed, id) {
			return ConfState{}, false
		}
	}
	next := ConfState{
		Voters:         unite(without(c.Voters, ch.Removed), ch.Voters),
		Learners:       without(c.Learners, ch.Voters),
		VotersOutgoing: c.Voters,
	}
	return next, len(next.Voters) > 0
}

// NextConf is the next step from the configuration towards what the members are to be; nil if there is none.
// ready tells whether a learner has caught up. A voter that is to go stays until whoever is to be one instead of it has
// caught up: there are never fewer voters than there were, unless there are to be.
func (s *State) NextConf(ready func(raftID uint64) bool) *ConfChange {
	if s.Conf.Joint() {
		return &ConfChange{Leave: true}
	}
	step := &ConfChange{}
	var leaving []uint64
	for i := range s.Members {
		m := &s.Members[i]
		learns := slices.Contains(s.Conf.Learners, m.RaftID)
		switch {
		case m.Want == Gone && learns:
			return &ConfChange{Removed: []uint64{m.RaftID}}
		case m.Want != Gone && m.Life != Life{} && !s.Conf.Has(m.RaftID):
			return &ConfChange{Learners: []uint64{m.RaftID}}
		case m.Want == Gone && slices.Contains(s.Conf.Voters, m.RaftID):
			leaving = append(leaving, m.RaftID)
		case m.Want == Voter && learns && ready(m.RaftID):
			step.Voters = append(step.Voters, m.RaftID)
			if slices.Contains(s.Conf.Voters, m.Replaces) {
				step.Removed = unite(step.Removed, []uint64{m.Replaces})
			}
		}
	}
	wanted := membersBeing{members: s.Members}
	leaving = without(leaving, step.Removed)
	spare := len(s.Conf.Voters) + len(step.Voters) - len(step.Removed) - min(len(s.Conf.Voters), wanted.voters())
	step.Removed = unite(step.Removed, leaving[:min(len(leaving), max(spare, 0))])
	if len(step.Voters)+len(step.Removed) == 0 {
		return nil
	}
	return step
}

func unite(a, b []uint64) []uint64 {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

func without(a, b []uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(a), func(id uint64) bool { return slices.Contains(b, id) })
}
