package report

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/confman/confman/bench/plot"
	"github.com/confman/confman/bench/work"
)

// lines are what a long load is looked at by.
var lines = []struct {
	title, unit string
	of          []func(work.Sample) float64
	names       []string
}{
	{"throughput", "operations a second", []func(work.Sample) float64{func(s work.Sample) float64 { return s.Rate }}, []string{"operations a second"}},
	{
		"latency", "ms",
		[]func(work.Sample) float64{func(s work.Sample) float64 { return s.P50 }, func(s work.Sample) float64 { return s.P99 }},
		[]string{"p50", "p99"},
	},
	{"anonymous memory", "MiB", []func(work.Sample) float64{func(s work.Sample) float64 { return s.Anon }}, []string{"anonymous memory"}},
	{"files", "MiB", []func(work.Sample) float64{func(s work.Sample) float64 { return s.Files }}, []string{"files"}},
	{"goroutines", "", []func(work.Sample) float64{func(s work.Sample) float64 { return s.Goroutines }}, []string{"goroutines"}},
}

// hour draws what a long load took over time.
func hour(dir string, r *work.Results) error {
	if len(r.Hour) == 0 {
		return nil
	}
	var plots []plot.Plot
	for _, l := range lines {
		p := plot.Plot{Title: l.title, XLabel: "minutes", YLabel: l.unit}
		for i, of := range l.of {
			s := plot.Series{Name: l.names[i], Color: i}
			for _, sample := range r.Hour {
				s.X, s.Y = append(s.X, sample.At/60), append(s.Y, of(sample))
			}
			p.Series = append(p.Series, s)
		}
		plots = append(plots, p)
	}
	return os.WriteFile(filepath.Join(dir, "hour.svg"), plot.SVG(plots...), 0o600)
}

// drift compares the last quarter of a long load with the second one: in the first all is new.
func drift(b *strings.Builder, r *work.Results) {
	n := len(r.Hour)
	if n < 4 {
		return
	}
	head(b, "over time", "unit", "second quarter", "last quarter", "last : second")
	for _, l := range lines {
		for i, of := range l.of {
			var early, late []float64
			for _, s := range r.Hour[n/4 : n/2] {
				early = append(early, of(s))
			}
			for _, s := range r.Hour[n-n/4:] {
				late = append(late, of(s))
			}
			a, z := Of(early), Of(late)
			row(b, l.names[i], l.unit, a.text(), z.text(), Of(ratios([]float64{z.Median}, []float64{a.Median})).text())
		}
	}
	b.WriteString("\n")
}
