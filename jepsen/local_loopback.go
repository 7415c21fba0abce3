package jepsen

import (
	"context"
	"fmt"
	"net"
	"os"
)

// loopback is a network of proxies, for where there are no namespaces.
type loopback struct {
	why    string
	ports  []int
	common *thread
}

func newLoopback(o LocalOptions, why string) (_ *loopback, err error) {
	l := &loopback{why: why}
	if l.ports, err = freePorts(2 * (o.Nodes + o.Spares)); err != nil {
		return nil, err
	}
	l.common, err = newThread(func() error { return nil })
	return l, err
}

func (l *loopback) means() []string {
	return []string{fmt.Sprintf("network: loopback, since there are no namespaces (%s)", l.why)}
}

func (l *loopback) can(Capability) error { return errNotHere }

func (l *loopback) place(i int, m *Machine) error {
	m.Address, m.APIPort, m.RaftPort = "127.0.0.1", l.ports[2*i], l.ports[2*i+1]
	m.URL = fmt.Sprintf("http://127.0.0.1:%d", m.APIPort)
	return nil
}

func (l *loopback) seen(_, m Machine) Machine { return m }

func (l *loopback) thread(string) (*thread, error) { return l.common, nil }

func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (l *loopback) setLinks(links map[Link]Condition) error {
	for _, c := range links {
		if c != (Condition{}) {
			return errNotHere
		}
	}
	return nil
}

func (l *loopback) close() error { return nil }

// The ports are below those that the kernel gives connections: none is taken while its node is down.
const firstPort, lastPort = 20_000, 32_000

// freePorts finds ports that nobody listens on. Processes that run side by side begin at different places.
func freePorts(n int) (ports []int, err error) {
	for i, at := 0, os.Getpid()*37; len(ports) < n && i < lastPort-firstPort; i++ {
		port := firstPort + (at+i)%(lastPort-firstPort)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("jepsen: no %d free ports on loopback", n)
	}
	return ports, nil
}
