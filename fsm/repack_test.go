package fsm

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func beginRepack(t require.TestingT, s *Store) *Repack {
	p, err := s.BeginRepack()
	require.NoError(t, err)
	return p
}

// stepAll takes steps until nothing but Swap is left, and does between before each.
func stepAll(t require.TestingT, p *Repack, budget int, between func()) (steps int) {
	for {
		between()
		done, err := p.Step(budget)
		require.NoError(t, err)
		if steps++; done {
			return steps
		}
	}
}

// requireWhole fails unless the database at path is sound from end to end, for us and for
// bbolt, at want.
func (r *replica) requireWhole() {
	r.t.Helper()
	i := openImage(r.t, r.s)
	defer i.Close()
	require.NoError(r.t, requireImage(r.t, r.path+".image", readImage(r.t, i), i.State()).Close())
	require.NoError(r.t, scrub(r.s))
}

// A file of which most is free becomes small, and all else stays as it is.
func TestRepack(t *testing.T) {
	r := newReplica(t)
	r.put("a/0", strings.Repeat("x", 1<<20))
	r.flush()
	for i := range 20 {
		r.rewrite(300, fmt.Sprint(i))
	}
	r.do(Command{Ops: []Op{del("a/0")}})
	r.flush()
	r.put("not/flushed", "1")
	before, free := r.s.Pages()
	require.Greater(t, free, before/4)
	size, freeSize := r.s.Size()
	require.Equal(t, size-int64(before-free)*PageBytes, freeSize, "all but the pages in use")
	state := r.s.State()
	view, err := r.s.View()
	require.NoError(t, err)
	image := openImage(t, r.s)
	want := readImage(t, image)

	p := beginRepack(t, r.s)
	require.Greater(t, stepAll(t, p, 10_000, func() {}), 20)
	require.NoError(t, p.Swap())
	require.NoFileExists(t, p.path())
	require.Equal(t, state, r.s.State())
	after, free := r.s.Pages()
	require.Less(t, after, before*2/3)
	require.LessOrEqual(t, free, after/20)
	require.False(t, p.Of(r.s))
	require.ErrorIs(t, p.Swap(), ErrClosed)
	r.requireWhole()

	// Who read before reads on, of the file that has no name any more.
	require.True(t, bytes.Equal(want, readImage(t, image)))
	_, found, err := view.Get("some/key/007")
	require.NoError(t, err)
	require.True(t, found)
	view.Close()
	image.Close()

	r.rewrite(20, "new")
	r.requireWhole()
	state = r.s.State()
	r.crash()
	require.Equal(t, state, r.s.State())
}

// TestRepackBesideWrites: whatever is applied and flushed between the steps, the copy is
// what a store is that has seen all of it.
func TestRepackBesideWrites(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			r := newReplica(t)
			for i := range 5 {
				r.rewrite(200, fmt.Sprint(i))
			}
			write := func() {
				var ops []Op
				for _, i := range rng.Perm(400)[:1+rng.IntN(30)] {
					key := fmt.Sprintf("some/key/%03d", i)
					if rng.IntN(3) == 0 {
						ops = append(ops, del(key))
					} else {
						ops = append(ops, put(key, strings.Repeat("v", rng.IntN(3000))))
					}
				}
				r.do(Command{Ops: ops, Idempotency: Idempotency{Key: pickKey(rng)}})
				if rng.IntN(4) == 0 {
					r.doAll([]Command{{Maintenance: &Maintenance{Elapsed: IdempotencyRetention / 3, KeepFor: IdempotencyRetention, KeepVersions: 2}}})
				}
			}
			for range 3 {
				p := beginRepack(t, r.s)
				stepAll(t, p, 1+rng.IntN(40_000), func() {
					if rng.IntN(3) == 0 {
						write()
					}
					if rng.IntN(3) == 0 {
						r.flush()
					}
				})
				for range rng.IntN(3) {
					write()
					r.flush()
				}
				if rng.IntN(4) == 0 {
					require.NoError(t, p.Drop())
					require.NoFileExists(t, p.path())
				} else {
					require.NoError(t, p.Swap())
				}
				r.requireWhole()
				write()
				r.flush()
				r.requireWhole()
			}
			state := r.s.State()
			r.crash()
			require.Equal(t, state, r.s.State())
			twin := newReplica(t)
			_, err := twin.s.Apply(r.log)
			require.NoError(t, err)
			require.Equal(t, twin.s.State(), state)
		})
	}
}

func pickKey(rng *rand.Rand) string {
	if rng.IntN(2) == 0 {
		return ""
	}
	return fmt.Sprint("key ", rng.Uint64())
}

// A copy that is not swapped leaves nothing: the store is the file it was, and the next
// Open removes the remainder.
func TestRepackLeftBehind(t *testing.T) {
	r := newReplica(t)
	r.rewrite(100, "x")
	p := beginRepack(t, r.s)
	_, err := p.Step(1000)
	require.NoError(t, err)
	state := r.s.State()
	r.crash()
	require.NoFileExists(t, p.path())
	require.Equal(t, state, r.s.State())
	_, err = p.Step(1000)
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, p.Swap(), ErrClosed)
	require.NoError(t, p.Drop())

	// Each commit of the copy, whichever meta page is lost, is at the state or is no database.
	p = beginRepack(t, r.s)
	stepAll(t, p, 1000, func() {})
	b, err := os.ReadFile(p.path())
	require.NoError(t, err)
	for lost := range 2 {
		path := fmt.Sprintf("%s.lost%d", r.path, lost)
		clear(b[lost*pageBytes:][:pageBytes])
		require.NoError(t, os.WriteFile(path, b, 0o600))
		s, err := Open(path, testOptions)
		require.NoError(t, err)
		require.Equal(t, state, s.State())
		require.NoError(t, s.Close())
		b, err = os.ReadFile(p.path())
		require.NoError(t, err)
	}
}

// What is wrong with the database is found, and is not copied.
func TestRepackOfADamagedDatabase(t *testing.T) {
	r := newReplica(t)
	r.rewrite(100, "needle")
	b, err := os.ReadFile(r.path)
	require.NoError(t, err)
	at := strings.LastIndex(string(b), "needle")
	require.Positive(t, at)
	b[at] ^= 1
	for at := strings.Index(string(b), "needle"); at >= 0; at = strings.Index(string(b), "needle") {
		b[at] ^= 1
	}
	require.NoError(t, os.WriteFile(r.path, b, 0o600))
	p := beginRepack(t, r.s)
	for err == nil {
		_, err = p.Step(1000)
	}
	require.ErrorIs(t, err, ErrDamaged)
	require.NoError(t, p.Drop())
}

// What is wrong with the copy is found, and says nothing of the database.
func TestRepackOfADamagedCopy(t *testing.T) {
	r := newReplica(t)
	r.rewrite(100, "x")
	p := beginRepack(t, r.s)
	var err error
	for p.in != 0 {
		_, err = p.Step(1000)
		require.NoError(t, err)
	}
	base, err := p.open()
	require.NoError(t, err)
	file, err := os.OpenFile(p.path(), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte{0xff}, int64(base.current.root*pageBytes+100))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	base.release()
	for err == nil {
		_, err = p.Step(1000)
	}
	require.ErrorIs(t, err, ErrRepack)
	require.NotErrorIs(t, err, ErrDamaged)
	require.NoError(t, p.Drop())
	assert.NoError(t, scrub(r.s))
}

// A copy that did not follow a flush does not become the database.
func TestRepackOfAnotherState(t *testing.T) {
	r := newReplica(t)
	r.rewrite(100, "x")
	p := beginRepack(t, r.s)
	stepAll(t, p, 1000, func() {})
	r.s.repack = nil
	r.rewrite(1, "y")
	r.s.repack = p
	require.ErrorIs(t, p.Swap(), ErrRepack)
	require.NoError(t, p.Drop())
	r.requireWhole()
}
