package jepsen

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sshChain is the chain of all rules, in ssh.sh and here.
const sshChain = "CONFMAN-JEPSEN"

// sshQdisc is the handle of the queueing discipline, likewise.
const sshQdisc = "c0f1:"

// SetLinks is part of Ground. A machine drops what comes in over a link that is cut, and what goes out to clients; it
// delays what goes out. Only the ports of the nodes are concerned: SSH goes on.
func (s *SSH) SetLinks(ctx context.Context, links map[Link]Condition) error {
	for _, c := range links {
		if err := s.canLink(c); err != nil {
			return err
		}
	}
	s.links.Lock()
	defer s.links.Unlock()
	return s.each(func(n *sshNode) error {
		if err := s.setRules(ctx, n, chainRules(s.machines, n.Machine, links)); err != nil {
			return err
		}
		shapes := shapeCommands(s.machines, n.Machine, links, n.device)
		for _, device := range slices.Sorted(maps.Keys(n.shapes)) {
			if shapes[device] == "" {
				shapes[device] = ""
			}
		}
		for _, device := range slices.Sorted(maps.Keys(shapes)) {
			if err := s.setShape(ctx, n, device, shapes[device]); err != nil {
				return err
			}
		}
		return nil
	})
}

// canLink says why a link cannot be made so.
func (s *SSH) canLink(c Condition) error {
	for _, x := range []struct {
		need Capability
		is   bool
	}{
		{Cuts, c.Cut},
		{Losses, c.Loss > 0},
		{Delays, c.Delay > 0 || c.Jitter > 0},
		{Reorders, c.Reorder > 0},
		{Corruption, c.Corrupt > 0},
		{Bandwidth, c.BytesPerSecond > 0},
	} {
		if !x.is {
			continue
		}
		if err := s.Can(x.need); err != nil {
			return err
		}
	}
	return nil
}

// setRules needs links.
func (s *SSH) setRules(ctx context.Context, n *sshNode, rules string) error {
	if n.rules == rules {
		return nil
	}
	n.rules = "unknown"
	out, err := s.change(ctx, n, rules, "links", s.iptables)
	if err != nil {
		return err
	}
	n.rules = rules
	dropped, err := strconv.ParseUint(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return fmt.Errorf("%s: the counters of iptables: %w", n.Machine.Name, err)
	}
	n.dropped += dropped
	return nil
}

// setShape needs links.
func (s *SSH) setShape(ctx context.Context, n *sshNode, device, commands string) error {
	if is, ok := n.shapes[device]; ok && is == commands || !ok && commands == "" {
		return nil
	}
	n.shapes[device] = "unknown"
	if _, err := s.change(ctx, n, commands, "shape", device); err != nil {
		return err
	}
	n.shapes[device] = commands
	return nil
}

// Dropped is how many packets a machine's rules have dropped, of those that are not there any more.
func (s *SSH) Dropped() map[string]uint64 {
	s.links.Lock()
	defer s.links.Unlock()
	all := map[string]uint64{}
	for name, n := range s.hosts {
		all[name] = n.dropped
	}
	return all
}

// device is by which one an address is reached; Clients is the harness.
func (n *sshNode) device(address string) string {
	for _, line := range n.probed["device"] {
		if at, device, _ := strings.Cut(line, " "); at == address {
			return device
		}
	}
	if address == "" && len(n.probed["device"]) > 0 {
		_, device, _ := strings.Cut(n.probed["device"][len(n.probed["device"])-1], " ")
		return device
	}
	return ""
}

// chainRules are the rules of a machine for iptables-restore, by which it drops what the links lose.
func chainRules(machines []Machine, m Machine, links map[Link]Condition) string {
	var rules strings.Builder
	drop := func(c Condition, matches ...string) {
		how := ""
		switch {
		case c.Cut:
		case c.Loss > 0:
			how = fmt.Sprintf(" -m statistic --mode random --probability %.6f", c.Loss)
		default:
			return
		}
		for _, match := range matches {
			fmt.Fprintf(&rules, "-A %s %s%s -j DROP\n", sshChain, match, how)
		}
	}
	for _, p := range machines {
		from := fmt.Sprintf("-s %s -d %s -p tcp", p.Address, m.Address)
		drop(
			links[Link{From: p.Name, To: m.Name}],
			fmt.Sprintf("%s --dport %d", from, m.RaftPort), fmt.Sprintf("%s --dport %d", from, m.APIPort),
			fmt.Sprintf("%s --sport %d", from, p.RaftPort), fmt.Sprintf("%s --sport %d", from, p.APIPort),
		)
	}
	in, out := links[Link{From: Clients, To: m.Name}], links[Link{From: m.Name, To: Clients}]
	for _, p := range machines {
		// Clients are all but the nodes.
		if in.Cut || in.Loss > 0 {
			fmt.Fprintf(&rules, "-A %s -s %s -d %s -p tcp --dport %d -j RETURN\n", sshChain, p.Address, m.Address, m.APIPort)
		}
		if out.Cut || out.Loss > 0 {
			fmt.Fprintf(&rules, "-A %s -s %s -d %s -p tcp --sport %d -j RETURN\n", sshChain, m.Address, p.Address, m.APIPort)
		}
	}
	drop(in, fmt.Sprintf("-d %s -p tcp --dport %d", m.Address, m.APIPort))
	drop(out, fmt.Sprintf("-s %s -p tcp --sport %d", m.Address, m.APIPort))
	return strings.TrimSpace(rules.String())
}

// shapeCommands are, by device, the commands for tc by which a machine slows down what it sends. What no link is
// about passes htb by as if it were not there.
func shapeCommands(machines []Machine, m Machine, links map[Link]Condition, device func(address string) string) map[string]string {
	all, classes := map[string]string{}, map[string]int{}
	add := func(c Condition, address, dst string, ports ...string) {
		if c.Delay == 0 && c.Jitter == 0 && c.Reorder == 0 && c.Corrupt == 0 && c.BytesPerSecond == 0 {
			return
		}
		dev := device(address)
		if all[dev] == "" {
			all[dev] = fmt.Sprintf("qdisc add dev %s root handle %s htb\n", dev, sshQdisc)
			classes[dev] = 1
		}
		classes[dev]++
		class := fmt.Sprintf("%s%x", sshQdisc, classes[dev])
		rate := "32gbit"
		if c.BytesPerSecond > 0 {
			rate = fmt.Sprintf("%dbps burst 16kb", c.BytesPerSecond)
		}
		all[dev] += fmt.Sprintf("class add dev %s parent %s classid %s htb rate %s quantum 60000\n", dev, sshQdisc, class, rate)
		if netem := netemOf(c); netem != "" {
			all[dev] += fmt.Sprintf("qdisc add dev %s parent %s netem%s\n", dev, class, netem)
		}
		family, tcp := "ip", "match ip protocol 6 0xff"
		if strings.Contains(m.Address, ":") {
			family, tcp = "ipv6", "match ip6 protocol 6 0xff"
		}
		for _, port := range ports {
			all[dev] += fmt.Sprintf("filter add dev %s parent %s protocol %s prio %d u32 %s%s %s flowid %s\n",
				dev, sshQdisc, family, classes[dev], dst, tcp, port, class)
		}
	}
	ip, bits := "ip", 32
	if strings.Contains(m.Address, ":") {
		ip, bits = "ip6", 128
	}
	port := func(way string, n int) string { return fmt.Sprintf("match %s %s %d 0xffff", ip, way, n) }
	for _, p := range machines {
		add(links[Link{From: m.Name, To: p.Name}], p.Address, fmt.Sprintf("match %s dst %s/%d ", ip, p.Address, bits),
			port("dport", p.RaftPort), port("dport", p.APIPort), port("sport", m.RaftPort), port("sport", m.APIPort))
	}
	// Clients are all that the filters before did not match; nodes ask each other's API seldom. What comes from clients
	// cannot be slowed down here: their answers are, in its place.
	clients := links[Link{From: m.Name, To: Clients}].merge(links[Link{From: Clients, To: m.Name}])
	add(clients, Clients, "", port("sport", m.APIPort))
	return all
}

func netemOf(c Condition) (text string) {
	us := func(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) + "us" }
	delay := c.Delay
	if c.Reorder > 0 && delay == 0 {
		delay = 10 * time.Millisecond // packets overtake others only if these wait
	}
	if delay > 0 || c.Jitter > 0 {
		text += " delay " + us(delay)
		if c.Jitter > 0 {
			text += " " + us(c.Jitter)
		}
	}
	if c.Reorder > 0 {
		text += fmt.Sprintf(" reorder %.4f%%", 100*c.Reorder)
	}
	if c.Corrupt > 0 {
		text += fmt.Sprintf(" corrupt %.4f%%", 100*c.Corrupt)
	}
	return text
}
