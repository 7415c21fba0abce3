package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

func newBackupSalvage(e env) *cobra.Command {
	s := &session{env: e}
	var (
		dir, out string
		force    bool
	)
	cmd := &cobra.Command{
		Use:   "salvage",
		Short: "Write what a node that does not run holds to a file",
		Long: `Write what the database of a node holds to a file, as confman backup does. The node must
not run, and no other node is asked: for when a majority is lost for good, and no backup
is as new. Everything in it was committed; what was acknowledged last may be missing. Of
several nodes that are left take the one whose file has the highest revision.

If the node was killed, start it and stop it once before: then what it knows is in its
database. While a majority may come back, wait for that: nothing is lost then.`,
		Example: `  confman backup salvage --data-dir confman-data --out salvaged.backup`,
		Args:    usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&dir, "data-dir", "", "the node's Data.Dir, or where that is now")
	f.StringVar(&out, "out", "", "file to write to")
	f.BoolVar(&force, "force", false, "replace the file if there is one")
	s.outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" {
			return usagef("--data-dir is missing: name the node's Data.Dir")
		}
		if err := checkOut(out, force); err != nil {
			return err
		}
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		b, err := node.Salvage(dir, time.Now())
		if err != nil {
			return err
		}
		defer b.Close()
		if err := writeWhole(out, func(w io.Writer) error {
			bar := newMiBProgress(e, "salvage", b.Info.Size)
			defer bar.end()
			return fsm.WriteBackup(w, b.Image, b.Info, func(done int64) error {
				bar.reach(done)
				return ctx.Err()
			})
		}); err != nil {
			return err
		}
		sum, err := verifyBackup(ctx, e, out)
		if err != nil {
			return err
		}
		return s.print(sum, sum.print)
	}
	return cmd
}
