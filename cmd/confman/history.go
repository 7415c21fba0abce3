package main

import (
	"cmp"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newHistory(s *session) *cobra.Command {
	var (
		o      client.HistoryOptions
		limit  int
		verify bool
	)
	cmd := &cobra.Command{
		Use:   "history PATH | --verify",
		Short: "Show who changed a key or subtree, when and why",
		Long: `Show what happened to a key, newest first; with a slash at the end of the path, to
all keys below it ("/" is everything). --revision leaves out what came later.

With --verify, have a node compute the hash chain over all changes that it holds
again. If one is not what was written then, it is named, and the exit code is 1. Each
node has a history of its own: --endpoints chooses one.`,
		Example: `  confman history teams/payments/timeout-ms
  confman history teams/payments/ --limit 20
  confman history / -o json --limit 100
  confman history --verify
  confman history --verify --endpoints http://127.0.0.1:5010`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	f := cmd.Flags()
	readFlags(f, &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	f.IntVar(&limit, "limit", 0, "show at most so many events (default: all)")
	f.BoolVar(&verify, "verify", false, "compute the hash chain over all changes again")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
		}
		switch {
		case verify && (len(args) > 0 || f.Changed("limit") || o != client.HistoryOptions{}):
			return usagef("--verify is of the whole history: give it alone")
		case verify:
			return s.verify(cmd)
		case len(args) == 0:
			return usagef("PATH is missing: a key, a subtree with a slash at its end, or / for everything")
		}
		if limit < 0 {
			return usagef("--limit is %d, want at least 1", limit)
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		return list(s, upTo(limit, c.History(ctx, root(args[0]), o)), eventHead, eventRow)
	}
	return cmd
}

// verify has a history verified.
func (s *session) verify(cmd *cobra.Command) error {
	if !cmd.Flags().Changed("timeout") { // it takes as long as there are changes
		s.timeout = client.VerifyTimeout
	}
	c, ctx, cancel, err := s.dial(cmd.Context())
	if err != nil {
		return err
	}
	defer cancel()
	v, meta, err := c.VerifyHistory(ctx)
	if err != nil {
		return err
	}
	if err := s.print(v, func(w io.Writer) error { return verdictOf(w, &v, meta.Node) }); err != nil || v.Verified {
		return err
	}
	return fmt.Errorf("the history of %s is not what was written: revision %d is the first that differs: %s",
		cmp.Or(meta.Node, "the node"), v.FirstBadRevision, cmp.Or(v.Reason, "it does not fit the chain"))
}

func verdictOf(w io.Writer, v *client.Verification, node string) error {
	if !v.Verified {
		return nil
	}
	_, err := fmt.Fprintf(w, "%s: %d changes, up to revision %d, are what was written; chain %s\n", cmp.Or(node, "verified"), v.Changes, v.Revision, v.Chain)
	return err
}

// root is a path as the client takes it: "/" names everything.
func root(path string) string {
	if path == "/" {
		return ""
	}
	return path
}

var eventHead = []string{"REVISION", "WHEN", "WHO", "PATH", "VALUE", "WHY"}

func eventRow(e *client.Event) []string {
	value := "(deleted)"
	if !e.Deleted {
		value = shown(&e.Record)
	}
	return []string{number(e.Revision), e.ModifiedAt.UTC().Format(time.RFC3339), e.ModifiedBy, e.Path, value, e.Comment}
}

func newDiff(s *session) *cobra.Command {
	var o client.DiffOptions
	cmd := &cobra.Command{
		Use:   "diff PATH --from REVISION",
		Short: "Show how a key or subtree differs from what it was",
		Long: `Show how a key differs from what it was at a revision; with a slash at the end of
the path, how all keys below it do ("/" is everything). Revision 0 is the empty store.`,
		Example: `  confman diff teams/payments/ --from 41
  confman diff / --from 41 --to 57 -o json`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	freshFlags(f, &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	f.Uint64Var(&o.From, "from", 0, "the revision to compare with")
	f.Uint64Var(&o.Revision, "to", 0, "the revision to compare (default: what is there now)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
		}
		if !cmd.Flags().Changed("from") {
			return usagef("--from is missing: the revision to compare with")
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		return list(s, c.Diff(ctx, root(args[0]), o), diffHead, diffRow)
	}
	return cmd
}

var diffHead = []string{"", "PATH", "BEFORE", "AFTER"}

func diffRow(d *client.Difference) []string {
	sign := map[string]string{"added": "+", "removed": "-"}[d.Action]
	if sign == "" {
		sign = "~"
	}
	side := func(rec *client.Record) string {
		if rec == nil {
			return ""
		}
		return shown(rec)
	}
	return []string{sign, d.Path, side(d.Before), side(d.After)}
}
