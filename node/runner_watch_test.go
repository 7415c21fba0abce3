package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// wanderer follows the change log as a client does: from node to node, on from where it is.
type wanderer struct {
	c    *trio
	at   string
	w    *Watcher
	path string
	got  []string
	has  fsm.Revision
}

// attach goes to another node.
func (f *wanderer) attach(name string) {
	f.leave()
	r := f.c.runners[name]
	w, err := r.Watch(f.path, f.has)
	if errors.Is(err, ErrForming) || errors.Is(err, ErrStopped) {
		return
	}
	require.NoError(f.c.t, err)
	f.at, f.w = name, w
}

func (f *wanderer) leave() {
	if f.w != nil {
		f.w.Close()
		f.w = nil
	}
}

// take takes what there is; false if the node has none to give.
func (f *wanderer) take() bool {
	r := f.c.runners[f.at]
	if r == nil || f.w == nil {
		return false
	}
	select {
	case <-f.w.Woken():
	default:
		f.has = f.w.Through()
		return true
	}
	v, _, err := r.View()
	if err != nil {
		return false
	}
	defer v.Close()
	batch, through, err := f.w.Take(v)
	if err != nil {
		require.ErrorIs(f.c.t, err, ErrRebuilding)
		return false
	}
	for _, ch := range batch {
		for _, e := range ch.Events {
			f.got = append(f.got, fmt.Sprintf("%d %s %s", ch.Revision, e.Key, e.Record.Value))
		}
	}
	f.has = through
	return true
}

// follow takes until it has everything up to rev.
func (f *wanderer) follow(rev fsm.Revision) {
	f.c.t.Helper()
	require.Eventually(f.c.t, func() bool { return f.take() && f.has >= rev }, patience, time.Millisecond)
}

// TestRunnerWatch: watchers go from node to node while nodes die, are left behind and take
// images, and have every change once and in order.
func TestRunnerWatch(t *testing.T) {
	c := newForgetfulTrio(t)
	n := 0
	var newest fsm.Revision
	write := func() {
		for _, cmd := range []*fsm.Command{
			{Ops: []fsm.Op{
				{Kind: fsm.Put, Key: "w/a", Value: fmt.Append(nil, n)}, {Kind: fsm.Put, Key: "w/b", Value: fmt.Append(nil, n)},
			}},
			put("elsewhere", fmt.Sprintf("%02000d", n)),
		} {
			n++
			require.Eventually(t, func() bool {
				// It may have been applied though this fails: the log says what there was.
				res, err := c.runners[c.leader()].Propose(t.Context(), cmd)
				newest = max(newest, res.Revision)
				return err == nil
			}, patience, time.Millisecond)
		}
	}
	g := rand.New(rand.NewPCG(1, 2))
	some := func() string { return c.names[g.IntN(3)] }
	follower := &wanderer{c: c, path: "w/", at: "node1"}
	stays := &wanderer{c: c, path: "w/"}
	stays.attach("node1")
	defer follower.leave()
	defer stays.leave()
	for round := range 4 {
		write()
		follower.attach(some())
		follower.follow(newest)
		victim := c.follower()
		if round%2 == 1 {
			victim = c.leader()
		}
		if victim == "node1" {
			stays.leave()
		}
		if victim == follower.at {
			follower.leave()
		}
		c.kill(victim)
		write()
		if round%2 == 0 { // it needs an image
			index := c.lastIndex(victim)
			require.Eventually(t, func() bool {
				write()
				for _, r := range c.runners {
					if r.Status().FirstIndex <= index+1 {
						return false
					}
				}
				return true
			}, patience+laggardPatience, time.Millisecond) // the log may be kept for one that took an image just now
		}
		c.start(victim)
		if victim == "node1" {
			stays.attach("node1")
		}
		stays.follow(newest)
	}
	follower.attach("node2")
	follower.follow(newest)
	stays.follow(newest)
	want := c.changes("w/")
	assert.Greater(t, len(want), 4*2*2)
	assert.Equal(t, want, follower.got)
	assert.Equal(t, want, stays.got)
}

// changes is what the change log has below prefix.
func (c *trio) changes(prefix string) (out []string) {
	c.t.Helper()
	v, _, err := c.runners[c.leader()].View()
	require.NoError(c.t, err)
	defer v.Close()
	require.NoError(c.t, v.Changes(1, v.Revision(), func(ch fsm.Change) bool {
		require.NoError(c.t, v.Events(&ch, prefix, func(e fsm.Event) bool {
			out = append(out, fmt.Sprintf("%d %s %s", ch.Revision, e.Key, e.Record.Value))
			return true
		}))
		return true
	}))
	return out
}

// TestRunnerWatchEndsWithItsStore: a store that is given up is no source of changes any
// more, and the one that takes its place begins anew.
func TestRunnerWatchEndsWithItsStore(t *testing.T) {
	c := newForgetfulTrio(t)
	mustPut(t, c.runners["node1"], "a", "1")
	c.agree()
	r := c.runners[c.follower()]
	before := r.Status().State.Revision
	w, err := r.Watch("a", before)
	require.NoError(t, err)
	defer w.Close()
	v, _, err := r.View()
	require.NoError(t, err)
	defer v.Close()
	r.StoreDamaged(v, fsm.ErrDamaged)
	select {
	case <-w.Woken():
	case <-time.After(patience):
		t.Fatal("the watcher was not told")
	}
	_, _, err = w.Take(v)
	require.ErrorIs(t, err, ErrRebuilding)

	require.Eventually(t, func() bool { return r.Status().Damage == nil }, patience, time.Millisecond)
	again := &wanderer{c: c, path: "", at: r.cfg.Name}
	again.attach(r.cfg.Name)
	defer again.leave()
	again.follow(before)
	assert.Equal(t, c.changes("")[:len(again.got)], again.got)
}

// TestRunnerWatchErrors: nobody watches a node that is stopping.
func TestRunnerWatchErrors(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start("node1")
	_, err := c.runners["node1"].Watch("", 0)
	require.ErrorIs(t, err, ErrForming)
	r := c.runners["node1"]
	c.close("node1")
	_, err = r.Watch("", 0)
	require.ErrorIs(t, err, ErrStopped)
}
