package jepsen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// fails says why a node's disk does not, and forgets nothing.
func (n *sshNode) fails() error {
	if n.plain != "" {
		return errors.New(n.plain)
	}
	return nil
}

// dataOf is a node's data directory.
func (s *SSH) dataOf(n *sshNode) string {
	if n.volume != "" {
		return n.volume + "/confman-jepsen/data"
	}
	return s.o.Inventory.Dir + "/data"
}

// serveDisk has a machine serve its node's disk: one that fails on demand, but where the inventory names one, or the machine cannot.
func (s *SSH) serveDisk(ctx context.Context, n *sshNode) error {
	if n.volume != "" {
		if _, err := n.run(ctx, s.command("volume", n.volume, strconv.Itoa(maxFilled)), nil); err != nil {
			return err
		}
		n.plain = "the inventory names a disk, which is what it is: it can be filled"
	}
	out, err := n.run(ctx, s.command("serve", s.dataOf(n), strconv.FormatUint(n.seed, 10), n.plain), nil)
	if err != nil {
		return err
	}
	answer, err := n.said(out)
	n.plain = answer.Plain
	return err
}

// said is what the disk of a machine has answered.
func (n *sshNode) said(out string) (answer diskAnswer, err error) {
	if err = json.Unmarshal([]byte(out), &answer); err != nil {
		err = fmt.Errorf("%s: its disk said %q: %w", n.Machine.Name, out, err)
	}
	return answer, err
}

// order has a machine's disk do something.
func (s *SSH) order(ctx context.Context, n *sshNode, verb string, order diskOrder) (answer diskAnswer, err error) {
	text, err := json.Marshal(order)
	if err != nil {
		return answer, err
	}
	out, err := s.change(ctx, n, string(text), verb)
	if err != nil {
		return answer, err
	}
	return n.said(out)
}

// SetDisk is part of Ground.
func (s *SSH) SetDisk(ctx context.Context, machine string, d DiskState) error {
	n := s.hosts[machine]
	if n.plain == "" {
		_, err := s.order(ctx, n, "disk", diskOrder{Do: "be", State: d})
		return err
	}
	bytes := d.Bytes
	d.Bytes = 0
	if d != (DiskState{}) {
		return fmt.Errorf("%s: %w", DiskFaults, n.fails())
	}
	if n.volume == "" {
		if bytes == 0 {
			return nil
		}
		return fmt.Errorf("%s: %w", DiskSizes, n.fails())
	}
	_, err := s.change(ctx, n, "", "fill", n.volume, strconv.FormatInt(bytes, 10))
	return err
}

// DiskHits is part of diskCounter.
func (s *SSH) DiskHits(machine string) uint64 { return s.diskCounts(machine).Hits }

// Forgotten is part of lossCounter.
func (s *SSH) Forgotten(machine string) uint64 { return s.diskCounts(machine).Forgot }

// diskCounts is what a machine's disk counts, or what it did when it was last asked.
func (s *SSH) diskCounts(machine string) diskAnswer {
	n := s.hosts[machine]
	out, err := n.run(context.Background(), s.command("counts-of-disk"), nil)
	var answer diskAnswer
	if err == nil {
		answer, err = n.said(out)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		s.o.Log("ssh: what the disk of %s counts: %v", machine, err)
		return n.counts
	}
	n.counts = answer
	return answer
}

// LosePower is part of Ground.
func (s *SSH) LosePower(ctx context.Context, machines ...string) error {
	if err := s.Can(PowerLoss); err != nil {
		return err
	}
	err := s.each(func(n *sshNode) error {
		_, err := s.change(ctx, n, "", "power")
		return err
	}, machines...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), powerTime)
	defer cancel()
	for _, name := range machines {
		_ = s.Ended(ctx, name) // how it ended is known
		if err == nil && s.Runs(name) {
			err = fmt.Errorf("jepsen: %s does not end: %w", name, context.Cause(ctx))
		}
	}
	return err
}

// Damage is part of Ground.
func (s *SSH) Damage(ctx context.Context, machine string, d Damage) (string, error) {
	answer, err := s.order(ctx, s.hosts[machine], "damage", diskOrder{Do: "be damaged", Damage: d})
	return answer.Did, err
}
