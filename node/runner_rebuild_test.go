package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// newForgetfulTrio is a trio whose logs keep no more than they must.
func newForgetfulTrio(t *testing.T) *trio {
	t.Helper()
	c := newTrio(t, trioNames...)
	for name, cfg := range c.configs {
		cfg.FlushInterval, cfg.CatchUpEntries = 20*time.Millisecond, -1
		cfg.logOptions = wal.Options{SegmentBytes: 16 << 10}
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	return c
}

// follower is the name of one.
func (c *trio) follower() string {
	c.t.Helper()
	leader := c.leader()
	for _, name := range c.names {
		if name != leader {
			return name
		}
	}
	panic("unreachable: there are three")
}

// outgrow writes until no node that runs can bring one at index any further by its log.
func (c *trio) outgrow(index uint64) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	for i := 0; ; i++ {
		grown := true
		for _, r := range c.runners {
			grown = grown && r.Status().FirstIndex > index+1
		}
		if grown {
			return
		}
		require.True(c.t, time.Now().Before(deadline), "the logs were not truncated")
		mustPut(c.t, c.runners[c.leader()], fmt.Sprintf("filling/%d", i%50), fmt.Sprintf("%02000d", i))
	}
}

// noImages checks that an install left no files behind.
func (c *trio) noImages(name string) {
	c.t.Helper()
	left, err := filepath.Glob(filepath.Join(c.configs[name].Dir, "snap*"))
	require.NoError(c.t, err)
	assert.Empty(c.t, left)
}

// A follower was away for longer than the logs of the others remember.
func TestFollowerCatchesUpByAnImage(t *testing.T) {
	c := newForgetfulTrio(t)
	mustPut(t, c.runners["node1"], "before", "1")
	follower := c.follower()
	c.close(follower)
	mustPut(t, c.runners[c.leader()], "meanwhile", "2")
	index := c.lastIndex(follower)
	c.outgrow(index)

	c.start(follower)
	r := c.runners[follower]
	require.Eventually(t, func() bool { return r.Status().FirstIndex > index+1 }, patience, time.Millisecond, "it took no image")
	mustGet(t, r, "meanwhile", "2")
	mustGet(t, r, "before", "1")
	mustPut(t, r, "after", "3")
	c.ready()
	c.agree()
	require.NoError(t, r.Status().Damage)
	c.noImages(follower)

	// What the marker says holds after a restart, in order and not.
	c.close(follower)
	c.start(follower)
	mustGet(t, c.runners[follower], "after", "3")
	c.kill(follower)
	c.start(follower)
	mustGet(t, c.runners[follower], "after", "3")
	c.agree()
}

// lastIndex is that of the log of a node that does not run.
func (c *trio) lastIndex(name string) uint64 {
	c.t.Helper()
	log, _, err := wal.Open(dirFS(filepath.Join(c.configs[name].Dir, logDir)), c.configs[name].logOptions)
	require.NoError(c.t, err)
	defer func() { require.NoError(c.t, log.Close()) }()
	return log.LastIndex()
}

// A node whose store went bad while it was down keeps its log and its vote, serves
// nothing, and takes a peer's store.
func TestStoreIsRebuiltFromAPeer(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"damaged": func(t *testing.T, path string) {
			t.Helper()
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			for i := range b {
				b[i] ^= 0x10
			}
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
		"missing": func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Remove(path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newForgetfulTrio(t)
			mustPut(t, c.runners["node1"], "before", "1")
			c.outgrow(40) // some segments
			follower := c.follower()
			c.close(follower)
			mustPut(t, c.runners[c.leader()], "meanwhile", "2")
			spoil(t, filepath.Join(c.configs[follower].Dir, storeFile))

			c.mesh.isolate(c.idOf(follower), true)
			c.start(follower)
			r := c.runners[follower]
			st := r.Status()
			require.ErrorIs(t, st.Damage, fsm.ErrDamaged)
			assert.False(t, st.Ready)
			_, _, err := r.View()
			require.ErrorIs(t, err, ErrRebuilding)
			_, err = r.Propose(t.Context(), put("a", "b"))
			require.ErrorIs(t, err, ErrRebuilding)
			require.ErrorIs(t, r.Linearize(t.Context()), ErrRebuilding)

			c.mesh.isolate(c.idOf(follower), false)
			require.Eventually(t, func() bool { return r.Status().Damage == nil }, patience, time.Millisecond)
			mustGet(t, r, "before", "1")
			mustGet(t, r, "meanwhile", "2")
			mustPut(t, r, "after", "3")
			c.ready()
			c.agree()
			c.noImages(follower)
			c.close(follower)
			c.start(follower)
			mustGet(t, c.runners[follower], "after", "3")
		})
	}
}

// idOf is the raft id of a node: ids follow the order of names.
func (c *trio) idOf(name string) uint64 {
	for i, n := range c.names {
		if n == name {
			return uint64(i + 1)
		}
	}
	panic("no such node")
}

// Whoever reads damage from a view tells the node, as often as it likes; the store is
// rebuilt while the view stays what it was.
func TestDamageThatAReaderMet(t *testing.T) {
	c := newForgetfulTrio(t)
	mustPut(t, c.runners["node1"], "a", "1")
	c.agree()
	r := c.runners[c.follower()]
	old, _, err := r.View()
	require.NoError(t, err)
	m := r.member.Load()
	spoiled := m.store.Load()
	for range 3 {
		r.StoreDamaged(old, fmt.Errorf("reading: %w", fsm.ErrDamaged))
	}
	require.Eventually(t, func() bool { return m.store.Load() != spoiled }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return r.Status().Damage == nil && r.Status().Ready }, patience, time.Millisecond)
	mustPut(t, r, "a", "2")
	mustGet(t, r, "a", "2")
	rec, ok, err := old.Get("a")
	require.NoError(t, err)
	require.True(t, ok)
	assert.Equal(t, "1", string(rec.Value), "a view outlives its store")

	closed := make(chan error, 1)
	go func() { closed <- r.Close() }()
	<-r.Done()
	select {
	case err := <-closed:
		require.NoError(t, err)
		t.Error("Close did not wait for a view of a store that was replaced")
	default:
	}
	old.Close()
	require.NoError(t, <-closed)
	_, err = spoiled.View()
	require.ErrorIs(t, err, fsm.ErrClosed)
}

// TestRebuildingServesNothing: what is refused, and that it is served again in the end.
func TestRebuildingServesNothing(t *testing.T) {
	c := newForgetfulTrio(t)
	victim := c.names[0]
	mustPut(t, c.runners[c.leader()], "k", "v")
	c.agree()
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, true) // nobody sends an image now
	}
	r := c.runners[victim]
	view, _, err := r.View()
	require.NoError(t, err)
	r.StoreDamaged(view, fsm.ErrDamaged)
	view.Close()
	require.Eventually(t, func() bool { return r.Status().Damage != nil }, patience, time.Millisecond)
	_, _, err = r.View()
	require.ErrorIs(t, err, ErrRebuilding)
	require.ErrorIs(t, r.Linearize(t.Context()), ErrRebuilding)
	_, err = r.Propose(t.Context(), put("a", "b"))
	var we *WriteError
	require.ErrorAs(t, err, &we)
	assert.Equal(t, NotApplied, we.Outcome)
	require.ErrorIs(t, we, ErrRebuilding)
	assert.False(t, r.Status().Ready)
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, false)
	}
	c.ready()
	c.agree()
}

// TestCloseWritesNoStoreThatWasGivenUp: what a core found wrong by comparing digests is not
// flushed when the node stops, however sound the store itself seems.
func TestCloseWritesNoStoreThatWasGivenUp(t *testing.T) {
	c := newTrio(t, trioNames...)
	for name, cfg := range c.configs {
		cfg.FlushInterval = time.Hour
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	mustPut(t, c.runners[c.leader()], "k", "v")
	c.agree()
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, true) // nobody sends an image
	}
	victim, sound := c.names[0], c.names[1]
	r := c.runners[victim]
	r.inbox.report(Damaged{Err: errDiverged})
	require.Eventually(t, func() bool { return r.Status().Damage != nil }, patience, time.Millisecond)
	require.NoError(t, r.Close())
	require.NoError(t, c.runners[sound].Close())
	applied := func(name string) fsm.Index {
		store, err := fsm.Open(filepath.Join(c.configs[name].Dir, storeFile), fsm.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, store.Close()) }()
		return store.State().Applied
	}
	assert.NotZero(t, applied(sound), "an orderly stop writes all that was applied")
	assert.Zero(t, applied(victim))
}
