//go:build failpoints

package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/pingcap/failpoint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	points        = "github.com/confman/confman/faultpoint/"
	syncPoint     = points + "wal/sync"
	allocatePoint = points + "wal/allocate"
)

// inject makes a failpoint do term until the test ends or calls what it returns.
func inject(t *testing.T, point, term string) (off func()) {
	t.Helper()
	require.NoError(t, failpoint.Enable(point, term))
	off = func() { assert.NoError(t, failpoint.Disable(point)) }
	t.Cleanup(func() { _ = failpoint.Disable(point) })
	return off
}

// TestFailpointsAreOn is the canary: without the rewriting of make test-failpoints the
// other tests here would inject nothing and pass.
func TestFailpointsAreOn(t *testing.T) {
	inject(t, syncPoint, `return("canary")`)
	_, err := Start(newTrio(t, "only").configs["only"])
	require.ErrorContains(t, err, "canary", "failpoints are off: run make test-failpoints")
}

// TestFailpointSyncStopsTheNode: a failed fdatasync is never tried again, what
// was acknowledged before it is there after a restart, and the write that it hit
// is not called refused.
func TestFailpointSyncStopsTheNode(t *testing.T) {
	c := newTrio(t, "only")
	c.start()
	r := waitFormed(t, c.runners["only"])
	mustPut(t, r, "before", "1")
	off := inject(t, syncPoint, `return("injected")`)
	_, err := r.Propose(t.Context(), put("during", "1"))
	var failed *WriteError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, Unknown, failed.Outcome)
	<-r.Done()
	require.ErrorContains(t, r.Err(), "writing the log")
	require.ErrorContains(t, r.Err(), "injected")
	require.Error(t, r.Close())
	off()

	c.start()
	mustGet(t, waitFormed(t, c.runners["only"]), "before", "1")
}

// TestFailpointFullDiskRefusesWrites: when no further segment fits, writes are
// refused for certain, the node goes on, and takes them again when there is room.
func TestFailpointFullDiskRefusesWrites(t *testing.T) {
	c := newTrio(t, "only")
	c.start()
	r := waitFormed(t, c.runners["only"])
	off := inject(t, allocatePoint, `return("full")`)
	value := string(bytes.Repeat([]byte("x"), 8<<10))
	var err error
	for range 100 { // a few fill the segment
		if _, err = r.Propose(t.Context(), put("k", value+time.Now().String())); err != nil {
			break
		}
	}
	var refused *WriteError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, NotApplied, refused.Outcome)
	require.ErrorIs(t, err, ErrStorageFull)
	require.NotErrorIs(t, r.Err(), unix.ENOSPC, "the node stopped")
	require.NoError(t, r.Linearize(t.Context()))
	off()
	require.Eventually(t, func() bool { return !r.Status().StorageFull }, patience, 10*time.Millisecond)
	mustPut(t, r, "after", "1")
}
