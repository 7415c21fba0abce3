package work

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/bench/hist"
	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/meter"
	"github.com/confman/confman/bench/servers"
)

// writtenLoad is what bytes are counted under.
var writtenLoad = Load{Clients: 64}

// maxOtherBytes: what others write should be less than one of so many parts of all.
const maxOtherBytes = 5

// written is how many bytes go to the disk for each acknowledged put: all nodes', the file system's own, and what is written later. The
// disk counts for everybody: what it was written before, at rest, for as long, is taken off.
func (r *Run) written(ctx context.Context, p product, c *servers.Cluster, round int) (err error) {
	if err := fill(ctx, p.fill, c, r.Keys, r.values); err != nil {
		return err
	}
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	for range 2 { // what was put off is written by now
		unix.Sync()
	}
	rest, err := r.writes(func() error { return pause(ctx, r.Quiesce) })
	if err != nil {
		return err
	}
	d, err := p.drive(writtenLoad.of(r.Keys, r.values, uint64(round+1)), c.Addrs()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var h *hist.Hist
	busy, err := r.writes(func() (err error) {
		if h, err = d.Run(r.Written); err != nil {
			return err
		}
		if err := d.Drain(); err != nil {
			return err
		}
		return pause(ctx, r.Quiesce)
	})
	if err != nil {
		return err
	}
	others := int64(float64(rest) * (r.Written + r.Quiesce).Seconds() / r.Quiesce.Seconds())
	r.say("%s: %d puts, %d MiB written, of which %d MiB would have been without them", p.name, h.Count(), busy>>20, others>>20)
	if others > busy/maxOtherBytes {
		r.say("disturbed: others write to this disk, so the figure is worth little")
	}
	// The last answer of each client came after the time, but its bytes are there.
	r.took(taskBytes, p.name, round, float64(busy-others)/float64(h.Count()+uint64(writtenLoad.Clients)))
	return nil
}

// writes is how many bytes the disk was written meanwhile.
func (r *Run) writes(meanwhile func() error) (int64, error) {
	before, err := meter.DiskWritten(r.Data)
	if err != nil {
		return 0, err
	}
	if err := meanwhile(); err != nil {
		return 0, err
	}
	unix.Sync()
	after, err := meter.DiskWritten(r.Data)
	return after - before, err
}

// steady counts the elections under full load.
func (r *Run) steady(ctx context.Context, p product, c *servers.Cluster, round int) (err error) {
	if err := fill(ctx, p.fill, c, r.Keys, r.values); err != nil {
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
