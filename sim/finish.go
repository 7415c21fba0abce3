package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

const (
	// settleTime bounds how long a healed cluster may take to agree, in virtual
	// time: many elections, and the whole log sent an entry at a time.
	settleTime = 2 * time.Minute

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
	w.scrubAll()
	w.readBack()
	w.settle()
	w.clients.watchLast()
	for _, r := range w.members() {
		w.inspect(r)
	}
	if w.err == nil {
		if by, err := w.judge.verdict(); err != nil {
			w.fail(by, "%w", err)
		}
	}
	w.afterlife()
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
	why := ""
	for w.err == nil {
		if why = w.unsettled(); why == "" {
			return
		}
		if w.now >= end-int64(settleTime/2) {
			w.decide()
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
func (w *World) decide() {
	if w.comparable() > len(w.nodes)/2 {
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

// comparable counts the members that have applied everything and are right.
func (w *World) comparable() int {
	n := 0
	for _, r := range w.members() {
		if r.formed() && !r.diverged {
			if s := r.core.Status(); s.Damage == nil && s.Applied == uint64(len(w.judge.slots)) {
				n++
			}
		}
	}
	return n
}

// unsettled says what keeps the world from rest, or nothing.
func (w *World) unsettled() string {
	if !w.clients.idle() {
		return "an operation has no outcome"
	}
	var first fsm.State
	members := w.members()
	for i, r := range members {
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
		st := r.db.State()
		if i == 0 {
			first = st
		}
		switch {
		case s.Leader == 0:
			return r.name + " knows no leader"
		case s.Proposals+s.Reads > 0:
			return fmt.Sprintf("%s has %d proposals and %d reads in flight", r.name, s.Proposals, s.Reads)
		case s.Applied != s.Commit || uint64(st.Applied) != s.Applied:
			return fmt.Sprintf("%s has committed %d and applied %d", r.name, s.Commit, s.Applied)
		case st.Applied != first.Applied:
			return fmt.Sprintf("%s is at index %d, %s at %d", r.name, st.Applied, members[0].name, first.Applied)
		case st.Hash != first.Hash || st.Revision != first.Revision:
			w.fail(JudgeState, "states differ at index %d: %s and %s", st.Applied, r.name, members[0].name)
		}
	}
	if int(first.Applied) != len(w.judge.slots) {
		return fmt.Sprintf("all are at index %d, and %d was applied before", first.Applied, len(w.judge.slots))
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
	o.closing = true
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
	for _, o := range c.ops {
		if o.closing {
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

func changedKeys(c *fsm.Change) []string {
	var keys []string
	for _, op := range c.Ops {
		keys = append(keys, op.Key)
	}
	return keys
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
	at := 0
	err = view.Changes(1, view.State().Revision, func(c fsm.Change) bool {
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
}

// inspectPast holds all records that a store had at some revision against the model.
func (w *World) inspectPast(r *replica, view *fsm.View) {
	rev := fsm.Revision(w.judge.views.Uint64N(uint64(view.State().Revision) + 1))
	then, err := view.At(rev)
	if err != nil {
		w.fail(JudgeState, "%s: the past at revision %d: %w", r.name, rev, err)
		return
	}
	defer then.Close()
	records, index := 0, w.judge.indexOf(rev)
	err = then.Scan("", "", func(rec fsm.Record) bool {
		records++
		w.judge.shows(r, "had", rec.Key, rev, index, rec, true)
		return w.err == nil
	})
	switch want := w.judge.model.records(index); {
	case err != nil:
		w.fail(JudgeState, "%s: the records at revision %d: %w", r.name, rev, err)
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
	switch want := w.judge.model.records(state.Applied); {
	case err != nil:
		w.fail(JudgeState, "%s: %w", r.name, err)
	case w.err == nil && records != want && !r.tainted:
		w.fail(JudgeState, "%s has %d records, want %d", r.name, records, want)
	}
}
