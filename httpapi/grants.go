package httpapi

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
)

// grantSlots is how many callers are remembered. Two that share a slot push each other out.
const grantSlots = 1024

// grantMemory remembers what callers may do: to find it out takes a look for each group that one is
// in, and most come again and again. What it holds is of one identity and one policy, which both
// never change, so that it is never out of date: another policy is another pointer, and with it goes
// all that was remembered of the one before, which would be kept alive. Safe for concurrent use.
type grantMemory struct {
	seed maphash.Seed
	by   atomic.Pointer[grantsBy]
}

// grantsBy is what callers may do by one policy.
type grantsBy struct {
	policy *fsm.Policy
	slots  [grantSlots]atomic.Pointer[granted]
}

// granted is what an identity may do.
type granted struct {
	identity *auth.Identity
	withheld fsm.Verbs
	grants   fsm.Grants
}

// of is what who may do by p, with what its token withholds left out.
func (m *grantMemory) of(p *fsm.Policy, who *caller) fsm.Grants {
	if who.identity == nil {
		return p.Grants(&who.principal)
	}
	by := m.by.Load()
	if by == nil || by.policy != p {
		by = &grantsBy{policy: p} // two requests with views of two policies take it from each other, for a moment
		m.by.Store(by)
	}
	slot := &by.slots[maphash.Comparable(m.seed, who.identity)%grantSlots]
	if g := slot.Load(); g != nil && g.identity == who.identity && g.withheld == who.withheld {
		return g.grants
	}
	g := &granted{who.identity, who.withheld, p.Grants(&who.principal).Without(who.withheld)}
	slot.Store(g)
	return g.grants
}
