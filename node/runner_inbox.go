package node

import (
	"sync"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// inbox is everything on its way to the loop. The loop takes all of it at once, so
// that what came together shares a round of Raft.
//
// Requests past their bounds are refused; messages past theirs make the
// transport's receiver wait; what workers report is bounded by what the core has
// asked of them and is always taken, or a worker and the loop could wait for
// each other.
type inbox struct {
	mu     sync.Mutex
	room   sync.Cond // for messages; signalled when the loop took them
	items  []item
	spare  []item
	closed bool

	requests, requestBytes int
	messages, messageBytes int

	wake chan struct{}
}

// item is an input on its way to the loop, or a request that the loop makes one of.
type item struct {
	in Input // nil: a request

	waiter   *waiter
	command  []byte // of a write
	deadline time.Duration
}

// waiter is a caller that waits for the answer to its request.
type waiter struct {
	answer chan answer // of capacity 1, and answered once: the loop never waits
	write  bool
	timed  *timed      // of a write
	end    *time.Timer // of the wait; of who waits
}

type answer struct {
	result fsm.Result
	err    error
}

func (b *inbox) init() {
	b.room.L = &b.mu
	b.wake = make(chan struct{}, 1)
}

// request takes a write (command is not nil) or a read. If it returns nil, the
// waiter will be answered. Errors: ErrOverloaded, ErrStopped.
func (b *inbox) request(w *waiter, command []byte, deadline time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return ErrStopped
	case b.requests >= MaxQueuedRequests,
		len(command) > 0 && b.requestBytes > 0 && b.requestBytes+len(command) > MaxQueuedRequestBytes:
		return ErrOverloaded
	}
	b.requests++
	b.requestBytes += len(command)
	b.add(item{waiter: w, command: command, deadline: deadline})
	return nil
}

// receive takes messages from a peer, of one frame. It waits for room; after close it drops.
func (b *inbox) receive(msgs []transport.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range msgs {
		m := &msgs[i]
		size := messageSize(m)
		for !b.closed && (b.messages >= MaxQueuedMessages || b.messageBytes > 0 && b.messageBytes+size > MaxQueuedMessageBytes) {
			b.room.Wait()
		}
		if b.closed {
			return
		}
		b.messages++
		b.messageBytes += size
		b.add(item{in: Receive{Message: *m}})
	}
}

// hint takes a report that may be lost: raft finds out by itself, only later.
func (b *inbox) hint(in Input) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.messages >= MaxQueuedMessages {
		return
	}
	b.messages++
	b.add(item{in: in})
}

// report takes what a worker or an operator has to say; there is always room.
func (b *inbox) report(in Input) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.add(item{in: in})
	}
}

func (b *inbox) add(it item) {
	b.items = append(b.items, it)
	if len(b.items) == 1 {
		signal(b.wake)
	}
}

// take returns all that came, in order. It is valid until the next take. The loop only.
func (b *inbox) take() []item {
	clear(b.spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.items
	b.items, b.spare = b.spare[:0], taken
	b.requests, b.requestBytes = 0, 0
	b.messages, b.messageBytes = 0, 0
	b.room.Broadcast()
	return taken
}

// close makes the inbox take nothing more, and returns what was in it.
func (b *inbox) close() []item {
	b.mu.Lock()
	b.closed = true
	b.room.Broadcast()
	b.mu.Unlock()
	return b.take()
}

// messageSize is what a message counts for in the inbox: its payload and about what it takes besides.
func messageSize(m *transport.Message) int {
	const overhead = 128
	size := overhead
	for _, e := range m.Raft.GetEntries() {
		size += entryBytes(e)
	}
	if m.Forward != nil {
		size += len(m.Forward.Command)
	}
	if m.Image != nil {
		size += len(m.Image.Data)
	}
	return size
}
