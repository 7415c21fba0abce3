package jepsen

import (
	"context"
	"fmt"
	"maps"
	"strings"
)

// sshLinks are how the links of a machine are, and what its kernel counted of them. It needs SSH.links.
type sshLinks struct {
	rules  []sshRule
	known  bool // the chain has these rules
	shapes map[string]sshShape
	gone   packetCounts // by rules and classes that are not there any more
	live   packetCounts // by those that are, when they were last asked
}

// sshRule is a rule of the chain.
type sshRule struct {
	text  string
	link  Link
	drops sshDrops
}

// sshDrops is why a rule drops packets.
type sshDrops int

const (
	nothing sshDrops = iota
	cuts
	loses
)

// sshShape is the queueing discipline of a device.
type sshShape struct {
	commands string // for tc; "": there is none
	classes  []sshClass
}

// sshClass is one of its classes.
type sshClass struct {
	links []Link
	is    Condition
}

// classOf is what tc calls the i-th class.
func classOf(i int) string { return fmt.Sprintf("%s%x", sshQdisc, i+2) }

// packetCounts are packets by link.
type packetCounts map[Link]Packets

func (c *packetCounts) add(d packetCounts) {
	if *c == nil {
		*c = packetCounts{}
	}
	for l, p := range d {
		q := (*c)[l]
		(*c)[l] = Packets{
			Delivered: p.Delivered + q.Delivered, Cut: p.Cut + q.Cut, Lost: p.Lost + q.Lost, Full: p.Full + q.Full,
			Reordered: p.Reordered + q.Reordered, Corrupted: p.Corrupted + q.Corrupted,
		}
	}
}

// counted is what a machine says that its rules and classes counted, a line each. It does not count what netem reorders and changes:
// all that passed it may have been.
func (n *sshLinks) counted(out string) packetCounts {
	all, rule := packetCounts{}, 0
	for line := range strings.Lines(out) {
		var packets, dropped uint64
		var device, class string
		if _, err := fmt.Sscanf(line, "rule %d", &packets); err == nil {
			if rule < len(n.rules) {
				r := n.rules[rule]
				p := all[r.link]
				switch r.drops {
				case cuts:
					p.Cut += packets
				case loses:
					p.Lost += packets
				case nothing:
				}
				all[r.link] = p
			}
			rule++
			continue
		}
		if _, err := fmt.Sscanf(line, "class %s %s %d %d", &device, &class, &packets, &dropped); err != nil {
			continue
		}
		for i, c := range n.shapes[device].classes {
			if classOf(i) != class {
				continue
			}
			p := Packets{Delivered: packets, Full: dropped}
			if c.is.Reorder > 0 {
				p.Reordered = packets
			}
			if c.is.Corrupt > 0 {
				p.Corrupted = packets
			}
			for _, l := range c.links {
				all.add(packetCounts{l: p})
			}
		}
	}
	return all
}

// Packets is part of linkCounter. Of links that nothing was wrong with nothing is known.
func (s *SSH) Packets() map[Link]Packets {
	s.links.Lock()
	defer s.links.Unlock()
	err := s.each(func(n *sshNode) error {
		devices := sortedKeys(n.shapes)
		if len(n.rules) == 0 && len(devices) == 0 {
			return nil
		}
		out, err := n.run(context.Background(), s.command("counts", append([]string{s.iptables}, devices...)...), nil)
		if err == nil {
			n.live = n.counted(out)
		}
		return err
	})
	if err != nil {
		s.o.Log("ssh: what was counted: %v", err)
	}
	all := packetCounts{}
	for _, n := range s.hosts {
		all.add(n.gone)
		all.add(n.live)
	}
	return maps.Clone(all)
}
