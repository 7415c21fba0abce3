package report

import (
	"fmt"
	"strings"

	"github.com/confman/confman/bench/work"
)

// tasks is the table of what less is better of.
func tasks(b *strings.Builder, r *work.Results) {
	if len(r.Figures) == 0 {
		return
	}
	head(b, "", "unit", "Confman", "etcd", "Confman : etcd", "wanted")
	for _, t := range r.Tasks {
		of := map[string][]float64{}
		for _, f := range r.Figures {
			if f.Task == t.Name {
				of[f.By] = append(of[f.By], f.Value)
			}
		}
		mine := of[work.Confman]
		if len(mine) == 0 {
			continue
		}
		var theirs []string
		against := ""
		for _, by := range []string{work.Etcd, work.EtcdGRPC, work.EtcdHTTP} {
			if len(of[by]) == 0 {
				continue
			}
			text := Of(of[by]).text()
			if by != work.Etcd {
				text = strings.TrimPrefix(by, "etcd ") + " " + text
			}
			theirs = append(theirs, text)
			if t.Against == by || t.Against == "" && (against == "" || Of(of[by]).Median < Of(of[against]).Median) {
				against = by
			}
		}
		name := t.Name
		if t.Of != "" {
			name += ", " + t.Of
		}
		all := ratios(mine, of[against])
		if t.Pooled {
			all = ratios([]float64{Of(mine).Median}, []float64{Of(of[against]).Median})
		}
		ratio := Of(all)
		if t.Want != 0 {
			row(b, name, t.Unit, Of(mine).text(), strings.Join(theirs, ", "), ratio.text(), verdict(fmt.Sprintf("≤ %.3g", t.Want), ratio, ratio.Median <= t.Want))
			continue
		}
		row(b, name, t.Unit, Of(mine).text(), strings.Join(theirs, ", "), ratio.text(), "")
	}
	b.WriteString("\n")
}
