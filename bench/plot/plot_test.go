package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// well reads all of a text as XML.
func well(t *testing.T, text []byte) {
	for d := xml.NewDecoder(strings.NewReader(string(text))); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err, "%s", text)
	}
}

func TestSVG(t *testing.T) {
	got := SVG(
		Plot{Title: "a < b", XLabel: "x", YLabel: "y", Dots: true, LogY: true, Series: []Series{
			{Name: "one & two", X: []float64{0, 5000, 20_000}, Y: []float64{0, 1, 150}},
			{Name: "dashed", X: []float64{1}, Y: []float64{2}, Color: 7, Dashed: true},
		}},
		Plot{Title: "empty"}, Plot{Title: "empty", LogY: true},
		Plot{Title: "flat", Series: []Series{{X: []float64{0, 1}, Y: []float64{0, 0}}}},
		Plot{Title: "flat", LogY: true, Series: []Series{{X: []float64{0, 1}, Y: []float64{10, 10}}}},
	)
	well(t, got)
	assert.NotContains(t, string(got), "NaN")
	assert.NotContains(t, string(got), "Inf")
	assert.Contains(t, string(got), "one &amp; two")
	assert.Equal(t, 3, strings.Count(string(got), "<circle"), "zero is nowhere on a logarithmic axis")
}

func TestTicks(t *testing.T) {
	for _, to := range []float64{0.003, 0.9, 1, 7, 12, 99, 12_345, 1e6} {
		a := axis{to: to, end: 1}
		ticks := a.ticks()
		assert.GreaterOrEqual(t, len(ticks), 2, "%g", to)
		assert.LessOrEqual(t, len(ticks), 9, "%g", to)
	}
	assert.Equal(t, []float64{1, 10, 100}, axis{from: 1, to: 100, log: true}.ticks())
	assert.InDelta(t, 0.5, axis{from: 1, to: 100, end: 1, log: true}.at(10), 1e-9)
}

func TestLabel(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.1 + 0.2: "0.3", 1234: "1234", 20_000: "20k", 1.5e6: "1.5M", math.Pow(10, -2): "0.01"} {
		assert.Equal(t, want, label(v))
	}
}
