package fsm

import (
	"errors"
	"fmt"
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
