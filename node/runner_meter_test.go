package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/wal"
)

func TestHistogram(t *testing.T) {
	var h Histogram
	assert.Equal(t, Times{}, h.Times())
	first, last := HistogramBounds[0], HistogramBounds[len(HistogramBounds)-1]
	for _, d := range []time.Duration{0, first, first + 1, last, last + 1, time.Hour} {
		h.Observe(d)
	}
	got := h.Times()
	assert.Equal(t, uint64(6), got.Count)
	assert.Equal(t, first+first+1+last+last+1+time.Hour, got.Sum)
	assert.Equal(t, uint64(2), got.AtMost[0], "a bound is inclusive")
	assert.Equal(t, uint64(3), got.AtMost[1])
	assert.Equal(t, uint64(4), got.AtMost[len(HistogramBounds)-1], "what took longer is in Count alone")
	for i := 1; i < len(HistogramBounds); i++ {
		require.Less(t, HistogramBounds[i-1], HistogramBounds[i])
	}
}

// TestHistogramBesideReaders: no reader sees a bucket that holds more than the next, and nothing is lost.
func TestHistogramBesideReaders(t *testing.T) {
	const writers, each = 4, 2_000
	var (
		h     Histogram
		group sync.WaitGroup
	)
	for range writers {
		group.Go(func() {
			for i := range each {
				h.Observe(time.Duration(i) * time.Millisecond)
			}
		})
	}
	for range 100 {
		got := h.Times()
		for i := 1; i < len(got.AtMost); i++ {
			require.LessOrEqual(t, got.AtMost[i-1], got.AtMost[i])
		}
		require.LessOrEqual(t, got.AtMost[len(got.AtMost)-1], got.Count)
	}
	group.Wait()
	assert.Equal(t, uint64(writers*each), h.Times().Count)
}

func TestObserveAllocatesNothing(t *testing.T) {
	var m meter
	err := fmt.Errorf("%w: all", ErrOverloaded)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		m.read.Observe(time.Millisecond)
		m.reads.add(nil)
		m.reads.add(err)
	}))
}

// TestEveryErrorIsAReason: what a proposal or a read fails with is told apart.
func TestEveryErrorIsAReason(t *testing.T) {
	var m meter
	seen := map[string]bool{}
	for _, err := range []error{
		ErrOverloaded, ErrNoQuorum, ErrStorageFull, ErrQuota, ErrLost, ErrOvertaken, ErrRepeated, ErrUndecodable,
		ErrForming, ErrRebuilding, ErrStopped, context.Canceled, context.DeadlineExceeded, errors.New("another"),
	} {
		before := m.proposals[Unknown].counts("unknown", true)
		m.proposed(0, &WriteError{Outcome: Unknown, Err: fmt.Errorf("so it was: %w", err)})
		for i, e := range m.proposals[Unknown].counts("unknown", true) {
			if e.Count > before[i].Count {
				assert.False(t, seen[e.Reason], e.Reason)
				seen[e.Reason] = true
			}
		}
	}
	assert.Len(t, seen, len(reasons)+1)
	m.proposed(0, errors.New("not encoded"))
	assert.Equal(t, uint64(1), m.proposals[NotApplied][len(reasons)+1].Load(), "nothing was proposed")
	m.proposed(0, nil)
	assert.Equal(t, []Ended{{Outcome: "applied", Count: 1}}, m.proposals[0].counts("applied", false))
	assert.Equal(t, uint64(len(seen)+2), m.propose.Times().Count)
}

func TestImagesAreCounted(t *testing.T) {
	var m meter
	m.image(ImageOpened{})
	m.image(ImageOpened{Err: ErrRebuilding})
	m.image(ImageRead{Data: make([]byte, 7)})
	m.image(ImageVerified{})
	m.image(ImageVerified{Err: errors.New("torn")})
	m.image(ImageWritten{})
	assert.Equal(t, []uint64{1, 7, 1, 1}, []uint64{
		m.imagesOpened.Load(), m.imageReadBytes.Load(), m.imagesVerified.Load(), m.imagesRejected.Load(),
	})
}

// TestSyncsAreMeasured: those that fail, too; a file that is not there is an error as before.
func TestSyncsAreMeasured(t *testing.T) {
	var syncs Histogram
	dir := t.TempDir()
	fsys := meteredFS{wal.DirFS(dir), &syncs}
	_, err := fsys.Open("none")
	require.ErrorIs(t, err, os.ErrNotExist)
	f, err := fsys.Create("one")
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.Error(t, f.Sync(), "it is closed")
	f, err = fsys.Open("one")
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	assert.Equal(t, uint64(3), syncs.Times().Count)
}

func TestFilesIn(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a"), make([]byte, 10), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "b"), make([]byte, 5), 0o600))
	bytes, files := filesIn(dir)
	assert.Equal(t, int64(15), bytes)
	assert.Equal(t, 2, files)
	bytes, files = filesIn(filepath.Join(dir, "none"))
	assert.Zero(t, bytes)
	assert.Zero(t, files, "a node that is not formed has no log")
}
