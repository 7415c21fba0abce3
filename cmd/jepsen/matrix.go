package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// Of each workload: little load, since the nodes share the machine. With two clients hardly any of their operations meet.
const (
	cellClients = 3
	cellPace    = 15 * time.Millisecond
	// maxRuns bounds those of an endless matrix: more than there are in a week.
	maxRuns = 50_000
)

func matrixCommand() *cobra.Command {
	var (
		f                  seriesFlags
		workloads, nemeses []string
		lasts              time.Duration
		subset             int
		render, endless    bool
		together           bool
	)
	cmd := &cobra.Command{
		Use: "matrix", Short: "Run each workload under each nemesis",
		Long: `Run each workload under each nemesis, or as many of them as a seed draws. A run that is not as
it should be leaves its directory, and the command that makes it again. Exit codes are
those of "jepsen scenario".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if render {
				r, err := loadResults(f.results)
				if err != nil {
					return err
				}
				return r.show(f.docs)
			}
			rng := rand.New(rand.NewPCG(f.seed, 0))
			chosen := f.cells
			if together {
				chosen = f.rows
			}
			runs, err := chosen(cmd, workloads, nemeses, lasts)
			if err != nil {
				return err
			}
			if subset > 0 || f.within > 0 { // not always the first ones
				rng.Shuffle(len(runs), func(i, j int) { runs[i], runs[j] = runs[j], runs[i] })
			}
			for endless && f.within > 0 && len(runs) < maxRuns { // the same cells again, with other seeds
				f.seed += uint64(len(runs))
				more, err := chosen(cmd, workloads, nemeses, lasts)
				if err != nil {
					return err
				}
				rng.Shuffle(len(more), func(i, j int) { more[i], more[j] = more[j], more[i] })
				runs = append(runs, more...)
			}
			if subset > 0 {
				runs = runs[:min(subset, len(runs))]
			}
			return f.perform(cmd, runs)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&workloads, "workloads", nil, "the columns, separated by commas (default: all)")
	fl.StringSliceVar(&nemeses, "nemeses", nil, "the rows, separated by commas (default: all)")
	fl.DurationVar(&lasts, "time", 10*time.Second, "how long things are broken in each")
	fl.IntVar(&subset, "subset", 0, "how many of them, as the seed draws (default: all)")
	fl.BoolVar(&together, "together", false, "one run for all workloads of a row that go together; what is not as it should be is told apart, if need be by runs alone")
	fl.BoolVar(&endless, "endless", false, "make them again with other seeds until the time of --for is over")
	fl.BoolVar(&render, "render", false, "run nothing: write the tables of --results into --docs")
	return cmd
}

// chosen are the nemeses of these names, or all; the workloads are all if none is named.
func chosen(workloads, names []string) ([]string, []jepsen.Nemesis, error) {
	all := jepsen.Nemeses()
	if len(workloads) == 0 {
		workloads = jepsen.Workloads()
	}
	for _, name := range workloads {
		if !slices.Contains(jepsen.Workloads(), name) {
			return nil, nil, fmt.Errorf("there is no workload %q: jepsen list has them", name)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(n jepsen.Nemesis) bool { return n.Name == name }) {
			return nil, nil, fmt.Errorf("there is no nemesis %q: jepsen list has them", name)
		}
	}
	return workloads, slices.DeleteFunc(all, func(n jepsen.Nemesis) bool { return len(names) > 0 && !slices.Contains(names, n.Name) }), nil
}

// cells are the runs of a matrix; each has a seed of its own.
func (f *seriesFlags) cells(cmd *cobra.Command, workloads, nemeses []string, lasts time.Duration) (runs []oneRun, err error) {
	workloads, rows, err := chosen(workloads, nemeses)
	seed := f.seed
	for i := range rows {
		for _, w := range workloads {
			seed++
			runs = append(runs, f.cell(cmd, w, &rows[i], lasts, seed))
		}
	}
	return runs, err
}

// cell is one workload under one nemesis.
func (f *seriesFlags) cell(cmd *cobra.Command, workload string, n *jepsen.Nemesis, lasts time.Duration, seed uint64) oneRun {
	o := jepsen.Options{Seed: seed, Workloads: []string{workload}, Nemeses: []string{n.Name}, Time: lasts, Clients: cellClients, Pace: cellPace}
	return oneRun{
		name: workload + "-" + n.Name, about: "workload " + workload + ": " + n.About,
		again: fmt.Sprintf("bin/jepsen matrix --workloads %s --nemeses %s --time %v --seed %d", workload, n.Name, lasts, seed-1),
		note:  func(r *results, c outcome) { r.put(n.Name, workload, c) },
		make:  func(dir, out string) (*jepsen.Result, error) { return f.torment(cmd, n, o, dir, out) },
	}
}

// torment makes a run under one nemesis.
func (f *seriesFlags) torment(cmd *cobra.Command, n *jepsen.Nemesis, o jepsen.Options, dir, out string) (res *jepsen.Result, err error) {
	l := f.local
	l.Dir, l.Spares, l.Seed = dir, 2, o.Seed
	program := f.program
	if _, err := os.Stat(failpointProgram); err == nil && slices.Contains(n.Needs, jepsen.Clocks) {
		// Certificates are good or not by the clock: without them nothing but the clocks is wrong.
		program, l.FailpointProgram, l.PlainText = failpointProgram, true, true
	}
	if l.Program, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	if l.Sections, err = o.Sections(); err != nil {
		return nil, err
	}
	ground, err := jepsen.NewLocal(l)
	if err != nil {
		return nil, err
	}
	for _, need := range n.Needs {
		if err := ground.Can(need); err != nil {
			return nil, errors.Join(&cannotError{err}, closed(cmd, ground))
		}
	}
	r := runFlags{o: o, out: out}
	return r.make(cmd, ground, func(ctx context.Context, o jepsen.Options) (*jepsen.Result, error) {
		return jepsen.Execute(ctx, ground, o)
	})
}
