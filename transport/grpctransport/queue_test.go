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

func TestSizeOfIsAnUpperBound(t *testing.T) {
	n := uint64(math.MaxUint64)
	entry := &raftpb.Entry{Term: &n, Index: &n, Type: raftpb.EntryConfChangeV2.Enum(), Data: make([]byte, 1<<20)}
	for name, m := range map[string]transport.Message{
		"raft": {Raft: &raftpb.Message{
			Type: raftpb.MsgTimeoutNow.Enum(), From: &n, To: &n, Term: &n, LogTerm: &n, Index: &n, Commit: &n, Vote: &n,
			Reject: new(true), RejectHint: &n, Context: make([]byte, 300), Entries: []*raftpb.Entry{entry, entry, {Term: &n, Index: &n}},
		}},
		"forward": {Forward: &transport.Forward{Addressee: n, Incarnation: n, Seq: n, Attempt: math.MaxUint32, Command: make([]byte, 4<<20)}},
		"reply":   {ForwardReply: &transport.ForwardReply{Incarnation: n, Origin: n, Seq: n, Attempt: math.MaxUint32, Verdict: transport.StorageFull, Term: n, Index: n}},
		"form":    form(1, 2),
	} {
		t.Run(name, func(t *testing.T) {
			assert.LessOrEqual(t, proto.Size(frameOf([]transport.Message{m})), sizeOf(m))
		})
	}
}
