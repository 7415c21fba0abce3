package tunnet

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Net is a network. Its methods are safe for concurrent use.
type Net struct {
	seed   uint64
	closed chan struct{}
	work   sync.WaitGroup

	mu    sync.RWMutex
	hosts map[string]*host
	at    map[[4]byte]*host
	links map[Link]*link
}

// Link is the way from one host to another one.
type Link struct{ From, To string }

// Back is the other way of the two.
func (l Link) Back() Link { return Link{l.To, l.From} }

// Rand is a link's own source: what happens on one changes nothing on another one.
func (l Link) Rand(seed uint64) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%q %q", l.From, l.To) // a hash never fails
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// host is a namespace and its end of the network.
type host struct {
	name      string
	address   netip.Addr
	device    io.ReadWriteCloser // each read is a packet that the host sends, each write one that it gets
	namespace *os.File
}

// New makes a network without hosts. What its links do by chance, seed decides.
func New(seed uint64) *Net {
	return &Net{seed: seed, closed: make(chan struct{}), hosts: map[string]*host{}, at: map[[4]byte]*host{}, links: map[Link]*link{}}
}

// Join puts the calling thread into a new network namespace, which has the address and reaches the other hosts of prefix.
// The thread must be one that [Go] made: nobody else may ever run there. An error wraps what the kernel said; the thread
// may be in a namespace of its own even so.
func (n *Net) Join(name string, address netip.Prefix) error {
	if !address.Addr().Is4() {
		return fmt.Errorf("tunnet: %v is no IPv4 address", address)
	}
	h := &host{name: name, address: address.Addr()}
	if err := h.enter(address); err != nil {
		return errors.Join(fmt.Errorf("tunnet: %w", err), h.close())
	}
	if err := n.add(h); err != nil {
		return errors.Join(err, h.close())
	}
	n.work.Go(func() { n.carry(h) })
	return nil
}

// enter is of the calling thread.
func (h *host) enter(address netip.Prefix) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("a network namespace: %w", err)
	}
	if h.namespace, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return err
	}
	h.device, err = openDevice(address)
	return err
}

func (n *Net) add(h *host) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.closed:
		return fmt.Errorf("tunnet: %w", net.ErrClosed)
	default:
	}
	if n.hosts[h.name] != nil || n.at[h.address.As4()] != nil {
		return fmt.Errorf("tunnet: there is a host %q or one at %v", h.name, h.address)
	}
	if len(n.hosts) >= MaxHosts {
		return fmt.Errorf("tunnet: more than %d hosts", MaxHosts)
	}
	for _, x := range n.hosts {
		for _, l := range []*link{{name: Link{x.name, h.name}, to: h}, {name: Link{h.name, x.name}, to: x}} {
			l.net, l.wake, l.rng = n, make(chan struct{}, 1), l.name.Rand(n.seed)
			n.links[l.name] = l
		}
	}
	n.hosts[h.name], n.at[h.address.As4()] = h, h
	return nil
}

// carry sends on what a host sends, until the network is closed.
func (n *Net) carry(from *host) {
	p := make([]byte, MTU)
	for {
		size, err := from.device.Read(p)
		if err != nil {
			return
		}
		if l := n.way(from, p[:size]); l != nil {
			l.send(p[:size])
		}
	}
}

// way is nil for what is for nobody here: IPv6, multicast.
func (n *Net) way(from *host, p []byte) *link {
	if len(p) < ipHeader || p[0]>>4 != 4 {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if to := n.at[[4]byte(p[16:20])]; to != nil {
		return n.links[Link{from.name, to.name}]
	}
	return nil
}

// SetLinks makes the network such that these links are as they say, and all others whole. With an error nothing was changed. When it
// returns, it holds for every packet, also for those under way: those of a link that is cut are lost, and
// none is held up for longer than its link has it now.
func (n *Net) SetLinks(links map[Link]Condition) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for name := range links {
		if n.links[name] == nil {
			return fmt.Errorf("tunnet: there is no link from %q to %q", name.From, name.To)
		}
	}
	if err := Validate(links); err != nil {
		return fmt.Errorf("tunnet: %w", err)
	}
	for name, l := range n.links {
		l.set(links[name])
	}
	return nil
}

// Counts are what became of the packets of each link until now.
func (n *Net) Counts() map[Link]Count {
	n.mu.RLock()
	defer n.mu.RUnlock()
	all := map[Link]Count{}
	for name, l := range n.links {
		all[name] = l.count()
	}
	return all
}

// Dial connects a host to an address, which must not be a name.
func (n *Net) Dial(ctx context.Context, host, network, address string) (conn net.Conn, err error) {
	n.mu.RLock()
	h := n.hosts[host]
	n.mu.RUnlock()
	if h == nil {
		return nil, fmt.Errorf("tunnet: there is no host %q", host)
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("tunnet: %w", err)
	}
	done := make(chan struct{})
	Go(func() {
		defer close(done)
		// A socket is of the namespace of the thread that makes it.
		if err = unix.Setns(int(h.namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("tunnet: entering the namespace of %q: %w", host, err)
			return
		}
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
	})
	<-done
	return conn, err
}

// Close ends the network: its hosts reach nobody any more. Their namespaces go with the last thread and process in them.
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
	for _, h := range n.hosts {
		errs = append(errs, h.close())
	}
	n.mu.Unlock()
	n.work.Wait()
	return errors.Join(errs...)
}

func (h *host) close() error {
	var errs []error
	if h.device != nil {
		errs = append(errs, h.device.Close())
	}
	if h.namespace != nil {
		errs = append(errs, h.namespace.Close())
	}
	return errors.Join(errs...)
}
