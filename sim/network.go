package sim

import (
	"time"

	"github.com/confman/confman/transport"
)

// network carries messages between nodes, or does not.
type network struct {
	w     *World
	rng   generator
	setup netSetup
	links [][]link // by sender and receiver, raft id - 1
	buf   []byte
}

// link is one direction between two nodes.
type link struct {
	blocked int           // partitions that cut it
	slow    time.Duration // on top of the delay
	lossy   float64       // on top of the loss
	last    int64         // when the newest message arrives, to keep their order
}

// envelope is a message on its way. Its digest is that of the message when it
// was sent: neither side may change it afterwards.
type envelope struct {
	m      transport.Message
	digest uint64
}

func (n *network) init(w *World) {
	n.w = w
	n.rng = newGenerator(w.opts.Seed, "network")
	n.setup = w.setup.net
	for range w.nodes {
		n.links = append(n.links, make([]link, len(w.nodes)))
	}
}

func (n *network) link(from, to uint64) *link { return &n.links[from-1][to-1] }

// unreachableShare of the lost messages are noticed by the sender's transport.
const unreachableShare = 0.2

func (n *network) send(from *replica, m transport.Message) {
	w := n.w
	if m.To == 0 || m.To > uint64(len(w.nodes)) || m.To == from.id || m.From != from.id {
		w.fail(JudgeWire, "%s sends a message from %d to %d", from.name, m.From, m.To)
		return
	}
	n.buf = encodeMessage(n.buf[:0], &m)
	mail := &envelope{m: m, digest: digest(n.buf)}
	w.trace.add(mail.digest)
	w.judge.sent(from, &m)
	l := n.link(m.From, m.To)
	if l.blocked > 0 || n.rng.chance(n.setup.loss+l.lossy) {
		w.judge.count("message lost")
		n.lost(from, m.To)
		return
	}
	n.post(l, mail, n.delay(l))
	if n.rng.chance(n.setup.repeat) {
		w.judge.count("message repeated")
		// It holds nobody up: also where messages keep their order, this is one more.
		w.after(n.delay(l)+n.echo(), event{kind: evDeliver, mail: mail})
	}
}

// maxEcho is how long a repeated message may wander: long enough to meet another
// leader, another term, and another life of its receiver.
const maxEcho = 5 * time.Second

// echo draws how much later than the first a second copy arrives.
func (n *network) echo() time.Duration {
	if n.rng.IntN(2) == 0 {
		return n.rng.about(2 * n.setup.jitter)
	}
	return n.rng.between(0, maxEcho)
}

func (n *network) lost(from *replica, to uint64) {
	if n.rng.chance(unreachableShare) {
		n.w.after(n.delay(n.link(from.id, to)), event{kind: evUnreachable, node: from, life: from.life, n: to})
	}
}

func (n *network) delay(l *link) time.Duration {
	d := n.setup.base + n.rng.about(n.setup.jitter) + l.slow
	if n.rng.chance(n.setup.straggler) {
		n.w.judge.count("message straggles")
		d += n.rng.between(0, n.setup.straggle)
	}
	return d
}

func (n *network) post(l *link, mail *envelope, d time.Duration) {
	at := n.w.now + int64(d)
	if at < l.last {
		if n.setup.fifo {
			at = l.last
		} else {
			n.w.judge.count("message overtakes")
		}
	}
	l.last = max(l.last, at)
	// A link belongs to no life of the receiver: what is late meets the next one.
	n.w.queue.push(event{at: at, kind: evDeliver, mail: mail})
}

func (n *network) deliver(mail *envelope) {
	w := n.w
	m := &mail.m
	to := w.nodes[m.To-1]
	w.trace.add(mail.digest)
	if l := n.link(m.From, m.To); l.blocked > 0 {
		w.judge.count("message lost")
		return
	}
	if !to.up {
		return
	}
	n.buf = encodeMessage(n.buf[:0], m)
	if digest(n.buf) != mail.digest {
		w.fail(JudgeWire, "a message from node %d to node %d was changed after it was sent", m.From, m.To)
		return
	}
	to.receive(cloneMessage(m))
}
