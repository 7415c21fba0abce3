package sim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestRemoveLeftStores: what a dead process left goes; what a living one uses, or
// what is nobody's for certain, stays.
func TestRemoveLeftStores(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dead := exec.Command(self, "-test.run", "^$")
	require.NoError(t, dead.Run())

	base := t.TempDir()
	left := fmt.Sprintf("confman-sim-%d-1234", dead.Process.Pid)
	stay := []string{fmt.Sprintf("confman-sim-%d-77", os.Getpid()), "confman-sim-1234", "confman-sim-x-1", "other-1-1"}
	for _, name := range append([]string{left}, stay...) {
		require.NoError(t, os.MkdirAll(filepath.Join(base, name, "below"), 0o750))
	}
	n, err := removeLeftStores(base)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.NoDirExists(t, filepath.Join(base, left))
	for _, name := range stay {
		assert.DirExists(t, filepath.Join(base, name))
	}
}

// TestStoresNameTheirProcess: what a world makes is what RemoveLeftStores looks for.
func TestStoresNameTheirProcess(t *testing.T) {
	w := &World{}
	require.NoError(t, w.makeDir())
	t.Cleanup(func() { _ = os.RemoveAll(w.dir) })
	assert.Regexp(t, fmt.Sprintf("^confman-sim-%d-", os.Getpid()), filepath.Base(w.dir))
	assert.Equal(t, storesBase(), filepath.Dir(w.dir))
	_, err := RemoveLeftStores()
	require.NoError(t, err)
	assert.DirExists(t, w.dir, "its process lives")
}
