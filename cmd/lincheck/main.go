// Command lincheck judges a recorded history: is it linearizable, are its
// answers right, are its claims of freshness true?
//
//	lincheck FILE        "-" reads standard input
//
// The file's format is documented in package linearizability. Exit codes:
//
//	0  the history is as it should be
//	1  it is not; what is wrong is printed, with the operations' numbers
//	2  wrong usage, or the file is no history
//	3  no answer within the budget for some keys: neither right nor wrong
package main

import (
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

var (
	errViolation = errors.New("the history is not as it should be")
	errNoAnswer  = errors.New("no answer within the budget")
)

func main() {
	var budget time.Duration
	cmd := &cobra.Command{
		Use:           "lincheck FILE",
		Short:         "Judge a recorded history",
		Args:          cobra.ExactArgs(1),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return check(cmd.InOrStdin(), cmd.OutOrStdout(), args[0], budget)
		},
	}
	cmd.Flags().DurationVar(&budget, "budget", 20*time.Second, "real time that Porcupine may take for one key")
	if err := cmd.Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "lincheck: %v\n", err)
		switch {
		case errors.Is(err, errViolation):
			os.Exit(exitViolation)
		case errors.Is(err, errNoAnswer):
			os.Exit(exitNoAnswer)
		}
		os.Exit(exitUsage)
	}
}

// check gives a history to every judge and reports all that they find.
func check(stdin io.Reader, out io.Writer, path string, budget time.Duration) error {
	h, err := read(stdin, path)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d operations\n", len(h.Ops))
	var found error
	if err := linearizability.CheckRevisions(&h); err != nil {
		found = errors.Join(found, fmt.Errorf("%w: by revisions: %w", errViolation, err))
	} else {
		fmt.Fprintln(out, "revisions: right")
	}
	if claims, err := linearizability.CheckStaleness(&h); err != nil {
		found = errors.Join(found, fmt.Errorf("%w: staleness: %w", errViolation, err))
	} else {
		fmt.Fprintf(out, "staleness: %d claims, all true\n", claims)
	}
	report, err := linearizability.CheckRegisters(&h, budget)
	switch {
	case err != nil:
		found = errors.Join(found, fmt.Errorf("%w: registers: %w", errViolation, err))
	case len(report.NoAnswer) > 0:
		found = errors.Join(found, fmt.Errorf("%w of %v: keys %q", errNoAnswer, budget, report.NoAnswer))
	default:
		fmt.Fprintf(out, "registers: %d keys, all linearizable\n", report.Keys)
	}
	return found
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
