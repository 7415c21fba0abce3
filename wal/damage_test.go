package wal

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var tinyOptions = Options{SegmentBytes: 1 << 10, ReserveBytes: 1 << 10, Nonce: 0x5eed}

// tinyLog has three segments. The last batch has three records and is unproven;
// it is durable or not, which the bytes do not tell.
func tinyLog(t *testing.T) *written {
	t.Helper()
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{HardState: hard(1, 1, 0), Entries: entries(1, 4, 1, 40), Sync: true})
	w.append(t, Batch{Entries: entries(5, 3, 1, 30)})
	w.append(t, Batch{Entries: entries(8, 4, 1, 60), Sync: true})
	w.append(t, Batch{HardState: hard(2, 1, 7), Entries: entries(10, 3, 2, 20), Sync: true})
	w.append(t, Batch{Entries: entries(13, 1, 2, 300), Sync: true})
	w.append(t, Batch{HardState: hard(2, 1, 9), Entries: entries(14, 2, 2, 37), Sync: true})
	require.Len(t, w.log.segments, 3)
	return w
}

// markedLog was truncated, and has entries that a marker made dead before and behind
// where it begins. Its last batch is a marker, with all that can go with one.
func markedLog(t *testing.T) *written {
	t.Helper()
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{HardState: hard(1, 1, 0), Entries: entries(1, 8, 1, 30), Sync: true})
	w.append(t, Batch{Entries: entries(9, 8, 1, 40), Sync: true})
	w.append(t, Batch{Entries: entries(12, 2, 2, 40), Sync: true})
	w.append(t, Batch{Snapshot: marker(11, 1, 1), Entries: entries(12, 2, 3, 40), Sync: true})
	w.truncate(t, 11)
	w.append(t, Batch{Entries: entries(13, 3, 4, 20), Sync: true})
	w.append(t, Batch{Snapshot: marker(30, 4, 1, 2, 3), HardState: hard(4, 2, 30), Entries: entries(31, 2, 4, 37), Sync: true})
	require.Equal(t, []uint64{3, 4}, w.segments(t))
	require.EqualValues(t, 16, w.log.segments[0].lastIndex)
	return w
}

// logs are those that the tests of damage to the last batch, and before it, use.
var logs = map[string]func(*testing.T) *written{"entries": tinyLog, "marker": markedLog}

func (w *written) lastBatch() (name string, from, to int64) {
	return w.log.current.name, w.ends[len(w.ends)-2], w.ends[len(w.ends)-1]
}

// goesOn checks that a log takes more, and that nothing of its former life comes
// back behind it.
func goesOn(t *testing.T, fsys *memFS, l *Log, m model) {
	t.Helper()
	next := m.last() + 1
	for _, b := range []Batch{
		{Entries: entries(next, 1, 3, 13)},
		{HardState: hard(3, 3, 3), Entries: entries(next+1, 1, 3, 5), Sync: true},
	} {
		require.NoError(t, l.Append(b))
		m = m.append(b)
		again, found, err := Open(fsys.clone(), tinyOptions)
		require.NoError(t, err)
		require.Nil(t, found.Cut)
		require.NoError(t, m.differs(again, found))
	}
}

// TestCutAtEveryByte loses the end of the last batch, from each of its bytes on,
// as a crash does in an allocated file.
func TestCutAtEveryByte(t *testing.T) {
	for what, log := range logs {
		t.Run(what, func(t *testing.T) { cutAtEveryByte(t, log(t)) })
	}
}

func cutAtEveryByte(t *testing.T, w *written) {
	t.Helper()
	name, from, to := w.lastBatch()
	before := w.states[len(w.states)-2]
	for at := from; at < to; at++ {
		m := w.fsys.clone()
		clear(m.files[name].bytes[at:])
		whole := slices.Equal(m.files[name].bytes, w.fsys.files[name].bytes)
		l, found, err := Open(m, tinyOptions)
		require.NoError(t, err, "cut at %d", at)
		want := before
		switch {
		case whole: // only padding was cut
			want = w.model
			require.Nil(t, found.Cut)
		case slices.Max(m.files[name].bytes[from:to]) == 0 || at == from:
			require.Nil(t, found.Cut)
		default:
			require.NotNil(t, found.Cut, "cut at %d", at)
			assert.Equal(t, Cut{name, from, found.Cut.Reason}, *found.Cut)
			assert.NotEmpty(t, found.Cut.Reason)
		}
		require.NoError(t, want.differs(l, found), "cut at %d", at)
		goesOn(t, m, l, want)
	}
}

// TestLostFrontOfBatch loses the front of the last batch, up to each of its bytes:
// sectors reach the disk in any order.
func TestLostFrontOfBatch(t *testing.T) {
	for what, log := range logs {
		t.Run(what, func(t *testing.T) { lostFrontOfBatch(t, log(t)) })
	}
}

func lostFrontOfBatch(t *testing.T, w *written) {
	t.Helper()
	name, from, to := w.lastBatch()
	before := w.states[len(w.states)-2]
	for at := from + 1; at < to; at++ {
		m := w.fsys.clone()
		clear(m.files[name].bytes[from:at])
		l, found, err := Open(m, tinyOptions)
		require.NoError(t, err, "lost to %d", at)
		require.NoError(t, before.differs(l, found), "lost to %d", at)
		assert.Equal(t, slices.Max(w.fsys.files[name].bytes[at:to]) > 0, found.Cut != nil, "lost to %d", at)
		proof := l.end // of the proof that Open wrote
		assert.Zero(t, slices.Max(m.files[name].bytes[proof:]), "the cut tail is not zeroed")
		goesOn(t, m, l, before)
	}
}

// TestShortenedFile shortens the newest segment to every length. No crash does
// that: the size was durable before the segment was used. So acknowledged batches may be gone.
func TestShortenedFile(t *testing.T) {
	for what, log := range logs {
		t.Run(what, func(t *testing.T) { shortenedFile(t, log(t)) })
	}
}

func shortenedFile(t *testing.T, w *written) {
	t.Helper()
	name := w.log.current.name
	for size := range w.log.current.size {
		m := w.fsys.clone()
		m.files[name].bytes = m.files[name].bytes[:size]
		_, _, err := Open(m, tinyOptions)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, fmt.Sprintf("segment %s at %d", name, size))
	}
}

// TestFlipEveryByte flips the bits of every byte of a log, one by one and all together.
func TestFlipEveryByte(t *testing.T) {
	for what, log := range logs {
		t.Run(what, func(t *testing.T) { flipEveryByte(t, log(t)) })
	}
}

func flipEveryByte(t *testing.T, w *written) {
	t.Helper()
	last, from, to := w.lastBatch()
	before := w.states[len(w.states)-2]
	refused, cut := 0, 0
	for i, s := range w.log.segments {
		end := to + 100
		if s.name != last {
			end = w.log.segments[i+1].prevEnd
		}
		for at := range end {
			for _, flip := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				m := w.fsys.clone()
				m.files[s.name].bytes[at] ^= flip
				what := fmt.Sprintf("%s at %d ^ %d", s.name, at, flip)
				l, found, err := Open(m, tinyOptions)
				switch {
				case s.name != last || at < from: // proven
					refused++
					require.ErrorIs(t, err, ErrDamaged, what)
					var offset int64
					_, scanErr := fmt.Sscanf(err.Error(), "wal: segment "+s.name+" at %d:", &offset)
					require.NoError(t, scanErr, "%s: %v", what, err)
					require.LessOrEqual(t, offset, at, what)
					require.ErrorContains(t, err, "rejoin the cluster as a new member", what)
				case at < to: // the last batch
					cut++
					require.NoError(t, err, what)
					require.NotNil(t, found.Cut, what)
					require.Equal(t, from, found.Cut.Offset, what)
					require.NoError(t, before.differs(l, found), what)
				default: // nothing was ever written there
					require.NoError(t, err, what)
					require.Equal(t, &Cut{last, to, found.Cut.Reason}, found.Cut, what)
					require.NoError(t, w.model.differs(l, found), what)
				}
			}
		}
	}
	assert.Positive(t, refused)
	assert.EqualValues(t, (to-from)*9, cut)
}

// TestFlipEveryByteProven does it to a log that was closed: nothing is cut but its last proof.
func TestFlipEveryByteProven(t *testing.T) {
	for what, log := range logs {
		t.Run(what, func(t *testing.T) { flipEveryByteProven(t, log(t)) })
	}
}

func flipEveryByteProven(t *testing.T, w *written) {
	t.Helper()
	name, _, end := w.lastBatch()
	require.NoError(t, w.log.Close())
	for at := range end + proofBytes {
		m := w.fsys.clone()
		m.files[name].bytes[at] ^= 0xff
		l, found, err := Open(m, tinyOptions)
		if at < end {
			require.ErrorIs(t, err, ErrDamaged, "at %d", at)
			continue
		}
		require.NoError(t, err, "at %d", at)
		require.NotNil(t, found.Cut, "at %d", at)
		require.NoError(t, w.model.differs(l, found), "at %d", at)
	}
}

// TestRotWhileOpen flips every byte under an open log: a read gives what was written or refuses.
func TestRotWhileOpen(t *testing.T) {
	w := tinyLog(t)
	refused := 0
	for _, s := range w.log.segments {
		data := w.fsys.files[s.name].bytes
		for at := range data {
			data[at] ^= 0xff
			err := w.model.differsEntries(w.log)
			if err != nil {
				refused++
				require.ErrorIs(t, err, ErrDamaged, "%s at %d", s.name, at)
				require.ErrorContains(t, err, s.name+" at ", "%s at %d", s.name, at)
			}
			data[at] ^= 0xff
		}
	}
	require.NoError(t, w.model.differsEntries(w.log))
	bytes := 0
	for _, e := range w.model.entries {
		bytes += len(e.GetData())
	}
	assert.Greater(t, refused, bytes)
}

// TestStaleTail loses an unsynced batch, but not the one behind it. What is
// written over the gap must not bring that one back.
func TestStaleTail(t *testing.T) {
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{Entries: entries(1, 2, 1, 20), Sync: true})
	w.append(t, Batch{Entries: entries(3, 1, 1, 20)})
	w.append(t, Batch{Entries: entries(4, 1, 1, 20)})
	name, last, end := w.lastBatch()
	lost := w.ends[0]
	clear(w.fsys.files[name].bytes[lost:last])

	m := w.fsys.clone()
	l, found, err := Open(m, tinyOptions)
	require.NoError(t, err)
	require.Equal(t, &Cut{name, lost, found.Cut.Reason}, found.Cut)
	require.NoError(t, w.states[1].differs(l, found))
	// Opening has proven what is left, so the gap is now one proof shorter: fill it exactly.
	assert.Equal(t, make([]byte, end-last), m.files[name].bytes[last:end], "the stale batch is gone from the disk")
	goesOn(t, m, l, w.states[1])
}

// TestOtherLife puts the end of one log into another that was written alike: the
// same offsets, batch numbers and chain, but for the nonce.
func TestOtherLife(t *testing.T) {
	other := tinyOptions
	other.Nonce++
	var logs [2]*written
	for i, opts := range []Options{tinyOptions, other} {
		logs[i] = newWritten(t, opts)
		logs[i].append(t, Batch{Entries: entries(1, 1, 1, 20), Sync: true})
	}
	logs[1].append(t, Batch{Entries: entries(2, 1, 1, 20), Sync: true})
	name, from, to := logs[1].lastBatch()
	copy(logs[0].fsys.files[name].bytes[from:to], logs[1].fsys.files[name].bytes[from:to])
	l, found, err := Open(logs[0].fsys, tinyOptions)
	require.NoError(t, err)
	require.NotNil(t, found.Cut)
	require.NoError(t, logs[0].model.differs(l, found))
}

func TestWrongFiles(t *testing.T) {
	other := tinyOptions
	other.Nonce++
	one, two, three, four := segmentName(1), segmentName(2), segmentName(3), segmentName(4)
	for _, c := range []struct {
		name string
		do   func(m *memFS)
		want string
	}{
		{"oldest missing", func(m *memFS) { delete(m.files, one) }, one + " at 0"},
		{"middle missing", func(m *memFS) { delete(m.files, two) }, two + " at 0"},
		{"newest missing", func(m *memFS) { delete(m.files, three) }, three + " at 0"},
		{"only the newest", func(m *memFS) { delete(m.files, one); delete(m.files, two) }, one + " at 0"},
		{"swapped", func(m *memFS) { m.files[one], m.files[two] = m.files[two], m.files[one] }, "renamed or copied"},
		{"renamed", func(m *memFS) { m.files[four] = m.files[three]; delete(m.files, three) }, "renamed or copied"},
		{"copied", func(m *memFS) { m.files[four] = m.files[three] }, "renamed or copied"},
		{"empty", func(m *memFS) { m.files[two] = &memData{} }, two + " at 0"},
		{"zeros", func(m *memFS) { clear(m.files[two].bytes) }, two + " at 0"},
		{"grown", func(m *memFS) { m.files[two].bytes = append(m.files[two].bytes, 0) }, two + " at 1024"},
		{"of another log", func(m *memFS) {
			w := newWritten(t, other)
			w.append(t, Batch{Entries: entries(1, 1, 1, 600)})
			w.append(t, Batch{Entries: entries(2, 1, 1, 600), Sync: true})
			m.files[two] = w.fsys.files[two]
		}, "another log"},
		{"of an older state of the log", func(m *memFS) {
			w := newWritten(t, tinyOptions)
			w.append(t, Batch{Entries: entries(1, 1, 1, 600)})
			w.append(t, Batch{Entries: entries(2, 1, 1, 600), Sync: true})
			m.files[two] = w.fsys.files[two]
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := tinyLog(t).fsys.clone()
			c.do(m)
			_, _, err := Open(m, tinyOptions)
			require.ErrorIs(t, err, ErrDamaged)
			assert.ErrorContains(t, err, c.want)
		})
	}
}

// TestWrongFilesOfATruncatedLog takes segments away that are needed, and brings back
// some that are not.
func TestWrongFilesOfATruncatedLog(t *testing.T) {
	w := newWritten(t, tinyOptions)
	for i := range uint64(9) {
		w.append(t, Batch{Entries: entries(1+i, 1, 1, 600), Sync: true})
	}
	all := w.fsys.clone().files
	w.truncate(t, 6)
	require.Equal(t, []uint64{7, 8, 9}, w.segments(t))
	before := newMemFS() // as if the truncation had never been written
	for _, n := range []uint64{7, 8, 9} {
		before.files[segmentName(n)] = all[segmentName(n)]
	}
	_, _, err := Open(before, tinyOptions)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, segmentName(1)+" at 0")

	for _, c := range []struct {
		name         string
		gone, extras []uint64
		missing      uint64 // 0: the log is whole
	}{
		{name: "as it is"},
		{name: "oldest missing", gone: []uint64{7}, missing: 7},
		{name: "middle missing", gone: []uint64{8}, missing: 8},
		{name: "newest missing", gone: []uint64{9}, missing: 9},
		{name: "two missing", gone: []uint64{7, 8}, missing: 7},
		{name: "oldest missing, older ones there", gone: []uint64{7}, extras: []uint64{5, 6}, missing: 7},
		{name: "one left", extras: []uint64{6}},
		{name: "all left", extras: []uint64{1, 2, 3, 4, 5, 6}},
		{name: "left with gaps", extras: []uint64{1, 3, 4}},
		{name: "left with gaps and the last", extras: []uint64{1, 3, 4, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := w.fsys.clone()
			for _, n := range c.gone {
				delete(m.files, segmentName(n))
			}
			for _, n := range c.extras {
				m.files[segmentName(n)] = &memData{bytes: slices.Clone(all[segmentName(n)].bytes)}
			}
			had := m.clone()
			l, found, err := Open(m, tinyOptions)
			if c.missing > 0 {
				require.ErrorIs(t, err, ErrDamaged)
				require.ErrorContains(t, err, segmentName(c.missing)+" at 0")
				require.Equal(t, had.files, m.clone().files, "what is refused is left as it was")
				return
			}
			require.NoError(t, err)
			require.NoError(t, w.model.differs(l, found))
			numbers, err := listSegments(m)
			require.NoError(t, err)
			require.Equal(t, []uint64{7, 8, 9}, numbers)
			goesOn(t, m, l, w.model)
		})
	}
}

// TestFlipInATruncation flips every byte of the record of a truncation that is the last
// batch. It is not proven, but the missing segments show that it was durable.
func TestFlipInATruncation(t *testing.T) {
	w := newWritten(t, tinyOptions)
	for i := range uint64(4) {
		w.append(t, Batch{Entries: entries(1+i, 1, 1, 600), Sync: true})
	}
	left := w.fsys.clone()
	w.truncate(t, 3)
	name, from, to := w.lastBatch()
	require.EqualValues(t, truncationBatchBytes, to-from)
	left.files[name] = w.fsys.files[name]
	for at := from; at < to; at++ {
		m := w.fsys.clone()
		m.files[name].bytes[at] ^= 0xff
		_, _, err := Open(m, tinyOptions)
		require.ErrorIs(t, err, ErrDamaged, "at %d", at)
		require.ErrorContains(t, err, segmentName(1)+" at 0", "at %d", at)

		// If no file is removed yet, it is a torn tail as any other.
		m = left.clone()
		m.files[name].bytes[at] ^= 0xff
		l, found, err := Open(m, tinyOptions)
		require.NoError(t, err, "at %d", at)
		require.NotNil(t, found.Cut, "at %d", at)
		require.NoError(t, w.states[len(w.states)-2].differs(l, found), "at %d", at)
	}
}

// TestContradictions has records with right checksums that do not fit what was before
// them: written so, or put there by hand.
func TestContradictions(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(l *Log)
		want string
	}{
		{"an entry below the first", func(l *Log) {
			crc := l.begin(batchHeaderBytes + entryHeaderBytes)
			l.buf, crc = appendEntry(l.buf, crc, entry(2, 1, ""))
			_ = l.write(crc)
		}, "the log begins here with entry 4"},
		{"a truncation to a segment given up", func(l *Log) { _ = l.writeTruncation(2) }, "cannot begin at segment 2"},
		{"a truncation to a segment to come", func(l *Log) { _ = l.writeTruncation(6) }, "cannot begin at segment 6"},
		{"a marker behind an entry", func(l *Log) {
			m := marker(9, 1)
			crc := l.begin(batchHeaderBytes + entryHeaderBytes + markerBytes(m))
			l.buf, crc = appendEntry(l.buf, crc, entry(6, 1, ""))
			l.buf, crc = appendMarker(l.buf, crc, m)
			_ = l.write(crc)
		}, "does not begin its batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWritten(t, tinyOptions)
			for i := range uint64(5) {
				w.append(t, Batch{Entries: entries(1+i, 1, 1, 500), Sync: true})
			}
			w.truncate(t, 3)
			require.Len(t, w.segments(t), 2)
			w.reopen(t, tinyOptions)
			c.do(w.log)
			_, _, err := Open(w.fsys, tinyOptions)
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestSwitchInterrupted looks at the directory before each operation of a
// workload with segment switches, as if the process had died there.
func TestSwitchInterrupted(t *testing.T) {
	w := newWritten(t, tinyOptions)
	type moment struct {
		op   string
		fsys *memFS
		min  int
	}
	var moments []moment
	w.fsys.fault = func(op, name string) error {
		if op != "read" {
			moments = append(moments, moment{op + " " + name, w.fsys.clone(), len(w.states) - 1})
		}
		return nil
	}
	for i := range uint64(6) {
		w.append(t, Batch{HardState: hard(1, 1, i), Entries: entries(1+i, 1, 1, 400), Sync: true})
	}
	require.Len(t, w.log.segments, 6)
	for i, m := range moments {
		l, found, err := Open(m.fsys, tinyOptions)
		require.NoError(t, err, "moment %d, %s", i, m.op)
		require.Nil(t, found.Cut, "moment %d, %s", i, m.op)
		if w.states[m.min].differs(l, found) != nil { // then the write was done, and the sync not yet
			require.NoError(t, w.states[m.min+1].differs(l, found), "moment %d, %s", i, m.op)
			m.min++
		}
		for name := range m.fsys.files {
			require.False(t, strings.HasSuffix(name, newSuffix), "%s is left of %s", name, m.op)
		}
		goesOn(t, m.fsys, l, w.states[m.min])
	}
}

// TestSealIsWrittenAgain tears the seal of a segment whose successor is still empty.
func TestSealIsWrittenAgain(t *testing.T) {
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{Entries: entries(1, 1, 1, 400), Sync: true})
	require.NoError(t, w.log.switchSegment(100))
	seal := w.ends[0]
	for at := seal; at < seal+sealBatchBytes; at++ {
		m := w.fsys.clone()
		clear(m.files[segmentName(1)].bytes[at:])
		l, found, err := Open(m, tinyOptions)
		require.NoError(t, err, "at %d", at)
		require.NoError(t, w.model.differs(l, found), "at %d", at)
		goesOn(t, m, l, w.model)
	}
	// With a batch in the successor it was there, and durable.
	w.append(t, Batch{Entries: entries(2, 1, 1, 400)})
	clear(w.fsys.files[segmentName(1)].bytes[seal:])
	_, _, err := Open(w.fsys, tinyOptions)
	require.ErrorIs(t, err, ErrDamaged)
}

// TestOpenWritesAgainWhatNoBatchProves: after a failed sync the page cache may
// call clean what the disk does not have; a sync alone then does nothing.
func TestOpenWritesAgainWhatNoBatchProves(t *testing.T) {
	w := newWritten(t, tinyOptions)
	w.append(t, Batch{Entries: entries(1, 1, 1, 100), Sync: true})
	w.append(t, Batch{Entries: entries(2, 1, 1, 100), Sync: true})
	name, from, to := w.lastBatch()
	onDisk := w.fsys.clone()
	clear(onDisk.files[name].bytes[from:to])
	cached := w.fsys.clone()
	cached.wrote = func(file string, b []byte, off int64) { copy(onDisk.files[file].bytes[off:], b) }
	_, _, err := Open(cached, tinyOptions)
	require.NoError(t, err)
	l, found, err := Open(onDisk, tinyOptions)
	require.NoError(t, err)
	require.Nil(t, found.Cut)
	require.NoError(t, w.model.differs(l, found))
}
