package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
)

// TestExpandingApplies: an entry that may cost the overlay any multiple of its bytes is applied
// alone, with nothing on its way before it or behind it.
func TestExpandingApplies(t *testing.T) {
	encode := func(op fsm.Op) []byte {
		cmd := fsm.Command{Origin: fsm.Origin{Node: 1, Incarnation: 1, Seq: 1}, Ops: []fsm.Op{op}}
		b, err := cmd.Encode()
		require.NoError(t, err)
		return b
	}
	plain := encode(fsm.Op{Kind: fsm.Put, Key: "a", Value: []byte("v")})
	restore := encode(fsm.Op{Kind: fsm.Restore, Revision: 1})
	m := &raftpb.Message{Responses: []*raftpb.Message{{}}}
	for i, data := range [][]byte{plain, plain, restore, restore, plain} {
		m.Entries = append(m.Entries, &raftpb.Entry{Index: new(uint64(i + 7)), Term: new(uint64(1)), Data: data})
	}
	c := &Core{}
	var lengths []int
	for rest := m; rest != nil; {
		var first *raftpb.Message
		first, rest = c.splitApply(rest)
		lengths = append(lengths, len(first.GetEntries()))
		require.Equal(t, rest == nil, len(first.GetResponses()) > 0, "the response is with the last part")
		require.False(t, c.mustWait(first), "nothing is on its way")
		c.applying = []applying{{}}
		assert.Equal(t, expands(first), c.mustWait(first), "behind a plain one")
		c.applying = []applying{{expands: true}}
		assert.True(t, c.mustWait(first), "behind one that expands")
		c.applying = nil
	}
	assert.Equal(t, []int{2, 1, 1, 1}, lengths)
}
