package main

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// leaderMoves is how often the leadership moves in a benchmark.
const leaderMoves = 20

// gaps is of clients that write through all nodes, one write after the other, and note how long each took.
type gaps struct {
	stop chan struct{}
	all  sync.WaitGroup
	mu   sync.Mutex
	took []took
}

type took struct{ began, ended time.Time }

func newGaps(b *testing.B, f *fleet, clients int) *gaps {
	b.Helper()
	g := &gaps{stop: make(chan struct{})}
	for i := range clients {
		var urls []string
		for k := range f.nodes {
			urls = append(urls, f.nodes[(i+k)%len(f.nodes)].url())
		}
		c, err := client.New(client.Options{Endpoints: urls})
		require.NoError(b, err)
		g.all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-g.stop:
					return
				default:
				}
				began := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), readyWait)
				_, _, err := c.Put(ctx, "bench/"+strconv.Itoa(i), []byte{byte(n), byte(n >> 8), byte(n >> 16)}, "application/octet-stream", client.WriteOptions{})
				cancel()
				if err == nil {
					g.mu.Lock()
					g.took = append(g.took, took{began, time.Now()})
					g.mu.Unlock()
				}
			}
		})
	}
	return g
}

// slowest is the longest write that ended since a moment, and after how many of these began after it.
func (g *gaps) slowest(since time.Time) (longest time.Duration, after int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range slices.Backward(g.took) {
		if t.ended.Before(since) {
			break
		}
		longest = max(longest, t.ended.Sub(t.began))
		if t.began.After(since) {
			after++
		}
	}
	return longest, after
}

func (g *gaps) end() {
	close(g.stop)
	g.all.Wait()
}

// BenchmarkTransfer moves the leadership in order, under load; the figures are of the slowest write of each move.
func BenchmarkTransfer(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	leaderMoved(b, f, func(leader *proc) {
		f.must("cluster", "transfer-leadership")
		f.until(readyWait, "another node leads", func() bool { return f.leader() != leader })
	}, func(*proc) {})
}

// BenchmarkLeaderKilled kills the leader under load; the figures are of the slowest write of each, through all nodes.
func BenchmarkLeaderKilled(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	leaderMoved(b, f, func(leader *proc) { f.kill(leader) }, func(leader *proc) {
		f.start(leader)
		f.await(leader)
	})
}

func leaderMoved(b *testing.B, f *fleet, move, mend func(leader *proc)) {
	b.Helper()
	const clients = 8
	g := newGaps(b, f, clients)
	var all []time.Duration
	for range b.N {
		for range leaderMoves {
			leader := f.leader()
			began := time.Now()
			move(leader)
			moved := time.Now()
			f.until(readyWait, "writes go on", func() bool {
				_, after := g.slowest(moved)
				return after >= 20*clients
			})
			longest, _ := g.slowest(began)
			all = append(all, longest)
			mend(leader)
		}
	}
	g.end()
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "median-ms")
	b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkFullLoad has 64 clients write as fast as they can, each operation of the benchmark a minute long: nobody must
// take a busy leader for a dead one. The figures are of the elections after the first, and of the writes.
func BenchmarkFullLoad(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	before := newestTerm(b, f)
	g := newGaps(b, f, 64)
	for range b.N {
		time.Sleep(time.Minute) // of load; nothing is waited for
	}
	g.end()
	b.ReportMetric(float64(newestTerm(b, f)-before), "elections")
	longest, _ := g.slowest(time.Time{})
	b.ReportMetric(float64(longest.Milliseconds()), "ms-slowest")
	b.ReportMetric(float64(len(g.took))/(time.Duration(b.N)*time.Minute).Seconds(), "puts/s")
}

// newestTerm is the greatest that a node knows.
func newestTerm(b *testing.B, f *fleet) (newest uint64) {
	b.Helper()
	for _, n := range f.nodes {
		c, err := client.New(client.Options{Endpoints: []string{n.url()}})
		require.NoError(b, err)
		st, err := c.Cluster(b.Context(), n.url())
		require.NoError(b, err)
		newest = max(newest, st.Term)
	}
	return newest
}
