package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What BenchmarkPause does: five rounds, in each of them a cluster with few keys and one with many,
// in turns, take writes at a steady rate; then the same while a follower that the log has gone on
// without is sent the database.
const (
	pauseFew     = 1_000
	pauseMany    = 600_000
	pauseValue   = 256
	pauseRate    = 500 // writes a second
	pauseLanes   = 16
	pauseSeconds = 20
	pauseAbsence = 12 // seconds in which the log goes on without the follower
	pauseRounds  = 5
	pausePerFile = 1_000
)

// paused is a cluster with its keys.
type paused struct {
	*fleet
	keys int
	said map[*proc]int // how much of its output was read
}

func newPaused(b *testing.B, keys int) *paused {
	f := newFleet(b, 3)
	f.keepNoLog()
	f.edit("Log", "Level", "debug")
	f.start(f.nodes...)
	f.await(f.nodes...)
	dir := b.TempDir()
	for n := 0; n < keys; n += pausePerFile {
		leaves := make(map[string]string)
		for i := n; i < min(n+pausePerFile, keys); i++ {
			leaves[fmt.Sprintf("%06d", i)] = fmt.Sprint(i, strings.Repeat("v", pauseValue-6))
		}
		text, err := json.Marshal(leaves)
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.json", n/pausePerFile)), text, 0o600))
	}
	r := f.confman("import", "bench", dir)
	require.Zero(b, r.code, "%s%s", r.out, r.err)
	f.converge()
	syscall.Sync() // what the import left to be written is no part of what is measured
	return &paused{fleet: f, keys: keys, said: make(map[*proc]int)}
}

// gap is the longest time between two ticks that any node spoke of since the last call, in ms.
func (f *paused) gap(b *testing.B) (longest float64) {
	b.Helper()
	for _, p := range f.nodes {
		text, err := os.ReadFile(p.log)
		require.NoError(b, err)
		for line := range strings.Lines(string(text[min(f.said[p], len(text)):])) {
			if _, rest, ok := strings.Cut(line, " longest_tick_gap="); ok {
				text, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				gap, err := time.ParseDuration(text)
				require.NoError(b, err)
				longest = max(longest, float64(gap.Microseconds())/1000)
			}
		}
		f.said[p] = len(text)
	}
	return longest
}

// write writes at the steady rate to nodes, and returns the times that it took, sorted, each from
// when it was due.
func (f *paused) write(b *testing.B, seconds int, nodes ...*proc) []time.Duration {
	b.Helper()
	var addrs []string
	for _, p := range nodes {
		addrs = append(addrs, p.addr())
	}
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		each []time.Duration
	)
	start := time.Now()
	for i, l := range lanes(b, pauseLanes, addrs...) {
		all.Go(func() {
			defer l.conn.Close()
			rng := rand.New(rand.NewPCG(uint64(start.UnixNano()), uint64(i)))
			var mine []time.Duration
			for n := range seconds * pauseRate / pauseLanes {
				due := start.Add(time.Duration(n*pauseLanes+i) * time.Second / pauseRate)
				time.Sleep(time.Until(due))
				key := rng.IntN(f.keys)
				value := fmt.Sprint(time.Now().UnixNano())
				value += strings.Repeat("w", pauseValue-len(value))
				put := fmt.Appendf(nil, "PUT %sbench/%03d/%06d HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
					configPath, key/pausePerFile, key, len(value), value)
				status, err := l.do(put)
				for err == nil && status == http.StatusServiceUnavailable { // as long as it takes counts
					time.Sleep(10 * time.Millisecond)
					status, err = l.do(put)
				}
				if err != nil || status != http.StatusOK && status != http.StatusCreated {
					b.Errorf("put: %d %v", status, err)
					return
				}
				mine = append(mine, time.Since(due))
			}
			mu.Lock()
			each = append(each, mine...)
			mu.Unlock()
		})
	}
	all.Wait()
	slices.Sort(each)
	require.NotEmpty(b, each)
	return each
}

func perMille(sorted []time.Duration, p int) float64 {
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/1000)].Microseconds()) / 1000
}

// pauses is what a phase of a round showed, in ms.
type pauses struct{ gap, p999, p50 float64 }

func (f *paused) steady(b *testing.B) pauses {
	time.Sleep(2 * time.Second) // what was said of the time before
	f.gap(b)
	times := f.write(b, pauseSeconds, f.nodes...)
	time.Sleep(1500 * time.Millisecond)
	return pauses{f.gap(b), perMille(times, 999), perMille(times, 500)}
}

// sending is the same while a follower is sent the database.
func (f *paused) sending(b *testing.B) pauses {
	late := f.others(f.leader())[0]
	f.stop(late)
	rest := f.others(late)
	f.write(b, pauseAbsence, rest...)
	f.gap(b)
	f.start(late)
	times := f.write(b, pauseSeconds, rest...)
	f.await(late)
	time.Sleep(1500 * time.Millisecond)
	text, err := os.ReadFile(late.log)
	require.NoError(b, err)
	require.Contains(b, string(text), "an image took the store's place")
	return pauses{f.gap(b), perMille(times, 999), perMille(times, 500)}
}

// BenchmarkPause measures whether anything pauses for longer the more data there is.
func BenchmarkPause(b *testing.B) {
	onRealDisk(b)
	clusters := []*paused{newPaused(b, pauseFew), newPaused(b, pauseMany)}
	phases := []struct {
		name string
		run  func(*paused, *testing.B) pauses
	}{{"steady", (*paused).steady}, {"image", (*paused).sending}}
	seen := make([][2][]pauses, len(phases))
	for round := range pauseRounds {
		for i, phase := range phases {
			for turn := range clusters {
				j := (round + turn) % len(clusters) // nobody always comes after the same
				c := clusters[j]
				syscall.Sync() // what is still to be written of the turn before
				p := phase.run(c, b)
				seen[i][j] = append(seen[i][j], p)
				b.Logf("round %d, %s, %d keys: longest gap %.1f ms, p99.9 %.1f ms, p50 %.1f ms", round+1, phase.name, c.keys, p.gap, p.p999, p.p50)
			}
		}
	}
	median := func(ps []pauses, of func(pauses) float64) float64 {
		var all []float64
		for _, p := range ps {
			all = append(all, of(p))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for i, phase := range phases {
		for name, of := range map[string]func(pauses) float64{
			"gap":  func(p pauses) float64 { return p.gap },
			"p999": func(p pauses) float64 { return p.p999 },
		} {
			few, many := median(seen[i][0], of), median(seen[i][1], of)
			b.ReportMetric(few, phase.name+"-few-"+name+"-ms")
			b.ReportMetric(many, phase.name+"-many-"+name+"-ms")
			b.ReportMetric(many/few, phase.name+"-"+name+"-ratio")
		}
	}
	b.ReportMetric(0, "ns/op")
}
