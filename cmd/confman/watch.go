package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newWatch(s *session) *cobra.Command {
	var o client.WatchOptions
	var count int
	cmd := &cobra.Command{
		Use:   "watch PATH",
		Short: "Show changes as they happen",
		Long: `Show what happens to a key as it happens; with a slash at the end of the path, to
all keys below it ("/" is everything). Each change comes once and in order, a line for
each key it touched, or with -o json a line for each transaction; when a node goes away
another one is asked for what comes next.

--from 57 begins with what came after revision 57, --from 0 with the first change there
was. The command ends with Ctrl-C, or when the changes it lacks are not held any more.`,
		Example: `  confman watch teams/payments/ --timeout 1s
  confman watch / --from 41 --count 1 -o json`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.Uint64Var(&o.From, "from", 0, "begin after this revision (default: with what comes from now on)")
	f.IntVar(&count, "count", 0, "end after so many transactions (default: never)")
	f.DurationVar(&s.timeout, "timeout", math.MaxInt64, "end after this time")
	f.Lookup("timeout").DefValue = "never"
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if count < 0 {
			return usagef("--count is %d, want at least 1", count)
		}
		o.FromStart = cmd.Flags().Changed("from") && o.From == 0
		stopped, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c, ctx, cancel, err := s.dial(stopped)
		if err != nil {
			return err
		}
		defer cancel()
		n := 0
		for ch, err := range c.Watch(ctx, root(args[0]), o) {
			switch {
			case err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()):
				return context.Cause(cmd.Context()) // as was asked for, unless the caller gave up
			case err != nil:
				return err
			}
			if err := s.printChange(&ch); err != nil {
				return err
			}
			if n++; n == count {
				break
			}
		}
		return nil
	}
	return cmd
}

// printChange prints a line for each event, or for the change.
func (s *session) printChange(ch *client.Change) error {
	switch s.output {
	case "json":
		text, err := marshal(ch)
		if err != nil {
			return err
		}
		_, err = s.out.Write(append(text, '\n'))
		return err
	case "yaml":
		if _, err := fmt.Fprintln(s.out, "---"); err != nil {
			return err
		}
		return printYAML(s.out, ch)
	}
	for i := range ch.Events {
		row := eventRow(&ch.Events[i])
		if _, err := fmt.Fprintln(s.out, strings.TrimRight(strings.Join(row, "  "), " ")); err != nil {
			return err
		}
	}
	return nil
}
