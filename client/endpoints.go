package client

import (
	"slices"
	"sync"
	"time"
)

// endpoints are the nodes that can be asked. One that failed is asked last for
// AvoidFor; one that answered is not avoided any more. Safe for concurrent use.
type endpoints struct {
	now func() time.Time // time.Now, but in tests

	mu   sync.Mutex
	list []*endpoint
}

// endpoint is one node.
type endpoint struct {
	url   string
	avoid time.Time // guarded by endpoints.mu
}

func newEndpoints(list []*endpoint) *endpoints {
	return &endpoints{now: time.Now, list: list}
}

func (e *endpoints) urls() []string {
	var urls []string
	for _, ep := range e.list {
		urls = append(urls, ep.url)
	}
	return urls
}

// round returns all endpoints in the order to ask them in: from the one numbered
// start on, those that failed lately last.
func (e *endpoints) round(start uint64) []*endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := int(start % uint64(len(e.list)))
	order := slices.Concat(e.list[n:], e.list[:n])
	now := e.now()
	avoided := func(ep *endpoint) int {
		if now.Before(ep.avoid) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(order, func(a, b *endpoint) int { return avoided(a) - avoided(b) })
	return order
}

// failed notes that ep could not answer.
func (e *endpoints) failed(ep *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ep.avoid = e.now().Add(AvoidFor)
}

// answered notes that ep works.
func (e *endpoints) answered(ep *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ep.avoid = time.Time{}
}
