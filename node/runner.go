package node

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// RunnerConfig is what a node runs with.
type RunnerConfig struct {
	Settings
	// Dir is the data directory; it is made if it does not exist, and locked.
	Dir string
	// Name is this node's; Names are all configured members, Name among them.
	Name  string
	Names []string
	// Dial makes the transport. It is called once, before the cluster is formed.
	Dial func(self Peering, h transport.Handler) (Transport, error)
	// MaxClockDriftPPM is how much faster or slower than true time this node's monotonic clock
	// may run, in parts of a million, less than all of it (default DefaultClockDriftPPM): a proof
	// of freshness is widened by it.
	MaxClockDriftPPM int
	// Resolve says where a member listens for the others, host:port, of whom the state does not say so;
	// "": not known.
	Resolve func(name string) string
	// Seat is what a node with an empty data directory joins a cluster by; nil: it forms one with Names. To a
	// node that has joined already it is no matter.
	Seat *Seat
	// StoreQuotaBytes bounds what of the store is in use (default DefaultStoreQuotaBytes). Once it is
	// reached, this node refuses what would make it larger (ErrQuota), and takes all else.
	StoreQuotaBytes int64
	// MinFreeBytes is the floor of the free space on the disk of Dir: below, no writes are taken
	// (ErrStorageFull), here and of others if this node leads, until there is a quarter more. 0: none.
	MinFreeBytes int64
	// Bootstrap is the subject to be the cluster's first administrator. Once the cluster is formed the
	// node has it bound, unless somebody administers the cluster already; "": nobody.
	Bootstrap string
	// Backups are made by this node beside those that are asked for.
	Backups Schedule
	// Logger takes what happens to the node; nil: nothing is logged.
	Logger *slog.Logger
	// Now is time.Now, but in tests: of what is only shown, and of the schedule of backups.
	Now func() time.Time
	// OnCopy is told what this node did for traced writes that other nodes had accepted, by the loop:
	// it must not wait. nil: nobody.
	OnCopy func(*Copied)

	// openFS makes the file systems under Dir, and logOptions shape the log: tests
	// inject faults here, and make segments small.
	openFS     func(path string) wal.FS
	logOptions wal.Options
	// diskFree measures the free space, every diskInterval.
	diskFree     func(path string) (int64, error)
	diskInterval time.Duration
}

// Peering is what the transport must know about the node it serves.
type Peering struct {
	RaftID      uint64
	Incarnation uint64
	// Peers are the other members, as far as they are known.
	Peers []transport.Peer
}

// Transport is what the runner asks of the wire.
type Transport interface {
	transport.Transport
	// SetCluster says which cluster this node belongs to: from then on only its members are heard. Before, only Form messages pass.
	SetCluster(id fsm.ClusterID)
	// SetMembers says who the members are from now on, this node among them or not: all others are
	// refused and forgotten. Those whose raft id is at most last have been members, and are
	// told that they are none any more.
	SetMembers(members []transport.Peer, last uint64)
	// Close stops listening and closes all connections.
	Close() error
}

// Runner runs a Core on real disks, clocks and networks. Safe for concurrent use.
//
// One goroutine, the loop, owns the core (and the formation before it). It takes
// inputs from the inbox and never waits for anything but the inbox and the
// ticker. Log, store, flush and scrub have a worker each, fed through queues that
// the core's own limits bound.
type Runner struct {
	cfg  RunnerConfig
	log  *slog.Logger
	dir  *dataDir
	wire Transport

	inbox inbox
	loop  loopState
	meter meter

	places   Membership                 // as it was at the start: with where members listen, as the seat said
	joining  bool                       // it has a seat, and does not form a cluster
	member   atomic.Pointer[member]     // nil until the cluster is formed
	drained  atomic.Bool                // clients should go elsewhere
	progress atomic.Pointer[[]Progress] // of a leader, after its last tick
	ahead    atomic.Int64               // of Go's clock, bootTime at the last tick
	changed  occasion                   // the status
	status   atomic.Pointer[Status]     // the core's, after its last step; nil until formed
	waiting  atomic.Pointer[[]string]
	room     room
	applied  occasion // entries were applied, or an image installed
	flushed  occasion // the database holds more than it did
	backing  atomic.Bool
	// lastBackup is when the newest scheduled one was made; nil: none is known.
	lastBackup atomic.Pointer[time.Time]
	watches    *Watches
	// watching is held while watches is told of a view, and while another store takes the
	// place of a damaged one: it must not be told of that one afterwards.
	watching sync.Mutex
	helpers  sync.WaitGroup // goroutines that ask of the node what clients may

	stop     chan struct{} // closed when the node is to stop
	done     chan struct{} // closed when the node has stopped
	released chan struct{} // closed when nothing of the directory is open

	mu      sync.Mutex
	stopped bool  // stop is closed
	err     error // why, or nil after Close
}

// member is what a node has once its cluster is formed.
type member struct {
	identity Identity
	seen     *fsm.Member   // the first of those that were looked at last, and the configuration; the apply worker's
	seenConf fsm.ConfState // with that
	kept     Identity      // with the membership that was made durable last; the apply worker's
	core     *Core         // the loop's
	log      *wal.Log
	// store is nil if the node started without a usable one, until an image takes its
	// place. The apply worker replaces it.
	store   atomic.Pointer[fsm.Store]
	broken  atomic.Bool                // the store is damaged: nothing more is done with it
	repack  atomic.Pointer[fsm.Repack] // begun last; nil: none
	retired sync.WaitGroup             // stores that images replaced and that are still read from
	workers workers
}

// state is the store's; without one it says only what cluster it is of.
func (m *member) state() fsm.State {
	if s := m.store.Load(); s != nil {
		return s.State()
	}
	return m.identity.WithoutStore()
}

// version is of the commands that the cluster uses; the oldest as long as that is not known.
func (m *member) version() uint8 { return max(m.state().Version, fsm.MinVersion) }

// Start opens the data directory and runs the node in the background until Close
// or a fault. It returns before the cluster is formed.
//
// Errors, besides those of the file system: ErrLocked; ErrIdentityDamaged;
// ErrDiskLost, if the node was a member and its log, or its store and the means
// to rebuild it, are gone; wal.ErrDamaged; fsm.ErrDamaged; ErrInconsistent; a
// directory that belongs to another node or to a cluster of other members.
func Start(cfg RunnerConfig) (*Runner, error) {
	cfg.Settings = repackSoon(cfg.withDefaults())
	def(&cfg.MaxClockDriftPPM, DefaultClockDriftPPM)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.openFS == nil {
		cfg.openFS = dirFS
	}
	if cfg.diskFree == nil {
		cfg.diskFree = diskFree
	}
	def(&cfg.StoreQuotaBytes, DefaultStoreQuotaBytes)
	def(&cfg.diskInterval, diskInterval)
	if !slices.Contains(cfg.Names, cfg.Name) {
		return nil, fmt.Errorf("node: %s is not among the configured members %v", cfg.Name, cfg.Names)
	}
	if cfg.Bootstrap != "" {
		if err := fsm.ValidateSubject(cfg.Bootstrap); err != nil {
			return nil, fmt.Errorf("node: Bootstrap: %w", err)
		}
	}
	r := &Runner{
		cfg:      cfg,
		log:      cfg.Logger.With(slog.String("node", cfg.Name)),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
		released: make(chan struct{}),
		watches:  NewWatches(cfg.Watch),
	}
	r.inbox.init()
	r.loop.waiters = make(map[uint64]*waiter)
	r.loop.timing.init()
	r.loop.timing.onCopy = cfg.OnCopy
	if err := r.open(); err != nil {
		return nil, err
	}
	if err := r.look(); err != nil {
		r.room.free.Store(-1)
		r.log.Warn("the free space of the disk cannot be found out", slogError(err))
	}
	r.helpers.Go(r.watchDisk)
	r.helpers.Go(r.watchLoop)
	if cfg.Bootstrap != "" {
		r.helpers.Go((&bootstrap{node: r, name: cfg.Name, subject: cfg.Bootstrap, stop: r.stop, now: cfg.Now, log: r.log}).run)
	}
	if cfg.Backups.Dir != "" {
		r.helpers.Go(r.scheduleLoop)
	}
	go r.run()
	return r, nil
}

// open does what comes before the first goroutine; on an error nothing stays open.
func (r *Runner) open() (err error) {
	if r.dir, err = openDataDir(r.cfg.Dir, r.cfg.openFS, r.cfg.logOptions); err != nil {
		return err
	}
	r.dir.syncs = &r.meter.logSync
	defer func() {
		if err != nil {
			if m := r.member.Load(); m != nil {
				err = errors.Join(err, m.close())
			}
			err = errors.Join(err, r.dir.close())
		}
	}()
	id, err := r.dir.identity()
	if err != nil {
		return err
	}
	if err = r.claim(id); err != nil {
		return err
	}
	if err = r.takeSeat(&id); err != nil {
		return err
	}
	id.Name = r.cfg.Name
	if !id.Formed && id.Life == (fsm.Life{}) && id.Restored == nil {
		id.Version = fsm.Version // of whoever forms the cluster, which may be a later release than began to
	}
	id.Incarnation++
	if err = r.dir.storeIdentity(id); err != nil {
		return err
	}
	if id.Life != (fsm.Life{}) && !id.Formed {
		r.loop.form, r.joining = NewJoining(id), true
	} else {
		r.loop.form = NewFormation(r.cfg.Names, r.cfg.Name, id, drawCluster())
	}
	r.publishWaiting()
	if id.Formed {
		var m *member
		if m, err = r.openMember(id); err != nil {
			return err
		}
		r.member.Store(m)
	}
	self := r.loop.form.Identity()
	known := self.membership()
	r.places = known
	if m := r.member.Load(); m != nil && m.store.Load() != nil {
		known = membershipOf(m.state())
	}
	h := handler{inbox: &r.inbox}
	if r.joining {
		h.outdated = r.outdated
	}
	r.wire, err = r.cfg.Dial(Peering{RaftID: self.RaftID, Incarnation: self.Incarnation, Peers: r.peersOf(&known, self.RaftID)}, h)
	if err != nil {
		return fmt.Errorf("node: transport: %w", err)
	}
	if self.Formed {
		r.wire.SetMembers(r.peersOf(&known, self.RaftID), known.LastRaftID)
	}
	return nil
}

// claim refuses a data directory that is not this node's.
func (r *Runner) claim(id Identity) error {
	if id.Name != "" && id.Name != r.cfg.Name {
		return fmt.Errorf("node: %s belongs to node %s, not to %s: compare Data.Dir and Cluster.NodeId", r.cfg.Dir, id.Name, r.cfg.Name)
	}
	if !id.Formed && id.Restored == nil {
		return nil
	}
	if now := id.membership(); !slices.EqualFunc(now.Members, id.Members, func(a, b fsm.Member) bool { return a.RaftID == b.RaftID && a.Name == b.Name }) {
		return nil // who is a member says the state
	}
	for _, m := range id.Members {
		if !slices.Contains(r.cfg.Names, m.Name) {
			return fmt.Errorf("node: %s belongs to cluster %x, whose member %s is not configured: compare Data.Dir and Cluster.Nodes", r.cfg.Dir, id.Cluster, m.Name)
		}
	}
	for _, name := range r.cfg.Names {
		if !slices.ContainsFunc(id.Members, func(m fsm.Member) bool { return m.Name == name }) {
			// Started, it would serve a cluster that the others know nothing of.
			return fmt.Errorf("node: %s belongs to cluster %x, of which the configured %s is no member: add it first (confman cluster add), or compare Data.Dir and Cluster.Nodes", r.cfg.Dir, id.Cluster, name)
		}
	}
	return nil
}

// openMember opens what a formed node has on its disk, and starts the core on it.
func (r *Runner) openMember(id Identity) (_ *member, err error) {
	m := &member{identity: id, kept: id}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	var found wal.Recovered
	if m.log, found, err = r.dir.openLog(); err != nil {
		return nil, err
	}
	if cut := found.Cut; cut != nil {
		r.log.Warn("the end of the log was torn and is cut off; it was never proven durable",
			slog.String("segment", cut.Segment), slog.Int64("offset", cut.Offset), slog.String("reason", cut.Reason))
	}
	var genesis *fsm.Genesis
	if id.Life == (fsm.Life{}) {
		genesis = &fsm.Genesis{Cluster: id.Cluster, Members: id.Members, Version: max(id.Version, fsm.MinVersion)}
	}
	store, damaged, err := r.dir.openStore(genesis, r.storeOptions(), m.log.FirstIndex(), found.Snapshot)
	if err != nil {
		return nil, err
	}
	state := id.WithoutStore()
	if store != nil {
		m.store.Store(store)
		state = store.State()
	} else {
		m.broken.Store(true)
		if len(state.Members) == 1 {
			hint := "restore a backup"
			if m.log.FirstIndex() == 1 {
				hint = "the log is whole: move the file away and start again, and it is made anew"
			}
			return nil, fmt.Errorf("%w: there is no other member to rebuild it from; %s", damaged, hint)
		}
		if errors.Is(damaged, errNewMember) {
			r.log.Info("this node is a new member; its store comes from a peer")
		} else {
			r.log.Error("the store cannot be used and is rebuilt from a peer", slogError(damaged))
		}
	}
	if state.Cluster != id.Cluster {
		return nil, fmt.Errorf("node: %s holds the state of cluster %x, its identity is of %x: restore the file that belongs here, or replace the node", r.dir.join(storeFile), state.Cluster, id.Cluster)
	}
	m.core, err = NewCore(Config{
		Settings:    r.cfg.Settings,
		ID:          id.RaftID,
		Life:        id.Life,
		Incarnation: id.Incarnation,
		HardState:   found.HardState,
		Log:         m.log,
		State:       state,
		Damaged:     damaged,
		Now:         bootTime(),
	})
	if errors.Is(err, ErrInconsistent) {
		err = fmt.Errorf("%w: this node must be replaced by a new member", err)
	}
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", r.cfg.Dir, err)
	}
	r.publish(m)
	r.log.Info("log and store are open",
		slog.String("cluster", fmt.Sprintf("%x", id.Cluster)), slog.Uint64("incarnation", id.Incarnation),
		slog.Uint64("index", uint64(state.Applied)), slog.Uint64("revision", uint64(state.Revision)),
		slog.Uint64("last_index", m.log.LastIndex()))
	return m, nil
}

func (r *Runner) storeOptions() fsm.Options {
	mapped := max(2*r.cfg.StoreQuotaBytes, minMapBytes)
	return fsm.Options{MaxOverlayBytes: r.cfg.MaxOverlayBytes, MmapBytes: int(mapped)}
}

// close closes what is open without making anything durable.
func (m *member) close() error {
	var errs []error
	if m.log != nil {
		errs = append(errs, m.log.Close())
	}
	if s := m.store.Load(); s != nil {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// run is the node's life.
func (r *Runner) run() {
	r.runLoop()
	r.answerAll()
	errs := []error{r.wire.Close()}
	r.helpers.Wait()
	m := r.member.Load()
	if m != nil {
		m.workers.stop()
		errs = append(errs, r.rest(m))
	}
	r.finish(errors.Join(errs...))
	close(r.done)
	var err error
	if m != nil {
		if s := m.store.Load(); s != nil {
			err = s.Close() // waits for open views
		}
		m.retired.Wait()
	}
	r.finish(errors.Join(err, r.dir.close()))
	close(r.released)
}

// rest brings log and store to rest: after a Close everything applied is in the
// database and the log is proven. After a fault nothing more is written, since
// nobody can say what would come of it; the log has all that was promised. Nor is a
// store written that the node has given up: the next start would take it for sound.
func (r *Runner) rest(m *member) error {
	if r.failed() {
		// The fault is what matters; a log that failed cannot be closed in order.
		_ = m.log.Close()
		return nil
	}
	var err error
	if !m.broken.Load() && r.status.Load().Damage == nil {
		err = m.store.Load().BeginFlush().Commit()
	}
	return errors.Join(err, m.log.Close())
}

// fail stops the node because of err. Any goroutine.
func (r *Runner) fail(err error) {
	r.log.Error("the node stops", slog.Any("error", err))
	if !r.halt(err) {
		r.finish(err)
	}
}

// halt closes stop; it reports whether it was the first to.
func (r *Runner) halt(err error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return false
	}
	r.stopped, r.err = true, err
	close(r.stop)
	return true
}

// finish remembers an error met while stopping, unless a worse one came before.
func (r *Runner) finish(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = fmt.Errorf("node: while stopping: %w", err)
	}
}

// stopping reports whether the node is to stop.
func (r *Runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// failed reports whether the node stops for another reason than Close.
func (r *Runner) failed() bool { return r.Err() != nil }

// Done is closed when the node has stopped: it answers nothing any more, and its
// transport is closed. Err then says why (nil after Close).
func (r *Runner) Done() <-chan struct{} { return r.done }

// Err is why the node stopped, or is stopping.
func (r *Runner) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close stops the node in order: it flushes, proves the log and unlocks the
// directory. It waits for open views, and returns Err.
func (r *Runner) Close() error {
	r.halt(nil)
	<-r.released
	return r.Err()
}

var (
	_ transport.OutdatedHandler = handler{}
	_ transport.BatchHandler    = handler{}
)

// handler takes what the transport hears.
type handler struct {
	inbox    *inbox
	outdated func() // nil: the node is a member, and the peers tell its operator
}

func (h handler) Receive(m transport.Message) { h.ReceiveAll([]transport.Message{m}) }

func (h handler) ReceiveAll(msgs []transport.Message) {
	h.inbox.receive(slices.DeleteFunc(msgs, func(m transport.Message) bool { return lost("receive", &m) }))
}

func (h handler) Unreachable(peer uint64) { h.inbox.hint(Unreachable{Peer: peer}) }
func (h handler) Gone(peer uint64)        { h.inbox.hint(Gone{Peer: peer}) }
func (h handler) Dismissed(peer uint64)   { h.inbox.report(Dismissed{Peer: peer}) }

// Outdated ends a node that joins: another directory came with its seat before, and its raft id has spoken since.
func (h handler) Outdated(uint64) {
	if h.outdated != nil {
		h.outdated()
	}
}

// drawCluster draws the id of a cluster, to be used if this node has to choose.
func drawCluster() fsm.ClusterID {
	var id fsm.ClusterID
	_, err := rand.Read(id[:])
	must(err == nil, "no randomness: %v", err)
	return id
}

func drawNonce() uint64 {
	var b [8]byte
	_, err := rand.Read(b[:])
	must(err == nil, "no randomness: %v", err)
	return binary.BigEndian.Uint64(b[:])
}
