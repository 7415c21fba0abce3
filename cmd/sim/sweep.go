package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

const (
	// coverageSeeds is how many seeds it takes to expect every fault to have happened.
	coverageSeeds = 50

	// nightlySeeds is how many it takes to expect that of every mark and state.
	nightlySeeds = 1000

	// progressEvery is how often a line of progress is printed.
	progressEvery = 5 * time.Second
)

// errUnreached means that a sweep did not do what it is for.
var errUnreached = errors.New("some of what should happen never did: the sweep proves less than it should")

// errTooLittle means that --hours was not reached.
var errTooLittle = errors.New("too little virtual time: the sweep proves less than it should")

func sweepCommand() *cobra.Command {
	s := sweep{}
	var from, regressions string
	var list bool
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Run many worlds, each in one of several processes",
		Long: `Run many worlds, each in one of several processes: those of --regressions, then
--seeds seeds from --from on, and more of them until --for is over. In the end a
summary says how often each fault, mark and state was reached.

After a failure no more worlds are begun, unless --keep-going. It exits with 3 if a
fault never happened in ` + fmt.Sprint(coverageSeeds) + ` seeds or more, unless flags narrow the worlds.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if list {
				return listNames(cmd.OutOrStdout())
			}
			if err := s.validate(); err != nil {
				return usageError{err}
			}
			if regressions != "" {
				var err error
				if s.regressions, err = sim.ReadRegressions(regressions); err != nil {
					return usageError{err}
				}
			}
			s.from = sim.ParseSeed(from)
			s.out = cmd.OutOrStdout()
			return s.run()
		},
	}
	s.world.add(cmd)
	f := cmd.Flags()
	f.IntVar(&s.seeds, "seeds", 100, "how many seeds; with --for: at least so many")
	f.DurationVar(&s.lasting, "for", 0, "go on with more seeds for so long, in real time")
	f.Float64Var(&s.hours, "hours", 0, "fail if it comes to fewer virtual hours than this")
	f.IntVar(&s.jobs, "jobs", runtime.NumCPU(), "how many processes")
	f.StringVar(&from, "from", "1", "the first seed: "+seedUsage)
	f.StringVar(&regressions, "regressions", "", "a list of worlds to run first (see testdata/seeds)")
	f.BoolVar(&s.keepGoing, "keep-going", false, "go on after a failure; the last line is then that of the first failure")
	f.BoolVar(&s.nightly, "nightly", false, fmt.Sprintf("fail if any fault, mark or state was never reached; takes %d seeds or more", nightlySeeds))
	f.StringVar(&s.save, "save", "", `write each failure to a file in this directory, for "sim replay" and "sim shrink"`)
	f.StringVar(&s.json, "json", "", "write the summary to this file")
	f.BoolVar(&list, "list", false, "print the names of all faults, marks and states, and run nothing")
	return cmd
}

// sweep runs worlds. What is below mu belongs to the goroutines of its workers.
type sweep struct {
	world       worldFlags
	seeds, jobs int
	lasting     time.Duration
	hours       float64
	from        uint64
	regressions []sim.Regression
	keepGoing   bool
	nightly     bool
	save, json  string
	out         io.Writer
	start       time.Time

	mu       sync.Mutex
	next     int // worlds given out
	done     int
	virtual  time.Duration
	fired    map[string]uint64
	failures []failedWorld
	trouble  error
	shown    time.Time
}

// failedWorld is the nth world that was given out.
type failedWorld struct {
	n int
	sim.Found
}

func (s *sweep) validate() error {
	if _, err := s.world.options(0); err != nil {
		return err
	}
	switch {
	case s.seeds < 1 || s.jobs < 1:
		return fmt.Errorf("--seeds %d, --jobs %d: both are at least 1", s.seeds, s.jobs)
	case s.lasting < 0 || s.hours < 0:
		return fmt.Errorf("--for %v, --hours %v: neither is negative", s.lasting, s.hours)
	case s.nightly && s.seeds < nightlySeeds:
		return fmt.Errorf("--nightly, --seeds %d: it takes %d to expect that everything happens", s.seeds, nightlySeeds)
	case s.nightly && s.world.narrowed():
		return errors.New("--nightly with flags that narrow the worlds: not everything can happen in them")
	}
	return nil
}

func (s *sweep) run() error {
	left, err := sim.RemoveLeftStores()
	if err != nil {
		return err
	}
	if left > 0 {
		fmt.Fprintf(s.out, "removed the stores that %d killed worlds had left\n", left)
	}
	if s.save != "" {
		if err := os.MkdirAll(s.save, 0o755); err != nil { //nolint:gosec // for everybody to read
			return err
		}
	}
	s.fired = map[string]uint64{}
	s.start = time.Now()
	var wg sync.WaitGroup
	for range s.jobs {
		wg.Go(func() {
			if err := s.work(); err != nil {
				s.mu.Lock()
				s.trouble = errors.Join(s.trouble, err)
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(s.failures, func(a, b failedWorld) int { return a.n - b.n })
	s.summary()
	err = s.verdict()
	if s.json != "" {
		err = errors.Join(s.writeJSON(), err) // the replay stays last
	}
	return err
}

// verdict is what the sweep comes to.
func (s *sweep) verdict() error {
	if len(s.failures) > 0 {
		first := &s.failures[0]
		return &sim.Failure{
			Err:    fmt.Errorf("%d of %d worlds failed, the first of them so", len(s.failures), s.done),
			Replay: fmt.Sprintf("%s: %s\n%s", first.Judge, first.Failure, first.Replay),
		}
	}
	if s.trouble != nil {
		return s.trouble
	}
	if missing := s.missing(); len(missing) > 0 {
		return fmt.Errorf("%w: %q", errUnreached, missing)
	}
	if s.virtual.Hours() < s.hours {
		return fmt.Errorf("%w: %.2f hours, --hours demands %v", errTooLittle, s.virtual.Hours(), s.hours)
	}
	return nil
}

// work feeds one process until there are no more worlds.
func (s *sweep) work() error {
	w, err := startWorker()
	if err != nil {
		return err
	}
	for {
		n, o, ok := s.take()
		if !ok {
			return w.stop()
		}
		v, err := w.run(o)
		if err != nil {
			return errors.Join(w.stop(), err) // the end of err is the replay
		}
		if err := s.add(n, &v); err != nil {
			return errors.Join(err, w.stop())
		}
	}
}

// take gives out the next world.
func (s *sweep) take() (n int, o sim.Options, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil || (len(s.failures) > 0 && !s.keepGoing) {
		return 0, o, false
	}
	n = s.next
	fresh := n - len(s.regressions)
	switch {
	case fresh < 0:
		o = s.regressions[n].Options
	case fresh < s.seeds || time.Since(s.start) < s.lasting:
		o, _ = s.world.options(s.from + uint64(fresh)) // validate saw the flags
	default:
		return 0, o, false
	}
	s.next++
	return n, o, true
}

// add takes the verdict on the nth world.
func (s *sweep) add(n int, v *verdict) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.virtual += v.Virtual
	for name, n := range v.Fired {
		s.fired[name] += n
	}
	if v.Trouble != "" {
		return fmt.Errorf("seed %d: %s", v.Seed, v.Trouble)
	}
	if v.Found != nil {
		s.failures = append(s.failures, failedWorld{n, *v.Found})
		why := ""
		if n < len(s.regressions) {
			why = fmt.Sprintf(" (a regression: %s)", s.regressions[n].Why)
		}
		fmt.Fprintf(s.out, "seed %d failed%s: %s: %s\n%s\n", v.Seed, why, v.Judge, v.Failure, v.Replay)
		if s.save != "" {
			judge := strings.ReplaceAll(string(v.Judge), " ", "-")
			if err := v.Found.Write(filepath.Join(s.save, fmt.Sprintf("world-%d-%s.json", n+1, judge))); err != nil {
				return err
			}
		}
	}
	if time.Since(s.shown) >= progressEvery {
		s.shown = time.Now()
		s.progress()
	}
	return nil
}

// progress prints how far it is. Regressions count as seeds.
func (s *sweep) progress() {
	took, of := time.Since(s.start), ""
	if s.lasting == 0 {
		of = fmt.Sprintf(" of %d", len(s.regressions)+s.seeds)
	}
	fmt.Fprintf(s.out, "%d%s seeds, %d failed, %.1f virtual hours in %v: %.2f virtual hours a minute\n",
		s.done, of, len(s.failures), s.virtual.Hours(), took.Round(time.Second), s.virtual.Hours()/took.Minutes())
}
