package fsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"github.com/confman/confman/faultpoint"
)

// Store is the replicated state of one node: a bbolt database, and in memory
// what was applied since its last commit.
//
// Readers never wait: they load one pointer to a snapshot, which is replaced
// after each Apply and each Commit and never changed.
type Store struct {
	opts Options
	path string
	// database is the file that flushes go to. Of the goroutine that commits.
	*database
	open sync.WaitGroup // bases that are pinned, of this file and of those before

	published atomic.Pointer[snapshot] // nil once closed

	// Of the goroutine that applies:
	state   logical
	policy  *Policy
	active  *overlay
	windows map[uint64]*window
	pasts   pasts
	scratch []byte

	// mu guards what Apply and Commit both publish. Held for moments only.
	mu     sync.Mutex
	frozen *overlay // nil when no flush is under way
	base   *base    // holds one reference

	// Of the goroutine that commits:
	tallies map[bucket][]rangeTally

	// packing is held by Commit, and by each step of a Repack: they take turns.
	packing sync.Mutex
	repack  *Repack // nil: none is under way

	overlayBytes atomic.Int64
	usedBytes    atomic.Int64
	scrub        scrubber
}

// snapshot is one consistent state of the store, immutable. Newer shadows older:
// active over frozen over base.
//
// Invariant: base is the commit that frozen (or, without one, active) starts
// from, so each change is in exactly one of the three.
type snapshot struct {
	state   State
	policy  *Policy // is what its bucket namespaces holds
	denials uint64  // number of the newest row of bucket denied
	active  *overlay
	frozen  *overlay // may be nil
	base    *base
}

// ClusterID is 128 random bits, chosen when a cluster forms.
type ClusterID [16]byte

// Genesis is the state at index 0, equal on all members.
type Genesis struct {
	Cluster ClusterID
	Members []Member // raft ids 1..n in sorted order of names; all voters. What else they are, is made here
	Version uint8    // of commands, that all of them know; 0: Version
}

// Options of a store. The zero value of a field means its default.
type Options struct {
	// MaxOverlayBytes bounds the overlay, frozen part included (default
	// DefaultOverlayBytes). To keep to it is the driver's part: it applies only
	// while OverlayBytes is below. Apply refuses at twice the bound.
	MaxOverlayBytes int
	// MmapBytes is how much of the database is mapped (default DefaultMmapBytes of
	// address space, which costs no memory; sim uses less), at least twice its size
	// when opened, rounded up as bbolt does. The database never grows beyond: a
	// flush that needs more fails, and IsFull says so. Of less than 32 MiB only half
	// can be used.
	MmapBytes int
	// MaxVersion is the newest command version that is known (default Version). Less stands for the
	// program before this one, in tests.
	MaxVersion uint8
	// NoSync skips fsync in bbolt. For package sim only, where the file lives in memory.
	NoSync bool
	// Pause, unless nil, is called by VerifyImage between two parts of its work: it may wait, and
	// leave processor and disk to others.
	Pause func()
}

func (o Options) withDefaults() Options {
	if o.MaxOverlayBytes == 0 {
		o.MaxOverlayBytes = DefaultOverlayBytes
	}
	if o.MmapBytes == 0 {
		o.MmapBytes = DefaultMmapBytes
	}
	if o.MaxVersion == 0 {
		o.MaxVersion = Version
	}
	return o
}

// Create makes a new database file at path with the state at index 0, durably.
// fs.ErrExist if there is one. A crash leaves either nothing at path or all of
// it; a remainder under another name is removed by the next Create.
func Create(path string, g Genesis, opts Options) error {
	opts = opts.withDefaults()
	if err := g.validate(); err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("fsm: create %s: %w", path, err)
	}
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("fsm: create %s: %w", path, err)
	}
	if err := writeGenesis(temporary, &g, opts); err != nil {
		return fmt.Errorf("fsm: create %s: %w", path, err)
	}
	if err := faultpoint.Rename(temporary, path); err != nil {
		return fmt.Errorf("fsm: create %s: %w", path, err)
	}
	if opts.NoSync {
		return nil
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("fsm: create %s: %w", path, err)
	}
	return nil
}

func (g *Genesis) validate() error {
	for i, m := range g.Members {
		if m.RaftID != uint64(i+1) {
			return fmt.Errorf("fsm: member %q has raft id %d, want %d", m.Name, m.RaftID, i+1)
		}
		if i > 0 && g.Members[i-1].Name >= m.Name {
			return fmt.Errorf("fsm: members are not sorted by name: %q before %q", g.Members[i-1].Name, m.Name)
		}
	}
	return nil
}

// writeGenesis makes a database with the state at index 0.
func writeGenesis(path string, g *Genesis, opts Options) (err error) {
	db, err := bbolt.Open(path, 0o600, boltOptions(opts, nil))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.Update(func(tx *bbolt.Tx) error {
		for in := current; in <= metadata; in++ {
			if _, err := tx.CreateBucket([]byte(in.String())); err != nil {
				return err
			}
		}
		for _, in := range records {
			if err := putRange(tx, in, &rangeTally{}); err != nil {
				return err
			}
		}
		chain := genesisChain(g)
		l := logical{version: g.Version, chain: chain, floorChain: chain}
		if l.version == 0 {
			l.version = Version
		}
		l.found(g)
		return tx.Bucket([]byte(metadata.String())).Put([]byte(metaKey), l.encode())
	})
}

// found makes the cluster that of g, whose members have all of its voices.
func (l *logical) found(g *Genesis) {
	l.cluster, l.members, l.conf, l.lastRaftID = g.Cluster, nil, ConfState{}, 0
	for _, m := range g.Members {
		l.members = append(l.members, Member{RaftID: m.RaftID, Name: m.Name, Want: Voter, Life: Life(g.Cluster), Version: l.version})
		l.conf.Voters = append(l.conf.Voters, m.RaftID)
		l.lastRaftID = m.RaftID
	}
}

// boltOptions are the same wherever a database is opened, so that equal
// histories give equal files. file, unless nil, is opened and locked already.
func boltOptions(opts Options, file *os.File) *bbolt.Options {
	o := &bbolt.Options{
		FreelistType:    bbolt.FreelistArrayType,
		PageSize:        pageBytes,
		InitialMmapSize: opts.MmapBytes,
		NoSync:          opts.NoSync,
		NoGrowSync:      opts.NoSync,
		NoStatistics:    true,
		Timeout:         time.Second, // for the lock, which nobody should hold
	}
	if file != nil {
		o.OpenFile = func(string, int, os.FileMode) (*os.File, error) { return file, nil }
		// A remap would wait for the pinned base, and that for the remap: bbolt
		// refuses to grow so far instead.
		o.MaxSize = opts.MmapBytes - 1
	}
	return o
}

func syncDir(dir string) error {
	if err := faultpoint.Hit("fsm/before-dir-sync"); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // the operator's data directory
	if err != nil {
		return err
	}
	err = errors.Join(d.Sync(), d.Close())
	if err == nil {
		faultpoint.DirSynced(dir)
	}
	return err
}

// Open opens the database at path. It takes as long for many records as for few.
//
// Errors: fs.ErrNotExist; ErrLocked; ErrDamaged.
func Open(path string, opts Options) (*Store, error) {
	s, err := openStore(path, opts.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("fsm: open %s: %w", path, err)
	}
	return s, nil
}

func openStore(path string, opts Options) (_ *Store, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // the operator's data directory
	if err != nil {
		return nil, err
	}
	s := &Store{opts: opts, path: path, database: newDatabase(file), active: newOverlay(), pasts: pasts{}}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	// The same lock that bbolt takes, taken before the file is looked at.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := os.Remove(path + repackSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// The kernel's read-ahead would fill memory with pages nobody asked for.
	txid, err := s.mapFile(unix.MADV_RANDOM)
	if err != nil {
		return nil, err
	}
	if err := s.openBolt(path, s.opts); err != nil {
		return nil, err
	}
	if s.base, err = s.openBase(txid); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.publish()
	return s, nil
}

// mapFile maps the database and checks what bbolt takes on trust when it opens
// one: the meta pages and the freelist. It returns the newest transaction. advice
// tells the kernel how the file is read.
func (s *Store) mapFile(advice int) (txid uint64, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	info, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < 4*pageBytes {
		return 0, damaged("%d bytes are no database", info.Size())
	}
	s.opts.MmapBytes = mmapSize(max(int64(s.opts.MmapBytes), 2*info.Size()))
	if err := s.mapMemory(s.opts.MmapBytes, advice); err != nil {
		return 0, err
	}
	found := false
	for i := range 2 {
		if m, ok := parseMeta(s.mem[i*pageBytes : (i+1)*pageBytes]); ok && (!found || m.txid > txid) {
			txid, found = m.txid, true
		}
	}
	if !found {
		return 0, damaged("both meta pages are")
	}
	_, err = newPages(s.mem[:min(int64(len(s.mem)), info.Size())], txid)
	return txid, err
}

// mmapSize rounds n up the way bbolt does, so that both mean the same size.
func mmapSize(n int64) int {
	const gib = 1 << 30
	if n > gib {
		return int((n + gib - 1) / gib * gib)
	}
	size := int64(1 << 15)
	for size < n {
		size *= 2
	}
	return int(size)
}

// load reads the state record, the windows and the tallies.
func (s *Store) load() (err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	if s.state, err = s.base.logical(); err != nil {
		return err
	}
	if s.windows, err = s.base.windows(); err != nil {
		return err
	}
	var total sum
	for _, w := range s.windows {
		total.add(w.sum)
	}
	if total != s.state.windows {
		return damaged("bucket %s: does not add up to the state's sum", windows)
	}
	if s.policy, err = s.base.policy(s.state.namespaces); err != nil {
		return err
	}
	s.tallies, err = s.base.tallies(&s.state)
	return err
}

// logical reads the state record.
func (b *base) logical() (_ logical, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	t, err := b.pages.openTree(metadata)
	if err != nil {
		return logical{}, err
	}
	v, isBucket, found, err := t.lookup([]byte(metaKey))
	if err != nil {
		return logical{}, err
	}
	if !found || isBucket {
		return logical{}, damaged("the state record is missing")
	}
	return decodeLogical(v)
}

// windows reads what is remembered of all origins.
func (b *base) windows() (map[uint64]*window, error) {
	t, err := b.pages.openTree(windows)
	if err != nil {
		return nil, err
	}
	all := map[uint64]*window{}
	c := cursor{t: &t, strict: true}
	for ok, err := c.seek(nil); ; ok, err = c.next() {
		if err != nil || !ok {
			return all, err
		}
		w, err := decodeWindow(string(c.key), c.val)
		if err != nil {
			return nil, err
		}
		all[w.node] = w
	}
}

// State returns the newest state; the zero State once the store is closed. Any
// goroutine.
func (s *Store) State() State {
	if p := s.published.Load(); p != nil {
		return p.state
	}
	return State{}
}

// OverlayBytes is the size in memory of what is not flushed, the frozen part
// included. Any goroutine.
func (s *Store) OverlayBytes() int { return int(s.overlayBytes.Load()) }

// UsedBytes is what the store takes of its quota: the pages of the database that are in use, and
// the overlay, which is going to be such pages. Free pages do not count: what is written next
// goes there. Any goroutine.
func (s *Store) UsedBytes() int64 { return s.usedBytes.Load() }

// Size is how large the database's file is, and how much of it held nothing when it was committed
// last: pages that the next commits use before the file grows. 0 once the store is closed. Any goroutine.
func (s *Store) Size() (bytes, freeBytes int64) {
	p := s.acquire()
	if p == nil {
		return 0, 0
	}
	defer p.base.release()
	info, err := p.base.of.file.Stat() // of the store there may be another one by now
	if err != nil {
		return 0, 0
	}
	free := p.base.pages.freeCount() + int(info.Size()/pageBytes) - int(p.base.pages.meta.pages)
	return info.Size(), max(0, int64(free)) * pageBytes
}

// acquire returns the newest snapshot with a reference to its base, or nil once
// the store is closed. Any goroutine.
func (s *Store) acquire() *snapshot {
	for {
		p := s.published.Load()
		// A base whose last reference is gone was replaced before: look again.
		if p == nil || p.base.acquire() {
			return p
		}
	}
}

// publish makes what was applied visible to readers. Of the applying goroutine.
func (s *Store) publish() {
	state := s.state.state()
	active := s.active.snapshot()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishLocked(&snapshot{state: state, policy: s.policy, denials: s.state.denials, active: active})
}

// publishLocked completes p and publishes it. s.mu is held.
func (s *Store) publishLocked(p *snapshot) {
	p.frozen, p.base = s.frozen, s.base
	overlay := int64(p.active.size() + p.frozen.size())
	s.overlayBytes.Store(overlay)
	s.usedBytes.Store(overlay + p.base.used)
	s.published.Store(p)
}

// Close closes the database without flushing: what the overlay holds comes back
// from the log. Waits for open views and images. Not while a Commit or a Scrub
// runs, and not twice.
func (s *Store) Close() error {
	s.mu.Lock()
	s.published.Store(nil)
	s.mu.Unlock()
	s.leaveRepack()
	s.base.release()
	s.open.Wait()
	return s.release()
}

// abandon gives back what a failed Open took.
func (s *Store) abandon() {
	if s.base != nil {
		s.base.release()
	}
	_ = s.release()
}

// IsFull reports whether err, from Commit or Create, says that the disk or the
// mapped size is used up.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, bolterrors.ErrMaxSizeReached)
}
