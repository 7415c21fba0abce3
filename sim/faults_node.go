package sim

import (
	"time"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

func (n *nemesis) down(how ending, victims ...*replica) bool {
	found := false
	for _, r := range victims {
		found = found || r.up
		r.crash(how)
	}
	return found
}

// crashLoop lets a node crash again and again, soon after each start or in it.
func (n *nemesis) crashLoop(g generator, r *replica) bool {
	if !r.up || n.looping[r.id-1] > 0 {
		return false
	}
	n.looping[r.id-1] = 2 + g.IntN(5)
	var again healing
	again = func() {
		left := &n.looping[r.id-1]
		if n.over || *left == 0 {
			*left = 0
			return
		}
		if *left--; r.up {
			r.crash(pick(g, powerLost, killed))
		}
		n.later(g.some(time.Millisecond, 500*time.Millisecond), again)
	}
	again()
	return true
}

func (n *nemesis) stop(r *replica) bool {
	up := r.formed() && !r.paused
	if up {
		r.shutDown()
	}
	return up
}

func (n *nemesis) pause(g generator, victims ...*replica) bool {
	found := false
	d := n.span(g)
	for _, r := range victims {
		found = found || r.up && !r.paused
		r.pause(d)
	}
	return found
}

// slowNode makes all that a node does take longer: its loop, its log and its store.
func (n *nemesis) slowNode(g generator, r *replica) bool {
	if !r.up {
		return false // it would be slow when it starts, and nobody would know why
	}
	by := g.some(time.Millisecond, 400*time.Millisecond)
	r.slow += by
	n.noted(linearizability.Event{Nodes: namesOf([]*replica{r})})
	n.undo(g, func() { r.slow -= by })
	return true
}

// hang lets a node's store do nothing for a while, as a device does that retries, and cuts
// the node off in the middle of it: what its log was given waits for the store, and what
// the others did meanwhile comes as an image.
func (n *nemesis) hang(g generator, r *replica) bool {
	if !r.up {
		return false // it would hang when it starts, and nobody would know why
	}
	d := g.between(5*time.Second, 25*time.Second)
	r.hungUntil = n.w.now + int64(d)
	links := n.around(r, true, true)
	n.noted(linearizability.Event{Nodes: namesOf([]*replica{r})})
	fault := n.at
	n.later(d/4, func() {
		if n.over {
			n.w.ended(fault)
			return
		}
		block(links, 1)
		n.later(d/3, func() {
			block(links, -1)
			n.w.ended(fault)
		})
	})
	return true
}

// isolate leaves r alone soon, so that the others' logs may begin behind what it has when
// it comes back: what raft gave its store meets an image that the leader sends by itself.
func (n *nemesis) isolate(r *replica) {
	g := n.tenders[tenderAsk][r.id-1]
	links := n.around(r, true, true)
	n.later(g.some(50*time.Millisecond, 2*time.Second), func() {
		if n.over {
			return
		}
		block(links, 1)
		fault := n.w.begins(linearizability.Event{Name: tenderAsk.String(), Nodes: namesOf([]*replica{r})})
		n.later(g.between(2*time.Second, 20*time.Second), func() {
			block(links, -1)
			n.w.ended(fault)
		})
	})
}

// handed has a leader crash soon that was handed another node's proposal, which comes again to
// its next life; or keeps it busy while a follower that needs an image speaks, so that others
// are heard in the same step.
func (n *nemesis) handed(r *replica, m *transport.Message) {
	// Whether it leads costs more to find out than the rest.
	switch {
	case !r.formed():
	case m.Forward != nil && m.Forward.Addressee != 0 && r.leads() && n.tender(r, tenderCopy):
		again := cloneMessage(m)
		r.late = &again
		g, life := n.tenders[tenderCopy][r.id-1], r.life
		n.later(g.some(100*time.Microsecond, 50*time.Millisecond), func() {
			if !n.over && r.up && r.life == life {
				r.crash(n.how(r, tenderCopy))
			}
		})
	case m.Raft != nil && !r.busy && n.lags(n.w.machine(m.From), r) && r.leads() && n.holdsUp(r):
		n.w.judge.count(tenderLag.String())
		r.busy = true
		n.w.after(n.tenders[tenderLag][r.id-1].between(time.Millisecond, 100*time.Millisecond), event{kind: evLoop, node: r, life: r.life})
	}
}

// leftBehind is the condition under which leaveBehind does something.
const leftBehind = "two left behind"

// leaveBehind cuts two followers of five off until the faults end, so that both may need an image when
// they come back at the same moment.
func (n *nemesis) leaveBehind() {
	if n.over {
		return
	}
	g := newGenerator(n.w.opts.Seed, leftBehind)
	var two []*replica
	for _, i := range g.Perm(len(n.w.nodes)) {
		if r := n.w.nodes[i]; !r.leads() && len(two) < 2 {
			two = append(two, r)
		}
	}
	n.w.judge.count(leftBehind)
	fault := n.w.begins(linearizability.Event{Name: leftBehind, Nodes: namesOf(two), Minority: namesOf(two)})
	for _, r := range two {
		links := n.around(r, true, true)
		block(links, 1)
		n.later(n.w.opts.Time, func() { block(links, -1) })
	}
	n.later(n.w.opts.Time, func() { n.w.ended(fault) })
}

// maxHeldUp bounds how often a leader is kept busy after the faults: raft forgets what it knows of
// its followers with each election, so what goes wrong then shows when no more elections come.
const maxHeldUp = 3

// holdsUp decides whether a leader is kept busy while two or more followers need an image.
func (n *nemesis) holdsUp(leader *replica) bool {
	lagging := 0
	for _, r := range n.w.nodes {
		if n.lags(r, leader) {
			lagging++
		}
	}
	if lagging < 2 {
		return false
	}
	if n.over {
		n.heldUp++
		return n.heldUp <= maxHeldUp && n.w.setup.tender[tenderLag] > 0
	}
	return n.lurks(leader, tenderLag)
}

// lags tells whether r needs an image of what leader has.
func (n *nemesis) lags(r, leader *replica) bool {
	return r.formed() && r.log.LastIndex()+1 < leader.log.FirstIndex()
}

// depose has leadership move while r verifies an image, and r hear of the new term in the
// same step as of what was found.
func (n *nemesis) depose(r *replica) {
	r.storage.images.deposed = true
	leader := n.w.leader()
	if leader == nil || leader == r {
		return
	}
	if next := pick(n.tenders[tenderDepose][r.id-1], n.w.nodes...); next != r && next != leader {
		leader.take(node.TransferLeadership{Peer: next.id})
	}
}

// jump sets a node's wall clock: by an hour, as daylight saving done wrong would, or by seconds.
func (n *nemesis) jump(g generator, r *replica) bool {
	n.hit(r)
	r.wall += pick(g, -time.Hour, time.Hour, g.between(-5*time.Second, 5*time.Second))
	return r.up
}

// changeRate makes a node's clock run faster or slower from now on, or from the
// end of a pause on.
func (n *nemesis) changeRate(g generator, r *replica) bool {
	if !r.up {
		return false // it starts with a clock of its own
	}
	n.hit(r)
	bound := max(n.w.setup.drift, 1)
	ppm := g.Int64N(2*bound+1) - bound
	if g.IntN(2) == 0 {
		d := n.span(g)
		r.pause(d)
		n.later(d, func() { r.clock.change(n.w.now, ppm) })
	} else {
		r.clock.change(n.w.now, ppm)
	}
	return true
}
