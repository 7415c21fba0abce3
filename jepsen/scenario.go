package jepsen

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/linearizability"
)

// Scenario is a situation that is brought about on purpose, while clients are at work: its script takes the steps in order, makes
// sure that each did what it is for, and demands what must hold there. What clients saw is judged as that of any run.
type Scenario struct {
	Name   string
	Number int    // in the list of docs/chaos.md
	About  string // for people: what it brings about
	Needs  []Capability
	// Workloads are at work beside the script, with few clients (default: register; see Alone).
	Workloads []string
	Alone     bool // nobody is at work beside the script
	// Ground adds to what is run, such as the number of nodes; nil: three nodes and two spares.
	Ground func(o *LocalOptions)
	// Forms: the script starts the nodes itself.
	Forms bool
	// Clients is how many clients each workload has (default 2).
	Clients int
	// Blind: the nodes are of one cluster after the other, so what they say of themselves is not compared.
	Blind bool
	// Compacts: the change log may not be whole in the end. Else it must be: what is judged without it may be excused.
	Compacts bool
	// Variant is the program that it needs beside, or instead of, the one under test; "": none.
	Variant string
	// Lost: operations of which nobody knows what became are what this is about: there may be any number. Each workload must have had enough that
	// were answered all the same.
	Lost   bool
	Script func(ctx context.Context, s *Stage)
}

// scenarios are all there are, by name.
var scenarios = map[string]*Scenario{}

func scenario(s *Scenario) { scenarios[s.Name] = s }

// Scenarios are all there are, in the order of their numbers.
func Scenarios() []*Scenario {
	return slices.SortedFunc(maps.Values(scenarios), func(a, b *Scenario) int {
		if a.Number != b.Number {
			return a.Number - b.Number
		}
		return strings.Compare(a.Name, b.Name)
	})
}

// FindScenario is the one of that name.
func FindScenario(name string) (*Scenario, error) {
	if s, ok := scenarios[name]; ok {
		return s, nil
	}
	return nil, fmt.Errorf("jepsen: there is no scenario %q: %v are there", name, sortedKeys(scenarios))
}

// CannotBeMade says why a scenario cannot be made on a ground; nil: it can.
func (sc *Scenario) CannotBeMade(ground Ground) error {
	for _, need := range sc.Needs {
		has, known := false, true
		switch need {
		case Programs:
			_, has = ground.(programmer)
		case Descriptors:
			_, has = ground.(limiter)
		case Spoils:
			_, has = ground.(spoiler)
		case Beside:
			_, has = ground.(commander)
		default:
			known = false
		}
		if known && !has {
			return fmt.Errorf("%s: %w", need, errNotHere)
		}
		if known {
			continue
		}
		if err := ground.Can(need); err != nil {
			return err
		}
	}
	return nil
}

// Limits of a scenario.
const (
	scenarioClients = 2                     // of each workload
	scenarioPace    = 20 * time.Millisecond // of each client: the nodes share the machine with others
	stepTime        = 30 * time.Second      // for a step to bring about what it is for
	thinTime        = 10 * time.Second      // for clients to have had enough
)

// ErrPromise: what must hold in a situation did not.
var ErrPromise = errors.New("a promise was not kept")

// Perform plays a scenario on ground, which has nothing running, and judges what was seen, as Execute does.
func Perform(ctx context.Context, ground Ground, sc *Scenario, o Options) (*Result, error) {
	if err := sc.CannotBeMade(ground); err != nil {
		return nil, fmt.Errorf("jepsen: %s cannot be made here: %w", sc.Name, err)
	}
	o.Workloads, o.Nemeses = sc.Workloads, nil
	if o.Clients = sc.Clients; o.Clients == 0 {
		o.Clients = scenarioClients
	}
	if o.Pace == 0 {
		o.Pace = scenarioPace
	}
	r, err := newRun(ground, o)
	if err != nil {
		return nil, err
	}
	if sc.Alone {
		r.Workloads, r.Options.loads = nil, nil
	}
	loads, err := r.workloads()
	if err != nil {
		return nil, err
	}
	r.blind, r.compacts = sc.Blind, sc.Compacts || sc.Blind
	r.alone, r.loses = sc.Alone, sc.Lost
	defer r.minded(ctx, nil)()
	if !sc.Forms {
		if err := r.begin(ctx, loads); err != nil {
			return nil, err
		}
	}
	s := &Stage{Run: r, scenario: sc, Rng: r.rng("scenario " + sc.Name), keys: map[string]bool{}}
	var played error
	r.work(ctx, loads, func(ctx context.Context) {
		if played = s.play(ctx); played == nil {
			r.haveEnough(ctx)
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	res, err := r.conclude(ctx, append(loads, s), nil)
	if err != nil {
		return nil, err
	}
	if errors.Is(played, ErrPromise) {
		res.Wrong = append(res.Wrong, Wrong{Script, played.Error()})
	}
	res.Err = errors.Join(played, res.Err)
	return res, nil
}

// haveEnough has clients go on after a short script until each workload has had enough to prove something, or its time.
func (r *Run) haveEnough(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, thinTime)
	defer cancel()
	for {
		h, _ := r.history()
		if errors.Join(r.thin(&h, nil)...) == nil || !pause(ctx, pollEvery) {
			return
		}
	}
}

// ended is what a step panics with that ends its script.
type ended struct{ err error }

// play has the script take its steps, and undoes what it left broken.
func (s *Stage) play(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		switch over := recover().(type) {
		case nil:
		case ended:
			err = over.err
		default:
			panic(over)
		}
		cancel()
		s.beside.Wait()
		err = errors.Join(err, s.undoAll())
	}()
	s.scenario.Script(ctx, s)
	return nil
}

// undoAll undoes what is broken, the newest first.
func (s *Stage) undoAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), healTime)
	defer cancel()
	var errs []error
	for _, undo := range slices.Backward(s.undo) {
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

// Prepare is part of Workload: what a script asks itself is read back as that of workloads is.
func (*Stage) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (*Stage) Step(context.Context, *Caller) {}

// Settle is part of Workload.
func (s *Stage) Settle(ctx context.Context, r *Run) error {
	return r.readBack(ctx, slices.Values(sortedKeys(s.keys)))
}

// Judge is part of Workload.
func (*Stage) Judge(*linearizability.History) error { return nil }
