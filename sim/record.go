package sim

import (
	"slices"

	"github.com/confman/confman/linearizability"
)

// maxEvents bounds the events of a history; a world has far fewer, unless it runs for
// hours. The ends of faults come on top: a fault without an end would seem to last.
const maxEvents = 100_000

// note records what happened to a node or to the cluster, for the judges of histories
// and for their report. It reports whether there was room.
func (w *World) note(e linearizability.Event) bool {
	if len(w.noted) >= maxEvents && e.Kind != linearizability.FaultEnds {
		return false
	}
	e.At = w.now
	w.noted = append(w.noted, e)
	return true
}

// begins records the beginning of a fault and returns its number; 0: there was no room.
func (w *World) begins(e linearizability.Event) uint64 {
	e.Kind, e.Fault = linearizability.FaultBegins, w.faults+1
	if !w.note(e) {
		return 0
	}
	w.faults++
	return w.faults
}

// ended records the end of a fault.
func (w *World) ended(fault uint64) {
	if fault != 0 {
		w.note(linearizability.Event{Kind: linearizability.FaultEnds, Fault: fault})
	}
}

func namesOf(rs []*replica) (names []string) {
	for _, r := range rs {
		names = append(names, r.name)
	}
	return names
}

// cutOff are the nodes that cannot reach a majority, and be reached from it, while
// the links are cut, over however many other nodes.
func (n *nemesis) cutOff(links []*link) []string {
	nodes := n.w.nodes
	if n.w.setup.members > 0 {
		return nil // a majority of whom may be another matter a moment later
	}
	var reach [5][5]bool
	for a := range nodes {
		for b := range nodes {
			reach[a][b] = !slices.Contains(links, n.w.net.link(nodes[a].id, nodes[b].id))
		}
		reach[a][a] = true
	}
	for via := range nodes {
		for a := range nodes {
			for b := range nodes {
				reach[a][b] = reach[a][b] || reach[a][via] && reach[via][b]
			}
		}
	}
	var out []string
	for a, r := range nodes {
		together := 0
		for b := range nodes {
			if reach[a][b] && reach[b][a] {
				together++
			}
		}
		if together <= len(nodes)/2 {
			out = append(out, r.name)
		}
	}
	return out
}

func (n *nemesis) namesOf(links []*link) (out [][2]string) {
	for _, from := range n.w.nodes {
		for _, to := range n.w.nodes {
			if slices.Contains(links, n.w.net.link(from.id, to.id)) {
				out = append(out, [2]string{from.name, to.name})
			}
		}
	}
	return out
}
