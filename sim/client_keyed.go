package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

const (
	// maxSent bounds the keyed writes that a client has in mind to send again, and the keys of
	// which one is used for something else.
	maxSent = 8
	// againShare is how often a client that may send a write again does, instead of something new.
	againShare = 0.4
	// unknownShare is how many keyed writes of unknown outcome are sent again.
	unknownShare = 0.8
	// keptFor is how long a client sends a write again: half the time that its key is remembered
	// for, as the protocol has it, so that no clock and no delay matters.
	keptFor = int64(fsm.IdempotencyRetention / 2)
)

// keyed is a write's idempotency key, and what makes its attempts one.
type keyed struct {
	key       string // as it is sent; "": it has none
	principal int
	request   [32]byte
	since     int64 // when the key was first used
	again     bool  // it was sent before
	// patch: conditions that the history does not have. If they fail, the attempt had no effect,
	// nothing is remembered of it, and the client tries with others.
	patch []fsm.Compare
}

// vary makes a write that was drawn another kind of write now and then.
func (c *clients) vary(cl *client, o *operation) {
	g, s := cl.ways, &c.w.setup
	otherwise, rollback, key, reuse := g.chance(s.elses), g.chance(s.rollbacks), g.chance(s.keyed), g.chance(s.reuses)
	if !o.writes() {
		return
	}
	load, varied := c.keys[o.slot].load.(interface {
		orElse(c *clients, cl *client, o *operation)
		bringBack(c *clients, cl *client, o *operation)
	})
	switch {
	case varied && rollback:
		load.bringBack(c, cl, o)
	case varied && otherwise:
		load.orElse(c, cl, o)
	}
	recent := c.recent[o.principal]
	switch {
	case key && reuse && len(recent) > 0:
		was := recent[g.IntN(len(recent))]
		if c.w.now-was.since < keptFor {
			c.w.judge.count("key used again")
			c.underKey(o, was.key, was.since)
		}
	case key:
		c.w.judge.count("keyed write")
		c.lastKey[o.principal]++
		c.underKey(o, fmt.Sprintf("key-%d", c.lastKey[o.principal]), c.w.now)
		recent = append(recent, o.keyed)
		c.recent[o.principal] = recent[max(0, len(recent)-maxSent):]
		if o.op.Kind == linearizability.Put && o.op.IfRevision != 0 && g.IntN(2) == 0 {
			o.patch = []fsm.Compare{{Kind: fsm.RevisionIs, Key: o.op.Key, Revision: fsm.Revision(o.op.IfRevision)}}
			o.op.IfRevision = 0
		}
	}
}

func (c *clients) underKey(o *operation, key string, since int64) {
	o.key, o.since = key, since
	o.request = sha256.Sum256([]byte(requestID(o.op.ID)))
	o.op.IdempotencyKey = fmt.Sprintf("%d %s", o.principal, key)
}

// maySend has a client keep in mind to send a keyed write again.
func (c *clients) maySend(cl *client, o *operation) {
	share := c.w.setup.repeats
	if o.op.Outcome == linearizability.Unknown || o.patch != nil && o.op.Outcome == linearizability.NotApplied {
		share = unknownShare
	}
	if o.key != "" && cl.ways.chance(share) && len(cl.sent) < maxSent {
		cl.sent = append(cl.sent, o)
	}
}

// sendAgain is a write that the client sends again now, if any.
func (c *clients) sendAgain(i int) *operation {
	cl := &c.clients[i]
	if len(cl.sent) == 0 || !cl.ways.chance(againShare) {
		return nil
	}
	n := cl.ways.IntN(len(cl.sent))
	was := cl.sent[n]
	cl.sent = slices.Delete(cl.sent, n, n+1)
	if c.w.now-was.since >= keptFor {
		return nil
	}
	c.w.judge.count("keyed write sent again")
	return c.repeat(i, was)
}

// repeat is one more attempt at a keyed write.
func (c *clients) repeat(i int, was *operation) *operation {
	cl := &c.clients[i]
	o := c.add(was.slot, i, c.w.nodes[cl.ways.IntN(len(c.w.nodes))])
	o.rng, o.name, o.stored, o.keyed = cl.rng, was.name, was.stored, was.keyed
	o.again = true
	of := &was.op
	o.op.Kind, o.op.Key, o.op.Value, o.op.IfRevision, o.op.IfAbsent = of.Kind, of.Key, of.Value, of.IfRevision, of.IfAbsent
	o.op.Compares, o.op.Steps, o.op.Else, o.op.IdempotencyKey = of.Compares, of.Steps, of.Else, of.IdempotencyKey
	return o
}

// double sends a keyed write a second time while the first is on its way.
func (c *clients) double(i int, o *operation) {
	if o.key != "" && c.clients[i].ways.chance(c.w.setup.doubles) {
		c.w.judge.count("keyed write sent twice")
		c.lone(c.repeat(i, o))
	}
}

// same tells whether two requests, by their ids, are one operation.
func (c *clients) same(a, b string) bool {
	if a == b {
		return true
	}
	x, y := opOf(a), opOf(b)
	if x == 0 || y == 0 {
		return false
	}
	was, is := &c.ops[x-1].keyed, &c.ops[y-1].keyed
	return was.key != "" && was.key == is.key && was.principal == is.principal && was.request == is.request
}
