package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// operator changes who takes part while clients write, and by which version of commands: it adds, promotes,
// removes and replaces members, has leaders hand over and nodes drain, and finalizes upgrades. It gives one order at a
// time, under an idempotency key, again and again until it knows what came of it. It wants nothing that would
// leave no majority of nodes whose data is whole; but for that it is careless.
type operator struct {
	w     *World
	rng   generator
	order *order
	limbo []*fsm.Op // orders that were given up, and may be done still
	names int
	// voters is how many it wants to have; aimed is until when.
	voters  int
	aimed   int64
	drained *replica
}

// order is what the operator asks for until it knows what came of it.
type order struct {
	what    string
	op      fsm.Op
	who     int
	key     string
	request [32]byte
	asked   bool // an attempt is on its way
	unsure  bool // an attempt had no outcome
	denied  int
}

const (
	// operatorClient is the number of the operator among those who ask.
	operatorClient = governClient + 50
	// mostMembers is how many members an operator adds to, and mostVoters how many voters.
	mostMembers = 9
	mostVoters  = 7
	// orderAgain is how soon an order is given again that had no outcome.
	orderAgain = 300 * time.Millisecond
	// concludeEvery is how soon after the faults the operator looks again what is left to do.
	concludeEvery = 500 * time.Millisecond
	// maxDenied is how often an order is given that is denied, though an attempt before may have been done.
	maxDenied = 5
	// neverComes is the share of seats that nobody comes for.
	neverComes = 0.1
)

// membersChange and versionsMix are the conditions under which there is an operator, and under which a cluster
// begins with the version of commands before this one.
const (
	membersChange = "members change"
	versionsMix   = "mixed versions"
)

func (p *operator) init(w *World) {
	p.w, p.rng = w, newGenerator(w.opts.Seed, "operator")
	if w.setup.members > 0 {
		w.at(beginsBy+p.rng.about(w.setup.members), event{kind: evOperate})
	}
}

// calm tells whether nobody is at work on the members.
func (p *operator) calm() bool {
	return p.order == nil && len(p.limbo) == 0 && p.w.judge.model.members().pending() == ""
}

// waits says what the operator waits for; nothing: nothing is left to do.
func (p *operator) waits() string {
	switch {
	case p.w.setup.members == 0:
	case p.order != nil:
		return fmt.Sprintf("the operator does not know what came of: %s %s", p.order.what, p.order.op.Key)
	case p.hopeless() != nil:
		return "a member is to be what it cannot be, and the operator has not removed it yet"
	}
	return ""
}

// turn is the operator's.
func (p *operator) turn() {
	w := p.w
	again := p.rng.about(w.setup.members)
	if w.nemesis.over {
		again = concludeEvery
	}
	switch {
	case len(w.judge.model.memberships) == 0 || w.ticksOff:
	case p.order != nil:
		again = orderAgain
		if !p.order.asked {
			p.ask()
		}
	case w.nemesis.over:
		p.drain(nil)
		if m := p.hopeless(); m != nil {
			p.give("removal of who never came", &fsm.Op{Kind: fsm.RemoveMember, Key: m.Name, Value: []byte(fsm.EvenFewer)})
		}
	default:
		p.draw()
	}
	w.after(again, event{kind: evOperate})
}

// lives tells whether the machine of a member may come to work.
func (p *operator) lives(id uint64) bool {
	r := p.w.machine(id)
	return (r.seat != nil || r.id <= uint64(p.w.setup.nodes)) && !r.out && !r.forgot
}

// hopeless is a member that waits to be something, and whose machine never comes or is lost.
func (p *operator) hopeless() *fsm.Member {
	now := p.w.judge.model.members()
	for i := range now.list {
		m := &now.list[i]
		learns := slices.Contains(now.conf.learners, m.RaftID)
		waits := !now.conf.has(m.RaftID) || learns && m.Want == fsm.Voter
		if m.Want != fsm.Gone && waits && !p.lives(m.RaftID) {
			return m
		}
	}
	return nil
}

// give begins an order.
func (p *operator) give(what string, op *fsm.Op) {
	p.names++
	p.order = &order{what: what, op: *op, who: p.w.judge.sovereign(), key: fmt.Sprintf("order-%d", p.names)}
	p.order.request = sha256.Sum256([]byte(p.order.key))
	p.w.judge.count("ordered: " + what)
	p.w.judge.count(membersChange)
	p.ask()
}

// ask gives the order once, to some node.
func (p *operator) ask() {
	c, o := &p.w.clients, p.order
	r := c.w.nodes[p.rng.IntN(len(c.w.nodes))]
	if leader := p.w.leader(); leader != nil && p.rng.IntN(2) == 0 {
		r = leader
	}
	a := c.add(0, operatorClient, r)
	a.rng, a.principal, a.lone = p.rng, o.who, true
	a.edict = &edict{what: o.what, ops: []fsm.Op{o.op}, order: true}
	a.key, a.since, a.request = o.key, p.w.now, o.request
	a.op.Kind, a.op.Key = linearizability.Put, o.what
	o.asked = true
	c.call(a)
}

// answered is the operator's turn after an attempt.
func (p *operator) answered(a *operation) {
	o := p.order
	o.asked = false
	done := a.op.Outcome == linearizability.Applied || a.op.Outcome == linearizability.Unchanged
	switch {
	case a.op.Outcome == linearizability.Unknown:
		o.unsure = true
		return
	case a.result == fsm.Denied:
		// An attempt before may be done all the same.
		if o.denied++; o.unsure && o.denied < maxDenied {
			return
		}
		if o.unsure {
			p.limbo = append(p.limbo, &o.op)
		}
	case a.result == 0 || !done && a.op.Outcome != linearizability.NotApplied:
		return
	}
	p.order = nil
	if a.op.Outcome == linearizability.Applied {
		p.done(o, fsm.Revision(a.op.Revision))
	}
}

// done goes on after an order that made a revision.
func (p *operator) done(o *order, rev fsm.Revision) {
	w := p.w
	w.judge.count("done: " + o.what)
	if o.op.Kind != fsm.AddMember && o.op.Kind != fsm.ReplaceMember {
		return
	}
	then := w.judge.model.memberships.asOf(rev)
	if p.rng.chance(neverComes) {
		w.judge.count("seat is never taken")
		return
	}
	w.seated(then.last, then, p.rng)
}

// draw draws what the operator does next.
func (p *operator) draw() {
	w, g := p.w, p.rng
	now := w.judge.model.members()
	if w.now >= p.aimed {
		p.voters, p.aimed = pick(g, 1, 3, 3, 5, 5, mostVoters), w.now+int64(g.between(5*time.Second, 20*time.Second))
	}
	switch share := g.IntN(100); {
	case share < 6:
		p.input("transfer", node.TransferLeadership{})
	case share < 12:
		p.drain(w.nodes[g.IntN(len(w.nodes))])
	case share < 18:
		p.drain(nil)
	case share < 24:
		p.careless(now)
	case share < 34 && w.setup.mixed:
		p.give("finalize", &fsm.Op{Kind: fsm.FinalizeUpgrade, Value: []byte{fsm.Version}})
	default:
		p.change(now)
	}
}

// input has a node do what is no matter of the log.
func (p *operator) input(what string, in node.Input) {
	r := p.w.leader()
	if r == nil || len(p.w.nodes) == 1 {
		return
	}
	p.w.judge.count("ordered: " + what)
	r.take(in)
}

// drain has a node drain, in place of the one before.
func (p *operator) drain(r *replica) {
	if was := p.drained; was != nil && was.formed() {
		was.take(node.Drain{})
	}
	if p.drained = nil; r != nil && r.formed() {
		p.w.judge.count("ordered: drain")
		p.drained = r
		r.take(node.Drain{On: true})
	}
}

// careless asks for what is refused, most likely.
func (p *operator) careless(now *modelMembers) {
	g := p.rng
	one := now.list[g.IntN(len(now.list))].Name
	spec := fsm.MemberSpec{}
	op := pick(g,
		fsm.Op{Kind: fsm.AddMember, Key: one, Value: spec.Encode()},
		fsm.Op{Kind: fsm.ReplaceMember, Key: "nobody", Value: spec.Encode()},
		fsm.Op{Kind: fsm.PromoteMember, Key: one + ",nobody"},
		fsm.Op{Kind: fsm.RemoveMember, Key: "nobody," + one},
		fsm.Op{Kind: fsm.RemoveMember, Key: one},
		fsm.Op{Kind: fsm.FinalizeUpgrade, Value: []byte{byte(g.IntN(4))}},
	)
	if room := now.last < uint64(len(p.w.all)); p.bearable(now, &op) && (room || op.Kind != fsm.AddMember && op.Kind != fsm.ReplaceMember) {
		p.give("careless", &op)
	}
}

// change draws a change of the members.
func (p *operator) change(now *modelMembers) {
	g := p.rng
	spec := fsm.MemberSpec{}
	if g.IntN(2) == 0 {
		spec = fsm.MemberSpec{Address: "host.example", APIPort: 1, RaftPort: 2}
	}
	room := now.last < uint64(len(p.w.all)) && len(now.list) < mostMembers
	var learners, voters, dead []string
	for i := range now.list {
		switch m := &now.list[i]; {
		case m.Want == fsm.Gone:
		case !p.lives(m.RaftID):
			dead = append(dead, m.Name)
		case m.Want == fsm.Learner:
			learners = append(learners, m.Name)
		default:
			voters = append(voters, m.Name)
		}
	}
	draw := func(names []string) string { return names[g.IntN(len(names))] }
	op, what := fsm.Op{}, ""
	switch share := g.IntN(100); {
	case len(dead) > 0 && share < 40 && room:
		op, what = fsm.Op{Kind: fsm.ReplaceMember, Key: draw(dead), Value: spec.Encode()}, "replacement of a lost node"
	case len(dead) > 0 && share < 60:
		op, what = fsm.Op{Kind: fsm.RemoveMember, Key: draw(dead), Value: []byte(fsm.EvenFewer)}, "removal of a lost node"
	case share < 75 && len(learners)+len(voters) > 0 && share >= 55 && room:
		op, what = fsm.Op{Kind: fsm.ReplaceMember, Key: draw(append(learners, voters...)), Value: spec.Encode()}, "replacement"
	case len(voters) < p.voters && len(learners) > 0:
		op, what = fsm.Op{Kind: fsm.PromoteMember, Key: draw(learners)}, "promotion"
		if len(learners) > 1 && g.IntN(2) == 0 {
			op.Key = learners[0] + "," + learners[1]
		}
	case len(voters) < p.voters && room:
		op, what = fsm.Op{Kind: fsm.AddMember, Key: fmt.Sprintf("added%d", g.IntN(mostMembers)), Value: spec.Encode()}, "addition"
	case len(voters) > p.voters || share > 90 && len(voters) > 0:
		op, what = fsm.Op{Kind: fsm.RemoveMember, Key: draw(voters), Value: []byte(fsm.EvenFewer)}, "removal"
		if leader := p.w.leader(); leader != nil && now.member(leader.id) != nil && g.IntN(3) == 0 {
			op.Key, what = now.member(leader.id).Name, "removal of the leader"
		}
		if other := draw(voters); g.IntN(3) == 0 && other != op.Key {
			op.Key += "," + other
		}
	case len(learners) > 0 && share < 30:
		op, what = fsm.Op{Kind: fsm.RemoveMember, Key: draw(learners)}, "removal of a learner"
	default:
		return
	}
	if p.bearable(now, &op) {
		p.give(what, &op)
	}
}

// bearable tells whether an order leaves a majority whole, whatever becomes of those that were given up.
func (p *operator) bearable(now *modelMembers, op *fsm.Op) bool {
	next, refusal := now.after(op)
	if refusal != 0 {
		return true
	}
	if len(p.limbo) > 0 && op.Kind != fsm.AddMember {
		return false
	}
	return !p.strands(next) && p.w.nemesis.atlas.bear(p.w.futures(next), func(uint64) bool { return true })
}

// strands tells whether a member would know nobody any more who stays: nobody could introduce those to it who came since,
// and it could only be replaced.
func (p *operator) strands(next *modelMembers) bool {
	var stay []uint64
	for i := range next.list {
		if x := &next.list[i]; x.Want != fsm.Gone && p.lives(x.RaftID) {
			stay = append(stay, x.RaftID)
		}
	}
	may := slices.Clone(stay) // one that is replaced stays if the other one never comes
	for i := range next.list {
		stay = lessThose(stay, []uint64{next.list[i].Replaces})
	}
	if len(may) < 2 {
		return false
	}
	return slices.ContainsFunc(may, func(id uint64) bool {
		r := p.w.machine(id)
		// Whom it was introduced to it forgets when it starts again.
		known := peersOf(r.kept.WithoutStore().Members, 0).list
		if r.kept.RaftID == 0 && r.seat != nil {
			known = peersOf(r.seat.Membership.Members, 0).list
		}
		return !slices.ContainsFunc(known, func(other uint64) bool { return other != id && slices.Contains(stay, other) })
	})
}

// quorumSets are of which a majority must be whole: now, and in what members are to be.
func (w *World) quorumSets() [][]uint64 {
	now := w.judge.model.members()
	if len(now.list) == 0 {
		all := make([]uint64, w.setup.nodes)
		for i := range all {
			all[i] = uint64(i + 1)
		}
		return [][]uint64{all}
	}
	if w.setup.members == 0 {
		return now.conf.sets()
	}
	sets := w.futures(now)
	orders := w.operator.limbo
	if o := w.operator.order; o != nil {
		orders = append(slices.Clone(orders), &o.op)
	}
	for _, op := range orders {
		if next, refusal := now.after(op); refusal == 0 {
			sets = append(sets, w.futures(next)...)
		}
	}
	return sets
}

// futures are the sets of voters that there are, and that are to be expected on the way to what members are to be.
func (w *World) futures(m *modelMembers) [][]uint64 {
	sets := m.conf.sets()
	var replaced, stay, come []uint64
	for i := range m.list {
		if m.list[i].Want != fsm.Gone {
			replaced = append(replaced, m.list[i].Replaces)
		}
	}
	for i := range m.list {
		x := &m.list[i]
		votes := slices.Contains(m.conf.voters, x.RaftID)
		if x.Want != fsm.Gone && votes {
			stay = append(stay, x.RaftID)
		}
		if x.Want == fsm.Voter && (votes || w.operator.lives(x.RaftID)) && !slices.Contains(replaced, x.RaftID) {
			come = append(come, x.RaftID)
		}
	}
	both := slices.Concat(stay, lessThose(come, stay))
	return append(slices.Clone(sets), stay, come, both)
}

// operating draws whether members change, and how often; and whether the cluster begins with the version
// before this one.
func (s *setup) operating(g generator, mixed generator) {
	every := g.some(500*time.Millisecond, 5*time.Second)
	if s.restored {
		s.faults[faultProgram] = 0 // what is restored is of the members that there were
		return
	}
	if g.IntN(2) == 0 && s.behind == 0 {
		s.members = every
		if n := s.node.MaxMessageBytes; n > 0 && n <= 200 {
			// A new member is sent the whole log an entry at a time: each that overtakes has raft send all again.
			s.net.fifo, s.net.straggle = true, min(s.net.straggle, 300*time.Millisecond)
		}
	}
	gap := mixed.some(3*time.Second, 20*time.Second)
	if s.mixed = mixed.IntN(3) == 0; s.mixed {
		s.faults[faultProgram] = gap
	} else {
		s.faults[faultProgram] = 0
	}
}
