package sim

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFoundInFiles: a failure comes back from its file as it was.
func TestFoundInFiles(t *testing.T) {
	o := Options{Seed: 1<<63 + 1, Time: 90 * time.Second, Nodes: 5, Without: []string{"kill"}}
	f := NewFound(o, &Result{Trace: 255, Virtual: 3 * time.Second}, &Failure{Judge: JudgeState, Err: errors.New("at 3s: broken")})
	assert.Equal(t, "00000000000000ff", f.Trace)
	assert.Equal(t, "3s", f.At)
	assert.NotEmpty(t, f.Commit)
	path := filepath.Join(t.TempDir(), "f.json")
	require.NoError(t, f.Write(path))
	back, err := ReadFound(path)
	require.NoError(t, err)
	assert.Equal(t, f, back)
}

func TestFilesRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.json")
	found := func() error { _, err := ReadFound(path); return err }
	list := func() error { _, err := ReadRegressions(path); return err }
	require.ErrorIs(t, found(), os.ErrNotExist)
	for _, c := range []struct {
		text string
		read func() error
		says string
	}{
		{`{"judge"`, found, "at byte 8"},
		{`{}`, found, "names no judge"},
		{`{"worlds":[]}`, list, "no worlds"},
		{`{"worlds":[{"options":{"seed":"1","time":"1m"}}]}`, list, "does not say why"},
		{`{"worlds":[{"why":"x"}]}`, list, "world 1 has no options"},
		{`{"worlds":[{"why":"x","options":{"seed":"1","time":"1m","nodes":4}}]}`, list, "4 nodes"},
	} {
		require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
		require.ErrorContains(t, c.read(), c.says, c.text)
		require.ErrorContains(t, c.read(), path)
	}
}

func TestSameCommit(t *testing.T) {
	commit := strings.Repeat("a1", 20)
	assert.True(t, SameCommit(commit, commit))
	assert.False(t, SameCommit(commit, strings.Repeat("b1", 20)))
	assert.False(t, SameCommit(commit+changed, commit+changed), "the changes may differ")
	assert.False(t, SameCommit(unknownCommit, unknownCommit))
}
