package fsm

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

func openImage(t require.TestingT, s *Store) *Image {
	i, err := s.OpenImage()
	require.NoError(t, err)
	return i
}

// readImage reads all of i from its start to its end.
func readImage(t require.TestingT, i *Image) []byte {
	b, err := io.ReadAll(io.NewSectionReader(i, 0, i.Size()))
	require.NoError(t, err)
	require.Len(t, b, int(i.Size()))
	return b
}

// requireImage writes b to path and fails unless it is a whole database, for us
// and for bbolt, that holds want. It returns the database opened.
func requireImage(t require.TestingT, path string, b []byte, want State) *Store {
	require.NoError(t, os.WriteFile(path, b, 0o600))
	st, err := VerifyImage(path, testOptions)
	require.NoError(t, err)
	require.Equal(t, want, st)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(b, after), "VerifyImage changed the file")

	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	}))
	require.NoError(t, db.Close())

	s, err := Open(path, testOptions)
	require.NoError(t, err)
	require.Equal(t, want, s.State())
	require.NoError(t, scrub(s))
	return s
}

// rewrite puts n keys anew and flushes.
func (r *replica) rewrite(n int, value string) {
	r.t.Helper()
	var ops []Op
	for i := range n {
		ops = append(ops, put(fmt.Sprintf("some/key/%03d", i), strings.Repeat(value, 50)))
	}
	r.do(Command{Ops: ops, Comment: "rewrite"})
	r.flush()
}

// An image opens at the newest commit's state, for bbolt too, and goes on from
// there as the store it was taken of does.
func TestImageOpensAtItsState(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(r *replica)
	}{
		{"genesis", func(*replica) {}},
		{"not flushed", func(r *replica) { r.put("a", "1") }},
		{"small", func(r *replica) { r.put("a", "1"); r.flush() }},
		{"even transaction", func(r *replica) { r.put("a", "1"); r.flush(); r.put("b", "2"); r.flush() }},
		{"large value", func(r *replica) { r.put("a", strings.Repeat("x", 100*pageBytes)); r.flush() }},
		{"free pages at the end", func(r *replica) {
			r.put("a", strings.Repeat("x", 100*pageBytes))
			r.flush()
			r.do(Command{Ops: []Op{del("a")}})
			r.flush()
			r.put("b", "2")
			r.flush()
		}},
		{"many pages", func(r *replica) {
			for i := range 5 {
				r.rewrite(300, fmt.Sprint(i))
			}
			r.put("applied", "after the flush")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			c.write(r)
			i := openImage(t, r.s)
			defer i.Close()
			assert.Zero(t, i.Size()%pageBytes)
			s := requireImage(t, r.path+".image", readImage(t, i), i.State())
			defer func() { require.NoError(t, s.Close()) }()
			_, err := s.Apply(r.log[i.State().Applied:])
			require.NoError(t, err)
			require.Equal(t, r.s.State(), s.State())
			copied := &replica{t: t, path: r.path + ".image", s: s, log: r.log, seq: r.seq}
			for _, r := range []*replica{r, copied} {
				r.rewrite(20, "new")
				r.rewrite(40, "newer")
			}
			require.Equal(t, r.s.State(), s.State())
			require.NoError(t, scrub(s))
		})
	}
}

// The meta page made for an image is the one that bbolt wrote, and the other
// leads to the same commit.
func TestImageMetaPages(t *testing.T) {
	r := newReplica(t)
	for range 2 {
		r.put("a", fmt.Sprint(len(r.log)))
		r.flush()
		i := openImage(t, r.s)
		defer i.Close()
		b := readImage(t, i)
		p := r.s.base.pages
		newer, older := p.meta.txid%2, (p.meta.txid+1)%2
		require.Equal(t, p.mem[newer*pageBytes:][:pageBytes], b[newer*pageBytes:][:pageBytes])
		m, valid := parseMeta(b[older*pageBytes:][:pageBytes])
		require.True(t, valid)
		want := p.meta
		want.txid--
		require.Equal(t, want, m)
	}
}

// While an image is open, flushes leave its pages alone; once it is closed, they
// do not, which shows that the test would see it.
func TestImageIsPinned(t *testing.T) {
	r := newReplica(t)
	for i := range 3 {
		r.rewrite(300, fmt.Sprint(i))
	}
	i := openImage(t, r.s)
	defer i.Close()
	want := readImage(t, i)
	free := i.base.pages.isFree
	// inFile returns how many of the image's pages in use the file still has.
	inFile := func() (n int) {
		file, err := os.ReadFile(r.path)
		require.NoError(t, err)
		for at := firstDataPage * pageBytes; at < len(want); at += pageBytes {
			if !free(uint64(at/pageBytes)) && bytes.Equal(file[at:at+pageBytes], want[at:at+pageBytes]) {
				n++
			}
		}
		return n
	}
	used := inFile()
	for j := range 10 {
		r.rewrite(300, fmt.Sprint("flush ", j))
	}
	require.Equal(t, used, inFile(), "pages in use are as they were")
	require.Greater(t, r.s.base.pages.meta.pages, i.base.pages.meta.pages, "the database grew beside it")
	rng := rand.New(rand.NewPCG(1, 2))
	got := make([]byte, len(want))
	for chunk := 0; chunk < len(got); chunk += 1000 {
		// Each chunk in its turn, and another one, read before or not.
		for _, from := range []int{chunk, rng.IntN(len(got))} {
			to := min(from+1+rng.IntN(3*pageBytes), len(got))
			if from == chunk {
				to = min(from+1000, len(got))
			}
			n, err := i.ReadAt(got[from:to], int64(from))
			require.NoError(t, err)
			require.Equal(t, to-from, n)
			require.True(t, bytes.Equal(want[from:to], got[from:to]), "bytes from %d to %d", from, to)
		}
	}
	st := i.State()
	i.Close()
	for j := range 4 {
		r.rewrite(300, fmt.Sprint("after ", j))
	}
	require.Less(t, inFile(), used, "nothing pins the pages any more")
	require.NoError(t, requireImage(t, r.path+".image", got, st).Close())
}

// Images are opened and read while entries are applied and flushed.
func TestImageBesideWrites(t *testing.T) {
	r := newReplica(t)
	r.rewrite(200, "start")
	for round := range 8 {
		before := openImage(t, r.s)
		defer before.Close()
		written := make(chan error, 1)
		go func() {
			defer close(written)
			for range 3 {
				var ops []Op
				for i := range 200 {
					ops = append(ops, put(fmt.Sprintf("some/key/%03d", i), fmt.Sprint("round ", len(r.log), i)))
				}
				r.do(Command{Ops: ops})
				if err := r.s.BeginFlush().Commit(); err != nil {
					written <- err
					return
				}
			}
		}()
		beside := openImage(t, r.s)
		defer beside.Close()
		for j, i := range []*Image{before, beside} {
			b := readImage(t, i)
			path := fmt.Sprintf("%s.image%d.%d", r.path, round, j)
			require.NoError(t, requireImage(t, path, b, i.State()).Close())
			require.True(t, bytes.Equal(b, readImage(t, i)), "read again")
		}
		require.NoError(t, <-written)
		require.Less(t, before.State().Applied, r.s.State().Applied)
		before.Close()
		beside.Close()
	}
}

func TestImageReadAt(t *testing.T) {
	r := newReplica(t)
	r.rewrite(20, "x")
	i := openImage(t, r.s)
	defer i.Close()
	want := readImage(t, i)
	require.NoError(t, iotest.TestReader(io.NewSectionReader(i, 0, i.Size()), want))
	two := make([]byte, 2)
	for _, c := range []struct {
		off  int64
		n    int
		want error
	}{
		{i.Size() - 2, 2, nil},
		{i.Size() - 1, 1, io.EOF},
		{i.Size(), 0, io.EOF},
		{1 << 62, 0, io.EOF},
		{2*pageBytes - 1, 2, nil},
	} {
		n, err := i.ReadAt(two, c.off)
		assert.Equal(t, c.n, n, "at %d", c.off)
		assert.Equal(t, c.want, err, "at %d", c.off)
	}
	_, err := i.ReadAt(two, -1)
	require.Error(t, err)
}

// A file that is cut short under an image is an error, not zeros.
func TestImageOfAFileCutShort(t *testing.T) {
	r := newReplica(t)
	r.put("a", strings.Repeat("x", 3*pageBytes))
	r.flush()
	i := openImage(t, r.s)
	defer i.Close()
	require.NoError(t, os.Truncate(r.path, 3*pageBytes))
	_, err := io.Copy(io.Discard, io.NewSectionReader(i, 0, i.Size()))
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, fmt.Sprintf("read at %d", 3*pageBytes))
}

func TestImageClosed(t *testing.T) {
	r := newReplica(t)
	r.rewrite(20, "x")
	i, other := openImage(t, r.s), openImage(t, r.s)
	defer other.Close()
	want := readImage(t, i)
	i.Close()
	i.Close()
	_, err := i.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrClosed)

	// The store's Close waits for the other one, which reads on.
	closed := make(chan error)
	s := r.s
	r.s = nil
	go func() { closed <- s.Close() }()
	for {
		i, err := s.OpenImage()
		if err != nil {
			require.ErrorIs(t, err, ErrClosed)
			break
		}
		i.Close()
		runtime.Gosched()
	}
	require.Equal(t, want, readImage(t, other))
	other.Close()
	require.NoError(t, <-closed)
}

func TestVerifyImageRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	_, err := VerifyImage(path, testOptions)
	require.ErrorIs(t, err, fs.ErrNotExist)
	r := newReplica(t)
	r.rewrite(20, "x")
	i := openImage(t, r.s)
	defer i.Close()
	image := readImage(t, i)
	for _, c := range []struct {
		name, want string
		edit       func(b []byte) []byte
	}{
		{"empty", "0 bytes are no database", func([]byte) []byte { return nil }},
		{"no database", "both meta pages are", func([]byte) []byte { return bytes.Repeat([]byte("text "), pageBytes) }},
		{"last page missing", "shorter than its", func(b []byte) []byte { return b[:len(b)-pageBytes] }},
		{"first meta page lost", "a meta page is not valid", func(b []byte) []byte { clear(b[:pageBytes]); return b }},
		{"second meta page lost", "a meta page is not valid", func(b []byte) []byte { clear(b[pageBytes : 2*pageBytes]); return b }},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, c.edit(bytes.Clone(image)), 0o600))
			_, err := VerifyImage(path, testOptions)
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
		})
	}
	st, err := VerifyImage(r.path, testOptions)
	require.NoError(t, err, "that the store is open and locked does not matter")
	require.Equal(t, r.s.State(), st)
}

// For each flipped byte of an image: it is refused, or it is the database it was.
func TestEachByteOfAnImageFlipped(t *testing.T) {
	t.Parallel()
	f := newFlipped(t)
	s, err := Open(f.path, flipOptions)
	require.NoError(t, err)
	i := openImage(t, s)
	defer i.Close()
	f.image = readImage(t, i)
	want := i.State()
	i.Close()
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(f.path, f.image, 0o600))
	var refused, passed int
	f.eachByte(t, 0, 1, func() {
		st, err := VerifyImage(f.path, flipOptions)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			refused++
			return
		}
		passed++
		require.Equal(t, want, st)
		s, err := Open(f.path, flipOptions)
		require.NoError(t, err)
		require.Equal(t, want, s.State())
		bad, absent := readAll(t, s, f.states[want.Applied])
		require.Zero(t, bad+absent)
		require.NoError(t, scrub(s))
		require.NoError(t, s.Close())
	})
	t.Logf("of %d bytes: %d refused, %d passed", len(f.image), refused, passed)
	assert.Greater(t, refused, 2*metaBytes)
	assert.Positive(t, passed, "free pages and padding")
}
