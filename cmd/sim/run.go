package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/sim"
)

// keep says what is kept of a world, and where; empty: it is not.
type keep struct {
	history string
	dir     string
	save    string
}

func (k *keep) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.history, "history", "", "write what the clients saw to this file (JSON Lines, for lincheck)")
	cmd.Flags().StringVar(&k.dir, "out", "", "write history.jsonl, report.html and world.txt into this directory, whether the world fails or not")
	cmd.Flags().StringVar(&k.save, "save", "", `write a failure to this file, for "sim replay" and "sim shrink"`)
}

func runCommand() *cobra.Command {
	var world worldFlags
	var k keep
	var seed, profile string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one world and print its trace",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := world.options(sim.ParseSeed(seed))
			if err != nil {
				return err
			}
			stop, err := startProfile(profile)
			if err != nil {
				return err
			}
			start := time.Now()
			result, err := sim.Run(o)
			stop()
			took := time.Since(start)
			var found *sim.Failure
			if err != nil && !errors.As(err, &found) {
				return err
			}
			kept := k.write(o, &result, found)
			out := cmd.OutOrStdout()
			if verbose {
				describe(out, &result)
				fmt.Fprintf(out, "%v of real time: %.0f virtual seconds a second\n", took.Round(time.Millisecond), result.Virtual.Seconds()/took.Seconds())
			}
			fmt.Fprintf(out, "trace %s\n", sim.FormatTrace(result.Trace))
			return errors.Join(kept, err) // the end of the failure is the replay
		},
	}
	world.add(cmd)
	k.add(cmd)
	cmd.Flags().StringVar(&seed, "seed", "1", seedUsage)
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile to this file")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the setup and what happened how often")
	return cmd
}

// write keeps what is to be kept of the world of o and what came of it; failure: nil
// if nothing is wrong.
func (k *keep) write(o sim.Options, r *sim.Result, failure *sim.Failure) error {
	var errs []error
	if k.history != "" {
		errs = append(errs, writeHistory(k.history, &r.History))
	}
	if k.dir != "" {
		errs = append(errs, writeDir(k.dir, o, r, failure))
	}
	if k.save != "" && failure != nil {
		found := sim.NewFound(o, r, failure)
		errs = append(errs, found.Write(k.save))
	}
	return errors.Join(errs...)
}

// Names in the directory that --out writes.
const (
	historyFile = "history.jsonl"
	reportFile  = "report.html"
	worldFile   = "world.txt"
)

// reportBudget bounds the real time that Porcupine may take for one key of a report.
const reportBudget = 20 * time.Second

func writeDir(dir string, o sim.Options, r *sim.Result, failure *sim.Failure) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // for everybody to read
		return err
	}
	if err := writeHistory(filepath.Join(dir, historyFile), &r.History); err != nil {
		return err
	}
	err := writeFile(filepath.Join(dir, reportFile), func(w io.Writer) error {
		verdict := linearizability.Check(&r.History, reportBudget)
		return linearizability.Report(w, &r.History, verdict, reportBudget)
	})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, worldFile), func(w io.Writer) error {
		describe(w, r)
		fmt.Fprintf(w, "trace %s\ncommit %s\n", sim.FormatTrace(r.Trace), sim.Commit())
		if failure != nil {
			_, err := fmt.Fprintln(w, failure)
			return err
		}
		_, err := fmt.Fprintln(w, o.Replay())
		return err
	})
}

func writeHistory(path string, h *linearizability.History) error { return writeFile(path, h.Write) }

// writeFile makes a file of what write writes.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// describe prints what a world was and what happened in it.
func describe(out io.Writer, r *sim.Result) {
	fmt.Fprintf(out, "setup: %s\n", r.Setup)
	for _, name := range slices.Sorted(maps.Keys(r.Fired)) {
		fmt.Fprintf(out, "%8d  %s\n", r.Fired[name], name)
	}
	fmt.Fprintf(out, "%d events in %v of virtual time\n", r.Events, r.Virtual.Round(time.Millisecond))
}
