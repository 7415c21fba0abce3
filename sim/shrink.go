package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxShrinkRuns bounds the worlds that Shrink runs. Past it what is small by then
	// is the answer: most failures need less than a third.
	maxShrinkRuns = 300

	// shrinkStep is what Shrink measures the time of a world in.
	shrinkStep = 100 * time.Millisecond
)

// ErrNotReproduced means that a world does not fail as it is said to.
var ErrNotReproduced = errors.New("sim: the failure does not come")

// Shrink looks for a smaller world in which the same judge complains as in that of
// o: with fewer faults, fewer clients and a shorter time. judge is who must complain;
// empty: whoever does in the world of o.
//
// It runs worlds one after the other and at most maxShrinkRuns of them, and asks
// no clock, so that the same o gives the same answer; but what Porcupine cannot answer
// within its budget depends on the machine. say is told of each world on a line.
//
// Errors: ErrNotReproduced, if judge does not complain of the world of o.
func Shrink(o Options, judge Judge, say func(line string)) (Found, error) {
	s := shrinker{run: Run, say: say, judge: judge}
	return s.shrink(o)
}

type shrinker struct {
	run   func(Options) (Result, error)
	say   func(string)
	judge Judge
	runs  int
	best  shrunk // the smallest that fails
	err   error  // a world could not be run
}

// shrunk is a world that fails.
type shrunk struct {
	opts    Options
	result  Result
	failure *Failure
}

func (s *shrinker) shrink(o Options) (Found, error) {
	if !s.fails(o.withDefaults(), "as it is") {
		if s.err != nil {
			return Found{}, s.err
		}
		return Found{}, fmt.Errorf("%w: %s", ErrNotReproduced, o.Replay())
	}
	s.cutTime()
	s.fewerFaults()
	// Too little happens in any world that is small enough.
	if s.judge != JudgeTraffic {
		s.fewerClients()
		s.lessTime()
	}
	s.shortenList()
	if s.spent() {
		s.say(fmt.Sprintf("stopped after %d worlds: a smaller one may be there", s.runs))
	}
	return NewFound(s.best.opts, &s.best.result, s.best.failure), s.err
}

// fails runs o and keeps it as the best if it fails as it should. Worlds are tried
// only if they are smaller than the best.
func (s *shrinker) fails(o Options, what string) bool {
	if s.spent() {
		return false
	}
	tried := s.try(o)
	if tried == nil {
		s.report(what, "passes")
		return false
	}
	if s.judge == "" {
		s.judge = tried.failure.Judge
	}
	if tried.failure.Judge != s.judge {
		s.report(what, "fails otherwise: "+string(tried.failure.Judge))
		return false
	}
	s.report(what, "fails")
	s.best = *tried
	return true
}

// spent tells whether no more worlds are to be run.
func (s *shrinker) spent() bool { return s.runs >= maxShrinkRuns || s.err != nil }

// try runs o; nil: it passes.
func (s *shrinker) try(o Options) *shrunk {
	s.runs++
	result, err := s.run(o)
	var failure *Failure
	if err != nil && !errors.As(err, &failure) {
		s.err = err
	}
	if failure == nil {
		return nil
	}
	return &shrunk{opts: o, result: result, failure: failure}
}

func (s *shrinker) report(what, happened string) {
	s.say(fmt.Sprintf("run %d: %s: %s", s.runs, what, happened))
}

// cutTime ends the world when it failed: what was to come later is not part of it.
func (s *shrinker) cutTime() {
	o := s.best.opts
	if o.Time = roundUp(s.best.result.Virtual); o.Time < s.best.opts.Time {
		s.fails(o, "until "+shortDuration(o.Time))
	}
}

func roundUp(d time.Duration) time.Duration { return (d + shrinkStep - 1).Truncate(shrinkStep) }

// fewerFaults leaves out all that it can: first what did not happen, so that it does
// not begin to when others are gone, then what did.
func (s *shrinker) fewerFaults() {
	var fired, idle []string
	for _, name := range Faults() {
		switch {
		case slices.Contains(s.best.opts.Without, name):
		case s.best.result.Fired[name] > 0:
			fired = append(fired, name)
		default:
			idle = append(idle, name)
		}
	}
	without := s.best.opts.Without
	o := s.best.opts
	if o.Without = inOrder(without, idle); s.fails(o, fmt.Sprintf("without the %d faults that did not happen", len(idle))) {
		without = o.Without
	}
	minimize(fired, func(keep []string) bool {
		o := s.best.opts
		o.Without = inOrder(without, except(fired, keep))
		return s.fails(o, fmt.Sprintf("with %d of %d faults", len(keep), len(fired)))
	})
}

// fewerClients takes the least number of clients that does.
func (s *shrinker) fewerClients() {
	have := newSetup(s.best.opts).clients
	for n := 1; n < have; n++ {
		o := s.best.opts
		o.Clients = n
		if s.fails(o, fmt.Sprintf("with %d of %d clients", n, have)) {
			return
		}
	}
}

// lessTime halves the span in which the least time must be. A world may fail at a
// time and pass at a longer one, so it finds a least time, not always the least of all.
func (s *shrinker) lessTime() {
	enough, tooShort := s.best.opts.Time, time.Duration(0)
	for enough-tooShort > shrinkStep {
		o := s.best.opts
		o.Time = roundUp(tooShort + (enough-tooShort)/2)
		if o.Time >= enough {
			return
		}
		if s.fails(o, "for "+shortDuration(o.Time)) {
			enough = o.Time
		} else {
			tooShort = o.Time
		}
	}
}

// shortenList takes names off the list of what is left out that make no difference to
// the world: it is the same without them, to the last event.
func (s *shrinker) shortenList() {
	trace, all := s.best.result.Trace, s.best.opts.Without
	minimize(all, func(names []string) bool {
		if s.spent() {
			return false
		}
		o := s.best.opts
		o.Without = names
		what := fmt.Sprintf("naming %d of the %d that are left out", len(names), len(all))
		tried := s.try(o)
		if tried == nil || tried.failure.Judge != s.judge || tried.result.Trace != trace {
			s.report(what, "another world")
			return false
		}
		s.report(what, "the same world")
		s.best = *tried
		return true
	})
}

// minimize looks for a part of items, in their order, for which holds is true, as it
// is known to be for all of them: delta debugging (Zeller and Hildebrandt,
// "Simplifying and Isolating Failure-Inducing Input", 2002). None of what is left
// can go alone.
func minimize(items []string, holds func([]string) bool) []string {
	if len(items) == 0 || holds(nil) {
		return nil
	}
	for n := 2; len(items) > 1; {
		part, complement := reduce(items, n, holds)
		switch {
		case part != nil && complement:
			items, n = part, max(n-1, 2)
		case part != nil:
			items, n = part, 2
		case n >= len(items):
			return items
		default:
			n = 2 * n
		}
		n = min(n, len(items))
	}
	return items
}

// reduce cuts items into n parts and returns the first, or else the first that is all
// but one, for which holds is true; nil: there is none.
func reduce(items []string, n int, holds func([]string) bool) (part []string, complement bool) {
	var parts [][]string
	for i := range n {
		parts = append(parts, items[i*len(items)/n:(i+1)*len(items)/n])
	}
	for _, part := range parts {
		if holds(part) {
			return part, false
		}
	}
	if n == 2 {
		return nil, false // each part is the other's complement
	}
	for _, part := range parts {
		if rest := except(items, part); holds(rest) {
			return rest, true
		}
	}
	return nil, false
}

// except is what of items is not among those.
func except(items, those []string) []string {
	var out []string
	for _, item := range items {
		if !slices.Contains(those, item) {
			out = append(out, item)
		}
	}
	return out
}

// inOrder is all names of the lists, in the order of Faults.
func inOrder(lists ...[]string) []string {
	names := slices.Concat(lists...)
	var out []string
	for _, name := range Faults() {
		if slices.Contains(names, name) {
			out = append(out, name)
		}
	}
	return out
}
