package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/confman/confman/bench/load"
	"github.com/confman/confman/bench/servers"
)

// Options are of a comparison.
type Options struct {
	Confman string // its program
	Etcd    string // its program; "": without it
	Data    string // a directory on a disk
	Rounds  int
	// Attempts is how often a load is measured at most in a round, until nobody disturbs it.
	Attempts int
	Keys     int
	Value    int
	Nodes    int
	Which    *regexp.Regexp // of what is to be done, by name
	// Connections are how many etcd's gRPC clients share; 0: each has its own, as services have.
	Connections int
	Curves      bool // with what only plots need
	Times       Times
	// Quiesce is how long nodes are left alone until they have done all that they put off.
	Quiesce time.Duration
	Big     int // keys of what is done with many
	// Watchers watch one key, which is put WatchPuts times.
	Watchers, WatchPuts int
	Kills               int           // of leaders, in all
	KillPause           time.Duration // before and after
	Written             time.Duration // how long puts go on whose bytes are counted
	Steady              time.Duration // how long elections are counted; 0: not
	Grow                Grow
	Hour                time.Duration // how long the mixed load goes on; 0: it is not
	HourEvery           time.Duration // from sample to sample
	// Smoke judges nothing, and repeats nothing.
	Smoke bool
	Log   io.Writer
}

// Results are all that was measured.
type Results struct {
	Machine Machine  `json:"machine"`
	Loads   []Load   `json:"loads"` // what was to be measured
	Cells   []Cell   `json:"cells"`
	Tasks   []Task   `json:"tasks"`
	Figures []Figure `json:"figures"`
	Growth  []Growth `json:"growth,omitempty"`
	Hour    []Sample `json:"hour,omitempty"`
}

// Run is a comparison.
type Run struct {
	Options
	Results
	values *load.Values
	began  time.Time
}

// New checks what is asked for.
func New(o Options) (*Run, error) {
	values, err := load.NewValues(o.Value)
	if err != nil {
		return nil, err
	}
	if o.Keys < 1 || o.Keys > load.MaxKeys {
		return nil, fmt.Errorf("%d keys: 1 to %d", o.Keys, load.MaxKeys)
	}
	if err := servers.OnDisk(o.Data); err != nil && !o.Smoke {
		return nil, err
	}
	r := &Run{Options: o, values: values, began: time.Now()}
	for _, l := range Loads() {
		if (!l.Extra || o.Curves) && o.Which.MatchString(l.Name) {
			r.Loads = append(r.Loads, l)
		}
	}
	for _, t := range o.tasks() {
		if o.Which.MatchString(t.Name) && (t.Name != taskElections || o.Steady > 0) {
			r.Tasks = append(r.Tasks, t)
		}
	}
	if len(r.Loads)+len(r.Tasks)+len(r.points()) == 0 && o.Hour == 0 {
		return nil, fmt.Errorf("nothing is called %q", o.Which)
	}
	return r, nil
}

func (r *Run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.Log, "%6.1f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...)) // nobody is left to tell
}

// Do does all of it. What was measured before an error is in Results.
func (r *Run) Do(ctx context.Context) (err error) {
	if r.Machine, err = r.machine(ctx); err != nil {
		return err
	}
	if len(r.Loads) > 0 {
		for round := range r.Rounds {
			if err := r.round(ctx, round); err != nil {
				return fmt.Errorf("round %d: %w", round+1, err)
			}
		}
	}
	for _, part := range []struct {
		of     []string
		rounds int
		do     func(ctx context.Context, p product, c *servers.Cluster, round int) error
	}{
		{[]string{taskBulk, taskMemory, taskRestart, taskRestarts}, r.Rounds, r.big},
		{[]string{taskWatch, taskWatch99}, r.Rounds, r.watchers},
		{[]string{taskBytes}, r.Rounds, r.written},
		{[]string{taskKill}, min(killRounds, r.Kills), r.kills},
		{[]string{taskElections}, 1, r.steady},
	} {
		if r.has(part.of...) {
			if err := r.alone(ctx, part.rounds, part.do); err != nil {
				return err
			}
		}
	}
	if err := r.grow(ctx); err != nil {
		return err
	}
	if r.Options.Hour > 0 {
		return r.hour(ctx)
	}
	return nil
}

// fleet is clusters that run, and their directory.
type fleet struct {
	dir string
	all []*servers.Cluster
}

// up starts a cluster below the fleet's directory.
func (f *fleet) up(ctx context.Context, c *servers.Cluster, err error) (*servers.Cluster, error) {
	if err != nil {
		return nil, err
	}
	f.all = append(f.all, c)
	return c, c.Start(ctx)
}

// down kills all and removes what they left.
func (f *fleet) down() error {
	for _, c := range f.all {
		c.Kill()
	}
	return os.RemoveAll(f.dir)
}

func (r *Run) newFleet() (*fleet, error) {
	dir, err := os.MkdirTemp(r.Data, "confman-bench-")
	return &fleet{dir: dir}, err
}

func (r *Run) newConfman(ctx context.Context, f *fleet, o servers.Options) (*servers.Cluster, error) {
	o.Program, o.Dir = r.Confman, filepath.Join(f.dir, "confman")
	c, err := servers.Confman(o)
	return f.up(ctx, c, err)
}

func (r *Run) newEtcd(ctx context.Context, f *fleet, o servers.Options) (*servers.Cluster, error) {
	o.Program, o.Dir = r.Etcd, filepath.Join(f.dir, "etcd")
	c, err := servers.Etcd(o)
	return f.up(ctx, c, err)
}

// round has fresh clusters do everything once.
func (r *Run) round(ctx context.Context, round int) (err error) {
	f, err := r.newFleet()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.down()) }()
	confman, err := r.newConfman(ctx, f, servers.Options{Size: r.Nodes})
	if err != nil {
		return err
	}
	start := time.Now()
	if err := fill(ctx, load.FillConfman, confman, r.Keys, r.values); err != nil {
		return err
	}
	r.say("round %d: Confman has %d keys after %.1f s", round+1, r.Keys, time.Since(start).Seconds())
	all := []Contender{{Confman, confman, load.NewConfman}}
	if r.Etcd != "" {
		etcd, err := r.newEtcd(ctx, f, servers.Options{Size: r.Nodes})
		if err != nil {
			return err
		}
		start := time.Now()
		if err := fill(ctx, load.FillEtcd, etcd, r.Keys, r.values); err != nil {
			return err
		}
		r.say("round %d: etcd has %d keys after %.1f s", round+1, r.Keys, time.Since(start).Seconds())
		all = append(all, Contender{EtcdGRPC, etcd, r.newEtcdGRPC}, Contender{EtcdHTTP, etcd, load.NewEtcdHTTP})
	}
	for i, l := range r.Loads {
		who := all
		if l.Empty {
			empty, err := servers.Empty(ctx, filepath.Join(f.dir, "empty"), load.ConfmanPath, "http://"+confman.Addrs()[0]+load.ConfmanPath+string(load.AppendKey(nil, 0)))
			if empty, err = f.up(ctx, empty, err); err != nil {
				return err
			}
			who = append(who[:len(who):len(who)], Contender{Empty, empty, load.NewEmpty})
		}
		seed := uint64(1 + round*100 + i)
		cells, err := pass(turn(who, round), r.Attempts, func(c Contender) (Cell, error) {
			seed += 10_000
			var idle []int
			for _, other := range f.all {
				if other != c.Cluster {
					idle = append(idle, other.PIDs()...)
				}
			}
			got, err := r.Times.measure(ctx, c, l.of(r.Keys, r.values, seed), idle)
			got.Load, got.Round = l.Name, round+1
			if err == nil {
				r.say("%-36s %-13s %8.0f/s  p50 %6.2f  p99 %6.2f  p99.9 %6.2f ms  %4.0f µs/op  load %2.0f%%  others %2.0f%%", l.Name, c.Name, got.Rate,
					got.P50, got.P99, got.P999, got.CPU, 100*got.Load_, 100*got.Others)
			}
			return got, err
		}, r.say)
		if err != nil {
			return fmt.Errorf("%s: %w", l.Name, err)
		}
		r.Cells = append(r.Cells, cells...)
		if l.Empty {
			f.all[len(f.all)-1].Kill()
			f.all = f.all[:len(f.all)-1]
		}
	}
	return nil
}
