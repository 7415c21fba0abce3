package fsm

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// startWriting has the kernel begin to write what file has in memory, and does not wait.
func startWriting(file *os.File) error {
	err := unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EINVAL) {
		return nil // a file system that cannot; the sync does it all
	}
	return err
}
