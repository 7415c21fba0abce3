// Command sim runs simulations of whole clusters by seed.
//
//	sim run --seed S --time 10m     one world; prints its trace ("run" may be left out)
//	sim sweep --seeds N --jobs J    many worlds, in processes of their own
//	sim replay FILE                 a failure that was saved, once more
//	sim shrink FILE                 a smaller world with the same failure
//
// A seed is a number or any text, such as the name of a git commit. What a world does
// depends on its options and the commit, and on nothing else.
//
// Exit codes:
//
//	0  all worlds are as they should be; with replay: so is this one, now
//	1  a world is not; the last line printed is the command that runs it again
//	2  wrong usage
//	3  a world could not be run, a sweep did not reach all that it should, a replay
//	   went another way at the same commit, or there was no failure to shrink
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

// Exit codes.
const (
	exitFound   = 1
	exitUsage   = 2
	exitTrouble = 3
)

// usageError is a wrong flag or argument.
type usageError struct{ error }

func main() {
	err := rootCommand().Execute()
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "sim: %v\n", err)
	var usage usageError
	var found *sim.Failure
	switch {
	case errors.As(err, &found):
		// Its own text ends with the replay, which is printed last.
		os.Exit(exitFound)
	case errors.As(err, &usage):
		os.Exit(exitUsage)
	default:
		os.Exit(exitTrouble)
	}
}

// rootCommand is run, with the others below it.
func rootCommand() *cobra.Command {
	root := runCommand()
	root.Use = "sim"
	root.Short = "Run simulations of whole Confman clusters by seed; without a command: run"
	root.SilenceUsage = true
	root.SilenceErrors = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), sweepCommand(), replayCommand(), shrinkCommand(), workerCommand())
	return root
}

// arguments makes what check refuses wrong usage.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
