package work

import (
	"context"
	"fmt"
	"time"

	"github.com/confman/confman/bench/meter"
	"github.com/confman/confman/bench/servers"
)

// big is what many keys cost: to load, in memory, at a start.
func (r *Run) big(ctx context.Context, p product, c *servers.Cluster, round int) error {
	if err := r.room(r.Big, r.Value, len(c.Nodes)); err != nil {
		return err
	}
	start := time.Now()
	if err := p.fill(ctx, r.Big, r.values, c.Addrs()...); err != nil {
		return fmt.Errorf("filling: %w", err)
	}
	r.took(taskBulk, p.name, round, time.Since(start).Seconds())
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	largest, err := anon(c)
	if err != nil {
		return err
	}
	r.took(taskMemory, p.name, round, largest)
	took, err := restart(ctx, c)
	if err != nil {
		return err
	}
	r.took(taskRestart, p.name, round, took.Seconds())
	if err := pause(ctx, r.Times.Settle); err != nil {
		return err
	}
	if err := c.Stop(); err != nil {
		return err
	}
	start = time.Now()
	if err := c.Start(ctx); err != nil {
		return err
	}
	r.took(taskRestarts, p.name, round, time.Since(start).Seconds())
	return nil
}

// bytesPerKey is what a key takes of a node's disk, beside valueTimes its value: in the log, in the database, and in its history.
const (
	bytesPerKey = 600
	valueTimes  = 4
)

// room refuses to fill a disk.
func (r *Run) room(keys, value, nodes int) error {
	free, err := servers.Free(r.Data)
	if err != nil {
		return err
	}
	if need := int64(keys) * int64(nodes) * int64(bytesPerKey+valueTimes*value); free < need && !r.Smoke {
		return fmt.Errorf("%d keys may take %d MiB of %s, and there are %d: name another directory, with -data", keys, need>>20, r.Data, free>>20)
	}
	return nil
}

// anon is the anonymous memory of the node that has most, in MiB.
func anon(c *servers.Cluster) (largest float64, err error) {
	for _, pid := range c.PIDs() {
		n, err := meter.Anon(pid)
		if err != nil {
			return 0, err
		}
		largest = max(largest, float64(n)/(1<<20))
	}
	return largest, nil
}
