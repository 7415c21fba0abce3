// Package report makes tables, plots and files of what was measured.
package report

import (
	"fmt"
	"math"
	"slices"
)

// Spread is the median and the extremes of what several rounds gave.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// Of is the spread of values; its zero value of none.
func Of(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1], N: n}
}

// text is a spread for a cell of a table, each number to three digits.
func (s Spread) text() string {
	switch s.N {
	case 0:
		return ""
	case 1:
		return digits(s.Median)
	default:
		return fmt.Sprintf("%s [%s–%s]", digits(s.Median), digits(s.Min), digits(s.Max))
	}
}

// digits is a number to three digits, and thousands in groups.
func digits(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return fmt.Sprint(v)
	}
	places := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	if v >= 1000 {
		unit := math.Pow(10, math.Floor(math.Log10(v))-2)
		n := int64(math.Round(v/unit) * unit)
		if n >= 1_000_000 {
			return fmt.Sprintf("%d,%03d,%03d", n/1_000_000, n/1000%1000, n%1000)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprintf("%.*f", min(places, 3), v)
}

// ratios are a's values by b's, round by round.
func ratios(a, b []float64) (all []float64) {
	for i, v := range a {
		if i < len(b) && b[i] != 0 {
			all = append(all, v/b[i])
		}
	}
	return all
}
