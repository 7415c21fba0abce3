package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/jepsen"
)

// apart are the workloads that need nodes, or clients, which those of the others are not: with callers that have to say who they are
// the others would not ask what they ask else.
var apart = []string{"auth"}

// rows are the runs of a matrix, for each nemesis one of all workloads that go together, and one of each other.
func (f *seriesFlags) rows(cmd *cobra.Command, workloads, nemeses []string, lasts time.Duration) (runs []oneRun, err error) {
	workloads, rows, err := chosen(workloads, nemeses)
	var side, alone []string
	for _, w := range workloads {
		if slices.Contains(apart, w) {
			alone = append(alone, w)
			continue
		}
		side = append(side, w)
	}
	seed := f.seed
	for i := range rows {
		if len(side) > 0 {
			seed++
			runs = append(runs, f.row(cmd, side, &rows[i], lasts, seed))
		}
		for _, w := range alone {
			seed++
			runs = append(runs, f.cell(cmd, w, &rows[i], lasts, seed))
		}
	}
	return runs, err
}

// row is several workloads at the same time under one nemesis. What comes of it is what comes of each of them; if it is not good, they
// are told apart.
func (f *seriesFlags) row(cmd *cobra.Command, workloads []string, n *jepsen.Nemesis, lasts time.Duration, seed uint64) oneRun {
	o := jepsen.Options{Seed: seed, Workloads: workloads, Nemeses: []string{n.Name}, Time: lasts, Clients: cellClients, Pace: cellPace}
	var res *jepsen.Result // nil: the run could not be made
	return oneRun{
		name: "together-" + n.Name, about: "workloads " + strings.Join(workloads, ", ") + ": " + n.About,
		again: fmt.Sprintf("bin/jepsen matrix --together --workloads %s --nemeses %s --time %v --seed %d", strings.Join(workloads, ","), n.Name, lasts, seed-1),
		note: func(r *results, c outcome) {
			for name, c := range toldApart(workloads, c, res) {
				r.put(n.Name, name, c)
			}
		},
		make: func(dir, out string) (_ *jepsen.Result, err error) {
			res, err = f.torment(cmd, n, o, dir, out)
			return res, err
		},
		then: func(c outcome) (more []oneRun, instead bool) {
			known := toldApart(workloads, c, res)
			for _, w := range workloads {
				if _, ok := known[w]; !ok {
					seed++
					more = append(more, f.cell(cmd, w, n, lasts, seed))
				}
			}
			anyWrong := slices.ContainsFunc(workloads, func(w string) bool { return known[w].Result == resultWrong })
			return more, len(more) > 0 && !anyWrong
		},
	}
}

// toldApart is what came of workloads that were at work together. Those that are not in it have to be run alone: of them it is not known.
func toldApart(workloads []string, c outcome, res *jepsen.Result) map[string]outcome {
	c.Together = true
	known := map[string]outcome{}
	if c.Result != resultWrong || res == nil {
		for _, w := range workloads {
			known[w] = c
		}
		return known
	}
	open, wrong := map[string]bool{}, false // open[""]: all that are not wrong
	for _, t := range res.Troubles {
		if t.ProvesNothing() {
			open[t.Workload] = true
			continue
		}
		wrong = true
		for _, w := range workloads {
			if t.Workload == w || t.Workload == "" {
				known[w] = outcome{Result: resultWrong, Date: c.Date, Seconds: c.Seconds, Text: firstLine(t.Err.Error()), Together: true}
			}
		}
	}
	for _, w := range workloads { // beside what is wrong with another one nothing is shown to be good
		if _, ok := known[w]; !ok && !open[w] && !open[""] && !wrong {
			known[w] = outcome{Result: resultGood, Date: c.Date, Seconds: c.Seconds, Together: true}
		}
	}
	return known
}
