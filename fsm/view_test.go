package fsm

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	waitFor   = 10 * time.Second
	pollEvery = time.Millisecond
)

// Every transaction writes the same number under all keys. Views taken and held
// while it goes on, and while flushes begin and commit, see one number
// everywhere, and it never goes back.
func TestViewsAreConsistentWhileFlushesCommit(t *testing.T) {
	const keys, rounds, readers = 8, 400, 3
	r := newReplica(t)
	ops := func(n int) (ops []Op) {
		for k := range keys {
			ops = append(ops, put(fmt.Sprintf("k/%d", k), strconv.Itoa(n)))
		}
		return ops
	}
	r.do(Command{Ops: ops(0)})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			last := -1
			for !stop.Load() {
				n, err := readOne(r.s, keys)
				if err != nil || n < last {
					t.Errorf("read %d after %d: %v", n, last, err)
					return
				}
				last = n
			}
		})
	}
	wg.Go(func() {
		for !stop.Load() {
			if _, err := r.s.Scrub(1 << 12); err != nil {
				t.Errorf("scrub: %v", err)
				return
			}
		}
	})
	flushes := make(chan *Flush)
	var committed sync.WaitGroup
	wg.Go(func() {
		for f := range flushes {
			if err := f.Commit(); err != nil {
				t.Errorf("commit: %v", err)
			}
			committed.Done()
		}
	})
	for n := 1; n <= rounds; n++ {
		r.do(Command{Ops: ops(n)})
		if n%5 == 0 {
			committed.Wait()
			committed.Add(1)
			flushes <- r.s.BeginFlush()
		}
	}
	close(flushes)
	stop.Store(true)
	wg.Wait()
	n, err := readOne(r.s, keys)
	require.NoError(t, err)
	require.Equal(t, rounds, n)
}

// readOne reads the number that all keys must have in one view, key by key, by a
// scan, and through the state's revision.
func readOne(s *Store, keys int) (int, error) {
	v, err := s.View()
	if err != nil {
		return 0, err
	}
	defer v.Close()
	want := strconv.Itoa(int(v.State().Revision) - 1)
	for k := range keys {
		rec, found, err := v.Get(fmt.Sprintf("k/%d", k))
		if err != nil {
			return 0, err
		}
		if !found || string(rec.Value) != want {
			return 0, fmt.Errorf("get %d: found %v, value %s, want %s", k, found, rec.Value, want)
		}
	}
	seen := 0
	err = v.Scan("", "", func(rec Record) bool {
		if string(rec.Value) == want {
			seen++
		}
		return true
	})
	if err != nil {
		return 0, err
	}
	if seen != keys {
		return 0, fmt.Errorf("scan: %d of %d keys have value %s", seen, keys, want)
	}
	return strconv.Atoi(want)
}

func TestClosedStore(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	v, err := r.s.View()
	require.NoError(t, err)
	closed := make(chan error, 1)
	go func() { closed <- r.s.Close() }()
	require.Eventually(t, func() bool { return r.s.State().Applied == 0 }, waitFor, pollEvery)
	rec, found, err := v.Get("a")
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, "1", string(rec.Value))
	require.Empty(t, closed, "Close did not wait for the view")
	v.Close()
	v.Close()
	require.NoError(t, <-closed)
	_, err = r.s.View()
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.s.Apply([]Entry{{Index: 2, Term: 1}})
	require.ErrorIs(t, err, ErrClosed)
	_, err = r.s.Scrub(1)
	require.ErrorIs(t, err, ErrClosed)
	r.s = nil
}

func TestChainNamesTheFirstBadChange(t *testing.T) {
	r := newReplica(t)
	for i := range 5 {
		r.put("a", strconv.Itoa(i))
	}
	r.put("b", "1")
	tamper := func(t *testing.T, rev int, edit func(value []byte) []byte, text string) {
		t.Helper()
		v, err := r.s.View()
		require.NoError(t, err)
		defer v.Close()
		require.NoError(t, VerifyChain(t.Context(), v))
		ch := &v.p.active.changes[rev-1]
		saved := *ch
		defer func() { *ch = saved }()
		ch.value = edit(append([]byte(nil), ch.value...))
		err = VerifyChain(t.Context(), v)
		require.ErrorIs(t, err, ErrDamaged)
		require.ErrorContains(t, err, text)
	}
	reseal := func(rev Revision, value []byte) []byte {
		seal(changes, changeKey(rev), value)
		return value
	}
	t.Run("a flipped bit", func(t *testing.T) {
		tamper(t, 3, func(b []byte) []byte { b[50] ^= 1; return b }, "checksum")
	})
	t.Run("rewritten with a good checksum", func(t *testing.T) {
		tamper(t, 3, func(b []byte) []byte { b[changeAt] ^= 1; return reseal(3, b) }, "revision 3: its hash does not follow")
	})
	t.Run("rewritten with a good hash too", func(t *testing.T) {
		tamper(t, 3, func(b []byte) []byte {
			b[changeAt] ^= 1
			before := [32]byte(r.s.active.changes[1].value[changeChainAt:])
			h := chainHash(before, 3, b[changeAt:])
			copy(b[changeChainAt:], h[:])
			return reseal(3, b)
		}, "revision 4: its hash does not follow")
	})
	t.Run("a value that was not stored by its change", func(t *testing.T) {
		v, err := r.s.View()
		require.NoError(t, err)
		defer v.Close()
		e, found := v.p.active.tree(current).Get(&entry{key: "b"})
		require.True(t, found)
		saved := e.value
		defer func() { e.value = saved }()
		e.value = append([]byte(nil), saved...)
		e.value[len(e.value)-1] ^= 1
		seal(current, "b", e.value)
		require.ErrorContains(t, VerifyChain(t.Context(), v), "revision 6: the records are not what it stored")
	})
}

// What there is no room for is left for another Apply, but for the first.
func TestApplyStopsAtTheOverlaysBound(t *testing.T) {
	const bound, one = 5000, 1000 // of the overlay, and what a put takes at most
	r := newReplica(t)
	r.s.opts.MaxOverlayBytes = bound
	var ents []Entry
	for i := range 20 {
		cmd := Command{Origin: Origin{1, 1, uint64(i + 1)}, Ops: []Op{put("k", strconv.Itoa(i))}}
		ents = append(ents, Entry{Index: Index(i + 1), Term: 1, Data: encode(t, cmd)})
	}
	for i := 0; i < len(ents); {
		res, err := r.s.Apply(ents[i:])
		require.NoError(t, err)
		require.NotEmpty(t, res)
		require.Less(t, r.s.OverlayBytes(), bound+one)
		i += len(res)
		require.Equal(t, Index(i), r.s.State().Applied)
		require.True(t, i == len(ents) || r.s.OverlayBytes() >= bound)
		f := r.s.BeginFlush()
		if i < len(ents) {
			res, err = r.s.Apply(ents[i:])
			require.NoError(t, err)
			require.Len(t, res, 1, "what is being written counts")
			i++
		}
		require.NoError(t, f.Commit())
	}
}

func TestApplyRefusesAtTwiceTheOverlaysBound(t *testing.T) {
	r := newReplica(t)
	r.s.opts.MaxOverlayBytes = 1000
	for r.s.OverlayBytes() < 2000 {
		r.put("k", strconv.Itoa(r.s.OverlayBytes()))
	}
	_, err := r.s.Apply([]Entry{{Index: Index(len(r.log) + 1), Term: 1}})
	require.ErrorIs(t, err, ErrOverlayFull)
	r.flush()
	assert.Zero(t, r.s.OverlayBytes())
	r.put("k", "room again")
}
