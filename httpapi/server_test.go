package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// serve runs the fixture's API on loopback and returns its address.
func (f *fixture) serve(tb testing.TB) (*Server, string) { return f.serveWith(tb, func(*Server) {}) }

// serveWith is serve with a server that tune has changed.
func (f *fixture) serveWith(tb testing.TB, tune func(*Server)) (*Server, string) {
	tb.Helper()
	cfg := f.Config
	cfg.Registry = nil // one of its own
	s := NewServer(cfg)
	s.api.age = f.age
	tune(s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	tb.Cleanup(func() {
		_ = s.Close()
		require.NoError(tb, <-served)
	})
	return s, l.Addr().String()
}

// raw sends bytes and returns the answer.
func raw(t *testing.T, addr, request string, then func(net.Conn)) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	if then != nil {
		then(conn)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

func TestServer(t *testing.T) {
	f := newFixture(t)
	f.Now = time.Now
	s, addr := f.serve(t)
	do := func(method, path, body string) (*http.Response, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, strings.NewReader(body))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		return res, bodyOf(t, res)
	}
	res, _ := do("PUT", config+"/a", "1")
	assert.Equal(t, 201, res.StatusCode)
	assert.True(t, f.node.commands[0].Source.IsLoopback())
	res, body := do("GET", config+"/a", "")
	assert.Equal(t, int64(len(body)), res.ContentLength)
	assert.Contains(t, body, `"value":1,`)
	res, body = do("POST", "/api/v1/import/big", manyLeaves())
	assert.Equal(t, 200, res.StatusCode, body)
	_, body = do("GET", "/api/v1/export/big", "")
	assert.JSONEq(t, manyLeaves(), body)
	res, _ = do("GET", "/health/ready", "")
	assert.Equal(t, 200, res.StatusCode)
	require.NoError(t, s.Shutdown(t.Context()))
	assert.NotEmpty(t, (&call{api: s.api}).notReady())
}

// TestShutdownWaits: what is in flight is answered.
func TestShutdownWaits(t *testing.T) {
	f := newFixture(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	f.node.during = func(*fsm.Command) { close(inside); <-leave }
	f.Now = time.Now
	s, addr := f.serve(t)
	answered := make(chan int, 1)
	go func() {
		r, _ := http.NewRequest("PUT", "http://"+addr+config+"/a", strings.NewReader("1"))
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	close(leave)
	assert.Equal(t, 201, <-answered)
	require.NoError(t, s.Shutdown(t.Context()))
}

// TestDrain: first only ready turns, then the listener goes and who waits is told; a write
// that has begun is answered.
func TestDrain(t *testing.T) {
	f := newFixture(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	f.node.during = func(*fsm.Command) { close(inside); <-leave }
	f.Now = time.Now
	s, addr := f.serve(t)
	get := func(path string) *http.Response {
		return raw(t, addr, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n", nil)
	}
	assert.False(t, get("/health/ready").Close)

	s.Drain()
	assert.Equal(t, http.StatusServiceUnavailable, get("/health/ready").StatusCode)
	res := get(config + "/")
	assert.Equal(t, http.StatusOK, res.StatusCode)
	assert.True(t, res.Close, "a client that keeps connections shall look elsewhere")
	select {
	case <-s.api.drained:
		require.Fail(t, "nobody is sent away while the node still serves")
	default:
	}

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PUT "+config+"/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1")
	require.NoError(t, err)
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-s.api.drained
	_, err = net.Dial("tcp", addr)
	require.Error(t, err, "told to go elsewhere only once there is no way back")
	assert.Empty(t, stopped)
	close(leave)
	res, err = http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, res.StatusCode)
	require.NoError(t, <-stopped)
	require.NoError(t, s.Shutdown(t.Context()), "twice does no harm")
}

// TestBrokenBodies: a body that stops is refused, with its outcome, and nothing is written.
func TestBrokenBodies(t *testing.T) {
	f := newFixture(t)
	// A clock that lags makes each deadline one that has passed already.
	late := newFixture(t)
	late.Now = func() time.Time { return time.Now().Add(-TransferTimeout) }
	f.Now = time.Now
	half := func(conn net.Conn) { assert.NoError(t, conn.(*net.TCPConn).CloseWrite()) }
	cases := []struct {
		name, request string
		f             *fixture
		then          func(net.Conn)
		status        int
		problem       string
	}{
		{"length not reached", "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12", f, half, 400, kindIncompleteBody.name},
		{"chunk not complete", "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12", f, half, 400, kindIncompleteBody.name},
		{"records not complete", "POST /api/v1/import/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 50\r\n\r\n{", f, half, 400, kindIncompleteBody.name},
		{"chunks not well formed", "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", f, nil, 400, kindIncompleteBody.name},
		{"stalled", "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12", late, nil, 408, kindBodyTimeout.name},
		{"stalled records", "POST /api/v1/import/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 50\r\n\r\n{", late, nil, 408, kindBodyTimeout.name},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, addr := tc.f.serve(t)
			res := raw(t, addr, tc.request, tc.then)
			body := bodyOf(t, res)
			assert.Equal(t, tc.status, res.StatusCode, body)
			assert.Contains(t, body, "urn:confman:problem:"+tc.problem)
			assert.Contains(t, body, `"outcome":"not_applied"`)
			assert.Empty(t, tc.f.node.commands)
		})
	}
}

// TestRawPaths sends request lines that no client library would.
func TestRawPaths(t *testing.T) {
	f := newFixture(t)
	_, addr := f.serve(t)
	for line, status := range map[string]int{
		"GET //api/v1/config/a":                             404,
		"GET /api/v1/config/a/../b":                         400,
		"GET /api/v1/config//a":                             400,
		"GET http://x/api/v1/config/a//b":                   400,
		"GET http://x":                                      404,
		"OPTIONS *":                                         200,
		"GET /api/v1/config/a%2fb":                          400,
		"PUT /api/v1/config/" + strings.Repeat("%61", 1025): 400,
	} {
		res := raw(t, addr, line+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", nil)
		assert.Equal(t, status, res.StatusCode, line)
	}
}

// TestExportBreaksOff: an error after the first byte shows as a broken connection,
// never as a document that ends well.
func TestExportBreaksOff(t *testing.T) {
	f := newFixture(t)
	for i := range 40 {
		f.ok("PUT", fmt.Sprintf("%s/a/%d", config, i), strings.Repeat("x", exportBuffer))
	}
	f.Now = func() time.Time { return time.Now().Add(-TransferTimeout) } // every write is late
	_, addr := f.serve(t)
	for _, format := range []string{"tree", "ndjson"} {
		res, err := http.Get("http://" + addr + "/api/v1/export/a?format=" + format)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
		require.Error(t, err)
	}
}

func TestPanicAfterTheHeaders(t *testing.T) {
	f := newFixture(t)
	w := newRecorder()
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		f.serveCall(func(c *call) error {
			c.head(answer{status: 200, length: -1}, standing{}, &f.node.status)
			panic("bug")
		}, w)
	})
	assert.True(t, bytes.Contains(f.log.Bytes(), []byte("panic in a handler")))
}

func (f *fixture) serveCall(h handler, w http.ResponseWriter) {
	r, _ := http.NewRequest("GET", "/", nil)
	f.api.serve(h, true, w, r, f.counted.unrouted("GET"), "")
}
