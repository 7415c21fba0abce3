package sim

import (
	"errors"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// errNewMember is why a machine that was added has no store at first.
var errNewMember = errors.New("a new member has no store until a peer's has come")

// former is how a node comes to take part: a *node.Formation or a *node.Joining, or what is left of
// that once it does.
type former interface {
	Identity() node.Identity
	Waiting() []string
	Tick(now time.Duration) node.FormStep
	Receive(m transport.Message) node.FormStep
}

// joined is the former of a node that has the seat it was added for.
type joined struct{ id node.Identity }

func (j *joined) Identity() node.Identity                 { return j.id }
func (j *joined) Waiting() []string                       { return nil }
func (j *joined) Tick(time.Duration) node.FormStep        { return node.FormStep{} }
func (j *joined) Receive(transport.Message) node.FormStep { return node.FormStep{} }

// sit makes an identity what it is before a node's first word: that of a seat, if its directory is empty and
// there is one. Each directory has a life of its own.
func (r *replica) sit(id *node.Identity) {
	id.Name = r.name
	if r.seat == nil {
		if !id.Formed {
			id.Version = r.w.setup.oldest()
		}
		return
	}
	id.Name = r.seat.Name
	if id.Life != (fsm.Life{}) {
		return
	}
	m := r.seat.Membership
	id.Cluster, id.RaftID, id.Current = r.seat.Cluster, r.seat.RaftID, &m
	for i := range id.Life {
		id.Life[i] = byte(r.rng.Uint32())
	}
}

// know has the node's wire hear those who are members, and no others that ever were.
func (r *replica) know(members []fsm.Member, last uint64) {
	r.known = peersOf(members, last)
}

// dialEvery is how often a node's wire connects again to a peer that refused it.
const dialEvery = time.Second

// dial has the node hear of peers that it is not a member any more, though it may have nothing to say to them: its
// wire keeps a stream to each.
func (r *replica) dial() {
	w := r.w
	if w.setup.members == 0 || w.now < r.dialAt || r.paused {
		return
	}
	r.dialAt = w.now + int64(dialEvery)
	for _, id := range r.known.list {
		if peer := w.machine(id); id != r.id && peer.up && !peer.known.has(r.id) && w.net.link(r.id, id).blocked == 0 {
			w.net.dismiss(peer, r)
		}
	}
}

// keep makes who takes part durable, before the core hears of it; false: the node did not live to.
func (r *replica) keep(s *fsm.State) bool {
	err := r.keepMembers(s)
	switch {
	case err == nil:
		return true
	case errors.Is(err, errCut):
		r.crash(powerLost)
	default:
		r.w.fail(JudgeStop, "%s: keeping the members: %w", r.name, err)
	}
	return false
}

func (r *replica) keepMembers(s *fsm.State) error {
	if !r.kept.Take(s) {
		return nil
	}
	if n := &r.w.nemesis; n.tender(r, tenderKeep) {
		left := n.tenders[tenderKeep][r.id-1].IntN(6)
		r.home.Fault = func(Op, string) error {
			if left--; left < 0 {
				return errCut
			}
			return nil
		}
		defer func() { r.home.Fault = nil }()
	}
	return node.StoreIdentity(r.home, r.kept)
}

// leave ends a node that was removed. Some start once more, as a machine does that was not switched off.
func (r *replica) leave() {
	r.w.judge.count("removed node stops")
	r.crash(killed)
	if !r.revenant && !r.w.nemesis.over && r.rng.IntN(3) == 0 {
		r.revenant = true
		r.w.judge.count("removed node starts again")
		return
	}
	r.out = true
	var left []*replica // others may be going through the nodes
	for _, other := range r.w.nodes {
		if other != r {
			left = append(left, other)
		}
	}
	r.w.nodes = left
}

// seated gives a machine a seat: it starts in a while.
func (w *World) seated(id uint64, now *modelMembers, g generator) {
	r := w.machine(id)
	m := node.Membership{Members: now.list, LastRaftID: now.last, Conf: fsm.ConfState{Voters: now.conf.voters, Learners: now.conf.learners, VotersOutgoing: now.conf.outgoing}}
	r.seat = &node.Seat{Cluster: w.judge.cluster, RaftID: id, Name: now.member(id).Name, Membership: m}
	// Until a peer's image has come its store is as good as damaged.
	r.tainted, w.nemesis.atlas.stores[id-1] = true, true
	if w.setup.mixed && g.IntN(3) != 0 {
		r.version = fsm.Version
	}
	w.nodes = append(append([]*replica{}, w.nodes...), r)
	w.judge.count("seat given")
	w.after(g.some(time.Millisecond, 5*time.Second), event{kind: evStart, node: r, life: r.life})
}

// changeProgram restarts a node with another release: mostly a newer one, and sometimes, as happens, with one
// that is too old for the cluster.
func (n *nemesis) changeProgram(g generator, r *replica) bool {
	other := uint8(fsm.Version)
	if used := n.w.judge.model.members().version; r.version == fsm.Version && (used < fsm.Version || g.IntN(4) == 0) {
		other = fsm.MinVersion
	}
	if !n.w.setup.mixed || other == r.version || !r.formed() || r.paused {
		return false
	}
	n.hit(r)
	if r.version = other; g.IntN(2) == 0 {
		r.shutDown()
	} else {
		r.crash(killed)
	}
	return true
}

// machines is how many nodes there may ever be.
func (s *setup) machines() int {
	if s.members > 0 {
		return s.nodes + spareMachines
	}
	return s.nodes
}

// spareMachines are those that may be added in a world.
const spareMachines = 9

// oldest is the version of commands that a cluster begins with.
func (s *setup) oldest() uint8 {
	if s.mixed {
		return fsm.MinVersion
	}
	return fsm.Version
}
