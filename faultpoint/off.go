//go:build !failpoints

package faultpoint

import "os"

// On: this is a program that can be told to fail.
const On = false

// Hit is nil.
func Hit(string) error { return nil }

// HitPeer is nil.
func HitPeer(string, string) error { return nil }

// Int is otherwise.
func Int(_ string, otherwise int) int { return otherwise }

// Rename is os.Rename.
func Rename(from, to string) error { return os.Rename(from, to) }

// DirSynced does nothing.
func DirSynced(string) {}
