// Command sim runs simulations of whole clusters by seed.
//
//	sim run --seed S --time 10m     one world; prints its trace
//	sim sweep --seeds N --jobs J    many worlds, in processes of their own
//
// Exit codes:
//
//	0  all worlds are as they should be
//	1  a world is not; the last line printed is the command that runs it again
//	2  wrong usage
//	3  a world could not be run, or a sweep did not reach all that it should
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
	root := &cobra.Command{
		Use:           "sim",
		Short:         "Run simulations of whole Confman clusters by seed",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), sweepCommand(), workerCommand())
	err := root.Execute()
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
