package tcpproxy

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/confman/confman/jepsen/tunnet"
)

// Links are as those of package tunnet, but nothing overtakes anything, and what is cut or lost waits. Counted are pieces as they were read.
type (
	Link      = tunnet.Link
	Condition = tunnet.Condition
	Count     = tunnet.Count
)

// link is one way, of all its connections.
type link struct {
	mu      sync.Mutex
	c       Condition
	changed chan struct{} // closed when c changes
	rng     *rand.Rand
	n       Count
	free    time.Time // when all until now has passed the bottleneck
}

func newLink(seed uint64, name Link, c Condition) *link {
	return &link{c: c, changed: make(chan struct{}), rng: name.Rand(seed)}
}

func (l *link) set(c Condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c != l.c {
		l.c = c
		l.free = time.Time{}
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

func (l *link) get() (c Condition, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.c, l.changed
}

func (l *link) count() Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *link) note(f func(*Count)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.n)
}

// pass is what the link does to data that was just read: it changes it in place, and says when it is due.
func (l *link) pass(data []byte, now time.Time) (due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	due = now
	if rate := l.c.BytesPerSecond; rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(time.Duration(float64(len(data)) / float64(rate) * float64(time.Second)))
		due = l.free
	}
	due = due.Add(l.c.Delay)
	if l.c.Jitter > 0 {
		due = due.Add(time.Duration(l.rng.Int64N(int64(l.c.Jitter) + 1)))
	}
	lost := l.chance(l.c.Loss, len(data))
	if l.chance(l.c.Corrupt, len(data)) {
		if l.n.Corrupted++; l.c.Checked {
			lost = true
		} else {
			data[l.rng.IntN(len(data))] ^= 1 << l.rng.IntN(8)
		}
	}
	if lost {
		l.n.Lost++
		due = due.Add(resendTime)
	}
	return due
}

// chance is that one of the packets that so much data needs is hit.
func (l *link) chance(share float64, size int) bool {
	packets := (size + packetBytes - 1) / packetBytes
	return share > 0 && l.rng.Float64() < 1-math.Pow(1-share, float64(packets))
}
