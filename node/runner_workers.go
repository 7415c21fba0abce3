package node

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// workers do the effects that take time, and report each to the loop. An error
// stops the node: what a failed write or sync left behind cannot be known, so it
// is never tried again.
type workers struct {
	appends *queue[Effect] // Append, Prove, Truncate
	applies *queue[Effect] // Apply, Flush, Install, Swap
	scrubs  *queue[Scrub]
	repacks *queue[Repack]
	images  *queue[Effect] // the six of images
	flushes chan func()    // a flush or a swap
	// flushing counts what was put into flushes and is not done.
	flushing sync.WaitGroup

	running sync.WaitGroup
}

func (w *workers) start(r *Runner, m *member) {
	w.appends = newQueue[Effect]()
	w.applies = newQueue[Effect]()
	w.scrubs = newQueue[Scrub]()
	w.repacks = newQueue[Repack]()
	w.images = newQueue[Effect]()
	// The core has at most one flush or swap under way, so the applies never wait here.
	w.flushes = make(chan func(), 1)
	w.running.Go(func() { r.appendLoop(m) })
	w.running.Go(func() { r.prepareLoop(m) })
	w.running.Go(func() { r.applyLoop(m) })
	w.running.Go(func() { r.flushLoop(m) })
	w.running.Go(func() { r.scrubLoop(m) })
	w.running.Go(func() { r.repackLoop(m) })
	w.running.Go(func() { r.imageLoop(m) })
}

// stop waits until all have ended; r.stop must be closed.
func (w *workers) stop() { w.running.Wait() }

// drain calls do for everything put into q, until the node is to stop or do says
// false. What is left then was promised to nobody.
func drain[T any](r *Runner, q *queue[T], do func([]T) bool) {
	for {
		select {
		case <-r.stop:
			return
		case <-q.wake:
		}
		if items := q.take(); len(items) > 0 && !do(items) {
			return
		}
	}
}

// appendLoop writes the log: all that is queued in one write, where it is
// consecutive, and one sync. While it syncs, the next group gathers.
//
// The queue holds what the core has appended and not seen acknowledged: at most
// MaxProposalBytes on a leader, and on a follower what one leader may have in
// flight (maxInflightMessages, maxInflightBytes) in each term that passes meanwhile.
func (r *Runner) appendLoop(m *member) {
	drain(r, m.workers.appends, func(effects []Effect) bool {
		for len(effects) > 0 && !r.stopping() {
			n := 0
			for n < len(effects) {
				if _, ok := effects[n].(Append); !ok {
					break
				}
				n++
			}
			if err := r.appendGroup(m, effects[:n]); err != nil {
				r.fail(fmt.Errorf("node: writing the log: %w: the node stopped, because what a failed write left on the disk cannot be trusted; see to the disk (space, health), then start the node again", err))
				return false
			}
			if n < len(effects) {
				if err := r.tendLog(m, effects[n]); err != nil {
					r.fail(fmt.Errorf("%w: the node stopped, because a failed sync cannot be trusted; see to the disk (space, health), then start the node again", err))
					return false
				}
				n++
			}
			effects = effects[n:]
		}
		return true
	})
}

// prepareLoop makes the next segment of the log while the current one is filled, by small pieces: what is appended
// meanwhile waits for the same disk. Where there is not much room it makes none: a segment that is there already would have
// the log find the disk full only when the database, which must not, has found it before.
func (r *Runner) prepareLoop(m *member) {
	wanted, rested := m.log.Wanted(), (<-chan time.Time)(nil)
	for more := false; ; {
		if more {
			rested = time.After(prepareRest)
		}
		select {
		case <-r.stop:
			return
		case <-wanted:
			if r.tight() {
				continue // the next segment is allocated when it is needed
			}
		case <-rested:
		}
		rested = nil
		var err error
		if more, err = m.log.Prepare(); err != nil {
			r.fail(fmt.Errorf("node: preparing the log: %w: the node stopped, because a disk that fails cannot be trusted; see to the disk (space, health), then start the node again", err))
			return
		}
	}
}

// tendLog does a Prove or a Truncate, and reports it.
func (r *Runner) tendLog(m *member, e Effect) error {
	if t, ok := e.(Truncate); ok {
		if err := m.log.Truncate(t.Index); err != nil {
			return fmt.Errorf("node: truncating the log: %w", err)
		}
		r.inbox.report(Truncated{Full: m.log.Full()})
		return nil
	}
	if err := m.log.Prove(); err != nil {
		return fmt.Errorf("node: proving the log: %w", err)
	}
	r.inbox.report(Proved{Full: m.log.Full()})
	return nil
}

// appendGroup does Append effects and reports them together.
func (r *Runner) appendGroup(m *member, group []Effect) error {
	if len(group) == 0 {
		return nil
	}
	began := time.Now()
	for _, b := range mergeBatches(group) {
		if err := m.log.Append(b); err != nil {
			return err
		}
	}
	r.meter.logAppend.Observe(time.Since(began))
	r.inbox.report(Appended{Seq: group[len(group)-1].(Append).Seq, Full: m.log.Full()})
	return nil
}

// mergeBatches makes of the batches of consecutive Appends as few as may be, of
// which only the last asks for a sync: it covers those before it.
func mergeBatches(group []Effect) []wal.Batch {
	var out []wal.Batch
	sync, size := false, 0
	for _, e := range group {
		b := e.(Append).Batch
		sync = sync || b.Sync
		n := 0
		for _, ent := range b.Entries {
			n += entryBytes(ent)
		}
		if len(out) == 0 || size+n > maxMergeBytes || !continues(out[len(out)-1], b) {
			// What is merged grows in a slice of its own: the entries' is raft's.
			b.Entries = b.Entries[:len(b.Entries):len(b.Entries)]
			b.Sync = false
			out = append(out, b)
			size = n
			continue
		}
		last := &out[len(out)-1]
		last.Entries = append(last.Entries, b.Entries...)
		if b.HardState != nil {
			last.HardState = b.HardState
		}
		size += n
	}
	out[len(out)-1].Sync = sync
	return out
}

// continues reports whether b's entries follow a's without a gap and replace none. A
// snapshot marker is written alone: it comes before all else in its batch.
func continues(a, b wal.Batch) bool {
	if a.Snapshot != nil || b.Snapshot != nil {
		return false
	}
	if len(a.Entries) == 0 || len(b.Entries) == 0 {
		return true
	}
	return b.Entries[0].GetIndex() == a.Entries[len(a.Entries)-1].GetIndex()+1
}

// applyLoop applies what is committed, in order, freezes the overlay where the core
// asked for it, and installs images. The queue is bounded by what raft hands out to
// apply before it hears back (MaxApplyBytes), by one flush and one install. What is
// asked of a store that is damaged is not answered: the core gives it up.
func (r *Runner) applyLoop(m *member) {
	defer close(m.workers.flushes)
	drain(r, m.workers.applies, func(effects []Effect) bool {
		for _, e := range effects {
			if r.stopping() {
				return false
			}
			var err error
			switch e := e.(type) {
			case Install:
				if err = r.install(m, e.Index); err != nil {
					err = fmt.Errorf("node: installing the image of index %d: %w: start the node again, and it is completed", e.Index, err)
				}
			case Flush:
				if !m.broken.Load() {
					m.workers.flushing.Add(1)
					f := m.store.Load().BeginFlush()
					m.workers.flushes <- func() { r.flush(m, f) }
				}
			case Swap:
				if !m.broken.Load() {
					m.workers.flushing.Add(1)
					m.workers.flushes <- func() { r.swap(m) }
				}
			case Apply:
				if !m.broken.Load() {
					err = r.apply(m, e)
				}
			default:
				err = fmt.Errorf("node: %T is nothing to do with the store: this is a bug", e)
			}
			if err != nil {
				r.fail(err)
				return false
			}
		}
		return true
	})
}

func (r *Runner) apply(m *member, e Apply) error {
	store := m.store.Load()
	began := time.Now()
	results, err := store.Apply(e.Entries)
	if errors.Is(err, fsm.ErrDamaged) {
		r.damaged(m, err)
		return nil
	}
	if err != nil {
		return applyError(e, err)
	}
	r.meter.storeApply.Observe(time.Since(began))
	r.meter.appliedEntries.Add(uint64(len(e.Entries)))
	state := store.State()
	if err := r.keepMembership(m, &state); err != nil {
		return err
	}
	r.applied.notify()
	r.inbox.report(Applied{Results: results, State: state, OverlayBytes: store.OverlayBytes(), Tight: r.tight()})
	return nil
}

func applyError(e Apply, err error) error {
	first, last := e.Entries[0].Index, e.Entries[len(e.Entries)-1].Index
	what := "the node stopped before it could serve anything wrong; replace it"
	if errors.Is(err, fsm.ErrUnknownVersion) {
		what = "the node stopped before it, nothing is lost: start the release that the other members run"
	}
	return fmt.Errorf("node: applying entries %d to %d: %w: %s", first, last, err, what)
}

// flushLoop writes frozen overlays to the database, and makes copies the database. It ends after the applies,
// with none left: the flush at the end of a Close must be the only one under way.
func (r *Runner) flushLoop(m *member) {
	for do := range m.workers.flushes {
		do()
		m.workers.flushing.Done()
	}
}

func (r *Runner) flush(m *member, f *fsm.Flush) {
	if r.failed() || m.broken.Load() {
		return
	}
	began, bytes := time.Now(), f.Bytes()
	err := f.Commit()
	switch {
	case errors.Is(err, fsm.ErrDamaged):
		r.damaged(m, err)
	case err != nil:
		r.fail(fmt.Errorf("node: writing the database: %w: the node stopped, because a failed write cannot be trusted; see to the disk (space, health), then start the node again: the log holds what the database lacks", err))
	default:
		took := time.Since(began)
		r.meter.storeFlush.Observe(took)
		r.meter.flushedBytes.Add(uint64(bytes))
		r.flushed.notify()
		store := m.store.Load()
		pages, free := store.Pages()
		r.inbox.report(Flushed{Index: f.Applied(), Term: f.Term(), OverlayBytes: store.OverlayBytes(), Pages: pages, Free: free, Written: f.Written(), Took: took})
	}
}

// scrubLoop checks the database, a step at a time as the core asks.
func (r *Runner) scrubLoop(m *member) {
	drain(r, m.workers.scrubs, func(steps []Scrub) bool {
		for _, s := range steps {
			var err error
			if !m.broken.Load() {
				_, err = m.store.Load().Scrub(s.Budget)
			}
			if err != nil {
				m.broken.Store(true) // the core gives the store up when it hears of it
				r.meter.damages.Add(1)
			}
			r.inbox.report(Scrubbed{Err: err})
		}
		return true
	})
}
