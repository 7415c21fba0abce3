package lane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo asks for its own body back.
type echo struct {
	request, want []byte
	heard         int
	fail          error
}

func newEcho(body string) *echo {
	return &echo{
		request: fmt.Appendf(nil, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		want:    []byte(body),
	}
}

func (e *echo) Ask() []byte { return e.request }

func (e *echo) Hear(a *Answer) error {
	e.heard++
	if a.Status != http.StatusOK || !bytes.Equal(a.Body, e.want) || string(a.Header("X-Seen: ")) != "yes" {
		return fmt.Errorf("status %d, %d bytes", a.Status, len(a.Body))
	}
	return e.fail
}

func serve(t *testing.T, chunked bool) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Seen", "yes")
		body, _ := io.ReadAll(r.Body)
		half := len(body) / 2
		_, _ = w.Write(body[:half])
		if chunked {
			w.(http.Flusher).Flush()
		}
		_, _ = w.Write(body[half:])
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// TestLoop: answers of every size come back whole, however they are framed, over connections to two servers.
func TestLoop(t *testing.T) {
	addrs := []string{serve(t, false), serve(t, true)}
	var askers []Asker
	for i := range 9 {
		askers = append(askers, newEcho(strings.Repeat("body", 1+i*i*i*400))) // up to 0.8 MB
	}
	l, err := New(askers, addrs...)
	require.NoError(t, err)
	defer l.Close()
	var counted uint64
	for range 3 {
		h, err := l.Run(50 * time.Millisecond)
		require.NoError(t, err)
		counted += h.Count()
	}
	require.NoError(t, l.Drain())
	heard := 0
	for _, a := range askers {
		assert.Positive(t, a.(*echo).heard)
		heard += a.(*echo).heard
	}
	assert.Positive(t, counted)
	assert.LessOrEqual(t, counted, uint64(heard))
	assert.LessOrEqual(t, uint64(heard), counted+3*uint64(len(askers)))
}

// TestPace: with a pace clients ask no more often, also over a drain in between.
func TestPace(t *testing.T) {
	var askers []Asker
	for range 5 {
		askers = append(askers, newEcho("x"))
	}
	l, err := New(askers, serve(t, false))
	require.NoError(t, err)
	defer l.Close()
	l.Pace(20 * time.Millisecond)
	for range 2 {
		h, err := l.Run(110 * time.Millisecond)
		require.NoError(t, err)
		require.NoError(t, l.Drain())
		assert.Positive(t, h.Count())
		assert.LessOrEqual(t, h.Count(), uint64(5*6))
	}
}

func TestErrorsEndALoop(t *testing.T) {
	bad := newEcho("x")
	bad.fail = errors.New("not what I asked for")
	l, err := New([]Asker{newEcho("y"), bad}, serve(t, false))
	require.NoError(t, err)
	defer l.Close()
	_, err = l.Run(10 * time.Second)
	require.ErrorIs(t, err, bad.fail)
	_, err = l.Run(time.Millisecond)
	require.ErrorIs(t, err, bad.fail)
}

func TestAServerThatGoes(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	}))
	s.Start()
	defer s.Close()
	l, err := New([]Asker{newEcho("y")}, s.Listener.Addr().String())
	require.NoError(t, err)
	defer l.Close()
	_, err = l.Run(10 * time.Second)
	require.Error(t, err)
	_, err = New([]Asker{newEcho("y")}, "127.0.0.1:1")
	require.Error(t, err)
}

func TestParseHead(t *testing.T) {
	for _, c := range []struct {
		head         string
		status, size int
		wrong        bool
	}{
		{head: "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", status: 200, size: 12},
		{head: "HTTP/1.1 200 OK\r\ncontent-length:7\r\nX: y\r\n", status: 200, size: 7},
		{head: "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n", status: 503, size: -1},
		{head: "HTTP/1.1 304 Not Modified\r\n", status: 304},
		{head: "HTTP/1.1 200 OK\r\n", wrong: true},
		{head: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", wrong: true},
		{head: "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n", wrong: true},
		{head: "HTTP/1.1 2x0 OK\r\nContent-Length: 1\r\n", wrong: true},
		{head: "nothing", wrong: true},
	} {
		status, size, err := parseHead([]byte(c.head))
		if c.wrong {
			require.Error(t, err, "%q", c.head)
			continue
		}
		require.NoError(t, err, "%q", c.head)
		assert.Equal(t, []int{c.status, c.size}, []int{status, size}, "%q", c.head)
	}
}

func TestChunks(t *testing.T) {
	const body = "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"
	for i := range len(body) {
		_, _, done, err := chunks(nil, []byte(body[:i]))
		require.NoError(t, err)
		require.False(t, done, "%q", body[:i])
	}
	got, rest, done, err := chunks(nil, []byte(body+"more"))
	require.NoError(t, err)
	assert.True(t, done)
	assert.Equal(t, "abc0123456789", string(got))
	assert.Equal(t, "more", string(rest))
	_, _, _, err = chunks(nil, []byte("zz\r\n"))
	require.Error(t, err)
}

func TestHeader(t *testing.T) {
	a := &Answer{Head: []byte("HTTP/1.1 200 OK\r\nX-Age: 1\r\nAge: 2\r\n\r\n")}
	assert.Equal(t, "2", string(a.Header("Age: ")))
	assert.Nil(t, a.Header("Ag: "))
}

// TestNothingIsAllocated: an operation of the load allocates nothing.
func TestNothingIsAllocated(t *testing.T) {
	head := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc")
	c := &conn{in: head}
	var a Answer
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		c.head = 0
		if done, err := c.parse(&a); !done || err != nil {
			panic(err)
		}
	}))
}
