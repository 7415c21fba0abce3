//go:build failpoints

package wal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/faultpoint"
)

// fault is a failpoint at which the log's end may be lost, too. It is also where the log forgets what it did not sync
// when power is lost elsewhere.
func (l *Log) fault(point string) error {
	name := "wal/" + point
	if faultpoint.Losing() {
		l.forget()
		select {}
	}
	switch v := faultpoint.Value(name); v {
	case faultpoint.PowerLoss:
		l.forget()
		faultpoint.LosePower(name)
	case faultpoint.TornWrite:
		_ = writeAll(l.current.file, l.buf[:len(l.buf)/2], l.end)
		faultpoint.End(name, faultpoint.TornWrite)
	default:
		return faultpoint.Strike(name, v)
	}
	return nil
}

// forget makes of what was not synced what it was before.
func (l *Log) forget() {
	_ = writeZeros(l.current.file, l.proven, l.end)
	faultpoint.Forgot()
}

// faultOf is the failpoints of batches that are more than entries: before and after a hard state or a marker is written.
func (l *Log) faultOf(b Batch, when string) (err error) {
	if b.HardState != nil {
		err = l.fault(when + "-hard-state")
	}
	if b.Snapshot != nil {
		err = errors.Join(err, l.fault(when+"-marker"))
	}
	return err
}

// syncFault is the failpoint wal/sync: its text is the error of a sync.
func syncFault(name string) error {
	if err := faultpoint.Hit("wal/sync"); err != nil {
		return &os.PathError{Op: "fdatasync", Path: name, Err: err}
	}
	return nil
}

// allocateFault is the failpoint wal/allocate: any text makes the disk full.
func allocateFault(name string) error {
	if faultpoint.Hit("wal/allocate") != nil {
		return &os.PathError{Op: "fallocate", Path: name, Err: unix.ENOSPC}
	}
	return nil
}
