package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// scenarioFlags are those of "jepsen scenario".
type scenarioFlags struct {
	seed    uint64
	out     string
	program string
	results string
	list    bool
	all     bool
	times   int
}

func scenarioCommand() *cobra.Command {
	var f scenarioFlags
	cmd := &cobra.Command{
		Use: "scenario NAME...", Short: "Bring situations about that others were broken by",
		Long: `Bring situations about that others were broken by: each is a script, not chance, and makes
sure that it did what it is for. --list has their names. One that cannot be made on this
machine is said to be so, and is no success: the exit code is 3 if there were such and
all others are as they should be.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			switch {
			case f.list:
				return listScenarios(cmd.OutOrStdout())
			case f.all:
				for _, sc := range jepsen.Scenarios() {
					names = append(names, sc.Name)
				}
			case len(names) == 0:
				return errors.New("name a scenario: --list has them")
			}
			return f.perform(cmd, names)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&f.list, "list", false, "list all there are")
	fl.BoolVar(&f.all, "all", false, "all there are")
	fl.IntVar(&f.times, "times", 1, "how often each")
	fl.Uint64Var(&f.seed, "seed", 1, "of what is drawn")
	fl.StringVar(&f.out, "out", "", "directory for history, report and logs (default: jepsen-runs/, the name and the time)")
	fl.StringVar(&f.program, "program", "bin/confman", "the program under test")
	fl.StringVar(&f.results, "results", "", "file of results to note this one in, such as "+resultsFile)
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

// errNotHere: what could be made is as it should be, and something could not.
var errNotHere = errors.New("not all could be made here")

// perform plays scenarios, one after the other, whatever comes of those before.
func (f *scenarioFlags) perform(cmd *cobra.Command, names []string) error {
	out := cmd.OutOrStdout()
	var wrong, notHere []string
	for _, name := range names {
		sc, err := jepsen.FindScenario(name)
		if err != nil {
			return err
		}
		for n := range f.times {
			began := time.Now()
			res, err := f.one(cmd, sc, f.seed+uint64(n))
			var cannot *cannotError
			c := outcome{Date: began.UTC().Format(time.DateOnly), Seconds: time.Since(began).Seconds()}
			switch {
			case cmd.Context().Err() != nil:
				return cmd.Context().Err()
			case errors.As(err, &cannot):
				fmt.Fprintf(out, "%s cannot be made here: %v\n", name, cannot.why)
				notHere, c.Result, c.Text = append(notHere, name), resultNotHere, cannot.why.Error()
			case err != nil:
				fmt.Fprintf(out, "%s: %v\n", name, err)
				wrong, c.Result, c.Text = append(wrong, name), resultWrong, firstLine(err.Error())
			case res.Err != nil:
				fmt.Fprintf(out, "%s is not as it should be: %v\nagain: bin/jepsen scenario %s --seed %d\n", name, res.Err, name, f.seed+uint64(n))
				wrong, c.Result, c.Text = append(wrong, name), resultWrong, firstLine(res.Err.Error())
			default:
				fmt.Fprintf(out, "%s is as it should be (%.0f s)\n", name, c.Seconds)
				c.Result = resultGood
			}
			if f.results != "" {
				if err := noteResult(f.results, func(r *results) { r.Scenarios[name] = c }); err != nil {
					return err
				}
			}
		}
	}
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%w: %v", errWrong, wrong)
	case len(notHere) > 0:
		return fmt.Errorf("%w: %v", errNotHere, notHere)
	}
	return nil
}

// cannotError: a scenario, or a cell, cannot be made on this machine.
type cannotError struct{ why error }

func (e *cannotError) Error() string { return e.why.Error() }

// one plays a scenario once, on a ground of its own.
func (f *scenarioFlags) one(cmd *cobra.Command, sc *jepsen.Scenario, seed uint64) (*jepsen.Result, error) {
	ctx := cmd.Context()
	dir, err := os.MkdirTemp("", "jepsen-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	o := jepsen.LocalOptions{Dir: dir, Spares: 2}
	if o.Program, err = filepath.Abs(f.program); err != nil {
		return nil, err
	}
	if o.Variants, err = variantsOf(ctx, sc); err != nil {
		return nil, err
	}
	if sc.Ground != nil {
		sc.Ground(&o)
	}
	ground, err := newGround(o)
	if err != nil {
		return nil, err
	}
	if err := sc.CannotBeMade(ground); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		return nil, errors.Join(&cannotError{err}, ground.Close(closing))
	}
	to := f.out
	if to == "" {
		to = filepath.Join("jepsen-runs", sc.Name+"-"+time.Now().Format("20060102-150405"))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "\n%s: %s\n", sc.Name, sc.About)
	r := runFlags{o: jepsen.Options{Seed: seed}, out: to}
	return r.make(cmd, ground, func(ctx context.Context, o jepsen.Options) (*jepsen.Result, error) {
		return jepsen.Perform(ctx, ground, sc, o)
	})
}

// newGround is a cluster on this machine, by the best means that there are.
func newGround(o jepsen.LocalOptions) (jepsen.Ground, error) { return jepsen.NewLocal(o) }
