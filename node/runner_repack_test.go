package node

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/fsm"
)

// TestMassDeleteShrinksTheFiles: a hundred thousand keys come and go, and each node's
// database becomes small again, while it answers and takes writes. The same is there after
// a restart.
func TestMassDeleteShrinksTheFiles(t *testing.T) {
	c := newTrio(t, trioNames...)
	keys, size := 100_000, int64(10<<20)
	if testing.Short() {
		keys, size = 10_000, 1<<20
	}
	for name, cfg := range c.configs {
		cfg.FlushInterval = 100 * time.Millisecond
		cfg.MaintenanceInterval, cfg.KeepFor = 20*time.Millisecond, time.Nanosecond
		cfg.RepackBytes, cfg.RepackPause, cfg.RepackStepBytes = int(size), time.Nanosecond, 4<<20
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	r := c.runners[c.leader()]
	mustPut(t, r, "kept", "1")
	for n := 0; n < keys; n += fsm.MaxTxnOps {
		cmd := put("", "")
		cmd.Ops = nil
		for i := n; i < min(n+fsm.MaxTxnOps, keys); i++ {
			op := fsm.Op{Kind: fsm.Put, Key: fmt.Sprintf("mass/%02d/%05d", i/5_000, i), Value: []byte(strings.Repeat("v", 200)), ContentType: "text/plain"}
			cmd.Ops = append(cmd.Ops, op)
		}
		_, err := r.Propose(t.Context(), cmd)
		require.NoError(t, err)
	}
	sizes := func() map[string]int64 { // on the disk: bbolt makes files longer ahead
		out := make(map[string]int64)
		for name, cfg := range c.configs {
			var stat unix.Stat_t
			require.NoError(t, unix.Stat(filepath.Join(cfg.Dir, storeFile), &stat))
			out[name] = stat.Blocks * 512
		}
		return out
	}
	large := func() bool {
		for _, n := range sizes() {
			if n < 2*size {
				return false
			}
		}
		return true
	}
	require.Eventually(t, large, patience, 10*time.Millisecond)
	before := sizes()
	for i := range (keys + 4_999) / 5_000 {
		cmd := put("", "")
		cmd.Ops = []fsm.Op{{Kind: fsm.DeleteTree, Key: fmt.Sprintf("mass/%02d/", i)}}
		res, err := r.Propose(t.Context(), cmd)
		require.NoError(t, err)
		require.Equal(t, fsm.Applied, res.Outcome)
	}
	n := 0
	small := func() bool {
		n++
		mustPut(t, r, "meanwhile", fmt.Sprint(n))
		mustGet(t, r, "meanwhile", fmt.Sprint(n))
		mustGet(t, r, "kept", "1")
		for name, now := range sizes() {
			if now >= before[name]/2 {
				return false
			}
		}
		return true
	}
	for end := time.Now().Add(4 * patience); !small(); {
		require.True(t, time.Now().Before(end), "the files are %v, they were %v", sizes(), before)
	}
	t.Logf("bytes before %v, after %v", before, sizes())
	c.agree()
	for _, name := range c.names {
		c.close(name)
	}
	c.start()
	c.ready()
	for _, r := range c.runners {
		mustGet(t, r, "kept", "1")
		mustGet(t, r, "meanwhile", fmt.Sprint(n))
		_, found := get(t, r, "mass/00/00000")
		assert.False(t, found)
	}
}

// TestRoomToRepack: a copy is not begun that would have the node refuse writes.
func TestRoomToRepack(t *testing.T) {
	path := filepath.Join(t.TempDir(), storeFile)
	require.NoError(t, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{RaftID: 1, Name: "node1"}}}, fsm.Options{}))
	store, err := fsm.Open(path, fsm.Options{})
	require.NoError(t, err)
	defer store.Close()
	var free int64
	r := &Runner{cfg: RunnerConfig{diskFree: func(string) (int64, error) { return free, nil }}}
	for _, floor := range []int64{0, 2 * repackReserve} {
		r.cfg.MinFreeBytes = floor
		free = max(floor, repackReserve)
		require.ErrorIs(t, r.roomToRepack(store), errNoRoom)
		free += 1 << 20
		require.NoError(t, r.roomToRepack(store))
	}
}
