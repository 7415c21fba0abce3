//go:build failpoints

package node

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pingcap/failpoint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cuts is which messages are lost, each way for itself, where the nodes send and receive them.
type cuts struct {
	mu   sync.Mutex
	lost func(from, to uint64) bool
	seen int // how many were lost
}

// cutAt has messages lost at "send" or "receive", as set says then.
func cutAt(t *testing.T, where string) *cuts {
	t.Helper()
	c := &cuts{}
	point := points + "node/" + where + "-between"
	require.NoError(t, failpoint.EnableCall(point, func(from, to uint64, lost *bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lost != nil && c.lost(from, to) {
			*lost = true
			c.seen++
		}
	}))
	t.Cleanup(func() { _ = failpoint.Disable(point) })
	return c
}

func (c *cuts) set(lost func(from, to uint64) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = lost
}

// leaders notes who led in which term: one node in each.
type leaders struct {
	t    *testing.T
	by   map[uint64]uint64
	done chan struct{}
	all  sync.WaitGroup
}

// watchLeaders looks at all nodes of c until the test calls what it returns.
func watchLeaders(t *testing.T, c *trio) (end func()) {
	t.Helper()
	l := &leaders{t: t, by: map[uint64]uint64{}, done: make(chan struct{})}
	runners := slices.Collect(func(yield func(*Runner) bool) {
		for _, r := range c.runners {
			if !yield(r) {
				return
			}
		}
	})
	l.all.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			for _, r := range runners {
				st := r.Status()
				if st.Role != Leader {
					continue
				}
				if who, ok := l.by[st.Term]; ok {
					assert.Equalf(l.t, who, st.ID, "two nodes led in term %d", st.Term)
				}
				l.by[st.Term] = st.ID
			}
			select {
			case <-l.done:
				return
			case <-tick.C:
			}
		}
	})
	return sync.OnceFunc(func() {
		close(l.done)
		l.all.Wait()
	})
}

// TestFailpointPartition: a leader that the others do not hear, or that does not hear them, is replaced; it
// acknowledges nothing and confirms no read until the network is whole again, and then has what the others wrote.
func TestFailpointPartition(t *testing.T) {
	for name, tt := range map[string]struct {
		where string // the messages are lost where they are sent, or where they arrive
		lost  func(leader, from, to uint64) bool
	}{
		"the leader is alone":          {"send", func(l, from, to uint64) bool { return from == l || to == l }},
		"nobody hears the leader":      {"send", func(l, from, _ uint64) bool { return from == l }},
		"the leader hears nobody":      {"receive", func(l, _, to uint64) bool { return to == l }},
		"what the leader says is lost": {"receive", func(l, from, _ uint64) bool { return from == l }},
	} {
		t.Run(name, func(t *testing.T) {
			network := cutAt(t, tt.where)
			c := newTrio(t, trioNames...)
			c.start()
			c.ready()
			end := watchLeaders(t, c)
			defer end()
			first := c.leader()
			old := c.runners[first]
			mustPut(t, old, "before", "1")
			id := old.Status().ID
			network.set(func(from, to uint64) bool { return tt.lost(id, from, to) })

			during, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var other *Runner
			require.Eventually(t, func() bool {
				for name, r := range c.runners {
					if name != first && r.Status().Role == Leader {
						other = r
					}
				}
				return other != nil && old.Status().Role != Leader
			}, patience, time.Millisecond)
			res, err := other.Propose(during, put("during", "2"))
			require.NoError(t, err)
			require.NotZero(t, res.Revision)

			short, cancelShort := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancelShort()
			require.Error(t, old.Linearize(short), "a deposed leader confirmed a read")
			_, err = old.Propose(short, put("from the minority", "3"))
			var failed *WriteError
			require.ErrorAs(t, err, &failed)

			network.set(nil)
			require.Eventually(t, func() bool { return old.Linearize(t.Context()) == nil }, patience, time.Millisecond)
			mustGet(t, old, "before", "1")
			mustGet(t, old, "during", "2")
			if failed.Outcome == NotApplied {
				_, found := get(t, old, "from the minority")
				assert.False(t, found, "a write that was called refused is there")
			}
			mustPut(t, old, "after", "4")
			c.agree()
			end()
			assert.NotZero(t, network.seen)
		})
	}
}

// TestFailpointBridge: one node hears both others, who do not hear each other. There is a leader, and never two that
// acknowledge.
func TestFailpointBridge(t *testing.T) {
	network := cutAt(t, "send")
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	end := watchLeaders(t, c)
	defer end()
	var ends []uint64
	for _, name := range c.names[:2] {
		ends = append(ends, c.runners[name].Status().ID)
	}
	network.set(func(from, to uint64) bool { return slices.Contains(ends, from) && slices.Contains(ends, to) })
	bridge := c.runners[c.names[2]]
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := bridge.Propose(ctx, put("over the bridge", "1"))
		return err == nil
	}, patience, time.Millisecond)
	network.set(nil)
	for _, r := range c.runners {
		require.Eventually(t, func() bool { return r.Linearize(t.Context()) == nil }, patience, time.Millisecond)
		mustGet(t, r, "over the bridge", "1")
	}
	c.agree()
}
