package node

import (
	"time"

	"github.com/confman/confman/fsm"
)

// maintaining is the leader's part of what replicas do alike now and then: let time pass,
// forget idempotency keys, compact the history (fsm.Maintenance).
//
// A Maintenance goes into this leader's own log and nowhere else. It is never sent again: the
// time it lets pass was measured by a leader while it led, and the entries of terms follow
// each other as the terms do, so no time is counted twice, and replicated time does not run
// ahead of true time: but by a tick for each change of leader, since a node knows no time
// between two ticks, and by what the leaders' clocks are fast. One that is lost makes it run
// late, which keeps things longer.
type maintaining struct {
	measuredAt time.Duration // up to when the passing time is in the log; since when this node leads
	proposedAt time.Duration
	proposed   bool // one is on its way
	busy       bool // there is more to do soon
	hurried    bool // there is more to do at once
}

func (c *Core) leaderMaintains() {
	c.measuredAt, c.proposed, c.busy, c.hurried = c.now, false, true, false
}

func (c *Core) tickMaintenance() {
	interval := c.cfg.MaintenanceInterval
	if interval < 0 || c.role != Leader || c.appliedTerm != c.term || c.why != nil || c.noRoom() {
		return
	}
	if !c.busy {
		interval *= idleMaintenance
	}
	elapsed := c.now - c.measuredAt
	switch {
	case c.proposed:
		return
	case elapsed >= interval:
		c.measuredAt = c.now
	case c.hurried && c.now-c.proposedAt >= interval/hurriedMaintenance:
		elapsed = 0 // time passes once an interval; what is due by now need not wait for it
	default:
		return
	}
	cmd := fsm.Command{Maintenance: &fsm.Maintenance{
		Elapsed: min(elapsed, fsm.MaxElapsed), KeepFor: c.cfg.KeepFor, KeepVersions: c.cfg.KeepVersions,
	}}
	data, err := cmd.Encode()
	must(err == nil, "maintenance does not encode: %v", err)
	c.proposedAt, c.proposed = c.now, true
	c.enqueue(batched{data: data})
}

// maintained: the store has done a Maintenance, be it this node's or that of a leader before.
func (c *Core) maintained(r fsm.Result) { c.proposed, c.busy, c.hurried = false, r.Busy, r.Behind }
