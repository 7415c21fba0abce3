package wal

import (
	"errors"
	"os"

	"github.com/pingcap/failpoint"
	"golang.org/x/sys/unix"
)

// The failpoints of the disk; without the rewriting of make failpoints they do
// nothing. They have a file of their own whose name sorts behind doc.go: the
// rewriter empties a file without declarations that follows a rewritten one.

// syncFault is the failpoint wal/sync: its text is the error of a sync.
func syncFault(name string) (err error) {
	failpoint.Inject("sync", func(v failpoint.Value) {
		if what, ok := v.(string); ok {
			err = &os.PathError{Op: "fdatasync", Path: name, Err: errors.New(what)}
		}
	})
	return err
}

// allocateFault is the failpoint wal/allocate: any text makes the disk full.
func allocateFault(name string) (err error) {
	failpoint.Inject("allocate", func(v failpoint.Value) {
		if _, ok := v.(string); ok {
			err = &os.PathError{Op: "fallocate", Path: name, Err: unix.ENOSPC}
		}
	})
	return err
}
