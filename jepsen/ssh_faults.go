package jepsen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Why machines cannot be broken so.
var (
	errNoIptables = errors.New("there is no iptables with -m statistic, or the kernel lacks it")
	errNoShaping  = errors.New("the kernel has no htb with u32, or there is no tc")
	errNoNetem    = errors.New("the kernel has no netem")
	errOwnShaping = errors.New("has a queueing discipline that somebody chose: it is left alone")
	errNoClock    = errors.New(`the inventory does not have "allow: {clock: true}"`)
	errFewSpares  = errors.New(`the inventory has not two machines with "spare: true"`)
	errNotRemote  = errors.New("only with processes of this machine")
	errNoRate     = errors.New("a wall clock is set, its rate stays")
)

// Can is part of Ground.
func (s *SSH) Can(c Capability) error {
	if c == Spares {
		spares := slices.DeleteFunc(slices.Clone(s.machines), func(m Machine) bool { return !m.Spare })
		if len(spares) < 2 {
			return fmt.Errorf("%s: %w", c, errFewSpares)
		}
		return nil
	}
	for _, m := range s.machines {
		if err := s.can(c, s.hosts[m.Name]); err != nil {
			return fmt.Errorf("%s: %s: %w", c, m.Name, err)
		}
	}
	return nil
}

func (s *SSH) can(c Capability, n *sshNode) error {
	has := func(what string, otherwise error) error {
		if len(n.probed[what]) == 0 {
			return otherwise
		}
		return nil
	}
	switch c {
	case Cuts, Losses:
		return has("iptables", errNoIptables)
	case Bandwidth:
		if shaped := n.probed["shaped"]; len(shaped) > 0 {
			return fmt.Errorf("%s %w", shaped[0], errOwnShaping)
		}
		return has("htb", errNoShaping)
	case Delays, Reorders, Corruption:
		return errors.Join(s.can(Bandwidth, n), has("netem", errNoNetem))
	case DiskSizes:
		if n.volume != "" {
			return nil
		}
		return n.fails()
	case DiskFaults, PowerLoss:
		return n.fails()
	case Clocks:
		if !s.o.Inventory.Allow.Clock {
			return errNoClock
		}
		return nil
	case Damages, LostDisks:
		return nil
	case Programs, Descriptors, Beside, Spoils:
		return errNotRemote
	case Spares:
	}
	return fmt.Errorf("%q is no capability of one machine", c)
}

// Means is part of Ground.
func (s *SSH) Means() []string {
	means := []string{fmt.Sprintf("%d machines over SSH, each with all of it in %s; each undoes everything by itself after %v without the harness",
		len(s.machines), s.o.Inventory.Dir, s.o.Inventory.DeadMan)}
	for _, m := range s.machines {
		n := s.hosts[m.Name]
		supervisor := "a supervisor of its own, since no systemd runs there"
		if slices.Contains(n.probed["supervisor"], "systemd") {
			supervisor = "a transient unit of systemd"
		}
		means = append(means, fmt.Sprintf("%s: %s (%s), in %s", m.Name, m.Address, n.addr, supervisor))
	}
	if s.Can(Cuts) == nil {
		means = append(means, fmt.Sprintf("cuts and losses: the chain %s of %s", sshChain, strings.Join(s.hosts[s.machines[0].Name].probed["iptables"], " ")))
	}
	if s.Can(Bandwidth) == nil {
		means = append(means, "bandwidth: tc with htb, where packets leave; of what clients ask, the answers")
	}
	if s.Can(Delays) == nil {
		means = append(means, "delays, reorders and corruption: tc with netem, where packets leave")
	}
	if s.Can(PowerLoss) == nil {
		means = append(means, "disks: a file system of this program (FUSE), in a process on each machine, and in mounts that the node alone sees")
	} else if s.Can(DiskSizes) == nil {
		means = append(means, "full disks: a file that fills the small file system of the inventory")
	}
	if s.Can(Clocks) == nil {
		means = append(means, "clocks: date; what sets them right there (chrony, timesyncd) should be stopped")
	}
	for _, c := range []Capability{Cuts, Losses, Bandwidth, Delays, Reorders, Corruption, DiskSizes, DiskFaults, Clocks, PowerLoss, Damages, LostDisks, Spares} {
		if err := s.Can(c); err != nil {
			means = append(means, "not: "+strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return means
}

// SetClock is part of Ground.
func (s *SSH) SetClock(ctx context.Context, machine string, c Clock) error {
	if c.Rate != 0 && c.Rate != 1 {
		return fmt.Errorf("%s: %w", Clocks, errNoRate)
	}
	if err := s.Can(Clocks); err != nil {
		if c.Offset == 0 {
			return nil
		}
		return err
	}
	_, err := s.change(ctx, s.hosts[machine], "", "clock", strconv.FormatFloat(c.Offset.Seconds(), 'f', -1, 64))
	return err
}
