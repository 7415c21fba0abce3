package jepsen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

func init() {
	clocks := func(name, about string, draw func(rng *rand.Rand) Clock) {
		enlist(&Nemesis{Name: name, About: about, Needs: []Capability{Clocks}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
			who := one(rng, r.Members())
			mine, c := "the clock of "+who, draw(rng)
			if !r.Claim(mine) {
				return nil, nil
			}
			f := &Fault{Nodes: []string{who}, Undo: func(ctx context.Context) error {
				defer r.Release(mine)
				return r.SetClock(ctx, who, Clock{})
			}}
			f.Text = fmt.Sprintf("the wall clock of %s is off by %v, and %.2f times as fast", who, c.Offset.Round(time.Millisecond), c.Rate)
			return made(ctx, f, r.SetClock(ctx, who, c))
		}})
	}
	clocks("clock-jump", "a wall clock jumps, up to an hour either way", func(rng *rand.Rand) Clock {
		most := []time.Duration{time.Second, time.Minute, time.Hour}[rng.IntN(3)]
		return Clock{Offset: between(rng, -most, most), Rate: 1}
	})
	clocks("clock-drift", "a wall clock is up to twice as fast, or half as fast", func(rng *rand.Rand) Clock {
		return Clock{Rate: 0.5 + 1.5*rng.Float64()}
	})
}
