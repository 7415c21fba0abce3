package node

import (
	"errors"
	"sync"

	"github.com/confman/confman/wal"
)

var errInjected = errors.New("injected fault")

// faults decides which operations of a faultyFS fail. Safe for concurrent use.
type faults struct {
	mu    sync.Mutex
	count int
	at    int             // this one and all after it; 0: none
	on    map[string]bool // operations that fail
}

// failAt makes the nth operation that changes anything fail, and all after it.
func failAt(n int) *faults { return &faults{at: n} }

// fail makes op fail from now on.
func (f *faults) fail(op string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.on == nil {
		f.on = make(map[string]bool)
	}
	f.on[op] = true
}

func (f *faults) check(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.on[op] || f.at != 0 && f.count >= f.at {
		return errInjected
	}
	return nil
}

// faultyFS is a file system some of whose operations fail.
type faultyFS struct {
	wal.FS
	faults *faults
}

func (f *faultyFS) Create(name string) (wal.File, error) {
	if err := f.faults.check("create"); err != nil {
		return nil, err
	}
	return f.file(f.FS.Create(name))
}

func (f *faultyFS) Open(name string) (wal.File, error) { return f.file(f.FS.Open(name)) }

func (f *faultyFS) file(file wal.File, err error) (wal.File, error) {
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: file, faults: f.faults}, nil
}

func (f *faultyFS) Rename(oldName, newName string) error {
	if err := f.faults.check("rename"); err != nil {
		return err
	}
	return f.FS.Rename(oldName, newName)
}

func (f *faultyFS) Remove(name string) error {
	if err := f.faults.check("remove"); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *faultyFS) SyncDir() error {
	if err := f.faults.check("syncdir"); err != nil {
		return err
	}
	return f.FS.SyncDir()
}

type faultyFile struct {
	wal.File
	faults *faults
}

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.faults.check("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultyFile) Allocate(size int64) error {
	if err := f.faults.check("allocate"); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultyFile) Sync() error {
	if err := f.faults.check("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}
