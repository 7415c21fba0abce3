package node

import (
	"fmt"
	"time"

	"github.com/confman/confman/transport"
)

// digesting compares the replicas' states. The leader names an index that hardly
// anybody has applied yet; whoever applies it tells all others the hash of its state
// right there. A node that alone differs from a majority which agrees rebuilds its
// store. Nobody trusts the leader's word more than another's: it may be the one that
// differs.
type digesting struct {
	namedAt time.Duration
	named   uint64                      // zero: none, or passed
	own     transport.Digest            // the last; Index zero: none
	digests map[uint64]transport.Digest // the last of each peer
	agedAt  time.Duration               // when digests were forgotten last: a dead member's must not be disputed for ever
}

// digestAge is after how many intervals the peers' digests are forgotten; who lives
// sends another in each.
const digestAge = 4

func (c *Core) tickDigest() {
	if c.cfg.DigestInterval > 0 && c.now-c.agedAt >= digestAge*c.cfg.DigestInterval {
		c.agedAt = c.now
		clear(c.digests)
		c.offerImage()
	}
	if c.cfg.DigestInterval < 0 || c.role != Leader || len(c.peers) == 0 || c.now-c.namedAt < c.cfg.DigestInterval {
		return
	}
	c.namedAt = c.now
	index := max(c.log.last, c.commit)
	for _, p := range c.peers {
		c.send(transport.Message{To: p, Digest: &transport.Digest{Index: index, Asked: true}})
	}
	c.nameDigest(index)
}

// digestHeard takes a peer's digest, or the leader's word at which index to make one.
func (c *Core) digestHeard(from uint64, d *transport.Digest) {
	if d.Asked {
		if from == c.leader {
			c.nameDigest(d.Index)
		}
		return
	}
	c.digests[from] = *d
	c.compareDigests()
}

func (c *Core) nameDigest(index uint64) {
	if c.lost {
		return
	}
	c.named = index
	c.digestApplied()
}

// digestApplied tells the others the state's hash, if the named index is the last one applied.
func (c *Core) digestApplied() {
	switch {
	case c.named == 0 || c.applied < c.named:
		return
	case c.applied == c.named:
		c.own = transport.Digest{Index: c.applied, Hash: c.hash}
		for _, p := range c.peers {
			d := c.own
			c.send(transport.Message{To: p, Digest: &d})
		}
		c.compareDigests()
	}
	c.named = 0
}

// disputed tells whether another member had another state at the last index that was
// compared. As long as no majority decides who is wrong, no image of this one goes out:
// it could make a wrong state the majority's.
func (c *Core) disputed() bool {
	for _, p := range c.peers {
		if d := c.digests[p]; d.Index != 0 && d.Index == c.own.Index && d.Hash != c.own.Hash {
			return true
		}
	}
	return false
}

// compareDigests finds out whether a majority agrees on another state than this node
// has, and takes back the image that goes out if any member has another.
func (c *Core) compareDigests() {
	if c.own.Index == 0 {
		return
	}
	if c.outgoing != nil && c.disputed() {
		c.endImage(false)
	}
	c.offerImage()
	for _, p := range c.peers {
		d := c.digests[p]
		if d.Index != c.own.Index || d.Hash == c.own.Hash {
			continue
		}
		if c.majorityHas(d, c.conf.Voters) && (!c.conf.Joint() || c.majorityHas(d, c.conf.VotersOutgoing)) {
			c.damaged(fmt.Errorf("%w: at index %d its hash is %x, that of most voters is %x", errDiverged, d.Index, c.own.Hash[:8], d.Hash[:8]))
			return
		}
	}
}

// majorityHas tells whether most of these voters had this state. Learners do not count: one that has no store yet would be
// waited for, and gets none from members that disagree.
func (c *Core) majorityHas(d transport.Digest, voters []uint64) bool {
	agree := 0
	for _, id := range voters {
		if id != c.cfg.ID && c.digests[id] == d {
			agree++
		}
	}
	return agree > len(voters)/2
}

func (c *Core) forgetDigests() {
	c.named, c.own = 0, transport.Digest{}
}
