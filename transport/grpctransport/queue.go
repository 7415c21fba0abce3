package grpctransport

import (
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
	classes
)

func classOf(m transport.Message) class {
	if m.Forward != nil || (m.Raft != nil && (m.Raft.GetType() == raftpb.MsgApp || m.Raft.GetType() == raftpb.MsgSnap)) {
		return bulk
	}
	return urgent
}

// sizeOf is about what a message takes in a frame.
func sizeOf(m transport.Message) int {
	const overhead = 64
	switch {
	case m.Raft != nil:
		size := overhead + len(m.Raft.GetContext())
		for _, e := range m.Raft.GetEntries() {
			size += overhead + len(e.GetData())
		}
		return size
	case m.Forward != nil:
		return overhead + len(m.Forward.Command)
	}
	return overhead
}

// queue is what waits for one peer, bounded in each class.
type queue struct {
	mu      sync.Mutex
	items   [classes][]queued
	bytes   [classes]int
	dropped uint64
	burst   bool          // dropping since the last message that was taken
	wake    chan struct{} // capacity 1
}

type queued struct {
	m    transport.Message
	size int
}

// put adds m. It reports whether m was dropped as the first of a burst.
func (q *queue) put(m transport.Message) (firstDropped bool) {
	c, size := classOf(m), sizeOf(m)
	q.mu.Lock()
	defer q.mu.Unlock()
	full := len(q.items[c]) >= MaxQueuedMessages || q.bytes[c] > 0 && q.bytes[c]+size > MaxQueuedBytes
	if full || size > MaxReceiveBytes {
		q.dropped++
		first := !q.burst
		q.burst = true
		return first
	}
	q.burst = false
	q.items[c] = append(q.items[c], queued{m, size})
	q.bytes[c] += size
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return false
}

// take removes up to a frame's worth of messages that pass allows; what it does
// not allow is dropped.
func (q *queue) take(pass func(transport.Message) bool) []transport.Message {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []transport.Message
	size := 0
	for c := range q.items {
		n := 0
		for _, it := range q.items[c] {
			if len(out) > 0 && size+it.size > maxFrameBytes {
				break
			}
			n++
			q.bytes[c] -= it.size
			if pass(it.m) {
				out = append(out, it.m)
				size += it.size
			}
		}
		clear(q.items[c][:n])
		if q.items[c] = q.items[c][n:]; len(q.items[c]) == 0 {
			q.items[c] = nil
		}
	}
	return out
}

// clear drops everything; it reports whether there was anything.
func (q *queue) clear() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for c := range q.items {
		n += len(q.items[c])
		q.items[c], q.bytes[c] = nil, 0
	}
	q.dropped += uint64(n)
	return n > 0
}
