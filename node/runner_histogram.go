package node

import (
	"sync/atomic"
	"time"
)

// HistogramBounds are the upper bounds of a Histogram's buckets, inclusive; what took longer than the
// last is counted, too. They go from an overlay's apply to a disk that hangs.
var HistogramBounds = [...]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// Histogram counts how long something took. It takes no lock and allocates nothing: it is fed on
// the way of every write. The zero value is ready. Safe for concurrent use.
type Histogram struct {
	counts [len(HistogramBounds) + 1]atomic.Uint64 // each of what is in no bucket before
	sum    atomic.Int64                            // nanoseconds
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(HistogramBounds) && d > HistogramBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Times is what a Histogram counted.
type Times struct {
	// Count is how many there were, Sum how long they took together.
	Count uint64
	Sum   time.Duration
	// AtMost is how many took at most each of HistogramBounds.
	AtMost [len(HistogramBounds)]uint64
}

// Times reads the histogram. What is counted meanwhile may be in Sum and not in Count, never in
// one bucket and not in the next.
func (h *Histogram) Times() Times {
	t := Times{Sum: time.Duration(h.sum.Load())}
	for i := range HistogramBounds {
		t.Count += h.counts[i].Load()
		t.AtMost[i] = t.Count
	}
	t.Count += h.counts[len(HistogramBounds)].Load()
	return t
}
