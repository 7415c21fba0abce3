package report

import (
	"fmt"
	"strings"

	"github.com/confman/confman/bench/work"
)

// column is what one contender did under one load in all rounds.
type column struct {
	by                            string
	rate, p50, p99, p999, cpu     []float64
	servers, load, kernel, others []float64
}

// columns are those of a load, in order of contenders; what was not measured is not in it.
func columns(r *work.Results, l string) map[string]*column {
	all := map[string]*column{}
	for _, c := range r.Cells {
		if c.Load != l {
			continue
		}
		col := all[c.By]
		if col == nil {
			col = &column{by: c.By}
			all[c.By] = col
		}
		col.rate, col.p50, col.p99, col.p999 = append(col.rate, c.Rate), append(col.p50, c.P50), append(col.p99, c.P99), append(col.p999, c.P999)
		col.cpu, col.servers = append(col.cpu, c.CPU), append(col.servers, 100*c.Servers)
		col.load, col.kernel, col.others = append(col.load, 100*c.Load_), append(col.kernel, 100*c.Kernel), append(col.others, 100*c.Others)
	}
	return all
}

// better is etcd in the way that did more operations a second, which is the one to beat; nil without etcd.
func better(all map[string]*column) (best *column) {
	for _, by := range []string{work.EtcdGRPC, work.EtcdHTTP} {
		if c := all[by]; c != nil && (best == nil || Of(c.rate).Median > Of(best.rate).Median) {
			best = c
		}
	}
	return best
}

func (c *column) text(of func(*column) []float64) string {
	if c == nil {
		return ""
	}
	return Of(of(c)).text()
}

func rate(c *column) []float64 { return c.rate }
func cpu(c *column) []float64  { return c.cpu }

// contenders are all, in the order of tables.
var contenders = []string{work.Confman, work.EtcdGRPC, work.EtcdHTTP, work.Empty}

// Markdown is all that was measured, in tables.
func Markdown(r *work.Results) string {
	var b strings.Builder
	machine(&b, r)
	b.WriteString("Median of all rounds, the range in brackets. Ratios are made round by round, against etcd driven in the way that did more.\n\n")
	loads(&b, r)
	tasks(&b, r)
	growth(&b, r)
	drift(&b, r)
	return b.String()
}

func row(b *strings.Builder, cells ...string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

func head(b *strings.Builder, cells ...string) {
	row(b, cells...)
	row(b, strings.Split(strings.Repeat("---,", len(cells)-1)+"---", ",")...)
}

func loads(b *strings.Builder, r *work.Results) {
	if len(r.Cells) == 0 {
		return
	}
	head(b, "operations a second", "Confman", "etcd, gRPC", "etcd, HTTP", "Confman : etcd", "wanted")
	for _, l := range r.Loads {
		all := columns(r, l.Name)
		mine, theirs := all[work.Confman], better(all)
		if mine == nil {
			continue
		}
		var ratio Spread
		if theirs != nil {
			ratio = Of(ratios(mine.rate, theirs.rate))
		}
		row(b, l.Name, mine.text(rate), all[work.EtcdGRPC].text(rate), all[work.EtcdHTTP].text(rate), ratio.text(), atLeast(l.Want.Ratio, ratio))
		if empty := all[work.Empty]; empty != nil {
			share := Of(ratios(mine.rate, empty.rate))
			row(b, "… by an empty handler with the same bytes", mine.text(rate), empty.text(rate), "", share.text(), atLeast(l.Want.Empty, share))
		}
	}
	b.WriteString("\n")
	head(b, "µs of server CPU an operation", "Confman", "wanted", "etcd, gRPC", "etcd, HTTP", "empty handler")
	for _, l := range r.Loads {
		all := columns(r, l.Name)
		if mine := all[work.Confman]; mine != nil {
			row(b, l.Name, mine.text(cpu), atMost(l.Want.CPU, Of(mine.cpu)), all[work.EtcdGRPC].text(cpu), all[work.EtcdHTTP].text(cpu), all[work.Empty].text(cpu))
		}
	}
	b.WriteString("\n")
	head(b, "latency in ms", "", "p50", "p99", "p99.9", "Confman's p99 : etcd's", "wanted")
	for _, l := range r.Loads {
		all := columns(r, l.Name)
		theirs := better(all)
		for _, by := range contenders {
			c := all[by]
			if c == nil {
				continue
			}
			ratio, wanted := Spread{}, ""
			if by == work.Confman && theirs != nil {
				ratio = Of(ratios(c.p99, theirs.p99))
				wanted = atMost(l.Want.P99, ratio)
			}
			row(b, l.Name, by, Of(c.p50).text(), Of(c.p99).text(), Of(c.p999).text(), ratio.text(), wanted)
		}
	}
	b.WriteString("\n")
	head(b, "% of all processors", "", "servers", "load", "kernel", "others and host")
	for _, l := range r.Loads {
		all := columns(r, l.Name)
		for _, by := range contenders {
			if c := all[by]; c != nil {
				row(b, l.Name, by, Of(c.servers).text(), Of(c.load).text(), Of(c.kernel).text(), Of(c.others).text())
			}
		}
	}
	b.WriteString("\n")
	disturbed(b, r)
}

// disturbed says which measurements somebody else took part in.
func disturbed(b *strings.Builder, r *work.Results) {
	n, again := 0, 0
	for _, c := range r.Cells {
		if c.Disturbed {
			n++
		}
		if c.Attempt > 1 {
			again++
		}
	}
	fmt.Fprintf(b, "%d of %d measurements are of a repeated attempt; in %d of them others took more than %.0f%% of the processors all the same.\n\n",
		again, len(r.Cells), n, 100*work.MaxOthers)
}

// atLeast is what was wanted and whether it is there.
func atLeast(want float64, got Spread) string {
	if want == 0 {
		return ""
	}
	return verdict(fmt.Sprintf("≥ %g", want), got, got.Median >= want)
}

func atMost(want float64, got Spread) string {
	if want == 0 {
		return ""
	}
	return verdict(fmt.Sprintf("≤ %g", want), got, got.Median <= want)
}

func verdict(wanted string, got Spread, reached bool) string {
	switch {
	case got.N == 0:
		return wanted
	case reached:
		return wanted + ": yes"
	default:
		return wanted + ": **no**"
	}
}
