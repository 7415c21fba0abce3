package sim

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// trace is the running hash of everything that happens in a world.
type trace struct {
	sum *xxhash.Digest
	buf []byte
}

func newTrace() trace { return trace{sum: xxhash.New(), buf: make([]byte, 0, 256)} }

// add puts one record into the hash.
func (t *trace) add(words ...uint64) {
	b := t.buf[:0]
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	t.buf = b
	_, _ = t.sum.Write(b)
}

func digest(b []byte) uint64 { return xxhash.Sum64(b) }
