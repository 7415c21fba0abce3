package auth

import (
	"hash/maphash"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func numbered(n int) string { return strconv.Itoa(n) }

func TestTheCacheIsBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	set := &keySet{maxAge: time.Hour}
	k := thumbprint{id: "k"}
	set.current.Store(&keys{held: map[thumbprint]bool{k: true}, fetched: now})
	c := newCache()
	const used = 7
	for n := range 5 * MaxTokens {
		c.put(entry{raw: numbered(n), id: &Identity{Expires: now.Add(time.Minute)}, keys: set, key: k})
		require.LessOrEqual(t, c.len(), MaxTokens)
		if n >= used {
			require.NotNil(t, c.get(numbered(used), now), "what is used stays: %d", n)
		}
	}
	assert.Greater(t, c.len(), MaxTokens/2)
	assert.Nil(t, c.get(numbered(0), now))
}

// Two tokens of one hash are two tokens.
func TestTokensOfOneHash(t *testing.T) {
	now := time.Unix(1000, 0)
	set := &keySet{maxAge: time.Hour}
	k := thumbprint{id: "k"}
	set.current.Store(&keys{held: map[thumbprint]bool{k: true}, fetched: now})
	c := newCache()
	mine := entry{raw: "mine", id: &Identity{Object: "me", Expires: now.Add(time.Minute)}, keys: set, key: k}
	require.Same(t, mine.id, c.put(mine))
	other := mine
	other.raw, other.id = "other", &Identity{Object: "you", Expires: now.Add(time.Minute)}
	sum := maphash.String(c.seed, other.raw)
	c.young[sum] = mine // as if the hashes were equal
	require.Nil(t, c.get("other", now))
	require.Same(t, other.id, c.put(other))
	require.Nil(t, c.get("other", now), "it is verified each time")
	require.Same(t, mine.id, c.get("mine", now))
}

func TestATokenInTheCacheExpires(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	raw := w.edit(user())
	_, err := a.Token(t.Context(), raw)
	require.NoError(t, err)
	w.clock.advance(time.Hour + DefaultLeeway - time.Nanosecond)
	_, err = a.Token(t.Context(), raw)
	require.NoError(t, err)
	w.clock.advance(time.Nanosecond)
	_, err = a.Token(t.Context(), raw)
	assert.Equal(t, Expired, reason(t, err))
	assert.Zero(t, a.verified.len())
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	tokens := []string{w.edit(user()), w.edit(app()), w.edit(user(), "exp", 1), w.head("kid", "forged")}
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			for i := range 50 {
				which := (n + i) % len(tokens)
				_, err := a.Token(t.Context(), tokens[which])
				assert.Equal(t, which < 2, err == nil, err)
				if i%10 == n {
					assert.NoError(t, a.sets[0].refresh(t.Context()))
				}
			}
		})
	}
	all.Wait()
}
