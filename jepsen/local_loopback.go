package jepsen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/confman/confman/jepsen/tcpproxy"
)

// loopback is a network of proxies, for where there are no namespaces. Clients reach a node's API by a connection that begins in
// this process; what connects to a node's Raft port comes to a proxy, which finds out whose process it is.
type loopback struct {
	why    string
	plain  bool // the nodes speak plain text, and would believe what was changed on the way
	net    *tcpproxy.Net
	ports  []int
	common *thread
	apis   map[string]string // by address
	raft   map[string]int    // where a node listens; the others know it by a proxy's port
	pid    func(machine string) int
}

// newLoopback has pid say which process a machine's node is, 0: none.
func newLoopback(o LocalOptions, why string, pid func(machine string) int) (_ *loopback, err error) {
	l := &loopback{why: why, plain: o.PlainText, net: tcpproxy.New(o.Seed), apis: map[string]string{}, raft: map[string]int{}, pid: pid}
	if l.ports, err = freePorts(portsEach * (o.Nodes + o.Spares)); err != nil {
		return nil, err
	}
	for i := range o.Nodes + o.Spares {
		l.raft[machineName(i)] = l.ports[portsEach*i+1]
	}
	l.common, err = newThread(func() error { return nil })
	return l, err
}

// portsEach are a machine's: of its API, of Raft, and of the proxy before that.
const portsEach = 3

func (l *loopback) means() []string {
	return []string{
		"network: loopback and a proxy of this process for each link; no namespaces: " + l.why,
		"  a cut has what is sent wait, new connections are accepted and hear nothing; lost packets are waits of 200 ms; packets do not overtake each other",
		"  the command line reaches all nodes whatever is cut, and a member added later the node that let it in",
	}
}

func (l *loopback) can(c Capability) error {
	switch c {
	case Cuts, Delays, Losses, Bandwidth:
		return nil
	case Corruption:
		return believed(l.plain)
	case Reorders:
		return errors.New("not by proxies of connections: it takes network namespaces")
	default:
		return errNotHere
	}
}

func (l *loopback) place(i int, m *Machine) error {
	ports := l.ports[portsEach*i:]
	m.Address, m.APIPort, m.RaftPort = "127.0.0.1", ports[0], ports[2]
	at := fmt.Sprintf("127.0.0.1:%d", m.APIPort)
	m.URL = "http://" + at
	l.apis[at] = m.Name
	return l.net.Serve(fmt.Sprintf("127.0.0.1:%d", m.RaftPort), m.Name, fmt.Sprintf("127.0.0.1:%d", l.raft[m.Name]), l.whose)
}

func (l *loopback) seen(by, m Machine) Machine {
	if by.Name == m.Name {
		m.RaftPort = l.raft[m.Name]
	}
	return m
}

// whose is the machine whose node made a connection.
func (l *loopback) whose(c net.Conn) (string, error) {
	inode, err := socketInode(c.RemoteAddr(), c.LocalAddr())
	if err != nil {
		return "", err
	}
	for machine := range l.raft {
		if pid := l.pid(machine); pid != 0 && hasSocket(pid, inode) {
			return machine, nil
		}
	}
	return "", errors.New("jepsen: it is no node's, or its node was killed just now")
}

func (l *loopback) thread(string) (*thread, error) { return l.common, nil }

func (l *loopback) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if machine, ok := l.apis[address]; ok && strings.HasPrefix(network, "tcp") {
		return l.net.Dial(ctx, tcpproxy.Link{From: Clients, To: machine}, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

func (l *loopback) setLinks(links map[Link]Condition) error {
	for _, c := range links {
		if c.Reorder > 0 {
			return l.can(Reorders)
		}
	}
	return l.net.SetLinks(conditions(links, l.plain))
}

func (l *loopback) packets() map[Link]Packets { return packets(l.net.Counts()) }

func (l *loopback) close() error { return l.net.Close() }

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
