package sim

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
)

// generator is one subsystem's share of the seed.
type generator struct{ *mathrand.Rand }

func newGenerator(seed uint64, name string) generator {
	return generator{mathrand.New(mathrand.NewPCG(seed, xxhash.Sum64String(name)))}
}

// chance is true with probability p. It draws even if p is 0, so that what is
// switched off leaves the draws after it as they were.
func (g generator) chance(p float64) bool { return g.Float64() < p }

// between draws evenly from [lo, hi].
func (g generator) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(g.Int64N(int64(hi-lo)+1))
}

// about draws a time that is exponentially distributed around mean, at most ten times it.
func (g generator) about(mean time.Duration) time.Duration {
	return time.Duration(min(g.ExpFloat64(), 10) * float64(mean))
}

// some draws a magnitude between lo and hi, each order of which is as likely as the next.
func (g generator) some(lo, hi time.Duration) time.Duration {
	d := lo
	for d < hi && g.IntN(2) == 0 {
		d *= 2
	}
	return min(hi, g.between(lo, max(lo, d)))
}

// pick draws one of vs.
func pick[T any](g generator, vs ...T) T { return vs[g.IntN(len(vs))] }

// entropy stands in for crypto/rand.Reader: each node draws from its own stream.
type entropy struct{ now *mathrand.Rand }

func (e *entropy) Read(p []byte) (int, error) {
	var b [8]byte
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(b[:], e.now.Uint64())
		copy(p[i:], b[:])
	}
	return len(p), nil
}

// oneWorld is held while crypto/rand.Reader is a world's.
var oneWorld sync.Mutex

// install replaces crypto/rand.Reader until the function it returns is called.
func (e *entropy) install() (restore func()) {
	oneWorld.Lock()
	was := rand.Reader
	rand.Reader = io.Reader(e)
	return func() {
		rand.Reader = was
		oneWorld.Unlock()
	}
}
