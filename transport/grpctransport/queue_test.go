package grpctransport

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
)

func newQueue() *queue {
	q := &queue{}
	q.init()
	return q
}

func TestQueueReportsOneBurstOnce(t *testing.T) {
	q := newQueue()
	reports := 0
	put := func(m transport.Message) {
		if q.put(m) {
			reports++
		}
	}
	for range 3 * MaxQueuedMessages {
		put(app(1, 2, 1, 100))
		q.take(false) // the urgent lane goes on being served
		put(beat(1, 2))
	}
	assert.Equal(t, 1, reports)
	q.take(true)
	for range MaxQueuedMessages {
		put(app(1, 2, 1, 100))
	}
	assert.Equal(t, 1, reports, "still the same burst: it never became half empty")
	for range 20 {
		q.take(true)
	}
	for range 2 * MaxQueuedMessages {
		put(app(1, 2, 1, 100))
	}
	assert.Equal(t, 2, reports)
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	q := newQueue()
	for range 64 {
		q.put(app(1, 2, 1, 1<<20))
	}
	assert.LessOrEqual(t, q.lanes[bulk].bytes, MaxQueuedBytes)
	assert.Greater(t, q.lanes[bulk].bytes, MaxQueuedBytes-2<<20)
	assert.Equal(t, uint64(64-len(q.lanes[bulk].items)), q.dropped)
	require.True(t, q.clear())
	require.False(t, q.clear())
	assert.Equal(t, uint64(64), q.dropped)
}

func TestQueueServesTheUrgentFirstAndStarvesNobody(t *testing.T) {
	q := newQueue()
	q.put(app(1, 2, 7, 4<<20))
	for range MaxQueuedMessages {
		q.put(beat(1, 2))
	}
	msgs, size := q.take(true)
	assert.Greater(t, size, 4<<20)
	assert.Equal(t, raftpb.MsgHeartbeat, msgs[0].Raft.GetType())
	assert.Equal(t, raftpb.MsgApp, msgs[len(msgs)-1].Raft.GetType(), "a large append goes although more is urgent")
	assert.Less(t, proto.Size(frameOf(msgs)), MaxReceiveBytes)
	q.put(app(1, 2, 8, 10))
	msgs, size = q.take(false)
	assert.Zero(t, size)
	for _, m := range msgs {
		assert.Equal(t, raftpb.MsgHeartbeat, m.Raft.GetType(), "no bulk to a peer that does not keep up")
	}
}

func piece(transfer uint64, bytes int) transport.Message {
	return transport.Message{From: 1, To: 2, Image: &transport.Image{Transfer: transfer, Data: make([]byte, bytes)}}
}

// Pieces of images and bulk take turns while both wait, a piece goes alone, and what
// is urgent goes with either.
func TestQueueTakesTurnsWithImages(t *testing.T) {
	const rounds = 4
	q := newQueue()
	for i := range uint64(rounds) {
		q.put(app(1, 2, 2*i, maxFrameBytes/2))
		q.put(app(1, 2, 2*i+1, maxFrameBytes/2))
		q.put(piece(2*i, 10))
		q.put(piece(2*i+1, 10))
	}
	var lanes []class
	var transfer, index uint64
	for range 3 * rounds {
		q.put(beat(1, 2))
		msgs, size := q.take(true)
		require.Len(t, msgs, 2)
		assert.Equal(t, urgent, classOf(msgs[0]))
		assert.Equal(t, sizeOf(msgs[1]), size, "only what follows the urgent counts against the window")
		c := classOf(msgs[1])
		lanes = append(lanes, c)
		if c == pieces {
			assert.Equal(t, transfer, msgs[1].Image.Transfer, "in order")
			transfer++
		} else {
			assert.Equal(t, index, msgs[1].Raft.GetIndex(), "in order")
			index++
		}
	}
	for i := range lanes[1:] {
		assert.NotEqualf(t, lanes[i], lanes[i+1], "frames %d and %d", i, i+1)
	}

	msgs, size := q.take(false)
	assert.Empty(t, msgs, "neither goes to a peer that does not keep up")
	assert.Zero(t, size)
	require.True(t, q.clear())
	q.put(piece(1, 10))
	q.put(piece(2, 10))
	for range 2 {
		msgs, _ = q.take(true)
		require.Len(t, msgs, 1, "with nothing else to send, pieces follow each other")
		assert.Equal(t, pieces, classOf(msgs[0]))
	}
}

func TestQueueOfImagesIsBounded(t *testing.T) {
	const pieceBytes, window = 256 << 10, 8 // package node's defaults
	q := newQueue()
	for range window {
		q.put(piece(1, pieceBytes))
	}
	require.Zero(t, q.dropped, "what one image may have on its way fits")
	require.Less(t, sizeOf(piece(1, pieceBytes)), MaxMessageBytes)
	for range 2 * MaxQueuedBytes / pieceBytes {
		q.put(piece(1, pieceBytes))
	}
	assert.LessOrEqual(t, q.lanes[pieces].bytes, MaxQueuedBytes)
	assert.NotZero(t, q.dropped)
	before := q.dropped
	q.put(app(1, 2, 1, 10))
	q.put(beat(1, 2))
	assert.Equal(t, before, q.dropped, "a full lane takes no room from the others")
}

func TestSizeOfIsAnUpperBound(t *testing.T) {
	n := uint64(math.MaxUint64)
	entry := &raftpb.Entry{Term: &n, Index: &n, Type: raftpb.EntryConfChangeV2.Enum(), Data: make([]byte, 1<<20)}
	for name, m := range map[string]transport.Message{
		"raft": {Raft: &raftpb.Message{
			Type: raftpb.MsgTimeoutNow.Enum(), From: &n, To: &n, Term: &n, LogTerm: &n, Index: &n, Commit: &n, Vote: &n,
			Reject: new(true), RejectHint: &n, Context: make([]byte, 300), Entries: []*raftpb.Entry{entry, entry, {Term: &n, Index: &n}},
		}},
		"forward":       {Forward: &transport.Forward{Addressee: n, Incarnation: n, Seq: n, Attempt: math.MaxUint32, Command: make([]byte, 4<<20)}},
		"reply":         {ForwardReply: &transport.ForwardReply{Incarnation: n, Origin: n, Seq: n, Attempt: math.MaxUint32, Verdict: transport.StorageFull, Term: n, Index: n}},
		"form":          form(1, 2),
		"image":         {Image: &transport.Image{Incarnation: n, Transfer: n, Term: n, Index: n, Size: n, Offset: n, Sum: math.MaxUint32, Data: make([]byte, 1<<20)}},
		"image reply":   {ImageReply: &transport.ImageReply{Incarnation: n, Transfer: n, Verdict: transport.ImageDamaged, Offset: n}},
		"image request": {ImageRequest: &transport.ImageRequest{First: n}},
		"digest":        {Digest: &transport.Digest{Index: n, Asked: true, Hash: [32]byte{31: 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.LessOrEqual(t, proto.Size(frameOf([]transport.Message{m})), sizeOf(m))
		})
	}
}
