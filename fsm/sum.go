package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// sum is the hash of a set: the sum, modulo 2^256, of the SHA-256 of its
// elements. It does not depend on the order in which they come and go, so each
// change adjusts it, and replicas that flush and restart at different times
// agree. It finds divergence and damage; tampering is the chain's to find, since
// a sum can be steered by whoever chooses many elements.
type sum [4]uint64

// sumBytes is the size of an encoded sum.
const sumBytes = 32

// leaf is the hash of one element. Its first byte tells elements of different
// kinds apart.
func leaf(b []byte) sum {
	h := sha256.Sum256(b)
	return decodeSum(h[:])
}

func (s *sum) add(o sum) {
	var c uint64
	s[0], c = bits.Add64(s[0], o[0], 0)
	s[1], c = bits.Add64(s[1], o[1], c)
	s[2], c = bits.Add64(s[2], o[2], c)
	s[3], _ = bits.Add64(s[3], o[3], c)
}

func (s *sum) sub(o sum) {
	var c uint64
	s[0], c = bits.Sub64(s[0], o[0], 0)
	s[1], c = bits.Sub64(s[1], o[1], c)
	s[2], c = bits.Sub64(s[2], o[2], c)
	s[3], _ = bits.Sub64(s[3], o[3], c)
}

func (s sum) append(b []byte) []byte {
	for _, word := range s {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// decodeSum reads what append wrote; b has at least sumBytes.
func decodeSum(b []byte) sum {
	return sum{
		binary.LittleEndian.Uint64(b),
		binary.LittleEndian.Uint64(b[8:]),
		binary.LittleEndian.Uint64(b[16:]),
		binary.LittleEndian.Uint64(b[24:]),
	}
}

// tally is a sum with how much it covers. The last two may be differences.
type tally struct {
	sum   sum
	count int64 // elements
	bytes int64 // of their keys and values as stored
}

func (t *tally) add(o tally) {
	t.sum.add(o.sum)
	t.count += o.count
	t.bytes += o.bytes
}

func (t *tally) sub(o tally) {
	t.sum.sub(o.sum)
	t.count -= o.count
	t.bytes -= o.bytes
}

// tallyBytes is the size of an encoded tally.
const tallyBytes = sumBytes + 16

func (t tally) append(b []byte) []byte {
	b = t.sum.append(b)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.count))
	return binary.LittleEndian.AppendUint64(b, uint64(t.bytes))
}

// decodeTally reads what append wrote; b has at least tallyBytes.
func decodeTally(b []byte) tally {
	return tally{
		sum:   decodeSum(b),
		count: int64(binary.LittleEndian.Uint64(b[sumBytes:])),
		bytes: int64(binary.LittleEndian.Uint64(b[sumBytes+8:])),
	}
}
