package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

func newPut(s *session) *cobra.Command {
	var (
		o                 client.WriteOptions
		file, contentType string
	)
	cmd := &cobra.Command{
		Use:   "put KEY [VALUE]",
		Short: "Store one value",
		Long: `Store a value, given as an argument or, with -f, as a file (- is the standard
input). Without --content-type it is taken as JSON if it parses, else as text if
it is UTF-8, else as octets.`,
		Example: `  confman put teams/payments/timeout-ms 30
  confman put teams/payments/banner 'Back at noon' --comment 'planned work'
  confman put teams/payments/routes -f routes.json --if-revision 42
  confman put teams/payments/leader '"me"' --if-absent
  confman put teams/payments/timeout-ms 45 --idempotency-key deploy-4711
  confman put teams/payments/offset -- -5`,
		Args: usage(cobra.RangeArgs(1, 2)),
	}
	f := cmd.Flags()
	writeFlags(f, &o)
	f.BoolVar(&o.IfAbsent, "if-absent", false, "write only if the key has no value")
	f.StringVarP(&file, "file", "f", "", "take the value from this file; - is the standard input")
	f.StringVar(&contentType, "content-type", "", "what the value is (default: found out)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if o.IfAbsent && o.IfRevision != 0 {
			return usagef("--if-absent and --if-revision contradict each other: give one")
		}
		value, err := s.value(args[1:], file)
		if err != nil {
			return err
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		w, meta, err := c.Put(ctx, args[0], value, contentType, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.written(&w)
	}
	return cmd
}

// written prints what a write of one value did.
func (s *session) written(w *client.Written) error {
	return s.print(w, func(out io.Writer) error {
		what := "unchanged since"
		switch {
		case w.Created:
			what = "created at"
		case w.Changed:
			what = "changed at"
		}
		_, err := fmt.Fprintf(out, "%s: %s revision %d\n", w.Path, what, w.Revision)
		return err
	})
}

func newPatch(s *session) *cobra.Command {
	var (
		o          client.WriteOptions
		file       string
		operations bool
	)
	cmd := &cobra.Command{
		Use:   "patch KEY [PATCH]",
		Short: "Change a JSON value in part",
		Long: `Change a JSON value in part, with a JSON Merge Patch (RFC 7396: members to set, null
for those to remove) or, with --operations, a JSON Patch (RFC 6902), given as an
argument or, with -f, as a file (- is the standard input).`,
		Example: `  confman patch teams/payments/limits '{"per_minute": 60, "burst": null}'
  confman patch teams/payments/routes -f routes.patch.json --operations --if-revision 42`,
		Args: usage(cobra.RangeArgs(1, 2)),
	}
	f := cmd.Flags()
	writeFlags(f, &o)
	f.StringVarP(&file, "file", "f", "", "take the patch from this file; - is the standard input")
	f.BoolVar(&operations, "operations", false, "the patch is a JSON Patch: a list of operations")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch, err := s.value(args[1:], file)
		if err != nil {
			return err
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		t := client.MergePatch
		if operations {
			t = client.JSONPatch
		}
		w, meta, err := c.Patch(ctx, args[0], patch, t, o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.written(&w)
	}
	return cmd
}

// value is that of the argument or of the file.
func (s *session) value(args []string, file string) ([]byte, error) {
	switch {
	case len(args) == 1 && file != "":
		return nil, usagef("a value is given and --file too: give one")
	case len(args) == 1:
		return []byte(args[0]), nil
	case file == "":
		return nil, usagef("no value: give one as an argument, or --file")
	}
	return s.read(file, client.MaxValueBytes, "value")
}

// read returns what is in a file, - being the standard input, of at most limit bytes.
func (s *session) read(file string, limit int64, what string) ([]byte, error) {
	src := s.in
	if file != "-" {
		f, err := os.Open(file) //nolint:gosec // the user names it
		if err != nil {
			return nil, err
		}
		defer f.Close() // it was only read
		src = f
	}
	text, err := io.ReadAll(io.LimitReader(src, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the %s: %w", what, err)
	}
	if int64(len(text)) > limit {
		return nil, usagef("the %s has more than %d bytes", what, limit)
	}
	return text, nil
}

func newRm(s *session) *cobra.Command {
	var (
		o                  client.WriteOptions
		recursive, chunked bool
	)
	cmd := &cobra.Command{
		Use:   "rm PATH",
		Short: "Delete one key, or a subtree",
		Long: `Delete one key or, with -r, every key below a path that ends in a slash, at one
revision. With --chunked a subtree of more than 10,000 keys goes too, in several
revisions: others see parts of it meanwhile.`,
		Example: `  confman rm teams/payments/timeout-ms
  confman rm teams/payments/lock --if-revision 42 --comment 'released'
  confman rm -r teams/payments/old/ --comment 'moved to billing'`,
		Args: usage(cobra.ExactArgs(1)),
	}
	writeFlags(cmd.Flags(), &o)
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "delete every key below PATH, which ends in a slash")
	cmd.Flags().BoolVar(&chunked, "chunked", false, "with -r: in several revisions, if there are too many keys for one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch subtree := strings.HasSuffix(args[0], "/"); {
		case subtree && !recursive:
			return usagef("%s is a subtree: give -r to delete every key below it", args[0])
		case !subtree && recursive:
			return usagef("%s is a key: a subtree, as -r asks for, is written %s/", args[0], args[0])
		case recursive && o.IfRevision != 0:
			return usagef("--if-revision is of one key, and %s is a subtree", args[0])
		case chunked && !recursive:
			return usagef("--chunked is of subtrees: give -r too, and a path that ends in a slash")
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		if recursive {
			r, meta, err := c.DeleteTree(ctx, args[0], client.DeleteTreeOptions{Chunked: chunked, Comment: o.Comment, IdempotencyKey: o.IdempotencyKey})
			if err != nil {
				return err
			}
			s.tellReplay(o.IdempotencyKey, meta)
			return s.print(r, func(out io.Writer) error {
				_, err := fmt.Fprintf(out, "%s: %s deleted at revision %d\n", r.Path, plural(r.Removed, "key", "keys"), r.Revision)
				return err
			})
		}
		w, meta, err := c.Delete(ctx, args[0], o)
		if err != nil {
			return err
		}
		s.tellReplay(o.IdempotencyKey, meta)
		return s.print(w, func(out io.Writer) error {
			_, err := fmt.Fprintf(out, "%s: deleted at revision %d\n", w.Path, w.Revision)
			return err
		})
	}
	return cmd
}
