package node

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/confman/confman/fsm"
)

// errNoRoom means that the disk has not the room for a copy beside the database.
var errNoRoom = errors.New("there is no room for a copy beside it")

// repackLoop copies a database that is mostly free, a step at a time as the core asks.
func (r *Runner) repackLoop(m *member) {
	drain(r, m.workers.repacks, func(steps []Repack) bool {
		for _, s := range steps {
			done, err := r.repackStep(m, s.Budget)
			if errors.Is(err, fsm.ErrDamaged) {
				m.broken.Store(true) // the core gives the store up when it hears of it
				r.meter.damages.Add(1)
			}
			if err != nil {
				r.log.Warn("the database, which is mostly free, is not made smaller for now", slogError(err))
			}
			r.inbox.report(Repacked{Done: done, Err: err})
		}
		return true
	})
}

func (r *Runner) repackStep(m *member, budget int) (done bool, err error) {
	store := m.store.Load()
	if m.broken.Load() {
		return false, ErrRebuilding
	}
	p := m.repack.Load()
	if !p.Of(store) {
		if err := r.roomToRepack(store); err != nil {
			return false, err
		}
		if p, err = store.BeginRepack(); err != nil {
			return false, err
		}
		m.repack.Store(p)
	}
	if done, err = p.Step(budget); err != nil {
		err = errors.Join(err, p.Drop())
	}
	return done, err
}

// roomToRepack fails if a copy could take the room that log and database need, or bring the disk below its floor.
func (r *Runner) roomToRepack(store *fsm.Store) error {
	free, err := r.cfg.diskFree(r.cfg.Dir)
	if err != nil {
		return err
	}
	all, unused := store.Pages()
	used := int64(all-unused) * fsm.PageBytes
	if free < used+used/2+max(repackReserve, r.cfg.MinFreeBytes) {
		return fmt.Errorf("%s: %w: it has %d bytes, the copy takes %d", r.cfg.Dir, errNoRoom, free, used)
	}
	return nil
}

// swap makes the copy the database.
func (r *Runner) swap(m *member) {
	if r.failed() || m.broken.Load() {
		return
	}
	store, p := m.store.Load(), m.repack.Load()
	before, _ := store.Pages()
	err := p.Swap()
	switch {
	case errors.Is(err, fsm.ErrDamaged):
		r.damaged(m, err)
		return
	case errors.Is(err, fsm.ErrRepack):
		r.log.Warn("the database, which is mostly free, is not made smaller for now", slogError(errors.Join(err, p.Drop())))
	case err != nil:
		r.fail(fmt.Errorf("node: replacing the database by its copy: %w: the node stopped, because a failed sync cannot be trusted; see to the disk (space, health), then start the node again: it goes on with the one or the other", err))
		return
	}
	m.repack.Store(nil)
	pages, free := store.Pages()
	if err == nil {
		r.log.Info("the database, which was mostly free, is smaller", slog.Int64("bytes_before", int64(before)*fsm.PageBytes), slog.Int64("bytes", int64(pages)*fsm.PageBytes))
	}
	r.inbox.report(Swapped{Pages: pages, Free: free})
}
