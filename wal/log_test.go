package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

func TestEmptyLog(t *testing.T) {
	w := newWritten(t, testOptions)
	require.NoError(t, w.model.differsEntries(w.log))
	got, err := w.log.Entries(1, 1, 100)
	require.NoError(t, err)
	assert.Empty(t, got)
	require.NoError(t, w.log.Close())
	_, found := w.reopen(t, testOptions)
	assert.Nil(t, found.Cut)
}

func TestAppendAndReopen(t *testing.T) {
	w := newWritten(t, testOptions)
	w.append(t, Batch{HardState: hard(1, 2, 0), Entries: entries(1, 3, 1, 30), Sync: true})
	w.append(t, Batch{HardState: hard(1, 2, 2)})
	w.append(t, Batch{Entries: []*raftpb.Entry{entry(4, 1, "")}, Sync: true})
	e := entry(5, 2, "change")
	e.Type = raftpb.EntryConfChangeV2.Enum()
	w.append(t, Batch{HardState: hard(2, 0, 4), Entries: []*raftpb.Entry{e}, Sync: true})
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, testOptions)
	require.NoError(t, w.log.Close())
	_, found := w.reopen(t, testOptions)
	assert.Nil(t, found.Cut)
}

func TestOverwrite(t *testing.T) {
	w := newWritten(t, testOptions)
	w.append(t, Batch{Entries: entries(1, 50, 1, 100)}) // a segment of its own
	w.append(t, Batch{Entries: entries(51, 10, 1, 100)})
	w.append(t, Batch{Entries: entries(56, 5, 2, 10)})
	w.append(t, Batch{Entries: entries(55, 1, 3, 10)})
	w.append(t, Batch{Entries: entries(56, 3, 3, 10)})
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, testOptions)
	w.append(t, Batch{Entries: entries(20, 2, 4, 1)}) // back into the first segment
	require.NoError(t, w.model.differsEntries(w.log))
	w.append(t, Batch{Entries: entries(22, 2, 4, 1), HardState: hard(4, 1, 20)})
	w.reopen(t, testOptions)
	w.append(t, Batch{Entries: entries(1, 1, 5, 1), Sync: true}) // all of it
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, testOptions)
}

func TestSegmentSwitch(t *testing.T) {
	w := newWritten(t, testOptions)
	for i := uint64(0); i < 200; i++ {
		w.append(t, Batch{HardState: hard(1, 1, i), Entries: entries(1+i, 1, 1+i/10, int(i)), Sync: i%3 == 0})
	}
	require.Greater(t, len(w.log.segments), 5)
	require.NoError(t, w.model.differsEntries(w.log))
	w.reopen(t, testOptions)
	require.NoError(t, w.log.Close())
	l, found := w.reopen(t, Options{SegmentBytes: 8 << 10})
	assert.Nil(t, found.Cut)
	require.NoError(t, l.Append(Batch{Entries: entries(201, 1, 30, 1), Sync: true}))
}

// TestSegmentIsFilled leaves every possible room at the end of a segment.
func TestSegmentIsFilled(t *testing.T) {
	for size := 3000; size < 4100; size += 8 {
		w := newWritten(t, testOptions)
		w.append(t, Batch{Entries: entries(1, 1, 1, size)})
		require.NoError(t, w.log.Prove())
		w.append(t, Batch{Entries: entries(2, 1, 1, 1)})
		require.NoError(t, w.log.Prove())
		w.reopen(t, testOptions)
		for range 4 {
			require.NoError(t, w.log.writeTruncation(firstSegment))
			require.NoError(t, w.log.Prove())
			w.reopen(t, testOptions)
		}
	}
}

func TestOversizedBatch(t *testing.T) {
	w := newWritten(t, testOptions)
	w.append(t, Batch{Entries: entries(1, 1, 1, 10), Sync: true})
	w.append(t, Batch{Entries: entries(2, 3, 1, 5<<20), Sync: true})
	w.append(t, Batch{Entries: entries(5, 1, 1, 10), Sync: true})
	require.NoError(t, w.model.differsEntries(w.log))
	assert.LessOrEqual(t, cap(w.log.buf), keepBufferBytes, "the buffer of the huge batch is kept")
	w.reopen(t, testOptions)

	data := make([]byte, MaxBatchBytes/2)
	b := Batch{Entries: []*raftpb.Entry{entry(6, 1, ""), entry(7, 1, "")}}
	b.Entries[0].Data, b.Entries[1].Data = data, data
	require.ErrorContains(t, w.log.Append(b), "can be written together")
}

func TestEntriesLimits(t *testing.T) {
	w := newWritten(t, testOptions)
	w.append(t, Batch{Entries: entries(1, 100, 1, 68)}) // 100 bytes on disk, padded to 104
	for _, c := range []struct {
		name     string
		lo, hi   uint64
		maxBytes uint64
		want     int
	}{
		{"all", 1, 101, 1 << 20, 100},
		{"at least one", 50, 101, 0, 1},
		{"less than two", 50, 101, 207, 1},
		{"exactly two", 50, 101, 208, 2},
		{"the last", 100, 101, 1 << 20, 1},
	} {
		got, err := w.log.Entries(c.lo, c.hi, c.maxBytes)
		require.NoError(t, err, c.name)
		require.Len(t, got, c.want, c.name)
		assert.Equal(t, c.lo, got[0].GetIndex(), c.name)
	}
	for _, r := range [][2]uint64{{0, 5}, {1, 102}, {101, 102}, {5, 4}} {
		_, err := w.log.Entries(r[0], r[1], 100)
		require.Error(t, err, "entries %v", r)
	}
	_, err := w.log.Term(101)
	require.Error(t, err)
}

func TestAppendRefusesNonsense(t *testing.T) {
	for name, b := range map[string]Batch{
		"gap":              {Entries: entries(12, 1, 1, 1)},
		"index 0":          {Entries: entries(0, 1, 1, 1)},
		"gap in the batch": {Entries: []*raftpb.Entry{entry(11, 1, ""), entry(13, 1, "")}},
		"unknown type":     {Entries: []*raftpb.Entry{{Index: new(uint64(11)), Type: raftpb.EntryType(7).Enum()}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWritten(t, testOptions)
			w.append(t, Batch{Entries: entries(1, 10, 1, 1)})
			require.Error(t, w.log.Append(b))
			require.NoError(t, w.model.differsEntries(w.log))
			w.reopen(t, testOptions)
		})
	}
}

func TestCreate(t *testing.T) {
	w := newWritten(t, testOptions)
	require.ErrorIs(t, Create(w.fsys, testOptions), fs.ErrExist)
	_, _, err := Open(newMemFS(), testOptions)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestCreateInterrupted stops Create before each of its operations: there is no
// log then, and it can be made.
func TestCreateInterrupted(t *testing.T) {
	done := false
	for n := 0; !done; n++ {
		m, ops := newMemFS(), 0
		died := errors.New("died")
		m.fault = func(string, string) error {
			if ops++; ops > n {
				return died
			}
			return nil
		}
		err := Create(m, testOptions)
		m.fault = nil
		if done = err == nil; done {
			continue
		}
		require.ErrorIs(t, err, died)
		if numbers, listErr := listSegments(m); listErr == nil && len(numbers) == 0 {
			_, _, err = Open(m, testOptions)
			require.ErrorIs(t, err, fs.ErrNotExist, "operation %d", n)
			require.NoError(t, Create(m, testOptions), "operation %d", n)
		}
		l, _, err := Open(m, testOptions)
		require.NoError(t, err, "operation %d", n)
		require.NoError(t, l.Close())
	}
}

// TestAppendIsOneWriteAndOneSync counts what group commit is about.
func TestAppendIsOneWriteAndOneSync(t *testing.T) {
	w := newWritten(t, testOptions)
	var ops []string
	w.fsys.fault = func(op, _ string) error { ops = append(ops, op); return nil }
	w.append(t, Batch{HardState: hard(1, 1, 1), Entries: entries(1, 5, 1, 100), Sync: true})
	assert.Equal(t, []string{"write", "sync"}, ops)
	ops = nil
	w.append(t, Batch{HardState: hard(1, 1, 2)})
	assert.Equal(t, []string{"write"}, ops)
	ops = nil
	require.NoError(t, w.log.Append(Batch{Sync: true}))
	assert.Equal(t, []string{"sync"}, ops)
	ops = nil
	require.NoError(t, w.log.Prove())
	assert.Equal(t, []string{"write", "sync"}, ops)
	ops = nil
	require.NoError(t, w.log.Prove())
	assert.Empty(t, ops, "what is proven needs no second proof")
}

// TestPoisoned fails each operation that a workload does, once: the log then takes
// nothing more, though the disk would, returns the first error for ever, and touches no file.
func TestPoisoned(t *testing.T) {
	workload := func(w *written) error {
		for i := uint64(0); i < 10; i++ {
			b := Batch{HardState: hard(1, 1, i), Entries: entries(1+i, 1, 1, 700), Sync: i%2 == 0}
			if err := w.log.Append(b); err != nil {
				return err
			}
			w.model = w.model.append(b)
		}
		return w.log.Prove()
	}
	done := false
	for n := 0; !done; n++ {
		w := newWritten(t, testOptions)
		ops, failed := 0, ""
		w.fsys.fault = func(op, name string) error {
			ops++
			if ops == n+1 {
				failed = op + " " + name
				return errors.New("input/output error")
			}
			assert.LessOrEqual(t, ops, n+1+2, "%s after %s had failed", op, failed) // may clean up its own file
			return nil
		}
		err := workload(w)
		if done = failed == ""; done {
			require.NoError(t, err)
			continue
		}
		if err == nil { // a file that was not there need not be removed
			continue
		}
		require.ErrorContains(t, err, "input/output error", failed)
		w.fsys.fault = func(op, name string) error { return fmt.Errorf("%s %s on a poisoned log", op, name) }
		assert.Equal(t, err, w.log.Append(Batch{HardState: hard(9, 9, 9), Sync: true}), failed)
		assert.Equal(t, err, w.log.Prove(), failed)
		w.fsys.fault = nil
		require.NoError(t, w.model.differsEntries(w.log), "what was appended can be read: %s", failed)
		assert.Equal(t, err, w.log.Close(), failed)

		// The failed batch may be there, the ones before it are.
		l, _, err := Open(w.fsys, testOptions)
		require.NoError(t, err, failed)
		assert.GreaterOrEqual(t, l.LastIndex(), uint64(len(w.model.entries)), failed)
		require.NoError(t, l.Close())
	}
}

func TestClosed(t *testing.T) {
	w := newWritten(t, testOptions)
	require.NoError(t, w.log.Close())
	require.ErrorIs(t, w.log.Append(Batch{Sync: true}), fs.ErrClosed)
}
