package jepsen

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestE2ECrashed: a node that ends, and was not told to, is started again, and the run says so.
func TestE2ECrashed(t *testing.T) {
	ground, err := NewLocal(LocalOptions{Program: confman(t), Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		require.NoError(t, ground.Close(ctx))
	})
	asked := make(chan struct{})
	o := Options{Seed: 1, Time: 5 * time.Second, Clients: 2, Pace: 20 * time.Millisecond, Nemeses: []string{"kill-one"}, Log: func(format string, args ...any) {
		t.Logf(format, args...)
		if strings.HasPrefix(format, "%s: %s") {
			select {
			case <-asked:
			default:
				close(asked)
			}
		}
	}}
	done := make(chan error, 1)
	var res *Result
	go func() {
		var err error
		res, err = Execute(t.Context(), ground, o)
		done <- err
	}()
	<-asked
	crashed := ""
	for _, m := range ground.Machines() {
		if ground.Runs(m.Name) {
			crashed = m.Name
		}
	}
	require.NotEmpty(t, crashed)
	require.NoError(t, ground.Signal(t.Context(), crashed, Kill), "behind its back")
	require.NoError(t, <-done)
	require.ErrorIs(t, res.Err, ErrCrashed)
	require.NotErrorIs(t, res.Err, ErrNotLive)
	assert.Contains(t, res.Err.Error(), crashed)
	assert.Empty(t, res.Mended)
	dir := t.TempDir()
	require.NoError(t, res.Save(t.Context(), dir, ground, o, nil))
	verdict, err := os.ReadFile(filepath.Join(dir, "verdict.txt"))
	require.NoError(t, err)
	assert.Contains(t, string(verdict), crashed+": signal: killed")
}
