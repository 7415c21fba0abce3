package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newRollback(s *session) *cobra.Command {
	var (
		o  client.RollbackOptions
		to uint64
	)
	cmd := &cobra.Command{
		Use:   "rollback PATH --to REVISION",
		Short: "Make a key or subtree what it was",
		Long: `Make a key what it was at a revision or, with a slash at the end of the path, all
keys below it ("/" is everything), at one new revision: keys that were put since
go, keys that were changed or deleted since come back. The history keeps what was
there meanwhile. See confman diff PATH --from REVISION for what there is to do.

With --chunked a subtree of more than 10,000 keys goes back too, in several
revisions: others see parts of it meanwhile.`,
		Example: `  confman rollback teams/payments/ --to 41 --comment 'bad rollout'
  confman rollback teams/payments/timeout-ms --to 41
  confman rollback / --to 41 --chunked`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	f.Uint64Var(&to, "to", 0, "the revision to go back to; 0 is the empty store")
	f.BoolVar(&o.Chunked, "chunked", false, "in several revisions, if there are too many keys for one")
	remarkFlags(f, &o.Comment, &o.IdempotencyKey)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !f.Changed("to") {
			return usagef("--to is missing: the revision to go back to")
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		r, meta, err := c.Rollback(ctx, args[0], to, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.print(r, func(w io.Writer) error {
			if !r.Changed {
				_, err := fmt.Fprintf(w, "%s: is what it was at revision %d\n", args[0], to)
				return err
			}
			_, err := fmt.Fprintf(w, "%s: %s restored, %d removed at revision %d\n", args[0], plural(r.Restored, "key", "keys"), r.Removed, r.Revision)
			return err
		})
	}
	return cmd
}
