package grpctransport

import (
	"slices"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/transport"
)

// class is a message's place in a sender's queue.
type class int

const (
	// urgent: what is small and what elections, commits and answers wait for.
	urgent class = iota
	// bulk: log entries and forwarded commands. All appends are of this class, so
	// that they stay in order.
	bulk
	// pieces: those of images, which go between frames of bulk, one at a time.
	pieces
	classes
)

func classOf(m transport.Message) class {
	if m.Image != nil {
		return pieces
	}
	if m.Forward != nil || (m.Raft != nil && m.Raft.GetType() == raftpb.MsgApp) {
		return bulk
	}
	return urgent
}

// sizeOf bounds what a message takes in a frame from above.
func sizeOf(m transport.Message) int {
	const (
		messageOverhead = 192 // all numbers of a message at their longest
		entryOverhead   = 48
	)
	switch {
	case m.Raft != nil:
		size := messageOverhead + len(m.Raft.GetContext())
		for _, e := range m.Raft.GetEntries() {
			size += entryOverhead + len(e.GetData())
		}
		return size
	case m.Forward != nil:
		return messageOverhead + len(m.Forward.Command)
	case m.Image != nil:
		return messageOverhead + len(m.Image.Data)
	}
	return messageOverhead
}

// queue is what waits for one peer, bounded in each class.
type queue struct {
	wake chan struct{} // capacity 1

	mu      sync.Mutex
	lanes   [classes]lane
	turn    bool // the next frame with room is for a piece of an image
	dropped uint64
}

type lane struct {
	items []queued
	bytes int
	// dropping: since the lane was full the last time, it has not become half
	// empty. One burst of losses it is till then, and reported once.
	dropping bool
}

type queued struct {
	m    transport.Message
	size int
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

// put adds m. It reports whether m was dropped as the first of a burst.
func (q *queue) put(m transport.Message) (firstDropped bool) {
	size := sizeOf(m)
	q.mu.Lock()
	defer q.mu.Unlock()
	l := &q.lanes[classOf(m)]
	if len(l.items) >= MaxQueuedMessages || l.bytes > 0 && l.bytes+size > MaxQueuedBytes {
		q.dropped++
		first := !l.dropping
		l.dropping = true
		return first
	}
	l.items = append(l.items, queued{m, size})
	l.bytes += size
	signal(q.wake)
	return false
}

// refuse counts a message that cannot be queued at all.
func (q *queue) refuse() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped++
}

// take removes a frame's worth of messages: the urgent ones, and of bulk or pieces,
// which are bulkBytes of it and take turns, only if room says that the peer keeps up.
func (q *queue) take(room bool) (msgs []transport.Message, bulkBytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs, _ = q.lanes[urgent].take(msgs, maxUrgentBytes)
	if !room {
		return msgs, 0
	}
	next, limit := bulk, maxFrameBytes
	if len(q.lanes[pieces].items) > 0 && (q.turn || len(q.lanes[bulk].items) == 0) {
		next, limit = pieces, 0
	}
	q.turn = next == bulk
	return q.lanes[next].take(msgs, limit)
}

// take appends to msgs what is of at most limit bytes together, or one message.
func (l *lane) take(msgs []transport.Message, limit int) (_ []transport.Message, size int) {
	n := 0
	for n < len(l.items) && (n == 0 || size+l.items[n].size <= limit) {
		size += l.items[n].size
		n++
	}
	msgs = slices.Grow(msgs, n)
	for _, it := range l.items[:n] {
		msgs = append(msgs, it.m)
	}
	clear(l.items[:n])
	switch {
	case n < len(l.items):
		l.items = l.items[n:]
	case cap(l.items) <= keptItems:
		l.items = l.items[:0] // most of the time the next ones need no more room
	default:
		l.items = nil
	}
	l.bytes -= size
	if len(l.items) <= MaxQueuedMessages/2 && l.bytes <= MaxQueuedBytes/2 {
		l.dropping = false
	}
	return msgs, size
}

// clear drops everything; it reports whether there was anything.
func (q *queue) clear() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for c := range q.lanes {
		n += len(q.lanes[c].items)
		q.lanes[c] = lane{}
	}
	q.dropped += uint64(n)
	return n > 0
}

// signal wakes who waits on a channel of capacity 1, once.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
