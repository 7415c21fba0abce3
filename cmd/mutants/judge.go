package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/confman/confman/planted"
)

// canarySeeds is within how many seeds the canary is found: it breaks what every
// world does many times.
const canarySeeds = 5

// holeSeeds is how many seeds a mutant gets whose patch says why none catches it. It
// fails the run in any case; that they are few makes room for the others, and
// that there are some shows when the hole was closed.
const holeSeeds = 100

// runner judges mutants.
type runner struct {
	root         string // of the module
	dir          string // temporary, for all that is built
	seeds        int
	controlSeeds int
	from         uint64
	jobs         int
	worldTime    time.Duration
	budget       time.Duration

	control string // the program without a planted bug
}

// result is what became of one mutant.
type result struct {
	mutant mutant
	caught *verdict // nil: not caught
	seeds  int      // needed, or run in vain
	took   time.Duration
	err    error // why the run fails; nil: caught as it should be
}

// errSurvived means that no judge complained.
var errSurvived = errors.New("it survives")

// trust makes sure that the rest means something: nothing is found where nothing is
// planted, and the canary is.
func (r *runner) trust(ctx context.Context, all []mutant, t *table) error {
	if err := r.checkControl(ctx, t); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	canary, ok := find(all, canaryName)
	if !ok {
		return fmt.Errorf("there is no %s", filepath.Join(mutantsDir, canaryName+planted.Suffix))
	}
	limited := *r
	limited.seeds = canarySeeds
	if res := limited.judge(ctx, canary); res.err != nil {
		return fmt.Errorf("canary: it must be caught within %d seeds: %w", canarySeeds, res.err)
	}
	t.say("canary: caught")
	return nil
}

// checkControl builds the control and runs it.
func (r *runner) checkControl(ctx context.Context, t *table) error {
	ctx, cancel := r.bound(ctx)
	defer cancel()
	dir := filepath.Join(r.dir, "control")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	var err error
	if r.control, err = planted.Build(ctx, r.root, dir, "./cmd/sim", nil); err != nil {
		return err
	}
	h, found, err := r.hunt(ctx, r.control, nil, r.from, r.controlSeeds)
	if err != nil {
		return err
	}
	if found != nil {
		return fmt.Errorf("the code fails with nothing planted in it: seed %d: %s", found.Seed, found.Failure)
	}
	t.say("control: %d seeds without a planted bug are clean, %v", r.controlSeeds, h.took.Round(time.Second))
	return nil
}

// bound gives what is done with ctx the runner's budget of real time.
func (r *runner) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, r.budget, fmt.Errorf("the budget of %v is used up", r.budget))
}

// judge plants m and hunts for it.
func (r *runner) judge(ctx context.Context, m mutant) (res result) {
	ctx, cancel := r.bound(ctx)
	defer cancel()
	res = result{mutant: m}
	dir := filepath.Join(r.dir, m.Name)
	if res.err = os.Mkdir(dir, 0o700); res.err != nil {
		return res
	}
	defer func() { res.err = errors.Join(res.err, os.RemoveAll(dir)) }()
	overlay, err := m.Apply(ctx, r.root, dir)
	if err != nil {
		res.err = err
		return res
	}
	bin, err := planted.Build(ctx, r.root, dir, "./cmd/sim", overlay)
	if err != nil {
		res.err = err
		return res
	}
	seeds := r.seeds
	if m.hole != "" {
		seeds = min(seeds, holeSeeds)
	}
	h, found, err := r.hunt(ctx, bin, m.world, r.from, seeds)
	res.took = h.took
	switch {
	case err != nil:
		res.err = err
	case found == nil:
		res.seeds = seeds
		res.err = errSurvived
		if m.hole != "" {
			res.err = fmt.Errorf("%w, a hole: %s", errSurvived, m.hole)
		}
	default:
		res.caught, res.seeds = found, int(found.Seed-r.from+1)
		res.err = r.deserved(ctx, &m, found)
	}
	return res
}

// deserved says what is wrong with how m was caught, nil if nothing is.
func (r *runner) deserved(ctx context.Context, m *mutant, found *verdict) error {
	if !slices.Contains(m.judges, found.Judge) {
		return fmt.Errorf("it is caught by accident: the judge is %q, its patch names %q", found.Judge, m.judges)
	}
	_, clean, err := r.hunt(ctx, r.control, m.world, found.Seed, 1)
	if err != nil {
		return err
	}
	if clean != nil {
		return fmt.Errorf("seed %d fails without it too: %s", found.Seed, clean.Failure)
	}
	return nil
}

func (r *runner) hunt(ctx context.Context, bin string, world []string, from uint64, seeds int) (*hunt, *verdict, error) {
	h := &hunt{bin: bin, world: append([]string{"--time", r.worldTime.String()}, world...), from: from, seeds: seeds, jobs: r.jobs}
	found, err := h.run(ctx)
	return h, found, err
}
