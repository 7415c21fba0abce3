package sim

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// storeMmapBytes is the address space of one store; no run fills it.
const storeMmapBytes = 256 << 20

// raftLog is what the driver asks of a log. *wal.Log is one; planted bugs wrap it.
type raftLog interface {
	node.LogReader
	Append(b wal.Batch) error
	Prove() error
	Truncate(index uint64) error
	Full() bool
	Wanted() <-chan struct{}
	Prepare() (more bool, err error)
	Close() error
}

// replica is one node: its machine and, while it is up, its process.
type replica struct {
	w     *World
	id    uint64
	name  string
	names []string
	// seat is what a machine that was added sits down on; nil: it was there when the cluster formed.
	seat    *node.Seat
	version uint8 // of commands, the newest that its program knows

	// The machine.
	home  *Disk // the data directory but for what is in it
	disk  *Disk // its log; nil: none yet
	store string
	hasDB bool
	clock clock
	wall  time.Duration // what its wall clock is ahead of the world
	slow  time.Duration // what everything takes longer, about
	// low: its disk has less free space than its floor.
	low bool
	// hungUntil is until when its store does nothing.
	hungUntil int64
	// rotten: the world has damaged its log. out: the node found that, and stays down.
	rotten, out bool
	// forgot: the world took its whole disk.
	forgot bool
	// voted: under this raft id a node has taken part.
	voted bool
	// revenant: it has started again after it was removed.
	revenant bool
	// told is the index of the newest state that its core was told of.
	told fsm.Index
	// prepare is the last message with which a cluster was to be formed; late comes once more
	// when the node starts next, as what the network repeats may.
	prepare, late *transport.Message
	// aside: it is not in the core that must do without it in the end; down, it stays down.
	aside bool
	// tainted: the world has damaged its store, or what that was made from.
	tainted bool
	// rotted: its file is, and not only what went wrong in memory since.
	rotted bool
	// misled: the next command it applies is not what it was.
	misled bool
	// diverged: because of that its state is not what the others' is, and it does not know yet.
	diverged bool
	// strayed is the index at which that happened, first in memory; 0: not so.
	strayed fsm.Index
	// imageIndex is that of the verified image beside the store; 0: there is none.
	imageIndex uint64

	// The process; meaningful while up.
	up      bool
	paused  bool
	resumed int64      // when the last pause ended
	held    []heldView // oldest first
	life    uint64     // counts starts and crashes: events of another are void
	form    former
	known   peers         // whom its wire knows
	dialAt  int64         // when it connects again to those who do not take its messages
	kept    node.Identity // with the members that were made durable last
	core    *node.Core
	log     raftLog
	db      *fsm.Store
	watches *node.Watches
	rng     generator
	raft    generator // raft's randomness
	timing  generator // of its disk
	packs   generator // of its copies of the store

	inbox   []node.Input // that wait for the loop
	busy    bool         // the loop is in a step
	missed  bool         // a tick is due
	batch   []node.Input
	storage storage
	pending []uint64 // requests without an answer, ascending
	// refusals are what it has denied, and not told the others yet.
	refusals []fsm.Denial
	checked  heldPolicy

	shadow      shadow
	lastApplied uint64
	toldLow     bool      // what the core was told of low last
	gaveUp      bool      // the core has given its store up
	lastDurable fsm.Index // what the database holds
	prevDurable fsm.Index // what its commit before held
	claimed     time.Duration
}

// clock is a machine's monotonic clock: it runs on through restarts of the process.
type clock struct {
	base   time.Duration
	since  int64 // world time at which it read base
	ppm    int64
	before *clock // as it ran before since, in this boot of the machine; nil: it did not
}

// change makes the clock run at another rate from now on, without a jump.
func (c *clock) change(now, ppm int64) {
	was := *c
	*c = clock{base: was.at(now), since: now, ppm: ppm, before: &was}
}

func (c clock) at(now int64) time.Duration {
	d := now - c.since
	return c.base + time.Duration(d+d/1_000_000*c.ppm+d%1_000_000*c.ppm/1_000_000)
}

// world returns the instant at which the clock read t, or up to 2 ns before.
func (c clock) world(t time.Duration) int64 {
	for c.before != nil && t < c.base {
		c = *c.before
	}
	d := int64(t - c.base)
	at := c.since + d/(1_000_000+c.ppm)*1_000_000 + d%(1_000_000+c.ppm)*1_000_000/(1_000_000+c.ppm)
	for at > c.since && c.at(at) >= t {
		at--
	}
	return at
}

// span is how long the clock takes to measure d.
func (c clock) span(d time.Duration) time.Duration {
	return time.Duration(int64(d) * 1_000_000 / (1_000_000 + c.ppm))
}

func newReplica(w *World, id uint64, name string, names []string) *replica {
	r := &replica{
		w: w, id: id, name: name, names: names,
		rng:     newGenerator(w.opts.Seed, "node "+name),
		raft:    newGenerator(w.opts.Seed, "raft "+name),
		timing:  newGenerator(w.opts.Seed, "disk "+name),
		packs:   newGenerator(w.opts.Seed, "repack "+name),
		store:   filepath.Join(w.dir, name+".db"),
		wall:    time.Duration(id) * time.Hour, // nothing may depend on it
		version: w.setup.oldest(),
	}
	r.home = NewDisk(newGenerator(w.opts.Seed, "home "+name).Rand)
	if d := w.setup.drift; d > 0 {
		r.clock.ppm = r.rng.Int64N(2*d+1) - d
	}
	r.bootClock()
	return r
}

// bootClock starts the clock anew: the machine was off.
func (r *replica) bootClock() {
	r.clock = clock{base: r.rng.between(0, time.Hour), since: r.w.now, ppm: r.clock.ppm}
}

func (r *replica) now() time.Duration { return r.clock.at(r.w.now) }

// formed tells whether the node takes part.
func (r *replica) formed() bool { return r.up && r.core != nil }

func (r *replica) leads() bool { return r.formed() && r.core.Status().Role == node.Leader }

// start begins a life.
func (r *replica) start() {
	if r.up || r.out || r.aside {
		return
	}
	r.life++
	r.up, r.paused, r.busy, r.missed = true, false, false, false
	r.w.judge.count("start")
	r.w.note(linearizability.Event{Kind: linearizability.Started, Node: r.name})
	if err := r.boot(); err != nil {
		if errors.Is(err, errCut) {
			r.crash(powerLost)
			return
		}
		if r.ruined(err) {
			r.retire()
			return
		}
		if r.left(err) || r.outdated(err) {
			return
		}
		if excused(err) {
			r.w.judge.count("does not start on its disk")
			r.crash(killed)
			return
		}
		r.w.fail(JudgeStop, "%s does not start: %w", r.name, err)
		return
	}
	r.scheduleTick(true)
	if r.late != nil {
		r.w.net.again(r.late, r.rng.between(0, time.Millisecond))
		r.late = nil
	}
	r.gather(node.Tick{Now: r.now()})
}

// boot does what comes before the first input. The incarnation is durable first.
func (r *replica) boot() error {
	if r.w.nemesis.tender(r, tenderStart) {
		r.cutAfter(r.rng.IntN(20))
	} else if r.w.nemesis.tender(r, tenderStuck) {
		r.failAfter(r.rng.IntN(20), errDisk)
	}
	id, err := node.LoadIdentity(r.home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.sit(&id)
	id.Incarnation++
	if err := node.StoreIdentity(r.home, id); err != nil {
		return err
	}
	var draw fsm.ClusterID
	for i := range draw {
		draw[i] = byte(r.rng.Uint32())
	}
	r.known = peers{}
	switch {
	case r.seat == nil:
		r.form = node.NewFormation(r.names, r.name, id, draw)
	case id.Formed:
		r.form = &joined{id}
	default:
		r.form = node.NewJoining(id)
		r.know(id.Current.Members, id.Current.LastRaftID)
	}
	if id.Formed && !r.w.renewal.isAlien(r) {
		if err := r.join(); err != nil {
			return err
		}
	}
	r.uncut()
	return nil
}

// join opens what a formed node has on its disk and starts the core on it.
func (r *replica) join() error {
	id := r.form.Identity()
	r.w.judge.renewed(r, id)
	if r.disk == nil {
		return errors.New("the node is formed and has no log")
	}
	log, found, err := wal.Open(r.disk, r.walOptions())
	if err != nil {
		return err
	}
	r.log = log
	if found.Cut != nil {
		r.w.judge.count("log: torn tail cut")
	}
	if err := r.cleanTail(found.Cut); err != nil {
		r.w.fail(JudgeDurable, "%w", err)
		return nil
	}
	if r.w.opts.hooks.log != nil {
		r.log = r.w.opts.hooks.log(r.log)
	}
	if err := r.shadow.recovered(log, found.HardState, r.w.judge.slots); err != nil {
		r.w.fail(JudgeDurable, "%s lost what was durable: %w", r.name, err)
		return nil
	}
	if err := r.recoverImage(found); err != nil {
		return err
	}
	state, damaged, err := r.openStore(id)
	if err != nil {
		return err
	}
	r.w.entropy.now = r.raft.Rand
	r.core, err = node.NewCore(node.Config{
		Settings:    r.w.setup.node,
		ID:          id.RaftID,
		Life:        id.Life,
		Version:     r.version,
		Incarnation: id.Incarnation,
		HardState:   found.HardState,
		Log:         r.log,
		State:       state,
		Damaged:     damaged,
		Now:         r.now(),
	})
	if err != nil {
		return err
	}
	r.w.judge.joined(r, id)
	r.voted, r.kept = true, id
	r.know(state.Members, state.LastRaftID)
	r.watches = node.NewWatches(r.w.setup.node.Watch)
	if r.db != nil {
		r.tellWatches()
	}
	r.storage.sending.incarnation = id.Incarnation
	r.lastApplied, r.gaveUp, r.toldLow = uint64(state.Applied), false, false
	r.claimed = 0
	return nil
}

func (r *replica) storeOptions() fsm.Options {
	return fsm.Options{MaxOverlayBytes: r.w.setup.node.MaxOverlayBytes, MmapBytes: storeMmapBytes, MaxVersion: r.version, NoSync: true}
}

// openStore opens the store, or says why it cannot be used: right only if the world
// has damaged it.
func (r *replica) openStore(id node.Identity) (state fsm.State, damaged, err error) {
	if !r.hasDB {
		if r.seat != nil {
			r.tainted, r.w.nemesis.atlas.stores[r.id-1] = true, true
			return r.withoutStore(id, errNewMember)
		}
		if r.tainted && r.log.FirstIndex() > 1 {
			return r.withoutStore(id, errors.New("the database is missing, and the log does not begin at 1"))
		}
		r.mended() // the log fills it again
		r.lastDurable, r.prevDurable = 0, 0
		if err := fsm.Create(r.store, fsm.Genesis{Cluster: id.Cluster, Members: id.Members, Version: id.Version}, r.storeOptions()); err != nil {
			return state, nil, err
		}
		r.hasDB = true
	}
	r.db, err = fsm.Open(r.store, r.storeOptions())
	if err == nil {
		state = r.db.State()
		if state.Applied < r.strayed {
			// It never reached the disk, or is not what bbolt came back with, and is applied again.
			r.diverged, r.strayed = false, 0
			if !r.rotted {
				r.mended()
			}
		}
		if !r.tainted {
			return state, nil, r.w.judge.opened(r, state)
		}
		// bbolt may have fallen back to the commit before.
		if state.Applied == r.lastDurable || state.Applied == r.prevDurable {
			if uint64(state.Applied)+1 >= r.log.FirstIndex() {
				r.lastDurable = state.Applied
				return state, nil, nil
			}
		}
		err = fmt.Errorf("%w: it comes back at index %d, had %d, and the log begins at %d", fsm.ErrDamaged, state.Applied, r.lastDurable, r.log.FirstIndex())
		if closeErr := r.db.Close(); closeErr != nil {
			return state, nil, closeErr
		}
	}
	r.db = nil
	if !r.tainted || !errors.Is(err, fsm.ErrDamaged) {
		return state, nil, err
	}
	return r.withoutStore(id, err)
}

// withoutStore is what a core starts from whose store cannot be used.
func (r *replica) withoutStore(id node.Identity, why error) (state fsm.State, damaged, err error) {
	r.w.judge.count("starts with a damaged store")
	state = id.WithoutStore()
	r.w.judge.knew(r, &state)
	return state, why, nil
}

// logReserveBytes is the log's reserve: little, since nothing large is written.
const logReserveBytes = 16 << 10

func (r *replica) walOptions() wal.Options {
	return wal.Options{SegmentBytes: r.w.setup.segmentBytes, ReserveBytes: logReserveBytes, Nonce: r.rng.Uint64()}
}

func (r *replica) tickInterval() time.Duration {
	if d := r.w.setup.node.TickInterval; d != 0 {
		return d
	}
	return 50 * time.Millisecond
}

func (r *replica) scheduleTick(first bool) {
	d := r.tickInterval()
	if first {
		d = r.rng.between(0, d)
	}
	r.w.after(r.clock.span(d), event{kind: evTick, node: r, life: r.life})
}

func (r *replica) tick() {
	r.scheduleTick(false)
	if r.w.ticksOff {
		return
	}
	if r.paused || r.busy {
		r.missed = true // one is enough, however many were missed
		return
	}
	r.gather(node.Tick{Now: r.now()})
	r.w.judge.applies(r)
	r.dial()
}

func (r *replica) receive(m transport.Message) {
	if in := r.storage.images.verified; in != nil && m.Raft != nil && m.Raft.GetTerm() > r.core.Status().Term {
		r.storage.images.verified = nil
		r.take(in, node.Receive{Message: m})
		return
	}
	r.take(node.Receive{Message: m})
}

func (r *replica) unreachable(peer uint64) { r.take(node.Unreachable{Peer: peer}) }

// take gives the loop inputs, now or when it has time.
func (r *replica) take(ins ...node.Input) {
	if r.paused || r.busy {
		r.inbox = append(r.inbox, ins...)
		return
	}
	r.batch = append(r.batch[:0], ins...)
	r.gather(r.batch...)
}

// loop ends the time that a step takes: what came meanwhile is taken together.
func (r *replica) loop() {
	r.busy = false
	r.drain()
}

func (r *replica) drain() {
	if !r.up || r.paused || r.busy || (len(r.inbox) == 0 && !r.missed) {
		return
	}
	r.batch = r.batch[:0]
	if r.missed {
		r.missed = false
		r.batch = append(r.batch, node.Tick{Now: r.now()})
	}
	r.batch = append(r.batch, r.inbox...)
	clear(r.inbox)
	r.inbox = r.inbox[:0]
	r.gather(r.batch...)
}

// gather takes inputs together: those of the formation first come first, the
// rest in one step of the core.
func (r *replica) gather(ins ...node.Input) {
	if r.core != nil && r.low != r.toldLow {
		ins, r.toldLow = append(slices.Clip(ins), node.DiskLow{Low: r.low}), r.low
	}
	r.traceInputs(ins)
	life := r.life
	if r.core == nil {
		for _, in := range ins {
			// Nothing else is for a node that takes no part yet.
			switch in := in.(type) {
			case node.Tick:
				r.obey(r.form.Tick(in.Now))
			case node.Receive:
				if in.Message.Form != nil && in.Message.Form.Kind == transport.FormPrepare {
					r.prepare = &in.Message
				}
				if in.Message.Form != nil || in.Message.ClaimReply != nil {
					r.obey(r.form.Receive(in.Message))
				}
			case node.Dismissed:
				r.stopped(node.ErrRemoved)
			default:
			}
			if r.life != life || r.w.err != nil {
				return
			}
		}
		return
	}
	r.storage.sending.replied(ins)
	rest := ins
	for i := 0; i < len(rest); i++ {
		if in, ok := rest[i].(node.Receive); ok && in.Message.Form != nil {
			r.obey(r.form.Receive(in.Message))
			if r.life != life || r.w.err != nil {
				return
			}
			rest = append(append([]node.Input{}, rest[:i]...), rest[i+1:]...)
			i--
		}
	}
	if len(rest) == 0 {
		return
	}
	r.step(rest)
}

// slowLoop is how much less a slow node's loop suffers than its disk: it has far more to do.
const slowLoop = 20

func (r *replica) step(ins []node.Input) {
	w := r.w
	w.entropy.now = r.raft.Rand
	full := r.core.Status().StorageFull
	effects := r.core.Step(ins...)
	if d := w.setup.loopTime + r.slow/slowLoop; d > 0 {
		r.busy = true
		w.after(r.rng.between(0, 2*d), event{kind: evLoop, node: r, life: r.life})
	}
	w.judge.stepped(r)
	w.judge.digested(r, ins, effects)
	if full {
		w.judge.roomless(r, ins, effects)
	}
	life := r.life
	r.dispatch(effects)
	for _, in := range ins {
		if in, ok := in.(node.Installed); ok && r.life == life && w.err == nil {
			w.judge.overtaken(r, in.State.Applied)
			w.nemesis.rotAgain(r)
		}
	}
}

// obey does what the formation asks for, in the order that it is owed.
func (r *replica) obey(step node.FormStep) {
	if r.left(step.Err) {
		return
	}
	if r.forgot && errors.Is(step.Err, node.ErrDiskLost) {
		r.w.judge.count("node without its disk stays out")
		r.out = true
		r.crash(killed)
		return
	}
	if step.Err != nil {
		r.w.fail(JudgeStop, "%s: forming the cluster: %w", r.name, step.Err)
		return
	}
	if step.Persist != nil {
		if r.w.nemesis.tender(r, tenderForm) {
			r.cutAfter(r.rng.IntN(12))
		}
		if err := r.persist(*step.Persist); err != nil {
			if errors.Is(err, errCut) {
				r.crash(powerLost)
				return
			}
			r.w.fail(JudgeStop, "%s: forming the cluster: %w", r.name, err)
			return
		}
		r.uncut()
	}
	for _, m := range step.Send {
		if m.Claim != nil {
			m.Claim.Version = r.version // which is another program's here
		}
		r.w.net.send(r, m)
	}
	id := r.form.Identity()
	if r.core == nil && r.w.nemesis.loseForming(r) {
		return
	}
	if id.Formed && r.core == nil && !r.w.renewal.isAlien(r) {
		if r.forgot && !r.voted {
			r.forgot, r.w.nemesis.atlas.logs[r.id-1] = false, false // it has done nothing before
		}
		if r.forgot {
			r.w.fail(JudgeSplit, "split: %s lost its disk, and takes part as a member again: it may have voted", r.name)
			return
		}
		if err := r.join(); err != nil {
			if !r.left(err) && !r.outdated(err) {
				r.w.fail(JudgeStop, "%s: %w", r.name, err)
			}
			return
		}
		r.w.judge.count("formed")
	}
}

// persist makes the identity durable; the log comes before the word that the
// node may vote. It is made aside, and there when it is whole.
func (r *replica) persist(id node.Identity) error {
	if id.Formed && r.disk == nil {
		made := NewDisk(newGenerator(r.w.opts.Seed, fmt.Sprintf("log %s %d", r.name, r.life)).Rand)
		if err := wal.Create(made, r.walOptions()); err != nil {
			return err
		}
		r.disk = made
	}
	return node.StoreIdentity(r.home, id)
}

// abandon closes what the process has open, without a word to the disk.
func (r *replica) abandon() {
	r.closeViews()
	r.closeImage()
	if r.db != nil {
		if err := r.db.Close(); err != nil {
			r.w.fail(JudgeStop, "%s: closing the store: %w", r.name, err)
		}
	}
	r.up, r.core, r.form, r.log, r.db, r.watches = false, nil, nil, nil, nil, nil
	r.storage, r.refusals, r.checked = storage{}, nil, heldPolicy{}
	clear(r.inbox)
	r.inbox = r.inbox[:0]
	r.life++
}
