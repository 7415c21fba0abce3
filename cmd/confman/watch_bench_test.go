package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/node"
)

// What BenchmarkWatch has: listeners that are sent something, everybody else elsewhere, and
// writes at a steady rate.
const (
	watchListeners = 10
	watchSeconds   = 20
	watchRate      = 1_000 // writes a second on paths that nobody watches
	watchedRate    = 50    // on those of the listeners
	watchLanes     = 32
)

// watchStream is one connection that watches.
type watchStream struct {
	net.Conn
	in *bufio.Reader
}

// openWatch begins a watch and returns once its first block is there.
func openWatch(b *testing.B, addr, path string) *watchStream {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(b, err)
	s := &watchStream{Conn: conn}
	s.in = bufio.NewReaderSize(conn, 512) // there are ten thousand
	_, err = fmt.Fprintf(conn, "GET /api/v1/watch/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
	require.NoError(b, err)
	s.until("id: ")
	return s
}

// until reads up to a line that begins with prefix and returns the rest of it; "": it ended.
func (s *watchStream) until(prefix string) string {
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			return ""
		}
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return rest
		}
	}
}

// BenchmarkWatch writes at a steady rate while 10 and 10,000 watch at one follower, and takes
// the time from the acknowledgment of a write, at the leader, to its event.
func BenchmarkWatch(b *testing.B) {
	onRealDisk(b)
	var limit unix.Rlimit
	require.NoError(b, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	require.NoError(b, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.Greater(b, limit.Cur, uint64(node.MaxWatchers+1_000), "raise the hard limit of open files")
	f := up(b, 3)
	leader := f.leader()
	at := f.others(leader)[0]
	listeners := make([]*watchStream, watchListeners)
	for i := range listeners {
		listeners[i] = openWatch(b, at.addr(), fmt.Sprintf("watched/%d/", i))
		defer listeners[i].Close()
	}
	const events = watchSeconds * watchedRate
	var arrived [2][events]atomic.Int64 // in ns since began
	began := time.Now()
	for _, s := range listeners {
		go func() {
			for {
				data := s.until("data: ")
				if data == "" {
					return
				}
				_, rest, _ := strings.Cut(data, `"value":"`)
				text, _, _ := strings.Cut(rest, `"`)
				if round, n, ok := strings.Cut(text, "."); ok {
					r, _ := strconv.Atoi(round)
					i, _ := strconv.Atoi(n)
					arrived[r][i].Store(int64(time.Since(began)))
				}
			}
		}()
	}
	var addrs []string
	for _, p := range f.nodes {
		addrs = append(addrs, p.addr())
	}
	load, own := lanes(b, watchLanes, addrs...), lanes(b, 1, leader.addr())
	run := func(b *testing.B, round int) {
		cpu := cpuTime(b, at)
		var all sync.WaitGroup
		for l, lane := range load {
			all.Go(func() {
				tick := time.NewTicker(time.Second * watchLanes / watchRate)
				defer tick.Stop()
				for i := range watchSeconds * watchRate / watchLanes {
					<-tick.C
					value := fmt.Sprintf("%d.%d.%d", round, l, i)
					status, err := lane.do(fmt.Appendf(nil, "PUT %sbench/%d/%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
						configPath, l, i%300, len(value), value))
					if err != nil || status > http.StatusCreated {
						b.Errorf("put: %d %v", status, err)
						return
					}
				}
			})
		}
		var acked [events]time.Duration
		tick := time.NewTicker(time.Second / watchedRate)
		defer tick.Stop()
		for i := range events {
			<-tick.C
			value := fmt.Sprintf("%d.%d", round, i)
			status, err := own[0].do(fmt.Appendf(nil, "PUT %swatched/%d/k HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
				configPath, i%watchListeners, len(value), value))
			require.NoError(b, err)
			require.LessOrEqual(b, status, http.StatusCreated)
			acked[i] = time.Since(began)
		}
		all.Wait()
		var times []time.Duration
		require.Eventually(b, func() bool {
			times = times[:0]
			for i := range events {
				if t := arrived[round][i].Load(); t != 0 {
					times = append(times, time.Duration(t)-acked[i])
				}
			}
			return len(times) == events
		}, 10*time.Second, 10*time.Millisecond)
		slices.Sort(times)
		b.ReportMetric(percentile(times, 50), "p50-ms")
		b.ReportMetric(percentile(times, 99), "p99-ms")
		b.ReportMetric(100*(cpuTime(b, at)-cpu).Seconds()/watchSeconds, "%cpu")
		b.ReportMetric(memory(b, at, "RssAnon"), "MiB-anon")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("watchers=10", func(b *testing.B) { run(b, 0) })
	opening := time.Now()
	for i := len(listeners); i < node.MaxWatchers; i++ {
		s := openWatch(b, at.addr(), fmt.Sprintf("elsewhere/%d/", i))
		defer s.Close()
	}
	opened := time.Since(opening)
	b.Run("watchers=10000", func(b *testing.B) {
		b.ReportMetric(float64(node.MaxWatchers)/opened.Seconds(), "opened/s")
		run(b, 1)
	})
}
