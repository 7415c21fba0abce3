package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// allocateFile makes the durable file name of size zeros. If there is no room,
// nothing is left of it, and the error is ErrFull.
func allocateFile(fsys FS, name string, size int64) (File, error) {
	// One that a crash or a full disk left unfinished is of no use.
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("wal: removing %s: %w", name, err)
	}
	f, err := fsys.Create(name)
	if err != nil {
		return nil, fmt.Errorf("wal: creating %s: %w", name, asFull(err))
	}
	err = f.Allocate(size)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		err = fmt.Errorf("wal: allocating %d bytes for %s: %w", size, name, asFull(err))
		return nil, errors.Join(err, f.Close(), fsys.Remove(name))
	}
	return f, nil
}

// asFull adds ErrFull to an error that says that there is no space.
func asFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// writeAll writes b at off.
func writeAll(f io.WriterAt, b []byte, off int64) error {
	n, err := f.WriteAt(b, off)
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// readAll fills b from off.
func readAll(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

var zeros [scanChunkBytes]byte

// writeZeros writes zeros to [from, to).
func writeZeros(f io.WriterAt, from, to int64) error {
	for from < to {
		n := min(to-from, int64(len(zeros)))
		if err := writeAll(f, zeros[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// window reads a file in order through a buffer.
type window struct {
	file  io.ReaderAt
	end   int64 // nothing at or after it is read
	chunk int64 // what is read at a time, at least

	off int64 // of buf in the file
	buf []byte
}

// at returns the n bytes at off, which must end at or before w.end. They are valid until the next call.
func (w *window) at(off, n int64) ([]byte, error) {
	if off < w.off || off+n > w.off+int64(len(w.buf)) {
		size := min(max(n, w.chunk), w.end-off)
		if int64(cap(w.buf)) < size {
			w.buf = make([]byte, size)
		}
		w.buf, w.off = w.buf[:size], off
		if err := readAll(w.file, w.buf, off); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[off-w.off : off-w.off+n], nil
}
