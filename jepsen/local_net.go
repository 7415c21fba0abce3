package jepsen

import (
	"context"
	"errors"
	"net"
)

// network is what is between the machines of a Local.
type network interface {
	means() []string
	// can is nil for the faults of links that it makes.
	can(c Capability) error
	// place says where a machine, the i-th, is reached.
	place(i int, m *Machine) error
	// seen is a machine as the configuration of another one, or its own, has it.
	seen(by, m Machine) Machine
	// thread starts a machine's processes, or those of Clients. It is closed by its owner, after them.
	thread(machine string) (*thread, error)
	dial(ctx context.Context, network, address string) (net.Conn, error)
	setLinks(links map[Link]Condition) error
	close() error
}

// newNetwork makes namespaces where it may, and else has loopback do. pid is the process of a machine's node, 0: none.
func newNetwork(o LocalOptions, pid func(machine string) int) (network, error) {
	why := "as asked for"
	if !o.Loopback {
		n, err := newNamespaces(o)
		if err == nil {
			return n, nil
		}
		why = err.Error()
	}
	l, err := newLoopback(o, why, pid)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// believed is why nothing can be changed on the way between nodes that speak plain text: they promise nothing there.
func believed(plain bool) error {
	if plain {
		return errors.New("not between nodes that speak plain text: what is changed would be believed")
	}
	return nil
}
