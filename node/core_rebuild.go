package node

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/tracker"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// rebuilding is the core's side of a store that cannot be used (protocol.md §4).
// The node keeps its log and its votes: it takes part in Raft, but hands nothing to
// the store and serves nothing, until a peer's image has taken the store's place.
type rebuilding struct {
	// why nothing is served; nil: it is.
	why error
	// lost: the store is given up, and no image has taken its place yet.
	lost bool
	// floor is what was applied before: a caller may have seen it, so that nothing
	// below is served again.
	floor uint64

	asked uint64 // the peer that was asked last for its image
	askAt time.Duration
}

// errDiverged means that a majority agrees on a state hash and this node has another.
var errDiverged = errors.New("the state differs from that of a majority")

// damaged gives the store up. Alone, a node can do nothing but stop.
func (c *Core) damaged(err error) {
	if c.lost || c.installing {
		return
	}
	if c.alone() && len(c.peers) == 0 {
		c.stop(fmt.Errorf("node: the store is damaged, nothing damaged was served, and there is no other member to rebuild it from; restore a backup: %w", err))
		return
	}
	c.why, c.lost = err, true
	c.floor = max(c.floor, c.applied)
	c.applying, c.flushing = 0, false
	if c.outgoing != nil {
		c.endImage(false)
	}
	c.offerImage()
	c.refuseAll()
	c.forgetDigests()
	c.abandonRepack()
	c.askAt = c.now
}

// refuseAll answers everything that waits for the store.
func (c *Core) refuseAll() {
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		if p := c.inFlight(seq); p != nil {
			c.giveUp(p, ErrRebuilding)
		}
	}
	c.refuseReads()
}

// serveAgain ends a rebuild when everything that was ever served here is applied.
func (c *Core) serveAgain() {
	if !c.lost && c.applied >= c.floor {
		c.why = nil
	}
}

// tickRebuild asks one peer after the other for its image, and hands leadership to
// one that can serve, if there is any.
func (c *Core) tickRebuild() {
	if !c.lost {
		return
	}
	// A new member, whose log is empty, is sent an image by its leader.
	if c.incoming == nil && c.now >= c.askAt && c.log.last > 0 && len(c.peers) > 0 {
		c.askAt = c.now + askElections*c.election()
		c.asked = c.peerAfter(c.asked)
		c.send(transport.Message{To: c.asked, ImageRequest: &transport.ImageRequest{First: c.log.first - 1}})
	}
	c.handOver(func(uint64) bool { return true })
}

// peerAfter is the peer with the next greater id, in a circle.
func (c *Core) peerAfter(id uint64) uint64 {
	for _, p := range c.peers {
		if p > id {
			return p
		}
	}
	return c.peers[0]
}

// mostAdvanced is the voter that has most of the log, of those that are heard and may lead; 0 if there is none that
// lacks so little of it that writes would hardly wait for it: until it has all, or an election has passed, raft takes none.
func (c *Core) mostAdvanced(may func(id uint64) bool) (best uint64) {
	progress := c.raft.Status().Progress
	for _, p := range c.conf.Voters {
		if at := progress[p]; p == c.cfg.ID || !c.hearsNow(p) || !may(p) || at.State != tracker.StateReplicate || at.Match+promoteLag < c.commit {
			continue
		}
		if best == 0 || progress[p].Match > progress[best].Match {
			best = p
		}
	}
	return best
}

// remake starts raft anew over the image that took the lost store's place, as a
// restart would: all of the log is durable, and nothing is on its way to raft.
func (c *Core) remake(state fsm.State) {
	clear(c.waiting)
	c.waiting = c.waiting[:0]
	c.log.hard, c.log.conf = c.written, confStateOf(state.Conf)
	rn, err := newRawNode(c.cfg, c.log, uint64(state.Applied))
	if err != nil {
		c.stop(fmt.Errorf("node: starting over at index %d: %w", state.Applied, err))
		return
	}
	c.raft = rn
}
