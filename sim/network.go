package sim

import (
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// network carries messages between nodes, or does not.
type network struct {
	w     *World
	setup netSetup
	links [][]link // by sender and receiver, raft id - 1
	buf   []byte
	spare []*envelope // that were delivered
}

// link is one direction between two nodes.
type link struct {
	rng      generator
	noise    generator     // of flipped bits
	far      time.Duration // on top of the delay, for good
	blocked  int           // partitions that cut it
	slow     time.Duration // on top of the delay
	lossy    float64       // on top of the loss
	short    int           // faults that leave its queue little room
	inflight int           // messages in its queue
	resets   uint64        // what was sent before the last one is lost
	last     int64         // when the newest message arrives, to keep their order
}

// envelope is a message on its way. Its digest is that of the message when it
// was sent: neither side may change it afterwards.
type envelope struct {
	m      transport.Message
	digest uint64
	resets uint64 // of the link, when it was sent
	echo   bool   // a second copy, which takes no room in the link's queue
	// cluster is the sender's, as its connection has it; messages of the formation are of none.
	cluster fsm.ClusterID
}

func (n *network) init(w *World) {
	n.w = w
	n.setup = w.setup.net
	for a, from := range w.all {
		n.links = append(n.links, make([]link, len(w.all)))
		for b, to := range w.all {
			l := &n.links[a][b]
			name := from.name + " to " + to.name
			l.rng = newGenerator(w.opts.Seed, "link "+name)
			l.noise = newGenerator(w.opts.Seed, "noise "+name)
			if g := newGenerator(w.opts.Seed, "length "+name); a != b && g.chance(n.setup.far) {
				l.far = g.some(n.setup.nearest, n.setup.farthest)
				w.judge.count("far link")
			}
		}
	}
}

func (n *network) link(from, to uint64) *link { return &n.links[from-1][to-1] }

// unreachableShare of the lost messages are noticed by the sender's transport.
const unreachableShare = 0.2

func (n *network) send(from *replica, m transport.Message) {
	w := n.w
	if m.To == 0 || m.To > uint64(len(w.all)) || m.To == from.id || m.From != from.id {
		w.fail(JudgeWire, "%s sends a message from %d to %d", from.name, m.From, m.To)
		return
	}
	n.buf = encodeMessage(n.buf[:0], &m)
	sum := digest(n.buf)
	w.trace.add(sum)
	w.judge.sent(from, &m)
	w.archive.overhears(&m)
	if !from.known.has(m.To) {
		return // its wire has no peer of that id any more
	}
	l := n.link(m.From, m.To)
	if why := n.loses(l); why != "" {
		w.judge.count(why)
		n.lost(from, m.To)
		return
	}
	e := envelope{m: m, digest: sum, resets: l.resets, cluster: w.judge.cluster}
	n.post(l, n.mail(e), n.delay(l))
	if l.rng.chance(n.setup.repeat) {
		w.judge.count("message repeated")
		// It holds nobody up: also where messages keep their order, this is one more.
		e.echo = true
		w.after(n.delay(l)+n.echo(l), event{kind: evDeliver, mail: n.mail(e)})
	}
}

// mail is e in a place of its own until deliver is done with it.
func (n *network) mail(e envelope) *envelope {
	last := len(n.spare) - 1
	if last < 0 {
		n.spare, last = append(n.spare, new(envelope)), 0
	}
	mail := n.spare[last]
	n.spare = n.spare[:last]
	*mail = e
	return mail
}

// again delivers a message that was delivered before.
func (n *network) again(m *transport.Message, d time.Duration) {
	n.buf = encodeMessage(n.buf[:0], m)
	e := envelope{m: *m, digest: digest(n.buf), resets: n.link(m.From, m.To).resets, echo: true, cluster: n.w.judge.cluster}
	n.w.after(d, event{kind: evDeliver, mail: n.mail(e)})
}

// loses says why a message that is sent now is lost, or nothing.
func (n *network) loses(l *link) string {
	room := n.setup.queue
	if l.short > 0 {
		room = min(room, shortQueue)
	}
	switch {
	case l.blocked > 0 || l.rng.chance(l.lossy):
		return "message lost"
	case l.rng.chance(n.setup.loss):
		return "message lost at random"
	case l.inflight >= room:
		return faultQueues.String()
	}
	return ""
}

const (
	// defaultQueue is how many messages a link holds, about as many as a transport
	// queues; one more is lost.
	defaultQueue = 4096
	// shortQueue is how many it holds while a fault leaves it little room.
	shortQueue = 2
)

// reset loses what is on its way from one node to another, and tells the sender.
// It returns how many messages that were.
func (n *network) reset(from, to *replica) int {
	l := n.link(from.id, to.id)
	lost := l.inflight
	l.resets++
	l.inflight = 0
	if lost > 0 && from.up {
		n.w.after(n.delay(l), event{kind: evUnreachable, node: from, life: from.life, n: to.id})
	}
	return lost
}

// gone lets the others, if they can, find out that a process ended on a machine that lives on: it refuses connections.
func (n *network) gone(r *replica) {
	for _, to := range n.w.nodes {
		if l := n.link(r.id, to.id); to != r && to.up && l.blocked == 0 && n.link(to.id, r.id).blocked == 0 {
			n.w.after(n.delay(l), event{kind: evGone, node: to, life: to.life, n: r.id})
		}
	}
}

// maxEcho is how long a repeated message may wander: long enough to meet another
// leader, another term, and another life of its receiver.
const maxEcho = 5 * time.Second

// echo draws how much later than the first a second copy arrives.
func (n *network) echo(l *link) time.Duration {
	if l.rng.IntN(2) == 0 {
		return l.rng.about(2 * n.setup.jitter)
	}
	return l.rng.between(0, maxEcho)
}

func (n *network) lost(from *replica, to uint64) {
	if l := n.link(from.id, to); l.rng.chance(unreachableShare) {
		n.w.after(n.delay(l), event{kind: evUnreachable, node: from, life: from.life, n: to})
	}
}

func (n *network) delay(l *link) time.Duration {
	d := n.setup.base + l.rng.about(n.setup.jitter) + l.far + l.slow
	if l.rng.chance(n.setup.straggler) {
		n.w.judge.count("message straggles")
		d += l.rng.between(0, n.setup.straggle)
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
	l.inflight++
	// A link belongs to no life of the receiver: what is late meets the next one.
	n.w.queue.push(event{at: at, kind: evDeliver, mail: mail})
}

func (n *network) deliver(mail *envelope) {
	w := n.w
	defer func() { n.spare = append(n.spare, mail) }()
	m := &mail.m
	to := w.machine(m.To)
	w.trace.add(mail.digest)
	l := n.link(m.From, m.To)
	if mail.resets != l.resets {
		w.judge.count("message lost in a reset")
		return
	}
	if !mail.echo {
		l.inflight--
	}
	if l.blocked > 0 {
		w.judge.count("message lost")
		return
	}
	if !to.up {
		return
	}
	if m.Form == nil && to.core != nil && mail.cluster != to.form.Identity().Cluster {
		w.judge.count("message of another cluster refused")
		return
	}
	if !to.known.has(m.From) {
		n.dismiss(to, w.machine(m.From))
		return
	}
	n.buf = encodeMessage(n.buf[:0], m)
	if digest(n.buf) != mail.digest {
		w.fail(JudgeWire, "a message from node %d to node %d was changed after it was sent", m.From, m.To)
		return
	}
	got := cloneMessage(m)
	n.flip(l, &got)
	to.receive(got)
	w.nemesis.handed(to, m)
}

// dismiss has a node hear that another one does not hold it for a member any more. One that came after all that
// the other one knows hears nothing.
func (n *network) dismiss(by, who *replica) {
	if who.id > by.known.last {
		n.w.judge.count("newcomer not known yet")
		return
	}
	n.w.judge.count("removed node refused")
	if l := n.link(by.id, who.id); who.up && l.blocked == 0 {
		n.w.after(n.delay(l), event{kind: evDismissed, node: who, life: who.life, n: by.id})
	}
}

// peers is whom a node's wire hears and speaks to: those who are members, and who was introduced to it.
type peers struct {
	list []uint64
	last uint64 // the newest raft id that was ever given; 0: the wire does not know yet
}

func peersOf(members []fsm.Member, last uint64) peers {
	p := peers{last: last}
	for i := range members {
		p.list = append(p.list, members[i].RaftID)
	}
	return p
}

func (p *peers) has(id uint64) bool { return p.last == 0 || slices.Contains(p.list, id) }

// imageFlipped is the condition under which flip does something.
const imageFlipped = "image byte flipped"

// flip changes a bit of an image on its way, now and then, which the transport's
// checksum would not let pass: the image's own sum must find it all the same.
func (n *network) flip(l *link, m *transport.Message) {
	if m.Image == nil || len(m.Image.Data) == 0 || !l.noise.chance(n.setup.flip) {
		return
	}
	n.w.judge.count(imageFlipped)
	at, bit := l.noise.IntN(len(m.Image.Data)), l.noise.IntN(8)
	m.Image.Data[at] ^= 1 << bit
	n.w.trace.add(uint64(at), uint64(bit))
}
