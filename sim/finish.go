package sim

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/node"
)

const (
	// settleTime bounds how long a healed cluster may take to agree, in virtual
	// time: many elections, and the whole log sent an entry at a time.
	settleTime = 2 * time.Minute

	// stillTime is how long what is on its way may take to arrive everywhere.
	stillTime = 5 * time.Second

	// settleStep is how often it is looked at.
	settleStep = 50 * time.Millisecond

	// closingTime bounds how long a healed node may refuse the last operation
	// through it: its disk may have been full until now, and it looks for room only
	// once a second.
	closingTime = 20 * time.Second

	// maxFilling bounds the writes of fillingBytes until a disk without room shows: the log
	// has the rest of a segment and a reserve.
	maxFilling   = 60
	fillingBytes = 3 << 10
)

// finish ends the faults and demands that the cluster comes to rest: everything
// has an outcome, every node serves reads and writes, and all agree.
func (w *World) finish() {
	if w.err != nil {
		return
	}
	w.nemesis.end()
	w.clients.over = true
	w.settle()
	for _, kind := range []linearizability.Kind{linearizability.Put, linearizability.Read} {
		for _, r := range w.members() {
			w.closing(r, kind)
		}
	}
	w.settle()
	w.fillLast()
	w.settle()
	w.passTime()
	w.drainLast()
	w.settle()
	w.scrubAll()
	w.readBack()
	w.settle()
	w.clients.watchLast()
	w.still()
	for _, r := range w.members() {
		w.inspect(r)
	}
	if w.err == nil {
		if by, err := w.judge.verdict(); err != nil {
			w.fail(by, "%w", err)
		}
	}
	w.afterlife()
	for _, r := range w.members() {
		if !r.tainted {
			w.inspect(r)
		}
	}
}

// still lets no more time pass at the nodes, whose leader would have them maintain themselves
// for ever, until all are at the same index.
func (w *World) still() {
	apart := func() bool {
		members := w.members()
		return slices.ContainsFunc(members, func(r *replica) bool {
			return r.db.State().Applied != fsm.Index(len(w.judge.slots)) || r.core.Status().Applied != uint64(len(w.judge.slots))
		})
	}
	for end := w.now + int64(settleTime); w.err == nil; w.settle() {
		w.ticksOff = true
		for calm := w.now + int64(stillTime); w.err == nil && apart() && w.now < calm; {
			w.run(w.now + int64(settleStep))
		}
		if w.err != nil || !apart() {
			return
		}
		if w.now > end {
			w.fail(JudgeLive, "not live: %v after the last fault the nodes are not at one index, though nothing happens", settleTime)
		}
		w.ticksOff = false // something was lost that only time brings back
	}
}

const (
	// idleMaintenances is how many intervals of maintenance a leader that has nothing to do may take for one.
	idleMaintenances = 10
	// drainTime bounds how long a leader that drains leads on though another voter could.
	drainTime = 20 * time.Second
)

// passTime demands that replicated time goes on, whatever the leader has had in its log beside Maintenances.
func (w *World) passTime() {
	interval := w.setup.node.MaintenanceInterval
	if w.err != nil || interval <= 0 {
		return
	}
	before := w.judge.model.time
	for end := w.now + 2*idleMaintenances*int64(interval) + int64(closingTime); w.err == nil && w.judge.model.time == before; {
		if w.now >= end {
			w.fail(JudgeLive, "not live: replicated time has stood at %v for %v, and it is maintained every %v", before, time.Duration(w.now-end)+2*idleMaintenances*interval+closingTime, interval)
		}
		w.run(w.now + int64(settleStep))
	}
}

// drainLast has the leader drain: another voter must lead soon, and does not hand back.
func (w *World) drainLast() {
	r := w.leader()
	if w.err != nil || w.setup.members == 0 || r == nil || w.rngNodes.IntN(2) == 0 {
		return
	}
	others := 0
	for _, m := range w.members() {
		if m != r && slices.Contains(w.judge.model.members().conf.voters, m.id) {
			others++
		}
	}
	if others == 0 {
		return
	}
	w.judge.count("leader drains in the end")
	r.take(node.Drain{On: true})
	for end := w.now + int64(drainTime); w.err == nil && r.leads(); {
		if w.now >= end {
			w.fail(JudgeLive, "not live: %s drains, and leads for %v though %d others could", r.name, drainTime, others)
		}
		w.run(w.now + int64(settleStep))
	}
	if r.formed() {
		r.take(node.Drain{})
	}
}

// fillLast takes all room from the leader's disk, and gives it back when nobody writes any
// more: it must find out by itself.
func (w *World) fillLast() {
	g := newGenerator(w.opts.Seed, "last full disk")
	i := slices.IndexFunc(w.nodes, (*replica).leads)
	if w.err != nil || w.setup.mix == Calm || g.IntN(4) != 0 || i < 0 || w.opts.hooks.log != nil { // a planted log may not look for room
		return
	}
	r := w.nodes[i]
	r.disk.Capacity = 1
	full := func() bool { return r.formed() && r.core.Status().StorageFull }
	for range maxFilling {
		if w.err != nil || full() {
			break
		}
		o := w.closingOp(r, 0)
		o.op.Kind, o.op.Key, o.op.Value = linearizability.Put, "closing."+r.name, fmt.Sprintf("v%d%s", o.op.ID, strings.Repeat(".", fillingBytes))
		w.clients.call(o)
		w.await(o)
	}
	if full() {
		w.judge.count("disk full in the end")
		w.run(w.now + 3*int64(time.Second)) // it is idle, and looks for room in vain
	}
	r.disk.Capacity = 0
	for end := w.now + int64(closingTime); w.err == nil && full(); {
		if w.now >= end {
			w.fail(JudgeLive, "not live: the disk of %s has had room for %v, and it does not know", r.name, closingTime)
		}
		w.run(w.now + int64(settleStep))
	}
}

// scrubAll gives the scrub the time to find what the world has damaged: a step is a
// whole pass over a store as small as these.
func (w *World) scrubAll() {
	for _, r := range w.members() {
		if r.tainted && w.err == nil {
			w.run(w.now + 3*int64(w.setup.node.ScrubInterval))
			w.settle()
			return
		}
	}
}

// settle runs the world until all nodes agree.
func (w *World) settle() {
	end := w.now + int64(settleTime)
	why, through := "", uint64(0)
	for w.err == nil {
		if through == 0 && w.clients.idle() {
			through = w.through()
		}
		if why = w.unsettled(through); why == "" {
			return
		}
		if w.now >= end-int64(settleTime/2) {
			w.decide(through)
		}
		if w.now >= end {
			w.fail(JudgeLive, "not live: %v after the last fault %s", settleTime, why)
			return
		}
		w.run(w.now + int64(settleStep))
	}
}

// decide is what an operator does about members whose states differ when no majority
// can say whose is wrong, since another is too far behind: the one that is known to be
// wrong starts again without its store.
func (w *World) decide(through uint64) {
	if conf := w.judge.model.members().conf; conf.quorate(w.comparable(through)) {
		return // they must have found out
	}
	for _, r := range w.members() {
		if r.diverged && r.up {
			w.judge.count("operator decides a dispute")
			r.crash(killed)
			r.loseStoreFile()
		}
	}
}

// through is up to where anybody knows the log to be committed.
func (w *World) through() uint64 {
	n := uint64(len(w.judge.slots))
	for _, r := range w.members() {
		if r.formed() {
			n = max(n, r.core.Status().Commit)
		}
	}
	return n
}

// comparable tells of a member whether it has applied all up to an index and is right.
func (w *World) comparable(through uint64) func(id uint64) bool {
	return func(id uint64) bool {
		r := w.machine(id)
		if !r.formed() || r.diverged || r.aside || r.forgot {
			return false
		}
		s := r.core.Status()
		return s.Damage == nil && s.Applied >= through
	}
}

// unsettled says what keeps the world from rest, or nothing: all must have applied what was
// committed when no client wanted anything any more. A leader's Maintenances go on.
func (w *World) unsettled(through uint64) string {
	if !w.clients.idle() {
		return "an operation has no outcome"
	}
	if why := w.operator.waits(); why != "" {
		return why
	}
	if why := w.unlikeWanted(); why != "" {
		return why
	}
	for _, r := range w.members() {
		if !r.formed() {
			waiting := ""
			if r.form != nil {
				waiting = ": " + strings.Join(r.form.Waiting(), "; ")
			}
			return r.name + " takes no part" + waiting
		}
		s := r.core.Status()
		if s.Damage != nil {
			return fmt.Sprintf("%s serves nothing: %v", r.name, s.Damage)
		}
		if r.diverged {
			return r.name + " does not know that its state is wrong"
		}
		switch st := r.db.State(); {
		case s.Leader == 0:
			return r.name + " knows no leader"
		case s.Proposals+s.Reads > 0:
			return fmt.Sprintf("%s has %d proposals and %d reads in flight", r.name, s.Proposals, s.Reads)
		case s.Applied < through || uint64(st.Applied) < through:
			return fmt.Sprintf("%s is at index %d, and %d was committed before", r.name, st.Applied, through)
		}
	}
	return ""
}

// closing demands that a node serves one more operation.
func (w *World) closing(r *replica, kind linearizability.Kind) {
	for end := w.now + int64(closingTime); w.now < end; {
		if w.err != nil || r.out {
			return
		}
		o := w.closingOp(r, 0)
		o.op.Kind, o.op.Key = kind, "closing."+r.name
		if kind == linearizability.Put {
			o.op.Value = fmt.Sprintf("v%d", o.op.ID)
		}
		w.clients.call(o)
		w.await(o)
		if o.op.Outcome == linearizability.Applied || o.op.Outcome == linearizability.ReadDone {
			return
		}
	}
	w.fail(JudgeLive, "not live: %s does not serve a %s although all is well", r.name, kind)
}

func (w *World) closingOp(r *replica, slot int) *operation {
	o := w.clients.add(slot, len(w.clients.clients)+int(r.id), r)
	o.closing, o.principal = true, w.judge.sovereign()
	return o
}

func (w *World) await(o *operation) {
	for !o.done && w.err == nil {
		w.run(w.now + int64(settleStep))
	}
}

// readBack reads all that clients ever used, as it is at each node and once with a
// quorum: the judges of the history see what became of everything.
func (w *World) readBack() {
	var reads []*operation
	var whole []*replica
	for _, r := range w.members() {
		if !r.tainted {
			whole = append(whole, r)
		}
	}
	for i, u := range w.clients.used() {
		if w.err != nil || len(whole) == 0 {
			return
		}
		o := w.closingOp(whole[i%len(whole)], u.slot)
		o.readAll(u.keys)
		reads = append(reads, o)
		for _, r := range whole {
			for _, key := range u.keys {
				o := w.closingOp(r, u.slot)
				o.op.Kind, o.op.Key = linearizability.Local, key
				reads = append(reads, o)
			}
		}
	}
	for _, o := range reads {
		w.judge.count("read back")
		w.clients.call(o)
	}
	for _, o := range reads {
		w.await(o)
		if w.err == nil && o.op.Outcome != linearizability.ReadDone {
			w.fail(JudgeLive, "not live: %s does not serve %v although all is well", o.node.name, &o.op)
		}
	}
}

// usedKeys are keys that belong together, as long as their slot had them.
type usedKeys struct {
	slot int
	keys []string
}

// used are all keys that clients named, in the order in which they came up.
func (c *clients) used() []*usedKeys {
	var out []*usedKeys
	byName := map[string]*usedKeys{}
	known := map[string]bool{}
	for _, o := range c.own() {
		if o.closing || o.governs() {
			continue
		}
		u := byName[o.name]
		if u == nil {
			u = &usedKeys{slot: o.slot}
			byName[o.name] = u
			out = append(out, u)
		}
		for _, key := range o.keys() {
			if !known[key] {
				known[key] = true
				u.keys = append(u.keys, key)
			}
		}
	}
	return out
}

func changedOps(c *fsm.Change) []modelOp {
	var out []modelOp
	for _, op := range c.Ops {
		out = append(out, modelOp{kind: op.Kind, key: op.Key, old: op.Old})
	}
	return out
}

// inspect looks at all that a node's store holds.
func (w *World) inspect(r *replica) {
	if w.err != nil {
		return
	}
	view, err := r.db.View()
	if err != nil {
		w.fail(JudgeState, "%s: %w", r.name, err)
		return
	}
	defer view.Close()
	if err := fsm.VerifyChain(context.Background(), view); err != nil {
		w.fail(JudgeState, "%s: %w", r.name, err)
		return
	}
	if err := w.judge.state(r, view.State()); err != nil && !r.tainted {
		w.fail(JudgeState, "%w", err)
		return
	}
	at := 0
	if floor := view.State().Floor; floor > 0 {
		at = w.judge.model.place(floor) + 1
	}
	err = view.Changes(view.State().Floor+1, view.State().Revision, func(c fsm.Change) bool {
		at++
		if err := w.judge.model.logged(&c); err != nil {
			w.fail(JudgeState, "%s: %w", r.name, err)
		}
		return w.err == nil
	})
	if err != nil {
		w.fail(JudgeState, "%s: %w", r.name, err)
		return
	}
	if w.err == nil && at != len(w.judge.model.changes) {
		w.fail(JudgeState, "%s: the change log has %d changes, want %d", r.name, at, len(w.judge.model.changes))
	}
	w.inspectRecords(r, view)
	w.inspectPast(r, view)
	w.inspectAnswers(r, view)
	if r.tainted || w.err != nil {
		return
	}
	r.checked = heldPolicy{}
	w.judge.ruledBy(r, view)
	if err := w.judge.audited(view, math.MaxInt); err != nil {
		w.fail(JudgeState, "%s: %w", r.name, err)
	}
}

// inspectAnswers: of each idempotency key that was ever used what became of it is remembered,
// if the model remembers it.
func (w *World) inspectAnswers(r *replica, view *fsm.View) {
	m := &w.judge.model.answers
	for _, name := range slices.Sorted(maps.Keys(m.asked)) {
		cmd := m.asked[name]
		have, found, err := view.Answer(&cmd.Principal, &cmd.Idempotency)
		want, known := m.recall(cmd)
		switch {
		case err != nil:
		case found != known || have.Outcome != want.outcome || have.Revision != want.revision:
			err = fmt.Errorf("it is %v at revision %d (remembered: %v), want %v at %d (remembered: %v)", have.Outcome, have.Revision, found, want.outcome, want.revision, known)
		case found:
			err = sameResult(&have, &want)
		}
		if err != nil && !r.tainted {
			w.fail(JudgeState, "%s: what became of %q: %w", r.name, cmd.Idempotency.Key, err)
		}
	}
}

// inspectPast holds all records that a store had at some revision against the model.
func (w *World) inspectPast(r *replica, view *fsm.View) {
	rev := w.judge.drawRevision(view.State().Revision)
	then := w.judge.then(r, view, rev)
	if then == nil {
		return
	}
	defer then.Close()
	records, index, m := 0, w.judge.indexOf(rev), &w.judge.model
	lost, ended := m.lostAmong(m.known(""), rev, view.State().Applied)
	err := then.Scan("", "", func(rec fsm.Record) bool {
		records++
		w.judge.shows(r, "had", rec.Key, rev, index, rec, true)
		return w.err == nil
	})
	switch want := m.records(index, lost); {
	case ended != 0 && compactedAt(err) == ended && records == want:
		w.judge.count("past version trimmed")
	case err != nil || ended != 0:
		w.fail(JudgeState, "%s: %d records at revision %d: %w, want %d before %q is not held", r.name, records, rev, err, want, lost)
	case w.err == nil && records != want && !r.tainted:
		w.fail(JudgeState, "%s had %d records at revision %d, want %d", r.name, records, rev, want)
	}
	w.judge.count("past inspected")
}

// inspectRecords holds all records of a store against the model.
func (w *World) inspectRecords(r *replica, view *fsm.View) {
	records, state := 0, view.State()
	err := view.Scan("", "", func(rec fsm.Record) bool {
		records++
		w.judge.read(r, state, rec.Key, rec, true)
		return w.err == nil
	})
	switch want := w.judge.model.records(state.Applied, ""); {
	case err != nil:
		w.fail(JudgeState, "%s: %w", r.name, err)
	case w.err == nil && records != want && !r.tainted:
		w.fail(JudgeState, "%s has %d records, want %d", r.name, records, want)
	}
}
