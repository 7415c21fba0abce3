package tunnet

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Condition is how a link is. The zero value is a whole one.
type Condition struct {
	Cut            bool
	Delay, Jitter  time.Duration // Jitter is the most that is added to Delay, at random; the order stays
	Loss           float64       // share of packets that are lost, 0 to 1
	Reorder        float64       // share of packets that are held up, and overtaken by what comes next
	Corrupt        float64       // share of TCP's packets with data of which a bit is changed, and the checksum with it
	Checked        bool          // the checksum is not changed with the bit: the receiving kernel drops the packet
	BytesPerSecond int           // 0: no limit
}

// Validate says what is wrong with conditions.
func Validate(links map[Link]Condition) error {
	for l, c := range links {
		if err := c.validate(); err != nil {
			return fmt.Errorf("the link from %q to %q: %w", l.From, l.To, err)
		}
	}
	return nil
}

func (c Condition) validate() error {
	for _, d := range []time.Duration{c.Delay, c.Jitter} {
		if d < 0 || d > MaxDelay {
			return fmt.Errorf("a delay of %v, want 0 to %v", d, MaxDelay)
		}
	}
	for _, share := range []float64{c.Loss, c.Reorder, c.Corrupt} {
		if !(share >= 0 && share <= 1) {
			return fmt.Errorf("a share of %v of the packets, want 0 to 1", share)
		}
	}
	if c.BytesPerSecond < 0 {
		return fmt.Errorf("%d bytes a second", c.BytesPerSecond)
	}
	return nil
}

// Count is what became of a link's packets.
type Count struct {
	Delivered uint64
	Cut       uint64 // lost because the link was cut
	Lost      uint64 // by Loss
	Full      uint64 // lost because too much was under way, as it is with a bandwidth
	Held      uint64 // not delivered at once: Delay, Jitter, Reorder, a bandwidth
	Reordered uint64
	Corrupted uint64
	Refused   uint64 // by the receiving kernel: it has no memory, or the host is gone
}

// link is one way.
type link struct {
	name Link
	net  *Net
	to   *host
	wake chan struct{}

	mu      sync.Mutex
	c       Condition
	rng     *rand.Rand
	n       Count
	runs    bool // deliver does
	waiting queue
	bytes   int       // of what waits
	seq     uint64    // of the last one that waits
	last    time.Time // when the last one that keeps its place is due
	free    time.Time // when all until now will have passed the bottleneck
}

// send is the beginning of a packet's way; p is the caller's again when it returns.
func (l *link) send(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c.Cut {
		l.n.Cut++
		return
	}
	if l.chance(l.c.Loss) {
		l.n.Lost++
		return
	}
	if l.chance(l.c.Corrupt) && flipBit(p, l.rng, l.c.Checked) {
		l.n.Corrupted++
	}
	overtaken := l.chance(l.c.Reorder)
	if l.c.immediate() && len(l.waiting) == 0 && !overtaken {
		l.write(p)
		return
	}
	l.hold(p, time.Now(), overtaken)
}

// immediate tells that nothing holds packets up.
func (c Condition) immediate() bool { return c.Delay == 0 && c.Jitter == 0 && c.BytesPerSecond == 0 }

func (l *link) chance(share float64) bool { return share > 0 && l.rng.Float64() < share }

// hold has a packet wait until it is due.
func (l *link) hold(p []byte, now time.Time, overtaken bool) {
	if len(l.waiting) >= MaxQueuePackets || l.bytes+len(p) > MaxQueueBytes {
		l.n.Full++
		return
	}
	due := now
	if rate := l.c.BytesPerSecond; rate > 0 {
		l.free = latest(l.free, now)
		if ahead := l.free.Sub(now); ahead > queueTime && ahead.Seconds()*float64(rate) > leastQueue {
			l.n.Full++
			return
		}
		l.free = l.free.Add(time.Duration(float64(len(p)) / float64(rate) * float64(time.Second)))
		due = l.free
	}
	due = due.Add(l.c.Delay)
	if l.c.Jitter > 0 {
		due = due.Add(time.Duration(l.rng.Int64N(int64(l.c.Jitter) + 1)))
	}
	due = latest(due, l.last)
	if overtaken {
		l.n.Reordered++
		due = due.Add(leastHold + time.Duration(l.rng.Int64N(int64(mostHold-leastHold)+1)))
	} else {
		l.last = due
	}
	l.n.Held++
	l.seq++
	l.bytes += len(p)
	heap.Push(&l.waiting, packet{due: due, seq: l.seq, data: append([]byte(nil), p...)})
	if !l.runs {
		l.runs = true
		l.net.work.Go(l.deliver)
	}
	l.stir()
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// stir has deliver look again when the next packet is due.
func (l *link) stir() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// deliver has packets arrive when they are due.
func (l *link) deliver() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if wait := l.flush(time.Now()); wait >= 0 {
			timer.Reset(wait)
		}
		select {
		case <-l.net.closed:
			return
		case <-l.wake:
		case <-timer.C:
		}
	}
}

// flush has arrive what is due, and returns in how long something is; negative: nothing waits.
func (l *link) flush(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 {
		if wait := l.waiting[0].due.Sub(now); wait > 0 {
			return wait
		}
		p := heap.Pop(&l.waiting).(packet)
		l.bytes -= len(p.data)
		l.write(p.data)
	}
	return -1
}

func (l *link) write(p []byte) {
	if _, err := l.to.device.Write(p); err != nil {
		l.n.Refused++
		return
	}
	l.n.Delivered++
}

// set changes the condition, of what is under way too.
func (l *link) set(c Condition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c == l.c {
		return
	}
	l.c = c
	if c.Cut {
		l.n.Cut += uint64(len(l.waiting))
		l.waiting, l.bytes = nil, 0
	}
	now := time.Now()
	most := now.Add(c.Delay + c.Jitter)
	for i := range l.waiting {
		l.waiting[i].due = earliest(l.waiting[i].due, most)
	}
	heap.Init(&l.waiting)
	l.last, l.free = earliest(l.last, most), earliest(l.free, now)
	l.stir()
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (l *link) count() Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// packet is one that waits.
type packet struct {
	due  time.Time
	seq  uint64
	data []byte
}

// queue is a heap: first what is due first, and of that what was sent first.
type queue []packet

// Len is part of heap.Interface.
func (q queue) Len() int { return len(q) }

// Less is part of heap.Interface.
func (q queue) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].seq < q[j].seq
	}
	return q[i].due.Before(q[j].due)
}

// Swap is part of heap.Interface.
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is part of heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(packet)) }

// Pop is part of heap.Interface.
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = packet{}
	*q = (*q)[:len(*q)-1]
	return last
}
