//go:build failpoints

package faultpoint

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFailpointRenamesAreLost: renames whose directory was not synced are undone from the last one on, and what they had
// replaced is there again; one that is safe stays.
func TestFailpointRenamesAreLost(t *testing.T) {
	for keep, want := range []map[string]string{
		{"safe": "0", "a": "1", "b": "2", "replaced": "3"},
		{"safe": "0", "b": "2", "replaced": "1"},
		{"safe": "0", "replaced": "2"},
	} {
		dir := t.TempDir()
		rename := func(from, to string) { require.NoError(t, Rename(filepath.Join(dir, from), filepath.Join(dir, to))) }
		for name, text := range map[string]string{"x": "0", "a": "1", "b": "2", "replaced": "3"} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		rename("x", "safe")
		DirSynced(dir + "/")
		rename("a", "replaced")
		rename("b", "replaced")
		DirSynced(t.TempDir())
		require.NoError(t, renames.lose(keep))
		got := map[string]string{}
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(dir, e.Name()))
			require.NoError(t, err)
			got[e.Name()] = string(b)
		}
		assert.Equal(t, want, got, "%d of two renames are kept", keep)
		DirSynced(dir)
		require.Empty(t, renames.all)
	}
}
