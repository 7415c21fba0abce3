// Package hist counts durations in buckets of a fixed number, so that to record one allocates nothing.
package hist

import (
	"math/bits"
	"time"
)

const (
	// halfBits make buckets at most 1/64 of their value wide.
	halfBits = 6
	half     = 1 << halfBits
	// octaves reach to 2^42 ns, more than an hour.
	octaves = 36
)

// Hist is a histogram of durations; its zero value is empty.
type Hist struct {
	counts [(octaves + 2) * half]uint64
	n      uint64
	max    time.Duration
}

// bucket is where d is counted.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	if v < 2*half {
		return int(v)
	}
	exp := bits.Len64(v) - halfBits - 1
	if exp > octaves {
		return (octaves+2)*half - 1
	}
	return exp*half + int(v>>exp)
}

// middle is the middle of a bucket.
func middle(i int) time.Duration {
	if i < 2*half {
		return time.Duration(i)
	}
	exp := i/half - 1
	low := uint64(i-exp*half) << exp
	return time.Duration(low + (uint64(1)<<exp)/2)
}

// Add counts one.
func (h *Hist) Add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

// Merge counts all of another.
func (h *Hist) Merge(o *Hist) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// Count is how many were added.
func (h *Hist) Count() uint64 { return h.n }

// Max is the greatest that was added.
func (h *Hist) Max() time.Duration { return h.max }

// Quantile is the smallest duration that at least the share q of all is not above, to 1/64; 0 of none.
func (h *Hist) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	want := uint64(q * float64(h.n))
	if float64(want) < q*float64(h.n) || want == 0 {
		want++
	}
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= want {
			return min(middle(i), h.max)
		}
	}
	return h.max
}
