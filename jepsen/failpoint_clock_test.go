//go:build failpoints

package jepsen

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// TestFailpointWallClock: wall clocks of a leader and of a follower are an hour off, each way, or go too fast. What is shown
// as a time is wrong then; nothing that is replicated depends on it: the time that passed for the cluster, which
// retention goes by, is what it was, and what became of a write is remembered as long as ever.
func TestFailpointWallClock(t *testing.T) {
	withPoints(t, pointLoad, func(p *pointRun) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*pointTime)
		defer cancel()
		began := time.Now()
		lead := p.leads(ctx)
		follow := p.follower(ctx, 0)
		once := client.WriteOptions{IdempotencyKey: "clock-test-0123456789abcdef"}
		p.insistOn(ctx, func(ctx context.Context) error {
			_, _, err := p.At(lead).Put(ctx, "clock/once", []byte("1"), "text/plain", once)
			return err
		})
		first := p.read(ctx, lead, "clock/once")
		for _, x := range []struct {
			node  string
			clock Clock
		}{
			{lead, Clock{Offset: time.Hour}},
			{follow, Clock{Offset: -time.Hour}},
			{lead, Clock{Offset: -time.Hour}},
			{follow, Clock{Offset: time.Hour}},
			{follow, Clock{Rate: 20}},
			{lead, Clock{Rate: 20}},
		} {
			require.NoError(t, p.SetClock(ctx, x.node, x.clock))
			// The clock is really off, soon: what is written there is of another time, unless that is before what was written before.
			p.insistOn(ctx, func(ctx context.Context) error {
				_, _, err := p.At(x.node).Put(ctx, "clock/"+x.node, []byte(time.Now().String()), "text/plain", client.WriteOptions{})
				if err == nil && x.clock.Offset > 0 && time.Until(p.read(ctx, x.node, "clock/"+x.node).ModifiedAt) < x.clock.Offset*9/10 {
					err = errors.New("the clock is right")
				}
				return err
			})
			// The same write again is not done again, whoever leads and whatever day it is.
			p.insistOn(ctx, func(ctx context.Context) error {
				_, _, err := p.At(x.node).Put(ctx, "clock/once", []byte("1"), "text/plain", once)
				return err
			})
			assert.Equal(t, first.Revision, p.read(ctx, x.node, "clock/once").Revision)
			require.NoError(t, p.AwaitNode(ctx, x.node))
			require.True(t, pause(ctx, 500*time.Millisecond)) // for clients, under this clock
			require.NoError(t, p.SetClock(ctx, x.node, Clock{}))
		}
		passed, rows := 0.0, 0
		for row, err := range p.At(lead).Audit(ctx, client.AuditOptions{Path: "clock/"}) {
			require.NoError(t, err)
			passed, rows = max(passed, row.ClusterTime), rows+1
		}
		assert.Greater(t, rows, 6)
		assert.Less(t, passed, time.Since(began).Seconds()+readyTime.Seconds(), "the time of the cluster went by somebody's wall clock")
	})
}

// TestFailpointDrift: the clocks that nodes measure time with go too fast or too slowly, by nearly as much as they are configured to
// expect, and jump ahead, as that of a machine that slept does. What every answer claims of its age is true, also at a
// node that has heard of nobody for a while.
func TestFailpointDrift(t *testing.T) {
	o := pointLoad
	o.Workloads, o.maxDriftPPM = []string{"bounded", "register"}, 100_000
	withPoints(t, o, func(p *pointRun) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*pointTime)
		defer cancel()
		lead := p.leads(ctx)
		follow := p.follower(ctx, 0)
		for _, ppm := range []int{-90_000, 90_000} {
			for _, node := range []string{follow, lead} {
				p.enable(ctx, node, "node/drift", fmt.Sprintf("return(%d)", ppm))
				p.enable(ctx, node, "transport/grpctransport/receive", `return("lost")`)
				require.True(t, pause(ctx, 1500*time.Millisecond)) // for clients, who read there
				p.enable(ctx, node, "transport/grpctransport/receive", "off")
				require.NoError(t, p.AwaitNode(ctx, node))
				p.enable(ctx, node, "node/drift", "off")
			}
		}
		for _, node := range []string{follow, p.leads(ctx)} {
			p.enable(ctx, node, "node/jump", fmt.Sprintf("return(%d)", time.Hour.Milliseconds()))
			// The time of the cluster goes by its leader's clock, and here an hour passed.
			if node != follow {
				p.insistOn(ctx, func(ctx context.Context) error {
					_, _, err := p.At(node).Put(ctx, "clock/jump", []byte("1"), "text/plain", client.WriteOptions{})
					return err
				})
			}
			require.NoError(t, p.AwaitNode(ctx, node))
			require.True(t, pause(ctx, 500*time.Millisecond))
		}
	})
}

// insistOn does something until it is done.
func (p *pointRun) insistOn(ctx context.Context, do func(ctx context.Context) error) {
	p.t.Helper()
	require.NoError(p.t, insist(ctx, do))
}

func (p *pointRun) read(ctx context.Context, node, key string) (rec client.Record) {
	p.t.Helper()
	p.insistOn(ctx, func(ctx context.Context) (err error) {
		rec, _, err = p.At(node).Get(ctx, key, client.ReadOptions{Consistency: client.Linearizable})
		return err
	})
	return rec
}
