package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// How a listing is printed.
const (
	formatList   = "list"
	formatNested = "tree"
)

// lsBlock is how many rows share the widths of their columns: a listing may be
// longer than memory.
const lsBlock = 1_000

func newLs(s *session) *cobra.Command {
	var (
		o      client.ListOptions
		format string
	)
	cmd := &cobra.Command{
		Use:   "ls [PREFIX]",
		Short: "List what is below a path",
		Long: `List the keys and subtrees directly below a path, or with -r all keys, as they were
at one revision: the newest, or that of --revision or --at. With --format tree the
values are nested in one document, as JSON or, with -o yaml, as YAML.`,
		Example: `  confman ls
  confman ls teams/payments
  confman ls -r teams -o json
  confman ls -r teams --format tree -o yaml
  confman ls teams --at 2026-01-23T10:00:00Z`,
		Args: usage(cobra.MaximumNArgs(1)),
	}
	f := cmd.Flags()
	readFlags(f, &o.ReadOptions)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	atFlag(f, &o.ReadOptions)
	f.StringVar(&format, "format", formatList, "list, or with -r tree")
	complete(cmd, "format", formatList, formatNested)
	f.BoolVarP(&o.Recursive, "recursive", "r", false, "list all keys below")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o.ReadOptions); err != nil {
			return err
		}
		switch {
		case format != formatList && format != formatNested:
			return usagef("--format is %q, want list or tree", format)
		case format == formatNested && !o.Recursive:
			return usagef("--format tree is of all keys below a path: give -r too")
		case format == formatNested && s.output == "table":
			return usagef("--format tree is printed as json or yaml, not as a table")
		}
		c, ctx, cancel, err := s.dial(cmd.Context())
		if err != nil {
			return err
		}
		defer cancel()
		prefix := ""
		if len(args) > 0 {
			prefix = args[0]
		}
		if format == formatNested {
			return s.nested(prefix, c.List(ctx, prefix, o))
		}
		return list(s, c.List(ctx, prefix, o), recordHead, recordRow)
	}
	return cmd
}

// nested prints items below prefix as one tree.
func (s *session) nested(prefix string, items iter.Seq2[client.Item, error]) error {
	var tree client.Tree
	prefix = strings.TrimSuffix(prefix, "/") + "/"
	for item, err := range items {
		if err == nil {
			err = tree.Add(strings.TrimPrefix(item.Path, prefix), &item.Record)
		}
		if err != nil {
			return err
		}
	}
	text := append(tree.AppendJSON(nil), '\n')
	if s.output == "yaml" {
		return printYAML(s.out, json.RawMessage(text))
	}
	_, err := s.out.Write(text)
	return err
}

// upTo ends after n items, if n is not zero.
func upTo[T any](n int, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		seen := 0
		for item, err := range items {
			if seen++; !yield(item, err) || seen == n {
				return
			}
		}
	}
}

// list prints items as they come: as JSON, YAML, or rows of a table.
func list[T any](s *session, items iter.Seq2[T, error], head []string, row func(*T) []string) error {
	return listRows(s, items, head, func(item *T) [][]string { return [][]string{row(item)} })
}

// listRows is list where an item may take several rows.
func listRows[T any](s *session, items iter.Seq2[T, error], head []string, of func(*T) [][]string) (err error) {
	w := bufio.NewWriter(s.out)
	defer func() {
		if flushed := w.Flush(); err == nil {
			err = flushed
		}
	}()
	switch s.output {
	case "json":
		return listJSON(w, items)
	case "yaml":
		for item, err := range items {
			if err != nil {
				return err
			}
			if err := printYAML(w, []T{item}); err != nil {
				return err
			}
		}
		return nil
	}
	rows := [][]string{head}
	for item, err := range items {
		if err != nil {
			return err
		}
		if rows = append(rows, of(&item)...); len(rows) > lsBlock {
			if err := table(w, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
	}
	return table(w, rows)
}

// listJSON prints one array, an item a line.
func listJSON[T any](w *bufio.Writer, items iter.Seq2[T, error]) error {
	separator := "[\n"
	for item, err := range items {
		if err != nil {
			return err
		}
		text, err := marshal(item)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(w, "%s  %s", separator, text) // Flush tells
		separator = ",\n"
	}
	if separator == "[\n" {
		_, err := w.WriteString("[]\n")
		return err
	}
	_, err := w.WriteString("\n]\n")
	return err
}
