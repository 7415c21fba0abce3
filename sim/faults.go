package sim

import (
	"fmt"
	"time"

	"github.com/confman/confman/linearizability"
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
	faultBridge
	faultRing
	faultFlap
	faultSlowLinks
	faultLossyLinks
	faultQueues
	faultReset
	faultKill
	faultPower
	faultPowerSome
	faultPowerAll
	faultCrashLoop
	faultStop
	faultPause
	faultPauseLeader
	faultPauseAll
	faultSlowNode
	faultHang
	faultWall
	faultRate
	faultTransfer
	faultSlowDisk
	faultDisk
	faultShort
	faultRead
	faultFull
	faultLogRot
	faultRot
	faultLost
	faultMisled
	faultFloor
	faultProgram

	faultKinds = iota
)

var faultNames = [...]string{
	"partition in two", "isolate a node", "isolate the leader", "one-way cut", "one-way cut of the leader",
	"bridge", "ring", "flapping links", "slow links", "lossy links", "link queue full", "connection reset",
	"kill", "power loss", "power loss of several", "power loss of all", "crash loop", "clean restart",
	"pause a node", "pause the leader", "pause all", "slow node", "store hangs", "wall clock jumps", "clock rate changes",
	"transfer leadership", "slow disks", "disk error", "short write", "read error", "full disk",
	"log rots", "store rots", "disk lost", "state goes astray", "disk below its floor",
	"another program",
}

func (k faultKind) String() string { return faultNames[k] }

// Faults are the names of all that a world may bring, as it is counted, and as
// Options.Without takes it: faults, tender points and conditions.
func Faults() []string {
	var out []string
	for k := range faultKind(faultKinds) {
		out = append(out, k.String())
	}
	out = append(out, tenderNames[:]...)
	for _, c := range conditions {
		out = append(out, c.name)
	}
	return out
}

// tenderPoint is a place in the protocol where a crash hurts most.
type tenderPoint int

const (
	tenderVote     tenderPoint = iota // a vote was granted and sent
	tenderSend                        // between persisting and sending
	tenderAppend                      // an append was decided on
	tenderSwitch                      // the log goes on in a new segment
	tenderApply                       // entries were committed
	tenderApplied                     // between apply and answer
	tenderFlush                       // a flush was decided on
	tenderTruncate                    // a truncation was decided on
	tenderVerify                      // an image is whole, and looked at
	tenderInstall                     // an image is to take the store's place
	tenderSwap                        // it is just taking it
	tenderAgain                       // no crash: a store rots again once an image took its place
	tenderNoRoom                      // no crash: an image that comes in finds the disk nearly full
	tenderSpoil                       // no crash: a bit of an image flips before it is verified
	tenderDepose                      // no crash: another leader comes while an image is verified
	tenderAsk                         // no crash: a node without a store is cut off while it asks for an image
	tenderStart                       // in the middle of a start
	tenderStuck                       // no crash: the disk fails in the middle of a start
	tenderForm                        // in the middle of forming
	tenderForget                      // the same, and the disk is lost with it
	tenderCopy                        // another node's proposal came in, and comes again to the next life
	tenderLag                         // no crash: a leader is busy while followers that need an image speak
	tenderKeep                        // who takes part is being made durable

	tenderPoints = iota
)

var tenderNames = [...]string{
	"crash after a vote", "crash before a send", "crash before an append", "crash in a switch of segments", "crash before an apply", "crash before an answer",
	"crash before a flush", "crash before a truncation", "crash while an image is verified", "crash before an install", "crash inside an install", "store rots again after an install", "disk has no room for an image", "image rots before it is verified", "another leader while an image is verified", "cut off while it asks for an image", "crash in a start", "disk error in a start", "crash in forming", "disk lost in forming",
	"crash with a copy in hand that comes again", "busy while followers lag", "crash while members are kept",
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
	case node.Truncate:
		return tenderTruncate, true
	case node.Install:
		return tenderInstall, true
	case node.Prove, node.Linger, node.Scrub, node.Stop, node.OpenImage, node.ReadImage, node.CloseImage, node.WriteImage, node.VerifyImage, node.DropImage,
		node.Repack, node.Swap, node.Reconfigure:
	}
	return 0, false
}

// nemesis brings the faults. Each kind, and each node at each tender point, draws
// from a generator of its own, so that one more or less leaves the others as they were.
type nemesis struct {
	w       *World
	rng     [faultKinds]generator
	heldUp  int                       // leaders, after the faults
	tenders [tenderPoints][]generator // by raft id - 1, as the next two
	downs   []generator
	looping []int // crashes that are left of a crash loop
	heals   []healing
	over    bool // no more faults
	struck  faultKind
	at      uint64 // its number, once it is noted
	disk    diskSetup
	atlas   atlas
}

// healing undoes a fault, or goes on with it.
type healing func()

func (n *nemesis) init(w *World) {
	n.w = w
	n.disk = w.setup.disk
	n.atlas = newAtlas(len(w.all))
	n.atlas.sets = w.quorumSets
	n.atlas.calm = w.operator.calm
	n.looping = make([]int, len(w.all))
	for _, r := range w.all {
		n.downs = append(n.downs, newGenerator(w.opts.Seed, "downtime "+r.name))
		for p := range n.tenders {
			n.tenders[p] = append(n.tenders[p], newGenerator(w.opts.Seed, tenderNames[p]+" "+r.name))
		}
	}
	if w.setup.behind > 0 {
		n.later(w.opts.Time-min(w.setup.behind, w.opts.Time), n.leaveBehind)
	}
	for k, every := range w.setup.faults {
		n.rng[k] = newGenerator(w.opts.Seed, "fault "+faultNames[k])
		if every > 0 {
			begin := 3 * time.Second
			if w.setup.early {
				begin = 0
			}
			w.at(begin+n.rng[k].about(every), event{kind: evFault, n: uint64(k)})
		}
	}
}

// tender decides whether a node crashes at point now.
func (n *nemesis) tender(r *replica, p tenderPoint) bool {
	if !n.lurks(r, p) {
		return false
	}
	n.w.judge.count(p.String())
	return true
}

// lurks decides whether a node crashes at point if it comes there now; it is not counted.
func (n *nemesis) lurks(r *replica, p tenderPoint) bool {
	if n.over || !n.tenders[p][r.id-1].chance(n.w.setup.tender[p]) {
		return false
	}
	return p == tenderForm || p == tenderForget || p == tenderStart || p == tenderStuck || r.formed()
}

// how draws what a node loses that crashes at a tender point.
func (n *nemesis) how(r *replica, p tenderPoint) ending {
	return pick(n.tenders[p][r.id-1], powerLost, killed)
}

// downtime draws how long a node stays down.
func (n *nemesis) downtime(r *replica) time.Duration {
	if n.over {
		return 100 * time.Millisecond
	}
	g := n.downs[r.id-1]
	if n.looping[r.id-1] > 0 {
		return g.between(0, 30*time.Millisecond)
	}
	return pick(g, g.some(time.Millisecond, 100*time.Millisecond), g.some(100*time.Millisecond, 10*time.Second))
}

// span draws how long a fault lasts.
func (n *nemesis) span(g generator) time.Duration { return g.some(50*time.Millisecond, 15*time.Second) }

func (n *nemesis) victim(g generator) *replica { return n.w.nodes[g.IntN(len(n.w.nodes))] }

// some draws a part of the nodes: at least one, and not all of several.
func (n *nemesis) some(g generator) []*replica {
	out := n.shuffled(g)
	return out[:min(len(out), 1+g.IntN(max(1, len(out)-1)))]
}

func (n *nemesis) shuffled(g generator) []*replica {
	out := append([]*replica(nil), n.w.nodes...)
	g.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// strike brings a fault of kind k and schedules the next of its kind.
func (n *nemesis) strike(k faultKind) {
	if n.over {
		return
	}
	w := n.w
	w.after(n.rng[k].about(w.setup.faults[k]), event{kind: evFault, n: uint64(k)})
	n.bringOne(k)
}

// bringOne brings one fault of kind k.
func (n *nemesis) bringOne(k faultKind) {
	if n.over {
		return
	}
	n.struck, n.at = k, 0
	if !n.bring(k) {
		return
	}
	n.w.judge.count(k.String())
	if n.at == 0 { // it is over already
		n.hit()
	}
}

// bring reports whether the fault did something already; those that lie in wait
// are counted when they do.
func (n *nemesis) bring(k faultKind) bool {
	w, g := n.w, n.rng[k]
	leader := w.leader()
	switch k {
	case faultHalves:
		return n.cut(g, n.halves(g))
	case faultIsolate:
		return n.cut(g, n.around(n.victim(g), true, true))
	case faultIsolateLeader:
		return leader != nil && n.cut(g, n.around(leader, true, true))
	case faultOneWay:
		in := g.IntN(2) == 0
		return n.cut(g, n.around(n.victim(g), in, !in))
	case faultOneWayLeader:
		in := g.IntN(2) == 0
		return leader != nil && n.cut(g, n.around(leader, in, !in))
	case faultBridge:
		return n.cut(g, n.bridge(g))
	case faultRing:
		return n.cut(g, n.ring(g))
	case faultFlap:
		return n.flap(g, pick(g, n.halves(g), n.around(n.victim(g), true, true)))
	case faultSlowLinks:
		return n.degrade(g, func(l *link, by float64) { l.slow += time.Duration(by * float64(300*time.Millisecond)) })
	case faultLossyLinks:
		return n.degrade(g, func(l *link, by float64) { l.lossy += by })
	case faultQueues:
		return n.shortQueues(g)
	case faultReset:
		return n.reset(g)
	case faultKill:
		return n.down(killed, n.victim(g))
	case faultPower:
		return n.down(powerLost, n.victim(g))
	case faultPowerSome:
		return n.down(powerLost, n.some(g)...)
	case faultPowerAll:
		return n.down(powerLost, w.nodes...)
	case faultCrashLoop:
		return n.crashLoop(g, n.victim(g))
	case faultStop:
		return n.stop(n.victim(g))
	case faultPause:
		return n.pause(g, n.victim(g))
	case faultPauseLeader:
		return leader != nil && n.pause(g, leader)
	case faultPauseAll:
		return n.pause(g, w.nodes...)
	case faultSlowNode:
		return n.slowNode(g, n.victim(g))
	case faultHang:
		return n.hang(g, n.victim(g))
	case faultWall:
		return n.jump(g, n.victim(g))
	case faultRate:
		return n.changeRate(g, n.victim(g))
	case faultTransfer:
		if leader == nil || len(w.nodes) == 1 {
			return false
		}
		n.hit(leader)
		leader.take(node.TransferLeadership{Peer: n.victim(g).id})
		return true
	case faultSlowDisk:
		return n.slowDisks(g)
	case faultDisk:
		return n.spoil(k, n.victim(g), errDisk, OpWrite, OpSync, OpSyncDir)
	case faultShort:
		return n.spoil(k, n.victim(g), errShort, OpWrite)
	case faultRead:
		return n.spoil(k, n.victim(g), errDisk, OpRead)
	case faultFull:
		return n.fillDisk(g, n.victim(g))
	case faultLogRot:
		return n.rotLog(g, n.victim(g))
	case faultRot:
		return n.damageStore(g, n.victim(g))
	case faultMisled:
		return n.mislead(n.victim(g))
	case faultLost:
		return n.loseDisk(n.victim(g))
	case faultProgram:
		return n.changeProgram(g, n.victim(g))
	case faultFloor:
		if leader == nil || g.IntN(2) == 0 {
			leader = n.victim(g)
		}
		return n.reachFloor(g, leader)
	}
	panic(fmt.Sprintf("sim: unhandled fault %d", k))
}

// undo does h when the fault is over.
func (n *nemesis) undo(g generator, h healing) {
	n.noted(linearizability.Event{})
	fault := n.at
	n.later(n.span(g), func() {
		h()
		n.w.ended(fault)
	})
}

// noted records the beginning of the fault that strikes, once.
func (n *nemesis) noted(e linearizability.Event) {
	if n.at == 0 {
		e.Name = n.struck.String()
		n.at = n.w.begins(e)
	}
}

// hit records that a fault struck these nodes and was over at once.
func (n *nemesis) hit(rs ...*replica) {
	n.noted(linearizability.Event{Nodes: namesOf(rs)})
	n.w.ended(n.at)
}

// later does h in d from now, or when faults end, if that is before.
func (n *nemesis) later(d time.Duration, h healing) {
	n.heals = append(n.heals, h)
	n.w.after(d, event{kind: evHeal, n: uint64(len(n.heals) - 1)})
}

func (n *nemesis) heal(i uint64) {
	if h := n.heals[i]; h != nil {
		n.heals[i] = nil
		h()
	}
}

// end stops all faults for the core of the cluster: everything in it is whole, fast
// and up, but for what is out for good. Who is not in it stays down or cut off.
func (n *nemesis) end() {
	n.over = true
	for i := range n.heals {
		n.heal(uint64(i))
	}
	w := n.w
	w.net.setup = netSetup{base: 200 * time.Microsecond, jitter: 300 * time.Microsecond, queue: defaultQueue}
	n.disk = diskSetup{sync: time.Millisecond, apply: 50 * time.Microsecond, flush: 5 * time.Millisecond}
	n.setAside(newGenerator(w.opts.Seed, "core"))
	for _, r := range w.nodes {
		r.hungUntil = 0
		if !r.up {
			w.after(100*time.Millisecond, event{kind: evStart, node: r, life: r.life})
			continue
		}
		r.uncut()
		r.resume()
	}
}

// setAside leaves nodes out of the core in half the worlds: the rest must do without
// them. It stays a majority of nodes that are whole, for what was acknowledged may be
// at no others.
func (n *nemesis) setAside(g generator) {
	if n.w.setup.mix == Calm || g.IntN(2) == 0 || n.w.renewal.forming(n.w) {
		return
	}
	if !n.w.operator.calm() {
		return // what is not done yet may take any of them
	}
	for _, r := range n.shuffled(g) {
		if n.atlas.whole(r) && n.atlas.spares(r) && g.IntN(2) == 0 {
			n.w.judge.count("node set aside in the end")
			r.aside, n.atlas.aside[r.id-1] = true, true
			if g.IntN(2) == 0 {
				r.crash(killed)
			} else {
				links := n.around(r, true, true)
				block(links, 1)
				n.w.begins(linearizability.Event{Name: "set aside", Links: n.namesOf(links), Minority: n.cutOff(links)})
			}
		}
	}
}
