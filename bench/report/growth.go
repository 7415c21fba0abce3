package report

import (
	"fmt"
	"strings"

	"github.com/confman/confman/bench/work"
)

// growth is a table for each axis.
func growth(b *strings.Builder, r *work.Results) {
	var axes []string
	for _, g := range r.Growth {
		if len(axes) == 0 || axes[len(axes)-1] != g.Axis {
			axes = append(axes, g.Axis)
		}
	}
	for _, axis := range axes {
		head(b, append([]string{axis, ""}, work.GrowthNames...)...)
		for _, g := range r.Growth {
			if g.Axis != axis {
				continue
			}
			cells := []string{fmt.Sprint(g.At), g.By}
			for _, name := range work.GrowthNames {
				text := ""
				if v, ok := g.Values[name]; ok {
					text = digits(v)
				}
				cells = append(cells, text)
			}
			row(b, cells...)
		}
		b.WriteString("\n")
	}
}
