package wal

import (
	"io"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
)

// memFS is a directory in memory. Safe for concurrent use. (The disk of package sim
// also fails in every other way that disks do.)
type memFS struct {
	mu       sync.Mutex
	files    map[string]*memData
	durable  map[string]*memData         // the names at the last SyncDir
	changes  []func(map[string]*memData) // of names since then
	capacity int64                       // 0: no bound
	open     int                         // files
	// fault is asked before each operation that changes something or syncs.
	fault func(op, name string) error
	// wrote is told of each write that was done.
	wrote func(name string, b []byte, off int64)
}

// memData is a file's content: as it is, and as it was at the last Sync.
type memData struct{ bytes, durable []byte }

func newMemFS() *memFS {
	return &memFS{files: map[string]*memData{}, durable: map[string]*memData{}}
}

// clone copies the directory as it is. All of the copy is durable.
func (m *memFS) clone() *memFS {
	return m.lives(m.files, func(d *memData) []byte { return slices.Clone(d.bytes) })
}

// crash is the directory after the power was lost: keep is asked for each sector and
// each change of a name that was not synced.
func (m *memFS) crash(keep func() bool) *memFS {
	names := maps.Clone(m.durable)
	for _, change := range m.changes {
		if keep() {
			change(names)
		}
	}
	return m.lives(names, func(d *memData) []byte {
		b := slices.Clone(d.durable)
		if len(b) < len(d.bytes) && keep() {
			b = append(b, make([]byte, len(d.bytes)-len(b))...)
		}
		for at := 0; at < len(b); at += fileUnit {
			if sector := b[at:min(at+fileUnit, len(b))]; !slices.Equal(sector, d.bytes[at:at+len(sector)]) && keep() {
				copy(sector, d.bytes[at:])
			}
		}
		return b
	})
}

func (m *memFS) lives(names map[string]*memData, content func(*memData) []byte) *memFS {
	c := newMemFS()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b := content(names[name])
		c.files[name] = &memData{b, slices.Clone(b)}
	}
	c.durable = maps.Clone(c.files)
	return c
}

// change does a change of names.
func (m *memFS) change(f func(names map[string]*memData)) {
	f(m.files)
	m.changes = append(m.changes, f)
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
		m.change(func(names map[string]*memData) { names[name] = f.memData })
		m.open++
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
		m.open++
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
		m.change(func(names map[string]*memData) {
			if names[oldName] == f {
				delete(names, oldName)
			}
			names[newName] = f
		})
		return nil
	})
}

func (m *memFS) Remove(name string) error {
	return m.do("remove", name, func() error {
		if m.files[name] == nil {
			return fs.ErrNotExist
		}
		m.change(func(names map[string]*memData) { delete(names, name) })
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

func (m *memFS) SyncDir() error {
	return m.do("syncdir", ".", func() error {
		m.durable, m.changes = maps.Clone(m.files), nil
		return nil
	})
}

// memFile is an open file of a memFS.
type memFile struct {
	*memData
	fsys   *memFS
	name   string
	closed bool
}

func (f *memFile) do(op string, do func() error) error {
	return f.fsys.do(op, f.name, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		return do()
	})
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
	err = f.do("read", func() error {
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
	err := f.do("write", func() error {
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
	err = f.do("size", func() error { size = int64(len(f.bytes)); return nil })
	return size, err
}

func (f *memFile) Allocate(size int64) error {
	return f.do("allocate", func() error { return f.resize(size) })
}

func (f *memFile) Sync() error {
	return f.do("sync", func() error {
		f.durable = slices.Clone(f.bytes)
		return nil
	})
}

func (f *memFile) Close() error {
	f.fsys.mu.Lock()
	defer f.fsys.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.fsys.open--
	return nil
}
