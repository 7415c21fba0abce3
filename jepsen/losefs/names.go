package losefs

import (
	"context"
	"errors"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// change is something that happened to names in one directory: to alone was made, from alone was removed, or from was renamed to to.
type change struct {
	from, to string
	// trash is the name there of what was removed, or replaced; empty: nothing was.
	trash string
}

func (c change) names() []string {
	var names []string
	for _, name := range []string{c.from, c.to} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// made notes a new name. It needs names.
func (o *object) made(name string) { o.changes = append(o.changes, change{to: name}) }

// remove takes a name away.
func (o *object) remove(name string, dir bool) error {
	o.disk.names.Lock()
	defer o.disk.names.Unlock()
	old, err := o.child(name)
	if err != nil {
		return err
	}
	switch isDir, full := old.isDir(), false; {
	case dir && !isDir:
		return syscall.ENOTDIR
	case !dir && isDir:
		return syscall.EISDIR
	case dir:
		if full, err = old.holdsNames(); err != nil {
			return err
		}
		if full {
			return syscall.ENOTEMPTY
		}
	}
	trash, err := o.discard(name)
	if err != nil {
		return err
	}
	old.unlink()
	o.changes = append(o.changes, change{from: name, trash: trash})
	return nil
}

// rename gives what is called from another name in the same directory.
func (o *object) rename(from, to string, noReplace bool) error {
	o.disk.names.Lock()
	defer o.disk.names.Unlock()
	moved, err := o.child(from)
	if err != nil {
		return err
	}
	if from == to {
		return nil
	}
	c := change{from: from, to: to}
	old, err := o.child(to)
	switch {
	case errors.Is(err, unix.ENOENT):
	case err != nil:
		return err
	case noReplace:
		return syscall.EEXIST
	case moved.isDir() != old.isDir():
		if old.isDir() {
			return syscall.EISDIR
		}
		return syscall.ENOTDIR
	default:
		if old.isDir() {
			if full, err := old.holdsNames(); err != nil || full {
				return errors.Join(err, syscall.ENOTEMPTY)
			}
		}
		if c.trash, err = o.discard(to); err != nil {
			return err
		}
		old.unlink()
	}
	if err := unix.Renameat(o.fd(), from, o.fd(), to); err != nil {
		return err
	}
	o.changes = append(o.changes, c)
	return nil
}

// discard moves a name into the trash. It needs names.
func (o *object) discard(name string) (string, error) {
	o.disk.removed++
	trash := strconv.FormatUint(o.disk.removed, 10)
	return trash, unix.Renameat(o.fd(), name, int(o.disk.trash.Fd()), trash)
}

func (o *object) fd() int { return int(o.path.Fd()) }

// child is the object of a name in the directory. It needs names.
func (o *object) child(name string) (*object, error) {
	path, err := o.openAt(name)
	if err != nil {
		return nil, err
	}
	child, _, err := o.disk.object(path, o)
	return child, err
}

func (o *object) isDir() bool {
	var st unix.Stat_t
	return unix.Fstat(o.fd(), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

func (o *object) holdsNames() (bool, error) {
	f, err := o.open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return false, err
	}
	names, _ := f.Readdirnames(1) // the end is an error, too
	return len(names) > 0, f.Close()
}

// allChanges is how many changes there were in the directory.
func (o *object) allChanges() uint64 {
	o.disk.names.RLock()
	defer o.disk.names.RUnlock()
	return o.durable + uint64(len(o.changes))
}

// syncNames is fsync of a directory. One that failed is not the end of the changes: another one may succeed.
func (o *object) syncNames(ctx context.Context) syscall.Errno {
	all := o.allChanges()
	if errno := o.disk.awaitSync(ctx); errno != 0 {
		return errno
	}
	return o.keep(all)
}

// keep makes the changes up to that many durable.
func (o *object) keep(all uint64) syscall.Errno {
	o.disk.names.Lock()
	defer o.disk.names.Unlock()
	if all <= o.durable {
		return 0
	}
	n := all - o.durable
	gone := o.changes[:n]
	o.changes = append([]change(nil), o.changes[n:]...)
	o.durable = all
	for _, c := range gone {
		if err := o.disk.purge(c.trash); err != nil {
			return syscall.EIO
		}
	}
	return 0
}

// purge ends what is in the trash under a name. It needs names.
func (d *Disk) purge(trash string) error {
	if trash == "" {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.trash.Fd()), trash, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	d.mu.Lock()
	o := d.objects[st.Ino]
	delete(d.objects, st.Ino)
	d.mu.Unlock()
	flags := 0
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	if err := unix.Unlinkat(int(d.trash.Fd()), trash, flags); err != nil {
		return err
	}
	if o == nil {
		return nil
	}
	// Names in a directory that is gone for good are, too. Whoever has the object open still asks for it: path is
	// closed when nobody does any more.
	for _, c := range o.changes {
		if err := d.purge(c.trash); err != nil {
			return err
		}
	}
	o.changes = nil
	return nil
}
