package sim

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// storage is what a node's disk and store are at work on.
type storage struct {
	appends    []node.Effect // Append, Prove and Truncate that wait
	appending  []node.Effect // under way: a group of Appends, or one of the others
	apart      bool          // the group is written one by one, before the one sync
	applies    []node.Effect // Apply, Flush, Install and Swap that wait
	applying   bool          // the first of applies is under way
	reports    []node.Applied
	reportsBy  int64      // when the last of reports is made
	flush      *fsm.Flush // under way
	backup     *fsm.Image // that is read; nil: none
	flushes    uint64     // counts them: what ends one that was given up ends no other
	flushBegan int64      // when the last of them did
	scrubs     int        // under way
	repack     *fsm.Repack
	swapping   bool   // a Swap is under way
	swaps      uint64 // counts them, as flushes does
	broken     bool   // the store is damaged: nothing more is done with it
	damage     error  // why
	images     images
	sending    sending
	digest     transport.Digest // that the node told the others last; Index zero: none
	idle       int              // how many ticks it has had nothing to do though entries wait to be applied
	idleAt     uint64           // what was applied then
}

// resting tells whether there is nothing that the core waits for.
func (s *storage) resting() bool {
	return len(s.appends) == 0 && len(s.appending) == 0 && len(s.applies) == 0 && !s.applying &&
		len(s.reports) == 0 && s.flush == nil && !s.swapping && len(s.images.queue) == 0 && s.images.verified == nil
}

// dispatch does the effects of one step, in order.
func (r *replica) dispatch(effects []node.Effect) {
	w := r.w
	life := r.life
	for _, e := range effects {
		if point, ok := tenderOf(e); ok && w.nemesis.tender(r, point) {
			r.crash(w.nemesis.how(r, point))
			return
		}
		r.traceEffect(e)
		w.judge.asked(r, e)
		switch e := e.(type) {
		case node.Send:
			w.net.send(r, e.Message)
			if e.Message.ImageRequest != nil && w.nemesis.tender(r, tenderAsk) {
				w.nemesis.isolate(r)
			}
			if granted(e.Message.Raft) && w.nemesis.tender(r, tenderVote) {
				r.crash(powerLost)
			}
		case node.Append, node.Prove, node.Truncate:
			r.storage.appends = append(r.storage.appends, e)
		case node.OpenImage, node.ReadImage, node.CloseImage, node.WriteImage, node.VerifyImage, node.DropImage:
			if _, ok := e.(node.VerifyImage); ok && w.nemesis.tender(r, tenderDepose) {
				w.nemesis.depose(r)
			}
			q := &r.storage.images
			if q.queue = append(q.queue, e); len(q.queue) == 1 {
				r.startImage()
			}
		case node.Apply, node.Flush, node.Install, node.Swap:
			r.storage.applies = append(r.storage.applies, e)
		case node.Linger:
			w.after(r.clock.span(node.LingerTime+r.rng.between(0, node.LingerTime)), event{kind: evLingered, node: r, life: r.life})
		case node.Scrub:
			r.storage.scrubs++
			w.after(r.rng.between(0, 2*w.setup.disk.flush), event{kind: evScrubbed, node: r, life: r.life, n: uint64(e.Budget)})
		case node.Repack:
			r.startRepack(e.Budget)
		case node.ProposeReply:
			w.clients.proposed(r, e)
		case node.ReadReply:
			w.clients.confirmed(r, e)
		case node.Reconfigure:
			r.know(e.Members, e.LastRaftID)
			for _, p := range e.Introduced {
				r.known.list = append(r.known.list, p.RaftID)
			}
		case node.Stop:
			r.stopped(e.Err)
			return
		default:
			panic(fmt.Sprintf("sim: unhandled effect %T", e))
		}
		if r.life != life {
			return
		}
	}
	r.work()
}

func granted(m *raftpb.Message) bool {
	return m != nil && m.GetType() == raftpb.MsgVoteResp && !m.GetReject()
}

// stopped ends a node that found that it must not go on: right only if a fault of
// its disk was the reason.
func (r *replica) stopped(err error) {
	if r.left(err) || r.outdated(err) {
		return
	}
	if r.ruined(err) {
		r.retire()
		return
	}
	if excused(err) {
		r.w.judge.count("stopped by its disk")
		r.crash(killed)
		return
	}
	r.w.fail(JudgeStop, "%s stopped: %w", r.name, err)
}

// work starts what waits and can be started.
func (r *replica) work() {
	if !r.up || r.paused {
		return
	}
	s := &r.storage
	if len(s.appending) == 0 && len(s.appends) > 0 {
		r.startAppends()
	}
	if !s.applying && len(s.applies) > 0 {
		s.applying = true
		at := max(r.hungUntil, r.w.now+int64(r.latency(r.w.nemesis.disk.apply)))
		if _, ok := s.applies[0].(node.Install); ok {
			at = max(at, s.reportsBy) // the applies before it are reported before it
		}
		r.w.queue.push(event{at: at, kind: evApply, node: r, life: r.life})
	}
}

// latency draws how long an operation takes that takes mean on average.
func (r *replica) latency(mean time.Duration) time.Duration {
	mean += r.slow
	d := mean/2 + r.timing.about(mean/2)
	if disk := &r.w.nemesis.disk; r.timing.chance(disk.stall) {
		r.w.judge.count("disk stalls")
		d += r.timing.between(0, disk.stalls)
	}
	return d
}

func (r *replica) startAppends() {
	s := &r.storage
	n := 1
	if _, ok := s.appends[0].(node.Append); ok && r.w.setup.groupCommit {
		for n < len(s.appends) {
			if _, ok := s.appends[n].(node.Append); !ok {
				break
			}
			n++
		}
	}
	s.appending = append([]node.Effect(nil), s.appends[:n]...)
	s.appends = append(s.appends[:0], s.appends[n:]...)
	s.apart = n > 1 && r.timing.IntN(4) == 0
	if n > 1 {
		r.w.judge.count("appends grouped")
	}
	if r.w.opts.hooks.ackEarly {
		r.reportAppends()
	}
	r.w.after(r.latency(r.w.nemesis.disk.sync), event{kind: evAppended, node: r, life: r.life})
}

// appended is the end of what startAppends began: what it does to the disk
// happens here, at once; a crash before decides for itself how far it came.
func (r *replica) appended() {
	lurks := r.disk.Fault == nil && r.w.nemesis.lurks(r, tenderSwitch)
	if lurks {
		r.storage.apart = true // what came before must not rest on the sync that does not come
		r.cutInSwitch(r.w.nemesis.tenders[tenderSwitch][r.id-1].IntN(4))
	}
	err := r.write()
	if lurks {
		r.disk.Fault = nil
	}
	if err == nil {
		err = r.prepareLog()
	}
	if err != nil {
		if errors.Is(err, errCut) {
			r.storage.appending = nil // what there is of it is on the disk
			r.crash(powerLost)
			return
		}
		if excused(err) {
			// A log that failed takes nothing more: nothing is under way at it.
			r.storage.appending = nil
			r.stopped(err)
			return
		}
		r.w.fail(JudgeStop, "%s: writing the log: %w", r.name, err)
		return
	}
	if r.w.opts.hooks.ackEarly {
		r.storage.appending = nil
		r.work()
		return
	}
	r.reportAppends()
}

func (r *replica) reportAppends() {
	s := &r.storage
	last := s.appending[len(s.appending)-1]
	if !r.w.opts.hooks.ackEarly {
		s.appending = nil
	}
	life := r.life
	switch e := last.(type) {
	case node.Append:
		r.take(node.Appended{Seq: e.Seq, Full: r.log.Full()})
	case node.Truncate:
		r.take(node.Truncated{Full: r.log.Full()})
	default:
		r.take(node.Proved{Full: r.log.Full()})
	}
	if r.life == life {
		r.work()
	}
}

// write does what is under way at the log: the last of a group syncs for all.
func (r *replica) write() error {
	group := r.storage.appending
	if _, ok := group[0].(node.Prove); ok {
		if err := r.log.Prove(); err != nil {
			return err
		}
		r.shadow.synced()
		return nil
	}
	if e, ok := group[0].(node.Truncate); ok {
		return r.truncate(e.Index)
	}
	sync := false
	for _, e := range group {
		sync = sync || e.(node.Append).Batch.Sync
	}
	merged := wal.Batch{}
	for i, e := range group {
		b := e.(node.Append).Batch
		last := i == len(group)-1
		if !last && !r.storage.apart && continues(b, group[i+1].(node.Append).Batch) && continues(merged, b) {
			merged = merge(merged, b)
			continue
		}
		if continues(merged, b) {
			b = merge(merged, b)
		} else if err := r.append(merged, false); err != nil {
			return err
		}
		merged = wal.Batch{}
		if err := r.append(b, last && sync); err != nil {
			return err
		}
	}
	return nil
}

// prepareLog makes a piece of the log's next segment, if it is time for that.
func (r *replica) prepareLog() error {
	if len(r.log.Wanted()) == 0 {
		return nil
	}
	more, err := r.log.Prepare()
	if !more {
		<-r.log.Wanted()
		r.w.judge.count("log: segments prepared")
	}
	return err
}

func (r *replica) truncate(index uint64) error {
	before := r.log.FirstIndex()
	if err := r.log.Truncate(index); err != nil {
		return err
	}
	if r.log.FirstIndex() > before {
		r.w.judge.count("log truncated")
	}
	r.w.judge.truncated(r)
	return nil
}

func (r *replica) append(b wal.Batch, sync bool) error {
	b.Sync = sync
	if hs := b.HardState; hs != nil && hs.GetTerm() == r.shadow.term && r.shadow.vote != 0 && hs.GetVote() != r.shadow.vote {
		r.w.fail(JudgeSplit, "%s writes a vote for %d in term %d, in which it voted for %d", r.name, hs.GetVote(), hs.GetTerm(), r.shadow.vote)
	}
	r.shadow.begun(b)
	if err := r.log.Append(b); err != nil {
		return err
	}
	r.shadow.appended(b, r.w.judge.slots)
	if sync {
		r.shadow.synced()
	}
	return nil
}

// continues tells whether b's entries follow a's without a gap and replace none.
func continues(a, b wal.Batch) bool {
	if a.Snapshot != nil || b.Snapshot != nil {
		return false
	}
	if len(a.Entries) == 0 || len(b.Entries) == 0 {
		return true
	}
	return b.Entries[0].GetIndex() == a.Entries[len(a.Entries)-1].GetIndex()+1
}

func merge(a, b wal.Batch) wal.Batch {
	out := wal.Batch{HardState: a.HardState}
	out.Entries = append(append(out.Entries, a.Entries...), b.Entries...)
	if b.HardState != nil {
		out.HardState = b.HardState
	}
	return out
}

// apply is the end of the first of what waits for the store.
func (r *replica) apply() {
	s := &r.storage
	e := s.applies[0]
	if _, ok := e.(node.Install); ok && r.w.nemesis.tender(r, tenderSwap) {
		r.crash(r.w.nemesis.how(r, tenderSwap)) // which does it, or does not
		return
	}
	s.applies[0] = nil
	s.applies = s.applies[1:]
	s.applying = false
	if _, ok := e.(node.Install); !ok && s.broken {
		r.work()
		return
	}
	switch e := e.(type) {
	case node.Install:
		in, err := r.install(e.Index)
		if errors.Is(err, errCut) {
			r.crash(powerLost)
			return
		}
		if err != nil {
			r.w.fail(JudgeStop, "%s: installing the image: %w", r.name, err)
			return
		}
		life := r.life
		if r.take(in); r.life != life {
			return
		}
	case node.Apply:
		ents, wrong := r.astray(e.Entries)
		results, err := r.db.Apply(ents)
		if errors.Is(err, fsm.ErrDamaged) {
			r.damage(err)
			return
		}
		if err != nil {
			if !r.outdated(err) {
				r.w.fail(JudgeStop, "%s: applying: %w", r.name, err)
			}
			return
		}
		if wrong && results[0].Outcome == fsm.Applied && !results[0].Replayed {
			r.diverged = true // by the value alone, which the judge does not see
		}
		if h := r.w.opts.hooks.results; h != nil {
			results = h(r.w.rngNodes, results)
		}
		r.w.judge.appliedEntries(r, e.Entries[:len(results)], results)
		if wrong {
			r.wentAstray(results[0])
		}
		r.tellWatches()
		state := r.db.State()
		if !r.keep(&state) {
			return
		}
		s.reports = append(s.reports, node.Applied{Results: results, State: state, OverlayBytes: r.db.OverlayBytes(), Tight: r.low})
		s.reportsBy = max(s.reportsBy, r.w.now+int64(r.rng.between(0, 2*r.w.setup.reportDelay)))
		r.w.queue.push(event{at: s.reportsBy, kind: evApplied, node: r, life: r.life})
	case node.Swap:
		r.startSwap()
	default:
		s.flush = r.db.BeginFlush()
		s.flushes++
		s.flushBegan = r.w.now
		// The applies before it are reported before it.
		at := max(s.reportsBy, r.hungUntil, r.w.now+int64(r.latency(r.w.nemesis.disk.flush)))
		r.w.queue.push(event{at: at, kind: evFlushed, node: r, life: r.life, n: s.flushes})
	}
	r.work()
}

// applied tells the core of the oldest operation that it was not told of.
func (r *replica) applied() {
	s := &r.storage
	in := s.reports[0]
	s.reports[0] = node.Applied{}
	s.reports = s.reports[1:]
	r.told = max(r.told, in.State.Applied)
	r.take(in)
}

// flushed is the end of a flush: the real commit happens here.
func (r *replica) flushed(which uint64) {
	s := &r.storage
	if s.broken || s.flush == nil || which != s.flushes {
		return // it was of a store that is given up
	}
	err := r.commit()
	in := node.Flushed{
		Index: r.lastDurable, Term: s.flush.Term(), OverlayBytes: r.db.OverlayBytes(),
		Pages: storePages, Free: r.freePages(), Took: time.Duration(r.w.now - s.flushBegan),
	}
	s.flush = nil
	if errors.Is(err, fsm.ErrDamaged) {
		r.damage(err)
		return
	}
	if err != nil {
		r.w.fail(JudgeStop, "%s: writing the database: %w", r.name, err)
		return
	}
	r.take(in)
}

func (r *replica) commit() error {
	if err := r.storage.flush.Commit(); err != nil {
		return err
	}
	r.w.judge.count("flush")
	if applied := r.storage.flush.Applied(); applied > r.lastDurable {
		r.prevDurable, r.lastDurable = r.lastDurable, applied
	}
	return nil
}

func (r *replica) scrubbed(budget int) {
	r.storage.scrubs--
	if r.storage.broken {
		r.take(node.Scrubbed{})
		return
	}
	_, err := r.db.Scrub(budget)
	if err != nil && !r.tainted {
		r.w.fail(JudgeState, "%s: the scrub finds damage, and nobody damaged the store: %w", r.name, err)
		return
	}
	if err != nil {
		r.w.judge.count("damage found by the scrub")
	}
	r.take(node.Scrubbed{Err: err})
}
