package client

import (
	"slices"
	"sync"
	"time"
)

// endpoints are the nodes that can be asked. One that failed is asked last for a while;
// when that is over one request tries it, and if it fails again the next while is twice as
// long, up to MaxAvoidFor. One that answered is as good as any. Safe for concurrent use.
type endpoints struct {
	now func() time.Time // time.Now, but in tests

	mu   sync.Mutex
	list []*endpoint
}

// endpoint is one node. All but its url is guarded by endpoints.mu.
type endpoint struct {
	url string
	// wait is how long it is avoided for; 0: it answered last time. avoid is until when.
	wait  time.Duration
	avoid time.Time
	// tried: one request is finding out whether it works again.
	tried bool
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

// round returns all endpoints in the order to ask them in: from the one numbered start on,
// then those that are avoided, the one whose while ends next before the others.
func (e *endpoints) round(start uint64) []*endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	n := int(start % uint64(len(e.list)))
	order := slices.Concat(e.list[n:], e.list[:n])
	until := func(ep *endpoint) time.Time {
		if now.Before(ep.avoid) {
			return ep.avoid
		}
		return time.Time{}
	}
	slices.SortStableFunc(order, func(a, b *endpoint) int { return until(a).Compare(until(b)) })
	if first := order[0]; first.wait > 0 && !now.Before(first.avoid) {
		// The others need not wait for what this request finds out.
		first.tried, first.avoid = true, now.Add(first.wait)
	}
	return order
}

// failed notes that ep could not answer.
func (e *endpoints) failed(ep *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	switch avoided := now.Before(ep.avoid); {
	case avoided && !ep.tried:
		return // it was asked because there was no other
	case ep.wait == 0:
		ep.wait = AvoidFor
	default:
		ep.wait = min(2*ep.wait, MaxAvoidFor)
	}
	ep.tried, ep.avoid = false, now.Add(ep.wait)
}

// answered notes that ep works.
func (e *endpoints) answered(ep *endpoint) {
	e.mu.Lock()
	defer e.mu.Unlock()
	ep.wait, ep.avoid, ep.tried = 0, time.Time{}, false
}
