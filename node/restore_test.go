package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// backupOf is a backup of what a node has, as a file.
func backupOf(t *testing.T, r *Runner) []byte {
	t.Helper()
	b, err := r.Backup(t.Context())
	require.NoError(t, err)
	defer b.Close()
	var file bytes.Buffer
	require.NoError(t, fsm.WriteBackup(&file, b.Image, b.Info, nil))
	return file.Bytes()
}

// restoration makes a directory for a node of c, to be changed before.
func (c *trio) restoration(name string) Restoration {
	return Restoration{
		Dir: c.configs[name].Dir, Name: name, Names: c.names, Cluster: fsm.ClusterID{0xc1},
		By: "ann@host", Time: time.Unix(1_800_000_000, 0), logOptions: c.configs[name].logOptions,
	}
}

func (c *trio) restore(backup []byte, change func(name string, to *Restoration)) {
	c.t.Helper()
	for _, name := range c.names {
		to := c.restoration(name)
		if change != nil {
			change(name, &to)
		}
		_, _, err := Restore(c.t.Context(), bytes.NewReader(backup), to)
		require.NoError(c.t, err)
	}
}

// old is a cluster with some writes, its backup, and what is lost after it.
func old(t *testing.T, names ...string) (backup []byte, at fsm.State) {
	t.Helper()
	t.Run("before", func(t *testing.T) { // at its end nothing of it runs
		c := newTrio(t, names...)
		c.start()
		c.ready()
		r := c.runners[c.names[0]]
		for i := range 5 {
			_, err := r.Propose(t.Context(), put("a", fmt.Sprint(i)))
			require.NoError(t, err)
		}
		backup = backupOf(t, r)
		at = r.Status().State
		_, err := r.Propose(t.Context(), put("a", "lost"))
		require.NoError(t, err)
	})
	return backup, at
}

// A restored cluster has what the backup has, and lives: it elects, writes, restarts and is backed up.
func TestRestoredClusterLives(t *testing.T) {
	backup, was := old(t, trioNames...)
	c := newTrio(t, "alpha", "beta", "gamma")
	c.restore(backup, nil)
	c.start()
	c.ready()
	c.leader()
	begin := was.Revision + fsm.RestoreGap
	for name, r := range c.runners {
		st := r.Status()
		assert.Equal(t, fsm.ClusterID{0xc1}, st.Cluster, name)
		assert.Equal(t, begin, st.State.Revision)
		v, _, err := r.View()
		require.NoError(t, err)
		rec, found, err := v.Get("a")
		require.NoError(t, err)
		assert.True(t, found)
		assert.Equal(t, "4", string(rec.Value))
		ch, err := v.Change(begin)
		require.NoError(t, err)
		assert.Contains(t, ch.Comment, "restored from a backup of cluster ")
		assert.Contains(t, ch.Comment, fmt.Sprintf("at revision %d, made by node1 at ", was.Revision))
		assert.True(t, strings.HasSuffix(ch.Comment, ", by ann@host"), ch.Comment)
		v.Close()
	}
	for i, name := range c.names { // origins begin anew, and so do their windows
		res, err := c.runners[name].Propose(t.Context(), put("b", fmt.Sprint(i)))
		require.NoError(t, err)
		require.Equal(t, fsm.Applied, res.Outcome)
		require.Equal(t, begin+1+fsm.Revision(i), res.Revision)
	}
	for _, name := range c.names {
		c.close(name)
	}
	c.start()
	c.ready()
	c.agree()
	backup = backupOf(t, c.runners["beta"])
	for _, name := range c.names {
		c.close(name)
	}
	t.Run("again", func(t *testing.T) {
		again := newTrio(t, "solo")
		again.restore(backup, nil)
		again.start()
		again.ready()
		assert.Len(t, again.runners["solo"].Status().State.Gaps, 2)
	})
}

// Nodes that were restored to different states, or not at all, form no cluster, and say so.
func TestRestoredDifferently(t *testing.T) {
	backup, was := old(t, "node1")
	at := was.Revision - 1
	for _, tc := range []struct {
		name, want string
		change     func(to *Restoration)
	}{
		{"another revision", "or has been restored from another backup", func(to *Restoration) { to.At = &at }},
		{"another cluster", "or to another cluster id", func(to *Restoration) { to.Cluster[1] = 7 }},
		{"another time", "revision or time", func(to *Restoration) { to.Time = to.Time.Add(time.Second) }},
		{"not at all", "has not been restored from the same backup", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newTrio(t, trioNames...)
			for _, name := range c.names {
				to := c.restoration(name)
				if name == "node2" {
					if tc.change == nil {
						continue
					}
					tc.change(&to)
				}
				_, _, err := Restore(t.Context(), bytes.NewReader(backup), to)
				require.NoError(t, err)
			}
			c.start()
			for _, name := range []string{"node1", "node3"} {
				r := c.runners[name]
				require.Eventually(t, func() bool {
					waiting := r.Status().Waiting
					return len(waiting) == 1 && strings.HasPrefix(waiting[0], "node2: ") && strings.Contains(waiting[0], tc.want)
				}, patience, time.Millisecond)
				assert.False(t, r.Status().Formed)
			}
			if tc.change == nil {
				require.Eventually(t, func() bool {
					return strings.Contains(strings.Join(c.runners["node2"].Status().Waiting, "\n"), "has been restored from a backup, and this node has not")
				}, patience, time.Millisecond)
			}
		})
	}
}

// A directory that is restored again when the cluster lives has forgotten what it had voted: it is not let in.
func TestRestoredAgain(t *testing.T) {
	backup, _ := old(t, "node1")
	for _, lost := range trioNames {
		t.Run(lost, func(t *testing.T) {
			c := newTrio(t, trioNames...)
			c.restore(backup, nil)
			c.start()
			c.ready()
			c.kill(lost)
			require.NoError(t, os.RemoveAll(c.configs[lost].Dir))
			_, _, err := Restore(t.Context(), bytes.NewReader(backup), c.restoration(lost))
			require.NoError(t, err)
			r, err := Start(c.configs[lost])
			require.NoError(t, err)
			select {
			case <-r.Done():
			case <-time.After(patience):
				require.Fail(t, "it goes on")
			}
			err = r.Close()
			require.ErrorIs(t, err, ErrDiskLost)
			require.ErrorContains(t, err, "was restored again")
		})
	}
}

// A member that did not hear that the cluster had formed hears it later, also after both were started again.
func TestRestoredMemberHearsLate(t *testing.T) {
	backup, _ := old(t, "node1")
	c := newTrio(t, trioNames...)
	c.restore(backup, nil)
	c.start()
	c.ready()
	c.kill("node3")
	// As if it had died before it heard.
	fsys := dirFS(c.configs["node3"].Dir)
	id, err := LoadIdentity(fsys)
	require.NoError(t, err)
	require.True(t, id.Formed)
	require.Len(t, id.Restored.Lives, 3)
	id.Formed, id.Restored = false, &Restored{State: id.Restored.State, Life: id.Restored.Life}
	require.NoError(t, StoreIdentity(fsys, id))
	c.close("node1")
	c.start("node1", "node3")
	c.ready()
}

func TestRestoreWantsAnEmptyDirectory(t *testing.T) {
	backup, _ := old(t, "node1")
	c := newTrio(t, "node1")
	c.restore(backup, nil)
	_, _, err := Restore(t.Context(), bytes.NewReader(backup), c.restoration("node1"))
	require.ErrorIs(t, err, ErrNotEmpty)

	to := c.restoration("node1")
	to.Names = []string{"other"}
	_, _, err = Restore(t.Context(), bytes.NewReader(backup), to)
	require.ErrorContains(t, err, "not among the configured members")

	// Started with other members than it was restored for, the node does not start.
	cfg := c.configs["node1"]
	cfg.Names = []string{"node1", "node2", "node3"}
	_, err = Start(cfg)
	require.ErrorContains(t, err, "compare Data.Dir and Cluster.Nodes")
	c.start()
	c.ready()
	_, _, err = Restore(t.Context(), bytes.NewReader(backup), c.restoration("node1"))
	require.ErrorIs(t, err, ErrLocked)
}

// What breaks off leaves nothing that starts, and can be begun again.
func TestRestoreBrokenOff(t *testing.T) {
	backup, _ := old(t, "node1")
	flipped := bytes.Clone(backup)
	flipped[len(flipped)/2] ^= 1
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	future := fsm.Revision(1_000)
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		backup []byte
		at     *fsm.Revision
		want   error
	}{
		{"damaged", t.Context(), flipped, nil, fsm.ErrBackupDamaged},
		{"cut", t.Context(), backup[:len(backup)-1], nil, fsm.ErrBackupDamaged},
		{"given up", ended, backup, nil, context.Canceled},
		{"no such revision", t.Context(), backup, &future, fsm.ErrFuture},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newTrio(t, "node1")
			to := c.restoration("node1")
			to.At = tc.at
			_, _, err := Restore(tc.ctx, bytes.NewReader(tc.backup), to)
			require.ErrorIs(t, err, tc.want)
			_, err = Start(c.configs["node1"])
			require.ErrorContains(t, err, "was broken off")
			left, err := filepath.Glob(filepath.Join(to.Dir, "*"))
			require.NoError(t, err)
			assert.Len(t, left, 2, "the lock, and that it was begun: %v", left)
			c.restore(backup, nil)
			c.start()
			c.ready()
		})
	}
}

// Whenever the process dies, there is a whole node or none.
func TestRestoreCrashes(t *testing.T) {
	backup, _ := old(t, "node1")
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 1; ; n += step {
		c := newTrio(t, "node1")
		to := c.restoration("node1")
		faults := failAt(n)
		to.openFS = func(path string) wal.FS { return &faultyFS{FS: dirFS(path), faults: faults} }
		_, _, err := Restore(t.Context(), bytes.NewReader(backup), to)
		if err == nil {
			require.Greater(t, n, 5, "the faults hit nothing")
			return
		}
		require.ErrorIs(t, err, errInjected)
		if _, err := LoadIdentity(dirFS(to.Dir)); err != nil {
			c.restore(backup, nil)
		}
		c.start()
		c.ready()
		c.close("node1")
	}
}
