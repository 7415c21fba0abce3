package jepsen

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// forwardEvery is how often an address is asked for again after its connection broke: the machine may yet hold it.
const forwardEvery = time.Second

// sshForward is an address of a machine at which this process is found. After the connection broke it is asked for again.
type sshForward struct {
	host    *sshHost // for this alone
	address string
	ctx     context.Context //nolint:containedctx // until Close: a Listener has none
	stop    context.CancelFunc

	mu sync.Mutex
	l  net.Listener // nil: there is none now
}

// ListenBeside is part of neighbour.
func (s *SSH) ListenBeside(address string) (all []net.Listener, err error) {
	for _, m := range s.machines {
		f := &sshForward{host: s.hosts[m.Name].again(), address: address}
		f.ctx, f.stop = context.WithCancel(context.Background())
		s.forwards = append(s.forwards, f)
		if _, err := f.listen(); err != nil {
			return nil, fmt.Errorf("%s: %s is to lead to this machine, for which its sshd must allow TCP forwarding: %w", m.Name, address, err)
		}
		all = append(all, f)
	}
	return all, nil
}

func (f *sshForward) listen() (net.Listener, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.l != nil {
		return f.l, f.ctx.Err()
	}
	c, err := f.host.connect(f.ctx)
	if err != nil {
		return nil, err
	}
	l, err := c.Listen("tcp", f.address)
	if err != nil {
		f.host.drop(c)
		return nil, err
	}
	f.l = l
	return l, nil
}

// Accept is part of net.Listener.
func (f *sshForward) Accept() (net.Conn, error) {
	for {
		l, err := f.listen()
		if err == nil {
			var conn net.Conn
			if conn, err = l.Accept(); err == nil {
				return conn, nil
			}
			f.lost()
		}
		if !pause(f.ctx, forwardEvery) {
			return nil, net.ErrClosed
		}
	}
}

// lost gives up a connection.
func (f *sshForward) lost() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.l = nil
	f.host.close()
}

// Close is part of net.Listener.
func (f *sshForward) Close() error {
	f.stop()
	f.lost()
	return nil
}

// Addr is part of net.Listener.
func (f *sshForward) Addr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.address))
}
