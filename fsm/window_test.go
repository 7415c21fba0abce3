package fsm

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// doFrom applies a put of its own from origin o.
func (r *replica) doFrom(o Origin, value string) Result {
	r.t.Helper()
	return r.apply(encode(r.t, Command{Origin: o, Ops: []Op{put("k", value)}}))
}

func TestRepeats(t *testing.T) {
	r := newReplica(t)
	require.Equal(t, Applied, r.doFrom(Origin{1, 5, 1}, "a").Outcome)
	require.Equal(t, Applied, r.doFrom(Origin{1, 5, 3}, "b").Outcome)

	t.Run("the same again says what became of it", func(t *testing.T) {
		res := r.doFrom(Origin{1, 5, 1}, "a")
		assert.Equal(t, Repeated, res.Outcome)
		assert.Equal(t, Applied, res.First)
		assert.Equal(t, Revision(1), res.FirstRevision)
		assert.Equal(t, Revision(2), res.Revision)
	})
	t.Run("one that was overtaken still counts", func(t *testing.T) {
		assert.Equal(t, Applied, r.doFrom(Origin{1, 5, 2}, "c").Outcome)
	})
	t.Run("an older incarnation is refused", func(t *testing.T) {
		res := r.doFrom(Origin{1, 4, 9}, "d")
		assert.Equal(t, Repeated, res.Outcome)
		assert.Zero(t, res.First)
	})
	t.Run("another node has a window of its own", func(t *testing.T) {
		assert.Equal(t, Applied, r.doFrom(Origin{2, 1, 1}, "e").Outcome)
	})
	t.Run("a newer incarnation starts over", func(t *testing.T) {
		assert.Equal(t, Applied, r.doFrom(Origin{1, 6, 1}, "f").Outcome)
		assert.Equal(t, Repeated, r.doFrom(Origin{1, 5, 4}, "g").Outcome)
	})
	t.Run("what fell out is refused", func(t *testing.T) {
		assert.Equal(t, Applied, r.doFrom(Origin{1, 6, WindowSize + 2}, "h").Outcome)
		res := r.doFrom(Origin{1, 6, 2}, "i")
		assert.Equal(t, Repeated, res.Outcome)
		assert.Zero(t, res.First)
		assert.Equal(t, Applied, r.doFrom(Origin{1, 6, 3}, "i").Outcome)
	})
	t.Run("a failed compare is remembered too", func(t *testing.T) {
		cmd := Command{Origin: Origin{3, 1, 1}, Compares: []Compare{{Kind: KeyAbsent, Key: "k"}}, Ops: []Op{put("k", "z")}}
		first := r.apply(encode(t, cmd))
		require.Equal(t, CompareFailed, first.Outcome)
		require.Equal(t, first.Revision, first.Current)
		again := r.apply(encode(t, cmd))
		assert.Equal(t, Repeated, again.Outcome)
		assert.Equal(t, CompareFailed, again.First)
	})
	t.Run("all of it survives a flush and a crash", func(t *testing.T) {
		before := r.s.State()
		r.flush()
		require.NoError(t, r.s.Close())
		r.open()
		require.Equal(t, before, r.s.State())
		assert.Equal(t, Repeated, r.doFrom(Origin{1, 6, 3}, "j").Outcome)
	})
	t.Run("the greatest sequence number ends an incarnation", func(t *testing.T) {
		assert.Equal(t, Applied, r.doFrom(Origin{1, 7, math.MaxUint64}, "x").Outcome)
		assert.Equal(t, Repeated, r.doFrom(Origin{1, 7, math.MaxUint64}, "x").Outcome)
		r.crash()
		assert.Equal(t, Repeated, r.doFrom(Origin{1, 7, math.MaxUint64}, "x").Outcome)
		assert.Equal(t, Applied, r.doFrom(Origin{1, 8, 1}, "y").Outcome)
	})
}

func TestUndecodableIsCountedAndSkipped(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	before := r.s.State()
	noOrigin := encode(t, Command{Ops: []Op{put("a", "2")}})
	for _, b := range [][]byte{{1}, []byte("\x01 neither a command nor empty"), noOrigin} {
		assert.Equal(t, Undecodable, r.apply(b).Outcome)
	}
	st := r.s.State()
	assert.Equal(t, uint64(3), st.Undecodable)
	assert.Equal(t, before.Revision, st.Revision)
	assert.NotEqual(t, before.Hash, st.Hash)
	assert.Equal(t, Empty, r.apply(nil).Outcome)
	assert.Equal(t, st.Hash, r.s.State().Hash, "an empty entry changes nothing")
	r.flush()
	r.crash()
	assert.Equal(t, uint64(3), r.s.State().Undecodable)
}

func TestUnknownVersionStopsBeforeItIsApplied(t *testing.T) {
	r := newReplica(t)
	good := encode(t, Command{Origin: Origin{1, 1, 1}, Ops: []Op{put("a", "1")}})
	newer := encode(t, Command{Origin: Origin{1, 1, 2}, Ops: []Op{put("a", "2")}})
	newer[0] = Version + 1
	res, err := r.s.Apply([]Entry{{Index: 1, Term: 1, Data: good}, {Index: 2, Term: 1, Data: newer}, {Index: 3, Term: 1}})
	require.ErrorIs(t, err, ErrUnknownVersion)
	require.Len(t, res, 1)
	assert.Equal(t, Index(1), r.s.State().Applied)
	assert.Equal(t, Revision(1), r.s.State().Revision)
}

func TestApplyRefusesAnEntryOutOfOrder(t *testing.T) {
	r := newReplica(t)
	_, err := r.s.Apply([]Entry{{Index: 2, Term: 1}})
	require.ErrorIs(t, err, ErrOrder)
	_, err = r.s.Apply([]Entry{{Index: 1, Term: 1}, {Index: 1, Term: 1}})
	require.ErrorIs(t, err, ErrOrder)
	assert.Equal(t, Index(1), r.s.State().Applied)
}

// The window against a plain one that remembers everything.
func TestWindowAgainstModel(t *testing.T) {
	type key struct{ incarnation, seq uint64 }
	rapid.Check(t, func(t *rapid.T) {
		w := newWindow(1)
		results := map[key]windowSlot{}
		var incarnation, last uint64
		t.Repeat(map[string]func(*rapid.T){
			"propose": func(t *rapid.T) {
				o := Origin{1, incarnation + rapid.Uint64Range(0, 20).Draw(t, "newer")/20, 1}
				if o.Incarnation > 0 && rapid.IntRange(0, 9).Draw(t, "older") == 0 {
					o.Incarnation--
				}
				from := uint64(1)
				if o.Incarnation == incarnation && last > WindowSize+5 {
					from = last - WindowSize - 5
				}
				o.Seq = rapid.OneOf(
					rapid.Uint64Range(from, last+3),
					rapid.Uint64Range(from, from+9),
					rapid.Just(last+WindowSize+7),
				).Draw(t, "seq")
				first, done := results[key{o.Incarnation, o.Seq}]
				out := o.Incarnation < incarnation ||
					o.Incarnation == incarnation && last >= WindowSize && o.Seq <= last-WindowSize
				got, repeated := w.seen(o)
				if out {
					require.True(t, repeated)
					require.Zero(t, got)
					return
				}
				require.Equal(t, done, repeated)
				require.Equal(t, first, got)
				if repeated {
					return
				}
				result := windowSlot{Applied, Revision(len(results) + 1)}
				w.record(o, result)
				if o.Incarnation > incarnation {
					incarnation, last = o.Incarnation, 0
				}
				last = max(last, o.Seq)
				results[key{o.Incarnation, o.Seq}] = result
			},
			"": func(t *rapid.T) {
				again, err := decodeWindow(windowKey(1), w.encode())
				require.NoError(t, err)
				w.dirty = false
				require.Equal(t, w, again, "what is stored is what is remembered, the sum included")
			},
		})
	})
}
