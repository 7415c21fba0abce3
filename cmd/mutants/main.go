// Command mutants proves that the simulator catches bugs: it plants each of those in
// sim/mutants in the production code and runs worlds until a judge complains.
//
//	mutants                              all of them, as "make mutants" does
//	mutants --only vote-not-persisted    one
//
// A planted bug is a patch that go build lays over the sources; the tree is not
// touched. Before the first one the same seeds run without a patch, which must find
// nothing, and with one that no world survives (canary), which must be found at once.
// A seed that caught a bug is run again without it, and must then pass: what was caught
// is the bug.
//
// Exit codes:
//
//	0  each is caught, by a judge that its patch names
//	1  one survives, is caught by another judge, does not apply or does not compile;
//	   or the control or the canary is not as it should be
//	2  wrong usage
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/planted"
)

// Exit codes.
const (
	exitFound = 1
	exitUsage = 2
)

// usageError is a wrong flag or argument.
type usageError struct{ error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := command().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "mutants: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		os.Exit(exitUsage)
	}
	os.Exit(exitFound)
}

func command() *cobra.Command {
	r := runner{}
	var only []string
	var out string
	cmd := &cobra.Command{
		Use:           "mutants",
		Short:         "Plant bugs and demand that the simulator catches each",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.validate(); err != nil {
				return usageError{err}
			}
			if out != "" && len(only) > 0 {
				return usageError{errors.New("--out with --only: the table would say that there are no others")}
			}
			return run(cmd.Context(), &r, only, out, cmd.OutOrStdout())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f := cmd.Flags()
	f.StringSliceVar(&only, "only", nil, "names of planted bugs (default: all)")
	f.IntVar(&r.seeds, "seeds", 2000, "within how many seeds each must be caught")
	f.IntVar(&r.controlSeeds, "control-seeds", 200, "how many seeds run without a planted bug first")
	f.Uint64Var(&r.from, "from", 1, "the first seed")
	f.IntVar(&r.jobs, "jobs", runtime.NumCPU(), "how many worlds run at a time")
	f.DurationVar(&r.worldTime, "time", time.Minute, "how long clients and faults are at work in a world, in virtual time")
	f.DurationVar(&r.budget, "budget", 15*time.Minute, "real time for one planted bug, and for the control, past which it is given up")
	f.StringVar(&out, "out", "", "write the table to this file, as Markdown")
	return cmd
}

func (r *runner) validate() error {
	if r.seeds < 1 || r.controlSeeds < 1 || r.jobs < 1 || r.worldTime <= 0 || r.budget <= 0 {
		return errors.New("--seeds, --control-seeds, --jobs, --time and --budget are all more than 0")
	}
	return nil
}

// run is the command once its flags are read.
func run(ctx context.Context, r *runner, only []string, out string, stdout io.Writer) (err error) {
	if r.root, err = planted.ModuleRoot(ctx); err != nil {
		return err
	}
	all, err := loadMutants(filepath.Join(r.root, mutantsDir))
	if err != nil {
		return err
	}
	chosen, err := choose(all, only)
	if err != nil {
		return usageError{err}
	}
	if r.dir, err = os.MkdirTemp("", "confman-mutants-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	t := table{out: stdout, start: time.Now()}
	if err := r.trust(ctx, all, &t); err != nil {
		return err
	}
	t.total = len(chosen)
	for _, m := range chosen {
		t.add(r.judge(ctx, m))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if out != "" {
			if err := t.write(out, r.worldTime, r.jobs); err != nil {
				return err
			}
		}
	}
	t.summary()
	return t.err()
}

// choose returns the mutants that are named, all but the canary if none is.
func choose(all []mutant, only []string) ([]mutant, error) {
	var out []mutant
	for _, m := range all {
		if len(only) == 0 && m.Name != canaryName {
			out = append(out, m)
		}
	}
	for _, name := range only {
		m, ok := find(all, name)
		if !ok {
			return nil, fmt.Errorf("--only %s: there is no %s", name, filepath.Join(mutantsDir, name+planted.Suffix))
		}
		out = append(out, m)
	}
	return out, nil
}
