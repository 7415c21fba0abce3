package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

// Each worker runs one world at a time, since crypto/rand.Reader is a process's:
// it reads seeds from its standard input, a line each, and answers each with a verdict.

// verdict is what a worker says of a seed: one line of JSON.
type verdict struct {
	Seed    uint64            `json:"seed"`
	Trace   uint64            `json:"trace"`
	Virtual time.Duration     `json:"virtual"`
	Fired   map[string]uint64 `json:"fired"`
	Judge   sim.Judge         `json:"judge,omitempty"`   // who found the failure
	Failure string            `json:"failure,omitempty"` // the last line is the replay
	Trouble string            `json:"trouble,omitempty"` // the world could not be run
}

func workerCommand() *cobra.Command {
	var world worldFlags
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Run the worlds whose seeds are given on standard input",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in := bufio.NewScanner(cmd.InOrStdin())
			enc := json.NewEncoder(cmd.OutOrStdout())
			for in.Scan() {
				seed, err := strconv.ParseUint(in.Text(), 10, 64)
				if err != nil {
					return usageError{err}
				}
				o, err := world.options(seed)
				if err != nil {
					return err
				}
				if err := enc.Encode(judge(o)); err != nil {
					return err
				}
			}
			return in.Err()
		},
	}
	world.add(cmd)
	return cmd
}

func judge(o sim.Options) verdict {
	result, err := sim.Run(o)
	v := verdict{Seed: o.Seed, Trace: result.Trace, Virtual: result.Virtual, Fired: result.Fired}
	var failure *sim.Failure
	switch {
	case errors.As(err, &failure):
		v.Judge, v.Failure = failure.Judge, failure.Error()
	case err != nil:
		v.Trouble = err.Error()
	}
	return v
}

func sweepCommand() *cobra.Command {
	var world worldFlags
	s := sweep{}
	var from string
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Run many worlds, each in one of several processes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := world.options(0); err != nil {
				return err
			}
			if s.seeds < 1 || s.jobs < 1 {
				return usageError{fmt.Errorf("--seeds %d, --jobs %d: both are at least 1", s.seeds, s.jobs)}
			}
			s.from = sim.ParseSeed(from)
			s.args = []string{"worker", "--time", world.time.String(), "--nodes", strconv.Itoa(world.nodes), "--mix", world.mix}
			s.narrowed = world.mix != "" || world.nodes != 0
			return s.run(cmd.OutOrStdout())
		},
	}
	world.add(cmd)
	cmd.Flags().IntVar(&s.seeds, "seeds", 100, "how many seeds")
	cmd.Flags().IntVar(&s.jobs, "jobs", runtime.NumCPU(), "how many processes")
	cmd.Flags().StringVar(&from, "from", "1", "the first seed: a number, or any text")
	cmd.Flags().BoolVar(&s.keepGoing, "keep-going", false, "go on after a failure; the last line is then that of the first failure")
	return cmd
}

type sweep struct {
	seeds, jobs int
	from        uint64
	args        []string
	keepGoing   bool
	narrowed    bool // options leave out a part of the faults

	mu       sync.Mutex
	next     int // seeds given out
	done     int
	virtual  time.Duration
	fired    map[string]uint64
	failures []verdict
	trouble  error
	start    time.Time
	shown    time.Time
}

// errUnreached means that a sweep did not do what it is for.
var errUnreached = errors.New("some faults never happened: the sweep proves less than it should")

// coverageSeeds is how many seeds it takes to expect every fault to have happened.
const coverageSeeds = 50

func (s *sweep) run(out io.Writer) error {
	s.fired = map[string]uint64{}
	s.start = time.Now()
	var wg sync.WaitGroup
	for range min(s.jobs, s.seeds) {
		wg.Go(func() {
			if err := s.worker(out); err != nil {
				s.mu.Lock()
				s.trouble = errors.Join(s.trouble, err)
				s.mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.summary(out)
	if len(s.failures) > 0 {
		first := slices.MinFunc(s.failures, func(a, b verdict) int { return int(int64(a.Seed - b.Seed)) })
		return &sim.Failure{Err: fmt.Errorf("%d of %d seeds failed, the first of them so", len(s.failures), s.done), Replay: first.Failure}
	}
	if s.trouble != nil {
		return s.trouble
	}
	if missing := s.missing(); len(missing) > 0 && s.seeds >= coverageSeeds && !s.narrowed {
		return fmt.Errorf("%w: %q", errUnreached, missing)
	}
	return nil
}

// worker feeds one process until there are no seeds.
func (s *sweep) worker(out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, s.args...) //nolint:gosec // this program itself
	// Worlds are single threads; two let the collector and the judges run beside.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "GOGC=400")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	dec := json.NewDecoder(answers)
	for {
		seed, ok := s.take()
		if !ok {
			break
		}
		if _, err := fmt.Fprintln(in, seed); err != nil {
			return errors.Join(fmt.Errorf("worker, seed %d: %w", seed, err), cmd.Wait())
		}
		var v verdict
		if err := dec.Decode(&v); err != nil {
			return errors.Join(fmt.Errorf("worker died of seed %d: %w", seed, err), cmd.Wait())
		}
		s.add(out, &v)
	}
	return errors.Join(in.Close(), cmd.Wait())
}

func (s *sweep) take() (seed uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == s.seeds || (len(s.failures) > 0 && !s.keepGoing) {
		return 0, false
	}
	s.next++
	return s.from + uint64(s.next-1), true
}

// progressEvery is how often a line of progress is printed.
const progressEvery = 5 * time.Second

func (s *sweep) add(out io.Writer, v *verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done++
	s.virtual += v.Virtual
	for name, n := range v.Fired {
		s.fired[name] += n
	}
	if v.Trouble != "" {
		s.trouble = errors.Join(s.trouble, fmt.Errorf("seed %d: %s", v.Seed, v.Trouble))
	}
	if v.Failure != "" {
		s.failures = append(s.failures, *v)
		fmt.Fprintf(out, "seed %d failed: %s\n", v.Seed, v.Failure)
	}
	if time.Since(s.shown) >= progressEvery {
		s.shown = time.Now()
		s.progress(out)
	}
}

func (s *sweep) progress(out io.Writer) {
	took := time.Since(s.start)
	fmt.Fprintf(out, "%d of %d seeds, %d failed, %.1f virtual hours in %v: %.2f virtual hours a minute\n",
		s.done, s.seeds, len(s.failures), s.virtual.Hours(), took.Round(time.Second), s.virtual.Hours()/took.Minutes())
}

func (s *sweep) summary(out io.Writer) {
	for _, name := range slices.Sorted(maps.Keys(s.fired)) {
		fmt.Fprintf(out, "%10d  %s\n", s.fired[name], name)
	}
	for _, name := range s.missing() {
		fmt.Fprintf(out, "%10s  %s\n", "never", name)
	}
	s.progress(out)
}

func (s *sweep) missing() []string {
	var out []string
	for _, name := range sim.Faults() {
		if s.fired[name] == 0 {
			out = append(out, name)
		}
	}
	return out
}
