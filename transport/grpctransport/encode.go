package grpctransport

import (
	"math/bits"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
)

// The numbers of fields in wire.proto and raft.proto that the codec knows itself.
const (
	frameRaft, frameForwards, frameReplies, framePing = 1, 2, 3, 5

	forwardAddressee, forwardIncarnation, forwardSeq, forwardAttempt, forwardCommand = 1, 2, 3, 4, 5

	replyIncarnation, replyOrigin, replySeq, replyAttempt, replyVerdict, replyTerm, replyIndex = 1, 2, 3, 4, 5, 6, 7

	raftType, raftTo, raftFrom, raftTerm, raftLogTerm, raftIndex, raftEntries, raftCommit = 1, 2, 3, 4, 5, 6, 7, 8
	raftReject, raftRejectHint, raftContext, raftVote                                     = 10, 11, 12, 13

	entryType, entryTerm, entryIndex, entryData = 1, 2, 3, 4
)

// isHot tells whether the codec encodes m itself.
func isHot(m *transport.Message) bool {
	return m.Raft != nil || m.Forward != nil || m.ForwardReply != nil
}

// isOdd tells whether m has fields that the codec does not know.
func isOdd(m *raftpb.Message) bool { return m.Snapshot != nil || len(m.Responses) > 0 }

// frameSize is the length of what appendFrame appends, and the messages that it leaves out.
func frameSize(f *outFrame) (size int, cold []transport.Message) {
	for i := range f.msgs {
		if m := &f.msgs[i]; isHot(m) {
			size += bytesSize(messageSize(m))
		} else {
			cold = append(cold, *m)
		}
	}
	return size + uintSize(f.ping), cold
}

// appendFrame encodes what is hot of f, in the order of the queue.
func appendFrame(b []byte, f *outFrame) []byte {
	for i := range f.msgs {
		m := &f.msgs[i]
		switch {
		case !isHot(m):
		case m.Raft != nil:
			b = appendStart(b, frameRaft, raftSize(m.Raft))
			b = appendRaft(b, m.Raft)
		case m.Forward != nil:
			b = appendStart(b, frameForwards, forwardSize(m.Forward))
			b = appendForward(b, m.Forward)
		default:
			b = appendStart(b, frameReplies, replySize(m.ForwardReply))
			b = appendReply(b, m.ForwardReply)
		}
	}
	return appendUint(b, framePing, f.ping)
}

// messageSize is the length of a hot message.
func messageSize(m *transport.Message) int {
	switch {
	case m.Raft != nil:
		return raftSize(m.Raft)
	case m.Forward != nil:
		return forwardSize(m.Forward)
	default:
		return replySize(m.ForwardReply)
	}
}

// The fields of proto3, which are there if they are not zero. All numbers are below 16: a tag is one byte.

func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, byte(field<<3)|byte(protowire.VarintType)), v)
}

func uintSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + varintSize(v)
}

// The fields of proto2, which are there if they are not nil.

func appendOptional(b []byte, field protowire.Number, v *uint64) []byte {
	if v == nil {
		return b
	}
	return protowire.AppendVarint(append(b, byte(field<<3)|byte(protowire.VarintType)), *v)
}

func optionalSize(v *uint64) int {
	if v == nil {
		return 0
	}
	return 1 + varintSize(*v)
}

// varintSize is protowire.SizeVarint, which does not fit where it is called.
func varintSize(v uint64) int { return (9*bits.Len64(v|1) + 64) / 64 }

// bytesSize is the length of a field of n bytes.
func bytesSize(n int) int { return 1 + varintSize(uint64(n)) + n }

// appendStart begins a field of n bytes.
func appendStart(b []byte, field protowire.Number, n int) []byte {
	return protowire.AppendVarint(append(b, byte(field<<3)|byte(protowire.BytesType)), uint64(n))
}

func raftSize(m *raftpb.Message) int {
	if isOdd(m) {
		return proto.Size(m)
	}
	size := optionalSize(m.To) + optionalSize(m.From) + optionalSize(m.Term) + optionalSize(m.LogTerm) + optionalSize(m.Index) +
		optionalSize(m.Commit) + optionalSize(m.RejectHint) + optionalSize(m.Vote)
	if m.Type != nil {
		size += 1 + varintSize(uint64(*m.Type))
	}
	for _, e := range m.Entries {
		size += bytesSize(entrySize(e))
	}
	if m.Reject != nil {
		size += 2
	}
	if m.Context != nil {
		size += bytesSize(len(m.Context))
	}
	return size
}

func appendRaft(b []byte, m *raftpb.Message) []byte {
	if isOdd(m) {
		b, _ = proto.MarshalOptions{}.MarshalAppend(b, m) // which fails for what neither message has: required fields, strings
		return b
	}
	if m.Type != nil {
		b = protowire.AppendVarint(append(b, raftType<<3), uint64(*m.Type))
	}
	b = appendOptional(b, raftTo, m.To)
	b = appendOptional(b, raftFrom, m.From)
	b = appendOptional(b, raftTerm, m.Term)
	b = appendOptional(b, raftLogTerm, m.LogTerm)
	b = appendOptional(b, raftIndex, m.Index)
	for _, e := range m.Entries {
		b = appendStart(b, raftEntries, entrySize(e))
		b = appendEntry(b, e)
	}
	b = appendOptional(b, raftCommit, m.Commit)
	if m.Reject != nil {
		b = append(b, raftReject<<3, 0)
		if *m.Reject {
			b[len(b)-1] = 1
		}
	}
	b = appendOptional(b, raftRejectHint, m.RejectHint)
	if m.Context != nil {
		b = append(appendStart(b, raftContext, len(m.Context)), m.Context...)
	}
	return appendOptional(b, raftVote, m.Vote)
}

func entrySize(e *raftpb.Entry) int {
	size := optionalSize(e.Term) + optionalSize(e.Index)
	if e.Type != nil {
		size += 1 + varintSize(uint64(*e.Type))
	}
	if e.Data != nil {
		size += bytesSize(len(e.Data))
	}
	return size
}

func appendEntry(b []byte, e *raftpb.Entry) []byte {
	if e.Type != nil {
		b = protowire.AppendVarint(append(b, entryType<<3), uint64(*e.Type))
	}
	b = appendOptional(b, entryTerm, e.Term)
	b = appendOptional(b, entryIndex, e.Index)
	if e.Data != nil {
		b = append(appendStart(b, entryData, len(e.Data)), e.Data...)
	}
	return b
}

func forwardSize(m *transport.Forward) int {
	size := uintSize(m.Addressee) + uintSize(m.Incarnation) + uintSize(m.Seq) + uintSize(uint64(m.Attempt))
	if len(m.Command) > 0 {
		size += bytesSize(len(m.Command))
	}
	return size
}

func appendForward(b []byte, m *transport.Forward) []byte {
	b = appendUint(b, forwardAddressee, m.Addressee)
	b = appendUint(b, forwardIncarnation, m.Incarnation)
	b = appendUint(b, forwardSeq, m.Seq)
	b = appendUint(b, forwardAttempt, uint64(m.Attempt))
	if len(m.Command) > 0 {
		b = append(appendStart(b, forwardCommand, len(m.Command)), m.Command...)
	}
	return b
}

func replySize(m *transport.ForwardReply) int {
	return uintSize(m.Incarnation) + uintSize(m.Origin) + uintSize(m.Seq) + uintSize(uint64(m.Attempt)) +
		uintSize(uint64(m.Verdict)) + uintSize(m.Term) + uintSize(m.Index)
}

func appendReply(b []byte, m *transport.ForwardReply) []byte {
	b = appendUint(b, replyIncarnation, m.Incarnation)
	b = appendUint(b, replyOrigin, m.Origin)
	b = appendUint(b, replySeq, m.Seq)
	b = appendUint(b, replyAttempt, uint64(m.Attempt))
	b = appendUint(b, replyVerdict, uint64(m.Verdict))
	b = appendUint(b, replyTerm, m.Term)
	return appendUint(b, replyIndex, m.Index)
}
