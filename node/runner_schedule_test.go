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
)

// scheduled makes node1 of c back up by itself.
func (c *trio) scheduled(every time.Duration, keep int) (dir string) {
	dir = c.t.TempDir()
	cfg := c.configs["node1"]
	cfg.Backups = Schedule{Dir: dir, Every: every, Keep: keep}
	c.configs["node1"] = cfg
	return dir
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Backups come by themselves, are whole, and as many stay as are to: other files are nobody's to remove.
func TestScheduledBackups(t *testing.T) {
	c := newTrio(t, "node1")
	dir := c.scheduled(20*time.Millisecond, 2)
	keep := []string{"README", "confman-ffffffff-1-20200101T000000Z.backup", "confman-x.backup"}
	for _, name := range keep {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	c.start()
	c.ready()
	r := c.runners["node1"]
	var ours []string
	for i := range 5 { // each of another revision, so of another name
		res, err := r.Propose(t.Context(), put("a", fmt.Sprint(i)))
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			ours, err = backupsIn(dir, r.Status().Cluster)
			require.NoError(t, err)
			return len(ours) > 0 && backupFile.FindStringSubmatch(ours[len(ours)-1])[2] == fmt.Sprint(uint64(res.Revision))
		}, patience, time.Millisecond)
	}
	require.Eventually(t, func() bool {
		ours, _ = backupsIn(dir, r.Status().Cluster)
		return len(ours) == 2
	}, patience, time.Millisecond)
	assert.WithinDuration(t, time.Now(), r.Status().LastBackup, time.Minute)
	c.close("node1")
	ours, err := backupsIn(dir, fsm.ClusterID{0xff, 0xff, 0xff, 0xff})
	require.NoError(t, err)
	assert.Len(t, ours, 1)
	left := files(t, dir)
	for _, name := range keep {
		assert.Contains(t, left, name)
	}
	assert.Len(t, left, len(keep)+2, left)
	for _, name := range left {
		if len(backupFile.FindString(name)) > 0 && name[8:16] != "ffffffff" {
			f, err := os.Open(filepath.Join(dir, name))
			require.NoError(t, err)
			_, err = fsm.UnpackBackup(t.Context(), f, filepath.Join(t.TempDir(), "image"), fsm.Options{}, nil)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
	}
}

// A restart makes no backup that is not due, and a failure is told and tried again.
func TestScheduledBackupsOverRestarts(t *testing.T) {
	c := newTrio(t, "node1")
	dir := c.scheduled(time.Hour, 3)
	c.start()
	made := func() bool {
		at := c.runners["node1"].Status().LastBackup
		return !at.IsZero()
	}
	require.Eventually(t, made, patience, time.Millisecond)
	before := files(t, dir)
	require.Len(t, before, 1)
	c.close("node1")
	c.start()
	c.ready()
	require.Eventually(t, made, patience, time.Millisecond, "it is found again")
	assert.Equal(t, before, files(t, dir))
	c.close("node1")

	cfg := c.configs["node1"]
	cfg.Backups = Schedule{Dir: filepath.Join(dir, "missing"), Every: 5 * time.Millisecond, Keep: 1}
	c.configs["node1"] = cfg
	c.start()
	c.ready()
	require.NoError(t, os.Mkdir(cfg.Backups.Dir, 0o700))
	require.Eventually(t, made, patience, time.Millisecond, "it is tried again")
}

// A clock that was ahead for a while costs no backup: those made since hold more, and are not the oldest.
func TestScheduledBackupsOfAClockSetBack(t *testing.T) {
	c := newTrio(t, "node1")
	dir := c.scheduled(time.Hour, 1)
	c.start()
	c.ready()
	r := c.runners["node1"]
	made := func() (names []string) {
		names, err := backupsIn(dir, r.Status().Cluster)
		require.NoError(t, err)
		return names
	}
	require.Eventually(t, func() bool { return !r.Status().LastBackup.IsZero() }, patience, time.Millisecond)
	first := made()
	require.Len(t, first, 1)
	_, err := r.Propose(t.Context(), put("a", "1"))
	require.NoError(t, err)
	ahead := first[0][:len(first[0])-len("20060102T150405Z.backup")] + "20991231T235959Z.backup"
	require.NoError(t, os.Rename(filepath.Join(dir, first[0]), filepath.Join(dir, ahead)))
	require.NoError(t, r.scheduledBackup())
	left := made()
	require.Len(t, left, 1)
	assert.NotEqual(t, ahead, left[0], "the one with the write")
}

// Nodes of two clusters may have one name, and one directory: they do not write to one file.
func TestScheduledBackupsOfTwoClusters(t *testing.T) {
	c := newTrio(t, "node1")
	dir := c.scheduled(time.Hour, 1)
	other := filepath.Join(dir, ".confman-node1.partial")
	require.NoError(t, os.WriteFile(other, []byte("half"), 0o600))
	c.start()
	c.ready()
	require.Eventually(t, func() bool { return !c.runners["node1"].Status().LastBackup.IsZero() }, patience, time.Millisecond)
	require.FileExists(t, other)
}
