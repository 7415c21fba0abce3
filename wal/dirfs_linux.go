package wal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Allocate is part of File. It asks for the free space first: an allocation that
// fails has taken all of it for a moment, and others on the same disk fail with it.
func (f dirFile) Allocate(size int64) error {
	if err := allocateFault(f.Name()); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return &os.PathError{Op: "fstatfs", Path: f.Name(), Err: err}
	}
	have, err := f.Size()
	if err != nil {
		return err
	}
	if free := stat.Bavail * uint64(stat.Bsize); stat.Blocks > 0 && size > have && uint64(size-have) > free {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: unix.ENOSPC}
	}
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, size); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.allocateZeros(size)
		case err != nil:
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		default:
			return nil
		}
	}
}

// Sync is part of File. It leaves out what is not needed to read the file again,
// such as its times.
func (f dirFile) Sync() error {
	if err := syncFault(f.Name()); err != nil {
		return err
	}
	for {
		switch err := unix.Fdatasync(int(f.Fd())); {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		default:
			return nil
		}
	}
}
