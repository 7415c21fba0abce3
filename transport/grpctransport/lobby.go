package grpctransport

import (
	"net"
	"slices"
	"sync"
)

// lobby bounds the connections that have proven nothing yet: anybody can open those. At the
// bound, the one that has waited longest makes room: a peer needs a moment, and who opens many
// to keep others out has to open that many in each such moment.
type lobby struct {
	net.Listener
	t *Transport

	mu      sync.Mutex
	waiting []*guest // the first came first
}

// guest is a connection that has proven nothing yet.
type guest struct {
	net.Conn
	of *lobby
}

// Accept is part of net.Listener.
func (l *lobby) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g := &guest{Conn: conn, of: l}
	l.mu.Lock()
	var longest *guest
	if len(l.waiting) == maxGuests {
		longest, l.waiting = l.waiting[0], slices.Delete(l.waiting, 0, 1)
	}
	l.waiting = append(l.waiting, g)
	l.mu.Unlock()
	if longest != nil {
		_ = longest.Conn.Close()
		l.t.refused(longest.RemoteAddr().String(), "it did not prove who it is, and others wait")
	}
	return g, nil
}

// leave says that g waits no longer.
func (g *guest) leave() {
	g.of.mu.Lock()
	defer g.of.mu.Unlock()
	if i := slices.Index(g.of.waiting, g); i >= 0 {
		g.of.waiting = slices.Delete(g.of.waiting, i, i+1)
	}
}

// Close is part of net.Conn.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}
