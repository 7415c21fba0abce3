package grpctransport

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

func TestFramesOfAnotherProtocolAreRefused(t *testing.T) {
	id := make([]byte, 16)
	for name, f := range map[string]*wire.Frame{
		"raft message of another sender":    {Raft: frameOf([]transport.Message{beat(3, 2)}).GetRaft()},
		"raft message for another receiver": {Raft: frameOf([]transport.Message{beat(1, 3)}).GetRaft()},
		"no verdict":                        {Replies: []*wire.ForwardReply{{}}},
		"unknown verdict":                   {Replies: []*wire.ForwardReply{{Verdict: uint32(transport.StorageFull) + 1}}},
		"short cluster id":                  {Forms: []*wire.Form{{Kind: 1, State: 1, Cluster: id[:15], Life: id, Echo: id}}},
		"long echo":                         {Forms: []*wire.Form{{Kind: 1, State: 1, Cluster: id, Life: id, Echo: append(id, 0)}}},
		"no kind":                           {Forms: []*wire.Form{{State: 1, Cluster: id, Life: id, Echo: id}}},
		"kind past a byte":                  {Forms: []*wire.Form{{Kind: 257, State: 1, Cluster: id, Life: id, Echo: id}}},
		"unknown state":                     {Forms: []*wire.Form{{Kind: 1, State: 9, Cluster: id, Life: id, Echo: id}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := messagesOf(f, 1, 2)
			assert.ErrorIs(t, err, errFrame)
		})
	}
}

// FuzzFrame: bytes are refused, or are messages that come out the same when they
// are sent on.
func FuzzFrame(f *testing.F) {
	for _, m := range []transport.Message{
		form(1, 2), app(1, 2, 3, 10), beat(1, 2),
		{From: 1, To: 2, Forward: &transport.Forward{Seq: 1, Command: []byte("x")}},
		{From: 1, To: 2, ForwardReply: &transport.ForwardReply{Seq: 1, Verdict: transport.Accepted, Term: 2, Index: 3}},
	} {
		b, err := proto.Marshal(frameOf([]transport.Message{m}))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame wire.Frame
		if proto.Unmarshal(b, &frame) != nil {
			return
		}
		msgs, err := messagesOf(&frame, 1, 2)
		if err != nil {
			require.ErrorIs(t, err, errFrame)
			return
		}
		for _, m := range msgs {
			assert.Equal(t, uint64(1), m.From)
			assert.Equal(t, uint64(2), m.To)
		}
		// Only what the house's types have no field for is lost, and once.
		again, err := messagesOf(frameOf(msgs), 1, 2)
		require.NoError(t, err)
		assert.True(t, proto.Equal(frameOf(msgs), frameOf(again)))
		require.Len(t, again, len(msgs))
		for i, m := range frame.GetForwards() {
			got := msgs[len(frame.GetRaft())+i].Forward
			assert.Equal(t, m.GetSeq(), got.Seq)
			assert.Equal(t, m.GetAttempt(), got.Attempt)
			assert.Equal(t, m.GetCommand(), got.Command)
		}
	})
}
