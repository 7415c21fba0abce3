package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// What an export writes and an import reads.
const (
	formatTree    = "json"
	formatRecords = "ndjson"
)

// exportTimeout is the servers' bound for an export.
const exportTimeout = 10 * time.Minute

func newExport(s *session) *cobra.Command {
	var (
		o           client.ReadOptions
		out, format string
	)
	cmd := &cobra.Command{
		Use:   "export PREFIX",
		Short: "Write a subtree to a file, or to files",
		Long: `Write all that is below PREFIX (/ is the root), and its own value, as of one
revision, the newest or that of --revision or --at: as one JSON tree, or with
--format ndjson as records, one a line, which keep the type of each value.

--out names a file, which appears only once it is whole. If it ends in a slash or
is an empty directory, the files that an import was made from are written below
it: a key whose path has a segment that ends in .json becomes a value in that
file. What is written is readable by its owner only.`,
		Example: `  confman export teams/payments
  confman export i18n/cldr --out cldr.json
  confman export i18n/cldr --out cldr/
  confman export / --format ndjson --out backup.ndjson
  confman export teams/payments --at 2026-01-23T11:00:00+01:00`,
		Args: usage(cobra.ExactArgs(1)),
	}
	f := cmd.Flags()
	readFlags(f, &o)
	atFlag(f, &o)
	complete(cmd, "consistency", "linearizable", "bounded", "local")
	f.StringVar(&out, "out", "", "file or directory to write to (default: the standard output)")
	f.StringVar(&format, "format", formatTree, "json or ndjson")
	complete(cmd, "format", formatTree, formatRecords)
	f.DurationVar(&s.timeout, "timeout", exportTimeout, "how long to try, in all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkRead(o); err != nil {
			return err
		}
		if err := checkFormat(format); err != nil || format == "" {
			return usagef("--format is %q, want json or ndjson", format)
		}
		whole, stop := interruptible(cmd.Context())
		defer stop()
		c, ctx, cancel, err := s.dial(whole)
		if err != nil {
			return err
		}
		defer cancel()
		src := source{c, args[0], o}
		switch {
		case out == "":
			return src.copy(ctx, format, s.out)
		case isDirectory(out):
			if f.Changed("format") && format != formatTree {
				return usagef("--out is a directory: it takes json only")
			}
			return s.exportFiles(ctx, src, out)
		}
		return writeWhole(out, func(w io.Writer) error { return src.copy(ctx, format, w) })
	}
	return cmd
}

func checkFormat(format string) error {
	switch format {
	case "", formatTree, formatRecords:
		return nil
	}
	return usagef("--format is %q, want json or ndjson", format)
}

// source is a subtree to export.
type source struct {
	c      *client.Client
	prefix string
	opts   client.ReadOptions
}

// copy writes the subtree to w as the server sends it.
func (src source) copy(ctx context.Context, format string, w io.Writer) error {
	open := src.c.ExportTree
	if format == formatRecords {
		open = src.c.ExportRecords
	}
	body, _, err := open(ctx, src.prefix, src.opts)
	if err != nil {
		return err
	}
	defer body.Close() // it was only read
	_, err = io.Copy(w, body)
	return err
}

func isDirectory(out string) bool {
	if strings.HasSuffix(out, "/") {
		return true
	}
	info, err := os.Stat(out)
	return err == nil && info.IsDir()
}

// writeWhole makes a file that appears under its name only once write is done.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".partial-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()           // the first error is the one that matters
			_ = os.Remove(f.Name()) // so too here
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes durable which files a directory has.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // where the user wants the file
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// exportFiles writes the files of a subtree below dir, which may not hold anything
// yet: it appears only once all are written.
func (s *session) exportFiles(ctx context.Context, src source, dir string) (err error) {
	dir = filepath.Clean(dir)
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usagef("%s is not empty: export to a new directory", dir)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".partial-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(partial) // the first error is the one that matters
		}
	}()
	key, err := client.CheckPrefix(src.prefix)
	if err != nil {
		return err
	}
	w := fileWriter{dir: partial}
	for rec, err := range src.c.Export(ctx, src.prefix, src.opts) {
		if err != nil {
			return err
		}
		rel := rec.Path
		if key != "" {
			rel = strings.TrimPrefix(strings.TrimPrefix(rec.Path, key), "/")
		}
		if err := w.add(rel, &rec); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.err, "%s, %s\n", plural(w.files, "file", "files"), plural(w.leaves, "leaf", "leaves"))
	return err
}

// fileWriter writes records, which come in order of path, into files. All of one
// file come together, but for its own value (a tree that is no object): between
// a.json and a.json/b may lie a.json-c.
type fileWriter struct {
	dir           string
	name          string // of the file being gathered; "" if none
	tree          client.Tree
	own           []ownValue // values of whole files, not written yet
	files, leaves int
}

type ownValue struct {
	name string
	rec  client.Record
}

// add takes the record whose path below the exported prefix is rel.
func (w *fileWriter) add(rel string, rec *client.Record) error {
	name, inside, ok := splitFile(rel)
	if !ok {
		return fmt.Errorf("key %q has no segment that ends in .json, and so no file: export to one file instead (--out FILE)", rec.Path)
	}
	w.leaves++
	if inside == "" {
		w.own = append(w.own, ownValue{name, *rec})
		return nil
	}
	if name != w.name {
		if err := w.flush(); err != nil {
			return err
		}
		w.name = name
		for i, own := range w.own {
			if own.name == name {
				w.own = append(w.own[:i], w.own[i+1:]...)
				if err := w.tree.Add("", &own.rec); err != nil {
					return err
				}
				break
			}
		}
	}
	return w.tree.Add(inside, rec)
}

// splitFile cuts a path after the first segment that names a file.
func splitFile(rel string) (name, inside string, ok bool) {
	for end := 0; end < len(rel); {
		n := strings.IndexByte(rel[end:], '/')
		if n < 0 {
			return rel, "", isTree(rel)
		}
		if end += n; isTree(rel[:end]) {
			return rel[:end], rel[end+1:], true
		}
		end++
	}
	return "", "", false
}

// flush writes the file that was gathered.
func (w *fileWriter) flush() error {
	if w.name == "" {
		return nil
	}
	name := filepath.Join(w.dir, filepath.FromSlash(w.name))
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return err
	}
	text := append(w.tree.AppendJSON(nil), '\n')
	w.name, w.tree = "", client.Tree{}
	w.files++
	return os.WriteFile(name, text, 0o600)
}

// end writes what is left.
func (w *fileWriter) end() error {
	if err := w.flush(); err != nil {
		return err
	}
	for _, own := range w.own {
		w.name = own.name
		if err := w.tree.Add("", &own.rec); err != nil {
			return err
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	return nil
}
