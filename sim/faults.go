package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/confman/confman/node"
)

// faultKind is something that goes wrong now and then.
type faultKind int

const (
	faultHalves faultKind = iota
	faultIsolate
	faultIsolateLeader
	faultOneWay
	faultOneWayLeader
	faultSlowLinks
	faultLossyLinks
	faultKill
	faultPower
	faultPowerSome
	faultPowerAll
	faultStop
	faultPause
	faultPauseLeader
	faultPauseAll
	faultSlowDisk
	faultTransfer
	faultDisk
	faultFull

	faultKinds = iota
)

var faultNames = [...]string{
	"partition in two", "isolate a node", "isolate the leader", "one-way cut", "one-way cut of the leader",
	"slow links", "lossy links", "kill", "power loss", "power loss of several", "power loss of all",
	"clean restart", "pause a node", "pause the leader", "pause all", "slow disks", "transfer leadership", "disk error", "full disk",
}

func (k faultKind) String() string { return faultNames[k] }

// Faults are the names of all kinds, as they are counted.
func Faults() []string {
	out := slices.Clone(faultNames[:])
	for _, p := range tenderNames {
		out = append(out, p)
	}
	return out
}

// tenderPoint is a place in the protocol where a crash hurts most.
type tenderPoint int

const (
	tenderVote    tenderPoint = iota // a vote was granted and sent
	tenderSend                       // between persisting and sending
	tenderAppend                     // an append was decided on
	tenderApply                      // entries were committed
	tenderApplied                    // between apply and answer
	tenderFlush                      // a flush was decided on
	tenderStart                      // in the middle of a start
	tenderForm                       // in the middle of forming

	tenderPoints = iota
)

var tenderNames = [...]string{
	"crash after a vote", "crash before a send", "crash before an append", "crash before an apply", "crash before an answer",
	"crash before a flush", "crash in a start", "crash in forming",
}

func (p tenderPoint) String() string { return tenderNames[p] }

// tenderOf is the point before an effect.
func tenderOf(e node.Effect) (tenderPoint, bool) {
	switch e.(type) {
	case node.Send:
		return tenderSend, true
	case node.Append:
		return tenderAppend, true
	case node.ProposeReply, node.ReadReply:
		return tenderApplied, true
	case node.Flush:
		return tenderFlush, true
	case node.Apply:
		return tenderApply, true
	case node.Prove, node.Scrub, node.Stop:
	}
	return 0, false
}

// nemesis brings the faults.
type nemesis struct {
	w     *World
	rng   generator
	heals []healing
	over  bool // no more faults
	disk  diskSetup
}

// healing undoes a fault.
type healing func()

func (n *nemesis) init(w *World) {
	n.w = w
	n.rng = newGenerator(w.opts.Seed, "faults")
	n.disk = w.setup.disk
	for k, every := range w.setup.faults {
		if every > 0 {
			begin := 3 * time.Second
			if w.setup.early {
				begin = 0
			}
			w.at(begin+n.rng.about(every), event{kind: evFault, n: uint64(k)})
		}
	}
}

// tender decides whether a node crashes at point now.
func (n *nemesis) tender(r *replica, p tenderPoint) bool {
	if n.over || !n.rng.chance(n.w.setup.tender[p]) {
		return false
	}
	if p != tenderForm && p != tenderStart && !r.formed() {
		return false
	}
	n.w.judge.count(p.String())
	return true
}

// downtime draws how long a node stays down.
func (n *nemesis) downtime() time.Duration {
	if n.over {
		return 100 * time.Millisecond
	}
	return pick(n.rng, n.rng.some(time.Millisecond, 100*time.Millisecond), n.rng.some(100*time.Millisecond, 10*time.Second))
}

// span draws how long a fault lasts.
func (n *nemesis) span() time.Duration { return n.rng.some(50*time.Millisecond, 15*time.Second) }

func (n *nemesis) victim() *replica { return n.w.nodes[n.rng.IntN(len(n.w.nodes))] }

// strike brings a fault of kind k and schedules the next of its kind.
func (n *nemesis) strike(k faultKind) {
	if n.over {
		return
	}
	w := n.w
	w.after(n.rng.about(w.setup.faults[k]), event{kind: evFault, n: uint64(k)})
	if n.bring(k) {
		w.judge.count(k.String())
	}
}

// bring reports whether the fault found something to do.
func (n *nemesis) bring(k faultKind) bool {
	w := n.w
	leader := w.leader()
	switch k {
	case faultHalves:
		return n.cut(n.halves())
	case faultIsolate:
		return n.cut(n.around(n.victim(), true, true))
	case faultIsolateLeader:
		return leader != nil && n.cut(n.around(leader, true, true))
	case faultOneWay:
		in := n.rng.IntN(2) == 0
		return n.cut(n.around(n.victim(), in, !in))
	case faultOneWayLeader:
		in := n.rng.IntN(2) == 0
		return leader != nil && n.cut(n.around(leader, in, !in))
	case faultSlowLinks:
		return n.degrade(func(l *link, by float64) { l.slow += time.Duration(by * float64(300*time.Millisecond)) })
	case faultLossyLinks:
		return n.degrade(func(l *link, by float64) { l.lossy += by })
	case faultKill:
		return n.down(killed, n.victim())
	case faultPower:
		return n.down(powerLost, n.victim())
	case faultPowerSome:
		return n.down(powerLost, n.some()...)
	case faultPowerAll:
		return n.down(powerLost, w.nodes...)
	case faultStop:
		return n.stop(n.victim())
	case faultPause:
		return n.pause(n.victim())
	case faultPauseLeader:
		return leader != nil && n.pause(leader)
	case faultPauseAll:
		return n.pause(w.nodes...)
	case faultSlowDisk:
		return n.slowDisks()
	case faultTransfer:
		if leader == nil || len(w.nodes) == 1 {
			return false
		}
		leader.take(node.TransferLeadership{Peer: n.victim().id})
		return true
	case faultDisk:
		return n.breakDisk(n.victim())
	case faultFull:
		return n.fillDisk(n.victim())
	}
	panic(fmt.Sprintf("sim: unhandled fault %d", k))
}

// halves draws a partition of the nodes in two.
func (n *nemesis) halves() []*link {
	var out []*link
	side := n.rng.Uint64()
	for a := range n.w.nodes {
		for b := range n.w.nodes {
			if side>>a&1 != side>>b&1 {
				out = append(out, &n.w.net.links[a][b])
			}
		}
	}
	return out
}

// around are the links to (in) and from (out) a node.
func (n *nemesis) around(r *replica, in, out bool) []*link {
	var links []*link
	for _, peer := range n.w.nodes {
		if peer == r {
			continue
		}
		if in {
			links = append(links, n.w.net.link(peer.id, r.id))
		}
		if out {
			links = append(links, n.w.net.link(r.id, peer.id))
		}
	}
	return links
}

func (n *nemesis) cut(links []*link) bool {
	for _, l := range links {
		l.blocked++
	}
	n.undo(func() {
		for _, l := range links {
			l.blocked--
		}
	})
	return len(links) > 0
}

// degrade makes some links worse.
func (n *nemesis) degrade(worse func(l *link, by float64)) bool {
	if len(n.w.nodes) == 1 {
		return false
	}
	var undo []healing
	for a := range n.w.nodes {
		for b := range n.w.nodes {
			if a != b && n.rng.IntN(2) == 0 {
				l, by := &n.w.net.links[a][b], n.rng.Float64()*0.7
				worse(l, by)
				undo = append(undo, func() { worse(l, -by) })
			}
		}
	}
	n.undo(func() {
		for _, h := range undo {
			h()
		}
	})
	return len(undo) > 0
}

// undo does h when the fault is over.
func (n *nemesis) undo(h healing) {
	n.heals = append(n.heals, h)
	n.w.after(n.span(), event{kind: evHeal, n: uint64(len(n.heals) - 1)})
}

func (n *nemesis) heal(i uint64) {
	if h := n.heals[i]; h != nil {
		n.heals[i] = nil
		h()
	}
}

func (n *nemesis) down(how ending, victims ...*replica) bool {
	found := false
	for _, r := range victims {
		found = found || r.up
		r.crash(how)
	}
	return found
}

func (n *nemesis) some() []*replica {
	out := slices.Clone(n.w.nodes)
	n.rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), 1+n.rng.IntN(max(1, len(out)-1)))]
}

func (n *nemesis) stop(r *replica) bool {
	up := r.formed() && !r.paused
	if up {
		r.shutDown()
	}
	return up
}

func (n *nemesis) pause(victims ...*replica) bool {
	found := false
	d := n.rng.some(50*time.Millisecond, 15*time.Second)
	for _, r := range victims {
		found = found || r.up && !r.paused
		r.pause(d)
	}
	return found
}

func (n *nemesis) slowDisks() bool {
	was := n.disk
	n.disk.sync += n.rng.some(10*time.Millisecond, 3*time.Second)
	n.disk.apply += n.rng.some(time.Millisecond, 200*time.Millisecond)
	n.disk.flush += n.rng.some(100*time.Millisecond, 5*time.Second)
	n.undo(func() { n.disk = was })
	return true
}

// breakDisk makes one of the next operations on a node's log fail.
func (n *nemesis) breakDisk(r *replica) bool {
	if !r.formed() {
		return false
	}
	left := n.rng.IntN(10)
	r.disk.Fault = func(op Op, _ string) error {
		if op != OpWrite && op != OpSync && op != OpSyncDir {
			return nil
		}
		if left--; left == 0 {
			return errDisk
		}
		return nil
	}
	return true
}

// fillDisk leaves a node's log little or no room for a while.
func (n *nemesis) fillDisk(r *replica) bool {
	if !r.formed() {
		return false
	}
	r.disk.Capacity = r.disk.Used() + n.rng.Int64N(2*n.w.setup.segmentBytes)
	n.undo(func() { r.disk.Capacity = 0 })
	return true
}

// end stops all faults: everything is whole, fast and up.
func (n *nemesis) end() {
	n.over = true
	for i := range n.heals {
		n.heal(uint64(i))
	}
	w := n.w
	w.net.setup = netSetup{base: 200 * time.Microsecond, jitter: 300 * time.Microsecond}
	n.disk = diskSetup{sync: time.Millisecond, apply: 50 * time.Microsecond, flush: 5 * time.Millisecond}
	for _, r := range w.nodes {
		if !r.up {
			w.after(100*time.Millisecond, event{kind: evStart, node: r, life: r.life})
			continue
		}
		r.uncut()
		r.resume()
	}
}
