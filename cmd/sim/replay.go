package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/confman/confman/sim"
)

// errOtherWay means that one commit did two different things with one world.
var errOtherWay = errors.New("the same commit went another way: a world must depend on its options only")

func replayCommand() *cobra.Command {
	var k keep
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run a saved failure again and say whether it comes again",
		Long: `Run the world of a failure that --save wrote, and say whether the same judge
complains and the trace is the same.

Exit codes, which suit "git bisect run": 0, the world is as it should be; 1, it fails,
by whichever judge; 3, it went another way although the commit is the same.`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			saved, err := sim.ReadFound(args[0])
			if err != nil {
				return usageError{err}
			}
			result, err := sim.Run(saved.Options)
			var failure *sim.Failure
			if err != nil && !errors.As(err, &failure) {
				return err
			}
			err = compare(cmd.OutOrStdout(), &saved, sim.Commit(), &result, failure)
			return errors.Join(k.write(saved.Options, &result, failure), err)
		},
	}
	k.add(cmd)
	return cmd
}

// compare says how what happens now, at commit, is like what was saved; failure: nil if
// nothing is wrong now.
func compare(out io.Writer, saved *sim.Found, commit string, r *sim.Result, failure *sim.Failure) error {
	same := sim.SameCommit(saved.Commit, commit)
	if !same {
		fmt.Fprintf(out, "saved at commit %s, this is commit %s: what differs may be the code's doing\n", saved.Commit, commit)
	}
	trace, way := sim.FormatTrace(r.Trace), "the same trace"
	if trace != saved.Trace {
		way = fmt.Sprintf("another trace: %s, it was %s", trace, saved.Trace)
	}
	switch {
	case failure == nil:
		fmt.Fprintf(out, "not reproduced: the world is as it should be; %s\n", way)
	case failure.Judge != saved.Judge:
		fmt.Fprintf(out, "not reproduced: judge %s complains, it was %s; %s\n", failure.Judge, saved.Judge, way)
	default:
		fmt.Fprintf(out, "reproduced: judge %s complains; %s\n", failure.Judge, way)
	}
	if same && (failure == nil || failure.Judge != saved.Judge || trace != saved.Trace) {
		return errOtherWay
	}
	if failure == nil {
		return nil
	}
	return failure
}
