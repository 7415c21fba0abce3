package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// exampleBackup is a backup of a small cluster at revision 1.
func exampleBackup(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store")
	opts := fsm.Options{MmapBytes: 64 << 20, NoSync: true}
	require.NoError(t, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1, 2}, Members: []fsm.Member{{RaftID: 1, Name: "node1"}}}, opts))
	s, err := fsm.Open(path, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	cmd := fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "a", Value: []byte("1"), ContentType: "application/json"}}}
	data, err := cmd.Encode()
	require.NoError(t, err)
	fsm.SetOrigin(data, fsm.Origin{Node: 1, Incarnation: 1, Seq: 1})
	_, err = s.Apply([]fsm.Entry{{Index: 1, Term: 1, Data: data}})
	require.NoError(t, err)
	require.NoError(t, s.BeginFlush().Commit())
	image, err := s.OpenImage()
	require.NoError(t, err)
	defer image.Close()
	var b bytes.Buffer
	require.NoError(t, fsm.WriteBackup(&b, image, image.Backup("node1", fakeNow), nil))
	return b.Bytes()
}

// restoreExample makes the directory of a node of exampleBackup.
func restoreExample(t *testing.T, dir string) {
	t.Helper()
	_, _, err := node.Restore(t.Context(), bytes.NewReader(exampleBackup(t)), node.Restoration{
		Dir: dir, Name: "node1", Names: []string{"node1"}, Cluster: fsm.ClusterID{3}, Time: fakeNow,
	})
	require.NoError(t, err)
}

func TestBackupSalvageCommand(t *testing.T) {
	dir := t.TempDir()
	data, out := filepath.Join(dir, "data"), filepath.Join(dir, "x.backup")
	restoreExample(t, data)
	salvage := func(args ...string) result {
		return command(t, "", "", append([]string{"backup", "salvage"}, args...)...)
	}
	got := salvage("--data-dir", data, "--out", out)
	require.Equal(t, exitOK, got.code, got.err)
	assert.Contains(t, got.out, "cluster 03000000000000000000000000000000 at revision 4294967297, made by node1 at ")
	assert.Contains(t, got.out, ", verified\nsha256 ")
	assert.Equal(t, exitOK, command(t, "", "", "backup", "verify", out).code)
	info, err := os.Stat(out)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode(), "it holds everything")

	assert.Equal(t, exitUsage, salvage("--data-dir", data, "--out", out).code, "without --force")
	assert.Equal(t, exitUsage, salvage("--out", out).code)
	got = salvage("--data-dir", dir, "--out", filepath.Join(dir, "y.backup"))
	assert.Equal(t, exitError, got.code)
	assert.Contains(t, got.err, "it holds no node's database")
	assert.NoFileExists(t, filepath.Join(dir, "y.backup"))
}

func TestBackupCommand(t *testing.T) {
	api, url := newFakeAPI(t)
	api.backup = exampleBackup(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "x.backup")

	got := command(t, url, "", "backup", "--out", out, "-o", "json")
	require.Equal(t, exitOK, got.code, got.err)
	written, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(api.backup, written))
	info, err := os.Stat(out)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode(), "it holds everything")
	var sum backupSummary
	require.NoError(t, json.Unmarshal([]byte(got.out), &sum))
	assert.Equal(t, uint64(1), sum.Revision)
	assert.Equal(t, int64(len(api.backup)), sum.Bytes)
	assert.False(t, sum.Verified)

	got = command(t, url, "", "backup", "verify", out)
	require.Equal(t, exitOK, got.code, got.err)
	assert.Contains(t, got.out, "cluster 01020000000000000000000000000000 at revision 1, made by node1 at 2026-01-23T10:00:00Z")
	assert.Contains(t, got.out, ", verified\nsha256 "+sum.SHA256)

	got = command(t, url, "", "backup", "--out", out)
	assert.Equal(t, exitUsage, got.code)
	assert.Contains(t, got.err, "--force")
	assert.Equal(t, exitOK, command(t, url, "", "backup", "--out", out, "--force").code)
	assert.Equal(t, exitUsage, command(t, url, "", "backup").code)
	assert.Equal(t, exitUsage, command(t, url, "", "backup", "--out", dir, "--force").code)
}

// What is not a whole backup gets no name, and is not said to be one.
func TestBackupCommandRefusesDamage(t *testing.T) {
	whole := exampleBackup(t)
	for _, c := range []struct {
		name, want string
		damage     func(b []byte) []byte
	}{
		{"cut", "it ends early", func(b []byte) []byte { return b[:len(b)-40] }},
		{"flipped", "checksum does not match", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"longer", "bytes follow its end", func(b []byte) []byte { return append(b, 0) }},
		{"something else", "not a backup", func([]byte) []byte { return []byte("<html>") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, url := newFakeAPI(t)
			api.backup = c.damage(bytes.Clone(whole))
			dir := t.TempDir()
			out := filepath.Join(dir, "x.backup")
			got := command(t, url, "", "backup", "--out", out)
			assert.Equal(t, exitError, got.code)
			assert.Contains(t, got.err, c.want)
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)

			require.NoError(t, os.WriteFile(out, api.backup, 0o600))
			got = command(t, url, "", "backup", "verify", out)
			assert.Equal(t, exitError, got.code)
			assert.Contains(t, got.err, c.want)
			assert.Contains(t, got.err, out, "it names the file")
		})
	}
}

// A node that goes away is no damage, and who is told to end leaves nothing behind.
func TestBackupCommandBreaksOff(t *testing.T) {
	for _, c := range []struct {
		name, want string
		code       int
		midway     func(t *testing.T, r *http.Request)
	}{
		{"the node", "stream broke off", exitUnavailable, func(*testing.T, *http.Request) {}},
		{"who asked", "interrupt", exitError, func(t *testing.T, r *http.Request) {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil { // which is listened to by now
				t.Error(err)
			}
			<-r.Context().Done()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, url := newFakeAPI(t)
			api.backup = exampleBackup(t)
			api.midway = func(r *http.Request) { c.midway(t, r) }
			dir := t.TempDir()
			got := command(t, url, "", "backup", "--out", filepath.Join(dir, "x.backup"))
			assert.Equal(t, c.code, got.code, got.err)
			assert.Contains(t, got.err, c.want)
			assert.NotContains(t, got.err, "damaged")
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}
