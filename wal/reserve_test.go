package wal

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fill appends until the log says that the disk is full.
func (w *written) fill(t *testing.T) {
	t.Helper()
	for i := w.model.last() + 1; !w.log.Full(); i++ {
		require.Less(t, i, uint64(1000), "the disk is never full")
		w.append(t, Batch{Entries: entries(i, 1, 1, 500), Sync: true})
	}
}

func (w *written) appendOne(t *testing.T) {
	t.Helper()
	w.append(t, Batch{Entries: entries(w.model.last()+1, 1, 1, 500), Sync: true})
}

func (w *written) has(name string) bool { return w.fsys.files[name] != nil }

func TestReserve(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 6 << 10}
	w := newWritten(t, opts)
	w.fsys.capacity = 3*opts.SegmentBytes + opts.ReserveBytes
	assert.True(t, w.has(reserveName))
	w.fill(t)
	assert.False(t, w.has(reserveName))
	require.Equal(t, opts.ReserveBytes, w.log.current.size, "the reserve is the current segment")

	// Nothing is refused while the reserve lasts, and the log can be opened again.
	w.appendOne(t)
	require.NoError(t, w.log.Prove())
	assert.True(t, w.log.Full())
	l, _ := w.reopen(t, opts) // a copy without the bound: there is room
	assert.False(t, l.Full())
	full := w.fsys.clone()
	full.capacity = w.fsys.capacity
	l, found, err := Open(full, opts)
	require.NoError(t, err)
	require.NoError(t, w.model.differs(l, found))
	assert.True(t, l.Full())

	// When there is room again, the reserve is made with the next proof.
	w.fsys.capacity += opts.ReserveBytes
	require.NoError(t, w.log.Prove())
	assert.False(t, w.log.Full())
	assert.True(t, w.has(reserveName))
	w.fill(t)
	w.reopen(t, opts)
}

func TestReserveIsMadeAgainAtASwitch(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 4 << 10}
	w := newWritten(t, opts)
	w.fsys.capacity = 2 * opts.SegmentBytes
	w.fill(t)
	w.fsys.capacity += opts.SegmentBytes // room for a segment, none for the reserve
	for n := len(w.log.segments); len(w.log.segments) == n; {
		require.True(t, w.log.Full())
		w.appendOne(t)
	}
	assert.True(t, w.log.Full())
	w.fsys.capacity = 0
	for n := len(w.log.segments); len(w.log.segments) == n; {
		require.True(t, w.log.Full())
		w.appendOne(t)
	}
	assert.False(t, w.log.Full())
	w.reopen(t, opts)
}

func TestReserveUsedUp(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 6 << 10}
	w := newWritten(t, opts)
	w.fsys.capacity = 2*opts.SegmentBytes + opts.ReserveBytes
	w.fill(t)
	var err error
	for err == nil {
		b := Batch{Entries: entries(w.model.last()+1, 1, 1, 500), Sync: true}
		if err = w.log.Append(b); err == nil {
			w.model = w.model.append(b)
		}
	}
	require.ErrorIs(t, err, ErrFull)
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.Equal(t, err, w.log.Append(Batch{Sync: true}), "ErrFull is for ever")
	assert.Equal(t, err, w.log.Close())
	w.reopen(t, opts)
}

func TestReserveTooSmallForABatch(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 4 << 10}
	w := newWritten(t, opts)
	w.appendOne(t)
	w.fsys.capacity = 8 << 10
	err := w.log.Append(Batch{Entries: entries(2, 1, 1, 5000)})
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "the reserve wal-reserve has 4096 bytes")
	w.reopen(t, opts)
}

func TestReserveOfAnotherSizeIsReplaced(t *testing.T) {
	w := newWritten(t, Options{SegmentBytes: 4 << 10, ReserveBytes: 6 << 10})
	require.NoError(t, w.log.Close())
	l, _, err := Open(w.fsys, Options{SegmentBytes: 4 << 10, ReserveBytes: 9 << 10})
	require.NoError(t, err)
	assert.False(t, l.Full())
	assert.Len(t, w.fsys.files[reserveName].bytes, 9<<10)
}

// TestReserveInterrupted dies at each operation of giving up the reserve and of making it again.
func TestReserveInterrupted(t *testing.T) {
	opts := tinyOptions
	w := newWritten(t, opts)
	w.fsys.capacity = opts.SegmentBytes + opts.ReserveBytes
	var moments []*memFS
	w.fsys.fault = func(string, string) error {
		c := w.fsys.clone()
		c.capacity = w.fsys.capacity
		moments = append(moments, c)
		return nil
	}
	w.fill(t)
	w.fsys.capacity = 0
	require.NoError(t, w.log.Prove())
	require.False(t, w.log.Full())
	for i, m := range moments {
		l, found, err := Open(m, opts)
		require.NoError(t, err, "moment %d", i)
		require.True(t, slices.ContainsFunc(w.states, func(s model) bool { return s.differs(l, found) == nil }), "moment %d", i)
		m.capacity = 0
		require.NoError(t, l.Prove())
		require.False(t, l.Full(), "moment %d", i)
	}
}

func TestCreateOnAFullDisk(t *testing.T) {
	m := newMemFS()
	m.capacity = 100
	err := Create(m, testOptions)
	require.ErrorIs(t, err, ErrFull)
	assert.Empty(t, m.files, "what is half made is removed")
	m.fault = func(op, _ string) error {
		if op == "create" {
			return syscall.EDQUOT
		}
		return nil
	}
	require.ErrorIs(t, Create(m, testOptions), ErrFull)
	m.fault = func(string, string) error { return errors.New("other") }
	require.NotErrorIs(t, Create(m, testOptions), ErrFull)
}
