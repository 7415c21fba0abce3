package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/sim"
)

// group is what a world counts of one sort.
type group struct {
	name  string
	names []string
}

func groups() []group {
	return []group{{"faults", sim.Faults()}, {"marks", sim.Marks()}, {"states", sim.States()}}
}

// listNames prints all that a sweep may reach.
func listNames(out io.Writer) error {
	for _, g := range groups() {
		if _, err := fmt.Fprintf(out, "%s:\n  %s\n", g.name, strings.Join(slices.Sorted(slices.Values(g.names)), "\n  ")); err != nil {
			return err
		}
	}
	return nil
}

// counts are how often each name was reached, known or not, by group; what no group
// knows is a state.
func (s *sweep) counts() map[string]map[string]uint64 {
	out, left := map[string]map[string]uint64{}, maps.Clone(s.fired)
	for _, g := range groups() {
		counts := map[string]uint64{}
		for _, name := range g.names {
			counts[name] = s.fired[name]
			delete(left, name)
		}
		out[g.name] = counts
	}
	maps.Copy(out["states"], left)
	return out
}

// summary prints what was reached how often, and the failures by judge.
func (s *sweep) summary() {
	counts := s.counts()
	for _, g := range groups() {
		fmt.Fprintf(s.out, "%s:\n", g.name)
		of := counts[g.name]
		for _, name := range slices.Sorted(maps.Keys(of)) {
			fmt.Fprintln(s.out, reached(name, of[name]))
		}
	}
	byJudge := map[sim.Judge][]string{}
	for i := range s.failures {
		f := &s.failures[i]
		byJudge[f.Judge] = append(byJudge[f.Judge], fmt.Sprint(f.Options.Seed))
	}
	for _, judge := range slices.Sorted(maps.Keys(byJudge)) {
		fmt.Fprintf(s.out, "judge %s: %d failed: seeds %s\n", judge, len(byJudge[judge]), strings.Join(byJudge[judge], ", "))
	}
	if s.trouble != nil && len(s.failures) > 0 {
		fmt.Fprintf(s.out, "besides: %v\n", s.trouble) // the failures are what the sweep ends with
	}
	s.progress()
}

// reached is a line of the summary.
func reached(name string, n uint64) string {
	why, hole := sim.Holes()[name]
	switch {
	case n > 0 && hole:
		return fmt.Sprintf("%10d  %s (a hole no more: take it out of sim/states.go)", n, name)
	case n > 0:
		return fmt.Sprintf("%10d  %s", n, name)
	case hole:
		return fmt.Sprintf("%10s  %s (a hole: %s)", "never", name, why)
	}
	return fmt.Sprintf("%10s  %s", "never", name)
}

// missing are the names that this sweep had to reach and did not.
func (s *sweep) missing() []string {
	var wanted []string
	switch {
	case s.nightly:
		for _, g := range groups() {
			wanted = append(wanted, g.names...)
		}
	case s.done >= coverageSeeds && !s.world.narrowed():
		wanted = sim.Faults()
	}
	holes := sim.Holes()
	return slices.DeleteFunc(wanted, func(name string) bool { return s.fired[name] > 0 || holes[name] != "" })
}

// writeJSON writes the summary for programs.
func (s *sweep) writeJSON() error {
	took := time.Since(s.start)
	found := []sim.Found{}
	for i := range s.failures {
		found = append(found, s.failures[i].Found)
	}
	trouble := ""
	if s.trouble != nil {
		trouble = s.trouble.Error()
	}
	b, err := json.MarshalIndent(map[string]any{
		"commit":         sim.Commit(),
		"seeds":          s.done,
		"virtual_hours":  s.virtual.Hours(),
		"real_seconds":   took.Seconds(),
		"hours_a_minute": s.virtual.Hours() / took.Minutes(),
		"reached":        s.counts(),
		"failures":       found,
		"trouble":        trouble,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(b, '\n'), 0o644) //nolint:gosec // for everybody to read
}
