package sim

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// How many of bbolt's pages are free is not the same in two runs of a seed (see image.go), so a
// world says itself whether most are. What a step copies and checks is the same: it counts
// records, not pages.

// repacking draws how often databases are copied into new files, and in what steps.
func (s *setup) repacking(g generator) {
	s.sparse = pick(g, 0, 0.02, 0.3, 1)
	n := &s.node
	n.RepackBytes = 1
	n.RepackStepBytes = pick(g, 0, 16<<10, 4<<10, 1<<10)
	n.RepackPause = g.some(time.Second, 30*time.Second)
}

// storePages is how many pages the core is told that a database has.
const storePages = 2

// freePages is how many of them it is told are free.
func (r *replica) freePages() int {
	if r.packs.chance(r.w.setup.sparse) {
		return storePages
	}
	return 0
}

func (r *replica) startRepack(budget int) {
	w := r.w
	w.after(r.packs.between(0, 2*w.setup.disk.flush), event{kind: evRepacked, node: r, life: r.life, n: uint64(budget)})
}

// repacked is the end of a Repack.
func (r *replica) repacked(budget int) {
	s := &r.storage
	if s.broken || r.db == nil {
		r.take(node.Repacked{Err: errBroken})
		return
	}
	done, err := r.repackStep(budget)
	if err != nil && !r.tainted {
		r.w.fail(JudgeState, "%s: a copy of the store that nobody damaged fails: %w", r.name, err)
		return
	}
	if err != nil {
		r.w.judge.count("copy of a damaged store fails")
	}
	if errors.Is(err, fsm.ErrDamaged) {
		s.broken = true
	}
	r.take(node.Repacked{Done: done, Err: err})
}

var errBroken = errors.New("the store is given up")

func (r *replica) repackStep(budget int) (done bool, err error) {
	s := &r.storage
	if !s.repack.Of(r.db) {
		if s.repack, err = r.db.BeginRepack(); err != nil {
			return false, err
		}
		r.w.judge.count("copy begun")
	}
	if done, err = s.repack.Step(budget); err != nil {
		err = errors.Join(err, s.repack.Drop())
	}
	return done, err
}

// startSwap begins a Swap: like a flush it is beside what is applied.
func (r *replica) startSwap() {
	s := &r.storage
	s.swapping = true
	s.swaps++
	r.w.after(r.latency(r.w.nemesis.disk.flush), event{kind: evSwapped, node: r, life: r.life, n: s.swaps})
}

// swapped is the end of a Swap.
func (r *replica) swapped(which uint64) {
	s := &r.storage
	if s.broken || !s.swapping || which != s.swaps {
		return // it was of a store that is given up
	}
	in, err := r.swap()
	if errors.Is(err, fsm.ErrDamaged) {
		r.damage(err)
		return
	}
	if err != nil {
		r.w.fail(JudgeStop, "%s: swapping in a copy: %w", r.name, err)
		return
	}
	r.take(in)
}

// swap does a Swap to its end. The store must be what it was, and the file one that opens at
// what the node wrote last, should it crash now.
func (r *replica) swap() (node.Input, error) {
	s := &r.storage
	s.swapping = false
	before := r.db.State()
	if err := s.repack.Swap(); err != nil {
		return nil, err
	}
	s.repack = nil
	r.w.judge.count("copy swapped in")
	if st := r.db.State(); st.Hash != before.Hash || st.Applied != before.Applied {
		r.w.fail(JudgeState, "%s: the swap took the store from index %d to %d, or changed its hash", r.name, before.Applied, st.Applied)
	}
	state, err := fsm.VerifyImage(r.store, r.storeOptions())
	if err != nil {
		return nil, fmt.Errorf("the copy: %w", err)
	}
	if state.Applied != r.lastDurable {
		r.w.fail(JudgeState, "%s: the copy that became the store is at index %d, the node had written %d", r.name, state.Applied, r.lastDurable)
	}
	if _, err := os.Stat(r.store + ".pack"); err == nil {
		r.w.fail(JudgeState, "%s: the copy is still beside the store", r.name)
	}
	// All of it was read and written anew: what the world damaged in the file and nobody
	// found was in pages that nobody used.
	if r.rotted && r.strayed == 0 && !r.misled {
		r.rotted = false
		if !r.diverged {
			r.mended()
		}
	}
	return node.Swapped{Pages: storePages, Free: r.freePages()}, nil
}
