package wal

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// oneEach is a log with an entry to a segment, up to n.
func oneEach(t *testing.T, n uint64) *written {
	t.Helper()
	w := newWritten(t, tinyOptions)
	for i := range n {
		w.append(t, Batch{HardState: hard(1, 1, i), Entries: entries(1+i, 1, 1+i/3, 500), Sync: true})
	}
	require.Len(t, w.segments(t), int(n))
	return w
}

func TestTruncate(t *testing.T) {
	for index := range uint64(10) {
		w := oneEach(t, 9)
		w.truncate(t, index)
		assert.Equal(t, max(1, min(index+1, 9)), w.log.FirstIndex(), "the current segment stays")
		require.NoError(t, w.model.differsEntries(w.log))
		assert.Len(t, w.segments(t), int(9-w.log.FirstIndex()+1))
		assert.Equal(t, len(w.log.segments), w.fsys.open, "files are left open")
		w.reopen(t, tinyOptions)
		goesOn(t, w.fsys, w.log, w.model)
	}
}

// TestTruncateIsOneWriteAndOneSync counts what it costs.
func TestTruncateIsOneWriteAndOneSync(t *testing.T) {
	w := oneEach(t, 5)
	require.NoError(t, w.log.Prove())
	var ops []string
	w.fsys.fault = func(op, name string) error { ops = append(ops, op+" "+strings.TrimSuffix(name, newSuffix)); return nil }
	w.truncate(t, 3)
	assert.Equal(t, []string{
		"write " + segmentName(5), "sync " + segmentName(5),
		"remove " + segmentName(1), "remove " + segmentName(2), "remove " + segmentName(3),
	}, ops)
	ops = nil
	for index := range uint64(4) {
		w.truncate(t, index)
	}
	assert.Empty(t, ops, "nothing was left to give up")
	require.NoError(t, w.log.Prove())
	assert.Equal(t, []string{"write " + segmentName(5), "sync " + segmentName(5)}, ops, "a truncation is to be proven too")
}

func TestTruncateAboveTheLog(t *testing.T) {
	w := oneEach(t, 3)
	err := w.log.Truncate(4)
	require.ErrorContains(t, err, "truncating a log of 1 to 3 at 4")
	assert.Equal(t, err, w.log.Append(Batch{Sync: true}))
	assert.Equal(t, err, w.log.Close())
}

// TestTruncateAfterConflicts: a segment whose header counts entries that were replaced
// later, or may still be, cannot be the first.
func TestTruncateAfterConflicts(t *testing.T) {
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{Entries: entries(1, 5, 1, 90)})               // segment 1
	w.append(t, Batch{Entries: entries(6, 5, 1, 90)})               // 2
	w.append(t, Batch{Entries: entries(11, 1, 1, 300)})             // 3, behind 10
	w.append(t, Batch{Entries: entries(9, 1, 2, 300), Sync: true})  // 4, behind 11
	w.append(t, Batch{Entries: entries(10, 3, 2, 150), Sync: true}) // 5, behind 9
	w.append(t, Batch{Entries: entries(13, 1, 2, 300), Sync: true}) // 6
	w.append(t, Batch{Entries: entries(14, 1, 2, 600), Sync: true}) // 7
	require.Len(t, w.segments(t), 7)
	for _, c := range []struct{ index, first, oldest uint64 }{
		{4, 1, 1},
		{8, 6, 2},  // 3 counts 9 and 10, which lie behind it
		{9, 10, 5}, // as does 4, but 5 begins behind the new 9
		{11, 10, 5},
		{12, 13, 6},
	} {
		w.truncate(t, c.index)
		assert.Equal(t, c.first, w.log.FirstIndex(), "truncated at %d", c.index)
		assert.Equal(t, c.oldest, w.segments(t)[0], "truncated at %d", c.index)
		require.NoError(t, w.model.differsEntries(w.log))
		w.reopen(t, tinyOptions)
	}
}

// TestMarker puts markers above, at and below the end of a log, and in the middle of it.
func TestMarker(t *testing.T) {
	for _, index := range []uint64{1, 5, 6, 9, 10, 1000} {
		w := oneEach(t, 9)
		w.append(t, Batch{Entries: entries(7, 1, 9, 10), Sync: true}) // in the segment of the marker
		segments := w.segments(t)
		b := Batch{Snapshot: marker(index, 9, 1, 2), HardState: hard(9, 0, index), Sync: true}
		if index%2 == 0 {
			b.Entries = entries(index+1, 3, 9, 10)
		}
		w.append(t, b)
		require.NoError(t, w.model.differsEntries(w.log))
		assert.Equal(t, segments, w.segments(t), "a marker removes nothing")
		w.reopen(t, tinyOptions)
		w.append(t, Batch{Entries: entries(w.model.last()+1, 2, 9, 10)})
		w.reopen(t, tinyOptions)

		// What is dead goes when the snapshot is where it belongs.
		w.truncate(t, index)
		assert.Equal(t, index+1, w.log.FirstIndex())
		assert.Equal(t, segments[len(segments)-1:], w.segments(t))
		_, found := w.reopen(t, tinyOptions)
		assert.NotNil(t, found.Snapshot, "the segment of the marker is the current one")
		goesOn(t, w.fsys, w.log, w.model)
	}
}

// TestMarkerAfterMarker truncates between and behind two markers.
func TestMarkerAfterMarker(t *testing.T) {
	for _, truncations := range [][]uint64{{}, {20}, {20, 25}, {25}, {20, 40}, {40}, {20, 40, 43}, {43}} {
		w := oneEach(t, 3)
		w.append(t, Batch{Snapshot: marker(20, 4, 1), Sync: true})
		apply := func(index uint64) {
			for len(truncations) > 0 && truncations[0] <= index {
				w.truncate(t, truncations[0])
				w.reopen(t, tinyOptions)
				truncations = truncations[1:]
			}
		}
		apply(20)
		for i := range uint64(8) {
			w.append(t, Batch{Entries: entries(21+i, 1, 4, 500), Sync: true})
		}
		apply(28)
		w.append(t, Batch{Snapshot: marker(40, 5, 1, 2), Entries: entries(41, 1, 5, 500), Sync: true})
		apply(40)
		for i := range uint64(4) {
			w.append(t, Batch{Entries: entries(42+i, 1, 5, 500), Sync: true})
		}
		apply(45)
		require.NoError(t, w.model.differsEntries(w.log))
		w.reopen(t, tinyOptions)
	}
}

// TestMarkerConfState brings every part of a membership through the disk.
func TestMarkerConfState(t *testing.T) {
	for name, conf := range map[string]*raftpb.ConfState{
		"none":   nil,
		"empty":  {},
		"voters": {Voters: []uint64{3, 1, 1 << 63}},
		"joint": {
			Voters: []uint64{1, 2}, Learners: []uint64{5}, VotersOutgoing: []uint64{3, 4, 6},
			LearnersNext: []uint64{7}, AutoLeave: new(true),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWritten(t, tinyOptions)
			require.NoError(t, w.log.Append(Batch{Snapshot: &Marker{Index: 7, Term: 3, Conf: conf}, Sync: true}))
			_, found, err := Open(w.fsys, tinyOptions)
			require.NoError(t, err)
			require.NotNil(t, found.Snapshot)
			assert.EqualValues(t, 7, found.Snapshot.Index)
			assert.EqualValues(t, 3, found.Snapshot.Term)
			if conf == nil {
				conf = &raftpb.ConfState{}
			}
			assert.True(t, proto.Equal(conf, found.Snapshot.Conf), "%v", found.Snapshot.Conf)
		})
	}
}

func TestAppendRefusesMarkers(t *testing.T) {
	for name, b := range map[string]Batch{
		"index 0":            {Snapshot: marker(0, 1)},
		"before the log":     {Snapshot: marker(2, 1)},
		"beyond counting":    {Snapshot: marker(maxIndex+1, 1)},
		"entries before it":  {Snapshot: marker(9, 1), Entries: entries(9, 1, 1, 1)},
		"entries far behind": {Snapshot: marker(9, 1), Entries: entries(11, 1, 1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			w := oneEach(t, 9)
			w.truncate(t, 3)
			require.Error(t, w.log.Append(b))
			require.NoError(t, w.model.differsEntries(w.log))
			w.reopen(t, tinyOptions)
		})
	}
}

// TestTruncatePoisons fails each operation of Truncate. What it was not to give up can
// be read, here and when the log is opened again.
func TestTruncatePoisons(t *testing.T) {
	done := false
	for n := 0; !done; n++ {
		w := oneEach(t, 6)
		w.fsys.fault = dieAfter(n)
		err := w.log.Truncate(4)
		w.fsys.fault = nil
		if done = err == nil; done {
			continue
		}
		require.ErrorIs(t, err, errDied, "operation %d", n)
		assert.Equal(t, err, w.log.Truncate(4), "operation %d", n)
		assert.Equal(t, err, w.log.Append(Batch{Sync: true}), "operation %d", n)
		m, checkErr := w.model.truncated(w.log, 4)
		require.NoError(t, checkErr)
		require.NoError(t, m.differsEntries(w.log), "operation %d", n)
		assert.Equal(t, err, w.log.Close())
		l, found, err := Open(w.fsys, tinyOptions)
		require.NoError(t, err, "operation %d", n)
		m, err = w.model.truncated(l, 4)
		require.NoError(t, err)
		require.NoError(t, m.differs(l, found), "operation %d", n)
	}
}

// TestTruncateMakesTheReserveAgain fills a disk to its last byte and truncates.
func TestTruncateMakesTheReserveAgain(t *testing.T) {
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 6 << 10}
	w := newWritten(t, opts)
	w.fsys.capacity = 3*opts.SegmentBytes + opts.ReserveBytes
	for range 5 {
		w.fill(t)
		for size := int64(500); size > 0; size -= 8 { // what the reserve still holds
			b := Batch{Entries: entries(w.model.last()+1, 1, 1, int(size))}
			for w.log.end+b.bytes() <= w.log.current.size-tailBytes {
				w.append(t, b)
				b.Entries = entries(w.model.last()+1, 1, 1, int(size))
			}
		}
		require.NoError(t, w.log.Prove())
		require.True(t, w.log.Full())
		w.truncate(t, w.model.last())
		assert.False(t, w.log.Full())
		assert.True(t, w.has(reserveName))
		w.reopen(t, opts)
	}
	// A truncation that frees nothing changes nothing.
	w.fill(t)
	w.truncate(t, w.model.base)
	assert.True(t, w.log.Full())
}

// TestReadAcrossTruncate stops a read in its middle while its segments are given up.
func TestReadAcrossTruncate(t *testing.T) {
	w := oneEach(t, 6)
	before, files := w.model, w.fsys.open
	reading, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.fsys.fault = func(op, name string) error {
		if op == "read" && strings.HasPrefix(name, segmentName(2)) {
			once.Do(func() {
				// memFS holds a lock here, which Truncate needs.
				w.fsys.mu.Unlock()
				close(reading)
				<-goOn
				w.fsys.mu.Lock()
			})
		}
		return nil
	}
	var got []*raftpb.Entry
	var err error
	var reader sync.WaitGroup
	reader.Go(func() { got, err = w.log.Entries(1, 6, 1<<20) })
	<-reading
	w.truncate(t, 5)
	assert.Equal(t, []uint64{6}, w.segments(t), "the names are gone")
	assert.Equal(t, files, w.fsys.open, "the files are not closed under the reader")
	close(goOn)
	reader.Wait()
	require.NoError(t, err)
	require.Len(t, got, 5)
	for i, e := range got {
		assert.Equal(t, before.entries[i].GetData(), e.GetData())
	}
	assert.Equal(t, files-5, w.fsys.open, "the reader closes what it was the last to use")
}

// TestReadersBesideTruncate reads while another goroutine appends, truncates and puts
// markers. Every read is a piece of the log, or says that it was given up.
func TestReadersBesideTruncate(t *testing.T) {
	dir := DirFS(t.TempDir())
	opts := Options{SegmentBytes: 4 << 10, ReserveBytes: 4 << 10, Nonce: 1}
	require.NoError(t, Create(dir, opts))
	l, _, err := Open(dir, opts)
	require.NoError(t, err)
	m := model{}
	m = m.append(Batch{Entries: entries(1, 50, 1, 50)})
	require.NoError(t, l.Append(Batch{Entries: m.entries}))

	var stop atomic.Bool
	var reads, compacted atomic.Int64
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				first := l.FirstIndex()
				got, err := l.Entries(first, first+5, 1<<20)
				_, termErr := l.Term(first - 1)
				switch {
				case err == nil:
					reads.Add(1)
					for i, e := range got {
						assert.Equal(t, first+uint64(i), e.GetIndex())
						assert.Equal(t, entries(e.GetIndex(), 1, 1, 50)[0].GetData(), e.GetData())
					}
				case errors.Is(err, ErrCompacted):
					compacted.Add(1)
				case !strings.Contains(err.Error(), "the log holds"): // a marker came, and nothing behind it
					t.Errorf("entries from %d on: %v", first, err)
					return
				}
				if termErr != nil {
					assert.ErrorIs(t, termErr, ErrCompacted)
				}
			}
		})
	}
	for i := uint64(0); i < 1500 || (reads.Load() < 200 && i < 100_000); i++ {
		b := Batch{Entries: entries(m.last()+1, 4, 1, 50), Sync: i%100 == 0}
		if i%50 == 49 {
			b.Snapshot = marker(m.last()+10, 1)
			b.Entries = entries(m.last()+11, 10, 1, 50)
		}
		if err = l.Append(b); err != nil {
			break
		}
		m = m.append(b)
		if i%3 == 0 {
			index := m.last() - min(m.last()-m.base, 30)
			if err = l.Truncate(index); err != nil {
				break
			}
			if m, err = m.truncated(l, index); err != nil {
				break
			}
		}
	}
	stop.Store(true)
	readers.Wait()
	require.NoError(t, err)
	t.Logf("%d reads, %d of what was given up", reads.Load(), compacted.Load())
	assert.GreaterOrEqual(t, reads.Load(), int64(200))
	require.NoError(t, m.differsEntries(l))
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Truncate(m.last()), fs.ErrClosed)
	l, found, err := Open(dir, opts)
	require.NoError(t, err)
	found.HardState = nil // there was none
	require.NoError(t, m.differs(l, found))
	require.NoError(t, l.Close())
}
