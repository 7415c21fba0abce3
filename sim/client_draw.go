package sim

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/linearizability"
)

const (
	// batchSlots is how many batches are in use at a time; the first has two keys,
	// and each of the others one more than the one before.
	batchSlots = 3
	// maxBurst bounds the operations of one burst.
	maxBurst = 16
	// maxLargeBytes bounds a large value; a small overlay must hold two of them.
	maxLargeBytes = 16 << 10
	// loneClient is where the numbers of clients begin that call one operation only.
	loneClient = 1000
	// governClient is where those of governors begin; nodes come before.
	governClient = 600
	// watchClient is where those of watchers begin.
	watchClient = 500
	// maxAhead is how soon after a foreign acknowledgment it is read elsewhere.
	maxAhead = 3 * time.Millisecond
)

// draw makes a client's next operation.
func (c *clients) draw(i int) *operation {
	cl := &c.clients[i]
	o := c.add(c.slot(cl.rng), i, c.w.nodes[cl.rng.IntN(len(c.w.nodes))])
	o.rng = cl.rng
	o.principal = cl.who
	c.keys[o.slot].load.draw(c, cl, o)
	c.vary(cl, o)
	return o
}

// slot draws keys, and replaces those whose history is long enough.
func (c *clients) slot(g generator) int {
	s := &c.w.setup
	batch, special := g.chance(s.batches), g.chance(s.loads)
	singles := c.special - batchSlots
	n := g.IntN(singles)
	if g.chance(s.hot) {
		n = 0
	}
	if own := len(c.keys) - c.special; special && own > 0 {
		if k := c.special + g.IntN(own); !c.keys[k].single || !c.keys[k].worn() {
			n = k
		}
	} else if batch {
		n = singles + g.IntN(batchSlots)
	}
	if k := &c.keys[n]; k.worn() {
		k.generation++
		k.ops, k.unknown = 0, 0
	}
	return n
}

// value makes a value that no other operation writes.
func (c *clients) value(g generator, id uint64) string {
	s := &c.w.setup
	padding := s.valueBytes
	if g.chance(s.large) {
		c.w.judge.count("large value")
		padding = maxLargeBytes
		if s.node.MaxOverlayBytes > 0 {
			padding = min(padding, s.node.MaxOverlayBytes/4)
		}
		padding = padding/2 + g.IntN(padding/2)
	}
	return "v" + strconv.FormatUint(id, 10) + strings.Repeat(".", padding)
}

// condition draws on what a write depends, if on anything.
func (o *operation) condition(cl *client) {
	seen, ok := cl.seen[o.op.Key]
	switch o.rng.IntN(3) {
	case 0:
		o.op.IfRevision = seen.rev
		o.op.IfAbsent = ok && seen.rev == 0
	case 1:
		o.op.IfAbsent = o.rng.IntN(4) == 0 && o.op.Kind == linearizability.Put
	}
}

// read makes o a read of what a write wrote, linearizable or of what the node holds.
func (o *operation) read(of *operation, linearizable bool) {
	o.op.Key = of.keys()[0]
	switch {
	case !linearizable:
		o.op.Kind = linearizability.Local
	case of.op.Kind == linearizability.Txn:
		o.op.Key = ""
		o.readAll(of.keys())
	default:
		o.op.Kind = linearizability.Read
	}
}

// elsewhere draws a node that is not r, if there is one.
func (c *clients) elsewhere(g generator, r *replica) *replica {
	n := len(c.w.nodes)
	if n == 1 {
		return r
	}
	return c.w.nodes[(slices.Index(c.w.nodes, r)+1+g.IntN(n-1))%n]
}

// readBack is a session's read, through another node, of what it has just written.
func (c *clients) readBack(i int, wrote *operation) *operation {
	g := c.clients[i].rng
	c.w.judge.count("own write read elsewhere")
	o := c.add(wrote.slot, i, c.elsewhere(g, wrote.node))
	o.rng = g
	o.read(wrote, g.IntN(3) != 0)
	return o
}

// lone lets go an operation that is nobody's turn.
func (c *clients) lone(o *operation) {
	o.lone = true
	o.op.Client = loneClient + int(o.op.ID)
	c.call(o)
}

// burst lets a client call many operations at once.
func (c *clients) burst(i int) {
	c.w.judge.count("burst")
	for range 2 + c.clients[i].rng.IntN(maxBurst-1) {
		c.lone(c.draw(i))
	}
}

// plan is a read that is going to be called.
type plan struct {
	of           *operation
	node         *replica
	linearizable bool
}

// aim plans reads elsewhere, so that their questions are on their way while a
// write is about to be acknowledged: a node that counts freshness from the answer,
// and not from the question, then claims to hold what it does not.
func (c *clients) aim(write *operation) {
	if c.took == 0 || !c.rng.chance(c.w.setup.followers) {
		return
	}
	c.plan(write, c.rng.between(c.took/2, c.took*5/4))
}

// follow plans reads elsewhere right after a write was acknowledged.
func (c *clients) follow(write *operation) {
	if write.closing || !c.rng.chance(c.w.setup.followers) {
		return
	}
	c.plan(write, c.rng.between(0, maxAhead))
}

func (c *clients) plan(of *operation, d time.Duration) {
	p := plan{of: of, node: c.elsewhere(c.rng, of.node), linearizable: c.rng.IntN(2) == 0}
	c.plans = append(c.plans, p)
	c.w.after(d, event{kind: evPlan, n: uint64(len(c.plans) - 1)})
}

// carryOut calls a planned read.
func (c *clients) carryOut(n uint64) {
	p := &c.plans[n]
	of := p.of
	p.of = nil
	if c.over || !c.current(of) || c.keys[of.slot].worn() {
		return
	}
	c.w.judge.count("foreign write read elsewhere")
	o := c.add(of.slot, 0, p.node)
	o.read(of, p.linearizable)
	c.lone(o)
}

// leave ends a client with its operation in flight. It comes back without memory.
func (c *clients) leave(id uint64) {
	o := c.ops[id-1]
	if o.done || c.over {
		return
	}
	c.w.judge.count("client crash")
	o.done = true
	c.open--
	if o.writes() && c.current(o) && !o.again {
		c.keys[o.slot].unknown++
	}
	cl := &c.clients[o.op.Client]
	c.bear(cl)
	c.w.after(cl.rng.about(c.w.setup.think), event{kind: evClient, n: uint64(o.op.Client)})
}
