package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

func shrinkCommand() *cobra.Command {
	var world worldFlags
	var seed, save string
	cmd := &cobra.Command{
		Use:   "shrink [FILE]",
		Short: "Look for a smaller world with the same failure",
		Long: `Look for a smaller world in which the same judge complains: with fewer faults, fewer
clients and a shorter time. FILE is one that --save wrote; without it the flags
say which world, as for run. The last line printed is the command that runs the smaller world;
with FILE or --save it is written to a file, too.

The answer depends on the world and the commit only. It takes up to some hundred worlds.`,
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := world.options(sim.ParseSeed(seed))
			if err != nil {
				return err
			}
			var judge sim.Judge
			if len(args) == 1 {
				saved, err := savedWorld(cmd, args[0])
				if err != nil {
					return err
				}
				o, judge = saved.Options, saved.Judge
				if save == "" {
					save = strings.TrimSuffix(args[0], ".json") + "-small.json"
				}
			}
			small, err := sim.Shrink(o, judge, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
			if err != nil {
				return err
			}
			failure := &sim.Failure{Judge: small.Judge, Err: errors.New(small.Failure), Replay: small.Replay}
			if save == "" {
				return failure
			}
			return errors.Join(small.Write(save), failure)
		},
	}
	world.add(cmd)
	cmd.Flags().StringVar(&seed, "seed", "1", seedUsage)
	cmd.Flags().StringVar(&save, "save", "", "write the smaller world's failure to this file (default: FILE with -small before its end)")
	return cmd
}

// savedWorld reads a file in which a world is, so that no flag may say which.
func savedWorld(cmd *cobra.Command, path string) (sim.Found, error) {
	for _, name := range []string{"seed", "time", "nodes", "mix", "without", "clients"} {
		if cmd.Flags().Changed(name) {
			return sim.Found{}, usageError{fmt.Errorf("--%s with %s: the file says which world it is", name, path)}
		}
	}
	saved, err := sim.ReadFound(path)
	if err != nil {
		return saved, usageError{err}
	}
	return saved, nil
}
