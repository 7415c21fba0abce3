package wal

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDirFS(t *testing.T) {
	d := DirFS(t.TempDir())
	_, err := d.Open("b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	f, err := d.Create("b")
	require.NoError(t, err)
	_, err = d.Create("b")
	require.ErrorIs(t, err, fs.ErrExist)

	_, err = f.WriteAt([]byte("abc"), 2)
	require.NoError(t, err)
	require.NoError(t, f.Allocate(1<<20))
	size, err := f.Size()
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, size)
	b := make([]byte, 10)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	assert.Equal(t, "\x00\x00abc\x00\x00\x00\x00\x00", string(b))
	n, err := f.ReadAt(b, 1<<20-3)
	assert.Equal(t, 3, n)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())

	require.NoError(t, d.Rename("b", "a"))
	_, err = d.Create("c")
	require.NoError(t, err)
	require.NoError(t, d.SyncDir())
	names, err := d.List()
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "c"}, names)
	require.NoError(t, d.Remove("a"))
	require.ErrorIs(t, d.Remove("a"), fs.ErrNotExist)
	require.ErrorIs(t, DirFS(filepath.Join(t.TempDir(), "none")).SyncDir(), fs.ErrNotExist)
}

// TestAllocateZeros is what Allocate does where blocks cannot be reserved.
func TestAllocateZeros(t *testing.T) {
	f, err := DirFS(t.TempDir()).Create("a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 0)
	require.NoError(t, err)
	require.NoError(t, f.(dirFile).allocateZeros(3<<20))
	b, err := os.ReadFile(f.(dirFile).Name())
	require.NoError(t, err)
	want := make([]byte, 3<<20)
	copy(want, "abc")
	assert.Equal(t, want, b)
}

// TestReadersBesideAppend reads while another goroutine appends, overwrites
// suffixes and switches segments. Every read is a piece of the log as it was at one moment.
func TestReadersBesideAppend(t *testing.T) {
	dir := DirFS(t.TempDir())
	opts := Options{SegmentBytes: 16 << 10, ReserveBytes: 16 << 10, Nonce: 1}
	require.NoError(t, Create(dir, opts))
	l, _, err := Open(dir, opts)
	require.NoError(t, err)
	require.NoError(t, l.Append(Batch{Entries: entries(1, 20, 1, 50)}))

	var stop atomic.Bool
	var reads atomic.Int64
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				last := l.LastIndex()
				lo := l.FirstIndex()
				if last > lo+20 {
					lo = last - 20
				}
				got, err := l.Entries(lo, last+1, 1<<20)
				if err != nil { // cut short between the two calls
					if !strings.Contains(err.Error(), "the log holds") {
						t.Errorf("entries [%d, %d]: %v", lo, last, err)
						return
					}
					continue
				}
				reads.Add(1)
				term := uint64(0)
				for i, e := range got {
					assert.Equal(t, lo+uint64(i), e.GetIndex())
					assert.LessOrEqual(t, term, e.GetTerm(), "entries of before and after an overwrite are mixed")
					term = e.GetTerm()
					assert.Equal(t, entries(e.GetIndex(), 1, term, 50)[0].GetData(), e.GetData())
				}
				if term, err := l.Term(lo); err == nil { // else it was cut short meanwhile
					assert.LessOrEqual(t, got[0].GetTerm(), term)
				}
			}
		})
	}
	m := model{entries: entries(1, 20, 1, 50)}
	for i := uint64(0); i < 1500; i++ {
		from := uint64(len(m.entries)) + 1
		if i%7 == 0 {
			from -= i % 17
		}
		b := Batch{Entries: entries(from, 1+i%5, 2+i/7, 50), Sync: i%100 == 0}
		if err = l.Append(b); err != nil {
			break
		}
		m = m.append(b)
	}
	stop.Store(true)
	readers.Wait()
	require.NoError(t, err)
	assert.Greater(t, reads.Load(), int64(100))
	require.NoError(t, m.differsEntries(l))
	require.NoError(t, l.Close())
	l, found, err := Open(dir, opts)
	require.NoError(t, err)
	require.Nil(t, found.Cut)
	require.NoError(t, m.differsEntries(l))
	require.NoError(t, l.Close())
}
