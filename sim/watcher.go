package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// watcher follows the change log as a client of one node after the other: it takes
// what the node has for it, and goes on at another node where it left off.
type watcher struct {
	rng  generator
	node *replica
	hub  *node.Watches // of the process that it is a client of; nil: of none
	*node.Watcher
	who  int          // in the cast
	has  fsm.Revision // up to which it has seen all
	seen linearizability.Watch
}

const (
	// watchers are how many there are.
	watchers = 3
	// lastTries and lastTakes bound what a watcher does in the end: a world has far fewer
	// nodes, and changes.
	lastTries = 1000
	lastTakes = 100_000
)

func (c *clients) initWatchers() {
	for i := range watchers {
		g := newGenerator(c.w.opts.Seed, fmt.Sprintf("watcher %d", i))
		who := c.drawWho(watchClient + i)
		if i == 0 && who == nobody && c.w.setup.governed {
			who = alice
		}
		c.watchers = append(c.watchers, &watcher{rng: g, who: who})
		c.attach(i)
		c.w.after(c.watchEvery(c.watchers[i]), event{kind: evWatch, n: uint64(i)})
	}
}

func (c *clients) watchEvery(v *watcher) time.Duration {
	return v.rng.between(50*time.Millisecond, 2*time.Second)
}

// watchable tells whether the node has anything to say to watchers.
func (r *replica) watchable() bool {
	return r.formed() && !r.paused && r.core.Status().Damage == nil && !r.tainted && !r.diverged
}

// attach begins a stream at some node.
func (c *clients) attach(i int) {
	v := c.watchers[i]
	v.leave()
	if v.seen.ID != 0 {
		c.watched = append(c.watched, v.seen)
	}
	r := c.w.nodes[v.rng.IntN(len(c.w.nodes))]
	prefix := ""
	switch i {
	case 1:
		prefix = c.keys[0].below()
	case 2:
		slot := &c.keys[v.rng.IntN(len(c.keys))]
		prefix = slot.below()
		// No other key begins with the name of one of few.
		if keys := slot.keys(); len(keys) > 0 && v.rng.IntN(2) == 0 {
			prefix = keys[v.rng.IntN(len(keys))]
		}
	}
	c.resumes(v, r)
	c.streams++
	v.node = r
	v.seen = linearizability.Watch{
		ID: c.streams, Client: watchClient + i, Node: r.name, Prefix: prefix, From: uint64(v.has), Through: uint64(v.has), Start: c.w.now,
	}
	if !r.watchable() {
		return
	}
	var err error
	if v.Watcher, err = r.watches.Watch(prefix, v.has); err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	v.hub = r.watches
}

func (v *watcher) leave() {
	if v.hub != nil {
		v.Close()
		v.hub, v.Watcher = nil, nil
	}
}

// attached tells whether the watcher's node can serve it.
func (v *watcher) attached() bool {
	return v.hub != nil && v.hub == v.node.watches && v.node.watchable()
}

// watch is a watcher's turn: it takes a little, more, or nothing.
func (c *clients) watch(i int) {
	v := c.watchers[i]
	if !c.over {
		c.w.after(c.watchEvery(v), event{kind: evWatch, n: uint64(i)})
	}
	if !v.attached() || v.rng.IntN(10) == 0 {
		c.attach(i)
		return
	}
	if v.rng.chance(c.w.setup.lazy) {
		c.w.judge.count("watcher does not read")
		return
	}
	for range 1 + v.rng.IntN(4) {
		if !c.take(i) {
			return
		}
	}
}

// take takes what the watcher was woken for, or notes how far it has everything; false: that
// is all there is.
func (c *clients) take(i int) bool {
	v := c.watchers[i]
	r := v.node
	select {
	case <-v.Woken():
	default:
		c.moved(v, v.Through())
		return false
	}
	view, err := r.db.View()
	if err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return false
	}
	defer view.Close()
	if !c.mayWatch(v, view) {
		c.attach(i)
		return false
	}
	batch, through, err := v.Take(view)
	var gone *fsm.CompactedError
	switch {
	case errors.Is(err, node.ErrRebuilding):
		c.w.judge.count("watch: store is being rebuilt from a peer")
		c.attach(i)
		return false
	case errors.As(err, &gone):
		c.w.judge.count("watch: compacted")
		if !c.w.judge.compacted(v, gone.Floor, view.State()) && !r.tainted {
			c.w.fail(JudgeState, "%s: a watch of %q after revision %d says that it is compacted up to %d, and nothing is", r.name, v.seen.Prefix, v.has, gone.Floor)
		}
		v.has = max(v.has, gone.Floor) // what it lacks it must read otherwise
		c.attach(i)
		return false
	case err != nil:
		c.w.fail(JudgeState, "%s: the changes after revision %d: %w", r.name, v.has, err)
		return false
	}
	for _, ch := range batch {
		for _, e := range ch.Events {
			if e.Trimmed && !r.tainted {
				c.w.fail(JudgeState, "%s: a watch is given that %s was put at revision %d, and not what", r.name, e.Key, ch.Revision)
			}
			v.seen.Events = append(v.seen.Events, linearizability.WatchEvent{
				At: c.w.now, Revision: uint64(ch.Revision), Key: historyKey(e.Key), Deleted: e.Deleted, Value: string(e.Record.Value),
			})
		}
	}
	c.moved(v, through)
	return true
}

// mayWatch: each time that a watcher is given anything, it is looked whether it may have it, by the
// state that it is read from.
func (c *clients) mayWatch(v *watcher, view *fsm.View) bool {
	who := &principals[v.who]
	grants := view.Policy().Grants(who)
	allowed := grants.Allow(fsm.VerbRead, v.seen.Prefix)
	c.w.judge.ruledBy(v.node, view)
	if want := c.w.judge.model.policies.at(view.State().Applied).may(who, v.seen.Prefix)&fsm.VerbRead != 0; allowed != want && !v.node.tainted && !v.node.diverged {
		c.w.fail(JudgePolicy, "%s lets %s watch %q at index %d: %v, want %v", v.node.name, namesOfPrincipal(who)[0], v.seen.Prefix, view.State().Applied, allowed, want)
	}
	if !allowed {
		c.w.judge.count("watch refused")
		if len(v.seen.Events) > 0 {
			c.w.judge.count("watch: permission gone")
		}
	}
	return allowed
}

// compacted tells whether something that a watcher has yet to be given is held from floor on
// only: all of it, or the values of a key.
func (j *judge) compacted(v *watcher, floor fsm.Revision, s fsm.State) bool {
	if floor <= v.has || floor == s.Floor {
		return floor > v.has
	}
	_, ended := j.model.lostAmong(j.model.known(v.seen.Prefix), floor-1, s.Applied)
	return ended != 0
}

// moved: the watcher has everything up to a revision.
func (c *clients) moved(v *watcher, through fsm.Revision) {
	if through < v.has {
		c.w.fail(linearizability.Watches, "%s says that it has given everything up to revision %d, and said %d before", v.node.name, through, v.has)
	}
	if through > v.has {
		c.w.judge.count("watched")
	}
	v.has = through
	v.seen.Through, v.seen.ThroughAt = uint64(through), c.w.now
	c.w.trace.add(uint64(evWatch), v.seen.ID, uint64(len(v.seen.Events)), v.seen.Through)
}

// watchLast lets all watchers take what there is: nothing keeps them from it any more, and
// those that are where they were must have been woken for it.
func (c *clients) watchLast() {
	for i, v := range c.watchers {
		v.who = c.w.judge.sovereign()
		// One that is left behind for good need not have anything.
		served := func() bool { return v.attached() && slices.Contains(c.w.members(), v.node) }
		find := func() {
			for range lastTries {
				if c.w.err != nil || served() {
					break
				}
				c.attach(i)
			}
		}
		find()
		for range lastTakes {
			if c.w.err != nil || !served() {
				break
			}
			stream := v.seen.ID
			if c.take(i) {
				continue
			}
			if v.seen.ID == stream {
				break
			}
			find() // what it lacked was compacted, and it began another stream
		}
		if c.w.err == nil && served() && v.has != v.node.db.State().Revision {
			c.w.fail(JudgeLive, "not live: watcher %d of %s has everything up to revision %d, and the node revision %d: it is not told of the rest",
				i, v.node.name, v.has, v.node.db.State().Revision)
		}
	}
}

// watches are all streams.
func (c *clients) watches() []linearizability.Watch {
	out := slices.Clone(c.watched)
	for _, v := range c.watchers {
		out = append(out, v.seen)
	}
	return out
}

// tellWatches is what the driver owes its watchers after each change of the store.
func (r *replica) tellWatches() {
	view, err := r.db.View()
	if err != nil {
		r.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	defer view.Close()
	r.w.judge.ruledBy(r, view)
	// What was applied at once may have been compacted with it: watchers hear of that themselves.
	if err := r.watches.Advance(view); err != nil && compactedAt(err) == 0 && !r.tainted {
		r.w.fail(JudgeState, "%s: the change log: %w", r.name, err)
	}
}
