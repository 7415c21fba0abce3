package node

import (
	"slices"
	"time"
)

// succeeding is what a follower does about a leader whose process has ended: it need not wait out an election
// timeout to learn what it knows. Whoever leads after all is heard, and is followed again.
type succeeding struct {
	standAt time.Duration // when this node stands for election if no leader is known by then; 0: not
}

// gone forgets a leader whose process has ended. With the leader forgotten this node grants others their pre-votes at once, which it
// refuses for an election timeout after a leader was heard (raft's ForgetLeader is there for this; Raft thesis, §9.6 and
// §4.2.3 for the votes). One that only this node thinks gone stays the leader: the others do not grant theirs.
//
// The voters stand one after the other, so that they do not split the votes; the first of them once the others, too, can have
// heard. Those who drain, or could serve nobody, come last.
func (c *Core) gone(peer uint64) {
	// In the same step raft may have heard of another leader, before it says so.
	if c.role != Follower || c.leader != peer || c.raft.BasicStatus().Lead != peer || c.frozen() {
		return
	}
	c.cfg.mark("leader forgotten: its process has ended")
	// It is refused to who does not follow, and this node does.
	_ = c.raft.ForgetLeader()
	turn := 0
	for _, id := range c.conf.Voters {
		if id < c.cfg.ID && id != peer {
			turn++
		}
	}
	if c.draining || c.why != nil || c.noRoom() {
		turn += len(c.conf.Voters)
	}
	if slices.Contains(c.conf.Voters, c.cfg.ID) {
		c.standAt = c.now + time.Duration(standTicks+turn*turnTicks)*c.cfg.TickInterval
	}
}

// tickGone stands for election when it is this node's turn.
func (c *Core) tickGone() {
	if c.standAt == 0 || c.now < c.standAt {
		return
	}
	c.standAt = 0
	if c.leader == 0 && c.role == Follower && !c.frozen() {
		c.cfg.mark("stands for election: the leader's process has ended")
		// Who cannot be elected now, for a step of the configuration that it has not applied, is told so by nothing happening.
		_ = c.raft.Campaign()
	}
}
