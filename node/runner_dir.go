package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// The data directory. Log and store get their names when they are whole, so that
// a crash leaves none or a whole one.
const (
	lockFile  = "LOCK"
	logDir    = "log"
	logTemp   = "log.new"
	storeFile = "store.db"
)

// errNewMember is why a node that was added has no store at first. It is fsm.ErrDamaged, since what is to be
// done is the same.
var errNewMember = fmt.Errorf("a new member has no store until a peer's has come: %w", fsm.ErrDamaged)

// ErrLocked means that another process uses the data directory.
var ErrLocked = errors.New("data directory is in use")

// dirFS is the operating system's file system.
func dirFS(path string) wal.FS { return wal.DirFS(path) }

// dataDir is a data directory that this process has locked.
type dataDir struct {
	path string
	lock *os.File
	// openFS makes the file system of the directory or of one in it.
	openFS     func(path string) wal.FS
	logOptions wal.Options
	syncs      *Histogram // how long those of the log take; nil: nobody asks
}

// openDataDir makes the directory if it does not exist, and locks it.
func openDataDir(path string, openFS func(string) wal.FS, logOptions wal.Options) (*dataDir, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) { //nolint:gosec // the operator names the directory
		if err := os.MkdirAll(path, 0o700); err != nil { //nolint:gosec // the operator names the directory
			return nil, fmt.Errorf("node: data directory: %w", err)
		}
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("node: data directory: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, fmt.Errorf("node: data directory: %w", err)
	}
	d := &dataDir{path: path, lock: f, openFS: openFS, logOptions: logOptions}
	if err := d.takeLock(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return d, nil
}

// takeLock locks the open lock file and writes the process id into it, for the
// message of the next one that tries. The kernel drops the lock with the process.
func (d *dataDir) takeLock() error {
	err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		holder := "another process"
		if b, readErr := io.ReadAll(io.LimitReader(d.lock, 20)); readErr == nil && len(b) > 0 {
			holder = "process " + strings.TrimSpace(string(b))
		}
		return fmt.Errorf("node: %s: %w by %s: stop that one first, or give this node a directory of its own", d.path, ErrLocked, holder)
	}
	if err == nil {
		err = d.lock.Truncate(0)
	}
	if err == nil {
		_, err = d.lock.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	}
	if err != nil {
		return fmt.Errorf("node: locking %s: %w", d.path, err)
	}
	return nil
}

// close unlocks the directory.
func (d *dataDir) close() error { return d.lock.Close() }

func (d *dataDir) join(name string) string { return filepath.Join(d.path, name) }

// has reports whether name exists in the directory.
func (d *dataDir) has(name string) (bool, error) {
	_, err := os.Stat(d.join(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// identity loads the identity. A directory without one must hold nothing else:
// it is the first thing that is ever written.
func (d *dataDir) identity() (Identity, error) {
	id, err := LoadIdentity(d.openFS(d.path))
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if ok, err := d.has(restoringFile); err != nil {
		return Identity{}, err
	} else if ok {
		return Identity{}, fmt.Errorf("node: a restore to %s was broken off: run confman restore again, or empty the directory", d.path)
	}
	for _, name := range []string{logDir, storeFile} {
		if ok, err := d.has(name); err != nil {
			return Identity{}, err
		} else if ok {
			return Identity{}, fmt.Errorf("node: %s holds %s but no %s: %w", d.path, name, identityFile, ErrDiskLost)
		}
	}
	return Identity{}, nil
}

func (d *dataDir) storeIdentity(id Identity) error {
	return StoreIdentity(d.openFS(d.path), id)
}

// createLog makes the log, durably, if there is none. Only a node that is not
// formed may call it: then no log was ever used.
func (d *dataDir) createLog(nonce uint64) error {
	if ok, err := d.has(logDir); err != nil || ok {
		return err
	}
	temp := d.join(logTemp)
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	opts := d.logOptions
	opts.Nonce = nonce
	if err := wal.Create(d.openFS(temp), opts); err != nil {
		return err
	}
	return d.rename(logTemp, logDir)
}

// openLog opens the log of a formed node.
func (d *dataDir) openLog() (*wal.Log, wal.Recovered, error) {
	if ok, err := d.has(logDir); err != nil {
		return nil, wal.Recovered{}, err
	} else if !ok {
		return nil, wal.Recovered{}, fmt.Errorf("node: %s is missing: %w", d.join(logDir), ErrDiskLost)
	}
	fsys := d.openFS(d.join(logDir))
	if d.syncs != nil {
		fsys = meteredFS{fsys, d.syncs}
	}
	log, found, err := wal.Open(fsys, d.logOptions)
	if err != nil {
		return nil, wal.Recovered{}, fmt.Errorf("node: %s: %w", d.join(logDir), err)
	}
	return log, found, nil
}

// openStore opens the store, after it has completed an install that a crash broke
// off: the log's newest marker names the image that is to be the store. A store that is
// missing is made again from g, if the log can fill it: if it is whole from its first index. Without g, as
// for a node that was not there when the cluster formed, it is not.
//
// If the store cannot be used, damaged says why and wraps fsm.ErrDamaged; the log has
// what it needs to go on from a peer's image.
func (d *dataDir) openStore(g *fsm.Genesis, opts fsm.Options, firstIndex uint64, marker *wal.Marker) (s *fsm.Store, damaged, err error) {
	s, damaged, err = d.tryStore(opts)
	if err != nil {
		return nil, nil, err
	}
	if marker != nil && marker.Index+1 >= firstIndex && (s == nil || uint64(s.State().Applied) < marker.Index) {
		name := imageFile(marker.Index)
		ok, err := d.has(name)
		if err == nil && ok {
			if s != nil {
				err = s.Close()
			}
			if err == nil {
				err = d.rename(name, storeFile)
			}
			if err == nil {
				s, damaged, err = d.tryStore(opts)
			}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("node: completing the install of %s: %w", d.join(name), err)
		}
	}
	if err := d.removeImages(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("node: %w", err), closeStore(s))
	}
	switch {
	case s != nil && uint64(s.State().Applied)+1 < firstIndex:
		damaged = fmt.Errorf("node: %s is at index %d, the log begins at %d: %w", d.join(storeFile), s.State().Applied, firstIndex, fsm.ErrDamaged)
		return nil, damaged, closeStore(s)
	case s != nil:
		return s, nil, nil
	case damaged != nil:
		return nil, damaged, nil
	case firstIndex > 1:
		return nil, fmt.Errorf("node: %s is missing and the log, which begins at index %d, cannot fill it again: %w", d.join(storeFile), firstIndex, fsm.ErrDamaged), nil
	}
	if g == nil {
		return nil, fmt.Errorf("node: %w", errNewMember), nil
	}
	if err := fsm.Create(d.join(storeFile), *g, opts); err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	return d.tryStore(opts)
}

// tryStore opens the store, if there is one.
func (d *dataDir) tryStore(opts fsm.Options) (s *fsm.Store, damaged, err error) {
	if ok, err := d.has(storeFile); err != nil || !ok {
		return nil, nil, err
	}
	s, err = fsm.Open(d.join(storeFile), opts)
	if errors.Is(err, fsm.ErrDamaged) {
		return nil, fmt.Errorf("node: %w", err), nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	return s, nil, nil
}

func closeStore(s *fsm.Store) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

func (d *dataDir) rename(from, to string) error {
	if err := faultpoint.Rename(d.join(from), d.join(to)); err != nil {
		return err
	}
	return syncDir(d.path)
}

func syncDir(path string) error {
	if err := faultpoint.Hit("node/before-dir-sync"); err != nil {
		return err
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the directory
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err == nil {
		faultpoint.DirSynced(path)
	}
	return err
}
