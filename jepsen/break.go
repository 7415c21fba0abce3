package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/confman/confman/linearizability"
)

// Bounds of what breaks things.
const (
	againEvery = 100 * time.Millisecond // a nemesis looks whether whom it wants is free
	againFor   = 10 * time.Second       // and then draws anew
	undoTime   = 90 * time.Second       // for a fault to be undone
)

// torment has one nemesis at work: nothing for a while, then a fault, which is undone. Each strike has draws of its own: what
// others are at decides when it is made, not which it is.
func (r *Run) torment(ctx context.Context, n *Nemesis) {
	for k := 0; ; k++ {
		purpose := fmt.Sprintf("nemesis %s %d", n.Name, k)
		rng := r.rng(purpose)
		wait, hold := between(rng, r.Quiet, 3*r.Quiet), between(rng, r.Held, 3*r.Held)
		if !pause(ctx, wait) {
			return
		}
		for began := time.Now(); ; {
			f, err := n.Strike(ctx, r, r.rng("strike of "+purpose))
			if err != nil && ctx.Err() == nil {
				r.Log("%s: %v", n.Name, err)
			}
			if f != nil {
				r.suffer(ctx, n.Name, f, hold)
				break
			}
			if err != nil || time.Since(began) > againFor {
				break
			}
			if !pause(ctx, againEvery) {
				return
			}
		}
	}
}

// suffer notes a fault that was made, and undoes it after its time.
func (r *Run) suffer(ctx context.Context, name string, f *Fault, hold time.Duration) {
	r.mu.Lock()
	sure := !r.unsure
	r.mu.Unlock()
	defer func() {
		if f.Felt != nil && !f.Felt() {
			r.Log("%s: nobody felt it: %s", name, f.Text)
			return
		}
		r.mu.Lock()
		r.fired[name]++
		r.mu.Unlock()
	}()
	e := linearizability.Event{Name: name, Nodes: f.Nodes, Text: f.Text}
	if sure {
		e.Minority = f.Minority
	}
	for _, l := range f.Links {
		if l.From != Clients && l.To != Clients {
			e.Links = append(e.Links, [2]string{l.From, l.To})
		}
	}
	id := r.Recorder.Begin(e)
	r.Log("%s: %s", name, f.Text)
	if f.Hold != 0 {
		hold = f.Hold
	}
	if f.Undo == nil {
		r.Recorder.End(id)
		return
	}
	wait, cancel := context.WithTimeout(ctx, hold)
	select {
	case <-wait.Done():
	case <-f.Until: // nil: never
	}
	cancel()
	if len(e.Minority) > 0 {
		r.Recorder.End(id) // they may have a majority as soon as the undoing begins
	}
	r.undo(name, f)
	if len(e.Minority) == 0 {
		r.Recorder.End(id)
	}
}

// undo makes whole what a fault broke, though the run may be over.
func (r *Run) undo(name string, f *Fault) {
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	if err := f.Undo(ctx); err != nil {
		r.Log("%s: cannot be undone: %v", name, err)
		r.mend("%s could not undo %q: %v", name, f.Text, err)
	}
}

// made is the fault that a nemesis made; or, if making it ended with an error, none, and what was made of it is undone.
func made(ctx context.Context, f *Fault, err error) (*Fault, error) {
	if err == nil {
		return f, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	return nil, errors.Join(err, f.Undo(ctx))
}

// job has work go on beside the nemesis that began it. It is not broken off when the run's time is over: whoever undoes the fault
// waits for it, and ends it, by its context, only when there is no time left. Once is closed when it has ended.
func job(ctx context.Context, work func(ctx context.Context) error) (once <-chan struct{}, end func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	var err error
	go func() {
		defer close(over)
		err = work(ctx)
	}()
	return over, func(ctx context.Context) error {
		defer cancel()
		select {
		case <-over:
		case <-ctx.Done():
			cancel()
			<-over
		}
		return err
	}
}

// Claim gives machines to one fault until it releases them; false, and none: another fault has one of them. A fault that
// stops, starts or damages a node must have it. Other things that only one fault may have at a time have names, too.
func (r *Run) Claim(names ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		if r.claimed[name] {
			return false
		}
	}
	for _, name := range names {
		r.claimed[name] = true
	}
	return true
}

// What can be claimed beside machines.
const (
	membership = "the members"     // who is one changes
	soundness  = "damage to disks" // one disk is damaged at a time
)

// Release gives back what Claim gave.
func (r *Run) Release(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		delete(r.claimed, name)
	}
}

func (r *Run) claims() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sortedKeys(r.claimed)
}

// BreakLinks adds a fault's conditions to those of other faults; restore takes them away again.
func (r *Run) BreakLinks(ctx context.Context, links map[Link]Condition) (restore func(context.Context) error, err error) {
	r.breaking.Lock()
	defer r.breaking.Unlock()
	r.nextID++
	id := r.nextID
	r.rules[id] = links
	restore = func(ctx context.Context) error {
		r.breaking.Lock()
		defer r.breaking.Unlock()
		delete(r.rules, id)
		return r.setLinks(ctx)
	}
	if err := r.setLinks(ctx); err != nil {
		delete(r.rules, id)
		return nil, errors.Join(err, r.setLinks(context.WithoutCancel(ctx)))
	}
	return restore, nil
}

// setLinks needs breaking.
func (r *Run) setLinks(ctx context.Context) error {
	all := map[Link]Condition{}
	for _, rule := range r.rules {
		for l, c := range rule {
			all[l] = all[l].merge(c)
		}
	}
	return r.Ground.SetLinks(ctx, all)
}

// SetDisk makes a machine's disk such, and notes it.
func (r *Run) SetDisk(ctx context.Context, name string, d DiskState) error {
	r.mu.Lock()
	r.disks[name] = d
	r.mu.Unlock()
	if d.ReadError {
		r.harmed(name)
	}
	if err := r.Ground.SetDisk(ctx, name, d); err != nil {
		return fmt.Errorf("jepsen: the disk of %s: %w", name, err)
	}
	return nil
}

// SetClock has a machine's wall clock tell another time, and notes it.
func (r *Run) SetClock(ctx context.Context, name string, c Clock) error {
	r.mu.Lock()
	r.clocks[name] = c
	r.mu.Unlock()
	if err := r.Ground.SetClock(ctx, name, c); err != nil {
		return fmt.Errorf("jepsen: the clock of %s: %w", name, err)
	}
	return nil
}

// mend notes that something was left broken by who should have undone it.
func (r *Run) mend(format string, args ...any) {
	r.mu.Lock()
	r.mended = append(r.mended, fmt.Sprintf(format, args...))
	r.mu.Unlock()
}

// heal makes everything whole, and waits until all nodes serve. It is the last resort: what it has to mend, a nemesis left broken.
func (r *Run) heal(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healTime)
	defer cancel()
	again := r.unminded(ctx)
	defer again()
	r.mu.Lock()
	had := len(r.mended)
	r.mu.Unlock()
	if len(r.rules) > 0 {
		r.mend("links were broken")
	}
	if err := r.Ground.SetLinks(ctx, nil); err != nil {
		return err
	}
	for _, name := range r.claims() {
		r.mend("%s was claimed", name)
		r.Release(name)
	}
	for _, name := range sortedKeys(r.machines) {
		if err := r.healMachine(ctx, name); err != nil {
			return err
		}
	}
	again()
	r.mu.Lock()
	left := r.mended[had:]
	r.mu.Unlock()
	for _, what := range left {
		r.Log("left broken: %s", what)
	}
	return r.awaitReady(ctx, healTime)
}

func (r *Run) healMachine(ctx context.Context, name string) error {
	r.mu.Lock()
	paused, disk, clock := r.paused[name], r.disks[name], r.clocks[name]
	r.mu.Unlock()
	if paused {
		r.mend("%s was stopped", name)
		if err := r.ResumeNode(ctx, name); err != nil {
			return err
		}
	}
	if disk != (DiskState{}) {
		r.mend("the disk of %s was broken: %v", name, disk)
		if err := r.SetDisk(ctx, name, DiskState{}); err != nil {
			return err
		}
	}
	if clock != (Clock{}) {
		r.mend("the clock of %s was wrong: %v", name, clock)
		if err := r.SetClock(ctx, name, Clock{}); err != nil {
			return err
		}
	}
	if !slices.Contains(r.Members(), name) || r.Ground.Runs(name) {
		return nil
	}
	l := r.last(name)
	if l != nil {
		if err := l.await(ctx); err != nil { // how it ended is about to be known
			return err
		}
	}
	if l == nil || !l.alone() {
		r.mend("%s did not run", name)
	}
	if !r.Claim(name) {
		return fmt.Errorf("jepsen: %s is down, and is not given back", name)
	}
	defer r.Release(name)
	return r.Revive(ctx, name)
}

// some draws n of names, in order.
func some(rng *rand.Rand, names []string, n int) []string {
	names = slices.Clone(names)
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:n]
	slices.Sort(names)
	return names
}

// one draws one of names.
func one[T any](rng *rand.Rand, names []T) T { return names[rng.IntN(len(names))] }
