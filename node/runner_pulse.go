package node

import (
	"log/slog"
	"time"
)

// pulseInterval is how often the loop says, to who reads at level debug, how regular it was.
const pulseInterval = time.Second

// pulse is how regularly the loop gets to its ticks, in which a leader sends its heartbeats and
// a follower counts the time without one. It is the loop's.
type pulse struct {
	last    time.Time // when the last tick's effects were handed out; zero: there was none
	said    time.Time
	unsaid  time.Duration // the longest since said
	stepped time.Duration // the longest that the core took for one step since said
}

// beat is called when what a tick brought about was handed out; step is how long the core took.
func (r *Runner) beat(step time.Duration) {
	p, now := &r.loop.pulse, time.Now()
	if p.last.IsZero() {
		p.last, p.said = now, now
		return
	}
	gap := now.Sub(p.last)
	p.last = now
	p.unsaid, p.stepped = max(p.unsaid, gap), max(p.stepped, step)
	if now.Sub(p.said) >= pulseInterval {
		r.log.Debug("pulse", slog.Duration("longest_tick_gap", p.unsaid), slog.Duration("longest_step", p.stepped))
		p.said, p.unsaid, p.stepped = now, 0, 0
	}
}
