package node

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// configure changes how a node that is not started yet will run.
func (c *trio) configure(name string, change func(*RunnerConfig)) {
	cfg := c.configs[name]
	change(&cfg)
	c.configs[name] = cfg
}

func remove(key string) *fsm.Command {
	return &fsm.Command{Ops: []fsm.Op{{Kind: fsm.Delete, Key: key}}}
}

// requireQuota demands that err is the refusal of a write that was not applied.
func requireQuota(t *testing.T, err error) *QuotaError {
	t.Helper()
	require.ErrorIs(t, err, ErrQuota)
	var we *WriteError
	require.ErrorAs(t, err, &we)
	assert.Equal(t, NotApplied, we.Outcome)
	var q *QuotaError
	require.ErrorAs(t, err, &q)
	return q
}

// TestQuota: at its quota a node refuses what would make its store larger, and nothing else. What
// is deleted makes room once nobody can read it any more.
func TestQuota(t *testing.T) {
	const quota = 4 << 20
	c := newTrio(t, "only")
	c.configure("only", func(cfg *RunnerConfig) {
		cfg.StoreQuotaBytes, cfg.MaintenanceInterval, cfg.diskInterval = quota, 20*time.Millisecond, time.Hour
	})
	c.start()
	c.ready()
	r := c.runners["only"]
	value := strings.Repeat("v", 64<<10)
	key := func(i int) string { return fmt.Sprintf("k/%d", i) }

	first := put(key(0), value)
	first.Idempotency.Key = "first"
	res, err := r.Propose(t.Context(), first)
	require.NoError(t, err)
	beginning := res.Revision
	n := 1
	for ; err == nil; n++ {
		_, err = r.Propose(t.Context(), put(key(n), value))
	}
	n--
	q := requireQuota(t, err)
	assert.Equal(t, int64(quota), q.Quota)
	assert.Greater(t, q.Used, int64(quota-128<<10))
	assert.Greater(t, n, 20)
	s := r.Status()
	assert.Equal(t, int64(quota), s.StoreQuota)
	assert.Greater(t, s.StoreBytes, int64(quota-128<<10))
	assert.Equal(t, uint64(1), refusedFor(r, "quota"))
	assert.True(t, s.AtQuota)

	mustGet(t, r, key(n-1), value)
	conditional := remove("absent")
	conditional.Compares = []fsm.Compare{{Kind: fsm.KeyExists, Key: "absent"}}
	conditional.Else = []fsm.Op{{Kind: fsm.Put, Key: "more", Value: []byte(value)}}
	_, err = r.Propose(t.Context(), conditional)
	require.ErrorIs(t, err, ErrQuota)
	again := put(key(0), value)
	again.Idempotency.Key = "first"
	res, err = r.Propose(t.Context(), again)
	require.NoError(t, err, "what was done is answered")
	assert.Equal(t, beginning, res.Revision)

	// It is undone by going back, though that is no deletion, and by deletions.
	res, err = r.Propose(t.Context(), &fsm.Command{Ops: []fsm.Op{{Kind: fsm.Restore, Key: "k/", Revision: beginning}}})
	require.NoError(t, err)
	require.Equal(t, fsm.Applied, res.Outcome)
	_, found := get(t, r, key(n-1))
	assert.False(t, found)
	_, err = r.Propose(t.Context(), remove(key(0)))
	require.NoError(t, err)
	_, err = r.Propose(t.Context(), put("more", value))
	require.ErrorIs(t, err, ErrQuota, "all of it can be read yet")

	c.close("only")
	c.configure("only", func(cfg *RunnerConfig) { cfg.KeepFor = time.Millisecond })
	c.start()
	c.ready()
	r = c.runners["only"]
	require.Eventually(t, func() bool {
		_, err := r.Propose(t.Context(), put("more", value))
		return err == nil
	}, patience, 10*time.Millisecond)
	require.NoError(t, r.Err())
}

// TestQuotaOfManyAtOnce: what is in flight counts, so that the quota is not exceeded by all that
// a node takes at a time.
func TestQuotaOfManyAtOnce(t *testing.T) {
	r := &Runner{cfg: RunnerConfig{StoreQuotaBytes: 1 << 20}}
	store, err := fsm.Open(newStore(t), watchedOptions)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	m := &member{}
	require.NoError(t, r.admit(m, put("a", "b"), plainGrowth, 2<<20), "a node without a store says so itself")
	m.store.Store(store)
	require.NoError(t, r.admit(m, put("a", "b"), plainGrowth, 1<<19))
	require.ErrorIs(t, r.admit(m, put("a", "b"), plainGrowth, 1<<20), ErrQuota)
	require.NoError(t, r.admit(m, put("a", "b"), undoGrowth, 1<<20))
	require.ErrorIs(t, r.admit(m, put("a", "b"), undoGrowth, 9<<17), ErrQuota)
}

// TestQuotaIsSaid: the log and the status say when writes begin to be refused, and when that is over.
func TestQuotaIsSaid(t *testing.T) {
	var said strings.Builder
	r := &Runner{log: slog.New(slog.NewTextHandler(&said, nil))}
	store, err := fsm.Open(newStore(t), watchedOptions)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	told := false
	look := func(quota int64) string {
		said.Reset()
		r.cfg.StoreQuotaBytes = quota
		r.watchQuota(&told)
		return said.String()
	}
	r.room.noteRefused(&QuotaError{})
	assert.Empty(t, look(1), "there is no store yet")
	m := &member{}
	r.member.Store(m)
	assert.Empty(t, look(1))
	m.store.Store(store)
	used := store.UsedBytes()
	assert.Contains(t, look(used), "has reached its quota")
	assert.Empty(t, look(used), "it is said once")
	assert.Empty(t, look(used+1), "it is not well below")
	assert.True(t, r.room.atQuota.Load())
	assert.Contains(t, look(2*used), "is below its quota again")
	assert.False(t, r.room.atQuota.Load())
	assert.Empty(t, look(2*used))
	r.room.noteRefused(&QuotaError{})
	assert.Contains(t, look(used), "has reached its quota")
}

// newStore makes an empty store.
func newStore(t *testing.T) string {
	t.Helper()
	path := t.TempDir() + "/store.db"
	require.NoError(t, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{RaftID: 1, Name: "only"}}}, watchedOptions))
	return path
}

// TestFloorHasSlack: writes are not taken and refused by turns.
func TestFloorHasSlack(t *testing.T) {
	var free int64
	r := &Runner{cfg: RunnerConfig{MinFreeBytes: 1000, diskFree: func(string) (int64, error) { return free, nil }}}
	for _, step := range []struct {
		free int64
		low  bool
	}{{1000, false}, {999, true}, {1000, true}, {1249, true}, {1250, false}, {1000, false}, {0, true}, {5000, false}} {
		free = step.free
		require.NoError(t, r.look())
		assert.Equal(t, step.low, r.room.low.Load(), "%d bytes are free", step.free)
		assert.Equal(t, step.free, r.room.free.Load())
	}
	r.cfg.MinFreeBytes, free = 0, 0
	require.NoError(t, r.look())
	assert.False(t, r.room.low.Load(), "there is no floor")
}

// TestLeaderBelowItsFloor takes no writes, its own or others', goes on to lead, and takes them
// again once there is room.
func TestLeaderBelowItsFloor(t *testing.T) {
	c := newTrio(t, trioNames...)
	free := map[string]*atomic.Int64{}
	for _, name := range c.names {
		free[name] = new(atomic.Int64)
		free[name].Store(5000)
		c.configure(name, func(cfg *RunnerConfig) {
			cfg.MinFreeBytes, cfg.diskInterval = 1000, time.Millisecond
			cfg.diskFree = func(string) (int64, error) { return free[name].Load(), nil }
		})
	}
	c.start()
	c.ready()
	leader := c.leader()
	follower := c.names[0]
	if follower == leader {
		follower = c.names[1]
	}
	mustPut(t, c.runners[follower], "a", "1")
	term := c.runners[leader].Status().Term

	free[leader].Store(999)
	full := func(is bool) func() bool {
		return func() bool { return c.runners[leader].Status().StorageFull == is }
	}
	require.Eventually(t, full(true), patience, time.Millisecond)
	for _, name := range []string{leader, follower} {
		_, err := c.runners[name].Propose(t.Context(), put("a", "2"))
		require.ErrorIs(t, err, ErrStorageFull, name)
		var we *WriteError
		require.ErrorAs(t, err, &we)
		assert.Equal(t, NotApplied, we.Outcome)
		require.NoError(t, c.runners[name].Linearize(t.Context()))
		mustGet(t, c.runners[name], "a", "1")
		assert.Equal(t, uint64(1), refusedFor(c.runners[name], "storage-full"))
	}
	assert.Equal(t, int64(999), c.runners[leader].room.free.Load())
	assert.Equal(t, int64(1000), c.runners[leader].Status().MinFree)
	assert.Equal(t, term, c.runners[leader].Status().Term)
	assert.Equal(t, Leader, c.runners[leader].Status().Role)

	free[leader].Store(1250)
	require.Eventually(t, full(false), patience, time.Millisecond)
	mustPut(t, c.runners[follower], "a", "3")
	c.agree()
}

// TestDiskSpace: the real measure, of a real directory.
func TestDiskSpace(t *testing.T) {
	all, free, err := diskSpace(t.TempDir())
	require.NoError(t, err)
	assert.Positive(t, free)
	assert.LessOrEqual(t, free, all)
	all, free, err = diskSpace(t.TempDir() + "/none")
	require.Error(t, err)
	assert.Zero(t, all+free)
}

// refusedFor is how many writes a node refused for a reason.
func refusedFor(r *Runner, reason string) (n uint64) {
	for _, e := range r.Measures().Proposals {
		if e.Reason == reason {
			n += e.Count
		}
	}
	return n
}
