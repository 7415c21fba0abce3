package jepsen

import (
	"context"
	"fmt"
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
		shapes := shapesOf(s.machines, n.Machine, links, n.device)
		for device := range n.shapes {
			if _, ok := shapes[device]; !ok {
				shapes[device] = sshShape{}
			}
		}
		for _, device := range sortedKeys(shapes) {
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
func (s *SSH) setRules(ctx context.Context, n *sshNode, rules []sshRule) error {
	if n.known && slices.Equal(n.rules, rules) {
		return nil
	}
	var text strings.Builder
	for _, r := range rules {
		fmt.Fprintln(&text, r.text)
	}
	out, err := s.change(ctx, n, strings.TrimSpace(text.String()), "links", s.iptables)
	if n.known = err == nil; !n.known {
		n.rules = nil
		return err
	}
	n.gone.add(n.counted(out))
	n.rules, n.live = rules, nil
	return nil
}

// setShape needs links.
func (s *SSH) setShape(ctx context.Context, n *sshNode, device string, shape sshShape) error {
	if is, ok := n.shapes[device]; ok && is.commands == shape.commands || !ok && shape.commands == "" {
		return nil
	}
	out, err := s.change(ctx, n, shape.commands, "shape", device)
	if err != nil {
		n.shapes[device] = sshShape{commands: "unknown"}
		return err
	}
	n.gone.add(n.counted(out))
	n.shapes[device], n.live = shape, nil
	return nil
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
func chainRules(machines []Machine, m Machine, links map[Link]Condition) (rules []sshRule) {
	rule := func(l Link, drops sshDrops, how, match string) {
		rules = append(rules, sshRule{fmt.Sprintf("-A %s %s%s", sshChain, match, how), l, drops})
	}
	drop := func(l Link, matches ...string) {
		c := links[l]
		for _, match := range matches {
			switch {
			case c.Cut:
				rule(l, cuts, " -j DROP", match)
			case c.Loss > 0:
				rule(l, loses, fmt.Sprintf(" -m statistic --mode random --probability %.6f -j DROP", c.Loss), match)
			}
		}
	}
	for _, p := range machines {
		from := fmt.Sprintf("-s %s -d %s -p tcp", p.Address, m.Address)
		drop(
			Link{From: p.Name, To: m.Name},
			fmt.Sprintf("%s --dport %d", from, m.RaftPort), fmt.Sprintf("%s --dport %d", from, m.APIPort),
			fmt.Sprintf("%s --sport %d", from, p.RaftPort), fmt.Sprintf("%s --sport %d", from, p.APIPort),
		)
	}
	in, out := Link{From: Clients, To: m.Name}, Link{From: m.Name, To: Clients}
	for _, p := range machines {
		// Clients are all but the nodes.
		if links[in].Cut || links[in].Loss > 0 {
			rule(in, nothing, " -j RETURN", fmt.Sprintf("-s %s -d %s -p tcp --dport %d", p.Address, m.Address, m.APIPort))
		}
		if links[out].Cut || links[out].Loss > 0 {
			rule(out, nothing, " -j RETURN", fmt.Sprintf("-s %s -d %s -p tcp --sport %d", m.Address, p.Address, m.APIPort))
		}
	}
	drop(in, fmt.Sprintf("-d %s -p tcp --dport %d", m.Address, m.APIPort))
	drop(out, fmt.Sprintf("-s %s -p tcp --sport %d", m.Address, m.APIPort))
	return rules
}

// shapesOf are, by device, how a machine slows down what it sends. What no link is about passes htb by as if it were not there.
func shapesOf(machines []Machine, m Machine, links map[Link]Condition, device func(address string) string) map[string]sshShape {
	all := map[string]sshShape{}
	add := func(c Condition, of []Link, address, dst string, ports ...string) {
		if c.Delay == 0 && c.Jitter == 0 && c.Reorder == 0 && c.Corrupt == 0 && c.BytesPerSecond == 0 {
			return
		}
		dev := device(address)
		shape := all[dev]
		if shape.commands == "" {
			shape.commands = fmt.Sprintf("qdisc add dev %s root handle %s htb\n", dev, sshQdisc)
		}
		shape.classes = append(shape.classes, sshClass{of, c})
		minor := len(shape.classes) + 1
		class := classOf(len(shape.classes) - 1)
		rate := "32gbit"
		if c.BytesPerSecond > 0 {
			rate = fmt.Sprintf("%dbps burst 16kb", c.BytesPerSecond)
		}
		shape.commands += fmt.Sprintf("class add dev %s parent %s classid %s htb rate %s quantum 60000\n", dev, sshQdisc, class, rate)
		if netem := netemOf(c); netem != "" {
			shape.commands += fmt.Sprintf("qdisc add dev %s parent %s netem%s\n", dev, class, netem)
		}
		family, tcp := "ip", "match ip protocol 6 0xff"
		if strings.Contains(m.Address, ":") {
			family, tcp = "ipv6", "match ip6 protocol 6 0xff"
		}
		for _, port := range ports {
			shape.commands += fmt.Sprintf("filter add dev %s parent %s protocol %s prio %d u32 %s%s %s flowid %s\n",
				dev, sshQdisc, family, minor, dst, tcp, port, class)
		}
		all[dev] = shape
	}
	ip, bits := "ip", 32
	if strings.Contains(m.Address, ":") {
		ip, bits = "ip6", 128
	}
	port := func(way string, n int) string { return fmt.Sprintf("match %s %s %d 0xffff", ip, way, n) }
	for _, p := range machines {
		l := Link{From: m.Name, To: p.Name}
		add(links[l], []Link{l}, p.Address, fmt.Sprintf("match %s dst %s/%d ", ip, p.Address, bits),
			port("dport", p.RaftPort), port("dport", p.APIPort), port("sport", m.RaftPort), port("sport", m.APIPort))
	}
	// Clients are all that the filters before did not match; nodes ask each other's API seldom. What comes from clients
	// cannot be slowed down here: their answers are, in its place.
	out, in := Link{From: m.Name, To: Clients}, Link{From: Clients, To: m.Name}
	add(links[out].merge(links[in]), []Link{out, in}, Clients, "", port("sport", m.APIPort))
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
