package grpctransport

import (
	"fmt"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// codec encodes frames as wire.proto says, byte for byte what google.golang.org/protobuf would take them for, without
// reflection: of all that nodes say, raft's messages, forwards and their answers are nearly everything. It knows
// those; the rest, and whatever is not as this program writes it, is left to that library.
type codec struct{ encoding.CodecV2 }

// outFrame is a frame to be sent, inFrame one that came.
type (
	outFrame struct {
		msgs []transport.Message
		ping uint64
	}
	inFrame struct {
		ping uint64
		msgs []transport.Message // without From and To; their data is in the frame's own buffer
		rest *wire.Frame         // what else there is; nil: nothing
	}
)

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Marshal is part of encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*outFrame)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	size, cold := frameSize(f)
	var rest []byte
	if len(cold) > 0 {
		var err error
		if rest, err = proto.Marshal(frameOf(cold)); err != nil {
			return nil, err
		}
		size += len(rest)
	}
	if mem.IsBelowBufferPoolingThreshold(size) {
		b := append(appendFrame(make([]byte, 0, size), f), rest...)
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	pool := mem.DefaultBufferPool()
	buf := pool.Get(size)
	*buf = append(appendFrame((*buf)[:0], f), rest...)
	return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
}

// Unmarshal is part of encoding.CodecV2. What it makes of an inFrame keeps a buffer of its own, which
// goes when the last of its messages does: log entries are not copied once more.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*inFrame)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	return f.decode(data.Materialize())
}

func (f *inFrame) decode(b []byte) error {
	if err := f.read(b); err == nil {
		return nil
	}
	*f = inFrame{rest: &wire.Frame{}}
	if err := proto.Unmarshal(b, f.rest); err != nil {
		return fmt.Errorf("grpctransport: a frame: %w", err)
	}
	f.ping = f.rest.GetPing()
	return nil
}

// messages are those of a frame that from sent to to on a stream of a version.
func (f *inFrame) messages(from, to uint64, version int) ([]transport.Message, error) {
	for i := range f.msgs {
		m := &f.msgs[i]
		m.From, m.To = from, to
		if r := m.Raft; r != nil && (r.GetFrom() != from || r.GetTo() != to) {
			return nil, fmt.Errorf("raft message from %d to %d on the stream from %d to %d: %w", r.GetFrom(), r.GetTo(), from, to, errFrame)
		}
		if r := m.ForwardReply; r != nil && (r.Verdict == 0 || r.Verdict > transport.StorageFull) {
			return nil, fmt.Errorf("verdict %d: %w", r.Verdict, errFrame)
		}
		if v := since(*m); v > version {
			return nil, fmt.Errorf("a message of wire version %d on a stream of %d: %w", v, version, errFrame)
		}
	}
	if f.rest == nil {
		return f.msgs, nil
	}
	rest, err := messagesOf(f.rest, from, to, version)
	if err != nil {
		return nil, err
	}
	return append(f.msgs, rest...), nil
}
