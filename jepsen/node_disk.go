package jepsen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/confman/confman/jepsen/losefs"
)

// nodeDisk is what a node has its data on, in the process that serves it: a file system that fails on demand, or a plain directory.
type nodeDisk struct {
	// mu is held by whoever takes the disk out, and by whoever starts a process that uses it.
	mu   sync.Mutex
	at   string                   // the node's data directory
	disk *losefs.Disk             // nil: at is a plain directory
	log  string                   // what was done to it
	dark bool                     // it is without power, and out or to be taken out
	on   func(func() error) error // runs something where it is mounted

	forgot atomic.Uint64 // what it lost with its power
}

// diskLog is what the file is called that says what was done to a machine's disk.
const diskLog = ".disk.log"

// insert makes the disk a file system that has its content in dir, and mounts it. If it cannot, the disk is a directory as before.
func (d *nodeDisk) insert(dir string, seed uint64) error {
	disk, err := losefs.New(dir, losefs.Options{Seed: seed, Torn: true})
	if err != nil {
		return err
	}
	if err = os.Mkdir(d.at, 0o700); err == nil {
		d.disk = disk
		err = d.mount()
	}
	if err != nil {
		d.disk = nil
		return errors.Join(err, disk.Close(), os.RemoveAll(dir))
	}
	return nil
}

func (d *nodeDisk) mount() error {
	return d.on(func() error { return d.disk.Mount(d.at) })
}

func (d *nodeDisk) unmount() error { return d.on(d.disk.Unmount) }

// note writes down what was done.
func (d *nodeDisk) note(text string) error {
	f, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, text)
	return errors.Join(err, f.Close())
}

// set makes the disk such; false: it is a directory, which stays as it is.
func (d *nodeDisk) set(s DiskState) bool {
	if d.disk == nil {
		return false
	}
	d.disk.SetState(losefs.State(s))
	return true
}

// hits is how many requests were refused, or took longer, because of how it was.
func (d *nodeDisk) hits() uint64 {
	if d.disk == nil {
		return 0
	}
	return d.disk.Hits()
}

// cut is the moment at which power is lost. It needs mu.
func (d *nodeDisk) cut() {
	d.dark = true
	d.disk.Cut()
}

// ready has the disk in, with power. If it has none, it is taken out, so that the kernel's cache goes, forgets, and is put back. No process
// may use it then. It needs mu.
func (d *nodeDisk) ready() error {
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

// harm damages what it holds, and says what it did. No process may use it. It needs mu.
func (d *nodeDisk) harm(what Damage) (did string, err error) {
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
		return "", err
	}
	return did, d.note("damaged: " + did)
}

// close takes the disk out.
func (d *nodeDisk) close() error {
	if d.disk == nil {
		return nil
	}
	return errors.Join(d.unmount(), d.disk.Close())
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
