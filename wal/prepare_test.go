package wal

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wants tells whether Prepare is to be called.
func (w *written) wants() bool { return len(w.log.Wanted()) > 0 }

// prepare makes all of the next segment, if that is wanted.
func (w *written) tryPrepare() error {
	select {
	case <-w.log.Wanted():
	default:
		return nil
	}
	for {
		if more, err := w.log.Prepare(); !more || err != nil {
			return err
		}
	}
}

// TestPrepare: the next segment is made while the current one is filled, in pieces, and the switch to it allocates nothing.
func TestPrepare(t *testing.T) {
	opts := Options{SegmentBytes: 2*prepareBytes + 512, ReserveBytes: 1 << 10}
	w := newWritten(t, opts)
	size := int(opts.SegmentBytes/2 - segmentHeaderBytes - batchHeaderBytes - entryHeaderBytes - 8)
	w.append(t, Batch{Entries: entries(1, 1, 1, size), Sync: true})
	require.False(t, w.wants(), "the segment is not half full")
	w.append(t, Batch{Entries: entries(2, 1, 1, 1), Sync: true})
	require.True(t, w.wants())

	var ops []string
	w.fsys.fault = func(op, name string) error { ops = append(ops, op+" "+name); return nil }
	<-w.log.Wanted()
	for i := range 3 {
		more, err := w.log.Prepare()
		require.NoError(t, err)
		assert.Equal(t, i < 2, more, "piece %d", i)
	}
	assert.Equal(t, []string{
		"remove wal-spare.new", "create wal-spare.new", "allocate wal-spare.new", "sync wal-spare.new",
		"write wal-spare.new", "sync wal-spare.new", "write wal-spare.new", "sync wal-spare.new", "write wal-spare.new", "sync wal-spare.new",
	}, ops)
	assert.Equal(t, make([]byte, opts.SegmentBytes), w.fsys.files[spareName].durable)
	ops = nil
	more, err := w.log.Prepare()
	require.NoError(t, err)
	assert.False(t, more)
	assert.Empty(t, ops, "it is ready")

	w.append(t, Batch{Entries: entries(3, 1, 1, size), Sync: true})
	require.Len(t, w.log.segments, 2)
	assert.NotContains(t, strings.Join(ops, " "), "allocate")
	assert.False(t, w.has(spareName))
	w.reopen(t, opts)
}

// TestPrepareTooLate: what is not ready is not used before it is.
func TestPrepareTooLate(t *testing.T) {
	opts := Options{SegmentBytes: prepareBytes + 512, ReserveBytes: 1 << 10}
	w := newWritten(t, opts)
	size := int(opts.SegmentBytes / 3 * 2)
	w.append(t, Batch{Entries: entries(1, 1, 1, size), Sync: true})
	more, err := w.log.Prepare()
	require.NoError(t, err)
	require.True(t, more)
	w.append(t, Batch{Entries: entries(2, 1, 1, size), Sync: true})
	require.Len(t, w.log.segments, 2)
	assert.True(t, w.has(spareName), "it was half made")
	w.reopen(t, opts)
	more, err = w.log.Prepare()
	require.NoError(t, err)
	require.False(t, more)
	w.append(t, Batch{Entries: entries(3, 1, 1, 2*size), Sync: true})
	assert.True(t, w.has(spareName), "it is too small for that batch")
	w.append(t, Batch{Entries: entries(4, 1, 1, size), Sync: true})
	assert.False(t, w.has(spareName))
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, opts)
}

// TestPrepareTellsOnce tells of each segment once, also of one that was half full when the log was opened.
func TestPrepareTellsOnce(t *testing.T) {
	w := newWritten(t, testOptions)
	w.append(t, Batch{Entries: entries(1, 1, 1, 2500), Sync: true})
	require.True(t, w.wants())
	l, _, err := Open(w.fsys, testOptions)
	require.NoError(t, err)
	w.log = l
	<-w.log.Wanted()
	w.append(t, Batch{Entries: entries(2, 1, 1, 10), Sync: true})
	require.False(t, w.wants())
	w.append(t, Batch{Entries: entries(3, 1, 1, 2500), Sync: true})
	require.Len(t, w.log.segments, 2)
	require.True(t, w.wants())
}

// TestPrepareOnAFullDisk leaves nothing behind, and the reserve for what it is for.
func TestPrepareOnAFullDisk(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 6 << 10}
	w := newWritten(t, opts)
	w.fsys.capacity = opts.SegmentBytes + opts.ReserveBytes + 100
	for range 2 {
		more, err := w.log.Prepare()
		require.NoError(t, err)
		require.False(t, more)
		assert.False(t, w.has(spareName))
	}
	w.fill(t)
	w.fsys.capacity = 0
	more, err := w.log.Prepare()
	require.NoError(t, err)
	require.False(t, more)
	assert.False(t, w.has(spareName), "the reserve comes first")
	require.NoError(t, w.log.Prove())
	_, err = w.log.Prepare()
	require.NoError(t, err)
	assert.True(t, w.has(spareName))
	require.NoError(t, w.log.Close())
	w.reopen(t, opts)
}

// TestPrepareFails at each of its operations: the error is said, and what the log holds is as it was.
func TestPrepareFails(t *testing.T) {
	broken := errors.New("broken")
	for n, done := 0, false; !done; n++ {
		w := newWritten(t, testOptions)
		w.appendOne(t)
		left := n
		w.fsys.fault = func(op, _ string) error {
			if left--; left == -1 && op != "remove" {
				return broken
			}
			return nil
		}
		_, err := w.log.Prepare()
		done = left >= 0
		if !done && n > 0 {
			require.ErrorIs(t, err, broken)
		} else {
			require.NoError(t, err)
		}
		w.fsys.fault = nil
		_, again := w.log.Prepare()
		require.Equal(t, err, again, "it is tried again")
		l, _ := w.reopen(t, testOptions)
		require.NoError(t, l.Close())
		require.NoError(t, w.log.Close())
		assert.Zero(t, w.fsys.open, "files are left open")
	}
}

// TestPrepareBesideAppend runs both on a real disk.
func TestPrepareBesideAppend(t *testing.T) {
	dir := DirFS(t.TempDir())
	opts := Options{SegmentBytes: 16 << 10, ReserveBytes: 16 << 10, Nonce: 1}
	require.NoError(t, Create(dir, opts))
	l, _, err := Open(dir, opts)
	require.NoError(t, err)
	var preparing sync.WaitGroup
	end := make(chan struct{})
	prepared := 0
	preparing.Go(func() {
		for {
			select {
			case <-end:
				return
			case <-l.Wanted():
			}
			if _, err := l.Prepare(); err != nil {
				t.Errorf("preparing: %v", err)
				return
			}
			prepared++
		}
	})
	m := model{}
	for i := uint64(1); i <= 400; i++ {
		b := Batch{Entries: entries(i, 1, 1, 1000), Sync: i%4 == 0}
		require.NoError(t, l.Append(b))
		m = m.append(b)
	}
	close(end)
	preparing.Wait()
	assert.Positive(t, prepared)
	require.NoError(t, l.Close())
	l, found, err := Open(dir, opts)
	require.NoError(t, err)
	require.NoError(t, m.differs(l, found))
	_, err = dir.Open(spareName)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, l.Close())
}

// TestPrepareDuringASwitch: what was made ahead has its name until it is renamed, whoever wants the next one meanwhile.
func TestPrepareDuringASwitch(t *testing.T) {
	opts := Options{SegmentBytes: prepareBytes, ReserveBytes: 1 << 10}
	w := newWritten(t, opts)
	size := int(opts.SegmentBytes / 3 * 2)
	w.append(t, Batch{Entries: entries(1, 1, 1, size), Sync: true})
	require.NoError(t, w.tryPrepare())
	require.True(t, w.has(spareName))
	during := 0
	w.fsys.fault = func(op, name string) error {
		if op == "sync" && name == spareName && during == 0 { // a file keeps the name here that it was made under
			during++
			more, err := w.log.Prepare()
			require.NoError(t, err)
			require.False(t, more)
		}
		return nil
	}
	w.append(t, Batch{Entries: entries(2, 1, 1, size), Sync: true})
	w.fsys.fault = nil
	require.Equal(t, 1, during)
	require.Len(t, w.log.segments, 2)
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, opts)
}
