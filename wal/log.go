package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/faultpoint"
)

// Options of a log. The zero value of a field means its default.
type Options struct {
	// SegmentBytes is the size a segment is preallocated to (default
	// DefaultSegmentBytes, at least 1 KiB). A batch that needs more gets a larger one.
	SegmentBytes int64
	// ReserveBytes is the size of the reserve: the segment that is used when the disk
	// is full, for what is in flight then and for votes (default DefaultReserveBytes; if SegmentBytes
	// is set, 5/4 of that, at least 8 MiB).
	ReserveBytes int64
	// Nonce is a random number, used when the log is created.
	Nonce uint64
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = DefaultSegmentBytes
		if o.ReserveBytes == 0 {
			o.ReserveBytes = DefaultReserveBytes
		}
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = max(o.SegmentBytes/4*5, minReserveBytes)
	}
	o.SegmentBytes = fileSize(int64(faultpoint.Int("wal/segment-bytes", int(o.SegmentBytes))))
	o.ReserveBytes = fileSize(o.ReserveBytes)
	return o
}

func fileSize(n int64) int64 {
	return (max(n, minSegmentBytes) + fileUnit - 1) / fileUnit * fileUnit
}

// Marker says that the log goes on after a snapshot: every entry before is gone.
type Marker struct {
	// Index is that of the last entry in the snapshot, at least 1.
	Index uint64
	// Term is that entry's term.
	Term uint64
	// Conf is the membership at Index; nil and empty are the same.
	Conf *raftpb.ConfState
}

// Batch is what one Append makes durable together.
type Batch struct {
	// Snapshot, if there is one, comes before all else in the batch: the log is then
	// empty and goes on at Snapshot.Index+1, and so must Entries. Its index is at
	// least FirstIndex-1; above or below the last index does not matter.
	Snapshot *Marker
	// HardState is nil if it did not change.
	HardState *raftpb.HardState
	// Entries are consecutive; the first may be at or below the log's last index, and
	// then replaces all from there on, but not below FirstIndex.
	Entries []*raftpb.Entry
	// Sync: return only when the batch is durable. Without it the batch is written and becomes durable with a later one.
	Sync bool
}

// bytes is the length of b on disk.
func (b Batch) bytes() int64 {
	n := int64(batchHeaderBytes)
	if b.Snapshot != nil {
		n += markerBytes(b.Snapshot)
	}
	if b.HardState != nil {
		n += hardStateBytes
	}
	for _, e := range b.Entries {
		n += entryBytes(e)
	}
	return n
}

// Recovered is what Open found.
type Recovered struct {
	// HardState is the last one written; never nil.
	HardState *raftpb.HardState
	// Snapshot is the newest marker that the log still holds; nil if it holds none.
	Snapshot *Marker
	// Cut reports the torn tail that was cut, or nil.
	Cut *Cut
}

// Cut is a torn tail that Open removed: it was never proven durable.
type Cut struct {
	// Segment is the file's name.
	Segment string
	// Offset is where the first batch begun that is not whole; all from there on was zeroed.
	Offset int64
	// Reason says what is wrong with it.
	Reason string
}

var (
	// ErrDamaged means that bytes which had been proven durable are not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrCompacted means that entries were asked for that the log gave up: they were
	// truncated, or a snapshot took their place.
	ErrCompacted = errors.New("compacted")
	// ErrFull means that the disk is full and the reserve is used up.
	ErrFull = errors.New("disk full")
)

// Log is the Raft log of one node. Append, Truncate, Prove and Close are for one
// goroutine; the readers and Full may run beside it.
//
// After an error of Append, Truncate, Prove or Close these four do nothing more and
// return that first error. What was appended before can still be read.
type Log struct {
	fsys FS
	opts Options
	full atomic.Bool // there is no reserve

	spare spare

	mu    sync.RWMutex
	index index // written by Append and Truncate under mu, and then without I/O

	// What follows belongs to the goroutine that appends.

	err      error
	segments []*segment // ascending
	current  *segment   // the last of them
	end      int64      // where in it the next batch goes
	proven   int64      // all before it in current is durable
	proof    bool       // the last batch is a proof, or there is none since the segment's header
	batch    uint64     // number of the last batch
	told     bool       // that current is half full
	chain    uint32     // CRC of the last record
	hard     hardState  // the last one written
	buf      []byte     // the batch that is being written
}

// Create makes an empty, durable log in fsys, which must hold none: else the error is fs.ErrExist.
// One that a crash interrupts leaves no log; it can be made again.
func Create(fsys FS, opts Options) error {
	opts = opts.withDefaults()
	numbers, err := listSegments(fsys)
	if err != nil {
		return err
	}
	if len(numbers) > 0 {
		return fmt.Errorf("wal: creating a log: segment %s: %w", segmentName(numbers[0]), fs.ErrExist)
	}
	if err := makeReserve(fsys, opts.ReserveBytes); err != nil {
		return err
	}
	f, err := allocateFile(fsys, segmentName(firstSegment)+newSuffix, opts.SegmentBytes)
	if err != nil {
		return err
	}
	s, err := finishSegment(fsys, f, segmentName(firstSegment)+newSuffix, segmentHeader{
		nonce: opts.Nonce, number: firstSegment, size: opts.SegmentBytes, firstBatch: 1,
	})
	if err != nil {
		return err
	}
	return s.file.Close()
}

// Append writes b, and syncs it if b.Sync. After an error the log takes nothing more.
//
// Errors: ErrFull, if b needs a new segment and neither the disk nor the reserve
// has room for it; what the file system says. Readers see the entries when Append returns nil.
func (l *Log) Append(b Batch) error { return l.poison(l.append(b)) }

func (l *Log) append(b Batch) error {
	if l.err != nil {
		return l.err
	}
	if err := l.check(b); err != nil {
		return err
	}
	if b.Snapshot == nil && b.HardState == nil && len(b.Entries) == 0 {
		if b.Sync {
			return l.sync()
		}
		return nil
	}
	if err := l.faultOf(b, "before"); err != nil {
		return err
	}
	size := b.bytes()
	if size > MaxBatchBytes {
		return fmt.Errorf("wal: a batch of %d bytes, at most %d can be written together", size, MaxBatchBytes)
	}
	if l.end+size > l.current.size-tailBytes {
		if err := l.switchSegment(size); err != nil {
			return err
		}
	}
	crc := l.encode(b, size)
	at := l.end
	if err := l.write(crc); err != nil {
		return err
	}
	l.proof = false
	if err := l.faultOf(b, "after"); err != nil {
		return err
	}
	if b.Sync {
		if err := l.sync(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	l.index.add(l.current, at, l.buf)
	l.mu.Unlock()
	if cap(l.buf) > keepBufferBytes {
		l.buf = nil
	}
	return nil
}

// check says what is wrong with b.
func (l *Log) check(b Batch) error {
	held, last := l.index.first, l.index.last
	if m := b.Snapshot; m != nil {
		if m.Index == 0 || m.Index > maxIndex || m.Index < held-1 {
			return fmt.Errorf("wal: a snapshot at index %d cannot take the place of a log of %d to %d", m.Index, held, last)
		}
		held, last = m.Index+1, m.Index
	}
	if len(b.Entries) == 0 {
		return nil
	}
	first := b.Entries[0].GetIndex()
	if first < held || first > last+1 {
		return fmt.Errorf("wal: entries from index %d on do not continue a log of %d to %d", first, held, last)
	}
	for i, e := range b.Entries {
		if e.GetIndex() != first+uint64(i) {
			return fmt.Errorf("wal: entry %d follows entry %d in one batch", e.GetIndex(), first+uint64(i)-1)
		}
		if t := e.GetType(); t < 0 || t > raftpb.EntryConfChangeV2 {
			return fmt.Errorf("wal: entry %d has the unknown type %d", e.GetIndex(), t)
		}
	}
	return nil
}

// Prove writes and syncs a record that proves everything before it durable. If
// the last thing written is such a record, it writes none. When the disk
// was full, it also tries to make the reserve again.
func (l *Log) Prove() error { return l.poison(l.prove()) }

func (l *Log) prove() error {
	if l.err != nil {
		return l.err
	}
	if !l.proof {
		if err := l.sync(); err != nil {
			return err
		}
		// There is room: Append leaves it.
		if err := l.write(l.begin(proofBytes)); err != nil {
			return err
		}
		l.proof = true
	}
	if err := l.sync(); err != nil {
		return err
	}
	if l.full.Load() {
		return l.tryReserve()
	}
	return nil
}

// Full reports that the disk has no room for a further segment but the reserve:
// the node must refuse proposals; votes and what is in flight still fit. Prove,
// Truncate and the switch to a new segment find out when there is room again.
func (l *Log) Full() bool { return l.full.Load() }

// Close proves the log and closes its files. After an earlier error it only
// closes the files, and returns that error.
func (l *Log) Close() error {
	err := l.poison(l.prove())
	var errs []error
	for _, s := range l.segments {
		if e := s.file.Close(); e != nil {
			errs = append(errs, fmt.Errorf("wal: closing segment %s: %w", s.name, e))
		}
	}
	l.segments = nil
	if e := l.spare.close(); e != nil {
		errs = append(errs, e)
	}
	_ = l.poison(fmt.Errorf("wal: the log was closed: %w", fs.ErrClosed))
	if len(errs) > 0 {
		err = errors.Join(err, errors.Join(errs...))
	}
	return err
}

func (l *Log) poison(err error) error {
	if l.err == nil {
		l.err = err
	}
	return err
}

// begin starts a batch of size bytes in l.buf and returns the CRC of its header.
func (l *Log) begin(size int64) uint32 {
	var crc uint32
	l.buf, crc = appendBatchHeader(l.buf[:0], l.current.seed, batchHeader{
		before: l.chain, offset: l.end, number: l.batch + 1, proven: l.proven, size: size,
	})
	return crc
}

// encode puts b into l.buf and returns the CRC of its last record.
func (l *Log) encode(b Batch, size int64) uint32 {
	if int64(cap(l.buf)) < size {
		l.buf = make([]byte, 0, size)
	}
	crc := l.begin(size)
	if b.Snapshot != nil {
		l.buf, crc = appendMarker(l.buf, crc, b.Snapshot)
	}
	if hs := b.HardState; hs != nil {
		l.hard = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
		l.buf, crc = appendHardState(l.buf, crc, l.hard)
	}
	for _, e := range b.Entries {
		l.buf, crc = appendEntry(l.buf, crc, e)
	}
	return crc
}

// write writes the batch in l.buf, whose last record has that CRC.
func (l *Log) write(crc uint32) error {
	if err := l.fault("before-write"); err != nil {
		return err
	}
	if err := writeAll(l.current.file, l.buf, l.end); err != nil {
		return fmt.Errorf("wal: segment %s at %d: %w", l.current.name, l.end, asFull(err))
	}
	l.end += int64(len(l.buf))
	l.want()
	l.batch++
	l.chain = crc
	return l.fault("after-write")
}

// sync makes all that was written durable.
func (l *Log) sync() error {
	if l.proven == l.end {
		return nil
	}
	if err := l.fault("before-sync"); err != nil {
		return err
	}
	if err := l.current.file.Sync(); err != nil {
		return fmt.Errorf("wal: segment %s at %d: %w", l.current.name, l.proven, asFull(err))
	}
	l.proven = l.end
	return l.fault("after-sync")
}
