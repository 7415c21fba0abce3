//go:build failpoints

package faultpoint

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// SIGKILL leaves the kernel what was written, synced or not. Here the process undoes, before it kills itself, what a disk
// need not have kept: what the log did not sync (package wal), what a commit that is under way wrote (package fsm),
// and renames in directories that were not synced since. Nobody has been told of any of it, and nobody is any more: whoever comes
// to the end of such a thing once power is being lost goes no further. So what is left is what a disk may hold that was slow.

// power is held for reading by who changes files in ways that can be lost, and for writing, for ever, by who loses them.
var power sync.RWMutex

// losing: power is being lost, and what is under way is not to end.
var losing atomic.Bool

// logTime is how long who loses power elsewhere waits for the log to come to one of its points, where it forgets what
// it did not sync. One that has nothing to do does not: then it keeps that, as a disk may.
const logTime = 20 * time.Millisecond

var logForgot = make(chan struct{})

// Losing tells the log that it is to forget what it did not sync, and then to call Forgot and go no further.
func Losing() bool { return losing.Load() }

// Forgot tells that the log has.
var Forgot = sync.OnceFunc(func() { close(logForgot) })

// LosePower ends the process; what was not synced is lost.
func LosePower(name string) {
	if losing.Swap(true) {
		select {} // it ends elsewhere
	}
	select {
	case <-logForgot:
	case <-time.After(logTime):
	}
	power.Lock() // who is within Unsynced forgets, and nobody begins
	if err := renames.lose(rand.N(len(renames.all) + 1)); err != nil {
		End(name, err.Error())
	}
	End(name, PowerLoss)
}

// Unsynced has do write something and sync it. If power is lost meanwhile, at the point of that name or elsewhere,
// lose makes of it what may be left, and Unsynced does not return.
func Unsynced(name string, do func() error, lose func()) error {
	power.RLock()
	err := do()
	v := Value(name)
	if here := v == PowerLoss; here || Losing() {
		lose()
		power.RUnlock()
		if here {
			LosePower(name)
		}
		select {}
	}
	power.RUnlock()
	return errors.Join(err, Strike(name, v))
}

// renamed is a rename that is lost with power until its directory is synced.
type renamed struct {
	from, to string
	old      *os.File // what had the name; nil: nothing
}

type renameList struct {
	mu  sync.Mutex
	all []renamed
}

var renames renameList

// Rename is os.Rename, which is lost with power until DirSynced.
func Rename(from, to string) error {
	power.RLock()
	defer power.RUnlock()
	old, err := os.Open(to) //nolint:gosec // what is renamed is no secret
	if err != nil {
		old = nil
	}
	if err := os.Rename(from, to); err != nil {
		if old != nil {
			_ = old.Close()
		}
		return err
	}
	renames.mu.Lock()
	defer renames.mu.Unlock()
	renames.all = append(renames.all, renamed{from, to, old})
	return nil
}

// DirSynced tells that a directory was synced: the renames in it are safe.
func DirSynced(dir string) {
	power.RLock()
	defer power.RUnlock()
	renames.mu.Lock()
	defer renames.mu.Unlock()
	renames.all = slices.DeleteFunc(renames.all, func(r renamed) bool {
		safe := filepath.Dir(r.to) == filepath.Clean(dir)
		if safe && r.old != nil {
			_ = r.old.Close()
		}
		return safe
	})
}

// lose undoes all renames but the first ones, the last one first.
func (l *renameList) lose(keep int) error {
	for _, r := range slices.Backward(l.all[keep:]) {
		if err := os.Rename(r.to, r.from); err != nil {
			return err
		}
		if r.old == nil {
			continue
		}
		// Its file has no name any more, and cannot be given one: a copy takes it.
		again, err := os.OpenFile(r.to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if _, err := io.Copy(again, io.NewSectionReader(r.old, 0, 1<<62)); err != nil {
			return err
		}
		if err := again.Close(); err != nil {
			return err
		}
	}
	l.all = l.all[:keep]
	return nil
}
