package fsm

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maintain applies a Maintenance.
func (r *replica) maintain(m Maintenance) Result {
	r.t.Helper()
	res := r.apply(encode(r.t, Command{Maintenance: &m}))
	require.Equal(r.t, Maintained, res.Outcome)
	return res
}

// view is of the newest state, and closed with the test.
func (r *replica) view(t *testing.T) *View {
	t.Helper()
	v, err := r.s.View()
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

// at is a view of a past revision, closed with the test.
func (r *replica) at(t *testing.T, rev Revision) *View {
	t.Helper()
	v, err := r.view(t).At(rev)
	require.NoError(t, err)
	t.Cleanup(v.Close)
	return v
}

// floorOf is what a *CompactedError says; 0 if err is none.
func floorOf(err error) Revision {
	var c *CompactedError
	if errors.As(err, &c) {
		return c.Floor
	}
	return 0
}

// A key whose versions were trimmed is in nobody's way but its own.
func TestTrimmedNeighbourIsNotLookedAt(t *testing.T) {
	r := newReplica(t)
	r.put("a/a", "old")
	r.put("a/b", "old")
	for i := range 5 {
		r.put("a/c", strconv.Itoa(i)) // revisions 3 to 7
	}
	r.put("a/b", "new")
	r.maintain(Maintenance{KeepVersions: 1})
	for _, flushed := range []bool{false, true} {
		if flushed {
			r.flush()
		}
		past := r.at(t, 3)
		_, _, err := past.Get("a/c")
		require.Equal(t, Revision(6), floorOf(err), "the first three were trimmed")

		var seen []string
		require.NoError(t, past.Scan("a/", "a/c", func(rec Record) bool {
			seen = append(seen, rec.Key)
			return true
		}))
		assert.Equal(t, []string{"a/a", "a/b"}, seen)
		require.Equal(t, Revision(6), floorOf(past.Scan("a/", "a/d", func(Record) bool { return true })))
		require.NoError(t, Diff(past, r.view(t), "a/a", "a/b\x00", func(d Difference) bool {
			assert.Equal(t, "a/b", d.Key)
			return true
		}))
		children, err := past.Children("a/a/", "", 10)
		require.NoError(t, err)
		require.Empty(t, children)
	}
	res := r.do(Command{Ops: []Op{{Kind: Restore, Key: "a/b", Revision: 3}}})
	require.Equal(t, Applied, res.Outcome)
	rec, _ := r.get("a/b")
	require.Equal(t, "old", string(rec.Value))
	res = r.do(Command{Ops: []Op{{Kind: Restore, Key: "a/", Revision: 3}}})
	require.Equal(t, Compacted, res.Outcome)
	require.Equal(t, Revision(6), res.Floor)
}

// rangesOf is how many ranges the tallies of a bucket are kept in.
func (r *replica) rangesOf(in bucket) int { return len(r.s.tallies[in]) }

// The keys of what is remembered for a time, and of what is superseded, come and go at other
// places each time: the ranges they were in must go with them.
func TestRangesGoWithTheirRecords(t *testing.T) {
	r := newReplica(t)
	ops := make([]Op, MaxTxnOps)
	for round := range 40 {
		for i := range ops {
			ops[i] = put(fmt.Sprintf("key/%03d", i), strconv.Itoa(round))
		}
		r.do(Command{Ops: ops})
		if round%10 == 9 {
			r.flush()
		}
	}
	require.Greater(t, r.rangesOf(superseded), 5)
	for r.s.State().Floor < r.s.State().Revision {
		r.maintain(Maintenance{Elapsed: time.Second, KeepFor: 1})
		r.flush()
	}
	require.NoError(t, scrub(r.s))
	require.Equal(t, 1, r.rangesOf(superseded))
	want := r.s.State()
	require.NoError(t, r.s.Close())
	r.open()
	require.Equal(t, want, r.s.State())
	require.Equal(t, 1, r.rangesOf(superseded), "in the database, too")
}

// versions writes revisions of one key: the value of each is its number.
func (r *replica) versions(key string, from, to Revision) {
	r.t.Helper()
	for rev := from; rev <= to; rev++ {
		require.Equal(r.t, rev, r.put(key, fmt.Sprint(rev)).Revision)
	}
}

// readable reads key, whose value was always the revision, at each revision from floor to
// now, and returns the first of those that can be read. Each from there on must be right; those
// before must say that it is the oldest.
func (r *replica) readable(t *testing.T, key string) (first Revision) {
	t.Helper()
	v := r.view(t)
	for rev := v.State().Revision; rev >= max(v.State().Floor, 1); rev-- {
		past, err := v.At(rev)
		require.NoError(t, err)
		rec, found, err := past.Get(key)
		past.Close()
		if floor := floorOf(err); floor != 0 {
			require.Greater(t, floor, rev)
			require.Equal(t, first, floor, "at revision %d", rev)
			continue
		}
		require.NoError(t, err)
		require.True(t, found, "absent at revision %d", rev)
		require.Equal(t, fmt.Sprint(rev), string(rec.Value))
		first = rev
	}
	return first
}

// More versions than one command lets go: the next one goes on, and in between each revision is
// right or compacted.
func TestTrimGoesOnWhereItStopped(t *testing.T) {
	const n, keep = 2*MaxMaintenance + 700, 3
	r := newReplica(t)
	r.versions("k", 1, n)
	// What is older than the part trimmed first is held until the next command, and read.
	res := r.maintain(Maintenance{KeepVersions: keep})
	require.True(t, res.Busy)
	v := r.view(t)
	readable := func(rev Revision) bool {
		past, err := v.At(rev)
		require.NoError(t, err)
		defer past.Close()
		rec, found, err := past.Get("k")
		if err != nil {
			require.Equal(t, Revision(n-keep), floorOf(err), "at revision %d", rev)
			return false
		}
		require.True(t, found)
		require.Equal(t, fmt.Sprint(rev), string(rec.Value))
		return true
	}
	for rev := Revision(1); rev <= n; rev++ {
		require.Equal(t, rev < n-keep-MaxMaintenance || rev >= n-keep, readable(rev), "revision %d", rev)
	}
	require.NoError(t, VerifyChain(t.Context(), v))
	r.flush()
	require.True(t, r.maintain(Maintenance{KeepVersions: keep}).Busy)
	require.True(t, r.maintain(Maintenance{KeepVersions: keep}).Busy, "many changes are left to look at")
	require.Equal(t, Revision(n-keep), r.readable(t, "k"))
	for r.maintain(Maintenance{KeepVersions: keep}).Busy {
		continue
	}
	r.flush()
	require.Equal(t, Revision(n-keep), r.readable(t, "k"))
	require.Equal(t, int64(keep+1), r.s.state.superseded.count, "what is kept, and the mark")
	require.Equal(t, Revision(n), r.s.state.trimmed)
	require.NoError(t, scrub(r.s))
	require.NoError(t, VerifyChain(t.Context(), r.view(t)))
}

// A change of many keys, each of which has versions too many, is not trimmed at one go.
func TestTrimStopsWithinAChange(t *testing.T) {
	const versions = 12
	r := newReplica(t)
	ops := make([]Op, MaxTxnOps)
	for rev := 1; rev <= versions; rev++ {
		for i := range ops {
			ops[i] = put(fmt.Sprintf("key/%03d", i), fmt.Sprint(rev))
		}
		r.do(Command{Ops: ops})
	}
	for step := 0; ; step++ {
		before := r.s.state.superseded.count
		res := r.maintain(Maintenance{KeepVersions: 2})
		require.LessOrEqual(t, before-r.s.state.superseded.count, int64(MaxMaintenance))
		if step == 0 {
			require.Zero(t, r.s.state.trimmed)
			require.Positive(t, r.s.state.trimmedKeys)
			r.flush()
			require.NoError(t, r.s.Close())
			r.open()
		}
		for i := range ops {
			first := r.readable(t, ops[i].Key)
			require.Contains(t, []Revision{1, versions - 2}, first, ops[i].Key)
		}
		if !res.Busy {
			break
		}
	}
	require.Equal(t, Revision(versions), r.s.state.trimmed)
	require.Equal(t, int64(3*MaxTxnOps), r.s.state.superseded.count)
}

// Keys that have no past to let go cost a look each: as after an import, of which one command looks
// at a part, and the next ones at the rest.
func TestTrimLooksAtAPartOfAnImport(t *testing.T) {
	const changes = 2 * MaxMaintenance / MaxTxnOps
	r := newReplica(t)
	for c := range changes {
		ops := make([]Op, MaxTxnOps)
		for i := range ops {
			ops[i] = put(fmt.Sprintf("key/%d/%03d", c, i), "v")
		}
		r.do(Command{Ops: ops})
	}
	looked := func() int { return int(r.s.state.trimmed)*MaxTxnOps + int(r.s.state.trimmedKeys) }
	for before := 0; r.maintain(Maintenance{KeepVersions: 1}).Behind; before = looked() {
		require.Greater(t, looked(), before)
		require.LessOrEqual(t, looked()-before, MaxMaintenance)
	}
	require.Equal(t, changes*MaxTxnOps, looked())
}

// A sweep that overtakes a trim within a change leaves nothing of where that stood.
func TestSweepOvertakesATrim(t *testing.T) {
	r := newReplica(t)
	ops := make([]Op, MaxTxnOps)
	for rev := 1; rev <= 8; rev++ {
		for i := range ops {
			ops[i] = put(fmt.Sprintf("key/%03d", i), fmt.Sprint(rev))
		}
		r.do(Command{Ops: ops})
	}
	r.maintain(Maintenance{KeepVersions: 1})
	require.Zero(t, r.s.state.trimmed)
	require.Positive(t, r.s.state.trimmedKeys)
	r.maintain(Maintenance{Elapsed: 1})
	for i := range ops {
		ops[i].Value = []byte("9")
	}
	r.do(Command{Ops: ops})
	for r.s.State().Floor < 8 {
		r.maintain(Maintenance{KeepFor: 1})
		require.NoError(t, VerifyChain(t.Context(), r.view(t)))
		r.flush()
	}
	for r.maintain(Maintenance{KeepVersions: 1}).Busy {
		continue
	}
	require.Equal(t, Revision(9), r.s.state.trimmed)
	require.Zero(t, r.s.state.trimmedKeys)
	require.Equal(t, int64(MaxTxnOps), r.s.state.superseded.count)
	require.Equal(t, Revision(8), r.readable(t, "key/007"))
	r.flush()
	require.NoError(t, scrub(r.s))
}

func TestTrimKeepsAll(t *testing.T) {
	for _, keep := range []int{0, 4, math.MaxInt} {
		r := newReplica(t)
		r.versions("k", 1, 5)
		r.maintain(Maintenance{KeepVersions: keep})
		require.Equal(t, Revision(1), r.readable(t, "k"), "%d versions", keep)
	}
}

// A mark says that a key's past is missing, whatever becomes of the key: deleted, made again, deleted
// again; and goes when the floor has risen over all that it stands for.
func TestMarkOutlivesItsKey(t *testing.T) {
	r := newReplica(t)
	tick := func() { r.maintain(Maintenance{Elapsed: 1}) } // revision n is made at time n-1
	for rev := 1; rev <= 5; rev++ {
		r.put("k", fmt.Sprint(rev))
		tick()
	}
	r.do(Command{Ops: []Op{del("k")}}) // 6
	tick()
	r.maintain(Maintenance{KeepVersions: 2}) // 4 and 5 stay
	r.flush()
	r.put("k", "7")
	tick()
	r.put("other", "8")
	tick()
	r.do(Command{Ops: []Op{del("k")}}) // 9
	tick()
	values := []string{1: "?", "?", "?", "4", "5", "", "7", "7", ""}
	check := func(oldest Revision) {
		t.Helper()
		for _, flush := range []bool{false, true} {
			if flush {
				r.flush()
				require.NoError(t, scrub(r.s))
			}
			for rev := max(1, r.s.State().Floor); rev <= 9; rev++ {
				v := r.at(t, rev)
				rec, found, err := v.Get("k")
				require.Equal(t, values[rev] == "?", err != nil, "revision %d: %v", rev, err)
				if err != nil {
					require.Equal(t, oldest, floorOf(err), "revision %d", rev)
					continue
				}
				require.Equal(t, values[rev] != "", found, "revision %d", rev)
				require.Equal(t, values[rev], string(rec.Value), "revision %d", rev)
			}
			require.NoError(t, VerifyChain(t.Context(), r.view(t)))
		}
	}
	check(4)

	var seen []string
	require.NoError(t, r.view(t).KeyHistory("k", 9, func(rev Revision, e Event) bool {
		seen = append(seen, fmt.Sprintf("%d %s %v", rev, e.Record.Value, e.Deleted))
		return true
	}))
	require.Equal(t, []string{"9  true", "7 7 false", "6  true", "5 5 false", "4 4 false"}, seen)
	ch, err := r.view(t).Change(2)
	require.NoError(t, err)
	require.NoError(t, r.view(t).Events(&ch, "", func(e Event) bool {
		require.Equal(t, Event{Key: "k", Trimmed: true}, e)
		return true
	}))

	// Counted again, and fewer are kept: the mark moves up.
	r.maintain(Maintenance{KeepVersions: 1})
	values[4], values[5] = "?", "?"
	// At 6 it was absent, and that is not known any more: 5 ended there.
	check(6)
	for floor := Revision(1); floor <= 9; floor++ {
		keep := r.s.State().Time - time.Duration(floor-1)
		r.maintain(Maintenance{KeepFor: keep})
		require.Equal(t, floor, r.s.State().Floor)
		check(6)
		require.Equal(t, floor < 6, r.holds(t, supersededKey("k", 1)), "the mark, at floor %d", floor)
	}
	require.Equal(t, int64(0), r.s.state.superseded.count)
}

// holds tells whether bucket superseded has something under a key.
func (r *replica) holds(t *testing.T, skey string) bool {
	t.Helper()
	v := r.view(t)
	m := v.merge(superseded)
	defer m.release()
	ok, err := m.seekIn(skey, skey+"\x00")
	require.NoError(t, err)
	return ok
}

// A change is swept whole, however many keys it changed.
func TestSweepOfASubtreesRemoval(t *testing.T) {
	r := newReplica(t)
	for i := 0; i < MaxTreeKeys; {
		var ops []Op
		for range min(MaxTxnOps, MaxTreeKeys-i) {
			ops = append(ops, put(fmt.Sprintf("t/%05d", i), "v"))
			i++
		}
		r.do(Command{Ops: ops})
	}
	r.maintain(Maintenance{Elapsed: 1})
	removed := r.do(Command{Ops: []Op{{Kind: DeleteTree, Key: "t/"}}})
	require.Equal(t, MaxTreeKeys, removed.Ops[0].Removed)
	r.put("t/00007", "again")
	r.flush()
	for r.s.State().Floor < removed.Revision-1 {
		r.maintain(Maintenance{KeepFor: 1})
	}
	require.Equal(t, int64(MaxTreeKeys), r.s.state.superseded.count, "all that the removal ended is held")
	r.maintain(Maintenance{Elapsed: 1})
	require.True(t, r.maintain(Maintenance{KeepFor: 1}).Busy)
	require.Equal(t, removed.Revision, r.s.State().Floor, "one change more than the bound")
	require.False(t, r.maintain(Maintenance{KeepFor: 1}).Busy)
	require.Equal(t, removed.Revision+1, r.s.State().Floor)
	require.Equal(t, tally{}, r.s.state.superseded)
	want := r.s.State()
	r.crash()
	require.Equal(t, want, r.s.State())
	r.flush()
	require.NoError(t, scrub(r.s))
	require.Equal(t, map[string]string{"t/00007": "again"}, r.all(t))
	require.NoError(t, VerifyChain(t.Context(), r.view(t)))
}

// Maintenance and writes of the same keys in one Apply: the deltas of what the overlay holds of them
// add up to what the database gains.
func TestMaintenanceAndWritesInOneApply(t *testing.T) {
	r := newReplica(t)
	r.doAll([]Command{keyed("x", 1, put("k", "1")), {Ops: []Op{put("k", "2"), put("l", "1")}}})
	r.flush()
	all := Maintenance{Elapsed: IdempotencyRetention, KeepFor: 1, KeepVersions: 1}
	r.doAll([]Command{
		{Ops: []Op{put("k", "3"), del("l")}},
		{Maintenance: &all},
		keyed("x", 1, put("k", "4")),
		{Ops: []Op{put("k", "5"), put("l", "2")}},
		{Maintenance: &Maintenance{KeepVersions: 1}},
		{Ops: []Op{restore("k", 4)}},
		{Maintenance: &all},
		{Maintenance: &all},
		keyed("x", 1, put("k", "7")),
	})
	before := r.s.State()
	require.Equal(t, uint64(1), before.Answers)
	r.flush() // compares the sum of all ranges with the state's
	require.NoError(t, scrub(r.s))
	require.Equal(t, map[string]string{"k": "7", "l": "2"}, r.all(t))
	require.NoError(t, VerifyChain(t.Context(), r.view(t)))
}
