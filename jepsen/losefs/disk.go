package losefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Options say what kind of disk it is.
type Options struct {
	// Seed decides what a loss of power leaves.
	Seed uint64
	// KeepNames has a sync of a file keep the names in its directory as they are by then, as ext4 does for a new file.
	KeepNames bool
	// Torn has some pieces be lost in part: their beginning is old and their end new, or the other way round.
	Torn bool
}

// State is how a disk is. The zero value is a sound one.
type State struct {
	Bytes     int64         // 0: as much as there is; else what there is room for, used or not. A file takes its length, holes too
	SyncDelay time.Duration // more for each sync
	SyncError bool          // syncs fail with EIO, and what was not synced may be lost
	ReadError bool          // reads fail with EIO
	ReadOnly  bool          // changes fail with EROFS
}

// Disk is a directory and what of it is not durable. Its methods may be called from several goroutines, but for Mount, Unmount,
// LosePower, Settle and Close, of which one may run at a time.
type Disk struct {
	o      Options
	files  string   // the tree that is mounted
	bin    string   // what was removed, and may come back: flat
	tree   *os.File // files
	trash  *os.File // bin; both are opened at once: nothing can be renamed between the views of two namespaces
	losses uint64

	// names guards what is in directories and their changes. Lookups share it.
	names   sync.RWMutex
	removed uint64 // counts the names in the trash

	mu      sync.Mutex
	objects map[uint64]*object // by inode number, as long as it may be asked for or has something that is not durable
	made    uint64             // counts objects
	state   State
	used    int64         // the lengths of all files
	cut     chan struct{} // closed: there is no power
	left    int           // changes and syncs until power is cut; 0: as many as they like
	hits    uint64        // requests that state refused or slowed down
	mount   *mount        // nil: it is not mounted
}

// New makes a disk of a directory, which it makes if there is none. What it holds is durable.
func New(dir string, o Options) (*Disk, error) {
	d := &Disk{o: o, files: filepath.Join(dir, "files"), bin: filepath.Join(dir, "trash"), objects: map[uint64]*object{}, cut: make(chan struct{})}
	if err := os.MkdirAll(d.files, 0o700); err != nil {
		return nil, err
	}
	// What is in the trash was removed, as far as anybody knows who sees only the directory.
	if err := errors.Join(os.RemoveAll(d.bin), os.Mkdir(d.bin, 0o700)); err != nil {
		return nil, err
	}
	var err error
	if d.tree, err = os.Open(d.files); err != nil {
		return nil, err
	}
	if d.trash, err = os.Open(d.bin); err != nil {
		return nil, errors.Join(err, d.tree.Close())
	}
	return d, nil
}

// Files is the directory that holds what the disk holds. It must not be changed while the disk is mounted, nor before Settle.
func (d *Disk) Files() string { return d.files }

// Close gives up the memory of what is not durable. The disk must not be mounted.
func (d *Disk) Close() error {
	d.forget()
	return errors.Join(d.tree.Close(), d.trash.Close())
}

// SetState makes the disk such.
func (d *Disk) SetState(s State) {
	d.mu.Lock()
	before, m := d.state, d.mount
	d.state = s
	d.mu.Unlock()
	if s.ReadError && !before.ReadError && m != nil {
		m.dropCache()
	}
}

// Hits is how many requests were refused or slowed down until now because of how the disk was: none, and nobody noticed.
func (d *Disk) Hits() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hits
}

// Cut is the moment at which power is lost: no request succeeds from now on until the disk is mounted anew, and none waits
// any longer.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutNow()
}

// cutNow needs mu.
func (d *Disk) cutNow() {
	select {
	case <-d.cut:
	default:
		close(d.cut)
	}
}

// CutAfter cuts the power after so many more requests to change or sync something; 0 takes it back.
func (d *Disk) CutAfter(requests int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.left = requests
}

// count notes a request to change or sync something.
func (d *Disk) count() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		return
	}
	if d.left--; d.left == 0 {
		d.cutNow()
	}
}

// Settle makes all durable as it is, as a disk does by itself in time. It must not be mounted; its Files may be changed then.
func (d *Disk) Settle() error {
	if d.Mounted() {
		return errMounted
	}
	d.forget()
	return emptyDir(d.bin)
}

var errMounted = errors.New("losefs: the disk is mounted")

// forget drops what is remembered.
func (d *Disk) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.objects {
		_ = o.path.Close() // it was open for nothing but its name
	}
	clear(d.objects)
}

// powered is EIO if there is no power.
func (d *Disk) powered() syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.cut:
		return syscall.EIO
	default:
		return 0
	}
}

// writable says why nothing can be changed, if so.
func (d *Disk) writable() syscall.Errno {
	d.count()
	if errno := d.powered(); errno != 0 {
		return errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.ReadOnly {
		d.hits++
		return syscall.EROFS
	}
	return 0
}

// readable says why nothing can be read, if so.
func (d *Disk) readable() syscall.Errno {
	if errno := d.powered(); errno != 0 {
		return errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.ReadError {
		d.hits++
		return syscall.EIO
	}
	return 0
}

// take takes room for more bytes, or gives it back if they are less.
func (d *Disk) take(n int64) syscall.Errno {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > 0 && d.state.Bytes > 0 && d.used+n > d.state.Bytes {
		d.hits++
		return syscall.ENOSPC
	}
	d.used += n
	return 0
}

// awaitSync takes as long as a sync must, and says whether it fails: with EINTR if the one who asked is interrupted, or ends.
func (d *Disk) awaitSync(ctx context.Context) syscall.Errno {
	d.count()
	d.mu.Lock()
	delay, cut := d.state.SyncDelay, d.cut
	if delay > 0 {
		d.hits++
	}
	d.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-cut:
		case <-ctx.Done():
			return syscall.EINTR
		}
	}
	if errno := d.powered(); errno != 0 {
		return errno
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.SyncError {
		d.hits++
		return syscall.EIO
	}
	return 0
}

// statfs is what the disk says of its size.
func (d *Disk) statfs(out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.files, &st); err != nil {
		return gofs.ToErrno(err)
	}
	out.FromStatfsT(&st)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Bytes > 0 {
		out.Bsize, out.Frsize = blockBytes, blockBytes
		out.Blocks = uint64(d.state.Bytes / blockBytes)
		out.Bfree = uint64(max(0, d.state.Bytes-d.used) / blockBytes)
		out.Bavail = out.Bfree
	}
	return 0
}

// measure finds out what is used.
func (d *Disk) measure() error {
	var used int64
	err := filepath.WalkDir(d.files, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			used += info.Size()
		}
		return err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used = used
	return err
}

// emptyDir removes what is in a directory.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// object is a file or a directory, whatever its name.
type object struct {
	disk   *Disk
	path   *os.File // without the right to read or write: others are opened by it
	ino    uint64
	number uint64 // in the order in which they were first asked for
	parent *object

	// Of a directory, guarded by Disk.names: what happened to names in it that is not durable, oldest first, and how much was before that.
	changes []change
	durable uint64

	file // of a file
}

// object finds the one that is open as path, or makes one.
func (d *Disk) object(path *os.File, parent *object) (*object, *unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(path.Fd()), &st); err != nil {
		return nil, nil, errors.Join(err, path.Close())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.objects[st.Ino]; o != nil {
		return o, &st, path.Close()
	}
	d.made++
	o := &object{disk: d, path: path, ino: st.Ino, number: d.made, parent: parent}
	o.size, o.kept = st.Size, st.Size
	d.objects[st.Ino] = o
	return o, &st, nil
}

// open opens the object for itself.
func (o *object) open(flags int) (*os.File, error) {
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", o.path.Fd()), flags|unix.O_CLOEXEC, 0)
}

// openAt opens a name in a directory, for nothing but to know which it is.
func (o *object) openAt(name string) (*os.File, error) {
	return openAt(o.path, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
}

func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}
