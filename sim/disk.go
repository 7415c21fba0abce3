package sim

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"syscall"

	"github.com/confman/confman/wal"
)

// sectorBytes is what a disk writes as one: in a crash the sectors of a write fare each on its own.
const sectorBytes = 512

// ErrPowerLost is the error of every use of a Disk, or of a file of it, after
// Crash or Kill.
var ErrPowerLost = errors.New("the machine is off")

// Op is an operation on a Disk.
type Op uint8

// The operations that can be made to fail.
const (
	OpCreate Op = iota
	OpOpen
	OpRename
	OpRemove
	OpList
	OpSyncDir
	OpRead
	OpWrite
	OpAllocate
	OpSync
)

var opNames = [...]string{"create", "open", "rename", "remove", "list", "syncdir", "read", "write", "allocate", "sync"}

// String returns the operation's name.
func (o Op) String() string { return opNames[o] }

// Disk is one directory on a disk that does what real ones do to those who do not
// sync: a wal.FS in memory. Not safe for concurrent use; all choices come from the
// generator it was made with.
//
// After a crash each unsynced sector holds what was durable, or what one of the
// writes since left there, or, torn, the front of the newest and the rest
// of an older one. Each unsynced change of a name was done or not, whatever became of
// the others. A Sync that fails (Fault) leaves each sector durable or not, and
// those that are not are shown as written but never become durable, unless they
// are written again: as a page cache does.
type Disk struct {
	// Capacity bounds the sum of the files' sizes in bytes; 0: no bound. What does
	// not fit fails with ENOSPC.
	Capacity int64
	// Fault is asked before each operation; an error it returns is the operation's,
	// which then has not been done, but for OpWrite, where a part of the
	// bytes may have been written, and OpSync. nil: no faults.
	Fault func(op Op, name string) error

	rng     *rand.Rand
	off     bool
	files   map[string]*inode // as the names are now
	durable map[string]*inode // as they were at the last SyncDir
	changes []change          // since then
}

var _ wal.FS = (*Disk)(nil)

// change is one change of names: name now means file (nil: nothing), and so from no longer does.
type change struct {
	from, name string
	file       *inode
}

// inode is a file's content.
type inode struct {
	data        []byte // up to the last byte written; zeros from there to size
	size        int64
	durableSize int64
	dirty       []before // what the unsynced writes overwrote, in order
	ghosts      []before // ascending by sector: not on the disk, and taken for clean
}

// before is a sector as it was; nil is zeros.
type before struct {
	sector int64
	bytes  []byte
}

// NewDisk makes an empty disk.
func NewDisk(rng *rand.Rand) *Disk {
	return &Disk{rng: rng, files: map[string]*inode{}, durable: map[string]*inode{}}
}

// Crash cuts the power and returns the disk as the machine finds it when it is
// back. d, and every file that is open on it, is dead.
func (d *Disk) Crash() *Disk {
	names := maps.Clone(d.durable)
	for _, c := range d.changes {
		if d.rng.IntN(2) == 0 {
			c.apply(names)
		}
	}
	lived := map[*inode]*inode{}
	next := d.successor()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		file := names[name]
		if lived[file] == nil {
			lived[file] = file.crash(d.rng)
		}
		next.files[name] = lived[file]
	}
	next.durable = maps.Clone(next.files)
	return next
}

// Kill ends the process but not the machine: the disk that it returns has
// everything that was written, and what was not synced still is not.
func (d *Disk) Kill() *Disk {
	next := d.successor()
	next.files, next.durable, next.changes = d.files, d.durable, d.changes
	return next
}

func (d *Disk) successor() *Disk {
	if d.off {
		panic("sim: Crash or Kill of a disk that has a successor already")
	}
	d.off = true
	return &Disk{Capacity: d.Capacity, Fault: d.Fault, rng: d.rng, files: map[string]*inode{}, durable: map[string]*inode{}}
}

// FlipBit flips one bit of the byte at offset, on the platter and in the cache.
func (d *Disk) FlipBit(name string, offset int64) error {
	f := d.files[name]
	if f == nil || offset < 0 || offset >= f.size {
		return d.fail(OpWrite, name, fs.ErrNotExist)
	}
	bit := byte(1) << d.rng.IntN(8)
	f.grow(offset + 1)
	f.data[offset] ^= bit
	for _, list := range [][]before{f.dirty, f.ghosts} {
		for i := range list {
			b := &list[i]
			if b.sector == offset/sectorBytes {
				if b.bytes == nil {
					b.bytes = make([]byte, sectorBytes)
				}
				b.bytes[offset%sectorBytes] ^= bit
			}
		}
	}
	return nil
}

// Truncate cuts the file to size bytes, durably.
func (d *Disk) Truncate(name string, size int64) error {
	f := d.files[name]
	if f == nil || size < 0 || size > f.size {
		return d.fail(OpWrite, name, fs.ErrNotExist)
	}
	f.data = f.data[:min(int64(len(f.data)), size)]
	f.size, f.durableSize = size, min(f.durableSize, size)
	return nil
}

// Used is the sum of the files' sizes in bytes.
func (d *Disk) Used() int64 {
	n := int64(0)
	for _, f := range d.files {
		n += f.size
	}
	return n
}

// names are those of all files, ascending.
func (d *Disk) names() []string { return slices.Sorted(maps.Keys(d.files)) }

// written is where the last byte ever written to a file ends; behind it there are only zeros.
func (d *Disk) written(name string) int64 { return int64(len(d.files[name].data)) }

// Create is part of wal.FS.
func (d *Disk) Create(name string) (wal.File, error) {
	if err := d.check(OpCreate, name); err != nil {
		return nil, err
	}
	if d.files[name] != nil {
		return nil, d.fail(OpCreate, name, fs.ErrExist)
	}
	f := &inode{}
	d.change(change{name: name, file: f})
	return &diskFile{disk: d, name: name, inode: f}, nil
}

// Open is part of wal.FS.
func (d *Disk) Open(name string) (wal.File, error) {
	if err := d.check(OpOpen, name); err != nil {
		return nil, err
	}
	f := d.files[name]
	if f == nil {
		return nil, d.fail(OpOpen, name, fs.ErrNotExist)
	}
	return &diskFile{disk: d, name: name, inode: f}, nil
}

// Rename is part of wal.FS.
func (d *Disk) Rename(oldName, newName string) error {
	if err := d.check(OpRename, oldName); err != nil {
		return err
	}
	f := d.files[oldName]
	if f == nil {
		return d.fail(OpRename, oldName, fs.ErrNotExist)
	}
	d.change(change{from: oldName, name: newName, file: f})
	return nil
}

// Remove is part of wal.FS.
func (d *Disk) Remove(name string) error {
	if err := d.check(OpRemove, name); err != nil {
		return err
	}
	if d.files[name] == nil {
		return d.fail(OpRemove, name, fs.ErrNotExist)
	}
	d.change(change{name: name})
	return nil
}

// List is part of wal.FS.
func (d *Disk) List() ([]string, error) {
	if err := d.check(OpList, "."); err != nil {
		return nil, err
	}
	return d.names(), nil
}

// SyncDir is part of wal.FS.
func (d *Disk) SyncDir() error {
	if err := d.check(OpSyncDir, "."); err != nil {
		return err
	}
	if len(d.changes) > 0 {
		d.durable = maps.Clone(d.files)
		d.changes = d.changes[:0]
	}
	return nil
}

func (d *Disk) change(c change) {
	c.apply(d.files)
	d.changes = append(d.changes, c)
}

func (c change) apply(names map[string]*inode) {
	// A rename whose file was renamed or replaced before, in this order of events, takes nothing else away.
	if c.from != "" && names[c.from] == c.file {
		delete(names, c.from)
	}
	if c.file == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.file
	}
}

// check fails an operation if the machine is off or a fault is due.
func (d *Disk) check(op Op, name string) error {
	if d.off {
		return d.fail(op, name, ErrPowerLost)
	}
	if d.Fault != nil {
		if err := d.Fault(op, name); err != nil {
			return d.fail(op, name, err)
		}
	}
	return nil
}

func (d *Disk) fail(op Op, name string, err error) error {
	return &fs.PathError{Op: op.String(), Path: name, Err: err}
}

// room fails if the files together may not grow by n bytes.
func (d *Disk) room(op Op, name string, n int64) error {
	if n > 0 && d.Capacity > 0 && d.Used()+n > d.Capacity {
		return d.fail(op, name, syscall.ENOSPC)
	}
	return nil
}

// diskFile is an open file of a Disk.
type diskFile struct {
	*inode
	disk   *Disk
	name   string
	closed bool
}

func (f *diskFile) check(op Op) error {
	if f.closed {
		return f.disk.fail(op, f.name, fs.ErrClosed)
	}
	return f.disk.check(op, f.name)
}

// ReadAt is part of wal.File.
func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check(OpRead); err != nil {
		return 0, err
	}
	n := int(min(int64(len(p)), max(f.size-off, 0)))
	c := 0
	if off < int64(len(f.data)) {
		c = copy(p[:n], f.data[off:])
	}
	clear(p[c:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt is part of wal.File.
func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check(OpWrite); err != nil {
		if f.closed || f.disk.off {
			return 0, err
		}
		n := f.disk.rng.IntN(len(p) + 1)
		if room := f.disk.room(OpWrite, f.name, off+int64(n)-f.size); room == nil {
			f.write(p[:n], off)
			return n, err
		}
		return 0, err
	}
	if err := f.disk.room(OpWrite, f.name, off+int64(len(p))-f.size); err != nil {
		return 0, err
	}
	f.write(p, off)
	return len(p), nil
}

// Size is part of wal.File.
func (f *diskFile) Size() (int64, error) {
	if f.closed || f.disk.off {
		return 0, f.check(OpRead)
	}
	return f.size, nil
}

// Allocate is part of wal.File.
func (f *diskFile) Allocate(size int64) error {
	if err := f.check(OpAllocate); err != nil {
		return err
	}
	if err := f.disk.room(OpAllocate, f.name, size-f.size); err != nil {
		return err
	}
	f.size = max(f.size, size)
	return nil
}

// Sync is part of wal.File.
func (f *diskFile) Sync() error {
	if err := f.check(OpSync); err != nil {
		if !f.closed && !f.disk.off {
			f.failSync(f.disk.rng)
		}
		return err
	}
	f.dirty = f.dirty[:0]
	f.durableSize = f.size
	return nil
}

// Close is part of wal.File.
func (f *diskFile) Close() error {
	if f.closed {
		return f.disk.fail(OpOpen, f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

// grow makes data at least n long.
func (f *inode) grow(n int64) {
	if n > int64(len(f.data)) {
		f.data = slices.Grow(f.data, int(n)-len(f.data))
		old := len(f.data)
		f.data = f.data[:n]
		clear(f.data[old:])
	}
}

// sector returns a copy of what a sector holds now; nil if it was never written.
func (f *inode) sector(s int64) []byte {
	from := s * sectorBytes
	if from >= int64(len(f.data)) {
		return nil
	}
	b := make([]byte, sectorBytes)
	copy(b, f.data[from:])
	return b
}

func (f *inode) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	for s := off / sectorBytes; s*sectorBytes < end; s++ {
		if old, ok := f.exorcise(s); ok {
			f.dirty = append(f.dirty, old) // the oldest state of it is what the disk has
		}
		f.dirty = append(f.dirty, before{s, f.sector(s)})
	}
	f.grow(end)
	copy(f.data[off:], p)
	f.size = max(f.size, end)
}

// exorcise takes a sector out of the ghosts: it was written again.
func (f *inode) exorcise(sector int64) (before, bool) {
	i := sort.Search(len(f.ghosts), func(i int) bool { return f.ghosts[i].sector >= sector })
	if i == len(f.ghosts) || f.ghosts[i].sector != sector {
		return before{}, false
	}
	g := f.ghosts[i]
	f.ghosts = slices.Delete(f.ghosts, i, i+1)
	return g, true
}

// versions calls do for each unsynced sector, ascending, with what it held
// before each unsynced write, oldest first: the first is what is on the disk.
func (f *inode) versions(do func(sector int64, old []before)) {
	dirty := slices.Clone(f.dirty)
	slices.SortStableFunc(dirty, func(a, b before) int { return int(a.sector - b.sector) })
	for len(dirty) > 0 {
		n := 1
		for n < len(dirty) && dirty[n].sector == dirty[0].sector {
			n++
		}
		do(dirty[0].sector, dirty[:n])
		dirty = dirty[n:]
	}
}

// failSync makes each unsynced sector durable or a ghost.
func (f *inode) failSync(rng *rand.Rand) {
	f.versions(func(_ int64, old []before) {
		if rng.IntN(2) == 0 {
			f.ghosts = append(f.ghosts, old[0])
		}
	})
	slices.SortFunc(f.ghosts, func(a, b before) int { return int(a.sector - b.sector) })
	f.dirty = f.dirty[:0]
	if rng.IntN(2) == 0 {
		f.durableSize = f.size
	}
}

// crash returns what is left of f.
func (f *inode) crash(rng *rand.Rand) *inode {
	left := &inode{data: slices.Clone(f.data), size: f.size}
	for _, g := range f.ghosts {
		left.put(g.sector, g.bytes)
	}
	// Now and then the whole cache was written, or nothing of it.
	mood := rng.IntN(8)
	f.versions(func(sector int64, old []before) {
		switch k := rng.IntN(3 * (len(old) + 1)); {
		case mood == 0:
		case mood == 1:
			left.put(sector, old[0].bytes)
		case k < 2*len(old):
			left.put(sector, old[k/2].bytes)
		case k < 3*len(old):
			torn := f.sector(sector)
			cut := rng.IntN(sectorBytes)
			clear(torn[cut:])
			if o := old[k-2*len(old)].bytes; o != nil {
				copy(torn[cut:], o[cut:])
			}
			left.put(sector, torn)
		}
	})
	if f.durableSize != f.size && rng.IntN(2) == 0 {
		left.size = f.durableSize
	}
	left.durableSize = left.size
	left.data = left.data[:min(int64(len(left.data)), left.size)]
	return left
}

// put makes b (nil: zeros) the content of a sector, as far as data reaches.
func (f *inode) put(sector int64, b []byte) {
	from := sector * sectorBytes
	if from >= int64(len(f.data)) {
		return
	}
	to := f.data[from:min(from+sectorBytes, int64(len(f.data)))]
	clear(to)
	copy(to, b)
}
