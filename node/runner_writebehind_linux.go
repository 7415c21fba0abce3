package node

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// writeBehind has the kernel begin to write what file has from from to to, once it has written
// what came before: so no more than that is ever waiting. Nothing is durable by it.
func writeBehind(file *os.File, from, to int64) error {
	const flags = unix.SYNC_FILE_RANGE_WRITE
	var err error
	if before := max(0, from-(to-from)); before < from { // zero bytes would mean all of the file
		err = unix.SyncFileRange(int(file.Fd()), before, from-before, unix.SYNC_FILE_RANGE_WAIT_BEFORE|flags|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	}
	if err == nil {
		err = unix.SyncFileRange(int(file.Fd()), from, to-from, flags)
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EINVAL) {
		return nil // a file system that cannot; the sync does it all
	}
	return err
}
