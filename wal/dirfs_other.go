//go:build !linux

package wal

// Allocate is part of File.
func (f dirFile) Allocate(size int64) error { return f.allocateZeros(size) }
