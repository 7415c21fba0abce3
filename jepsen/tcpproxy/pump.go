package tcpproxy

import (
	"errors"
	"io"
	"net"
	"time"
)

// piece is what was read at once, or how the connection ended after it.
type piece struct {
	data []byte
	err  error // io.EOF: nothing comes any more; else the connection is broken
	due  time.Time
}

// pump carries one way of a connection until it ends.
func (n *Net) pump(l *link, to, from net.Conn) {
	pieces := make(chan piece, MaxChunks)
	go read(l, from, pieces)
	broken := false
	for p := range pieces {
		if broken {
			continue
		}
		if !l.await(p.due, nil, n.closed) || !deliver(l, p, to) {
			broken = true
			reset(to)
			reset(from)
		}
	}
}

// read reads until the end, which is the last piece.
func read(l *link, from net.Conn, pieces chan<- piece) {
	defer close(pieces)
	buffer := make([]byte, chunkBytes)
	for {
		size, err := from.Read(buffer)
		if size > 0 {
			data := append([]byte(nil), buffer[:size]...)
			pieces <- piece{data: data, due: l.pass(data, time.Now())}
		}
		if err != nil {
			pieces <- piece{err: err, due: time.Now()}
			return
		}
	}
}

// deliver reports whether the connection goes on, this way or the other.
func deliver(l *link, p piece, to net.Conn) bool {
	if p.err != nil {
		half, ok := to.(interface{ CloseWrite() error })
		return errors.Is(p.err, io.EOF) && ok && half.CloseWrite() == nil
	}
	if _, err := to.Write(p.data); err != nil {
		return false
	}
	l.note(func(c *Count) { c.Delivered++ })
	return true
}

// await waits until something that is under way is there; false: one of the channels was closed first.
func (l *link) await(due time.Time, done, closed <-chan struct{}) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for waited := false; ; {
		c, changed := l.get()
		var there <-chan time.Time
		if c.Cut {
			if !waited {
				waited = true
				l.note(func(c *Count) { c.Cut++ })
			}
		} else {
			wait := time.Until(due)
			if wait <= 0 {
				return true
			}
			timer.Reset(wait)
			there = timer.C
		}
		select {
		case <-done:
			return false
		case <-closed:
			return false
		case <-changed:
			if c, _ := l.get(); !c.Cut {
				if most := time.Now().Add(c.Delay + c.Jitter); due.After(most) {
					due = most
				}
			}
		case <-there:
		}
	}
}
