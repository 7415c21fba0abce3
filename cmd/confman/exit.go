package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// The exit codes; scripts may rely on them.
const (
	exitOK          = 0
	exitError       = 1 // anything else that went wrong
	exitUsage       = 2 // the command line, or a path in it, is wrong; nothing was sent
	exitNotFound    = 3 // there is no such key, subtree or member
	exitConflict    = 4 // a condition did not hold; nothing was written
	exitUnavailable = 5 // no node could do it; a write was not applied
	exitUnknown     = 6 // a write may have been applied, or may still be
	exitNotHeld     = 7 // a compare of a transaction did not hold: else was done, if there is one
	exitDenied      = 8 // it cannot be told who calls, or they may not do it; nothing was written
)

// usageError is a wrong command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// usage makes a wrong count of arguments a usageError.
func usage(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, list []string) error {
		if err := args(cmd, list); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// exitCode says how the process ends.
func exitCode(err error) int {
	var (
		wrong   usageError
		key     *client.KeyError
		request *client.RequestError
		notHeld notHeldError
		noSeat  noSeatError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong), errors.As(err, &key), errors.As(err, &request):
		return exitUsage
	case errors.As(err, &notHeld):
		return exitNotHeld
	case client.OutcomeOf(err) == client.Unknown:
		return exitUnknown
	case client.IsUnauthenticated(err), client.IsForbidden(err), errors.Is(err, client.ErrToken):
		return exitDenied
	case client.IsNotFound(err), errors.As(err, &noSeat):
		return exitNotFound
	case client.IsConflict(err):
		return exitConflict
	case client.IsUnavailable(err), errors.Is(err, client.ErrBrokenOff), errors.Is(err, context.DeadlineExceeded):
		return exitUnavailable
	}
	return exitError
}

// tell prints an error and, where it helps, what to do.
func tell(w io.Writer, err error) {
	_, _ = fmt.Fprintf(w, "confman: %v\n", err) // nobody is left to tell
	hint := ""
	switch exitCode(err) {
	case exitUnknown:
		hint = "it may have been applied, or may still be: look before doing it again"
	case exitUnavailable:
		hint = "no node could do it now; see confman cluster for their state"
	case exitDenied:
		hint = "say who you are: a valid token in $" + tokenVariable + " or --token-file, or a client certificate in --cert and --key"
		if client.IsForbidden(err) {
			hint = "confman whoami tells who you are to the cluster, and what you may do"
		}
	}
	var e *client.Error
	if hint != "" && errors.As(err, &e) {
		_, _ = fmt.Fprintf(w, "confman: %s\n", hint)
	}
}
