package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// brokenTable is what became of broken builds.
type brokenTable struct {
	rows []caught
}

// maxSaid bounds what is shown of a judge's words, in bytes.
const maxSaid = 200

func (t *brokenTable) caught() (n int) {
	for _, c := range t.rows {
		if c.err == nil {
			n++
		}
	}
	return n
}

// err names those that are not caught as they should be.
func (t *brokenTable) err() error {
	var errs []error
	for _, c := range t.rows {
		if c.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.build.Name, c.err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", errNotCaught, errors.Join(errs...))
}

func (c *caught) line() string {
	what := c.judges() + ": " + c.said()
	if c.err != nil {
		what = "FAILED: " + said(c.err.Error())
	}
	return fmt.Sprintf("%-30s run %d, %5.1f s  %s", c.build.Name, c.tries, c.after.Seconds(), what)
}

func (c *caught) judges() string {
	var names []string
	for _, w := range c.wrong {
		if !slices.Contains(names, w.Judge) {
			names = append(names, w.Judge)
		}
	}
	return strings.Join(names, ", ")
}

func (c *caught) said() string {
	if len(c.wrong) == 0 {
		return ""
	}
	return said(c.wrong[0].Text)
}

// said is the first line of what a judge says, as far as there is room.
func said(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.Map(func(r rune) rune { // a damaged value may be anything
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, line)
	if len(line) > maxSaid {
		line = strings.ToValidUTF8(line[:maxSaid], "") + "…"
	}
	return line
}

const brokenPreface = `# Broken builds

What ` + "`make jepsen-broken`" + ` found last: each patch of ` + "`jepsen/broken`" + ` is laid over the sources, and the program with that bug runs
under ` + "`jepsen local`" + ` until a judge complains that the patch names: a few runs at most, which differ in their seed. The program
without the bug must pass the very run that caught it. The seconds are those that clients asked until the judge
complained, over all runs; it is asked every two seconds, and at the end. They are of one machine, and differ from time to time: processes have a
schedule of their own.

To add another: change the code, ` + "`git diff >jepsen/broken/NAME.patch`" + `, change it back, put the header before the diff that
` + "`cmd/jepsen/broken_build.go`" + ` describes, and run ` + "`go run ./cmd/jepsen broken --page docs/broken.md NAME`" + `, which leaves the other rows as they are.

%d of %d are caught as they should be.

| build | what it breaks | run | judge | seconds (runs) | what it said |
| --- | --- | --- | --- | ---: | --- |
`

// notCaught is what a row has in place of a judge.
const notCaught = "**none**"

// row is c's of the page.
func (c *caught) row() string {
	judge, words := c.judges(), c.said()
	if c.err != nil {
		judge, words = notCaught, said(c.err.Error())
	}
	return fmt.Sprintf("| %s | %s: %s | `%s` | %s | %.1f (%d) | %s |\n",
		c.build.Name, cell(c.build.promise), cell(c.build.breaks), c.build.run, judge, c.after.Seconds(), c.tries, cell(words))
}

// write makes the page: rows of builds that are among all, and were not run now, stay as they are.
func (t *brokenTable) write(path string, all []brokenBuild) error {
	old, err := os.ReadFile(path) //nolint:gosec // what the caller named
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(old)) {
		if cells := strings.Split(line, " | "); len(cells) > 1 {
			rows[strings.TrimPrefix(cells[0], "| ")] = line
		}
	}
	for _, c := range t.rows {
		rows[c.build.Name] = c.row()
	}
	var text strings.Builder
	good := 0
	for _, b := range all {
		row := rows[b.Name]
		if row != "" && !strings.Contains(row, "| "+notCaught+" |") {
			good++
		}
		text.WriteString(row)
	}
	return os.WriteFile(path, []byte(fmt.Sprintf(brokenPreface, good, len(all))+text.String()), 0o644) //nolint:gosec // a page for everybody
}

// cell is s as a cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s) }
