package grpctransport

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/fsm"
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
		"no verdict on an image":            {ImageReplies: []*wire.ImageReply{{}}},
		"unknown verdict on an image":       {ImageReplies: []*wire.ImageReply{{Verdict: uint32(transport.ImageDamaged) + 1}}},
		"verdict on an image past a byte":   {ImageReplies: []*wire.ImageReply{{Verdict: 1<<8 + uint32(transport.ImageTaken)}}},
		"digest without a hash":             {Digests: []*wire.Digest{{Index: 1}}},
		"short digest":                      {Digests: []*wire.Digest{{Index: 1, Hash: make([]byte, 31)}}},
		"claim without a life":              {Claims: []*wire.Claim{{Version: 1}}},
		"claim of no life":                  {Claims: []*wire.Claim{{Life: make([]byte, 16), Version: 1}}},
		"claim of a long life":              {Claims: []*wire.Claim{{Life: bytes.Repeat([]byte{1}, 17), Version: 1}}},
		"claim without a version":           {Claims: []*wire.Claim{{Life: bytes.Repeat([]byte{1}, 16)}}},
		"version of a claim past a byte":    {Claims: []*wire.Claim{{Life: bytes.Repeat([]byte{1}, 16), Version: 257}}},
		"no verdict on a claim":             {ClaimReplies: []*wire.ClaimReply{{Life: id}}},
		"unknown verdict on a claim":        {ClaimReplies: []*wire.ClaimReply{{Life: id, Verdict: uint32(transport.ClaimGone) + 1}}},
		"verdict on a claim past a byte":    {ClaimReplies: []*wire.ClaimReply{{Life: id, Verdict: 1<<8 + uint32(transport.ClaimGone)}}},
		"answer to a short life":            {ClaimReplies: []*wire.ClaimReply{{Life: id[:15], Verdict: 1}}},
		"answer to a long life":             {ClaimReplies: []*wire.ClaimReply{{Life: append(id, 0), Verdict: 1}}},
		"long digest":                       {Digests: []*wire.Digest{{Index: 1, Hash: make([]byte, 33)}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := messagesOf(f, 1, 2, WireVersion)
			assert.ErrorIs(t, err, errFrame)
		})
	}
}

// claims are one of each kind about seats, every field with a value of its own.
func claims() []transport.Message {
	return []transport.Message{
		{From: 1, To: 2, Claim: &transport.Claim{Life: [16]byte{1, 15: 2}, Version: 255}},
		{From: 1, To: 2, ClaimReply: &transport.ClaimReply{Life: [16]byte{3, 15: 4}, Verdict: transport.ClaimGone, Last: 5, Commit: 6, CommitTerm: 7}},
	}
}

// TestFramesOfAStreamHaveWhatItsVersionHas, and nothing newer.
func TestFramesOfAStreamHaveWhatItsVersionHas(t *testing.T) {
	for _, m := range claims() {
		f := frameOf([]transport.Message{m, beat(1, 2)})
		msgs, err := messagesOf(f, 1, 2, 2)
		require.NoError(t, err)
		assert.Contains(t, msgs, m)
		_, err = messagesOf(f, 1, 2, 1)
		require.ErrorIs(t, err, errFrame)
		require.ErrorContains(t, err, "a message of wire version 2 on a stream of 1")
	}
	_, err := messagesOf(frameOf(append(imageMessages(), form(1, 2), beat(1, 2))), 1, 2, 1)
	assert.NoError(t, err)
}

// imageMessages are one of each kind about images, every field with a value of its own.
func imageMessages() []transport.Message {
	return []transport.Message{
		{From: 1, To: 2, Image: &transport.Image{Incarnation: 1, Transfer: 2, Term: 3, Index: 4, Size: 5 << 40, Offset: 6, Data: []byte("piece"), Sum: 7}},
		{From: 1, To: 2, ImageReply: &transport.ImageReply{Incarnation: 1, Transfer: 2, Verdict: transport.ImageWanted, Offset: 3}},
		{From: 1, To: 2, ImageReply: &transport.ImageReply{Incarnation: 1, Transfer: 2, Verdict: transport.ImageDamaged}},
		{From: 1, To: 2, ImageRequest: &transport.ImageRequest{First: 9}},
		{From: 1, To: 2, Digest: &transport.Digest{Index: 8, Asked: true}},
		{From: 1, To: 2, Digest: &transport.Digest{Index: 8, Hash: [32]byte{1, 31: 2}}},
	}
}

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	sent := append(imageMessages(), claims()...)
	b, err := proto.Marshal(frameOf(sent))
	require.NoError(t, err)
	var frame wire.Frame
	require.NoError(t, proto.Unmarshal(b, &frame))
	got, err := messagesOf(&frame, 1, 2, WireVersion)
	require.NoError(t, err)
	assert.Equal(t, sent, got)

	// A frame that was cut anywhere is refused or lacks messages; none is made up.
	for n := range b {
		var cut wire.Frame
		if proto.Unmarshal(b[:n], &cut) != nil {
			continue
		}
		msgs, err := messagesOf(&cut, 1, 2, WireVersion)
		require.NoErrorf(t, err, "cut at %d, between two messages", n)
		require.Less(t, len(msgs), len(got))
		assert.Equal(t, got[:len(msgs)], msgs)
	}
}

// TestAnswersHaveRoomForAllMembers: what the state may hold goes through. This package does not import fsm but here.
func TestAnswersHaveRoomForAllMembers(t *testing.T) {
	reply := &transport.ClaimReply{Life: [16]byte{1}, Verdict: transport.ClaimWelcome, Last: 1}
	spec := fsm.MemberSpec{Address: strings.Repeat("a", fsm.MaxMemberAddressBytes), APIPort: 1, RaftPort: 65535}
	for id := range uint64(fsm.MaxMembers) {
		reply.Members = append(reply.Members, transport.Peer{RaftID: id + 1, Name: strings.Repeat("n", fsm.MaxMemberNameBytes), Address: spec.RaftAddress()})
	}
	sent := []transport.Message{{From: 1, To: 2, ClaimReply: reply}}
	got, err := messagesOf(frameOf(sent), 1, 2, WireVersion)
	require.NoError(t, err)
	assert.Equal(t, sent, got)
	reply.Members = append(reply.Members, transport.Peer{RaftID: 99})
	_, err = messagesOf(frameOf(sent), 1, 2, WireVersion)
	require.ErrorIs(t, err, errFrame)
}

// FuzzFrame: bytes are refused, or are messages that come out the same when they
// are sent on.
func FuzzFrame(f *testing.F) {
	for _, m := range append(append(imageMessages(), claims()...), []transport.Message{
		form(1, 2), app(1, 2, 3, 10), beat(1, 2),
		{From: 1, To: 2, Forward: &transport.Forward{Seq: 1, Command: []byte("x")}},
		{From: 1, To: 2, ForwardReply: &transport.ForwardReply{Seq: 1, Verdict: transport.Accepted, Term: 2, Index: 3}},
	}...) {
		b, err := proto.Marshal(frameOf([]transport.Message{m}))
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var frame wire.Frame
		if proto.Unmarshal(b, &frame) != nil {
			return
		}
		msgs, err := messagesOf(&frame, 1, 2, WireVersion)
		if err != nil {
			require.ErrorIs(t, err, errFrame)
			return
		}
		for _, m := range msgs {
			assert.Equal(t, uint64(1), m.From)
			assert.Equal(t, uint64(2), m.To)
		}
		// Only what the house's types have no field for is lost, and once.
		again, err := messagesOf(frameOf(msgs), 1, 2, WireVersion)
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
