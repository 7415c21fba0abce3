package grpctransport

import (
	"bytes"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// drawRaft draws a message from 1 to 2 in which every field may be missing, zero or anything.
func drawRaft(t *rapid.T) *raftpb.Message {
	number := func(what string) *uint64 {
		switch rapid.IntRange(0, 3).Draw(t, what+" is") {
		case 0:
			return nil
		case 1:
			return new(uint64(0))
		default:
			return new(rapid.Uint64().Draw(t, what))
		}
	}
	octets := func(what string) []byte {
		if rapid.Bool().Draw(t, what+" is nil") {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, what)
	}
	m := &raftpb.Message{
		To: new(uint64(2)), From: new(uint64(1)), Term: number("term"), LogTerm: number("log term"), Index: number("index"),
		Commit: number("commit"), Vote: number("vote"), RejectHint: number("hint"), Context: octets("context"),
	}
	if rapid.Bool().Draw(t, "has a type") {
		m.Type = raftpb.MessageType(rapid.Int32().Draw(t, "type")).Enum()
	}
	if rapid.Bool().Draw(t, "has reject") {
		m.Reject = new(rapid.Bool().Draw(t, "reject"))
	}
	for range rapid.IntRange(0, 4).Draw(t, "entries") {
		e := &raftpb.Entry{Term: number("entry's term"), Index: number("entry's index"), Data: octets("data")}
		if rapid.Bool().Draw(t, "entry has a type") {
			e.Type = raftpb.EntryType(rapid.Int32().Draw(t, "entry's type")).Enum()
		}
		m.Entries = append(m.Entries, e)
	}
	if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
		m.Snapshot = &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: number("snapshot's index")}}
	}
	if rapid.IntRange(0, 9).Draw(t, "response") == 0 {
		m.Responses = []*raftpb.Message{{Term: number("response's term")}}
	}
	return m
}

func drawMessages(t *rapid.T) []transport.Message {
	number := rapid.OneOf(rapid.Just(uint64(0)), rapid.Uint64())
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) transport.Message {
		m := transport.Message{From: 1, To: 2}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0, 1:
			m.Raft = drawRaft(t)
		case 2:
			m.Forward = &transport.Forward{
				Addressee: number.Draw(t, "addressee"), Incarnation: number.Draw(t, "incarnation"), Seq: number.Draw(t, "seq"),
				Attempt: rapid.Uint32().Draw(t, "attempt"), Command: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "command"),
			}
		case 3:
			m.ForwardReply = &transport.ForwardReply{
				Incarnation: number.Draw(t, "incarnation"), Origin: number.Draw(t, "origin"), Seq: number.Draw(t, "seq"), Attempt: rapid.Uint32().Draw(t, "attempt"),
				Verdict: transport.Verdict(rapid.IntRange(1, int(transport.StorageFull)).Draw(t, "verdict")), Term: number.Draw(t, "term"), Index: number.Draw(t, "index"),
			}
		default:
			m = rapid.SampledFrom(slices.Concat(imageMessages(), claims(), []transport.Message{form(1, 2)})).Draw(t, "other")
		}
		return m
	}), 0, 6).Draw(t, "messages")
}

// encoded is what the codec makes of messages.
func encoded(t require.TestingT, msgs []transport.Message, ping uint64) []byte {
	data, err := newCodec().Marshal(&outFrame{msgs: msgs, ping: ping})
	require.NoError(t, err)
	defer data.Free()
	return data.Materialize()
}

// TestCodecsUnderstandEachOther: what this codec writes the protobuf library reads as meant, and the other way round.
func TestCodecsUnderstandEachOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msgs, ping := drawMessages(t), rapid.Uint64Range(0, 300).Draw(t, "ping")
		plain := frameOf(msgs)
		plain.Ping = ping

		theirs := &wire.Frame{}
		require.NoError(t, proto.Unmarshal(encoded(t, msgs, ping), theirs))
		require.True(t, proto.Equal(plain, theirs), "theirs: %v\nmeant: %v", theirs, plain)

		b, err := proto.Marshal(plain)
		require.NoError(t, err)
		for _, b := range [][]byte{b, encoded(t, msgs, ping)} {
			got := inFrame{}
			require.NoError(t, got.decode(b))
			sameFrame(t, plain, &got)
		}
	})
}

// sameFrame compares what the two codecs made of the same bytes.
func sameFrame(t require.TestingT, plain *wire.Frame, got *inFrame) {
	require.Equal(t, plain.GetPing(), got.ping)
	want, wantErr := messagesOf(plain, 1, 2, WireVersion)
	msgs, err := got.messages(1, 2, WireVersion)
	if wantErr != nil {
		require.ErrorIs(t, err, errFrame)
		return
	}
	require.NoError(t, err)
	again := frameOf(msgs)
	require.True(t, proto.Equal(frameOf(want), again), "got: %v\nwant: %v", again, plain)
}

// FuzzDecode decodes anything by both: they agree whether it is a frame, and of what.
func FuzzDecode(f *testing.F) {
	all := slices.Concat(imageMessages(), claims(), []transport.Message{form(1, 2), beat(1, 2), app(1, 2, 5, 100)})
	f.Add(encoded(f, all, 7))
	f.Add(encoded(f, []transport.Message{{From: 1, To: 2, Forward: &transport.Forward{Addressee: 1, Seq: 300, Command: []byte("c")}}}, 0))
	f.Add(encoded(f, []transport.Message{{From: 1, To: 2, ForwardReply: &transport.ForwardReply{Seq: 300, Verdict: transport.NotLeader}}}, 1))
	verdict := protowire.AppendVarint([]byte{replyVerdict << 3}, 1<<8+1)
	f.Add(append(appendStart(nil, frameReplies, len(verdict)), verdict...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, got := &wire.Frame{}, inFrame{}
		err := proto.Unmarshal(b, plain)
		if err != nil {
			require.Error(t, got.decode(b))
			return
		}
		require.NoError(t, got.decode(b))
		sameFrame(t, plain, &got)
	})
}

// TestOddFrames are protobuf that this program would not write.
func TestOddFrames(t *testing.T) {
	one := encoded(t, []transport.Message{app(1, 2, 5, 3)}, 0)
	split := &raftpb.Message{From: new(uint64(1)), To: new(uint64(2))}
	b, err := proto.Marshal(split)
	require.NoError(t, err)
	entry := append(appendStart(nil, raftEntries, 2), entryTerm<<3, 5)
	odd := slices.Concat(entry, b, entry) // entries that do not follow each other
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 100, protowire.VarintType), 5)
	for name, b := range map[string][]byte{
		"entries apart":               append(appendStart(nil, frameRaft, len(odd)), odd...),
		"an unknown field of a frame": append(unknown, one...),
		"one of a message":            append(appendStart(nil, frameRaft, len(b)+len(unknown)), append(bytes.Clone(b), unknown...)...),
		"another kind of a field":     append(protowire.AppendFixed64(protowire.AppendTag(nil, framePing, protowire.Fixed64Type), 9), one...),
		"ping twice":                  slices.Concat([]byte{framePing << 3, 1}, one, []byte{framePing << 3, 2}),
	} {
		t.Run(name, func(t *testing.T) {
			plain, got := &wire.Frame{}, inFrame{}
			require.NoError(t, proto.Unmarshal(b, plain))
			require.NoError(t, got.decode(b))
			sameFrame(t, plain, &got)
		})
	}
}

// TestFastDecoderRefuses what the library refuses as a frame of this protocol, too.
func TestFastDecoderRefuses(t *testing.T) {
	for name, m := range map[string]transport.Message{
		"raft message of another sender": beat(3, 2), "raft message for another receiver": beat(1, 3),
		"no verdict":      {ForwardReply: &transport.ForwardReply{Seq: 1}},
		"unknown verdict": {ForwardReply: &transport.ForwardReply{Verdict: transport.StorageFull + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			got := inFrame{}
			require.NoError(t, got.decode(encoded(t, []transport.Message{m}, 0)))
			_, err := got.messages(1, 2, WireVersion)
			require.ErrorIs(t, err, errFrame)
		})
	}
	require.Error(t, new(inFrame).decode([]byte{frameRaft<<3 | 2, 200}))
}

// TestCodecLeavesTheRest: a pong, and what gRPC frees is not what messages are made of.
func TestCodecLeavesTheRest(t *testing.T) {
	c := newCodec()
	assert.Equal(t, protocodec.Name, c.Name(), "programs that do not know this codec would refuse its streams")
	require.Implements(t, (*encoding.CodecV2)(nil), c)
	data, err := c.Marshal(&wire.Pong{Ping: 3})
	require.NoError(t, err)
	pong := &wire.Pong{}
	require.NoError(t, c.Unmarshal(data, pong))
	assert.EqualValues(t, 3, pong.GetPing())

	for _, size := range []int{10, 5000} { // of the garbage collector's, and of the pool's
		m := app(1, 2, 5, size)
		data, err := c.Marshal(&outFrame{msgs: []transport.Message{m}})
		require.NoError(t, err)
		got := inFrame{}
		require.NoError(t, c.Unmarshal(data, &got))
		for _, b := range data {
			clear(b.ReadOnlyData())
		}
		data.Free()
		require.True(t, proto.Equal(m.Raft, got.msgs[0].Raft))
	}
}

// BenchmarkCodec encodes and decodes a frame of 16 appends of an entry of 300 bytes, by both codecs.
func BenchmarkCodec(b *testing.B) {
	msgs := slices.Repeat([]transport.Message{app(1, 2, 5, 300)}, 16)
	b.Run("codec=own", func(b *testing.B) {
		b.ReportAllocs()
		c := newCodec()
		for b.Loop() {
			data, err := c.Marshal(&outFrame{msgs: msgs})
			require.NoError(b, err)
			f := &inFrame{}
			require.NoError(b, c.Unmarshal(data, f))
			if got, err := f.messages(1, 2, WireVersion); err != nil || len(got) != len(msgs) {
				b.Fatal(err)
			}
			data.Free()
		}
	})
	b.Run("codec=protobuf", func(b *testing.B) {
		b.ReportAllocs()
		c := newCodec().CodecV2
		for b.Loop() {
			data, err := c.Marshal(frameOf(msgs))
			require.NoError(b, err)
			f := &wire.Frame{}
			require.NoError(b, c.Unmarshal(data, f))
			if got, err := messagesOf(f, 1, 2, WireVersion); err != nil || len(got) != len(msgs) {
				b.Fatal(err)
			}
			data.Free()
		}
	})
}

// together is a handler that takes what came together.
type together struct {
	inbox

	frames [][]transport.Message
}

func (h *together) ReceiveAll(msgs []transport.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frames = append(h.frames, msgs)
}

func (h *together) heard() [][]transport.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.frames)
}

// TestMessagesOfAFrameAreReceivedTogether, but for those that may not be said.
func TestMessagesOfAFrameAreReceivedTogether(t *testing.T) {
	addresses := freePorts(t, 2)
	h := &together{}
	startMember(t, 1, addresses[0], membersAt(addresses...), func(cfg *Config) { cfg.Handler = h })
	conn, err := grpc.NewClient("passthrough:///"+addresses[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	s, err := wire.NewPeerClient(conn).Stream(metadata.NewOutgoingContext(t.Context(), firstHello("2", "1")))
	require.NoError(t, err)
	require.NoError(t, s.Send(&wire.Frame{}))
	require.NoError(t, s.Send(frameOf([]transport.Message{app(2, 1, 5, 10), beat(2, 1), form(2, 1)})))
	eventually(t, func() bool { return len(h.heard()) > 0 }, "a frame came")
	got := h.heard()
	require.Len(t, got, 1)
	require.Len(t, got[0], 3)
	assert.Equal(t, form(2, 1), got[0][2])
	assert.Empty(t, h.messages(), "one by one")
}
