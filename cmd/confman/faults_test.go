//go:build failpoints

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFailpointClock: the file moves what the clock says of the day, and what is measured stays.
func TestFailpointClock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	t.Setenv(clockFile, file)
	assert.Less(t, time.Now().Round(0).Sub(wallClock().Round(0)).Abs(), time.Second, "nothing is written")
	for said, want := range map[string]time.Duration{
		"1h 1": time.Hour, "-1h 1": -time.Hour, "-1500ms 1": -1500 * time.Millisecond, "999ms 1": 999 * time.Millisecond, "0s 1": 0,
	} {
		require.NoError(t, os.WriteFile(file, []byte(said), 0o600))
		require.Eventually(t, func() bool {
			began := time.Now()
			told := wallClock()
			off := told.Round(0).Sub(began.Round(0)) - want // without the monotonic reading
			return told.Sub(began) < time.Second && told.Sub(began) >= 0 && off >= 0 && off < 100*time.Millisecond
		}, 5*time.Second, lookInterval, said)
	}
	require.NoError(t, os.WriteFile(file, []byte("0s 1000"), 0o600))
	require.Eventually(t, func() bool { return wallClock().Round(0).Sub(time.Now().Round(0)) > 10*time.Second }, 5*time.Second, lookInterval)
}
