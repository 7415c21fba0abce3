package work

import (
	"context"
	"errors"

	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/meter"
	"github.com/confman/confman/bench/servers"
)

// writtenLoad is what bytes are counted under.
var writtenLoad = Load{Clients: 64}

// written is how many bytes all nodes have had sent to disk for each acknowledged put, what they write later included.
func (r *Run) written(ctx context.Context, p product, c *servers.Cluster, round int) (err error) {
	if err := p.fill(ctx, r.Keys, r.values, c.Addrs()...); err != nil {
		return err
	}
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	d, err := p.drive(writtenLoad.of(r.Keys, r.values, uint64(round+1)), c.Addrs()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	before, err := writtenBytes(c)
	if err != nil {
		return err
	}
	h, err := d.Run(4 * r.Times.Measure)
	if err := errors.Join(err, d.Drain()); err != nil {
		return err
	}
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	after, err := writtenBytes(c)
	if err != nil {
		return err
	}
	// The last answer of each client came after the time, but its bytes are there.
	r.took(taskBytes, p.name, round, float64(after-before)/float64(h.Count()+uint64(writtenLoad.Clients)))
	return nil
}

func writtenBytes(c *servers.Cluster) (sum int64, err error) {
	for _, pid := range c.PIDs() {
		n, err := meter.Written(pid)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// steady counts the elections under full load.
func (r *Run) steady(ctx context.Context, p product, c *servers.Cluster, round int) (err error) {
	if err := p.fill(ctx, r.Keys, r.values, c.Addrs()...); err != nil {
		return err
	}
	before, err := c.Term(ctx)
	if err != nil {
		return err
	}
	d, err := p.drive(writtenLoad.of(r.Keys, r.values, uint64(round+1)), c.Addrs()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	for left := r.Steady; left > 0; left -= load.Slice {
		if _, err := d.Run(min(left, load.Slice)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err := d.Drain(); err != nil {
		return err
	}
	after, err := c.Term(ctx)
	if err != nil {
		return err
	}
	r.took(taskElections, p.name, round, float64(after-before))
	return nil
}
