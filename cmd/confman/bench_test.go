package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The figures of BENCHMARKS.md, on real processes: three nodes and the load on
// one machine, every acknowledged write synced. make benchmarks runs them.

// onRealDisk refuses to measure on memory.
func onRealDisk(b *testing.B) {
	b.Helper()
	var fs unix.Statfs_t
	require.NoError(b, unix.Statfs(b.TempDir(), &fs))
	require.NotEqual(b, int64(unix.TMPFS_MAGIC), fs.Type, "TMPDIR is in memory: set it to a directory on a disk")
}

// imported is a fleet that holds the tree.
func imported(b *testing.B) (f *fleet, dir string, leaves int, took time.Duration) {
	b.Helper()
	onRealDisk(b)
	f, dir = up(b, 3), tree(b)
	start := time.Now()
	r := f.confman("import", "i18n/cldr", dir, "-o", "json")
	took = time.Since(start)
	require.Zero(b, r.code, r.err)
	var sum summary
	require.NoError(b, json.Unmarshal([]byte(r.out), &sum))
	require.Equal(b, sum.Leaves, sum.Changed)
	return f, dir, sum.Leaves, took
}

// BenchmarkImport imports the whole tree into an empty cluster; the time is the
// command's, from its start to its end.
func BenchmarkImport(b *testing.B) {
	var total, leaves float64
	for range b.N {
		_, _, n, took := imported(b)
		leaves += float64(n)
		total += took.Seconds()
	}
	b.ReportMetric(leaves/total, "leaves/s")
	b.ReportMetric(leaves/float64(b.N), "leaves")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRestart stops and kills a follower that holds the whole tree, and
// measures from its start until it is ready.
func BenchmarkRestart(b *testing.B) {
	f, _, _, _ := imported(b)
	p := f.others(f.leader())[0]
	f.converge()
	for _, way := range []struct {
		name string
		end  func(...*proc)
	}{{"stopped", f.stop}, {"killed", f.kill}} {
		b.Run(way.name, func(b *testing.B) {
			var ready, cpu time.Duration
			for range b.N {
				way.end(p)
				start := time.Now()
				f.start(p)
				for !listening(p) {
					time.Sleep(time.Millisecond)
				}
				ready += time.Since(start)
				cpu += cpuTime(b, p)
			}
			b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ready-ms")
			b.ReportMetric(float64(cpu.Milliseconds())/float64(b.N), "cpu-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// listening asks once whether a node is ready.
func listening(p *proc) bool {
	l, err := dialLane(p.addr())
	if err != nil {
		return false
	}
	defer l.conn.Close()
	status, err := l.do([]byte("GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	return err == nil && status == http.StatusOK
}

// cpuTime is what the process has used of the processors since its start.
func cpuTime(b *testing.B, p *proc) time.Duration {
	b.Helper()
	return cpuTimeOf(b, p.cmd.Process.Pid)
}

func cpuTimeOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	// After the name, which ends with the last ")": fields 3 and on; 14 and 15 are ticks of 10 ms.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		require.NoError(b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory is a line of the process's status, in MiB.
func memory(b testing.TB, p *proc, name string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(b, err)
	_, after, ok := strings.Cut(string(text), name+":")
	require.True(b, ok)
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	require.NoError(b, err)
	return kib / 1024
}

// BenchmarkMemory makes 100,000 random reads at the leader, which has just taken
// the import, and at a follower that was started again since.
func BenchmarkMemory(b *testing.B) {
	f, dir, _, _ := imported(b)
	var requests [][]byte
	for _, key := range slices.Sorted(maps.Keys(leavesBelow(b, dir))) {
		requests = append(requests, getRequest("i18n/cldr/"+key))
	}
	leader := f.leader()
	started := f.others(leader)[0]
	f.stop(started)
	f.start(started)
	f.await(started)
	for _, at := range []struct {
		name string
		p    *proc
	}{{"leader", leader}, {"restarted", started}} {
		b.Run(at.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			const reads = 100_000
			picks := make([][]byte, reads)
			for i := range picks {
				picks[i] = requests[random.IntN(len(requests))]
			}
			before := memory(b, at.p, "RssAnon")
			for range b.N {
				drive(b, lanes(b, 16, at.p.addr()), reads, func(i int, _ []byte) []byte { return picks[i] }, http.StatusOK)
			}
			b.ReportMetric(before, "MiB-before")
			b.ReportMetric(memory(b, at.p, "RssAnon"), "MiB-anon")
			b.ReportMetric(memory(b, at.p, "RssFile"), "MiB-file")
			b.ReportMetric(0, "ns/op")
		})
	}
}

const (
	// emptyVariable makes this test binary the empty server; it holds the answer.
	emptyVariable = "CONFMAN_TEST_EMPTY_SERVER"
	// readSlice is how many reads go to one server before it is the other's turn.
	readSlice, readTurns = 20_000, 12
)

// emptyAnswer is what the empty server answers with.
type emptyAnswer struct {
	Header http.Header
	Body   string
}

// serveEmpty serves an answer at every key from an empty httprouter handler, and
// prints its address. It ends with its standard input.
func serveEmpty(text string) error {
	var answer emptyAnswer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return err
	}
	body := []byte(answer.Body)
	router := httprouter.New()
	router.GET(configPath+"*path", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		h := w.Header()
		for name, values := range answer.Header {
			h[name] = values
		}
		_, _ = w.Write(body) // the client counts
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test ends
		os.Exit(0)
	}()
	return http.Serve(listener, router)
}

// BenchmarkRead reads one key from a node, and from an empty httprouter handler in
// a process of its own that returns the same bytes, in turns.
func BenchmarkRead(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	const key = "teams/payments/stripe/timeout-ms"
	p := f.nodes[0]
	require.Equal(b, http.StatusCreated, f.ask(p, http.MethodPut, configPath+key, "30").status)
	f.converge()
	a := f.ask(p, http.MethodGet, configPath+key, "")
	require.Equal(b, http.StatusOK, a.status)
	a.header.Del("Date") // net/http adds it
	text, err := json.Marshal(emptyAnswer{a.header, a.body})
	require.NoError(b, err)
	self, err := os.Executable()
	require.NoError(b, err)
	empty := exec.Command(self)
	empty.Env = append(os.Environ(), emptyVariable+"="+string(text))
	empty.Stderr = os.Stderr
	stdin, err := empty.StdinPipe()
	require.NoError(b, err)
	stdout, err := empty.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, empty.Start())
	b.Cleanup(func() {
		_ = stdin.Close() // it ends the process
		_ = empty.Wait()
	})
	var addr string
	_, err = fmt.Fscan(stdout, &addr)
	require.NoError(b, err)

	for _, conns := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			request := getRequest(key)
			same := func(int, []byte) []byte { return request }
			floor, node := lanes(b, conns, addr), lanes(b, conns, p.addr())
			drive(b, floor, readSlice/4, same, http.StatusOK)
			drive(b, node, readSlice/4, same, http.StatusOK)
			var floorTime, nodeTime time.Duration
			floorCPU, nodeCPU := cpuTimeOf(b, empty.Process.Pid), cpuTime(b, p)
			n := 0
			for range b.N {
				for range readTurns {
					d, _ := drive(b, floor, readSlice, same, http.StatusOK)
					floorTime += d
					d, _ = drive(b, node, readSlice, same, http.StatusOK)
					nodeTime += d
					n += readSlice
				}
			}
			b.ReportMetric(float64(n)/floorTime.Seconds(), "empty-reads/s")
			b.ReportMetric(float64(n)/nodeTime.Seconds(), "reads/s")
			b.ReportMetric(100*floorTime.Seconds()/nodeTime.Seconds(), "%empty")
			perRead := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(n) }
			b.ReportMetric(perRead(cpuTimeOf(b, empty.Process.Pid)-floorCPU), "empty-cpu-µs/read")
			b.ReportMetric(perRead(cpuTime(b, p)-nodeCPU), "node-cpu-µs/read")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkConsistency reads random keys of 256 bytes with 64 clients, spread over the three
// nodes, bounded and linearizable in turns. What the nodes say to each other is in both.
func BenchmarkConsistency(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	const clients, keys, size = 64, 10_000, 256
	var addrs []string
	for _, p := range f.nodes {
		addrs = append(addrs, p.addr())
	}
	all := lanes(b, clients, addrs...)
	value := strings.Repeat("v", size)
	drive(b, all, keys, func(i int, buf []byte) []byte {
		return fmt.Appendf(buf, "PUT %sbench/%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", configPath, i, size, value)
	}, http.StatusCreated)
	f.converge()
	kinds := [...]string{"bounded", "linearizable"}
	var took, cpu [len(kinds)]time.Duration
	var each [len(kinds)][]time.Duration
	for range b.N {
		for range readTurns {
			for k, kind := range kinds {
				before := fleetTime(b, f)
				d, times := drive(b, all, readSlice, func(i int, buf []byte) []byte {
					return fmt.Appendf(buf, "GET %sbench/%d?consistency=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", configPath, (i*7919)%keys, kind)
				}, http.StatusOK)
				took[k] += d
				cpu[k] += fleetTime(b, f) - before
				each[k] = append(each[k], times...)
			}
		}
	}
	for k, kind := range kinds {
		slices.Sort(each[k])
		n := float64(len(each[k]))
		b.ReportMetric(n/took[k].Seconds(), kind+"/s")
		b.ReportMetric(float64(cpu[k].Microseconds())/n, kind+"-cpu-µs")
		b.ReportMetric(percentile(each[k], 50), kind+"-p50-ms")
		b.ReportMetric(percentile(each[k], 99), kind+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPut puts values of 256 bytes with 64 clients, spread over the three
// nodes: a third of them at the leader, the rest at followers, which forward.
func BenchmarkPut(b *testing.B) {
	onRealDisk(b)
	f := up(b, 3)
	const clients, puts, keys, size = 64, 60_000, 10_000, 256
	var addrs []string
	for _, p := range f.nodes {
		addrs = append(addrs, p.addr())
	}
	all := lanes(b, clients, addrs...)
	filler := strings.Repeat("v", size)
	round := 0
	put := func(i int, buf []byte) []byte {
		// Each value differs from the one before: an equal put changes nothing.
		value := strconv.Itoa(round*puts + i)
		buf = fmt.Appendf(buf, "PUT %sbench/%d HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", configPath, (i*7919)%keys, size)
		buf = append(buf, value...)
		return append(buf, filler[len(value):]...)
	}
	drive(b, all, puts/10, put, http.StatusOK, http.StatusCreated)
	var took time.Duration
	var each []time.Duration
	nodes, load := fleetTime(b, f), ownTime(b)
	for range b.N {
		round++
		d, times := drive(b, all, puts, put, http.StatusOK, http.StatusCreated)
		took += d
		each = append(each, times...)
	}
	slices.Sort(each)
	nodes, load = fleetTime(b, f)-nodes, ownTime(b)-load
	b.ReportMetric(float64(len(each))/took.Seconds(), "puts/s")
	b.ReportMetric(float64(nodes.Microseconds())/float64(len(each)), "nodes-cpu-µs/put")
	b.ReportMetric(float64(load.Microseconds())/float64(len(each)), "load-cpu-µs/put")
	b.ReportMetric(percentile(each, 50), "p50-ms")
	b.ReportMetric(percentile(each, 99), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// fleetTime is what all nodes have used of the processors.
func fleetTime(b *testing.B, f *fleet) (sum time.Duration) {
	b.Helper()
	for _, p := range f.nodes {
		sum += cpuTime(b, p)
	}
	return sum
}

// ownTime is what this process has used of the processors.
func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &use))
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// BenchmarkSync is the disk's share: a write of 4 KiB and its fdatasync.
func BenchmarkSync(b *testing.B) {
	onRealDisk(b)
	f, err := os.Create(filepath.Join(b.TempDir(), "sync"))
	require.NoError(b, err)
	defer f.Close()
	require.NoError(b, f.Truncate(16<<20))
	page := make([]byte, 4<<10)
	const syncs = 2_000
	each := make([]time.Duration, 0, syncs)
	for range b.N {
		for i := range syncs {
			start := time.Now()
			_, err := f.WriteAt(page, int64(i%4096)*4096)
			require.NoError(b, err)
			require.NoError(b, syscall.Fdatasync(int(f.Fd())))
			each = append(each, time.Since(start))
		}
	}
	slices.Sort(each)
	b.ReportMetric(percentile(each, 50), "p50-ms")
	b.ReportMetric(percentile(each, 99), "p99-ms")
	b.ReportMetric(0, "ns/op")
}
