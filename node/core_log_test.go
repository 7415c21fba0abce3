package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"github.com/confman/confman/transport"
)

// TestLogSizes: after the index that is enough there are enough bytes, and not many
// more than that, whatever is appended and replaced.
func TestLogSizes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 5000).Draw(t, "limit")
		s := logSizes{marks: []sizeMark{{index: 7}}, maxBytes: limit}
		type appended struct {
			index uint64
			size  int
		}
		var all []appended // in order of time
		last := uint64(7)
		for range rapid.IntRange(1, 60).Draw(t, "batches") {
			lo := last + 1 - uint64(rapid.IntRange(0, int(last-7)).Draw(t, "replaced"))
			var ents []*raftpb.Entry
			for i := range uint64(rapid.IntRange(1, 5).Draw(t, "entries")) {
				e := &raftpb.Entry{Index: new(lo + i), Data: make([]byte, rapid.IntRange(0, 300).Draw(t, "bytes"))}
				ents = append(ents, e)
				all = append(all, appended{e.GetIndex(), entryBytes(e)})
			}
			s.add(ents)
			last = ents[len(ents)-1].GetIndex()
			assert.LessOrEqual(t, len(s.marks), sizeMarks+3)
		}
		after := 0
		if s.enough() == 0 {
			for _, a := range all {
				after += a.size
			}
			assert.Less(t, after, limit)
			return
		}
		mark := s.marks[0]
		assert.GreaterOrEqual(t, s.total-mark.total, limit)
		for i := len(all) - 1; i >= 0 && s.total-after > mark.total; i-- {
			after += all[i].size
		}
		assert.LessOrEqual(t, after, limit+limit/sizeMarks+5*364, "more is kept than need be")
	})
}

// TestOfferWithdrawn: raft takes up the offer of an image, and before its wish comes out
// of the same step the state turns out to be disputed.
func TestOfferWithdrawn(t *testing.T) {
	seedRaft(t, 1)
	c := newStage(t, 3, false).nodes[0].core
	c.durable, c.durableTerm = 1, 1
	c.offerImage()
	require.NotNil(t, c.log.image)
	wish := &raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(3)), Term: new(uint64(1))}

	c.own = transport.Digest{Index: 1, Hash: [32]byte{1}}
	c.digestHeard(2, &transport.Digest{Index: 1, Hash: [32]byte{2}})
	require.True(t, c.Status().Disputed)
	c.sendSnapshot(wish)
	assert.Nil(t, c.outgoing, "a disputed state went out")

	c.digestHeard(2, &transport.Digest{Index: 1, Hash: [32]byte{1}})
	c.sendSnapshot(wish)
	require.NotNil(t, c.outgoing)

	c.digestHeard(3, &transport.Digest{Index: 1, Hash: [32]byte{3}})
	assert.Nil(t, c.outgoing, "a disputed state goes out")
}
