package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// env is what a command touches beside files and sockets, so that tests can stand in.
type env struct {
	in       io.Reader
	out, err io.Writer
	environ  []string // as os.Environ gives it
	// outTerminal and errTerminal: a person reads out and err.
	outTerminal, errTerminal bool
}

// variable is an environment variable's value, "" if it is not set.
func (e env) variable(name string) string {
	value := ""
	for _, v := range e.environ {
		if after, ok := strings.CutPrefix(v, name+"="); ok {
			value = after
		}
	}
	return value
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, e env, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		tell(e.err, err)
	}
	return exitCode(err)
}

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "confman",
		Short: "Keep the configuration of services, replicated by Raft",
		Long: `Confman keeps the configuration of services: a tree of keys, replicated by Raft
over 3 or 5 nodes, read and written over REST on any of them.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 no such key, 4 a condition did not
hold, 5 no node could do it now, 6 a write may or may not have been applied, 7 a
compare of a transaction did not hold, 8 it cannot be told who calls, or they may
not do it.`,
		Example: `  confman dev
  confman put teams/payments/timeout-ms 30
  confman get teams/payments/timeout-ms
  confman import i18n/cldr ./cldr/main`,
		Version:       version(),
		Args:          usage(cobra.NoArgs),
		SilenceErrors: true,
		SilenceUsage:  true,
		// Without it "confman tpyo" would be an argument of the root.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddGroup(&cobra.Group{ID: groupServer, Title: "Servers:"}, &cobra.Group{ID: groupClient, Title: "Clients:"})
	for _, cmd := range []*cobra.Command{newServe(e), newDev(e), newCert(e), newRestore(e), newVersion(e)} {
		cmd.GroupID = groupServer
		root.AddCommand(cmd)
	}
	for _, make := range []func(*session) *cobra.Command{
		newGet, newPut, newPatch, newRm, newLs, newTxn, newWatch, newHistory, newDiff, newRollback, newImport, newExport, newCluster,
		newNamespaces, newAudit, newWhoAmI,
	} {
		s := &session{env: e}
		cmd := make(s)
		cmd.GroupID = groupClient
		s.flags(cmd)
		root.AddCommand(cmd)
	}
	s := &session{env: e}
	backup := newBackup(s) // has flags of its own: verify takes no cluster
	backup.GroupID = groupClient
	root.AddCommand(backup)
	return root
}

const (
	groupServer = "server"
	groupClient = "client"
)
