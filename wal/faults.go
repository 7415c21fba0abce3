//go:build failpoints

package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/pingcap/failpoint"
	"golang.org/x/sys/unix"
)

// The failpoints of the log, in the build that make test-failpoints makes; docs/chaos.md lists them. They have files of
// their own whose names sort behind doc.go: the rewriter empties a file without declarations that follows a rewritten one.

// What a failpoint's term may return, besides the text of an error.
const (
	crash     = "crash"      // the process ends there and then
	crashSoon = "crash soon" // it goes on, and ends within soon
	powerLoss = "power loss" // what was not synced is lost, and the process ends
	tornWrite = "torn write" // half of what was to be written is, and the process ends
)

const soon = 3 * time.Millisecond

// fault is the failpoint of that name: its text is the error of what it stands before.
func fault(point string) (err error) {
	failpoint.Inject(point, func(v failpoint.Value) { err = strike(point, v) })
	return err
}

func strike(point string, v failpoint.Value) error {
	switch what, ok := v.(string); {
	case !ok: // "off", "sleep" and "print" come here, too
	case what == crash:
		end(point, what)
	case what == crashSoon:
		time.AfterFunc(rand.N(soon), func() { end(point, what) })
	default:
		return errors.New(what)
	}
	return nil
}

// end ends the process as if somebody had killed it: nothing is deferred, nothing flushed.
func end(point, what string) {
	fmt.Fprintf(os.Stderr, "failpoint wal/%s: %s\n", point, what)
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	select {}
}

// fault is one where the log's end may be lost, too.
func (l *Log) fault(point string) (err error) {
	failpoint.Inject(point, func(v failpoint.Value) {
		switch v {
		case powerLoss:
			_ = writeZeros(l.current.file, l.proven, l.end)
			end(point, powerLoss)
		case tornWrite:
			_ = writeAll(l.current.file, l.buf[:len(l.buf)/2], l.end)
			end(point, tornWrite)
		default:
			err = strike(point, v)
		}
	})
	return err
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

// segmentBytes is the failpoint wal/segment-bytes: so many, to see segments come and go.
func segmentBytes(o Options) (n int64) {
	n = o.SegmentBytes
	failpoint.Inject("segment-bytes", func(v failpoint.Value) {
		if small, ok := v.(int); ok {
			n = int64(small)
		}
	})
	return n
}

// syncFault is the failpoint wal/sync: its text is the error of a sync.
func syncFault(name string) error {
	if err := fault("sync"); err != nil {
		return &os.PathError{Op: "fdatasync", Path: name, Err: err}
	}
	return nil
}

// allocateFault is the failpoint wal/allocate: any text makes the disk full.
func allocateFault(name string) error {
	if fault("allocate") != nil {
		return &os.PathError{Op: "fallocate", Path: name, Err: unix.ENOSPC}
	}
	return nil
}
