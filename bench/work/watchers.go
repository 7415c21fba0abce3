package work

import (
	"context"
	"errors"
	"time"

	"github.com/confman/confman/bench/hist"
	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/servers"
)

// watchPause is the time between an event that all have and the next put.
const watchPause = 20 * time.Millisecond

// watchers is how long it takes until many are told of a put.
func (r *Run) watchers(ctx context.Context, p product, c *servers.Cluster, round int) error {
	for _, way := range p.watch {
		w, err := way.open(r.Watchers, r.values, c.Addrs()...)
		if err != nil {
			return err
		}
		h, err := r.told(ctx, w)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
		r.took(taskWatch, way.name, round, millis(h.Quantile(0.5)))
		r.took(taskWatch99, way.name, round, millis(h.Quantile(0.99)))
	}
	return nil
}

func (r *Run) told(ctx context.Context, w load.Watch) (*hist.Hist, error) {
	h := &hist.Hist{}
	for i := range r.WatchPuts + r.WatchPuts/10 {
		took, err := w.Put()
		if err != nil {
			return nil, err
		}
		if i >= r.WatchPuts/10 { // the first ones warm up
			h.Add(took)
		}
		if err := pause(ctx, watchPause); err != nil {
			return nil, err
		}
	}
	return h, nil
}
