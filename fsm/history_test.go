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
	return heldView{v, x.m, x.m.revision}
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
	shown := Revision(rapid.Uint64Range(uint64(h.m.floor), uint64(h.m.revision)).Draw(t, "revision"))
	past := h.at(t, shown)
	v := past.v
	defer v.Close()
	from := shown + Revision(rapid.IntRange(-3, 3).Draw(t, "from"))
	if from > shown+3 {
		from = 0
	}
	most := rapid.IntRange(1, 20).Draw(t, "most")
	key := genHotKey.Draw(t, "key")
	want := h.m.keyHistory(key, min(from, shown))
	want = want[:min(most, len(want))]
	var got []event
	require.NoError(t, v.KeyHistory(key, from, func(rev Revision, e Event) bool {
		got = append(got, kept(rev, e))
		return len(got) < most
	}))
	requireEvents(t, want, got)

	if shown == h.m.floor {
		return
	}
	rev := Revision(rapid.Uint64Range(uint64(h.m.floor)+1, uint64(shown)).Draw(t, "change"))
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
	want = h.m.happened(rev, prefix)
	for i := range want {
		if e := &want[i]; !e.Deleted && !h.m.held(e.Key, rev) {
			e.Event = Event{Key: e.Key, Trimmed: true}
		}
	}
	requireEvents(t, want, got)
}

// keyHistory is what happened to key at revision from and before, newest first, up to the first
// that nothing is held of.
func (m *model) keyHistory(key string, from Revision) (out []event) {
	for rev := from; rev >= 1; rev-- {
		for _, e := range m.happened(rev, key) {
			switch i := slices.IndexFunc(m.past[key], func(p pastRecord) bool { return p.ended == rev }); {
			case e.Key != key:
			case !e.Deleted && !m.held(key, rev), e.Deleted && i < 0:
				return out
			default:
				out = append(out, e)
				if e.Deleted && m.past[key][i].mark {
					return out
				}
			}
		}
	}
	return out
}

// times compares the revisions of moments, as a view of some revision knows them, with the
// model's changes gone through one by one.
func (x *machine) times(t *rapid.T) {
	h := x.newest(t)
	defer h.v.Close()
	shown := Revision(rapid.Uint64Range(uint64(h.m.floor), uint64(h.m.revision)).Draw(t, "revision"))
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
		if want < h.m.floor {
			require.Equal(t, h.m.floor, floorOf(err))
			continue
		}
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
	at := func(label string) (*View, heldView) {
		rev := Revision(rapid.Uint64Range(uint64(h.m.floor), uint64(h.m.revision)).Draw(t, label))
		past := h.at(t, rev)
		if rev == h.m.revision && rapid.Bool().Draw(t, "newest") {
			past.v.past = false
		}
		return past.v, past
	}
	before, was := at("before")
	defer before.Close()
	after, is := at("after")
	defer after.Close()
	bound := rapid.OneOf(rapid.Just(""), genKey)
	lo, hi := bound.Draw(t, "lo"), bound.Draw(t, "hi")
	records := [2]map[string]Record{h.m.as(was.rev).records, h.m.as(is.rev).records}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(union(records[0], records[1]))) {
		if key >= lo && (hi == "" || key < hi) && records[0][key].Revision != records[1][key].Revision {
			keys = append(keys, key)
		}
	}
	var got []string
	err := Diff(before, after, lo, hi, func(d Difference) bool {
		got = append(got, d.Key)
		for i, have := range [2]*Record{d.Before, d.After} {
			want, there := records[i][d.Key]
			require.Equal(t, there, have != nil, d.Key)
			if there {
				requireRecords(t, []Record{want}, []Record{*have})
			}
		}
		return true
	})
	_, beforeFloor := h.m.compactedIn(was.rev, lo, hi)
	_, afterFloor := h.m.compactedIn(is.rev, lo, hi)
	if beforeFloor == 0 && afterFloor == 0 {
		require.NoError(t, err)
		require.Equal(t, keys, got)
		return
	}
	require.Contains(t, []Revision{beforeFloor, afterFloor}, floorOf(err))
	require.NotZero(t, floorOf(err))
	require.True(t, slices.Equal(keys[:min(len(got), len(keys))], got))
}
