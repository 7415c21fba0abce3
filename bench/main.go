// Command bench drives Confman and etcd in turns on this machine, and prints how they compare. README.md says how to run it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/confman/confman/bench/report"
	"github.com/confman/confman/bench/servers"
	"github.com/confman/confman/bench/work"
)

func main() {
	if err := servers.ServeEmpty(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to be deferred
	}
}

func run(ctx context.Context) (err error) {
	var (
		o     work.Options
		which = flag.String("work", ".", "a regular expression: of what is done, by name")
		etcd  = flag.Bool("etcd", true, "drive etcd, too")
		short = flag.Bool("short", false, "all of it, as small as it can be: a test of this program, of no time")
		out   = flag.String("out", "", "a directory for the table, all figures and the plots")
	)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	flag.StringVar(&o.Confman, "confman", filepath.Join(filepath.Dir(self), "confman"), "its program")
	flag.StringVar(&o.Etcd, "etcd-program", filepath.Join(filepath.Dir(self), "etcd"), "its program")
	flag.StringVar(&o.Data, "data", os.TempDir(), "a directory on a disk, where all data goes meanwhile")
	flag.IntVar(&o.Rounds, "rounds", 5, "how often everything is done")
	flag.IntVar(&o.Attempts, "attempts", work.Attempts, "how often a load is measured at most in a round, until nobody disturbs it")
	flag.IntVar(&o.Keys, "keys", 100_000, "how many keys there are")
	flag.IntVar(&o.Value, "value", 256, "how many bytes a value has")
	flag.IntVar(&o.Nodes, "nodes", 3, "how many nodes a cluster has: 1, 3 or 5")
	flag.IntVar(&o.Connections, "connections", 0, "how many connections etcd's gRPC clients share; 0: each has its own")
	flag.BoolVar(&o.Curves, "curves", false, "with the loads that only plots need")
	flag.DurationVar(&o.Times.Measure, "time", 5*time.Second, "how long each load is measured")
	flag.IntVar(&o.Big, "big", 1_000_000, "how many keys are loaded in bulk, and then there at restarts")
	flag.IntVar(&o.Watchers, "watchers", 1000, "how many watch one key")
	flag.IntVar(&o.Kills, "kills", 20, "how often the leader is killed")
	flag.DurationVar(&o.Hour, "hour", 0, "how long Confman takes a steady mixed load, with samples every 10 s; 0: not")
	grow := flag.String("grow", "", "a regular expression: of what grows (keys, bytes of a value, nodes, ms from node to node)")
	keys := flag.String("grow-keys", "100000,1000000", "how many keys there are then")
	flag.DurationVar(&o.Steady, "steady", 0, "how long elections are counted under full load; 0: not")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("what is %q?", flag.Arg(0))
	}
	o.Times.Settle, o.Times.Warm = time.Second, time.Second
	o.Quiesce, o.KillPause, o.WatchPuts = 10*time.Second, 2*time.Second, 100
	o.Written = 2 * o.Times.Measure
	o.HourEvery = 10 * time.Second
	if o.Which, err = regexp.Compile(*which); err != nil {
		return err
	}
	if *grow != "" {
		if o.Grow.Which, err = regexp.Compile(*grow); err != nil {
			return err
		}
		if o.Grow.Keys, err = numbers(*keys); err != nil {
			return fmt.Errorf("-grow-keys: %w", err)
		}
	}
	if !*etcd {
		o.Etcd = ""
	}
	if *short {
		o.Smoke, o.Rounds, o.Attempts, o.Keys = true, 1, 1, 1000
		o.Times = work.Times{Settle: 50 * time.Millisecond, Warm: 100 * time.Millisecond, Measure: 300 * time.Millisecond}
		o.Grow.Which = regexp.MustCompile(".")
		o.Hour, o.HourEvery = time.Second, 250*time.Millisecond
		o.Quiesce, o.KillPause, o.WatchPuts = 200*time.Millisecond, 200*time.Millisecond, 10
		o.Big, o.Watchers, o.Kills, o.Steady, o.Written = 5000, 100, 1, 500*time.Millisecond, 500*time.Millisecond
	}
	o.Log = os.Stderr
	r, err := work.New(o)
	if err != nil {
		return err
	}
	err = r.Do(ctx)
	text := report.Markdown(&r.Results)
	fmt.Print(text)
	if *out != "" {
		err = errors.Join(err, report.Write(*out, text, &r.Results))
	}
	return err
}

// numbers are those of a list.
func numbers(list string) (all []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number above 0", part)
		}
		all = append(all, n)
	}
	return all, nil
}
