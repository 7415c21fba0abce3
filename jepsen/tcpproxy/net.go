package tcpproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/jepsen/tunnet"
)

// Net is all connections and how their links are. Its methods are safe for concurrent use.
type Net struct {
	seed   uint64
	closed chan struct{}
	work   sync.WaitGroup

	accepting atomic.Int64 // connections that were accepted and have not ended

	mu         sync.Mutex
	links      map[Link]*link
	conditions map[Link]Condition
	listeners  []net.Listener
	conns      map[net.Conn]bool
}

// New makes a network without connections. What its links do by chance, seed decides, and when the programs write.
func New(seed uint64) *Net {
	return &Net{seed: seed, closed: make(chan struct{}), links: map[Link]*link{}, conns: map[net.Conn]bool{}}
}

// Serve accepts connections to an address of loopback for the program called to, which listens at target. whose is the
// name of the program that a connection comes from; with an error the connection is ended.
func (n *Net) Serve(address, to, target string, whose func(net.Conn) (string, error)) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners = append(n.listeners, l)
	n.work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it is closed
			}
			if n.accepting.Add(1) > MaxConns {
				n.accepting.Add(-1)
				reset(c)
				continue
			}
			go func() {
				defer n.accepting.Add(-1)
				if err := n.accepted(c, to, target, whose); err != nil {
					reset(c)
				}
			}()
		}
	})
	return nil
}

func (n *Net) accepted(c net.Conn, to, target string, whose func(net.Conn) (string, error)) error {
	from, err := whose(c)
	if err != nil {
		return err
	}
	l := Link{From: from, To: to}
	server, err := n.reach(context.Background(), l, target)
	if err != nil {
		return err
	}
	n.join(l, c, server)
	return nil
}

// Dial connects to the program at target. While the link or the way back is cut it waits.
func (n *Net) Dial(ctx context.Context, l Link, target string) (net.Conn, error) {
	server, err := n.reach(ctx, l, target)
	if err != nil {
		return nil, err
	}
	near, far, err := pipe()
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	go n.join(l, far, server)
	return near, nil
}

// pipe is a connection within this process that has a buffer.
func pipe() (near, far net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pipe")
		var e error
		ends[i], e = net.FileConn(f)
		err = errors.Join(err, e, f.Close())
	}
	return ends[0], ends[1], err
}

// reach connects to a program when both ways are whole, and after the time that this takes.
func (n *Net) reach(ctx context.Context, l Link, target string) (net.Conn, error) {
	for _, way := range []*link{n.link(l), n.link(l.Back())} {
		c, _ := way.get()
		if !way.await(time.Now().Add(c.Delay), ctx.Done(), n.closed) {
			return nil, fmt.Errorf("tcpproxy: connecting: %w", cmp.Or(context.Cause(ctx), net.ErrClosed))
		}
	}
	d := net.Dialer{Timeout: dialTime}
	return d.DialContext(ctx, "tcp", target)
}

// link is the one of that name, as SetLinks had it last.
func (n *Net) link(name Link) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.links[name] == nil {
		n.links[name] = newLink(n.seed, name, n.conditions[name])
	}
	return n.links[name]
}

// SetLinks makes the network such that these links are as they say, and all others whole. With an error nothing was changed.
func (n *Net) SetLinks(links map[Link]Condition) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := tunnet.Validate(links); err != nil {
		return fmt.Errorf("tcpproxy: %w", err)
	}
	n.conditions = maps.Clone(links)
	for name, l := range n.links {
		l.set(links[name])
	}
	return nil
}

// Counts are what became of what was sent on each link until now.
func (n *Net) Counts() map[Link]Count {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[Link]Count{}
	for name, l := range n.links {
		all[name] = l.count()
	}
	return all
}

// join carries both ways of a connection until it ends on both sides.
func (n *Net) join(l Link, client, server net.Conn) {
	defer n.end(client, server)
	if !n.begin(client, server) {
		return
	}
	var ways sync.WaitGroup
	ways.Go(func() { n.pump(n.link(l), server, client) })
	ways.Go(func() { n.pump(n.link(l.Back()), client, server) })
	ways.Wait()
}

// begin has Close end the connections; false: it did, or there are too many.
func (n *Net) begin(conns ...net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.closed:
		return false
	default:
	}
	if len(n.conns) >= 2*MaxConns {
		return false
	}
	for _, c := range conns {
		n.conns[c] = true
	}
	n.work.Add(1)
	return true
}

func (n *Net) end(conns ...net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns[conns[0]] {
		n.work.Done()
	}
	for _, c := range conns {
		delete(n.conns, c)
		reset(c)
	}
}

// reset ends a connection at once. If both sides have ended it already, nobody hears of that.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // without, it ends later
	}
	_ = c.Close() // nothing can be done about it
}

// Close ends all connections, and accepts none any more.
func (n *Net) Close() error {
	n.mu.Lock()
	select {
	case <-n.closed:
		n.mu.Unlock()
		return nil
	default:
	}
	close(n.closed)
	var errs []error
	for _, l := range n.listeners {
		errs = append(errs, l.Close())
	}
	for c := range n.conns {
		reset(c)
	}
	n.mu.Unlock()
	n.work.Wait()
	return errors.Join(errs...)
}
