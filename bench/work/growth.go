package work

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/servers"
)

// Axes along which things grow.
const (
	axisKeys   = "keys"
	axisValues = "bytes of a value"
	axisNodes  = "nodes"
	axisDelay  = "ms from node to node"
)

// Growth is one product at one point of an axis.
type Growth struct {
	Axis   string             `json:"axis"`
	At     int                `json:"at"`
	By     string             `json:"by"`
	Values map[string]float64 `json:"values"` // by names of GrowthNames
}

// What is measured at each point; not all of it is.
const (
	growFill    = "fill, s"
	growPuts    = "puts/s"
	growPut50   = "p50 ms"
	growPut99   = "p99 ms"
	growLinear  = "linearizable reads/s"
	growLinear9 = "their p99 ms"
	growLocal   = "local reads/s"
	growLocal9  = "whose p99 ms"
	growMemory  = "anonymous MiB"
	growFiles   = "files MiB"
	growBackup  = "backup, s"
	growRestart = "restart, s"
)

// GrowthNames are in the order of a table.
var GrowthNames = []string{
	growFill, growPuts, growPut50, growPut99, growLinear, growLinear9, growLocal, growLocal9, growMemory, growFiles, growBackup, growRestart,
}

// Grow says how far things grow.
type Grow struct {
	Which *regexp.Regexp // of the axes; nil: none
	Keys  []int
}

// point is a cluster to be measured.
type point struct {
	axis        string
	at          int
	keys, value int
	nodes       int
	delay       time.Duration
	clients     int
}

const (
	// growClients are enough to be CPU-bound on loopback, and delayClients for what is on its way between nodes that are 50 ms apart.
	growClients  = 64
	delayClients = 2048
	// valueBytes is what all values have together where these are of different sizes.
	valueBytes = 64 << 20
	// largeTime is how long large values are written: their history stays on the disk.
	largeTime  = 2 * time.Second
	largeValue = 64 << 10
	// smokeDelay is that of the only point that a smoke test measures.
	smokeDelay = 10 * time.Millisecond
)

// points are all that are asked for.
func (r *Run) points() (all []point) {
	plain := point{keys: r.Keys, value: r.Value, nodes: r.Nodes, clients: growClients}
	add := func(axis string, at int, change func(*point)) {
		if r.Grow.Which == nil || !r.Grow.Which.MatchString(axis) {
			return
		}
		p := plain
		p.axis, p.at = axis, at
		change(&p)
		if r.Smoke {
			if p.delay != smokeDelay {
				return
			}
			p.keys, p.clients = min(p.keys, 200), min(p.clients, 64)
		}
		all = append(all, p)
	}
	for _, n := range r.Grow.Keys {
		add(axisKeys, n, func(p *point) { p.keys = n })
	}
	for _, n := range []int{16, 256, 4 << 10, largeValue, 1 << 20} {
		add(axisValues, n, func(p *point) { p.value, p.keys = n, min(p.keys, valueBytes/n) })
	}
	for _, n := range []int{1, 3, 5} {
		add(axisNodes, n, func(p *point) { p.nodes = n })
	}
	for _, n := range []int{0, 1, 10, 50} {
		add(axisDelay, n, func(p *point) { p.delay, p.clients = time.Duration(n)*time.Millisecond, delayClients })
	}
	return all
}

// grow measures all points, the products in turns.
func (r *Run) grow(ctx context.Context) error {
	for i, at := range r.points() {
		for _, p := range turn(r.products(), i) {
			if err := r.growOnce(ctx, p, at); err != nil {
				return fmt.Errorf("%s, %d %s: %w", p.name, at.at, at.axis, err)
			}
		}
	}
	return nil
}

func (r *Run) growOnce(ctx context.Context, p product, at point) error {
	values, err := load.NewValues(at.value)
	if err != nil {
		return err
	}
	o := servers.Options{Size: at.nodes}
	if at.axis == axisDelay { // at 0 ms too: a proxy is on the way, always
		delays := servers.NewDelays(at.delay)
		defer delays.Close()
		o.Link = delays.Port
	}
	got := Growth{Axis: at.axis, At: at.at, By: p.name, Values: map[string]float64{}}
	err = r.once(ctx, p, o, func(ctx context.Context, c *servers.Cluster) error {
		return r.growAt(ctx, p, c, at, values, got.Values)
	})
	if err != nil {
		return err
	}
	r.Growth = append(r.Growth, got)
	text := ""
	for _, name := range GrowthNames {
		if v, ok := got.Values[name]; ok {
			text += fmt.Sprintf("  %s %.4g", name, v)
		}
	}
	r.say("%d %s, %s:%s", at.at, at.axis, p.name, text)
	return nil
}

// growAt measures one cluster.
func (r *Run) growAt(ctx context.Context, p product, c *servers.Cluster, at point, values *load.Values, got map[string]float64) error {
	if err := r.room(at.keys, at.value, at.nodes); err != nil {
		return err
	}
	start := time.Now()
	if err := fill(ctx, p.fill, c, at.keys, values); err != nil {
		return err
	}
	got[growFill] = time.Since(start).Seconds()
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	times := r.Times
	if at.value >= largeValue {
		times.Warm, times.Measure = min(times.Warm, largeTime/4), min(times.Measure, largeTime)
	}
	who := Contender{p.name, c, p.best}
	for _, l := range []struct {
		Load
		rate, p50, p99 string
	}{
		{Load{Clients: at.clients}, growPuts, growPut50, growPut99},
		{Load{Clients: growClients, Reads: 1}, growLinear, "", growLinear9},
		{Load{Clients: growClients, Reads: 1, Local: true}, growLocal, "", growLocal9},
	} {
		cell, err := times.measure(ctx, who, l.of(at.keys, values, uint64(1+at.at)), nil)
		if err != nil {
			return err
		}
		got[l.rate], got[l.p99] = cell.Rate, cell.P99
		if l.p50 != "" {
			got[l.p50] = cell.P50
		}
	}
	return r.growCosts(ctx, p, c, got)
}

// growCosts is what a cluster at rest takes, and how long it takes to read and to start.
func (r *Run) growCosts(ctx context.Context, p product, c *servers.Cluster, got map[string]float64) (err error) {
	if err := pause(ctx, r.Quiesce); err != nil {
		return err
	}
	if got[growMemory], err = anon(c); err != nil {
		return err
	}
	files, err := c.Files()
	if err != nil {
		return err
	}
	got[growFiles] = float64(files) / (1 << 20)
	start := time.Now()
	if err := p.backup(ctx, c.Addrs()[0]); err != nil {
		return err
	}
	got[growBackup] = time.Since(start).Seconds()
	took, err := restart(ctx, c)
	got[growRestart] = took.Seconds()
	return err
}

// restart stops a node that does not lead, and starts it again until it has answered a linearizable read.
func restart(ctx context.Context, c *servers.Cluster) (time.Duration, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return 0, err
	}
	at := slices.IndexFunc(c.Nodes, func(n *servers.Node) bool { return n != leader || len(c.Nodes) == 1 })
	n := c.Nodes[at]
	if err := n.Stop(); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := n.Start(); err != nil {
		return 0, err
	}
	err = c.Fresh(ctx, n)
	return time.Since(start), err
}
