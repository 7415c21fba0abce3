package httpapi

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/require"
)

// BenchmarkGet reads one key over loopback, in turns from the API and from an
// empty httprouter handler that answers with the same bytes. %empty is the API's
// throughput as a share of the other's: 60 is asked for.
func BenchmarkGet(b *testing.B) {
	f := newFixture(b)
	f.Now = time.Now
	compare(b, f)
}

func compare(b *testing.B, f *fixture) {
	b.Helper()
	f.ok("PUT", config+"/teams/payments/stripe/timeout-ms", "30")
	const target = config + "/teams/payments/stripe/timeout-ms"
	want := f.ok("GET", target, "")
	body, header := want.Body.Bytes(), want.Header()
	empty := httprouter.New()
	empty.GET(base+"/config/*path", func(w http.ResponseWriter, _ *http.Request, _ httprouter.Params) {
		h := w.Header()
		for name, values := range header {
			h[name] = values
		}
		_, _ = w.Write(body)
	})
	const connections, turn = 16, 2_000
	floor, api := dial(b, empty, target, connections), dial(b, f, target, connections)
	floor.run(b, turn)
	api.run(b, turn)
	b.ResetTimer()
	var floorTime, apiTime time.Duration
	for done := 0; done < b.N; done += turn {
		n := min(turn, b.N-done)
		floorTime += floor.run(b, n)
		apiTime += api.run(b, n)
	}
	b.ReportMetric(float64(floorTime.Nanoseconds())/float64(b.N), "empty-ns/op")
	b.ReportMetric(float64(apiTime.Nanoseconds())/float64(b.N), "api-ns/op")
	b.ReportMetric(100*float64(floorTime)/float64(apiTime), "%empty")
}

// load is a server and the connections to it.
type load struct {
	request []byte
	size    int // of every answer
	conns   []net.Conn
}

func dial(b *testing.B, h http.Handler, target string, n int, headers ...string) *load {
	b.Helper()
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: HeaderTimeout, ReadTimeout: TransferTimeout,
		WriteTimeout: TransferTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = s.Serve(listener) }()
	b.Cleanup(func() { _ = s.Close() })
	head := "GET " + target + " HTTP/1.1\r\nHost: x\r\nX-Request-Id: test-1\r\n"
	for _, header := range headers {
		head += header + "\r\n"
	}
	l := &load{request: []byte(head + "\r\n")}
	for range n {
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(b, err)
		b.Cleanup(func() { _ = conn.Close() })
		l.conns = append(l.conns, conn)
	}
	_, err = l.conns[0].Write(l.request)
	require.NoError(b, err)
	l.size, err = l.conns[0].Read(make([]byte, 4096))
	require.NoError(b, err)
	return l
}

// run makes n requests, spread over the connections, and says how long it took.
// The client is as cheap as can be: it knows the size of an answer.
func (l *load) run(b *testing.B, n int) time.Duration {
	b.Helper()
	start := time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	var group sync.WaitGroup
	for _, conn := range l.conns {
		group.Go(func() {
			buf := make([]byte, l.size)
			for left.Add(-1) >= 0 {
				_, err := conn.Write(l.request)
				if err == nil {
					_, err = io.ReadFull(conn, buf)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return time.Since(start)
}

// BenchmarkGetHandler is the handler alone, without net/http's own work.
func BenchmarkGetHandler(b *testing.B) {
	f := newFixture(b)
	f.ok("PUT", config+"/teams/payments/stripe/timeout-ms", "30")
	f.Now = time.Now
	r, err := http.NewRequest("GET", config+"/teams/payments/stripe/timeout-ms", nil)
	require.NoError(b, err)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		f.ServeHTTP(w, r)
	}
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// BenchmarkImport takes records in the portions that client sends them in; the
// node has them already, so that the parsing weighs most.
func BenchmarkImport(b *testing.B) {
	f := newFixture(b)
	f.Now = time.Now
	var lines strings.Builder
	for i := range MaxImportOps {
		fmt.Fprintf(&lines, "{\"path\":\"i18n/cldr/main/en-GB/numbers/currencies/C%03d/displayName\",\"value\":\"currency %d\"}\n", i, i)
	}
	body := lines.String()
	f.ok("POST", base+"/import/i18n/cldr", body, ndjson...)
	b.ReportAllocs()
	for b.Loop() {
		f.node.commands = nil
		f.ok("POST", base+"/import/i18n/cldr", body, ndjson...)
	}
	b.ReportMetric(float64(b.N)*MaxImportOps/b.Elapsed().Seconds(), "records/s")
}
