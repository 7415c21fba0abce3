//go:build failpoints

package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFailpointDrift: a node that hears of nobody says how old its state is by a clock that is wrong. As long as
// that drifts by no more than the node is configured to expect, it never says too little; and a node that expected
// nothing would have.
func TestFailpointDrift(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	for i, ppm := range []int{-900_000, -90_000, 0, 90_000, 900_000} {
		off := inject(t, points+"node/drift", fmt.Sprintf("return(%d)", ppm))
		alone, acknowledged := c.leaveBehind(fmt.Sprint(ppm), i)
		fresh := freshness(t, alone)
		naive := fresh
		fresh.drift, naive.drift = max(ppm, -ppm), 0
		var took, said, naively time.Duration
		require.Eventually(t, func() bool {
			var ok bool
			took = time.Since(acknowledged) // before it is said
			said, ok = fresh.Age()
			naively, _ = naive.Age()
			return !ok || said < took || took > 600*time.Millisecond
		}, patience, time.Millisecond)
		require.GreaterOrEqualf(t, said, took, "the clock is off by %d millionths", ppm)
		switch {
		case ppm == -900_000: // a proof is older than what it is held against: less would not show
			assert.Less(t, naively, took, "the clock is not slow")
		case ppm > 0:
			assert.Greater(t, naively, took+took*time.Duration(ppm)/2_000_000, "the clock is not fast")
		}
		off()
		c.mesh.isolate(alone.Status().ID, false)
		require.Eventually(t, func() bool { return alone.Linearize(t.Context()) == nil }, patience, time.Millisecond)
		mustGet(t, alone, "after", fmt.Sprint(ppm))
	}
	c.agree()
}

// TestFailpointClockJumps: the clock jumps an hour ahead, as that of a machine that slept does. A node that hears of nobody says
// that its state is that old, and is not ready; one that does goes on, and says soon that it is not.
func TestFailpointClockJumps(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	alone, _ := c.leaveBehind("1", 0)
	before := int(bootJumped().Milliseconds())
	inject(t, points+"node/jump", fmt.Sprintf("return(%d)", before+int(time.Hour.Milliseconds())))
	age, ok := freshness(t, alone).Age()
	require.True(t, ok)
	assert.GreaterOrEqual(t, age, time.Hour)
	assert.False(t, alone.Status().Ready)
	c.mesh.isolate(alone.Status().ID, false)
	for _, r := range c.runners {
		require.Eventually(t, func() bool { return r.Linearize(t.Context()) == nil }, patience, time.Millisecond)
		mustGet(t, r, "after", "1")
		require.Eventually(t, func() bool {
			st := r.Status()
			return st.Ready && st.Fresh && st.Staleness < time.Minute
		}, patience, time.Millisecond)
	}
	c.agree()
}

func freshness(t *testing.T, r *Runner) Freshness {
	t.Helper()
	v, fresh, err := r.View()
	require.NoError(t, err)
	v.Close()
	return fresh
}

func bootJumped() time.Duration {
	drift.mu.Lock()
	defer drift.mu.Unlock()
	return drift.jumped
}

// leaveBehind cuts off a node that does not lead, and returns it, and when a write was acknowledged that it does not have.
func (c *trio) leaveBehind(value string, turn int) (*Runner, time.Time) {
	c.t.Helper()
	leader := c.leader()
	var others []*Runner
	for _, name := range c.names {
		if name != leader {
			others = append(others, c.runners[name])
		}
	}
	alone := others[turn%len(others)]
	c.mesh.isolate(alone.Status().ID, true)
	mustPut(c.t, c.runners[leader], "after", value)
	return alone, time.Now()
}
