package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lane is one keep-alive connection of the load. It knows as much HTTP/1.1 as our
// servers answer with, so that the load costs little beside what it measures.
type lane struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialLane(addr string) (*lane, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return &lane{conn, bufio.NewReader(conn)}, nil
}

// do sends a request and reads the answer to its end.
func (l *lane) do(request []byte) (status int, err error) {
	if _, err := l.conn.Write(request); err != nil {
		return 0, err
	}
	line, err := l.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < len("HTTP/1.1 200") {
		return 0, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, err
	}
	size := -1
	for {
		if line, err = l.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		const name = "Content-Length: "
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if size, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return 0, err
			}
		}
	}
	if size < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	_, err = l.in.Discard(size)
	return status, err
}

// lanes opens n connections, to the addresses in turn.
func lanes(tb testing.TB, n int, addrs ...string) []*lane {
	tb.Helper()
	var all []*lane
	for i := range n {
		l, err := dialLane(addrs[i%len(addrs)])
		require.NoError(tb, err)
		tb.Cleanup(func() { _ = l.conn.Close() }) // all answers are in
		all = append(all, l)
	}
	return all
}

// drive sends n requests over all lanes, each lane one at a time, and checks that
// every answer has one of the wanted statuses. It returns the time that it took,
// and each request's, sorted.
func drive(tb testing.TB, all []*lane, n int, request func(i int, buf []byte) []byte, want ...int) (time.Duration, []time.Duration) {
	tb.Helper()
	var (
		next  atomic.Int64
		group sync.WaitGroup
		mu    sync.Mutex
		each  = make([]time.Duration, 0, n)
	)
	start := time.Now()
	for _, l := range all {
		group.Go(func() {
			var (
				buf  []byte
				mine []time.Duration
			)
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					break
				}
				buf = request(i, buf[:0])
				asked := time.Now()
				status, err := l.do(buf)
				if err != nil || !slices.Contains(want, status) {
					tb.Errorf("request %d: status %d, want %v: %v", i, status, want, err)
					return
				}
				mine = append(mine, time.Since(asked))
			}
			mu.Lock()
			each = append(each, mine...)
			mu.Unlock()
		})
	}
	group.Wait()
	took := time.Since(start)
	slices.Sort(each)
	require.Len(tb, each, n)
	return took, each
}

// percentile of sorted times, in milliseconds.
func percentile(sorted []time.Duration, p int) float64 {
	return float64(sorted[min(len(sorted)-1, len(sorted)*p/100)].Microseconds()) / 1000
}

// escaped is a key as it goes into a URL.
func escaped(key string) string { return (&url.URL{Path: key}).EscapedPath() }

// getRequest is a GET of a key, whole.
func getRequest(key string) []byte {
	return []byte("GET " + configPath + escaped(key) + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

func (p *proc) addr() string { return strings.TrimPrefix(p.url(), "http://") }
