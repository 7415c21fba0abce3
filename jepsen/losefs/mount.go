package losefs

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// mount is a disk as it is mounted.
type mount struct {
	at   string
	root *node
	done chan struct{} // closed when the kernel asks no more
}

// Mount mounts the disk on a directory, in the mount namespace of the calling thread. It must be root there. The disk has power.
// A process that works in the mount should be another one: a page fault there stops the runtime that should serve it.
func (d *Disk) Mount(at string) error {
	if d.Mounted() {
		return errMounted
	}
	if err := d.measure(); err != nil {
		return err
	}
	path, err := openAt(d.tree, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	o, _, err := d.object(path, nil)
	if err != nil {
		return err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("losefs: /dev/fuse: %w", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d", fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxWriteBytes)
	if err := unix.Mount("losefs", at, "fuse.losefs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return errors.Join(fmt.Errorf("losefs: mounting on %s: %w", at, err), unix.Close(fd))
	}
	m := &mount{at: at, root: &node{object: o}, done: make(chan struct{})}
	keep := cacheTime
	fsys := gofs.NewNodeFS(m.root, &gofs.Options{EntryTimeout: &keep, AttrTimeout: &keep, NullPermissions: true, RootStableAttr: &gofs.StableAttr{Ino: o.ino}})
	// The name tells the library that it is mounted already.
	server, err := fuse.NewServer(fsys, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxWrite: maxWriteBytes, MaxBackground: maxBackground, ExplicitDataCacheControl: true, DisableReadDirPlus: true,
		// What it would say is that somebody did not wait for an answer.
		Logger: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("losefs: serving %s: %w", at, err), unix.Unmount(at, unix.MNT_DETACH))
	}
	d.mu.Lock()
	d.cut, d.mount = make(chan struct{}), m
	d.mu.Unlock()
	go func() {
		server.Serve()
		close(m.done)
	}()
	return nil
}

// Unmount ends the mount. It must be called on a thread of the namespace that it was made in. Nobody should use it any more; if somebody
// does, it is detached, and the error says so.
func (d *Disk) Unmount() error {
	d.mu.Lock()
	m := d.mount
	d.mu.Unlock()
	if m == nil {
		return nil
	}
	err := unix.Unmount(m.at, 0)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(m.at, unix.MNT_DETACH)
	}
	if err != nil {
		return fmt.Errorf("losefs: unmounting %s: %w", m.at, err)
	}
	timeout := time.NewTimer(unmountTime)
	defer timeout.Stop()
	select {
	case <-m.done:
		d.mu.Lock()
		d.mount = nil
		d.mu.Unlock()
		return nil
	case <-timeout.C:
		return fmt.Errorf("losefs: %s is still used after %v", m.at, unmountTime)
	}
}

// Mounted tells whether the disk is mounted.
func (d *Disk) Mounted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mount != nil
}

// Namespace is what threads see of the file system: what is mounted by one of them is seen by all of them and by the processes that
// they start, and is gone with them, whatever becomes of them.
type Namespace struct{ file *os.File }

// NewNamespace gives the calling thread a mount namespace of its own. The thread must be locked, and is good for nothing else afterwards.
func NewNamespace() (*Namespace, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("losefs: a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("losefs: a private mount namespace: %w", err)
	}
	file, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	return &Namespace{file}, nil
}

// Join takes the calling thread into the namespace. The thread must be locked, and is good for nothing else afterwards.
func (n *Namespace) Join() error {
	// What threads share of the file system beside is not shared between namespaces.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("losefs: a thread apart: %w", err)
	}
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("losefs: joining a mount namespace: %w", err)
	}
	return nil
}

// Close gives the namespace up; it is gone when all its threads are.
func (n *Namespace) Close() error { return n.file.Close() }

// dropCache has the kernel forget the content of all files.
func (m *mount) dropCache() {
	var all func(n *gofs.Inode)
	all = func(n *gofs.Inode) {
		for _, child := range n.Children() {
			all(child)
		}
		if !n.IsDir() {
			_ = n.NotifyContent(0, 0) // it knows nothing of it, then
		}
	}
	all(m.root.EmbeddedInode())
}
