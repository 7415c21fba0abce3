package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/sim"
)

// worldFlags are the options of a world, which every command takes.
type worldFlags struct {
	time  time.Duration
	nodes int
	mix   string
}

func (f *worldFlags) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&f.time, "time", time.Minute, "how long clients and faults are at work, in virtual time")
	cmd.Flags().IntVar(&f.nodes, "nodes", 0, "size of the cluster: 1, 3 or 5 (default: by the seed)")
	cmd.Flags().StringVar(&f.mix, "mix", "", "how faults are drawn: uniform, swarm or calm (default: by the seed)")
}

func (f *worldFlags) options(seed uint64) (sim.Options, error) {
	o := sim.Options{Seed: seed, Time: f.time, Nodes: f.nodes, Mix: sim.Mix(f.mix)}
	if err := o.Validate(); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

func runCommand() *cobra.Command {
	var world worldFlags
	var seed, history, profile string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run one world and print its trace",
		Args:  cobra.NoArgs,
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
			result, failure := sim.Run(o)
			stop()
			if history != "" {
				if err := writeHistory(history, &result.History); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if verbose {
				describe(out, &result, time.Since(start))
			}
			fmt.Fprintf(out, "trace %016x\n", result.Trace)
			return failure
		},
	}
	world.add(cmd)
	cmd.Flags().StringVar(&seed, "seed", "1", "a number, or any text")
	cmd.Flags().StringVar(&history, "history", "", "write what the clients saw to this file (JSON Lines, for lincheck)")
	cmd.Flags().StringVar(&profile, "cpuprofile", "", "write a CPU profile to this file")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the setup and what happened how often")
	return cmd
}

func writeHistory(path string, h *linearizability.History) error {
	f, err := os.Create(path) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	if err := h.Write(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func describe(out io.Writer, r *sim.Result, took time.Duration) {
	fmt.Fprintf(out, "setup: %s\n", r.Setup)
	for _, name := range slices.Sorted(maps.Keys(r.Fired)) {
		fmt.Fprintf(out, "%8d  %s\n", r.Fired[name], name)
	}
	fmt.Fprintf(out, "%d events in %v of virtual time, %v of real time: %.0f virtual seconds a second\n",
		r.Events, r.Virtual.Round(time.Millisecond), took.Round(time.Millisecond), r.Virtual.Seconds()/took.Seconds())
}
