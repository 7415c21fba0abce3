package sim

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/confman/confman/linearizability"
)

// trace is the running hash of everything that happens in a world.
type trace struct {
	hash *xxhash.Digest
	buf  []byte // of what happened last, not in hash yet
}

// traceBytes is about how much is hashed at a time: records are small.
const traceBytes = 4 << 10

func newTrace() trace { return trace{hash: xxhash.New(), buf: make([]byte, 0, 2*traceBytes)} }

// add puts one record into the hash.
func (t *trace) add(words ...uint64) {
	for _, w := range words {
		t.buf = binary.LittleEndian.AppendUint64(t.buf, w)
	}
	if len(t.buf) >= traceBytes {
		t.sum()
	}
}

// sum is the hash of all that happened.
func (t *trace) sum() uint64 {
	_, _ = t.hash.Write(t.buf)
	t.buf = t.buf[:0]
	return t.hash.Sum64()
}

// op puts what was asked and answered into the hash.
func (t *trace) op(o *linearizability.Op) {
	t.buf = encodeOp(t.buf, o)
}

// encodeOp appends o to b in a form that is the same for equal operations and different
// for different ones. For hashing: nothing decodes it.
func encodeOp(b []byte, o *linearizability.Op) []byte {
	b = put(b, o.ID, uint64(o.Client), o.Session, o.IfRevision, o.RetryOf, o.MinRevision, uint64(o.MaxStaleness),
		uint64(o.Call), uint64(o.Return), o.Revision, o.KeyRevision, uint64(o.FreshAt),
		flags(o.IfAbsent, o.Found, o.Claims, o.ElseDone), uint64(len(o.Compares)), uint64(len(o.Steps)), uint64(len(o.Else)))
	b = putBytes(putBytes(b, o.Node), o.Kind)
	b = putBytes(putBytes(b, o.Key), o.Value)
	b = putBytes(putBytes(b, o.IdempotencyKey), o.Outcome)
	b = putBytes(b, o.Got)
	for i := range o.Compares {
		c := &o.Compares[i]
		b = put(putBytes(putBytes(b, c.Key), c.Value), c.Revision, flags(c.Exists))
	}
	b = encodeSteps(b, o.Steps)
	return encodeSteps(b, o.Else)
}

func encodeSteps(b []byte, steps []linearizability.Step) []byte {
	for i := range steps {
		s := &steps[i]
		b = putBytes(putBytes(b, s.Kind), s.Key)
		b = putBytes(putBytes(b, s.Value), s.Got)
		b = put(b, s.KeyRevision, flags(s.Found))
	}
	return b
}

// flags packs set bits, the first into the lowest.
func flags(set ...bool) (n uint64) {
	for i, on := range set {
		if on {
			n |= 1 << i
		}
	}
	return n
}

func digest(b []byte) uint64 { return xxhash.Sum64(b) }
