package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/client"
)

// importTimeout is how long an import tries: a cluster that lost its leader is
// back within seconds, a machine that restarts within minutes.
const importTimeout = 5 * time.Minute

// importFlags are those of one import.
type importFlags struct {
	escape, comment, format string
	inFlight                int
}

func newImport(s *session) *cobra.Command {
	var o importFlags
	cmd := &cobra.Command{
		Use:   "import PREFIX PATH",
		Short: "Store a tree of JSON files, or records",
		Long: `Store what PATH holds below PREFIX (/ is the root). PATH is one of:

  a directory   every *.json and *.ndjson file in it and below; the rest is left
                out. A JSON file's path relative to PATH, with its extension, and
                the path inside it become the key:
                  import i18n/cldr main   with main/en/numbers.json
                  {"main": {"en": {"x": 1}}}
                  stores 1 at i18n/cldr/en/numbers.json/main/en/x
  a JSON file   the path inside it alone becomes the key
  *.ndjson      records, one a line, as confman export --format ndjson writes
                them; each names its whole path, which must not leave PREFIX
  -             the standard input: a JSON tree, or records with --format ndjson

Each string, number, boolean, null and array is a value, stored as the JSON text
that it is; member "" of an object is the value of the object's own path; an
empty object stores nothing. All files are read and checked before the first
value is written, and all that is wrong is told at once.

An import can be repeated: what is stored already is not written again. It goes on
through the loss of nodes until --timeout. It deletes nothing.`,
		Example: `  confman import i18n/cldr ./cldr/main
  confman import teams/payments payments.json --comment 'from the wiki'
  confman import / backup.ndjson --timeout 30m
  confman import i18n/paths ./paths --escape '~'
  curl -s https://example.org/tree.json | confman import teams/payments -`,
		Args: usage(cobra.ExactArgs(2)),
	}
	f := cmd.Flags()
	f.StringVar(&o.escape, "escape", "", "what stands for a slash in a member name (default: such a name is an error)")
	f.StringVar(&o.comment, "comment", "", "why; it goes into the change log")
	f.StringVar(&o.format, "format", "", "what a single file is: json or ndjson (default: as its name says; json for -)")
	complete(cmd, "format", formatTree, formatRecords)
	f.IntVar(&o.inFlight, "in-flight", client.DefaultInFlight, fmt.Sprintf("requests under way at the same time, at most %d", client.MaxInFlight))
	f.DurationVar(&s.timeout, "timeout", importTimeout, "how long to try, in all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		sum, err := s.importTree(cmd.Context(), args[0], args[1], o)
		if sum == nil {
			return err
		}
		if printed := s.print(sum, sum.print); err == nil {
			err = printed
		}
		return err
	}
	return cmd
}

// summary is what an import did.
type summary struct {
	Files int `json:"files"`
	// Leaves are the values and records found, EmptyObjects what stood for none.
	Leaves       int     `json:"leaves"`
	EmptyObjects int     `json:"empty_objects"`
	Changed      int     `json:"changed"`
	Unchanged    int     `json:"unchanged"`
	Revision     uint64  `json:"revision"`
	Seconds      float64 `json:"seconds"`
	PerSecond    float64 `json:"leaves_per_second"`
	Complete     bool    `json:"complete"`
}

func (sum *summary) print(w io.Writer) error {
	if !sum.Complete {
		_, err := fmt.Fprintf(w, "incomplete: %d of %d leaves were stored (%d changed, %d unchanged) in %.1f s; the same import can be run again\n",
			sum.Changed+sum.Unchanged, sum.Leaves, sum.Changed, sum.Unchanged, sum.Seconds)
		return err
	}
	empty := ""
	if sum.EmptyObjects > 0 {
		empty = fmt.Sprintf(" (%s for no key)", plural(sum.EmptyObjects, "empty object stands", "empty objects stand"))
	}
	_, err := fmt.Fprintf(w, "%s, %s%s: %d changed, %d unchanged, revision %d, %.1f s, %.0f leaves/s\n",
		plural(sum.Files, "file", "files"), plural(sum.Leaves, "leaf", "leaves"), empty, sum.Changed, sum.Unchanged, sum.Revision, sum.Seconds, sum.PerSecond)
	return err
}

// importTree checks everything, then sends it. A summary comes with an error too,
// once something was sent.
func (s *session) importTree(ctx context.Context, prefix, path string, o importFlags) (*summary, error) {
	key, err := client.CheckPrefix(prefix)
	if err != nil {
		return nil, err
	}
	if o.inFlight < 1 || o.inFlight > client.MaxInFlight {
		return nil, usagef("--in-flight is %d, want 1 to %d", o.inFlight, client.MaxInFlight)
	}
	if err := checkEscape(o.escape); err != nil {
		return nil, err
	}
	if err := checkFormat(o.format); err != nil {
		return nil, err
	}
	c, ctx, cancel, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	files, err := s.findFiles(path, key, o)
	if err != nil {
		return nil, err
	}
	sum := &summary{Files: len(files)}
	if err := checkFiles(ctx, files); err != nil {
		return nil, err
	}
	for _, f := range files {
		sum.Leaves += f.leaves
		sum.EmptyObjects += f.emptyObjects
	}
	bar := newProgress(s.env, "import", "leaves", sum.Leaves)
	start := time.Now()
	imp, err := c.NewImport(ctx, key, client.ImportOptions{
		InFlight: o.inFlight, Comment: o.comment,
		Progress: func(r client.ImportResult) { bar.add(r.Records) },
	})
	if err != nil {
		return nil, err
	}
	sendFiles(imp, files)
	res, err := imp.Wait()
	bar.end()
	sum.Changed, sum.Unchanged, sum.Revision = res.Changed, res.Unchanged, res.Revision
	sum.Seconds = time.Since(start).Seconds()
	sum.PerSecond = float64(res.Records) / max(sum.Seconds, 1e-9)
	sum.Complete = err == nil
	return sum, err
}

func checkEscape(escape string) error {
	if escape == "" {
		return nil
	}
	if err := client.CheckKey("x" + escape + "x"); err != nil || strings.Contains(escape, "/") {
		return usagef("--escape is %q, want text that may stand in a path segment", escape)
	}
	return nil
}

// workers is how many files are worked on at the same time. Checking them takes
// less than a tenth of what storing them does.
func workers() int { return min(runtime.GOMAXPROCS(0), 8) }
