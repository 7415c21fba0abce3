package httpapi

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// connections bounds those of a Server. At the bound a new one takes the place of the one that
// was idle for longest, whose client just connects again; if none is idle, the new one is
// closed, so that its client asks another node instead of waiting here.
type connections struct {
	max    int
	logger *slog.Logger

	mu   sync.Mutex
	open map[*conn]struct{}
	full bool // it was said that there is no room; until there is
}

// evictionShare is the part of all connections that is closed at a time: to find the ones idle
// for longest means to look at all.
const evictionShare = 64

// conn is a connection that knows since when it is idle. One whose first request has not
// arrived whole is idle since it was accepted.
type conn struct {
	net.Conn
	of   *connections
	idle atomic.Int64 // Unix nanoseconds; 0: a request is being answered
}

// limitedListener accepts within connections.
type limitedListener struct {
	net.Listener
	of *connections
}

func newConnections(most int, logger *slog.Logger) *connections {
	return &connections{max: most, logger: logger, open: make(map[*conn]struct{})}
}

// Accept waits for a connection there is room for.
func (l limitedListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, of: l.of}
		c.idle.Store(time.Now().UnixNano())
		if l.of.admit(c) {
			return c, nil
		}
		_ = nc.Close()
	}
}

// admit makes room for c, if there is any to make.
func (s *connections) admit(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.max && s.evict() == 0 {
		if !s.full {
			s.logger.Warn("no connection is idle, new ones are refused", slog.Int("connections", s.max))
		}
		s.full = true
		return false
	}
	s.full = false
	s.open[c] = struct{}{}
	return true
}

// evict closes the connections that were idle for longest, and says how many.
func (s *connections) evict() int {
	type candidate struct {
		*conn
		since int64
	}
	var idle []candidate
	for c := range s.open {
		if since := c.idle.Load(); since != 0 {
			idle = append(idle, candidate{c, since})
		}
	}
	slices.SortFunc(idle, func(a, b candidate) int { return cmp.Compare(a.since, b.since) })
	idle = idle[:min(len(idle), max(1, s.max/evictionShare))]
	for _, c := range idle {
		delete(s.open, c.conn)
		_ = c.Conn.Close()
	}
	return len(idle)
}

// Close ends the connection.
func (c *conn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// changed is http.Server's ConnState. It is called twice for each request.
func (s *connections) changed(nc net.Conn, state http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.idle.Store(time.Now().UnixNano())
	case http.StateActive:
		c.idle.Store(0)
	default: // new, or at its end
	}
}

// count is how many are open.
func (s *connections) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
