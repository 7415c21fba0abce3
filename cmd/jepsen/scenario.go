package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

func scenarioCommand() *cobra.Command {
	var f seriesFlags
	var all, printList bool
	var times int
	cmd := &cobra.Command{
		Use: "scenario NAME...", Short: "Bring situations about that others were broken by",
		Long: `Bring situations about that others were broken by: each is a script, not chance, and makes
sure that it did what it is for. --list has their names. One that cannot be made on this
machine is said to be so, and is no success: the exit code is 3 if there were such and
all others are as they should be.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			switch {
			case printList:
				return listScenarios(cmd.OutOrStdout())
			case all:
				for _, sc := range jepsen.Scenarios() {
					names = append(names, sc.Name)
				}
			case len(names) == 0:
				return errors.New("name a scenario: --list has them")
			}
			var runs []oneRun
			for n := range times {
				for _, name := range names {
					sc, err := jepsen.FindScenario(name)
					if err != nil {
						return err
					}
					runs = append(runs, f.scenario(cmd, sc, f.seed+uint64(n)))
				}
			}
			return f.perform(cmd, runs)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&printList, "list", false, "list all there are")
	cmd.Flags().BoolVar(&all, "all", false, "all there are")
	cmd.Flags().IntVar(&times, "times", 1, "how often each, with other seeds")
	return cmd
}

func listScenarios(out io.Writer) error {
	for _, sc := range jepsen.Scenarios() {
		if _, err := fmt.Fprintf(out, "%2d  %-24s %s\n", sc.Number, sc.Name, sc.About); err != nil {
			return err
		}
	}
	return nil
}

// scenario is one of a series.
func (f *seriesFlags) scenario(cmd *cobra.Command, sc *jepsen.Scenario, seed uint64) oneRun {
	return oneRun{
		name: sc.Name, about: sc.About,
		again: fmt.Sprintf("bin/jepsen scenario %s --seed %d", sc.Name, seed),
		note:  func(r *results, c outcome) { r.Scenarios[sc.Name] = c },
		make: func(dir, out string) (res *jepsen.Result, err error) {
			o := jepsen.Options{Seed: seed, Workloads: sc.Workloads}
			l := f.local
			l.Dir, l.Spares, l.Seed = dir, 2, seed
			if l.Program, err = filepath.Abs(f.program); err != nil {
				return nil, err
			}
			if l.Variants, err = variantsOf(cmd.Context(), sc); err != nil {
				return nil, err
			}
			if l.Sections, err = o.Sections(); err != nil {
				return nil, err
			}
			if sc.Ground != nil {
				sc.Ground(&l)
			}
			ground, err := jepsen.NewLocal(l)
			if err != nil {
				return nil, err
			}
			if err := sc.CannotBeMade(ground); err != nil {
				return nil, errors.Join(&cannotError{err}, closed(cmd, ground))
			}
			r := runFlags{o: o, out: out}
			return r.make(cmd, ground, func(ctx context.Context, o jepsen.Options) (*jepsen.Result, error) {
				return jepsen.Perform(ctx, ground, sc, o)
			})
		},
	}
}

// closed closes a ground on which nothing was run.
func closed(cmd *cobra.Command, ground jepsen.Ground) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), closeTime)
	defer cancel()
	return ground.Close(ctx)
}
