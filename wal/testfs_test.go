package wal

import (
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// memFS is a directory in memory in which everything is durable at once. (What
// crashes do is tested in package sim, on its Disk.) Safe for concurrent use.
type memFS struct {
	mu       sync.Mutex
	files    map[string]*memData
	capacity int64 // 0: no bound
	// fault is asked before each operation that changes something or syncs.
	fault func(op, name string) error
	// wrote is told of each write that was done.
	wrote func(name string, b []byte, off int64)
}

type memData struct{ bytes []byte }

func newMemFS() *memFS { return &memFS{files: map[string]*memData{}} }

// clone copies the directory.
func (m *memFS) clone() *memFS {
	c := newMemFS()
	for name, d := range m.files {
		c.files[name] = &memData{slices.Clone(d.bytes)}
	}
	return c
}

func (m *memFS) do(op, name string, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		if err := m.fault(op, name); err != nil {
			return &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	if err := f(); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (m *memFS) Create(name string) (File, error) {
	f := &memFile{fsys: m, name: name, memData: &memData{}}
	err := m.do("create", name, func() error {
		if m.files[name] != nil {
			return fs.ErrExist
		}
		m.files[name] = f.memData
		return nil
	})
	return f, err
}

func (m *memFS) Open(name string) (File, error) {
	f := &memFile{fsys: m, name: name}
	err := m.do("open", name, func() error {
		if f.memData = m.files[name]; f.memData == nil {
			return fs.ErrNotExist
		}
		return nil
	})
	return f, err
}

func (m *memFS) Rename(oldName, newName string) error {
	return m.do("rename", oldName, func() error {
		f := m.files[oldName]
		if f == nil {
			return fs.ErrNotExist
		}
		delete(m.files, oldName)
		m.files[newName] = f
		return nil
	})
}

func (m *memFS) Remove(name string) error {
	return m.do("remove", name, func() error {
		if m.files[name] == nil {
			return fs.ErrNotExist
		}
		delete(m.files, name)
		return nil
	})
}

func (m *memFS) List() (names []string, err error) {
	err = m.do("list", ".", func() error {
		names = slices.Sorted(maps.Keys(m.files))
		return nil
	})
	return names, err
}

func (m *memFS) SyncDir() error { return m.do("syncdir", ".", func() error { return nil }) }

// memFile is an open file of a memFS.
type memFile struct {
	*memData
	fsys *memFS
	name string
}

// resize makes the file at least size long.
func (f *memFile) resize(size int64) error {
	used := size - int64(len(f.bytes))
	if used <= 0 {
		return nil
	}
	for _, d := range f.fsys.files {
		used += int64(len(d.bytes))
	}
	if f.fsys.capacity > 0 && used > f.fsys.capacity {
		return syscall.ENOSPC
	}
	f.bytes = append(f.bytes, make([]byte, size-int64(len(f.bytes)))...)
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.fsys.do("read", f.name, func() error {
		if off < int64(len(f.bytes)) {
			n = copy(p, f.bytes[off:])
		}
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.fsys.do("write", f.name, func() error {
		if err := f.resize(off + int64(len(p))); err != nil {
			return err
		}
		copy(f.bytes[off:], p)
		if f.fsys.wrote != nil {
			f.fsys.wrote(f.name, p, off)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *memFile) Size() (size int64, err error) {
	err = f.fsys.do("size", f.name, func() error { size = int64(len(f.bytes)); return nil })
	return size, err
}

func (f *memFile) Allocate(size int64) error {
	return f.fsys.do("allocate", f.name, func() error { return f.resize(size) })
}

func (f *memFile) Sync() error  { return f.fsys.do("sync", f.name, func() error { return nil }) }
func (f *memFile) Close() error { return nil }
