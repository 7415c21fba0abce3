package node

import "sync"

// queue carries effects from the loop to a worker. put never waits: the loop must
// not wait for a worker that waits for the loop. What bounds it is the core,
// which has only so much in flight: see appendLoop, applyLoop.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	spare []T // the slice that take gave out before the last
	wake  chan struct{}
}

func newQueue[T any]() *queue[T] { return &queue[T]{wake: make(chan struct{}, 1)} }

func (q *queue[T]) put(item T) {
	q.mu.Lock()
	q.items = append(q.items, item)
	q.mu.Unlock()
	signal(q.wake)
}

// take returns all that was put, in order. It is valid until the next take. One goroutine.
func (q *queue[T]) take() []T {
	clear(q.spare)
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.items
	q.items, q.spare = q.spare[:0], taken
	return taken
}

// signal leaves a token in a channel of capacity 1; one that is there already will do.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
