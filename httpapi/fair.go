package httpapi

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/confman/confman/fsm"
)

// callerSlots is how many callers are told apart where requests are counted: two that share a slot
// share what one may have.
const callerSlots = 4096

// callerCounts are the requests of callers that are being worked on. Safe for concurrent use.
type callerCounts struct {
	seed  maphash.Seed
	slots [callerSlots]atomic.Int64
}

// of is the count of who.
func (n *callerCounts) of(who *fsm.Principal) *atomic.Int64 {
	return &n.slots[maphash.Comparable(n.seed, keyOf(who))%callerSlots]
}

// inTurn is h, unless the caller has as many requests under way as one may have.
func (h handler) inTurn(c *call) error {
	if c.who.identity == nil { // anybody is everybody
		return h(c)
	}
	n := c.api.callers.of(&c.who.principal)
	defer n.Add(-1)
	if n.Add(1) > MaxCallerRequests {
		return problemf(kindOverloaded, "this node is working on %d requests of %s, the most it takes of one caller", MaxCallerRequests, c.who.principal.String())
	}
	return h(c)
}
