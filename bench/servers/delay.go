package servers

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// Delays are proxies that pass on what nodes say to each other some time later, each way: for where the kernel has no netem.
type Delays struct {
	each time.Duration

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]bool // nil: closed
	ports     map[int]int
}

const (
	// delayPiece is how much is passed on at once, and delayPieces how many of these are on their way of one connection at most: 256 MiB,
	// which no cluster here sends within a delay.
	delayPiece  = 64 << 10
	delayPieces = 4096
)

// NewDelays makes proxies that hold everything for a time, on its way there and on its way back.
func NewDelays(each time.Duration) *Delays {
	return &Delays{each: each, conns: map[net.Conn]bool{}, ports: map[int]int{}}
}

// Port is the port of the proxy before one of loopback.
func (d *Delays) Port(target int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if port, ok := d.ports[target]; ok {
		return port, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	d.listeners = append(d.listeners, l)
	d.ports[target] = l.Addr().(*net.TCPAddr).Port
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			go d.join(from, fmt.Sprintf("127.0.0.1:%d", target))
		}
	}()
	return d.ports[target], nil
}

// join connects a connection with its target.
func (d *Delays) join(from net.Conn, target string) {
	to, err := net.Dial("tcp", target)
	if err != nil {
		_ = from.Close() // nobody is there, which is what it is to hear
		return
	}
	if !d.keep(from, to) {
		return
	}
	var group sync.WaitGroup
	group.Go(func() { d.pass(from, to) })
	group.Go(func() { d.pass(to, from) })
	group.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, from)
	delete(d.conns, to)
}

// keep remembers connections for Close, or closes them if that was.
func (d *Delays) keep(all ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range all {
		if d.conns == nil {
			_ = c.Close() // nothing is left to be said
			continue
		}
		d.conns[c] = true
	}
	return d.conns != nil
}

type piece struct {
	due  time.Time
	text []byte
}

// pass reads, waits and writes, until either end is gone, and then ends both.
func (d *Delays) pass(from, to net.Conn) {
	pieces := make(chan piece, delayPieces)
	go func() {
		defer close(pieces)
		buf := make([]byte, delayPiece)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				pieces <- piece{time.Now().Add(d.each), append([]byte(nil), buf[:n]...)}
			}
			if err != nil {
				return
			}
		}
	}()
	gone := false
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if !gone {
			if _, err := to.Write(p.text); err != nil {
				gone = true
				_ = from.Close() // so that no more is read
			}
		}
	}
	_, _ = from.Close(), to.Close() // both ends are told by that
}

// Close ends all connections, and makes no more.
func (d *Delays) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.listeners {
		_ = l.Close() // nothing is accepted any more
	}
	for c := range d.conns {
		_ = c.Close() // as above
	}
	d.conns = nil
}
