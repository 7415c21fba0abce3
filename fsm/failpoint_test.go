//go:build failpoints

package fsm

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFailpointForgetsACommit: whatever is left of a commit in which power was lost, the database is the one before it or the
// one after it, whole; and each is left now and then.
func TestFailpointForgetsACommit(t *testing.T) {
	r := newReplica(t)
	read := func() ([]byte, State) {
		b, err := os.ReadFile(r.path)
		require.NoError(t, err)
		return b, r.s.State()
	}
	r.rewrite(200, "a")
	r.rewrite(200, "b") // some pages are free
	before, was := read()
	used := r.s.base.pages.meta.pages * pageBytes
	r.rewrite(100, "c")
	after, is := read()
	require.NotEqual(t, was, is)

	left := map[string]int{}
	path := filepath.Join(t.TempDir(), "lost")
	for seed := range uint64(60) {
		require.NoError(t, os.WriteFile(path, after, 0o600))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		require.NoError(t, forget(f, before[:used], rand.New(rand.NewPCG(seed, 0))))
		require.NoError(t, f.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		s, err := Open(path, testOptions)
		require.NoError(t, err)
		require.NoError(t, scrub(s))
		switch st := s.State(); {
		case st.Hash == is.Hash:
			left["all"]++
			assert.Equal(t, after, got)
		case string(got[:used]) == string(before[:used]):
			left["nothing"]++
			assert.Equal(t, was, st)
		default:
			left["a part"]++
			assert.Equal(t, was, st)
		}
		require.NoError(t, s.Close())
	}
	assert.Len(t, left, 3, "%v", left)
}
