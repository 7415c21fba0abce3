package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
)

// Spoils: what a node that runs has on its disk can be changed, such as a database that is coming in; a [Ground] that can has the method.
const Spoils Capability = "damage while nodes run"

type spoiler interface {
	// SpoilImage changes n bits of what has come to a machine's node of the database that is on its way to it. It returns what it did.
	SpoilImage(ctx context.Context, machine string, n int, seed uint64) (string, error)
}

// dataIncoming is what a node calls a database that comes in, until it is whole and verified.
const dataIncoming = "snap.new"

// SpoilImage is part of spoiler. It writes through the mount that the node has, so that the node reads what is written.
func (l *Local) SpoilImage(_ context.Context, machine string, n int, seed uint64) (did string, err error) {
	d := l.disks.byName[machine]
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.Runs(machine) {
		return "", errors.New("jepsen: nothing comes in where no node runs")
	}
	rng, path := rand.New(rand.NewPCG(seed, 0)), filepath.Join(d.at, dataIncoming)
	err = l.threads[machine].do(func() error {
		for range n {
			at, err := usedPlace(path, rng)
			if err != nil {
				return err
			}
			if _, err := flip(path, at, rng, "the database that comes in"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("jepsen: the disk of %s: %w", machine, err)
	}
	did = fmt.Sprintf("flipped %d bits of %s, the database that comes in", n, dataIncoming)
	return did, d.note("damaged: " + did)
}
