// Package plot draws lines as SVG, with no more than a page of figures needs.
package plot

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Series is one line: points in order of X.
type Series struct {
	Name   string
	X, Y   []float64
	Color  int // which one of the palette
	Dashed bool
}

// Plot is one diagram.
type Plot struct {
	Title, XLabel, YLabel string
	LogY                  bool
	// Dots marks the points, of which there are few then.
	Dots   bool
	Series []Series
}

const (
	width, height            = 640, 300
	left, right, top, bottom = 70, 170, 34, 46
)

// palette is told apart by who sees few colors, too.
var palette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"}

// SVG is the diagrams, one below the other.
func SVG(plots ...Plot) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height*len(plots))
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	for i, p := range plots {
		fmt.Fprintf(&b, `<g transform="translate(0 %d)">`+"\n", i*height)
		p.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// axis maps values to places.
type axis struct {
	from, to   float64 // values
	begin, end float64 // places
	log        bool
}

func (a axis) at(v float64) float64 {
	from, to := a.from, a.to
	if a.log {
		v, from, to = math.Log10(v), math.Log10(from), math.Log10(to)
	}
	return a.begin + (v-from)/(to-from)*(a.end-a.begin)
}

// ticks are values for labels.
func (a axis) ticks() (all []float64) {
	if a.log {
		for v := a.from; v <= a.to*1.0001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := math.Pow(10, math.Floor(math.Log10(a.to-a.from)))
	for _, part := range []float64{0.1, 0.2, 0.5, 1, 2} {
		if (a.to-a.from)/(step*part) <= 7 {
			step *= part
			break
		}
	}
	for v := math.Ceil(a.from/step) * step; v <= a.to*1.0001; v += step {
		all = append(all, v)
	}
	return all
}

// axes are those that all points fit between.
func (p Plot) axes() (x, y axis) {
	x = axis{0, 0, left, width - right, false}
	y = axis{0, 0, height - bottom, top, p.LogY}
	low := math.Inf(1)
	for _, s := range p.Series {
		for i := range s.X {
			x.to, y.to = max(x.to, s.X[i]), max(y.to, s.Y[i])
			if s.Y[i] > 0 {
				low = min(low, s.Y[i])
			}
		}
	}
	if x.to == 0 {
		x.to = 1
	}
	if y.to == 0 {
		y.to = 1
	}
	if p.LogY {
		y.from = math.Pow(10, math.Floor(math.Log10(min(low, y.to))))
		y.to = math.Pow(10, math.Ceil(math.Log10(y.to)))
		if y.to <= y.from {
			y.to = 10 * y.from
		}
		return x, y
	}
	y.to *= 1.05
	return x, y
}

func (p Plot) draw(b *strings.Builder) {
	x, y := p.axes()
	text := func(atX, atY float64, anchor, s string) {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", atX, atY, anchor, html.EscapeString(s))
	}
	fmt.Fprintf(b, `<text x="%d" y="18" font-size="13" font-weight="bold">%s</text>`+"\n", left, html.EscapeString(p.Title))
	for _, v := range y.ticks() {
		fmt.Fprintf(b, `<path d="M%d %.1fH%d" stroke="#ddd"/>`+"\n", left, y.at(v), width-right)
		text(left-6, y.at(v)+4, "end", label(v))
	}
	for _, v := range x.ticks() {
		fmt.Fprintf(b, `<path d="M%.1f %dv4" stroke="#000"/>`+"\n", x.at(v), height-bottom)
		text(x.at(v), height-bottom+16, "middle", label(v))
	}
	fmt.Fprintf(b, `<path d="M%d %dV%dH%d" fill="none" stroke="#000"/>`+"\n", left, top, height-bottom, width-right)
	text((left+width-right)/2, height-bottom+32, "middle", p.XLabel)
	fmt.Fprintf(b, `<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, html.EscapeString(p.YLabel))
	for i, s := range p.Series {
		p.line(b, s, x, y)
		at := float64(top + 12 + 16*i)
		fmt.Fprintf(b, `<path d="M%d %.1fh20" stroke="%s" stroke-width="2"%s/>`+"\n", width-right+10, at-4, s.color(), s.dash())
		text(width-right+36, at, "start", s.Name)
	}
}

func (s Series) color() string { return palette[s.Color%len(palette)] }

func (s Series) dash() string {
	if s.Dashed {
		return ` stroke-dasharray="5 3"`
	}
	return ""
}

func (p Plot) line(b *strings.Builder, s Series, x, y axis) {
	var path, dots strings.Builder
	move := "M"
	for i := range s.X {
		if p.LogY && s.Y[i] <= 0 {
			continue
		}
		fmt.Fprintf(&path, "%s%.1f %.1f", move, x.at(s.X[i]), y.at(s.Y[i]))
		move = "L"
		if p.Dots {
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.at(s.X[i]), y.at(s.Y[i]), s.color())
		}
	}
	if path.Len() > 0 {
		fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5"%s/>`+"\n", path.String(), s.color(), s.dash())
		b.WriteString(dots.String())
	}
}

// label is a number, short.
func label(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e4)/100)
	case v >= 1e4:
		return fmt.Sprintf("%gk", math.Round(v/100)/10)
	default:
		return fmt.Sprintf("%g", math.Round(v*1e6)/1e6)
	}
}
