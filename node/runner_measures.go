package node

import (
	"io/fs"
	"path/filepath"

	"github.com/confman/confman/transport"
)

// Measures is what a node counted since it started, and how much of everything there is. It is
// read for a scrape: it costs a few system calls.
type Measures struct {
	// Propose and Read are what callers of Propose and Linearize waited.
	Propose, Read Times
	// Proposals and Reads are how these ended; all that can be are there.
	Proposals, Reads []Ended
	// Queue to Apply are the stages of these proposals that were answered: see Stage.
	Queue, Forward, Append, Replicate, Apply Times
	// Step is what the core took for all that had come in: nothing else is decided meanwhile.
	Step Times
	// LogAppend is of a write of the log with its sync; LogSync of each sync.
	LogAppend, LogSync Times
	// StoreApply is of a batch of entries, StoreFlush of a transaction of the database.
	StoreApply, StoreFlush Times

	AppliedEntries uint64
	// OverlayBytes are applied and not in the database; FlushedBytes were, and are.
	OverlayBytes int64
	FlushedBytes uint64
	// LeaderChanges is how often the node came to know of another leader, or of one again.
	LeaderChanges uint64
	// Damages is how often the store was found damaged.
	Damages uint64
	// LogBytes are those of the log's files, of which there are LogFiles, the reserve included.
	LogBytes int64
	LogFiles int
	// FileBytes are those of the database's file, of which FileFreeBytes hold nothing.
	FileBytes, FileFreeBytes int64
	// DiskBytes are those of the file system of the data directory, of which DiskFreeBytes are to
	// be had; both 0 if it does not say.
	DiskBytes, DiskFreeBytes int64
	// Images that were opened to be sent, that came in and were good or not, and that took the
	// store's place, with the bytes read and written for that.
	ImagesOpened, ImageReadBytes                                       uint64
	ImagesVerified, ImagesRejected, ImagesInstalled, ImageWrittenBytes uint64
	Watchers                                                           int
	// Peers are the connections, if the transport tells.
	Peers []transport.PeerStats
}

// Ended is how many requests ended in the same way.
type Ended struct {
	Outcome string // applied, not_applied, unknown; of a read confirmed, failed
	Reason  string // why, of a failure; else ""
	Count   uint64
}

// Measures reads what the node counts.
func (r *Runner) Measures() Measures {
	t := &r.meter
	out := Measures{
		Propose: t.propose.Times(), Read: t.read.Times(),
		Queue: t.queue.Times(), Forward: t.forward.Times(), Append: t.append.Times(), Replicate: t.replicate.Times(), Apply: t.apply.Times(),
		Step: t.step.Times(), LogAppend: t.logAppend.Times(), LogSync: t.logSync.Times(),
		StoreApply: t.storeApply.Times(), StoreFlush: t.storeFlush.Times(),
		AppliedEntries: t.appliedEntries.Load(), FlushedBytes: t.flushedBytes.Load(),
		LeaderChanges: t.leaderChanges.Load(), Damages: t.damages.Load(),
		ImagesOpened: t.imagesOpened.Load(), ImageReadBytes: t.imageReadBytes.Load(),
		ImagesVerified: t.imagesVerified.Load(), ImagesRejected: t.imagesRejected.Load(),
		ImagesInstalled: t.imagesInstalled.Load(), ImageWrittenBytes: t.imageWrittenBytes.Load(),
		Watchers: r.watches.Len(),
	}
	out.Proposals = t.proposals[0].counts("applied", false)
	for _, o := range []Outcome{NotApplied, Unknown} {
		out.Proposals = append(out.Proposals, t.proposals[o].counts(o.String(), true)...)
	}
	out.Reads = append(t.reads.counts("confirmed", false), t.reads.counts("failed", true)...)
	if wire, ok := r.wire.(interface{ Stats() []transport.PeerStats }); ok {
		out.Peers = wire.Stats()
	}
	out.LogBytes, out.LogFiles = filesIn(r.dir.join(logDir))
	out.DiskBytes, out.DiskFreeBytes, _ = diskSpace(r.dir.path) // zeros say that it does not tell
	if m := r.member.Load(); m != nil {
		if s := m.store.Load(); s != nil {
			out.OverlayBytes = int64(s.OverlayBytes())
			out.FileBytes, out.FileFreeBytes = s.Size()
		}
	}
	return out
}

// filesIn is how many files there are in a directory, and their size. Those that go away meanwhile
// are not counted.
func filesIn(dir string) (bytes int64, files int) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // it is gone
		}
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
			files++
		}
		return nil
	})
	return bytes, files
}
