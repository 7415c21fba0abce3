package wal

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestLogIsItsModel does what a node does, in any order, to a log and to a plain
// model. (With crashes: package sim.)
func TestLogIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{
			SegmentBytes: rapid.Int64Range(1<<10, 16<<10).Draw(t, "segment"),
			ReserveBytes: 1 << 10,
			Nonce:        rapid.Uint64().Draw(t, "nonce"),
		}
		m, fsys := model{}, newMemFS()
		require.NoError(t, Create(fsys, opts))
		l, found, err := Open(fsys, opts)
		require.NoError(t, err)
		term := uint64(1)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				b := Batch{Sync: rapid.Bool().Draw(t, "sync")}
				last := uint64(len(m.entries))
				if rapid.Bool().Draw(t, "hard state") {
					b.HardState = hard(term, rapid.Uint64Range(0, 3).Draw(t, "vote"), rapid.Uint64Range(0, last).Draw(t, "commit"))
				}
				if n := rapid.Uint64Range(0, 20).Draw(t, "entries"); n > 0 {
					from := last + 1
					if rapid.IntRange(0, 9).Draw(t, "conflict") == 0 {
						from = rapid.Uint64Range(1, last+1).Draw(t, "from")
						term++
					}
					b.Entries = entries(from, n, term, rapid.IntRange(0, 800).Draw(t, "size"))
				}
				require.NoError(t, l.Append(b))
				m = m.append(b)
			},
			"prove": func(t *rapid.T) { require.NoError(t, l.Prove()) },
			"reopen": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "close") {
					require.NoError(t, l.Close())
				}
				l, found, err = Open(fsys, opts)
				require.NoError(t, err)
				require.Nil(t, found.Cut)
				require.NoError(t, m.differs(l, found.HardState))
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
	} {
		if err := l.Append(b); err != nil {
			f.Fatal(err)
		}
	}
	name := l.current.name
	f.Add(w.files[name].bytes[segmentHeaderBytes:l.end], false)
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
		var had model
		if n := l.LastIndex(); n > 0 {
			for lo := uint64(1); lo <= n; {
				got, err := l.Entries(lo, n+1, 200)
				require.NoError(t, err)
				had.entries = append(had.entries, got...)
				lo += uint64(len(got))
			}
		}
		hs := found.HardState
		had.hard = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
		require.NoError(t, had.differs(l, hs))
		again, found, err := Open(m.clone(), tinyOptions)
		require.NoError(t, err)
		require.Nil(t, found.Cut, "what was cut is there again")
		require.NoError(t, had.differs(again, found.HardState))
		next := Batch{Entries: entries(uint64(len(had.entries))+1, 1, 9, 9), Sync: true}
		require.NoError(t, l.Append(next))
		had = had.append(next)
		again, found, err = Open(m, tinyOptions)
		require.NoError(t, err)
		require.Nil(t, found.Cut)
		require.NoError(t, had.differs(again, found.HardState))
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
