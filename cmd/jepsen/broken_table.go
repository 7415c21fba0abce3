package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// brokenTable is what became of broken builds.
type brokenTable struct {
	began time.Time
	tries int
	rows  []caught
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
	if len(line) > maxSaid {
		line = strings.ToValidUTF8(line[:maxSaid], "") + "…"
	}
	return line
}

const brokenPreface = `# Broken builds

What ` + "`make jepsen-broken`" + ` found last: each patch of ` + "`jepsen/broken`" + ` is laid over the sources, and the program with that bug runs
under ` + "`jepsen local`" + ` until a judge complains that the patch names: at most %d runs, which differ in their seed. The program
without the bug must pass the very run that caught it; it passed %d runs. The seconds are those that clients asked until the judge
complained, over all runs; it is asked every two seconds, and at the end. They are of one machine, and differ from time to time: processes have a schedule
of their own.

To add another: change the code, ` + "`git diff >jepsen/broken/NAME.patch`" + `, change it back, put the header before the diff that
` + "`cmd/jepsen/broken_build.go`" + ` describes, and run ` + "`go run ./cmd/jepsen broken NAME`" + `.

%d of %d are caught as they should be. All took %v, the program's builds included.

| build | what it breaks | run | judge | seconds (runs) | what it said |
| --- | --- | --- | --- | ---: | --- |
`

// write makes the page.
func (t *brokenTable) write(path string, sound int) error {
	var b strings.Builder
	fmt.Fprintf(&b, brokenPreface, t.tries, sound, t.caught(), len(t.rows), time.Since(t.began).Round(time.Second))
	for _, c := range t.rows {
		judge, words := c.judges(), c.said()
		if c.err != nil {
			judge, words = "**none**", said(c.err.Error())
		}
		fmt.Fprintf(&b, "| %s | %s: %s | `%s` | %s | %.1f (%d) | %s |\n",
			c.build.Name, cell(c.build.promise), cell(c.build.breaks), c.build.run, judge, c.after.Seconds(), c.tries, cell(words))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644) //nolint:gosec // a page for everybody
}

// cell is s as a cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s) }
