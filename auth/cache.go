package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

// cache remembers verified tokens: at most MaxTokens, in two halves. When the young
// half is full it becomes the old one, and what was in the old one is forgotten; what is
// used stays, for it goes back to the young half.
type cache struct {
	mu         sync.RWMutex
	young, old map[[sha256.Size]byte]entry
}

// entry is one verified token.
type entry struct {
	id   *Identity
	keys *keySet
	key  thumbprint // that signed it
}

// get is the identity of a token that is still good; else nil.
func (c *cache) get(sum [sha256.Size]byte, now time.Time) *Identity {
	c.mu.RLock()
	e, young := c.young[sum]
	if !young {
		e = c.old[sum]
	}
	c.mu.RUnlock()
	switch {
	case e.id == nil:
		return nil
	case !now.Before(e.id.Expires) || !e.keys.holds(e.key, now):
		c.drop(sum)
		return nil
	case !young:
		c.put(sum, e)
	}
	return e.id
}

// put remembers e, and returns the identity that the token has from now on: that of another
// request, if that was first.
func (c *cache) put(sum [sha256.Size]byte, e entry) *Identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.young[sum]; ok {
		return first.id
	}
	if first, ok := c.old[sum]; ok {
		e = first
		delete(c.old, sum)
	}
	if c.young == nil || len(c.young) == MaxTokens/2 {
		c.old, c.young = c.young, make(map[[sha256.Size]byte]entry)
	}
	c.young[sum] = e
	return e.id
}

func (c *cache) drop(sum [sha256.Size]byte) {
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
