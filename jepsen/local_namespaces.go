package jepsen

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/confman/confman/jepsen/tunnet"
)

// Where machines are, each in a namespace of its own: nothing else is there.
const (
	firstAddress  = "10.77.0.1"
	clientAddress = "10.77.0.254"
	prefixBits    = 24
	apiPort       = 5000
	raftPort      = 5001
)

// namespaces are a network of packets.
type namespaces struct {
	net     *tunnet.Net
	at      map[string]netip.Addr
	clients *thread
	plain   bool // the nodes speak plain text, and would believe what was changed on the way
}

// newNamespaces fails if it may not make them.
func newNamespaces(o LocalOptions) (_ *namespaces, err error) {
	n := &namespaces{net: tunnet.New(o.Seed), plain: o.PlainText, at: map[string]netip.Addr{Clients: netip.MustParseAddr(clientAddress)}}
	n.clients, err = n.join(Clients)
	if err != nil {
		_ = n.net.Close() // it has no hosts
		return nil, err
	}
	return n, nil
}

func (n *namespaces) join(machine string) (*thread, error) {
	return newThread(func() error { return n.net.Join(machine, netip.PrefixFrom(n.at[machine], prefixBits)) })
}

func (n *namespaces) means() []string {
	return []string{"network: a namespace for each node, and a network in this process between them: packets are lost (all of a way that is cut), delayed, overtaken, changed (between nodes such that TCP does not see it) and slowed down"}
}

func (n *namespaces) can(c Capability) error {
	switch c {
	case Cuts, Delays, Losses, Reorders, Bandwidth:
		return nil
	case Corruption:
		return believed(n.plain)
	default:
		return errNotHere
	}
}

func (n *namespaces) place(i int, m *Machine) error {
	at := netip.MustParseAddr(firstAddress)
	for range i {
		at = at.Next()
	}
	n.at[m.Name] = at
	m.Address, m.APIPort, m.RaftPort = at.String(), apiPort, raftPort
	m.URL = fmt.Sprintf("http://%s:%d", m.Address, m.APIPort)
	return nil
}

func (n *namespaces) seen(_, m Machine) Machine { return m }

func (n *namespaces) thread(machine string) (*thread, error) {
	if machine == Clients {
		return n.clients, nil
	}
	return n.join(machine)
}

func (n *namespaces) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return n.net.Dial(ctx, Clients, network, address)
}

func (n *namespaces) setLinks(links map[Link]Condition) error {
	return n.net.SetLinks(conditions(links, n.plain))
}

func (n *namespaces) packets() map[Link]Packets { return packets(n.net.Counts()) }

func (n *namespaces) close() error { return n.net.Close() }
