package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newHistory(s *session) *cobra.Command {
	var o client.HistoryOptions
	var limit int
	cmd := &cobra.Command{
		Use:   "history PATH",
		Short: "Show who changed a key or subtree, when and why",
		Long: `Show what happened to a key, newest first; with a slash at the end of the path, to
all keys below it ("/" is everything). --revision leaves out what came later.`,
		Example: `  confman history teams/payments/timeout-ms
  confman history teams/payments/ --limit 20
  confman history / -o json --limit 100`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	readFlags(f, &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	f.IntVar(&limit, "limit", 0, "show at most so many events (default: all)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
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
