package jepsen

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/confman/confman/jepsen/tunnet"
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
	packets() map[Link]Packets
	close() error
}

// Packets are what became of what was sent on a link until now: packets, or what a proxy read at once.
type Packets struct {
	Delivered uint64
	Cut       uint64 // the link was cut
	Lost      uint64 // by Condition.Loss
	Full      uint64 // lost because too much was under way, as it is with Condition.BytesPerSecond
	Reordered uint64
	Corrupted uint64
}

// Packets tell whether a fault of the network hit anything.
func (l *Local) Packets() map[Link]Packets { return l.net.packets() }

// conditions are those of the ways of a network whose nodes speak plain text to each other, or do not.
func conditions(links map[Link]Condition, plain bool) map[tunnet.Link]tunnet.Condition {
	all := map[tunnet.Link]tunnet.Condition{}
	for l, c := range links {
		all[tunnet.Link(l)] = tunnet.Condition{
			Cut: c.Cut, Delay: c.Delay, Jitter: c.Jitter, Loss: c.Loss, Reorder: c.Reorder, BytesPerSecond: c.BytesPerSecond,
			// Clients speak plain HTTP: there TCP has to see what was changed.
			Corrupt: c.Corrupt, Checked: plain || l.From == Clients || l.To == Clients,
		}
	}
	return all
}

func packets(counts map[tunnet.Link]tunnet.Count) map[Link]Packets {
	all := map[Link]Packets{}
	for l, c := range counts {
		all[Link(l)] = Packets{Delivered: c.Delivered, Cut: c.Cut, Lost: c.Lost, Full: c.Full, Reordered: c.Reordered, Corrupted: c.Corrupted}
	}
	return all
}

// writePackets has a line for each link that was used.
func writePackets(out io.Writer, all map[Link]Packets) error {
	links := slices.SortedFunc(maps.Keys(all), func(a, b Link) int {
		return cmp.Or(strings.Compare(a.From, b.From), strings.Compare(a.To, b.To))
	})
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FROM\tTO\tDELIVERED\tCUT\tLOST\tFULL\tREORDERED\tCORRUPTED")
	for _, link := range links {
		p := all[link]
		if p == (Packets{}) {
			continue // of a spare, mostly
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", cmp.Or(link.From, "clients"), cmp.Or(link.To, "clients"),
			p.Delivered, p.Cut, p.Lost, p.Full, p.Reordered, p.Corrupted)
	}
	return w.Flush()
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
