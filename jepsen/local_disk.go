package jepsen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/confman/confman/jepsen/losefs"
)

// localDisks are the machines' disks: each a file system of its own that fails on demand, or plain directories.
type localDisks struct {
	why    error // why they are plain directories; nil: they are not
	ns     *losefs.Namespace
	byName map[string]*nodeDisk
}

// newDisks makes and mounts a disk for each machine. It is not an error if that cannot be.
func (l *Local) newDisks() error {
	l.disks = &localDisks{byName: map[string]*nodeDisk{}}
	for _, m := range l.machines {
		l.disks.byName[m.Name] = &nodeDisk{at: l.path(m.Name, ".data"), log: l.path(m.Name, diskLog), on: l.threads[m.Name].do}
	}
	if l.o.PlainDisk {
		l.disks.why = errors.New("as asked for")
		return nil
	}
	if l.shareNamespace(); l.disks.why != nil {
		return nil //nolint:nilerr // without such disks the ground is one that can do less, and says why
	}
	for i, m := range l.machines {
		err := l.disks.byName[m.Name].insert(l.path(m.Name, ".disk"), l.o.Seed*MaxLocalMachines+uint64(i))
		if err != nil && i > 0 {
			return err
		}
		if err != nil {
			l.disks.why = err
			return nil //nolint:nilerr // likewise
		}
	}
	return nil
}

// shareNamespace has all threads see the same mounts, and nobody else.
func (l *Local) shareNamespace() {
	first := l.threads[Clients]
	err := first.do(func() (err error) {
		l.disks.ns, err = losefs.NewNamespace()
		return err
	})
	for _, t := range l.threads {
		if err == nil && t != first {
			err = t.do(l.disks.ns.Join)
		}
	}
	l.disks.why = err
}

func (d *localDisks) means() string {
	if d.why != nil {
		return fmt.Sprintf("disks: directories, which are only damaged while a node is down; none that forget or fail: %v", d.why)
	}
	return "disks: a file system of this process (FUSE) for each node: what was not synced is forgotten when power is lost, piece by piece and name by name; syncs, reads and writes fail, syncs are slow, disks are full"
}

// can is nil for the faults of disks that can be made.
func (d *localDisks) can(c Capability) error {
	if c == Damages || c == LostDisks {
		return nil
	}
	return d.why
}

// SetDisk is part of Ground.
func (l *Local) SetDisk(_ context.Context, machine string, s DiskState) error {
	if l.disks.byName[machine].set(s) || s == (DiskState{}) {
		return nil
	}
	return l.Can(DiskFaults)
}

// DiskHits is part of diskCounter.
func (l *Local) DiskHits(machine string) uint64 {
	return l.disks.byName[machine].hits()
}

// Forgotten is part of lossCounter.
func (l *Local) Forgotten(machine string) uint64 { return l.disks.byName[machine].forgot.Load() }

// powerTime bounds the end of processes that were killed.
const powerTime = 20 * time.Second

// LosePower is part of Ground. Once begun it is brought to its end whatever ctx says: a disk that stayed out would be another fault.
func (l *Local) LosePower(ctx context.Context, machines ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), powerTime)
	defer cancel()
	if err := l.Can(PowerLoss); err != nil {
		return err
	}
	machines = slices.Sorted(slices.Values(machines)) // who else takes several out does so in the same order
	for _, name := range machines {
		d := l.disks.byName[name]
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	var errs []error
	for _, name := range machines {
		errs = append(errs, l.procs[name].signal(Kill))
	}
	for _, name := range machines {
		l.disks.byName[name].cut()
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, name := range machines {
		if err := l.awaitEnd(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range machines {
		if err := l.disks.byName[name].ready(); err != nil {
			return err
		}
	}
	return nil
}

// awaitEnd waits until no process of a machine runs.
func (l *Local) awaitEnd(ctx context.Context, name string) error {
	_ = l.procs[name].wait(ctx) // how it ended is known
	if l.procs[name].alive() {
		return fmt.Errorf("jepsen: %s does not end: %w", name, context.Cause(ctx))
	}
	return nil
}

// Damage is part of Ground.
func (l *Local) Damage(_ context.Context, machine string, what Damage) (string, error) {
	d := l.disks.byName[machine]
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.Runs(machine) {
		return "", fmt.Errorf("jepsen: the disk of %s: its node runs", machine)
	}
	did, err := d.harm(what)
	if err != nil {
		return "", fmt.Errorf("jepsen: the disk of %s: %w", machine, err)
	}
	return did, nil
}

// close takes all disks out. No process runs.
func (d *localDisks) close() error {
	var errs []error
	for _, x := range d.byName {
		errs = append(errs, x.close())
	}
	if d.ns != nil {
		errs = append(errs, d.ns.Close())
	}
	return errors.Join(errs...)
}

// ending has nobody wait for a disk any longer: its process is killed.
func (d *localDisks) ending() {
	for _, x := range d.byName {
		if x.disk != nil {
			x.disk.Cut()
		}
	}
}
