package jepsen

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confman/confman/jepsen/losefs"
)

// localDisks are the machines' disks: each a file system of its own that fails on demand, or plain directories.
type localDisks struct {
	why    error // why they are plain directories; nil: they are not
	ns     *losefs.Namespace
	byName map[string]*localDisk
}

// localDisk is one machine's.
type localDisk struct {
	// mu is held by whoever takes the disk out, and by whoever starts a process that uses it.
	mu     sync.Mutex
	at     string       // the node's data directory
	disk   *losefs.Disk // nil: at is a plain directory
	log    string       // what was done to it
	dark   bool         // it is without power, and out or to be taken out
	thread *thread      // on which it is mounted

	forgot atomic.Uint64 // what it lost with its power
}

// diskLog is what the file is called that says what was done to a machine's disk.
const diskLog = ".disk.log"

// newDisks makes and mounts a disk for each machine. It is not an error if that cannot be.
func (l *Local) newDisks() error {
	l.disks = &localDisks{byName: map[string]*localDisk{}}
	for _, m := range l.machines {
		l.disks.byName[m.Name] = &localDisk{at: l.path(m.Name, ".data"), log: l.path(m.Name, diskLog), thread: l.threads[m.Name]}
	}
	if l.o.PlainDisk {
		l.disks.why = errors.New("as asked for")
		return nil
	}
	if l.shareNamespace(); l.disks.why != nil {
		return nil //nolint:nilerr // without such disks the ground is one that can do less, and says why
	}
	for i, m := range l.machines {
		x := l.disks.byName[m.Name]
		disk, err := losefs.New(l.path(m.Name, ".disk"), losefs.Options{Seed: l.o.Seed*MaxLocalMachines + uint64(i), Torn: true})
		if err == nil {
			err = os.Mkdir(x.at, 0o700)
		}
		if err == nil {
			x.disk = disk
			err = x.mount()
		}
		switch {
		case err != nil && i == 0:
			if x.disk = nil; disk != nil {
				err = errors.Join(err, disk.Close())
			}
			l.disks.why = err
			return os.RemoveAll(l.path(m.Name, ".disk"))
		case err != nil:
			return err
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

func (d *localDisk) mount() error {
	return d.thread.do(func() error { return d.disk.Mount(d.at) })
}

func (d *localDisk) unmount() error { return d.thread.do(d.disk.Unmount) }

// note writes down what was done.
func (d *localDisk) note(text string) error {
	f, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	return errors.Join(err, f.Close())
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
	disk := l.disks.byName[machine].disk
	switch {
	case disk != nil:
		disk.SetState(losefs.State(s))
	case s != DiskState{}:
		return l.Can(DiskFaults)
	}
	return nil
}

// DiskHits is part of diskCounter.
func (l *Local) DiskHits(machine string) uint64 {
	if disk := l.disks.byName[machine].disk; disk != nil {
		return disk.Hits()
	}
	return 0
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
		l.disks.byName[name].dark = true
		l.disks.byName[name].disk.Cut()
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

// ready has the disk in, with power. If it has none, it is taken out, so that the kernel's cache goes, forgets, and is put back. No process
// may use it then. It needs mu.
func (d *localDisk) ready() error {
	if !d.dark {
		return nil
	}
	err := d.unmount()
	var lost losefs.Loss
	if err == nil {
		lost, err = d.disk.LosePower()
	}
	if err == nil {
		err = errors.Join(d.note("power lost: "+lost.String()), d.mount())
	}
	if err != nil {
		return fmt.Errorf("jepsen: the disk at %s: %w", d.at, err)
	}
	d.dark = false
	d.forgot.Add(uint64(lost.Lost()))
	return nil
}

// Damage is part of Ground.
func (l *Local) Damage(_ context.Context, machine string, what Damage) (did string, err error) {
	d := l.disks.byName[machine]
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.Runs(machine) {
		return "", fmt.Errorf("jepsen: the disk of %s: its node runs", machine)
	}
	if err := d.ready(); err != nil {
		return "", err
	}
	dir := d.at
	if d.disk != nil {
		dir = d.disk.Files()
		if err := d.unmount(); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, d.mount()) }()
		// The node has been down for a while: the system has written everything back by now.
		if err := d.disk.Settle(); err != nil {
			return "", err
		}
	}
	if did, err = harm(dir, what); err != nil {
		return "", fmt.Errorf("jepsen: the disk of %s: %w", machine, err)
	}
	return did, d.note("damaged: " + did)
}

// close takes all disks out. No process runs.
func (d *localDisks) close() error {
	var errs []error
	for _, x := range d.byName {
		if x.disk != nil {
			errs = append(errs, x.unmount(), x.disk.Close())
		}
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

// emptyDir removes what is in a directory, if it is there.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
