package wal

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

// TestLogIsItsModel does what a node does, in any order, to a log and to a plain
// model. Segments that were given up may be there again when it is opened, as after a
// crash. (With other crashes: crash_test.go and package sim.)
func TestLogIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{
			SegmentBytes: rapid.Int64Range(1<<10, 16<<10).Draw(t, "segment"),
			ReserveBytes: 1 << 10,
			Nonce:        rapid.Uint64().Draw(t, "nonce"),
		}
		m, fsys := model{}, newMemFS()
		removed := map[string]*memData{}
		fsys.fault = func(op, name string) error {
			if _, ok := segmentNumber(name); ok && op == "remove" {
				removed[name] = fsys.files[name]
			}
			return nil
		}
		require.NoError(t, Create(fsys, opts))
		l, _, err := Open(fsys, opts)
		require.NoError(t, err)
		term, committed := uint64(1), uint64(0)
		hardState := func(t *rapid.T, commit uint64) *raftpb.HardState {
			if !rapid.Bool().Draw(t, "hard state") {
				return nil
			}
			return hard(term, rapid.Uint64Range(0, 3).Draw(t, "vote"), commit)
		}
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				last := m.last()
				b := Batch{HardState: hardState(t, last), Sync: rapid.Bool().Draw(t, "sync")}
				if n := rapid.Uint64Range(0, 20).Draw(t, "entries"); n > 0 {
					from := last + 1
					if rapid.IntRange(0, 9).Draw(t, "conflict") == 0 {
						from = rapid.Uint64Range(committed+1, last+1).Draw(t, "from")
						term++
					}
					b.Entries = entries(from, n, term, rapid.IntRange(0, 800).Draw(t, "size"))
				}
				require.NoError(t, l.Append(b))
				m = m.append(b)
			},
			"marker": func(t *rapid.T) {
				index := rapid.Uint64Range(max(1, committed), m.last()+50).Draw(t, "index")
				b := Batch{
					Snapshot:  marker(index, term, rapid.SliceOfN(rapid.Uint64(), 0, 5).Draw(t, "voters")...),
					HardState: hardState(t, index),
					Entries:   entries(index+1, rapid.Uint64Range(0, 3).Draw(t, "entries"), term, 100),
					Sync:      rapid.Bool().Draw(t, "sync"),
				}
				require.NoError(t, l.Append(b))
				m, committed = m.append(b), index
			},
			"truncate": func(t *rapid.T) {
				index := rapid.Uint64Range(0, m.last()).Draw(t, "index")
				require.NoError(t, l.Truncate(index))
				m, err = m.truncated(l, index)
				require.NoError(t, err)
				committed = max(committed, index)
			},
			"prove": func(t *rapid.T) { require.NoError(t, l.Prove()) },
			"prepare": func(t *rapid.T) {
				more, err := l.Prepare()
				require.NoError(t, err)
				require.False(t, more)
			},
			"reopen": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "close") {
					require.NoError(t, l.Close())
				}
				for _, name := range slices.Sorted(maps.Keys(removed)) {
					if rapid.Bool().Draw(t, "is there again") {
						fsys.files[name] = removed[name]
					}
				}
				again, found, err := Open(fsys, opts)
				require.NoError(t, err)
				l = again
				require.Nil(t, found.Cut)
				require.NoError(t, m.differs(l, found))
				for name := range removed {
					require.NotContains(t, fsys.files, name)
				}
			},
			"": func(t *rapid.T) { require.NoError(t, m.differsEntries(l)) },
		})
	})
}

// FuzzOpen puts any bytes behind the header of a segment. Whatever Open says of
// them, it does not panic; what it accepts can be read, is the same when it is
// opened again, and can be appended to.
func FuzzOpen(f *testing.F) {
	w := newMemFS()
	if err := Create(w, tinyOptions); err != nil {
		f.Fatal(err)
	}
	l, _, err := Open(w, tinyOptions)
	if err != nil {
		f.Fatal(err)
	}
	empty := w.clone()
	for _, b := range []Batch{
		{HardState: hard(1, 2, 3), Entries: entries(1, 2, 1, 9), Sync: true},
		{Entries: entries(2, 1, 2, 0)},
		{Snapshot: marker(9, 3, 1, 2, 3), HardState: hard(3, 1, 9), Entries: entries(10, 2, 3, 5)},
	} {
		if err := l.Append(b); err != nil {
			f.Fatal(err)
		}
	}
	name := l.current.name
	f.Add(w.files[name].bytes[segmentHeaderBytes:l.end], false)
	f.Add(w.files[name].bytes[segmentHeaderBytes:l.end], true)
	require.NoError(f, l.writeTruncation(firstSegment))
	f.Add(w.files[name].bytes[segmentHeaderBytes:l.end], true)
	l.encodeSeal()
	f.Add(append(w.files[name].bytes[segmentHeaderBytes:l.end:l.end], l.buf...), false)
	f.Add([]byte("x"), true)
	seed := l.current.seed
	first := l.current.crc()
	f.Fuzz(func(t *testing.T, tail []byte, fix bool) {
		m := empty.clone()
		b := m.files[name].bytes
		copy(b[segmentHeaderBytes:], tail)
		if fix { // so that more than the checksums is tried
			fixSums(b, seed, first)
		}
		l, found, err := Open(m, tinyOptions)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		had := model{base: l.FirstIndex() - 1, marker: found.Snapshot}
		had.baseTerm, err = l.Term(had.base)
		require.NoError(t, err)
		for n := l.LastIndex(); had.last() < n; {
			got, err := l.Entries(had.last()+1, n+1, 200)
			require.NoError(t, err)
			had.entries = append(had.entries, got...)
		}
		hs := found.HardState
		had.hard = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
		require.NoError(t, had.differs(l, found))
		again, found, err := Open(m.clone(), tinyOptions)
		require.NoError(t, err)
		require.Nil(t, found.Cut, "what was cut is there again")
		require.NoError(t, had.differs(again, found))
		next := Batch{Entries: entries(had.last()+1, 1, 9, 9), Sync: true}
		require.NoError(t, l.Append(next))
		had = had.append(next)
		again, found, err = Open(m, tinyOptions)
		require.NoError(t, err)
		require.Nil(t, found.Cut)
		require.NoError(t, had.differs(again, found))
	})
}

// fixSums makes the checksums, offsets and numbers of what looks like records right.
func fixSums(b []byte, seed, chain uint32) {
	batch := uint64(0)
	for at := int64(segmentHeaderBytes); at+batchHeaderBytes <= int64(len(b)); {
		size := recordSize(b[at:])
		if size == 0 || size > int64(len(b))-at {
			return
		}
		r := record(b[at : at+size])
		if r.kind() == typeBatch && size == batchHeaderBytes {
			batch++
			binary.LittleEndian.PutUint32(r[12:], chain)
			binary.LittleEndian.PutUint64(r[16:], uint64(at))
			binary.LittleEndian.PutUint64(r[24:], batch)
			chain = closeRecord(r, seed)
		} else {
			chain = closeRecord(r, chain)
		}
		at += size
	}
}
