package wal

import "io"

// FS is the one directory that a log lives in, with the few operations it needs.
// The operating system's is [DirFS]; package sim has a twin in memory that loses
// or tears what was not synced. Names are plain file names.
//
// Durability: what was written to a file survives a crash once its Sync
// returned; that a file was created, renamed or removed survives once SyncDir returned.
type FS interface {
	// Create makes a new file, open for reading and writing. An error that is
	// fs.ErrExist if the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing; fs.ErrNotExist if there is none.
	Open(name string) (File, error)
	// Rename replaces newName by oldName, atomically.
	Rename(oldName, newName string) error
	Remove(name string) error
	// List returns the names in the directory in ascending order.
	List() ([]string, error)
	SyncDir() error
}

// File is an open file of an FS. ReadAt may run at the same time as WriteAt and Sync.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the file's length in bytes.
	Size() (int64, error)
	// Allocate makes the file size bytes long, with the blocks reserved, zeros where nothing was written.
	Allocate(size int64) error
	// Sync makes all that was written durable (fdatasync).
	Sync() error
}
