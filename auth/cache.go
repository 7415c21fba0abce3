package auth

import (
	"hash/maphash"
	"sync"
	"time"
)

// cache remembers verified tokens: at most MaxTokens, in two halves. When the young
// half is full it becomes the old one, and what was in the old one is forgotten; what is
// used stays, for it goes back to the young half.
//
// A token is found by a keyed hash and then compared whole, which takes a fifth of the time of a
// hash that no two tokens share.
type cache struct {
	seed       maphash.Seed
	mu         sync.RWMutex
	young, old map[uint64]entry
}

func newCache() cache { return cache{seed: maphash.MakeSeed()} }

// entry is one verified token.
type entry struct {
	raw  string
	id   *Identity
	keys *keySet
	key  thumbprint // that signed it
}

// get is the identity of a token that is still good; else nil.
func (c *cache) get(raw string, now time.Time) *Identity {
	sum := maphash.String(c.seed, raw)
	c.mu.RLock()
	e, young := c.young[sum]
	if !young {
		e = c.old[sum]
	}
	c.mu.RUnlock()
	switch {
	case e.id == nil || e.raw != raw:
		return nil
	case !now.Before(e.id.Expires) || !e.keys.holds(e.key, now):
		c.drop(sum)
		return nil
	case !young:
		c.put(e)
	}
	return e.id
}

// put remembers e, and returns the identity that the token has from now on: that of another
// request, if that was first.
func (c *cache) put(e entry) *Identity {
	sum := maphash.String(c.seed, e.raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.young[sum]; ok {
		if first.raw == e.raw {
			return first.id
		}
		return e.id // two tokens of one hash: the second is verified each time
	}
	if first, ok := c.old[sum]; ok {
		if first.raw == e.raw {
			e = first
		}
		delete(c.old, sum)
	}
	if c.young == nil || len(c.young) == MaxTokens/2 {
		c.old, c.young = c.young, make(map[uint64]entry)
	}
	c.young[sum] = e
	return e.id
}

func (c *cache) drop(sum uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, sum)
	delete(c.old, sum)
}

func (c *cache) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
