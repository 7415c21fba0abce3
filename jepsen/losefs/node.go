package losefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is an object as the kernel asks for it.
type node struct {
	gofs.Inode
	*object
}

// What the kernel may ask of it. For anything else it is told that there is no such thing.
var _ interface {
	gofs.NodeLookuper
	gofs.NodeGetattrer
	gofs.NodeSetattrer
	gofs.NodeStatfser
	gofs.NodeOpener
	gofs.NodeCreater
	gofs.NodeMkdirer
	gofs.NodeUnlinker
	gofs.NodeRmdirer
	gofs.NodeRenamer
	gofs.NodeReaddirer
	gofs.NodeFsyncer
} = (*node)(nil)

// Lookup is part of gofs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if errno := n.disk.powered(); errno != 0 {
		return nil, errno
	}
	n.disk.names.RLock()
	defer n.disk.names.RUnlock()
	return n.lookup(ctx, name, out)
}

// lookup needs names.
func (n *node) lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	path, err := n.openAt(name)
	if err != nil {
		return nil, gofs.ToErrno(err)
	}
	o, st, err := n.disk.object(path, n.object)
	if err != nil {
		return nil, gofs.ToErrno(err)
	}
	fillAttr(&out.Attr, st)
	return n.NewInode(ctx, &node{object: o}, gofs.StableAttr{Mode: st.Mode & unix.S_IFMT, Ino: o.ino}), 0
}

func fillAttr(out *fuse.Attr, st *unix.Stat_t) {
	*out = fuse.Attr{
		Ino: st.Ino, Size: uint64(st.Size), Blocks: uint64(st.Blocks), Mode: st.Mode, Nlink: uint32(st.Nlink),
		Atime: uint64(st.Atim.Sec), Atimensec: uint32(st.Atim.Nsec), Mtime: uint64(st.Mtim.Sec), Mtimensec: uint32(st.Mtim.Nsec),
		Ctime: uint64(st.Ctim.Sec), Ctimensec: uint32(st.Ctim.Nsec), Owner: fuse.Owner{Uid: st.Uid, Gid: st.Gid}, Blksize: blockBytes,
	}
}

func (n *node) attr(out *fuse.AttrOut) syscall.Errno {
	var st unix.Stat_t
	if err := unix.Fstat(n.fd(), &st); err != nil {
		return gofs.ToErrno(err)
	}
	fillAttr(&out.Attr, &st)
	return 0
}

// Getattr is part of gofs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if errno := n.disk.powered(); errno != 0 {
		return errno
	}
	return n.attr(out)
}

// Setattr is part of gofs.NodeSetattrer. Owners and times stay as they are.
func (n *node) Setattr(_ context.Context, _ gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if errno := n.disk.writable(); errno != 0 {
		return errno
	}
	if size, ok := in.GetSize(); ok {
		if errno := n.truncateTo(int64(size)); errno != 0 {
			return errno
		}
	}
	if mode, ok := in.GetMode(); ok {
		if err := unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", n.fd()), mode&0o7777); err != nil {
			return gofs.ToErrno(err)
		}
	}
	return n.attr(out)
}

func (n *node) truncateTo(size int64) syscall.Errno {
	f, err := n.open(os.O_RDWR)
	if err != nil {
		return gofs.ToErrno(err)
	}
	return gofs.ToErrno(errors.Join(n.truncate(f, size), f.Close()))
}

// Statfs is part of gofs.NodeStatfser.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	if errno := n.disk.powered(); errno != 0 {
		return errno
	}
	return n.disk.statfs(out)
}

// access is how the file below must be open: what is to be overwritten is read first.
func access(flags uint32) int {
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return unix.O_RDONLY
	}
	return unix.O_RDWR
}

// Open is part of gofs.NodeOpener. The kernel keeps what it knows of the content: all that changes it goes through the kernel.
func (n *node) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	check := n.disk.powered
	if access(flags) == unix.O_RDWR {
		check = n.disk.writable
	}
	if errno := check(); errno != 0 {
		return nil, 0, errno
	}
	f, err := n.open(access(flags))
	if err != nil {
		return nil, 0, gofs.ToErrno(err)
	}
	if flags&unix.O_TRUNC != 0 {
		if err := n.truncate(f, 0); err != nil {
			return nil, 0, gofs.ToErrno(errors.Join(err, f.Close()))
		}
	}
	return &handle{n.object, f}, fuse.FOPEN_KEEP_CACHE, 0
}

// Create is part of gofs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	if errno := n.disk.writable(); errno != 0 {
		return nil, nil, 0, errno
	}
	n.disk.names.Lock()
	defer n.disk.names.Unlock()
	f, err := openAt(n.path, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode&0o7777)
	if err != nil {
		return nil, nil, 0, gofs.ToErrno(err) // the kernel asked before whether it exists, and holds the directory
	}
	n.made(name)
	in, errno := n.lookup(ctx, name, out)
	if errno != 0 {
		return nil, nil, 0, gofs.ToErrno(errors.Join(errno, f.Close()))
	}
	return in, &handle{in.Operations().(*node).object, f}, fuse.FOPEN_KEEP_CACHE, 0
}

// Mkdir is part of gofs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if errno := n.disk.writable(); errno != 0 {
		return nil, errno
	}
	n.disk.names.Lock()
	defer n.disk.names.Unlock()
	if err := unix.Mkdirat(n.fd(), name, mode&0o7777); err != nil {
		return nil, gofs.ToErrno(err)
	}
	n.made(name)
	return n.lookup(ctx, name, out)
}

// Unlink is part of gofs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	if errno := n.disk.writable(); errno != 0 {
		return errno
	}
	return gofs.ToErrno(n.remove(name, false))
}

// Rmdir is part of gofs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	if errno := n.disk.writable(); errno != 0 {
		return errno
	}
	return gofs.ToErrno(n.remove(name, true))
}

// Rename is part of gofs.NodeRenamer.
func (n *node) Rename(_ context.Context, from string, parent gofs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	if errno := n.disk.writable(); errno != 0 {
		return errno
	}
	if other, ok := parent.(*node); !ok || other.object != n.object {
		return syscall.EXDEV
	}
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	return gofs.ToErrno(n.rename(from, to, flags&unix.RENAME_NOREPLACE != 0))
}

// Readdir is part of gofs.NodeReaddirer.
func (n *node) Readdir(context.Context) (gofs.DirStream, syscall.Errno) {
	if errno := n.disk.powered(); errno != 0 {
		return nil, errno
	}
	n.disk.names.RLock()
	defer n.disk.names.RUnlock()
	f, err := n.open(os.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return nil, gofs.ToErrno(err)
	}
	names, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, gofs.ToErrno(err)
	}
	var list []fuse.DirEntry
	for _, e := range names {
		entry := fuse.DirEntry{Name: e.Name(), Mode: unix.S_IFREG}
		if e.IsDir() {
			entry.Mode = unix.S_IFDIR
		}
		list = append(list, entry)
	}
	return gofs.NewListDirStream(list), 0
}

// Fsync is part of gofs.NodeFsyncer: of files and directories. It makes no difference whether times must be kept, too.
func (n *node) Fsync(ctx context.Context, f gofs.FileHandle, _ uint32) syscall.Errno {
	if n.isDir() {
		return n.syncNames(ctx)
	}
	if h, ok := f.(*handle); ok {
		return h.object.sync(ctx)
	}
	return n.sync(ctx)
}

// handle is an open file.
type handle struct {
	object *object
	f      *os.File
}

var _ interface {
	gofs.FileReader
	gofs.FileWriter
	gofs.FileAllocater
	gofs.FileReleaser
} = (*handle)(nil)

// Read is part of gofs.FileReader.
func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := h.object.disk.readable(); errno != 0 {
		return nil, errno
	}
	n, err := unix.Pread(int(h.f.Fd()), dest, off)
	if err != nil {
		return nil, gofs.ToErrno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write is part of gofs.FileWriter.
func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := h.object.disk.writable(); errno != 0 {
		return 0, errno
	}
	n, err := h.object.write(h.f, data, off)
	return uint32(n), gofs.ToErrno(err)
}

// Allocate is part of gofs.FileAllocater.
func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := h.object.disk.writable(); errno != 0 {
		return errno
	}
	if mode != 0 {
		return syscall.EOPNOTSUPP
	}
	return gofs.ToErrno(h.object.allocate(h.f, int64(off), int64(size)))
}

// Release is part of gofs.FileReleaser.
func (h *handle) Release(context.Context) syscall.Errno { return gofs.ToErrno(h.f.Close()) }
