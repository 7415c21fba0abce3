package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

// Bounds on one key's history, which keep Porcupine's search small; past them
// its place is taken by a fresh key.
const (
	maxKeyOps     = 250
	maxKeyUnknown = 6
)

// clients are closed loops: each has one operation in flight.
type clients struct {
	w       *World
	rng     generator
	clients []client
	keys    []keySlot
	ops     []*operation // by id - 1
	over    bool         // no new operations
}

type client struct {
	seen  map[string]uint64 // revision at which it last saw a key; 0: absent
	retry *operation        // to be proposed again
}

// keySlot is a key in use.
type keySlot struct {
	name         string
	generation   int
	ops, unknown int
}

// operation is one attempt of a client, and how it is on its way.
type operation struct {
	op      linearizability.Op
	slot    int
	node    *replica
	started bool // the node has taken it
	done    bool // the client has an outcome
	closing bool // of the end of the run, of no client
	answer  func(o *linearizability.Op)
}

func (c *clients) init(w *World) {
	c.w = w
	c.rng = newGenerator(w.opts.Seed, "clients")
	for i := range w.setup.keys {
		c.keys = append(c.keys, keySlot{name: fmt.Sprintf("k%d.0", i)})
	}
	for i := range w.setup.clients {
		c.clients = append(c.clients, client{seen: map[string]uint64{}})
		w.at(c.rng.between(time.Second, 2*time.Second), event{kind: evClient, n: uint64(i)})
	}
}

// hop is how long a request or an answer is on its way.
func (c *clients) hop() time.Duration {
	return c.rng.between(20*time.Microsecond, 500*time.Microsecond)
}

// wake lets a client call its next operation.
func (c *clients) wake(i int) {
	if c.over {
		return
	}
	cl := &c.clients[i]
	o := c.draw(i)
	if again := cl.retry; again != nil && c.keys[again.slot].name == again.op.Key {
		o.slot = again.slot
		o.op.Key, o.op.Kind, o.op.Value, o.op.RetryOf = again.op.Key, linearizability.Put, again.op.Value, again.op.ID
		o.op.IfAbsent, o.op.IfRevision = again.op.IfAbsent, again.op.IfRevision
		c.w.judge.count("write retried")
	}
	cl.retry = nil
	c.call(o)
}

// draw makes a client's next operation.
func (c *clients) draw(i int) *operation {
	g, s := c.rng, &c.w.setup
	slot := g.IntN(len(c.keys))
	if g.IntN(3) == 0 {
		slot = 0 // a hot key
	}
	k := &c.keys[slot]
	if k.ops >= maxKeyOps || k.unknown >= maxKeyUnknown {
		k.generation++
		*k = keySlot{name: fmt.Sprintf("k%d.%d", slot, k.generation), generation: k.generation}
	}
	o := c.add(slot, i, c.w.nodes[g.IntN(len(c.w.nodes))])
	o.op.Key = k.name
	switch share := g.IntN(100); {
	case share < s.putShare+s.delShare:
		o.op.Kind = linearizability.Put
		if share >= s.putShare {
			o.op.Kind = linearizability.Delete
		} else {
			o.op.Value = "v" + strconv.FormatUint(o.op.ID, 10) + strings.Repeat(".", s.valueBytes)
		}
		seen, ok := c.clients[i].seen[k.name]
		switch g.IntN(3) {
		case 0:
			o.op.IfRevision = seen
			o.op.IfAbsent = ok && seen == 0
		case 1:
			o.op.IfAbsent = g.IntN(4) == 0 && o.op.Kind == linearizability.Put
		}
	case share < s.putShare+s.delShare+s.getShare:
		o.op.Kind = linearizability.Read
	default:
		o.op.Kind = linearizability.Local
	}
	return o
}

// add makes an operation without content.
func (c *clients) add(slot, client int, r *replica) *operation {
	o := &operation{slot: slot, node: r}
	o.op = linearizability.Op{ID: uint64(len(c.ops) + 1), Client: client, Node: r.name, Return: linearizability.Never}
	c.ops = append(c.ops, o)
	return o
}

func (c *clients) call(o *operation) {
	w := c.w
	if !o.closing {
		c.keys[o.slot].ops++
	}
	o.op.Call = w.now
	w.trace.add(o.op.ID, o.node.id, digest([]byte(o.op.String())))
	w.after(c.hop(), event{kind: evRequest, n: o.op.ID})
	w.after(w.setup.clientTimeout+50*time.Millisecond, event{kind: evTimeout, n: o.op.ID})
}

// arrive brings an operation to its node.
func (c *clients) arrive(id uint64) {
	o := c.ops[id-1]
	r := o.node
	if !r.formed() {
		// Refused: nothing was started.
		c.answered(o, func(op *linearizability.Op) {
			op.Outcome = linearizability.ReadFailed
			if op.Kind == linearizability.Put || op.Kind == linearizability.Delete {
				op.Outcome = linearizability.NotApplied
			}
		})
		return
	}
	o.started = true
	r.pending = append(r.pending, id)
	slices.Sort(r.pending)
	deadline := r.now() + c.w.setup.clientTimeout
	switch o.op.Kind {
	case linearizability.Local:
		if r.paused {
			return // until the client gives up
		}
		c.local(r, o)
	case linearizability.Read:
		if c.w.opts.hooks.readEarly {
			c.readDone(r, o)
			return
		}
		r.take(node.ReadIndex{Request: id, Deadline: deadline})
	case linearizability.Put, linearizability.Delete:
		r.take(node.Propose{Request: id, Command: c.command(o), Deadline: deadline})
	}
}

func requestID(id uint64) string { return "op-" + strconv.FormatUint(id, 10) }

// opOf is the operation that a request id names; 0 if none.
func opOf(request string) uint64 {
	id, _ := strconv.ParseUint(strings.TrimPrefix(request, "op-"), 10, 64)
	return id
}

func (c *clients) command(o *operation) []byte {
	op := fsm.Op{Kind: fsm.Put, Key: o.op.Key, Value: []byte(o.op.Value), ContentType: "text/plain"}
	if o.op.Kind == linearizability.Delete {
		op = fsm.Op{Kind: fsm.Delete, Key: o.op.Key}
	}
	// Wall clocks of nodes are hours apart; nothing may depend on them.
	skew := int64(o.node.id) * int64(time.Hour)
	cmd := fsm.Command{RequestID: requestID(o.op.ID), AcceptedAt: c.w.now + skew, Ops: []fsm.Op{op}}
	switch {
	case o.op.IfAbsent:
		cmd.Compares = []fsm.Compare{{Kind: fsm.KeyAbsent, Key: o.op.Key}}
	case o.op.IfRevision != 0:
		cmd.Compares = []fsm.Compare{{Kind: fsm.RevisionIs, Key: o.op.Key, Revision: fsm.Revision(o.op.IfRevision)}}
	}
	b, err := cmd.Encode()
	if err != nil {
		c.w.fail(JudgeInvariant, "a command does not encode: %w", err)
	}
	return b
}

// proposed takes the core's word on a write.
func (c *clients) proposed(r *replica, e node.ProposeReply) {
	if !r.answer(e.Request) {
		c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, e.Request)
		return
	}
	o := c.ops[e.Request-1]
	if e.Err != nil {
		outcome := linearizability.Unknown
		if e.Err.Outcome == node.NotApplied {
			outcome = linearizability.NotApplied
		}
		c.w.judge.count("write: " + e.Err.Outcome.String() + ": " + e.Err.Err.Error())
		c.answered(o, func(op *linearizability.Op) { op.Outcome = outcome })
		return
	}
	res := e.Result
	c.w.judge.acknowledged(r, requestID(o.op.ID), &res)
	c.answered(o, func(op *linearizability.Op) {
		op.Revision = uint64(res.Revision)
		switch res.Outcome {
		case fsm.Applied:
			op.Outcome = linearizability.Applied
		case fsm.Unchanged:
			op.Outcome = linearizability.Unchanged
			op.KeyRevision = uint64(res.Ops[0].Revision)
		case fsm.CompareFailed:
			op.Outcome = linearizability.CompareFailed
			op.KeyRevision = uint64(res.Current)
		default:
			c.w.fail(JudgeAnswer, "%s answers %s with %v", r.name, requestID(op.ID), res.Outcome)
		}
	})
}

// confirmed takes the core's word that a read may be served.
func (c *clients) confirmed(r *replica, e node.ReadReply) {
	if c.ops[e.Request-1].op.Kind != linearizability.Read {
		c.w.fail(JudgeAnswer, "%s answers request %d as a read", r.name, e.Request)
		return
	}
	o := c.ops[e.Request-1]
	if e.Err != nil {
		if !r.answer(e.Request) {
			c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, e.Request)
		}
		c.w.judge.count("read: " + e.Err.Error())
		c.answered(o, func(op *linearizability.Op) { op.Outcome = linearizability.ReadFailed })
		return
	}
	c.readDone(r, o)
}

// readDone serves a read from what the node holds now.
func (c *clients) readDone(r *replica, o *operation) {
	if !r.answer(o.op.ID) {
		c.w.fail(JudgeAnswer, "%s answers request %d twice, or without being asked", r.name, o.op.ID)
		return
	}
	view, err := r.db.View()
	if err != nil {
		c.w.fail(JudgeStop, "%s: %w", r.name, err)
		return
	}
	defer view.Close()
	rec, found, err := view.Get(o.op.Key)
	if err != nil {
		c.w.fail(JudgeState, "%s: reading %s: %w", r.name, o.op.Key, err)
		return
	}
	s := view.State()
	c.w.judge.read(r, s, o.op.Key, rec, found)
	c.answered(o, func(op *linearizability.Op) {
		op.Outcome = linearizability.ReadDone
		op.Revision = uint64(s.Revision)
		op.Found, op.Got, op.KeyRevision = found, string(rec.Value), uint64(rec.Revision)
	})
}

// local serves a read without asking anybody, with the proof of its freshness.
func (c *clients) local(r *replica, o *operation) {
	status := r.core.Status()
	if status.Fresh {
		o.op.Claims, o.op.FreshAt = true, r.clock.world(status.FreshAt)
	}
	c.readDone(r, o)
}

// answered sends an answer on its way to the client.
func (c *clients) answered(o *operation, answer func(*linearizability.Op)) {
	o.answer = answer
	c.w.after(c.hop(), event{kind: evReply, n: o.op.ID})
}

// reply brings an answer to its client, who may have given up.
func (c *clients) reply(id uint64) {
	o := c.ops[id-1]
	if o.done {
		return
	}
	o.answer(&o.op)
	o.op.Return = c.w.now
	c.w.judge.count("outcome: " + string(o.op.Outcome))
	c.finish(o)
}

// timeout is when a client gives up: what it asked for may still happen.
func (c *clients) timeout(id uint64) {
	o := c.ops[id-1]
	if o.done {
		return
	}
	c.w.judge.count("client gives up")
	c.giveUp(o)
}

func (c *clients) giveUp(o *operation) {
	o.op.Claims = false
	if o.op.Kind == linearizability.Put || o.op.Kind == linearizability.Delete {
		o.op.Outcome = linearizability.Unknown
	} else {
		o.op.Outcome = linearizability.ReadFailed
	}
	o.op.Return = c.w.now
	c.finish(o)
}

// dropped: the node's process is gone, and its clients notice.
func (c *clients) dropped(r *replica) {
	for _, id := range r.pending {
		if o := c.ops[id-1]; !o.done && o.answer == nil {
			c.answered(o, func(op *linearizability.Op) {
				op.Claims = false
				op.Outcome = linearizability.ReadFailed
				if op.Kind == linearizability.Put || op.Kind == linearizability.Delete {
					op.Outcome = linearizability.Unknown
				}
			})
		}
	}
	r.pending = r.pending[:0]
}

// finish is the client's turn after an operation.
func (c *clients) finish(o *operation) {
	o.done = true
	o.answer = nil
	c.w.trace.add(o.op.ID, digest([]byte(o.op.String())))
	if o.closing {
		return
	}
	k := &c.keys[o.slot]
	cl := &c.clients[o.op.Client]
	switch o.op.Outcome {
	case linearizability.ReadDone, linearizability.CompareFailed, linearizability.Unchanged:
		cl.seen[o.op.Key] = o.op.KeyRevision
	case linearizability.Applied:
		cl.seen[o.op.Key] = o.op.Revision
		if o.op.Kind == linearizability.Delete {
			cl.seen[o.op.Key] = 0
		}
	case linearizability.Unknown:
		if k.name == o.op.Key {
			k.unknown++
		}
		if o.op.Kind == linearizability.Put && c.rng.chance(c.w.setup.retries) {
			cl.retry = o
		}
	default:
	}
	think := c.rng.about(c.w.setup.think)
	if cl.retry != nil {
		think = c.rng.between(0, 10*time.Millisecond)
	}
	c.w.after(think, event{kind: evClient, n: uint64(o.op.Client)})
}

// idle tells whether no operation is without an outcome.
func (c *clients) idle() bool {
	for i := len(c.ops) - 1; i >= 0 && i >= len(c.ops)-len(c.clients)-2*len(c.w.nodes)-2; i-- {
		if !c.ops[i].done {
			return false
		}
	}
	return true
}
