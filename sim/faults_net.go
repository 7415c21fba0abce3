package sim

import (
	"slices"
	"time"

	"github.com/confman/confman/linearizability"
)

// halves draws a partition of the nodes in two.
func (n *nemesis) halves(g generator) []*link {
	side := g.Uint64()
	return n.between(func(a, b int) bool { return side>>a&1 != side>>b&1 })
}

// bridge draws two halves that do not see each other, and a node that both see.
func (n *nemesis) bridge(g generator) []*link {
	if len(n.w.nodes) < 3 {
		return nil
	}
	side := n.places(g)
	last := len(side) - 1
	return n.between(func(a, b int) bool {
		return side[a] != last && side[b] != last && side[a]%2 != side[b]%2
	})
}

// ring draws a circle in which each node sees its neighbours only: with five nodes
// that is a majority, and another one for each. With three all are neighbours.
func (n *nemesis) ring(g generator) []*link {
	place := n.places(g)
	return n.between(func(a, b int) bool {
		d := (place[a] - place[b] + len(place)) % len(place)
		return d != 1 && d != len(place)-1
	})
}

// places draws an order of the nodes: where each of them stands.
func (n *nemesis) places(g generator) []int { return g.Perm(len(n.w.nodes)) }

// between are the links between two nodes for which cut holds.
func (n *nemesis) between(cut func(a, b int) bool) []*link {
	var out []*link
	for a, from := range n.w.nodes {
		for b, to := range n.w.nodes {
			if a != b && cut(a, b) {
				out = append(out, n.w.net.link(from.id, to.id))
			}
		}
	}
	return out
}

// around are the links to (in) and from (out) a node.
func (n *nemesis) around(r *replica, in, out bool) []*link {
	self := slices.Index(n.w.nodes, r)
	return n.between(func(a, b int) bool { return (in && b == self) || (out && a == self) })
}

func (n *nemesis) cut(g generator, links []*link) bool {
	if len(links) == 0 {
		return false
	}
	block(links, 1)
	n.noted(linearizability.Event{Links: n.namesOf(links), Minority: n.cutOff(links)})
	n.undo(g, func() { block(links, -1) })
	return true
}

func block(links []*link, by int) {
	for _, l := range links {
		l.blocked += by
	}
}

// The times between which flapping links change.
const (
	minFlap = 50 * time.Millisecond
	maxFlap = 500 * time.Millisecond
)

// flap cuts links and lets them be, in turns.
func (n *nemesis) flap(g generator, links []*link) bool {
	ends := n.w.now + int64(n.span(g))
	down, fault := false, uint64(0)
	var turn healing
	turn = func() {
		if down {
			block(links, -1)
			n.w.ended(fault)
		}
		if down = !down; n.over || n.w.now >= ends {
			return
		}
		if down {
			block(links, 1)
			fault = n.w.begins(linearizability.Event{Name: faultFlap.String(), Links: n.namesOf(links), Minority: n.cutOff(links)})
		}
		n.later(g.between(minFlap, maxFlap), turn)
	}
	turn()
	n.at = fault
	return len(links) > 0
}

// degrade makes some links worse.
func (n *nemesis) degrade(g generator, worse func(l *link, by float64)) bool {
	var undo []healing
	links := n.between(func(int, int) bool { return g.IntN(2) == 0 })
	for _, l := range links {
		by := g.Float64() * 0.7
		worse(l, by)
		undo = append(undo, func() { worse(l, -by) })
	}
	n.noted(linearizability.Event{Links: n.namesOf(links)})
	n.undo(g, func() {
		for _, h := range undo {
			h()
		}
	})
	return len(undo) > 0
}

// shortQueues leaves some links little room; it is counted when it is too little.
func (n *nemesis) shortQueues(g generator) bool {
	n.degrade(g, func(l *link, by float64) {
		if by > 0 {
			l.short++
		} else {
			l.short--
		}
	})
	return false
}

// reset drops the connections between a node and another, in one direction or both.
func (n *nemesis) reset(g generator) bool {
	if len(n.w.nodes) == 1 {
		return false
	}
	pair := n.shuffled(g)[:2]
	lost := n.w.net.reset(pair[0], pair[1])
	if g.IntN(2) == 0 {
		lost += n.w.net.reset(pair[1], pair[0])
	}
	return lost > 0
}
