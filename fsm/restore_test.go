package fsm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func restore(key string, to Revision) Op { return Op{Kind: Restore, Key: key, Revision: to} }

// all is what there is, key to value.
func (r *replica) all(t *testing.T) map[string]string {
	t.Helper()
	got := map[string]string{}
	require.NoError(t, r.view(t).Scan("", "", func(rec Record) bool {
		got[rec.Key] = string(rec.Value)
		return true
	}))
	return got
}

// Each way in which a key can differ from what it was, with what is next to the subtree left alone;
// from the overlay and from the database.
func TestRestoreOfASubtree(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprintf("flushed %v", flushed), func(t *testing.T) {
			r := newReplica(t)
			r.do(Command{Ops: []Op{
				put("t/changed", "old"), put("t/back", "old"), put("t/deleted", strings.Repeat("old", 3000)),
				put("t/untouched", "old"), put("t/again", "old"),
				{Kind: Put, Key: "t/type", Value: []byte("1"), ContentType: "application/json"},
				put("t", "beside"), put("t-1", "beside"), put("t0", "beside"),
			}})
			was := r.all(t)
			r.do(Command{Ops: []Op{
				put("t/changed", "new"), put("t/back", "new"), del("t/deleted"), put("t/created", "new"), del("t/again"),
				put("t/type", "1"), put("t", "new"), del("t-1"), put("t0", "new"),
			}})
			r.do(Command{Ops: []Op{put("t/back", "old"), put("t/again", "new"), put("t/gone", "soon")}})
			r.do(Command{Ops: []Op{del("t/gone")}})
			if flushed {
				r.flush()
			}
			res := r.do(Command{Ops: []Op{put("a", "1"), restore("t/", 1)}})
			require.Equal(t, Applied, res.Outcome)
			require.Equal(t, Revision(5), res.Revision)
			require.Equal(t, []OpResult{
				{Revision: 5, Created: true, Changed: true},
				{Changed: true, Restored: 4, Removed: 1},
			}, res.Ops)
			want := was
			want["a"], want["t"], want["t0"] = "1", "new", "new"
			delete(want, "t-1")
			require.Equal(t, want, r.all(t))
			ch, err := r.view(t).Change(5)
			require.NoError(t, err)
			require.Equal(t, []ChangedKey{
				{Put, "a", 0},
				{Put, "t/again", 3},
				{Put, "t/changed", 2},
				{Delete, "t/created", 2},
				{Put, "t/deleted", 0},
				{Put, "t/type", 2},
			}, ch.Ops)
			rec, _ := r.get("t/type")
			require.Equal(t, "application/json", rec.ContentType)
			require.Equal(t, Revision(1), rec.CreateRevision)
			rec, _ = r.get("t/deleted")
			require.Equal(t, Revision(5), rec.CreateRevision, "it was created again")
			require.Equal(t, uint64(1), rec.Version)
			rec, _ = r.get("t/back")
			require.Equal(t, Revision(3), rec.Revision, "it was what it was already")

			res = r.do(Command{Ops: []Op{restore("t/", 1)}})
			require.Equal(t, Unchanged, res.Outcome)
			require.Equal(t, []OpResult{{}}, res.Ops)
			r.flush()
			require.Equal(t, want, r.all(t), "what was restored is not what the freed pages hold")
			require.NoError(t, VerifyChain(t.Context(), r.view(t)))
			require.NoError(t, scrub(r.s))

			res = r.do(Command{Ops: []Op{restore("", 0)}})
			require.Equal(t, []OpResult{{Changed: true, Removed: len(want)}}, res.Ops)
			require.Empty(t, r.all(t))
		})
	}
}

func TestRestoreOfAKey(t *testing.T) {
	r := newReplica(t)
	r.put("k", "1")                    // 1
	r.put("k", "2")                    // 2
	r.do(Command{Ops: []Op{del("k")}}) // 3
	r.put("k/below", "is another key") // 4
	steps := []struct {
		name string
		to   Revision
		want Outcome
		res  OpResult
	}{
		{"deleted since", 2, Applied, OpResult{Revision: 5, Created: true, Changed: true, Restored: 1}},
		{"equal", 5, Unchanged, OpResult{Revision: 5}},
		{"equal to an older one", 2, Unchanged, OpResult{Revision: 5}},
		{"changed since", 1, Applied, OpResult{Revision: 6, Changed: true, Restored: 1}},
		{"not there then", 3, Applied, OpResult{Changed: true, Removed: 1}},
		{"not there at all", 0, Unchanged, OpResult{}},
	}
	for _, step := range steps {
		res := r.do(Command{Ops: []Op{restore("k", step.to)}})
		require.Equal(t, step.want, res.Outcome, step.name)
		require.Equal(t, []OpResult{step.res}, res.Ops, step.name)
	}
	_, found := r.get("k/below")
	require.True(t, found)
}

func TestRestoreRefuses(t *testing.T) {
	r := newReplica(t)
	r.put("old", "1")
	for i := range 4 {
		r.put("k", fmt.Sprint(i))
	}
	before := r.all(t)
	refused := func(want Outcome, floor Revision, ops ...Op) {
		t.Helper()
		res := r.do(Command{Ops: ops})
		require.Equal(t, want, res.Outcome)
		require.Equal(t, floor, res.Floor)
		require.Nil(t, res.Ops)
		require.Equal(t, Revision(5), res.Revision)
		require.Equal(t, before, r.all(t))
	}
	refused(FutureRevision, 0, put("a", "1"), restore("k", 6))
	r.maintain(Maintenance{KeepVersions: 1})
	refused(Compacted, 4, put("a", "1"), restore("k", 3))
	refused(Compacted, 4, restore("", 3))
	r.maintain(Maintenance{Elapsed: time.Second, KeepFor: time.Second})
	refused(Compacted, 5, restore("old", 4))
	refused(FutureRevision, 0, restore("old", 6))
}

// Neither the keys there are now, nor those there were, nor those that came and went in between
// may hold up the applying without a bound.
func TestRestoreTooLarge(t *testing.T) {
	r := newReplica(t)
	n := 0
	fill := func(keys int) {
		for keys > 0 {
			var ops []Op
			for range min(keys, MaxTxnOps) {
				ops = append(ops, put(fmt.Sprintf("t/%06d", n), "v"))
				n++
			}
			keys -= len(ops)
			r.do(Command{Ops: ops})
		}
	}
	outcome := func(to Revision) Outcome { return r.do(Command{Ops: []Op{restore("t/", to)}}).Outcome }
	fill(MaxTreeKeys)
	full := r.s.State().Revision
	require.Equal(t, Applied, outcome(0), "all keys there are")
	require.Equal(t, Applied, outcome(full), "all keys there were")
	fill(1)
	require.Equal(t, TreeTooLarge, outcome(full), "one too many now")
	require.Equal(t, Applied, r.do(Command{Ops: []Op{del("t/000000"), del("t/000001")}}).Outcome)
	require.Equal(t, TreeTooLarge, outcome(full), "one too many now and then together")
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: DeleteTree, Key: "t/"}}}).Outcome)

	empty := r.s.State().Revision
	for range MaxTreePassed/MaxTreeKeys - 1 {
		fill(MaxTreeKeys - 1)
		require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: DeleteTree, Key: "t/"}}}).Outcome)
	}
	fill(MaxTreePassed - n)
	require.Equal(t, Applied, outcome(empty), "as many that came and went as may be passed over")
	fill(1)
	require.Equal(t, TreeTooLarge, outcome(empty))

	r.do(Command{Ops: []Op{put("other", "v")}})
	require.Equal(t, Applied, r.do(Command{Ops: []Op{restore("other", 0)}}).Outcome)
}

func TestRestoreOfTooManyBytes(t *testing.T) {
	r := newReplica(t)
	value := strings.Repeat("x", MaxValueBytes)
	for i := range MaxTreeBytes/MaxValueBytes - 1 {
		r.put(fmt.Sprintf("t/%d", i), value)
	}
	full := r.s.State().Revision
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: DeleteTree, Key: "t/"}}}).Outcome)
	r.flush()
	require.Equal(t, Applied, r.do(Command{Ops: []Op{restore("t/", full)}}).Outcome)
	again := r.s.State().Revision
	r.put("t/one-more", value)
	require.Equal(t, TreeTooLarge, r.do(Command{Ops: []Op{restore("t/", 0)}}).Outcome)
	require.Equal(t, TreeTooLarge, r.do(Command{Ops: []Op{restore("t/", full)}}).Outcome, "what was put since has to be read to be compared")
	require.Equal(t, Applied, r.do(Command{Ops: []Op{restore("t/", again)}}).Outcome, "what was not counts for nothing")
}
