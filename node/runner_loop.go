package node

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// loopState belongs to the loop goroutine.
type loopState struct {
	form    former
	ins     []Input
	waiters map[uint64]*waiter // by request
	request uint64             // the last number given to one
	timing  timing

	linger      *time.Timer // of Linger, once there was one
	pulse       pulse
	low         bool          // what the core was told of the disk last
	saidWaiting time.Duration // when the log last named whom formation waits for
	members     string        // as the log named them last
}

// former is how a node becomes a member: Formation or Joining.
type former interface {
	Identity() Identity
	Waiting() []string
	Tick(now time.Duration) FormStep
	Receive(m transport.Message) FormStep
}

// runLoop takes inputs until the node is to stop. It waits for nothing else: what
// takes time is the workers', and they report back.
func (r *Runner) runLoop() {
	if m := r.member.Load(); m != nil {
		r.join(m)
	}
	// A ticker drops the ticks that its receiver is late for: one is enough.
	ticker := time.NewTicker(r.cfg.TickInterval)
	defer ticker.Stop()
	r.gather(nil, true)
	for {
		tick := false
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			tick = true
		case <-r.inbox.wake:
			// Whoever can run puts what it has beside it first: what is taken together costs little more than one of it.
			runtime.Gosched()
			select {
			case <-ticker.C:
				tick = true
			default:
			}
		}
		items := r.inbox.take()
		if m := r.member.Load(); m != nil {
			r.step(m, items, tick)
		} else {
			r.gather(items, tick)
		}
	}
}

// join makes an opened member take part: its transport hears the cluster, its
// workers run. The caller publishes it.
func (r *Runner) join(m *member) {
	r.wire.SetCluster(m.identity.Cluster)
	m.workers.start(r, m)
}

// gather is the loop's step until the cluster is formed.
func (r *Runner) gather(items []item, tick bool) {
	if r.member.Load() != nil {
		return
	}
	if tick {
		r.obey(r.loop.form.Tick(bootTime()))
	}
	for i := range items {
		switch in := items[i].in.(type) {
		case Receive:
			if in.Message.Form != nil || in.Message.ClaimReply != nil {
				r.obey(r.loop.form.Receive(in.Message))
			}
		case Dismissed:
			if r.joining { // who has no seat may only have another raft id than its configuration lets it think
				r.fail(fmt.Errorf("node: joining the cluster: the seat of %s is no more: %w (a member says so: raft id %d)", r.cfg.Name, ErrRemoved, in.Peer))
			}
		default: // nobody is there yet whom it could concern
		}
	}
	r.publishWaiting()
}

// obey does what the formation asks for, in the order that it is owed. It does so
// on the loop: until the cluster is formed there is nothing else to do.
func (r *Runner) obey(step FormStep) {
	if r.stopping() {
		return
	}
	if step.Err != nil {
		r.fail(fmt.Errorf("node: forming the cluster: %w", step.Err))
		return
	}
	if step.Persist != nil {
		if err := r.persist(*step.Persist); err != nil {
			r.fail(fmt.Errorf("node: forming the cluster: %w", err))
			return
		}
	}
	if len(step.Send) > 0 {
		r.wire.Send(step.Send)
	}
	if id := r.loop.form.Identity(); id.Formed && r.member.Load() == nil {
		m, err := r.openMember(id)
		if err != nil {
			r.fail(err)
			return
		}
		r.join(m)
		r.member.Store(m)
		r.publishWaiting()
	}
}

// persist makes id durable. The log comes before the word that the node may vote:
// a formed node without a log is one whose disk forgot its votes.
func (r *Runner) persist(id Identity) error {
	if id.Formed {
		if err := r.dir.createLog(drawNonce()); err != nil {
			return fmt.Errorf("creating the log: %w", err)
		}
	}
	return r.dir.storeIdentity(id)
}

// publishWaiting shows whom formation waits for: at once what changed, and again
// from time to time, for whoever looks at the log later.
func (r *Runner) publishWaiting() {
	waiting := r.loop.form.Waiting()
	old := r.waiting.Load()
	changed := old == nil || !slices.Equal(*old, waiting)
	if changed {
		r.waiting.Store(&waiting)
	}
	if now := bootTime(); len(waiting) > 0 && (changed || now-r.loop.saidWaiting >= sayWaitingInterval) {
		r.loop.saidWaiting = now
		r.log.Info("waiting for members to form the cluster", slog.Any("waiting", waiting))
	}
}

// step gives what came to the core and has its effects done.
func (r *Runner) step(m *member, items []item, tick bool) {
	clear(r.loop.ins)
	ins := r.loop.ins[:0]
	if tick {
		ins = r.tellRoom(append(ins, Tick{Now: r.tickTime()}))
	}
	for i := range items {
		switch it := &items[i]; {
		case it.in == nil:
			ins = append(ins, r.number(it))
		case isForm(it.in):
			r.obey(r.loop.form.Receive(it.in.(Receive).Message))
		default:
			ins = append(ins, it.in)
		}
	}
	r.loop.ins = ins
	if len(ins) == 0 {
		return
	}
	began := time.Now()
	effects := m.core.Step(ins...)
	took := time.Since(began)
	r.meter.step.Observe(took)
	if tick {
		progress := m.core.Progress()
		r.progress.Store(&progress)
	}
	// What a caller is told must not be ahead of what it can ask next.
	r.publish(m)
	r.loop.timing.saw(r.status.Load(), ins, effects)
	r.dispatch(m, effects)
	if tick {
		r.beat(took)
	}
}

func isForm(in Input) bool {
	m, ok := in.(Receive)
	return ok && m.Message.Form != nil
}

// number makes the core's input of a request, and remembers who waits for it.
func (r *Runner) number(it *item) Input {
	r.loop.request++
	r.loop.waiters[r.loop.request] = it.waiter
	if it.waiter.write {
		r.fault("propose")
		if it.waiter.timed != nil {
			r.loop.timing.take(r.loop.request, it.waiter.timed)
		}
		return Propose{Request: r.loop.request, Command: it.command, Deadline: it.deadline}
	}
	r.fault("read-index")
	return ReadIndex{Request: r.loop.request, Deadline: it.deadline}
}

// dispatch hands the effects of one step out. None of it waits.
func (r *Runner) dispatch(m *member, effects []Effect) {
	var out []transport.Message // the transport may keep it
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			if !lost("send", &e.Message) {
				out = append(out, e.Message)
			}
		case Append, Prove, Truncate:
			m.workers.appends.put(e)
		case Apply, Flush, Install, Swap:
			m.workers.applies.put(e)
		case OpenImage, ReadImage, CloseImage, WriteImage, VerifyImage, DropImage:
			m.workers.images.put(e)
		case Linger:
			r.linger()
		case Scrub:
			m.workers.scrubs.put(e)
		case Repack:
			m.workers.repacks.put(e)
		case ProposeReply:
			var err error
			if e.Err != nil {
				err = e.Err
			}
			r.fault("before-answer")
			r.answer(e.Request, answer{result: e.Result, err: err})
		case ReadReply:
			r.fault("read-confirmed")
			r.answer(e.Request, answer{err: e.Err})
		case Reconfigure:
			r.reconfigured(m, e)
		case Stop:
			r.fail(e.Err)
		default:
			panic(fmt.Sprintf("node: unhandled effect %T", e))
		}
	}
	if len(out) > 0 {
		r.wire.Send(out)
	}
}

// linger has the core told when LingerTime is over.
func (r *Runner) linger() {
	if t := r.loop.linger; t != nil {
		t.Reset(LingerTime)
		return
	}
	r.loop.linger = time.AfterFunc(LingerTime, func() { r.inbox.report(Lingered{}) })
}

func (r *Runner) answer(request uint64, a answer) {
	w := r.loop.waiters[request]
	must(w != nil, "request %d is answered twice, or was never made", request)
	delete(r.loop.waiters, request)
	w.answer <- a
}

// answerAll answers who still waits when the loop has ended. What the core never
// saw has no effect; of what it had nobody can say.
func (r *Runner) answerAll() {
	for _, it := range r.inbox.close() {
		if it.waiter != nil {
			it.waiter.answer <- it.waiter.stopped(NotApplied)
		}
	}
	for _, w := range r.loop.waiters {
		w.answer <- w.stopped(Unknown)
	}
	clear(r.loop.waiters)
}

func (w *waiter) stopped(o Outcome) answer {
	if w.write {
		return answer{err: &WriteError{Outcome: o, Err: ErrStopped}}
	}
	return answer{err: ErrStopped}
}

// publish makes the core's status visible, if it changed.
func (r *Runner) publish(m *member) {
	st := m.core.Status()
	old := r.status.Load()
	if old != nil && sameStatus(*old, st) {
		return
	}
	st.Reachable = slices.Clone(st.Reachable) // the core's is valid until its next step
	r.status.Store(&st)
	defer r.changed.notify()
	if old == nil {
		return
	}
	if st.Leader != old.Leader && st.Leader != 0 {
		r.meter.leaderChanges.Add(1)
	}
	attrs := func() []any {
		return []any{
			slog.Uint64("term", st.Term), slog.Uint64("index", st.Commit),
			slogRevision(m.state()),
			slog.String("role", st.Role.String()), slog.Uint64("leader", st.Leader),
		}
	}
	switch {
	case st.Leader != old.Leader:
		r.log.Info("the leader changed", attrs()...)
	case st.Role != old.Role:
		r.log.Info("the role changed", attrs()...)
	case st.Term != old.Term:
		r.log.Info("the term changed", attrs()...)
	}
	if !slices.Equal(st.Reachable, old.Reachable) {
		r.log.Info("the reachable members changed", append(attrs(), slog.Any("reachable", st.Reachable))...)
	}
	if (st.Damage != nil) != (old.Damage != nil) {
		if st.Damage != nil {
			r.log.Error("the store is being rebuilt from a peer; nothing is served meanwhile", append(attrs(), slogError(st.Damage))...)
		} else {
			r.log.Info("the store is whole again", attrs()...)
		}
	}
	switch {
	case st.Disputed == old.Disputed:
	case st.Disputed:
		r.log.Error("another member's state differs from this one's, and no majority says whose is wrong: see docs/operations.md", attrs()...)
	default:
		r.log.Info("no other member's state is known to differ any more", attrs()...)
	}
	if st.StorageFull != old.StorageFull {
		r.log.Warn("the room on the disk changed", append(attrs(), slog.Bool("storage_full", st.StorageFull))...)
	}
}

// The keys that lines of the log share.
func slogError(err error) slog.Attr      { return slog.Any("error", err) }
func slogIndex(index uint64) slog.Attr   { return slog.Uint64("index", index) }
func slogRevision(s fsm.State) slog.Attr { return slog.Uint64("revision", uint64(s.Revision)) }

func sameStatus(a, b Status) bool {
	return a.ID == b.ID && a.Incarnation == b.Incarnation &&
		a.Role == b.Role && a.Leader == b.Leader && a.Term == b.Term &&
		a.Commit == b.Commit && a.Applied == b.Applied && a.Durable == b.Durable &&
		a.FreshAt == b.FreshAt && a.Fresh == b.Fresh &&
		a.StorageFull == b.StorageFull && a.Draining == b.Draining && a.FirstIndex == b.FirstIndex &&
		(a.Damage == nil) == (b.Damage == nil) && a.Disputed == b.Disputed && a.Proposals == b.Proposals && a.Reads == b.Reads &&
		slices.Equal(a.Reachable, b.Reachable)
}
