//go:build unix

package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/fsm"
)

// connect dials a server that tests wait for no longer than they must.
func connect(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

// ask sends a request on a connection that is kept, and returns the status; 0: none came.
func ask(conn net.Conn, request string) int {
	if _, err := io.WriteString(conn, request); err != nil {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return res.StatusCode
}

const (
	liveRequest = "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
	getRequest  = "GET " + config + "/ HTTP/1.1\r\nHost: x\r\n\r\n"
	putRequest  = "PUT " + config + "/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
)

// drip sends byte after byte, a millisecond apart, until the other side has had enough.
func drip(t *testing.T, conn net.Conn, b string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := io.WriteString(conn, b)
		return err != nil
	}, 20*time.Second, time.Millisecond, "it goes on for ever")
}

// TestSlowHeaders: who sends a header that never ends is cut off, and others are served meanwhile.
func TestSlowHeaders(t *testing.T) {
	f := newFixture(t)
	f.Now = time.Now
	_, addr := f.serveWith(t, func(s *Server) { s.http.ReadHeaderTimeout = 100 * time.Millisecond })
	var slow []net.Conn
	for range 50 {
		conn := connect(t, addr)
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
		require.NoError(t, err)
		slow = append(slow, conn)
	}
	silent := connect(t, addr)
	kept := connect(t, addr)
	require.Equal(t, http.StatusOK, ask(kept, getRequest))
	_, err := io.WriteString(kept, "GET / HT") // the second request's headers drip too
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, ask(connect(t, addr), getRequest))
	for _, conn := range append(slow, kept) {
		drip(t, conn, "b")
	}
	_, err = silent.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "who sends nothing at all, too")
	assert.Equal(t, http.StatusOK, ask(connect(t, addr), getRequest))
}

// TestSlowBody: a body that drips keeps each deadline of its own, but not the rate.
func TestSlowBody(t *testing.T) {
	f := newFixture(t)
	f.Now = time.Now
	s, addr := f.serveWith(t, func(s *Server) { s.api.transfer = 100 * time.Millisecond })
	for _, head := range []string{
		"PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
		"POST /api/v1/import/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n\r\n",
	} {
		conn := connect(t, addr)
		_, err := io.WriteString(conn, head)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return s.api.requests.Load() == 1 }, 10*time.Second, time.Millisecond)
		assert.Equal(t, http.StatusOK, ask(connect(t, addr), getRequest))
		drip(t, conn, " ")
		require.Eventually(t, func() bool { return s.api.requests.Load() == 0 }, 10*time.Second, time.Millisecond)
		assert.True(t, s.api.bodies.TryAcquire(MaxBodyMemoryBytes), "it holds no memory")
		s.api.bodies.Release(MaxBodyMemoryBytes)
	}
	assert.Empty(t, f.node.commands)
	// The answer says why.
	conn := connect(t, addr)
	_, err := io.WriteString(conn, "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
	require.NoError(t, err)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestTimeout, res.StatusCode)
	assert.Contains(t, bodyOf(t, res), "1 bytes did in")
	require.NoError(t, res.Body.Close())
}

// TestFastEnoughBody: a body that takes longer than the first wait, at more than the least
// rate, is taken.
func TestFastEnoughBody(t *testing.T) {
	f := newFixture(t)
	f.Now = time.Now
	const transfer = 200 * time.Millisecond
	_, addr := f.serveWith(t, func(s *Server) { s.api.transfer = transfer })
	conn := connect(t, addr)
	start := time.Now()
	_, err := io.WriteString(conn, "PUT /api/v1/config/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := io.WriteString(conn, "400\r\n"+strings.Repeat("x", 0x400)+"\r\n")
		return err != nil || time.Since(start) > 2*transfer
	}, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, http.StatusCreated, ask(conn, "0\r\n\r\n"))
}

// TestConnectionsAreBounded: at the bound the one that is idle for longest goes; if all are at
// work, the new one does.
func TestConnectionsAreBounded(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			f := newFixture(t)
			f.MaxConnections = 4
			f.Now = time.Now
			inside, leave := make(chan struct{}), make(chan struct{})
			f.node.during = func(*fsm.Command) { inside <- struct{}{}; <-leave }
			dial := func(addr string) net.Conn { return connect(t, addr) }
			var (
				s    *Server
				addr string
			)
			if secure {
				var ca *testCA
				s, addr, ca = f.serveTLS(t)
				dial = func(addr string) net.Conn { return ca.handshake(connect(t, addr)) }
			} else {
				s, addr = f.serve(t)
			}
			// An answer arrives a little before its connection is idle.
			idle := func(n int) {
				require.Eventually(t, func() bool { return s.open.idle() == n }, 10*time.Second, time.Millisecond)
			}
			var conns []net.Conn
			for i := range 4 {
				conn := dial(addr)
				require.Equal(t, http.StatusOK, ask(conn, liveRequest))
				conns = append(conns, conn)
				idle(i + 1)
			}
			require.Equal(t, http.StatusOK, ask(conns[0], liveRequest), "now the second is idle for longest")
			idle(4)
			newer := dial(addr)
			require.Equal(t, http.StatusOK, ask(newer, liveRequest))
			assert.Zero(t, ask(conns[1], liveRequest))
			assert.Equal(t, 4, s.open.count())

			busy := []net.Conn{conns[0], conns[2], conns[3], newer}
			statuses := make(chan int, len(busy))
			for _, conn := range busy {
				go func() { statuses <- ask(conn, putRequest) }()
				select {
				case <-inside:
				case status := <-statuses:
					require.Fail(t, "a connection that is in use was closed", status)
				}
			}
			refused := connect(t, addr)
			_, err := refused.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			close(leave)
			for range busy {
				assert.Contains(t, []int{http.StatusCreated, http.StatusOK}, <-statuses)
			}
			idle(4)
			assert.Equal(t, http.StatusOK, ask(dial(addr), liveRequest))
			require.NoError(t, s.Close())
			require.Eventually(t, func() bool { return s.open.count() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

// idle is how many connections are idle.
func (s *connections) idle() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		if c.idle.Load() != 0 {
			n++
		}
	}
	return n
}

// idleVariable has this program hold connections to an address, for TestIdleConnections.
const idleVariable = "CONFMAN_TEST_IDLE"

func TestMain(m *testing.M) {
	if of := os.Getenv(idleVariable); of != "" {
		if err := holdIdle(of); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// holdIdle opens connections ("count address"), asks once on each, and keeps them until its
// input ends.
func holdIdle(of string) error {
	var (
		n    int
		addr string
	)
	if _, err := fmt.Sscan(of, &n, &addr); err != nil {
		return err
	}
	conns := make([]net.Conn, n)
	for i := range conns {
		var dialer net.Dialer
		if runtime.GOOS == "linux" { // all of 127/8 is there: leave the ports of 127.0.0.1 to other tests
			dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}
		}
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			return err
		}
		_ = conn.(*net.TCPConn).SetLinger(0) // and leave no port in TIME-WAIT
		conns[i] = conn
		if status := ask(conn, liveRequest); status != http.StatusOK {
			return fmt.Errorf("status %d", status)
		}
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conns) // what is not used any more would be closed
	return nil
}

// TestIdleConnections: requests are answered while 10,000 connections do nothing. They belong to
// another process: both ends would be too many files for one.
func TestIdleConnections(t *testing.T) {
	idle := 10_000
	var files unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	files.Cur = files.Max
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &files))
	if most := int(min(files.Max, 1<<20)) - 200; most < idle {
		t.Logf("the hard limit of open files is %d: %d connections", files.Max, most)
		idle = most
	}
	f := newFixture(t)
	f.Now = time.Now
	s, addr := f.serve(t)
	require.Equal(t, http.StatusOK, ask(connect(t, addr), getRequest))
	before := memory()

	var errs bytes.Buffer
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s", idleVariable, idle, addr))
	child.Stderr = &errs
	in, err := child.StdinPipe()
	require.NoError(t, err)
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "%s", errs.String())
	require.Equal(t, "held\n", line, errs.String())

	assert.GreaterOrEqual(t, s.open.count(), idle)
	t.Logf("an idle connection takes %d bytes here", (memory()-before)/uint64(idle))
	for range 10 {
		start := time.Now()
		require.Equal(t, http.StatusCreated, ask(connect(t, addr), strings.Replace(putRequest, "/a ", fmt.Sprintf("/%d ", start.UnixNano()), 1)))
		require.Equal(t, http.StatusOK, ask(connect(t, addr), getRequest))
	}
	assert.GreaterOrEqual(t, s.open.count(), idle)
	require.NoError(t, in.Close())
	require.NoError(t, child.Wait())
	require.Eventually(t, func() bool { return s.open.count() < 100 }, 20*time.Second, time.Millisecond, "they are forgotten")
}

// memory is what the program holds, stacks included.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
