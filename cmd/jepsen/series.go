package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// seriesFlags are those of commands that make several runs.
type seriesFlags struct {
	seed    uint64
	from    string
	program string
	results string
	docs    string
	within  time.Duration
	keep    bool
	local   jepsen.LocalOptions
}

func (f *seriesFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.Uint64Var(&f.seed, "seed", 1, "of what is drawn")
	fl.StringVar(&f.from, "from", "", "a text, such as that of a commit, to draw the seed from")
	fl.StringVar(&f.program, "program", "bin/confman", "the program under test")
	fl.DurationVar(&f.within, "for", 0, "begin no run after this time (default: all are made)")
	fl.BoolVar(&f.keep, "keep", false, "keep the directories also of runs in which all is as it should be")
	fl.StringVar(&f.results, "results", "", "file to note results in, such as "+resultsFile)
	fl.StringVar(&f.docs, "docs", "", "page to write the tables of --results into, such as "+docsFile)
	fl.BoolVar(&f.local.Loopback, "loopback", false, "use no network namespaces, also where there could be")
	fl.BoolVar(&f.local.PlainDisk, "plain-disk", false, "have the data on a file system that does not fail: faster")
	cmd.PreRun = func(*cobra.Command, []string) {
		if f.from != "" {
			h := fnv.New64a()
			_, _ = h.Write([]byte(f.from)) // a hash never fails
			f.seed = h.Sum64() >> 16       // short enough to be typed
		}
	}
}

// oneRun is one of a series.
type oneRun struct {
	name, about string
	again       string // the command line that makes it again
	note        func(r *results, c outcome)
	// make makes it, with what it needs in dir and what is left of it in out.
	make func(dir, out string) (*jepsen.Result, error)
	// then are the runs that have to be made at once because of what came of it, and whether what comes of them counts instead; nil: none
	// ever.
	then func(c outcome) (more []oneRun, instead bool)
}

var (
	// errNotHere: what could be made is as it should be, and something could not.
	errNotHere = errors.New("not all could be made here")
	// errNothing: nothing could be made.
	errNothing = fmt.Errorf("%w: nothing at all could be made here", errWrong)
)

// cannotError: a run cannot be made on this machine.
type cannotError struct{ why error }

func (e *cannotError) Error() string { return e.why.Error() }

// perform makes runs, one after the other, whatever comes of those before.
func (f *seriesFlags) perform(cmd *cobra.Command, runs []oneRun) error {
	out := cmd.OutOrStdout()
	var wrong, notHere []string
	good, left, began := 0, 0, time.Now()
	for i := 0; i < len(runs); i++ {
		if f.within != 0 && time.Since(began) > f.within {
			left = len(runs) - i
			break
		}
		run := runs[i]
		c, err := f.one(cmd, &run)
		if err != nil {
			return err
		}
		if err := f.noted(&run, c); err != nil {
			return err
		}
		instead := false
		if run.then != nil {
			var more []oneRun
			more, instead = run.then(c)
			runs = slices.Insert(runs, i+1, more...)
		}
		switch {
		case instead:
		case c.Result == resultGood:
			good++
		case c.Result == resultNotHere:
			notHere = append(notHere, run.name)
		default:
			wrong = append(wrong, run.name)
		}
	}
	fmt.Fprintf(out, "\n%d are as they should be, %d are not, %d cannot be made here", good, len(wrong), len(notHere))
	if left > 0 {
		fmt.Fprintf(out, ", %d were not begun in %v", left, f.within)
	}
	fmt.Fprintln(out)
	switch {
	case len(wrong) > 0:
		return fmt.Errorf("%w: %v", errWrong, wrong)
	case good == 0:
		return errNothing
	case len(notHere) > 0:
		return fmt.Errorf("%w: %v", errNotHere, notHere)
	}
	return nil
}

// one makes one run. The error is about the command, not about the run.
func (f *seriesFlags) one(cmd *cobra.Command, run *oneRun) (outcome, error) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "\n%s: %s\n", run.name, run.about)
	dir, err := os.MkdirTemp("", "jepsen-")
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	to := filepath.Join("jepsen-runs", run.name+"-"+began.Format("20060102-150405"))
	res, err := run.make(dir, to)
	if ended := cmd.Context().Err(); ended != nil {
		return outcome{}, ended
	}
	c := outcome{Date: began.UTC().Format(time.DateOnly), Seconds: float64(time.Since(began).Round(100*time.Millisecond)) / float64(time.Second)}
	var cannot *cannotError
	switch {
	case errors.As(err, &cannot):
		fmt.Fprintf(out, "%s cannot be made here: %v\n", run.name, cannot.why)
		c.Result, c.Text = resultNotHere, firstLine(cannot.why.Error())
	case err == nil && res.Err == nil:
		fmt.Fprintf(out, "%s is as it should be (%.0f s)\n", run.name, c.Seconds)
		c.Result = resultGood
		if !f.keep {
			return c, os.RemoveAll(to)
		}
	default:
		if err == nil {
			err = res.Err
		}
		fmt.Fprintf(out, "%s is not as it should be: %v\nagain: %s\n", run.name, err, run.again)
		c.Result, c.Text = resultWrong, firstLine(err.Error())
	}
	return c, nil
}

// noted writes down what came of a run, if it is to be.
func (f *seriesFlags) noted(run *oneRun, c outcome) error {
	if f.results == "" {
		return nil
	}
	r, err := noteResult(f.results, func(r *results) { run.note(r, c) })
	if err != nil || f.docs == "" {
		return err
	}
	return r.show(f.docs)
}
