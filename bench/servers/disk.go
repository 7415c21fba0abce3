package servers

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// OnDisk refuses a directory in memory, where a sync costs nothing.
func OnDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return err
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("%s is in memory: name a directory on a disk, with -data", dir)
	}
	return nil
}

// Free is how many bytes are free at a directory.
func Free(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, err
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
