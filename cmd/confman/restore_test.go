package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// restorable is a directory with a backup, and the configuration of a cluster of one node.
func restorable(t *testing.T, backup []byte) (from, config string) {
	t.Helper()
	dir := t.TempDir()
	from, config = filepath.Join(dir, "x.backup"), filepath.Join(dir, "confman.json")
	require.NoError(t, os.WriteFile(from, backup, 0o600))
	text := fmt.Sprintf(`{"Cluster":{"NodeId":"node1","Nodes":[{"Id":"node1","Address":"127.0.0.1","ApiPort":5000,"RaftPort":5001}]},"Raft":{"PlainText":true},"Data":{"Dir":%q}}`,
		filepath.Join(dir, "data"))
	require.NoError(t, os.WriteFile(config, []byte(text), 0o600))
	return from, config
}

// What cannot be restored says why, and what can; what goes back further than its user may think says so.
func TestRestoreCommand(t *testing.T) {
	backup := exampleBackup(t)
	for _, c := range []struct {
		name string
		more []string
		code int
		want string
	}{
		{"all", nil, exitOK, "had at revision 1; revisions go on at 4294967297\nthen start"},
		{"the past", []string{"--at-revision", "0"}, exitOK, "who may do what is as of revision 0, too"},
		{"the future", []string{"--at-revision", "2"}, exitError, "x.backup: fsm: restore"},
		{"of another node", []string{"--cluster-id", "00"}, exitUsage, "the 32 hex digits that the first node printed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, config := restorable(t, backup)
			got := command(t, "", "", append([]string{"restore", "--from", from, "--config", config}, c.more...)...)
			assert.Equal(t, c.code, got.code, got.err)
			assert.Contains(t, got.out+got.err, c.want)
		})
	}
}

// A node may be told which directory is its own by a flag; a seat is for joining a cluster, and serve would refuse it later.
func TestRestoreFlags(t *testing.T) {
	from, config := restorable(t, exampleBackup(t))
	data := filepath.Join(t.TempDir(), "other")
	got := command(t, "", "", "restore", "--from", from, "--config", config, "--data-dir", data)
	require.Equal(t, exitOK, got.code, got.err)
	assert.Contains(t, got.out, data+": node node1 of the new cluster ")
	assert.NoDirExists(t, filepath.Join(filepath.Dir(config), "data"))
	assert.Equal(t, exitUsage, command(t, "", "", "restore", "--from", from, "--config", config, "--seat", "x").code)

	text, err := os.ReadFile(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(config, bytes.Replace(text, []byte(`"NodeId"`), []byte(`"Seat":"@x.seat","NodeId"`), 1), 0o600))
	got = command(t, "", "", "restore", "--from", from, "--config", config)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.err, "Cluster.Seat is set")
	assert.NoDirExists(t, filepath.Join(filepath.Dir(config), "data"))
}

// A revision that a restore before skipped was never, and what was before it can be restored all the same.
func TestRestoreCommandInAGap(t *testing.T) {
	dir := t.TempDir()
	opts := fsm.Options{MmapBytes: 64 << 20, NoSync: true}
	_, err := fsm.UnpackBackup(t.Context(), bytes.NewReader(exampleBackup(t)), filepath.Join(dir, "image"), opts, nil)
	require.NoError(t, err)
	s, err := fsm.Open(filepath.Join(dir, "image"), opts)
	require.NoError(t, err)
	to := fsm.Restoration{Cluster: fsm.ClusterID{3}, Members: []fsm.Member{{RaftID: 1, Name: "node1"}}}
	_, err = s.RestoreTo(t.Context(), filepath.Join(dir, "db"), to, opts)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s, err = fsm.Open(filepath.Join(dir, "db"), opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	image, err := s.OpenImage()
	require.NoError(t, err)
	defer image.Close()
	var b bytes.Buffer
	require.NoError(t, fsm.WriteBackup(&b, image, image.Backup("node1", fakeNow), nil))

	from, config := restorable(t, b.Bytes())
	got := command(t, "", "", "restore", "--from", from, "--config", config, "--at-revision", "2")
	assert.Equal(t, exitError, got.code)
	assert.Contains(t, got.err, "there never was a revision 2: its cluster was itself restored, and after revision 1 came 4294967297")
	got = command(t, "", "", "restore", "--from", from, "--config", config, "--at-revision", "1")
	assert.Equal(t, exitOK, got.code, got.err)
}

// Who made a backup may have written anything there: it does not move the terminal.
func TestBackupNameIsHarmless(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, (&backupSummary{Node: "\x1b[2Jnode1"}).print(&b))
	assert.NotContains(t, b.String(), "\x1b")
}
