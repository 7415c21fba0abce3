package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
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
	var reach [5][5]bool
	for a := range nodes {
		for b := range nodes {
			reach[a][b] = !slices.Contains(links, &n.w.net.links[a][b])
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
	for a, from := range n.w.nodes {
		for b, to := range n.w.nodes {
			if slices.Contains(links, &n.w.net.links[a][b]) {
				out = append(out, [2]string{from.name, to.name})
			}
		}
	}
	return out
}

// watcher follows the change log as a client of one node after the other: it takes
// what is there after what it has, and goes on at another node where it left off.
type watcher struct {
	rng  generator
	node *replica
	has  uint64 // revision up to which it has seen all
	seen linearizability.Watch
}

// watchers are how many there are.
const watchers = 2

func (c *clients) initWatchers() {
	for i := range watchers {
		g := newGenerator(c.w.opts.Seed, fmt.Sprintf("watcher %d", i))
		v := &watcher{rng: g}
		c.watchers = append(c.watchers, v)
		c.attach(i, c.w.nodes[g.IntN(len(c.w.nodes))])
		c.w.after(c.watchEvery(v), event{kind: evWatch, n: uint64(i)})
	}
}

func (c *clients) watchEvery(v *watcher) time.Duration {
	return v.rng.between(50*time.Millisecond, 2*time.Second)
}

// attach begins a stream at another node.
func (c *clients) attach(i int, r *replica) {
	v := c.watchers[i]
	if v.seen.ID != 0 {
		c.watched = append(c.watched, v.seen)
	}
	c.streams++
	prefix := ""
	if i%2 == 1 {
		prefix = c.keys[0].prefix
	}
	v.node = r
	v.seen = linearizability.Watch{ID: c.streams, Client: watchClient + i, Node: r.name, Prefix: prefix, From: v.has, Start: c.w.now}
}

// watch is a watcher's turn.
func (c *clients) watch(i int) {
	v := c.watchers[i]
	if !c.over {
		c.w.after(c.watchEvery(v), event{kind: evWatch, n: uint64(i)})
	}
	r := v.node
	if !r.formed() || r.paused || r.core.Status().Damage != nil || r.tainted || r.diverged || v.rng.IntN(10) == 0 {
		c.attach(i, c.w.nodes[v.rng.IntN(len(c.w.nodes))])
		return
	}
	c.catchUp(v)
}

// catchUp takes the changes after what the watcher has.
func (c *clients) catchUp(v *watcher) {
	r := v.node
	view, err := r.db.View()
	if err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	defer view.Close()
	through := view.State().Revision
	if uint64(through) <= v.has {
		return // the node is behind: it says nothing new
	}
	var failed error
	err = view.Changes(fsm.Revision(v.has)+1, through, func(ch fsm.Change) bool {
		for _, op := range ch.Ops {
			if !strings.HasPrefix(op.Key, v.seen.Prefix) {
				continue
			}
			e := linearizability.WatchEvent{At: c.w.now, Revision: uint64(ch.Revision), Key: historyKey(op.Key), Deleted: op.Kind == fsm.Delete}
			if !e.Deleted {
				if e.Value, failed = c.valueAt(view, ch.Revision, op.Key); failed != nil {
					return false
				}
			}
			v.seen.Events = append(v.seen.Events, e)
		}
		return true
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		c.w.fail(JudgeState, "%s: the changes after revision %d: %w", r.name, v.has, err)
		return
	}
	v.has = uint64(through)
	v.seen.Through, v.seen.ThroughAt = v.has, c.w.now
	c.w.judge.count("watched")
}

// valueAt is what a key became at a revision.
func (c *clients) valueAt(view *fsm.View, rev fsm.Revision, key string) (string, error) {
	then, err := view.At(rev)
	if err != nil {
		return "", err
	}
	defer then.Close()
	rec, found, err := then.Get(key)
	if err == nil && (!found || rec.Revision != rev) {
		err = fmt.Errorf("%s was put at revision %d, and is of revision %d there (0: absent)", key, rev, rec.Revision)
	}
	return string(rec.Value), err
}

// watches are all streams.
func (c *clients) watches() []linearizability.Watch {
	out := slices.Clone(c.watched)
	for _, v := range c.watchers {
		out = append(out, v.seen)
	}
	return out
}
