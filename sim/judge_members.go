package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// Who takes part, and by which version of commands, is the model's to say. What else is promised of members: what
// is acknowledged is at a majority of those who were one; nobody acts on less than it knew; who stops was
// removed; and what members are to be comes to be.

// sameStep tells whether two entries are the same step of the configuration, or none.
func sameStep(a, b *fsm.ConfChange) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Leave == b.Leave && slices.Equal(a.Voters, b.Voters) && slices.Equal(a.Learners, b.Learners) && slices.Equal(a.Removed, b.Removed)
}

// memberStep counts what became of an entry about members that nobody has applied before.
func (j *judge) memberStep(o fsm.Outcome) {
	switch o {
	case fsm.ConfRefused:
		j.count("step of the configuration refused")
	case fsm.Reported:
		j.count("member reported")
	default:
		now := j.model.members()
		switch {
		case len(now.conf.outgoing) > 0:
			j.count("two sets of voters")
		case len(now.conf.learners) > 0:
			j.count("learner")
		}
		switch len(now.conf.voters) {
		case 1:
			j.count("one voter")
		case 7:
			j.count("seven voters")
		}
	}
}

// quorum: what is acknowledged is durable at a majority of those whose word counted when it was committed. A leader
// goes by the configuration that it has applied, which is behind by one step at most.
func (j *judge) quorum(r *replica, request string, index fsm.Index, term uint64) {
	holds := func(id uint64) bool { return j.w.machine(id).shadow.holds(uint64(index), term) }
	p := &j.model.memberships
	var asked []modelConf
	for n := p.position(index - 1); n >= 0; n-- {
		conf := (*p)[n].conf
		if len(asked) > 0 && sameConf(&asked[0], &conf) {
			continue
		}
		if asked = append(asked, conf); conf.quorate(holds) {
			return
		}
		if len(asked) == 2 {
			break
		}
	}
	var held []uint64
	for _, peer := range j.w.all {
		if holds(peer.id) {
			held = append(held, peer.id)
		}
	}
	j.w.fail(JudgeDurable, "%s acknowledges %s at index %d, which is durable at %d; the voters were %+v", r.name, request, index, held, asked)
}

func sameConf(a, b *modelConf) bool {
	return slices.Equal(a.voters, b.voters) && slices.Equal(a.outgoing, b.outgoing) && slices.Equal(a.learners, b.learners)
}

func sameButForPlace(stated, kept fsm.Member) bool {
	if stated.Address == "" {
		kept.MemberSpec = stated.MemberSpec
	}
	return stated == kept
}

// versionOf: no program applies what it does not know, and nothing is written by a version that the cluster
// does not use yet.
func (j *judge) versionOf(r *replica, e *fsm.Entry) {
	if len(e.Data) == 0 {
		return
	}
	version := e.Data[0]
	if uses := j.model.members().version; version > uses {
		j.w.fail(JudgeState, "the command at index %d is of version %d, and the cluster uses %d", e.Index, version, uses)
	}
	if version > r.version {
		j.w.fail(JudgeState, "%s applies a command of version %d at index %d, and its program knows %d", r.name, version, e.Index, r.version)
	}
}

// knew: a node without a store goes by a membership that is not older than what its core was told. Of whom the state
// does not say where it listens the node may remember it.
func (j *judge) knew(r *replica, s *fsm.State) {
	least := j.model.memberships.position(r.told)
	for i := least; i < len(j.model.memberships); i++ {
		now := &j.model.memberships[i].modelMembers
		if now.last == s.LastRaftID && slices.EqualFunc(now.list, s.Members, sameButForPlace) && slices.Equal(now.conf.voters, s.Conf.Voters) && slices.Equal(now.conf.outgoing, s.Conf.VotersOutgoing) {
			return
		}
	}
	j.w.fail(JudgeDurable, "%s comes back without a store and with the members %+v of %+v; by index %d it had acted on %+v",
		r.name, s.Conf, s.Members, r.told, j.model.memberships.at(r.told).conf)
}

// left tells whether err is what ends a node that is not a member any more, and holds it against what is.
func (r *replica) left(err error) bool {
	if !errors.Is(err, node.ErrRemoved) {
		return false
	}
	if now := r.w.judge.model.members(); now.member(r.id) != nil || r.id > now.last {
		r.w.fail(JudgeStop, "%s stops since it was removed, and it is a member: %w", r.name, err)
		return true
	}
	r.leave()
	return true
}

// outdated tells whether err is what ends a program that does not know the version of commands that its cluster uses.
func (r *replica) outdated(err error) bool {
	newest := r.w.judge.model.members().version
	if o := r.w.operator.order; o != nil && o.op.Kind == fsm.FinalizeUpgrade {
		newest = max(newest, o.op.Value[0]) // it may be the first to see it
	}
	if !errors.Is(err, node.ErrNewerCluster) && !errors.Is(err, fsm.ErrUnknownVersion) || r.version >= min(newest, fsm.Version) {
		return false
	}
	r.w.judge.count("old program stops in a newer cluster")
	r.version = fsm.Version // which is what its operator does then
	r.crash(killed)
	return true
}

// members are the machines of the newest membership that still take part: not those without their log, nor
// those set aside, nor who has a seat and no machine.
func (w *World) members() (out []*replica) {
	now := w.judge.model.members()
	for _, r := range w.nodes {
		if !r.out && !r.forgot && !r.aside && (len(now.list) == 0 || now.member(r.id) != nil) {
			out = append(out, r)
		}
	}
	return out
}

// unlikeWanted says what members are to be and are not, now that nothing goes wrong any more; and who does not know
// that it was removed.
func (w *World) unlikeWanted() string {
	now := w.judge.model.members()
	if why := now.pending(); why != "" {
		return why
	}
	for _, r := range w.members() {
		if m := now.member(r.id); m != nil && m.Version != r.version {
			return fmt.Sprintf("the log says of %s that it knows version %d, and it knows %d", r.name, m.Version, r.version)
		}
	}
	var up []string
	for _, r := range w.nodes {
		if now.member(r.id) == nil && len(now.list) > 0 && r.up && !r.aside && r.couldHear(now) {
			up = append(up, r.name)
		}
	}
	if len(up) > 0 {
		return strings.Join(up, ", ") + " was removed, and goes on"
	}
	return ""
}

// couldHear tells whether a node that was removed knows of anybody who is a member still, and so could
// tell it.
func (r *replica) couldHear(now *modelMembers) bool {
	return slices.ContainsFunc(r.known.list, func(id uint64) bool {
		return now.member(id) != nil && r.w.machine(id).formed() && !r.w.machine(id).aside
	})
}
