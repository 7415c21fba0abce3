package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/confman/confman/bench/plot"
	"github.com/confman/confman/bench/work"
)

// curves draws a plot of latency against load for each kind of work of which several numbers of clients were measured.
func curves(dir string, r *work.Results) error {
	for _, name := range curveNames(r) {
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".svg")
		if err := os.WriteFile(file, plot.SVG(curve(r, name)), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// curveNames are those of which two points or more were measured.
func curveNames(r *work.Results) (names []string) {
	points := map[string]int{}
	for _, l := range r.Loads {
		if l.Curve == "" || len(columns(r, l.Name)) == 0 {
			continue
		}
		if points[l.Curve]++; points[l.Curve] == 2 {
			names = append(names, l.Curve)
		}
	}
	return names
}

// curve has a line for p50 and one for p99 of each contender: a point for each number of clients.
func curve(r *work.Results, name string) plot.Plot {
	p := plot.Plot{Title: name + ": latency against load", XLabel: "operations a second", YLabel: "ms", LogY: true, Dots: true}
	var clients []string
	for _, l := range r.Loads {
		if l.Curve == name {
			clients = append(clients, fmt.Sprint(l.Clients))
		}
	}
	p.Title += " (" + strings.Join(clients, ", ") + " clients)"
	for color, by := range contenders[:3] {
		p50, p99 := plot.Series{Name: by + " p50", Color: color}, plot.Series{Name: by + " p99", Color: color, Dashed: true}
		for _, l := range r.Loads {
			if l.Curve != name {
				continue
			}
			if c := columns(r, l.Name)[by]; c != nil {
				x := Of(c.rate).Median
				p50.X, p50.Y = append(p50.X, x), append(p50.Y, Of(c.p50).Median)
				p99.X, p99.Y = append(p99.X, x), append(p99.Y, Of(c.p99).Median)
			}
		}
		if len(p50.X) > 0 {
			p.Series = append(p.Series, p50, p99)
		}
	}
	return p
}
