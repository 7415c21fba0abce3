package wal

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/confman/confman/faultpoint"
)

// DirFS is the directory of that path in the operating system's file system. The
// directory must exist. Safe for concurrent use.
type DirFS string

var _ FS = DirFS("")

// Create is part of FS.
func (d DirFS) Create(name string) (File, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open is part of FS.
func (d DirFS) Open(name string) (File, error) { return d.open(name, os.O_RDWR) }

func (d DirFS) open(name string, flag int) (File, error) {
	f, err := os.OpenFile(d.join(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	return dirFile{f}, nil
}

// Rename is part of FS.
func (d DirFS) Rename(oldName, newName string) error {
	return faultpoint.Rename(d.join(oldName), d.join(newName))
}

// Remove is part of FS.
func (d DirFS) Remove(name string) error { return os.Remove(d.join(name)) }

// List is part of FS.
func (d DirFS) List() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// SyncDir is part of FS.
func (d DirFS) SyncDir() error {
	if err := faultpoint.Hit("wal/before-dir-sync"); err != nil {
		return err
	}
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err == nil {
		faultpoint.DirSynced(string(d))
	}
	return err
}

func (d DirFS) join(name string) string { return filepath.Join(string(d), name) }

// dirFile is an open file of a DirFS.
type dirFile struct{ *os.File }

// Size is part of File.
func (f dirFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// allocateZeros is Allocate where the file system cannot reserve blocks: it
// writes them. What the file holds already is left alone.
func (f dirFile) allocateZeros(size int64) error {
	from, err := f.Size()
	if err != nil {
		return err
	}
	return writeZeros(f, from, size)
}
