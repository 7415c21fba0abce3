package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// table is what was found, printed as it grows.
type table struct {
	out   io.Writer
	total int // how many rows there are to be
	start time.Time
	rows  []result
}

// quickSeeds is within how many seeds most are caught.
const quickSeeds = 100

// maxSaid bounds what is shown of a judge's words, in bytes.
const maxSaid = 160

func (t *table) say(format string, args ...any) { fmt.Fprintf(t.out, format+"\n", args...) }

func (t *table) add(r result) {
	t.rows = append(t.rows, r)
	what := ""
	if r.caught != nil {
		what = fmt.Sprintf("%-15s %s", r.caught.Judge, said(r.caught))
	}
	if r.err != nil {
		what = "FAILED: " + firstLine(r.err.Error()) + " " + what
	}
	t.say("%-34s %4d seeds %6.1f s  %s", r.mutant.Name, r.seeds, r.took.Seconds(), what)
}

// said is the line with which a judge complained.
func said(v *verdict) string {
	line := strings.TrimPrefix(firstLine(v.Failure), v.Judge+": ")
	if len(line) > maxSaid {
		line = strings.ToValidUTF8(line[:maxSaid], "") + "…"
	}
	return line
}

func (t *table) summary() {
	caught, quick := t.count()
	t.say("%d of %d planted bugs are caught as they should be, %d within %d seeds; it took %v", caught, len(t.rows), quick, quickSeeds, t.took())
}

// took is how long the run has taken so far, with all that is built and the control.
func (t *table) took() time.Duration { return time.Since(t.start).Round(time.Second) }

func (t *table) count() (caught, quick int) {
	for _, r := range t.rows {
		if r.err == nil {
			caught++
			if r.seeds <= quickSeeds {
				quick++
			}
		}
	}
	return caught, quick
}

// err names those that are not caught as they should be.
func (t *table) err() error {
	var errs []error
	for _, r := range t.rows {
		if r.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.mutant.Name, r.err))
		}
	}
	return errors.Join(errs...)
}

const preface = `# Planted bugs

What ` + "`make mutants`" + ` printed last: each bug of ` + "`sim/mutants`" + ` is planted in the production code, and worlds
run, seed after seed, until a judge of the simulator complains. A seed is %v of virtual time and what
it then takes the cluster to come to rest. The judge must be one that the patch names, and the same
seed must pass without the bug. Which seed it takes changes with every change of the code or of the
simulator; the seconds are those of the machine it ran on, %d worlds at a time.

To plant another: change the code, ` + "`git diff >sim/mutants/NAME.patch`" + `, change it back, put the header
before the diff that ` + "`cmd/mutants/patch.go`" + ` describes, and run ` + "`go run ./cmd/mutants --only NAME`" + `. One
that survives is a hole in the simulator, and stays until the hole is closed; a patch whose header
names the hole gets %d seeds.

%d of %d are caught as they should be, %d of them within %d seeds. The run took %v.%s

| planted bug | what it breaks | judge | seeds | seconds | what it said |
| --- | --- | --- | ---: | ---: | --- |
`

// write makes a page of what there is of the table.
func (t *table) write(path string, worldTime time.Duration, jobs int) error {
	var b strings.Builder
	caught, quick := t.count()
	unfinished := ""
	if len(t.rows) < t.total {
		unfinished = fmt.Sprintf(" **The run ended early: only %d were planted.**", len(t.rows))
	}
	fmt.Fprintf(&b, preface, worldTime, jobs, holeSeeds, caught, t.total, quick, quickSeeds, t.took(), unfinished)
	for _, r := range t.rows {
		judge, words := "**none**", ""
		if r.caught != nil {
			judge, words = r.caught.Judge, said(r.caught)
		}
		if r.err != nil {
			words = firstLine(r.err.Error())
		}
		fmt.Fprintf(&b, "| %s | %s: %s | %s | %d | %.1f | %s |\n", r.mutant.Name, cell(r.mutant.promise), cell(r.mutant.breaks), judge, r.seeds, r.took.Seconds(), cell(words))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644) //nolint:gosec // a page for everybody
}

// cell is s as a cell of a Markdown table.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`).Replace(s) }
