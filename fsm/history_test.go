package fsm

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// event is an Event with its revision and a value of its own.
type event struct {
	rev Revision
	Event
}

func kept(rev Revision, e Event) event {
	e.Record.Value = bytes.Clone(e.Record.Value)
	return event{rev, e}
}

// happened is what revision rev did to the keys that begin with prefix, in order of key.
func (m *model) happened(rev Revision, prefix string) []event {
	before, after := m.as(rev-1).records, m.as(rev).records
	all := maps.Clone(before)
	maps.Copy(all, after)
	var out []event
	for _, key := range slices.Sorted(maps.Keys(all)) {
		rec, there := after[key]
		if old, was := before[key]; strings.HasPrefix(key, prefix) && (was != there || old.Revision != rec.Revision) {
			out = append(out, event{rev, Event{Key: key, Deleted: !there, Record: rec}})
		}
	}
	return out
}

// as is the model as it was at a revision.
func (m *model) as(rev Revision) *model {
	if rev == m.revision {
		return m
	}
	return &model{records: m.was[rev], revision: rev}
}

func requireEvents(t require.TestingT, want, got []event) {
	require.Len(t, got, len(want))
	for i := range want {
		requireRecords(t, []Record{want[i].Record}, []Record{got[i].Record})
		want[i].Record, got[i].Record = Record{}, Record{}
		require.Equal(t, want[i], got[i])
	}
}

// newest returns a view of the newest revision.
func (x *machine) newest(t *rapid.T) heldView {
	v, err := x.r.s.View()
	require.NoError(t, err)
	return heldView{v, x.m}
}

// history compares what happened to keys, and below a prefix, with the model.
func (x *machine) history(t *rapid.T) {
	h := x.newest(t)
	defer h.v.Close()
	for range 8 {
		h.history(t)
	}
}

func (h heldView) history(t *rapid.T) {
	shown := Revision(rapid.Uint64Range(0, uint64(h.m.revision)).Draw(t, "revision"))
	v, err := h.v.At(shown)
	require.NoError(t, err)
	defer v.Close()
	from := shown + Revision(rapid.IntRange(-3, 3).Draw(t, "from"))
	if from > shown+3 {
		from = 0
	}
	most := rapid.IntRange(1, 20).Draw(t, "most")
	key := genKey.Draw(t, "key")
	var want, got []event
	for rev := min(from, shown); rev >= 1 && len(want) < most; rev-- {
		for _, e := range h.m.happened(rev, key) {
			if e.Key == key {
				want = append(want, e)
			}
		}
	}
	require.NoError(t, v.KeyHistory(key, from, func(rev Revision, e Event) bool {
		got = append(got, kept(rev, e))
		return len(got) < most
	}))
	requireEvents(t, want, got)

	if shown == 0 {
		return
	}
	rev := Revision(rapid.Uint64Range(1, uint64(shown)).Draw(t, "change"))
	prefix := rapid.SampledFrom([]string{"", "a/", "a-b/", "b/a/"}).Draw(t, "prefix")
	ch, err := v.Change(rev)
	require.NoError(t, err)
	require.Equal(t, rev, ch.Revision)
	require.Equal(t, h.m.changes[rev-1].Ops, ch.Ops)
	got = nil
	require.NoError(t, v.Events(&ch, prefix, func(e Event) bool {
		got = append(got, kept(rev, e))
		return true
	}))
	slices.SortFunc(got, func(a, b event) int { return strings.Compare(a.Key, b.Key) })
	requireEvents(t, h.m.happened(rev, prefix), got)
}

// times compares the revisions of moments, as a view of some revision knows them, with the
// model's changes gone through one by one.
func (x *machine) times(t *rapid.T) {
	h := x.newest(t)
	defer h.v.Close()
	shown := Revision(rapid.Uint64Range(0, uint64(h.m.revision)).Draw(t, "revision"))
	v, err := h.v.At(shown)
	require.NoError(t, err)
	defer v.Close()
	for range 4 {
		moment := int64(rapid.IntRange(-1, 101).Draw(t, "moment"))
		want := Revision(0)
		for _, ch := range h.m.changes[:shown] {
			if ch.At <= moment {
				want = ch.Revision
			}
		}
		got, err := v.RevisionAt(time.Unix(0, moment))
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

// TestRevisionAt: a clock that goes back, changes of one moment, moments beyond what
// nanoseconds can count.
func TestRevisionAt(t *testing.T) {
	r := newReplica(t)
	for i, at := range []int64{10, 5, 20, 20, 30} {
		r.do(Command{AcceptedAt: at, Ops: []Op{put("k", string(rune('a'+i)))}})
		if i == 1 {
			r.flush()
		}
	}
	v, err := r.s.View()
	require.NoError(t, err)
	defer v.Close()
	ask := func(v *View, at time.Time) Revision {
		rev, err := v.RevisionAt(at)
		require.NoError(t, err)
		return rev
	}
	for at, want := range map[int64]Revision{-1: 0, 9: 0, 10: 2, 19: 2, 20: 4, 29: 4, 30: 5, 31: 5} {
		require.Equal(t, want, ask(v, time.Unix(0, at)), at)
	}
	require.Equal(t, Revision(5), ask(v, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)))
	require.Equal(t, Revision(0), ask(v, time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)))
	past, err := v.At(3)
	require.NoError(t, err)
	defer past.Close()
	require.Equal(t, Revision(3), ask(past, time.Unix(0, 20)))
}

// diff compares the differences of revisions with the model's.
func (x *machine) diff(t *rapid.T) {
	h := x.newest(t)
	defer h.v.Close()
	for range 4 {
		h.diff(t)
	}
}

func (h heldView) diff(t *rapid.T) {
	at := func(label string) (*View, *model) {
		rev := Revision(rapid.Uint64Range(0, uint64(h.m.revision)).Draw(t, label))
		if rev == h.m.revision && rapid.Bool().Draw(t, "newest") {
			v, err := h.v.At(rev)
			require.NoError(t, err)
			v.past = false
			return v, h.m
		}
		v, err := h.v.At(rev)
		require.NoError(t, err)
		return v, h.m.as(rev)
	}
	before, was := at("before")
	defer before.Close()
	after, is := at("after")
	defer after.Close()
	bound := rapid.OneOf(rapid.Just(""), genKey)
	lo, hi := bound.Draw(t, "lo"), bound.Draw(t, "hi")
	all := maps.Clone(was.records)
	if all == nil {
		all = map[string]Record{}
	}
	maps.Copy(all, is.records)
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if key >= lo && (hi == "" || key < hi) && was.records[key].Revision != is.records[key].Revision {
			keys = append(keys, key)
		}
	}
	var got []string
	require.NoError(t, Diff(before, after, lo, hi, func(d Difference) bool {
		got = append(got, d.Key)
		for _, side := range []struct {
			have *Record
			of   *model
		}{{d.Before, was}, {d.After, is}} {
			want, there := side.of.records[d.Key]
			require.Equal(t, there, side.have != nil, d.Key)
			if there {
				requireRecords(t, []Record{want}, []Record{*side.have})
			}
		}
		return true
	}))
	require.Equal(t, keys, got)
}
