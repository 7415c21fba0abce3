package work

import (
	"context"
	"errors"
	"time"

	"github.com/confman/confman/bench/lane"
	"github.com/confman/confman/bench/servers"
)

// Sample is what there was at one time of a long load.
type Sample struct {
	At         float64 `json:"at_s"`
	Rate       float64 `json:"per_second"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Anon       float64 `json:"anon_mib"` // of the node that has most, and so on
	Files      float64 `json:"files_mib"`
	Goroutines float64 `json:"goroutines"`
}

var (
	// hourLoad goes on at a steady pace of about a thousand operations a second.
	hourLoad = Load{Name: "70/30 mix, bounded", Clients: 64, Reads: 0.7, Local: true}
	hourPace = 64 * time.Millisecond
	// hourSettings: history goes after the least time that can be, so that files have stopped to grow by then; by default
	// it is kept for 90 days.
	hourSettings = map[string]any{"History": map[string]any{"KeepFor": "15m"}}
)

// hour has Confman take a steady load for a long time, and looks again and again what that takes.
func (r *Run) hour(ctx context.Context) error {
	p := r.products()[0]
	return r.once(ctx, p, servers.Options{Size: r.Nodes, Settings: hourSettings}, func(ctx context.Context, c *servers.Cluster) (err error) {
		if err := fill(ctx, p.fill, c, r.Keys, r.values); err != nil {
			return err
		}
		d, err := p.drive(hourLoad.of(r.Keys, r.values, 1), c.Addrs()...)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		if l, ok := d.(*lane.Loop); ok {
			l.Pace(hourPace)
		}
		for start := time.Now(); time.Since(start) < r.Options.Hour; {
			h, err := d.Run(r.HourEvery)
			if err := errors.Join(err, d.Drain(), context.Cause(ctx)); err != nil {
				return err
			}
			s := Sample{
				At: time.Since(start).Seconds(), Rate: float64(h.Count()) / r.HourEvery.Seconds(),
				P50: millis(h.Quantile(0.5)), P99: millis(h.Quantile(0.99)),
			}
			if s.Anon, err = anon(c); err != nil {
				return err
			}
			files, err := c.Files()
			if err != nil {
				return err
			}
			s.Files = float64(files) / (1 << 20)
			if s.Goroutines, err = c.Goroutines(ctx); err != nil {
				return err
			}
			r.Results.Hour = append(r.Results.Hour, s)
			r.say("%5.0f s of load: %.0f/s, p50 %.2f ms, p99 %.2f ms, %.0f MiB anonymous, %.0f MiB of files, %.0f goroutines",
				s.At, s.Rate, s.P50, s.P99, s.Anon, s.Files, s.Goroutines)
		}
		return nil
	})
}
