package grpctransport

import (
	"errors"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// errCold says that bytes are not what this program's encoder writes: the protobuf library decides what they are.
var errCold = errors.New("not for the fast decoder")

// field is one field of a message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64 // of a varint
	bytes  []byte // of a message or bytes; aliases what was read
}

// next reads the first field of b, and returns what is behind it. Other kinds than varints and bytes are cold.
func next(b []byte) (f field, rest []byte, err error) {
	number, kind, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, errCold
	}
	f.number, f.kind, b = number, kind, b[n:]
	switch kind {
	case protowire.VarintType:
		f.value, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.bytes, n = protowire.ConsumeBytes(b)
		f.bytes = f.bytes[:len(f.bytes):len(f.bytes)]
	default:
		return f, nil, errCold
	}
	if n < 0 {
		return f, nil, errCold
	}
	return f, b[n:], nil
}

// is tells whether f is a field as wire.proto has it.
func (f *field) is(number protowire.Number, kind protowire.Type) bool {
	return f.number == number && f.kind == kind
}

// read takes a frame apart. Its messages alias b.
func (f *inFrame) read(b []byte) error {
	n, forwards, replies, err := count(b)
	if err != nil {
		return err
	}
	f.msgs = make([]transport.Message, 0, n)
	forwardRoom, replyRoom := make([]transport.Forward, forwards), make([]transport.ForwardReply, replies)
	var rest []byte // fields that are the library's
	for len(b) > 0 {
		at := b
		var fd field
		if fd, b, err = next(b); err != nil {
			return err
		}
		var m transport.Message
		switch {
		case fd.is(frameRaft, protowire.BytesType):
			m.Raft, err = readRaft(fd.bytes)
		case fd.is(frameForwards, protowire.BytesType):
			m.Forward, forwardRoom = &forwardRoom[0], forwardRoom[1:]
			err = readForward(m.Forward, fd.bytes)
		case fd.is(frameReplies, protowire.BytesType):
			m.ForwardReply, replyRoom = &replyRoom[0], replyRoom[1:]
			err = readReply(m.ForwardReply, fd.bytes)
		case fd.is(framePing, protowire.VarintType):
			f.ping = fd.value
			continue
		default:
			rest = append(rest, at[:len(at)-len(b)]...)
			continue
		}
		if err != nil {
			return err
		}
		f.msgs = append(f.msgs, m)
	}
	if rest == nil {
		return nil
	}
	f.rest = &wire.Frame{}
	return proto.Unmarshal(rest, f.rest)
}

// count counts the messages of a frame: room for all of a kind is made at once.
func count(b []byte) (all, forwards, replies int, err error) {
	for len(b) > 0 {
		var fd field
		if fd, b, err = next(b); err != nil {
			return 0, 0, 0, err
		}
		switch {
		case fd.is(frameRaft, protowire.BytesType):
		case fd.is(frameForwards, protowire.BytesType):
			forwards++
		case fd.is(frameReplies, protowire.BytesType):
			replies++
		default:
			continue
		}
		all++
	}
	return all, forwards, replies, nil
}

// raftMessage is a message with room for its numbers: one allocation.
type raftMessage struct {
	raftpb.Message

	kind                                               raftpb.MessageType
	to, from, term, logTerm, index, commit, vote, hint uint64
	reject                                             bool
}

func readRaft(b []byte) (*raftpb.Message, error) {
	m := &raftMessage{}
	var room []entry
	for len(b) > 0 {
		at := b
		fd, after, err := next(b)
		if err != nil {
			return nil, err
		}
		b = after
		switch {
		case fd.is(raftEntries, protowire.BytesType):
			if m.Entries == nil {
				m.Entries, room = newEntries(at)
			}
			if len(room) == 0 {
				return nil, errCold // they do not follow each other
			}
			if err := readEntry(&room[0], fd.bytes); err != nil {
				return nil, err
			}
			m.Entries, room = append(m.Entries, &room[0].Entry), room[1:]
		case fd.is(raftContext, protowire.BytesType):
			m.Context = fd.bytes
		case fd.is(raftType, protowire.VarintType):
			m.kind = raftpb.MessageType(fd.value)
			m.Type = &m.kind
		case fd.is(raftReject, protowire.VarintType):
			m.reject = fd.value != 0
			m.Reject = &m.reject
		default:
			into, value := m.number(fd.number)
			if into == nil || fd.kind != protowire.VarintType {
				return nil, errCold
			}
			*value = fd.value
			*into = value
		}
	}
	return &m.Message, nil
}

// number is where a number of the message is kept, and where the message points to it; nil: there is none.
func (m *raftMessage) number(n protowire.Number) (into **uint64, value *uint64) {
	switch n {
	case raftTo:
		return &m.To, &m.to
	case raftFrom:
		return &m.From, &m.from
	case raftTerm:
		return &m.Term, &m.term
	case raftLogTerm:
		return &m.LogTerm, &m.logTerm
	case raftIndex:
		return &m.Index, &m.index
	case raftCommit:
		return &m.Commit, &m.commit
	case raftRejectHint:
		return &m.RejectHint, &m.hint
	case raftVote:
		return &m.Vote, &m.vote
	default:
		return nil, nil
	}
}

// entry is an entry with room for its numbers. Those of a message come and go together.
type entry struct {
	raftpb.Entry

	kind        raftpb.EntryType
	term, index uint64
}

// newEntries makes room for all entries that follow each other in b.
func newEntries(b []byte) ([]*raftpb.Entry, []entry) {
	n := 0
	for len(b) > 0 {
		fd, after, err := next(b)
		if err != nil || !fd.is(raftEntries, protowire.BytesType) {
			break
		}
		n++
		b = after
	}
	return make([]*raftpb.Entry, 0, n), make([]entry, n)
}

func readEntry(e *entry, b []byte) error {
	for len(b) > 0 {
		fd, after, err := next(b)
		if err != nil {
			return err
		}
		b = after
		switch {
		case fd.is(entryType, protowire.VarintType):
			e.kind = raftpb.EntryType(fd.value)
			e.Type = &e.kind
		case fd.is(entryTerm, protowire.VarintType):
			e.term = fd.value
			e.Term = &e.term
		case fd.is(entryIndex, protowire.VarintType):
			e.index = fd.value
			e.Index = &e.index
		case fd.is(entryData, protowire.BytesType):
			e.Data = fd.bytes
		default:
			return errCold
		}
	}
	return nil
}

func readForward(m *transport.Forward, b []byte) error {
	for len(b) > 0 {
		fd, after, err := next(b)
		if err != nil {
			return err
		}
		b = after
		switch {
		case fd.is(forwardAddressee, protowire.VarintType):
			m.Addressee = fd.value
		case fd.is(forwardIncarnation, protowire.VarintType):
			m.Incarnation = fd.value
		case fd.is(forwardSeq, protowire.VarintType):
			m.Seq = fd.value
		case fd.is(forwardAttempt, protowire.VarintType):
			m.Attempt = uint32(fd.value)
		case fd.is(forwardCommand, protowire.BytesType):
			m.Command = fd.bytes
		default:
			return errCold
		}
	}
	return nil
}

func readReply(m *transport.ForwardReply, b []byte) error {
	for len(b) > 0 {
		fd, after, err := next(b)
		if err != nil {
			return err
		}
		b = after
		if fd.kind != protowire.VarintType {
			return errCold
		}
		switch fd.number {
		case replyIncarnation:
			m.Incarnation = fd.value
		case replyOrigin:
			m.Origin = fd.value
		case replySeq:
			m.Seq = fd.value
		case replyAttempt:
			m.Attempt = uint32(fd.value)
		case replyVerdict:
			if fd.value > math.MaxUint8 {
				return errCold
			}
			m.Verdict = transport.Verdict(fd.value)
		case replyTerm:
			m.Term = fd.value
		case replyIndex:
			m.Index = fd.value
		default:
			return errCold
		}
	}
	return nil
}
