package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progressEvery is the time between two lines where there is no terminal.
const progressEvery = 5 * time.Second

// progress tells how far long work is: a bar on a terminal, lines elsewhere. Safe
// for concurrent use.
type progress struct {
	bar *progressbar.ProgressBar // nil: lines

	mu        sync.Mutex
	w         io.Writer
	what      string
	unit      string
	done, all int
	start     time.Time
	told      time.Time
}

// newProgress begins at none of all, which are of a unit.
func newProgress(e env, what, unit string, all int) *progress {
	now := time.Now()
	p := &progress{w: e.err, what: what, unit: unit, all: all, start: now, told: now}
	if e.errTerminal {
		p.bar = progressbar.NewOptions(all,
			progressbar.OptionSetWriter(e.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30),
			progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
		)
	}
	return p
}

// add notes that n more are done. What cannot be shown is not worth an error.
func (p *progress) add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	now := time.Now()
	if now.Sub(p.told) < progressEvery {
		return
	}
	p.told = now
	rate := float64(p.done) / now.Sub(p.start).Seconds()
	_, _ = fmt.Fprintf(p.w, "%s: %d of %d %s (%d%%), %.0f %s/s\n", p.what, p.done, p.all, p.unit, 100*p.done/max(p.all, 1), rate, p.unit)
}

// end takes the bar away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Exit()
		_, _ = fmt.Fprintln(p.w)
	}
}
