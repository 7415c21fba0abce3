// Command lincheck judges a recorded history: is it linearizable, are its
// answers right, are its claims true, was there one cluster?
//
//	lincheck FILE [--html OUT]        "-" reads standard input
//
// The file's format and the judges are documented in docs/history.md. Exit codes:
//
//	0  the history is as it should be
//	1  it is not; each judge that says so is named, with the operations' numbers
//	2  wrong usage, the file is no history, or the report cannot be written
//	3  no answer within the budget for some keys: neither right nor wrong
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/linearizability"
)

// Exit codes.
const (
	exitViolation = 1
	exitUsage     = 2
	exitNoAnswer  = 3
)

// options are the flags.
type options struct {
	budget time.Duration // real time that Porcupine may take for one set of keys
	html   string        // where the report goes; empty: no report
}

func main() {
	err := command().Execute()
	if err != nil {
		fmt.Fprintf(os.Stderr, "lincheck: %v\n", err)
	}
	os.Exit(exitCode(err))
}

func command() *cobra.Command {
	var opts options
	cmd := &cobra.Command{
		Use:   "lincheck FILE",
		Short: "Judge a recorded history",
		Long: `Judge a recorded history (docs/history.md): one line for each judge that applies.
FILE "-" is standard input.

Exit codes: 0 all is right; 1 a judge found a violation; 2 wrong usage or no
history; 3 nothing wrong was found, but Porcupine had no answer for some keys
within the budget.`,
		Example:       "  sim run --seed 7 --history h.jsonl\n  lincheck h.jsonl --html report.html",
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.InOrStdin(), cmd.OutOrStdout(), args[0], opts)
		},
	}
	cmd.Flags().DurationVar(&opts.budget, "budget", 20*time.Second, "real time that Porcupine may take for one set of keys")
	cmd.Flags().StringVar(&opts.html, "html", "", "write a report to this file: one page, no network")
	return cmd
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, linearizability.ErrViolation):
		return exitViolation
	case errors.Is(err, linearizability.ErrNoAnswer):
		return exitNoAnswer
	}
	return exitUsage
}

// check gives a history to every judge and reports all that they find. The error
// says only whether something is wrong: what it is has been written to out.
func check(stdin io.Reader, out io.Writer, path string, opts options) error {
	h, err := read(stdin, path)
	if err != nil {
		return err
	}
	verdict := linearizability.Check(&h, opts.budget)
	for i := range verdict {
		if _, err := fmt.Fprintln(out, verdict[i].String()); err != nil {
			return err
		}
	}
	if opts.html != "" {
		if err := report(opts.html, &h, verdict, opts.budget); err != nil {
			return err
		}
	}
	switch err := verdict.Err(); {
	case errors.Is(err, linearizability.ErrViolation):
		return linearizability.ErrViolation
	case err != nil:
		return linearizability.ErrNoAnswer
	}
	return nil
}

func report(path string, h *linearizability.History, verdict linearizability.Verdict, budget time.Duration) error {
	f, err := os.Create(path) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	err = linearizability.Report(out, h, verdict, budget)
	return errors.Join(err, out.Flush(), f.Close())
}

func read(stdin io.Reader, path string) (linearizability.History, error) {
	if path == "-" {
		return linearizability.ReadHistory(stdin)
	}
	f, err := os.Open(path) //nolint:gosec // the file that the user names
	if err != nil {
		return linearizability.History{}, err
	}
	h, err := linearizability.ReadHistory(f)
	return h, errors.Join(err, f.Close())
}
