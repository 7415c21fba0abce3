package fsm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func delTree(prefix string) Op { return Op{Kind: DeleteTree, Key: prefix} }

// fill puts n keys of size bytes each below prefix.
func (r *replica) fill(prefix string, n, size int) {
	r.t.Helper()
	per := min(MaxTxnOps, MaxTxnBytes/2/(size+1))
	for i := 0; i < n; i += per {
		var cmd Command
		for k := i; k < min(n, i+per); k++ {
			cmd.Ops = append(cmd.Ops, put(fmt.Sprintf("%s%06d", prefix, k), strings.Repeat("x", size)))
		}
		require.Equal(r.t, Applied, r.do(cmd).Outcome)
	}
}

// A subtree of MaxTreeKeys goes at one revision; one key more, in whichever of a command's
// subtrees, and nothing of the command is done.
func TestDeleteTreeKeys(t *testing.T) {
	r := newReplica(t)
	r.fill("a/", MaxTreeKeys-1, 1)
	r.flush()
	r.put("b/1", "v")
	r.put("b/2", "v")
	before := r.s.State()

	res := r.do(Command{Ops: []Op{put("new", "v"), delTree("a/"), delTree("b/")}})
	assert.Equal(t, TreeTooLarge, res.Outcome)
	assert.Equal(t, before.Revision, res.Revision)
	assert.Empty(t, res.Ops)
	_, found := r.get("new")
	assert.False(t, found, "an operation of a refused command was done")
	assert.Equal(t, before.Records, r.s.State().Records)

	r.do(Command{Ops: []Op{del("b/2")}})
	res = r.do(Command{Ops: []Op{put("new", "v"), delTree("a/"), delTree("b/"), delTree("c/")}})
	assert.Equal(t, Applied, res.Outcome)
	assert.Equal(t, before.Revision+2, res.Revision)
	assert.Equal(t, []OpResult{
		{Revision: res.Revision, Created: true, Changed: true},
		{Changed: true, Removed: MaxTreeKeys - 1},
		{Changed: true, Removed: 1},
		{},
	}, res.Ops)
	assert.EqualValues(t, 1, r.s.State().Records)
	require.NoError(t, scrub(r.s))
}

// The bytes that are about to be copied among the superseded are bounded too.
func TestDeleteTreeBytes(t *testing.T) {
	r := newReplica(t)
	const size = 1 << 20
	r.fill("a/", MaxTreeBytes/size, size)
	r.flush()
	res := r.do(Command{Ops: []Op{delTree("a/")}})
	assert.Equal(t, TreeTooLarge, res.Outcome, "their keys come on top")
	r.do(Command{Ops: []Op{del("a/000000")}})
	res = r.do(Command{Ops: []Op{delTree("a/")}})
	assert.Equal(t, Applied, res.Outcome)
	assert.Equal(t, MaxTreeBytes/size-1, res.Ops[0].Removed)
}

// Entries that are applied together see what those before them did, in the overlay and not
// published yet; keys beside the subtree stay.
func TestDeleteTreeInOneBatch(t *testing.T) {
	r := newReplica(t)
	for _, key := range []string{"a", "a-b", "a/1", "a/2/3", "a0", "b"} {
		r.put(key, "old")
	}
	r.flush()
	var ents []Entry
	for i, op := range []Op{put("a/new", "v"), del("a/1"), delTree("a/"), put("a/1", "again")} {
		b := encode(t, Command{Origin: Origin{Node: 2, Incarnation: 1, Seq: uint64(i + 1)}, Ops: []Op{op}})
		ents = append(ents, Entry{Index: Index(len(r.log) + i + 1), Term: 1, Data: b})
	}
	results, err := r.s.Apply(ents)
	require.NoError(t, err)
	assert.Equal(t, []OpResult{{Changed: true, Removed: 2}}, results[2].Ops)

	v, err := r.s.View()
	require.NoError(t, err)
	defer v.Close()
	var keys []string
	require.NoError(t, v.Scan("", "", func(rec Record) bool {
		keys = append(keys, rec.Key)
		return true
	}))
	assert.Equal(t, []string{"a", "a-b", "a/1", "a0", "b"}, keys)
	rec, _ := r.get("a/1")
	assert.EqualValues(t, 1, rec.Version, "a key that comes back begins anew")

	var removed []ChangedKey
	require.NoError(t, v.Changes(results[2].Revision, results[2].Revision, func(c Change) bool {
		removed = c.Ops
		return true
	}))
	assert.Equal(t, []ChangedKey{{Delete, "a/2/3", 4}, {Delete, "a/new", 7}}, removed, "the change log names each key")
}
