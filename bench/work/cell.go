package work

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confman/confman/bench/hist"
	"github.com/confman/confman/bench/lane"
	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/meter"
	"github.com/confman/confman/bench/servers"
)

// Who is compared.
const (
	Confman  = "Confman"
	EtcdGRPC = "etcd gRPC"
	EtcdHTTP = "etcd HTTP"
	Empty    = "empty handler"
)

// Contender is one way to drive one cluster.
type Contender struct {
	Name    string
	Cluster *servers.Cluster
	drive   func(load.Work, ...string) (load.Driver, error)
}

// Cell is what one contender did under one load, once. Shares are of all processors.
type Cell struct {
	Load    string  `json:"load"`
	By      string  `json:"by"`
	Round   int     `json:"round"`
	Attempt int     `json:"attempt"`
	Ops     uint64  `json:"ops"`
	Rate    float64 `json:"per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	P999    float64 `json:"p99_9_ms"`
	Max     float64 `json:"max_ms"`
	CPU     float64 `json:"server_cpu_us_per_op"`
	Servers float64 `json:"share_servers"`
	Load_   float64 `json:"share_load"` //nolint:revive // the name Load is taken
	Idle    float64 `json:"share_idle_clusters"`
	Kernel  float64 `json:"share_kernel"` // its own threads, and interrupts
	Others  float64 `json:"share_others"` // with what the host took away
	// Disturbed: the others took more than MaxOthers.
	Disturbed bool `json:"disturbed"`
}

// MaxOthers is the share of all processors that others may take, the host included, for a measurement to count. What the kernel
// does by itself, interrupts and writing to the disk, it does for the servers, and more of it for the faster one.
const MaxOthers = 0.10

// reading is all meters at one time.
type reading struct {
	at                 time.Time
	servers, own, idle time.Duration
	machine            meter.Machine
}

func read(servers, idle []int) (r reading, err error) {
	r.at = time.Now()
	var errs [4]error
	r.servers, errs[0] = meter.CPUs(servers)
	r.own, errs[1] = meter.Own()
	r.idle, errs[2] = meter.CPUs(idle)
	r.machine, errs[3] = meter.ReadMachine()
	return r, errors.Join(errs[:]...)
}

// begun is a reading that another goroutine took.
type begun struct {
	reading
	err error
}

// cell makes a cell of two readings and what was counted between them, in the time that the load ran.
func cell(before, after reading, h *hist.Hist, ran time.Duration, processors int) Cell {
	took := after.at.Sub(before.at)
	all := took.Seconds() * float64(processors)
	servers, own, idle := after.servers-before.servers, after.own-before.own, after.idle-before.idle
	kernel := after.machine.Kernel - before.machine.Kernel
	others := after.machine.Processes - before.machine.Processes - kernel - servers - own - idle + after.machine.Steal - before.machine.Steal
	kernel += after.machine.Interrupt - before.machine.Interrupt
	c := Cell{
		Ops: h.Count(), Rate: float64(h.Count()) / ran.Seconds(),
		P50: millis(h.Quantile(0.5)), P99: millis(h.Quantile(0.99)), P999: millis(h.Quantile(0.999)), Max: millis(h.Max()),
		Servers: servers.Seconds() / all, Load_: own.Seconds() / all, Idle: idle.Seconds() / all,
		Kernel: kernel.Seconds() / all, Others: max(0, others.Seconds()/all),
	}
	if c.Ops > 0 {
		c.CPU = float64(servers.Microseconds()) / float64(c.Ops)
	}
	c.Disturbed = c.Others > MaxOthers
	return c
}

func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// Times are how long the parts of one measurement take.
type Times struct {
	Settle  time.Duration // nothing, so that what the one before left behind is done
	Warm    time.Duration // the load, not counted
	Measure time.Duration
}

// measure has a contender do work. idle are the processes that are there and have nothing to do.
func (t Times) measure(ctx context.Context, c Contender, w load.Work, idle []int) (_ Cell, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", c.Name, err)
		}
	}()
	if err := pause(ctx, t.Settle); err != nil {
		return Cell{}, err
	}
	d, err := c.drive(w, c.Cluster.Addrs()...)
	if err != nil {
		return Cell{}, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.Run(t.Warm); err != nil {
		return Cell{}, err
	}
	pids := c.Cluster.PIDs()
	// Beside the load: while it waited for the meters, answers would, and seem slow.
	began := make(chan begun, 1)
	go func() {
		r, err := read(pids, idle)
		began <- begun{r, err}
	}()
	h, err := d.Run(t.Measure)
	before := <-began
	if err := errors.Join(err, before.err); err != nil {
		return Cell{}, err
	}
	ran := t.Measure
	for ; h.Count() == 0 && ran < lane.Patience && ctx.Err() == nil; ran += t.Measure { // a short time, of a busy machine
		if h, err = d.Run(t.Measure); err != nil {
			return Cell{}, err
		}
	}
	after, err := read(pids, idle)
	if err != nil {
		return Cell{}, err
	}
	if err := d.Drain(); err != nil {
		return Cell{}, err
	}
	got := cell(before.reading, after, h, ran, meter.Processors())
	got.By = c.Name
	if got.Ops == 0 {
		return got, errors.New("nothing was answered in time")
	}
	return got, ctx.Err()
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
