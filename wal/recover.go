package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
)

// Open recovers the log in fsys. What it returns is durable and proven.
//
// Errors: fs.ErrNotExist, if the directory holds no log; ErrDamaged, with
// segment and offset; what the file system says.
func Open(fsys FS, opts Options) (*Log, Recovered, error) {
	r := recovery{Log: &Log{fsys: fsys, opts: opts.withDefaults()}, oldest: firstSegment}
	r.spare.wanted = make(chan struct{}, 1)
	found, err := r.run()
	if err != nil {
		for _, s := range r.segments {
			err = errors.Join(err, s.file.Close())
		}
		return nil, Recovered{}, err
	}
	return r.Log, found, nil
}

// recovery is a log that is being opened: its state is that of the batches read so far.
type recovery struct {
	*Log
	numbers []uint64 // of all segments in the directory
	oldest  uint64   // number of the first segment needed, as the newest truncation says
	window  window   // on the segment that is being read
	sealed  bool     // the last batch is the seal of the current segment
}

func (r *recovery) run() (Recovered, error) {
	if err := r.openSegments(); err != nil {
		return Recovered{}, err
	}
	first := r.segments[0]
	r.index = index{first: first.lastIndex + 1, last: first.lastIndex, termBefore: first.lastTerm}
	r.batch, r.hard = first.firstBatch-1, first.hard
	for i, s := range r.segments {
		if i > 0 && !r.continues(s) {
			return Recovered{}, damaged(s.name, 0, fmt.Sprintf("the segment does not continue %s", r.current.name))
		}
		r.enter(s)
		if i == len(r.segments)-1 {
			break
		}
		if err := r.replaySealed(r.segments[i+1], i == len(r.segments)-2); err != nil {
			return Recovered{}, err
		}
	}
	cut, err := r.replayLast()
	if err != nil {
		return Recovered{}, err
	}
	r.giveUp(int(r.oldest - r.segments[0].number))
	if err := r.removeUnneeded(); err != nil {
		return Recovered{}, err
	}
	if err := r.findReserve(); err != nil {
		return Recovered{}, err
	}
	// The caller will act on what it is told, so damage to it must be told from a torn tail.
	if err := r.prove(); err != nil {
		return Recovered{}, err
	}
	hs := r.hard
	found := Recovered{
		HardState: &raftpb.HardState{Term: &hs.term, Vote: &hs.vote, Commit: &hs.commit},
		Cut:       cut,
	}
	if m := r.index.marker; r.index.markerIn != nil {
		found.Snapshot = &m
	}
	return found, nil
}

// listSegments returns the numbers of the segments in fsys, ascending.
func listSegments(fsys FS) ([]uint64, error) {
	names, err := fsys.List()
	if err != nil {
		return nil, fmt.Errorf("wal: listing the log: %w", err)
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// openSegments opens the newest segments, back to the first gap: what is before a
// gap is left of a truncation, or else checkStart finds that the gap is damage.
func (r *recovery) openSegments() error {
	var err error
	if r.numbers, err = listSegments(r.fsys); err != nil {
		return err
	}
	if len(r.numbers) == 0 {
		return fmt.Errorf("wal: the directory holds no segment of a log: %w", fs.ErrNotExist)
	}
	i := len(r.numbers) - 1
	for i > 0 && r.numbers[i-1]+1 == r.numbers[i] {
		i--
	}
	for _, n := range r.numbers[i:] {
		s, err := openSegment(r.fsys, segmentName(n), n)
		if err != nil {
			return err
		}
		r.segments = append(r.segments, s)
		if s.nonce != r.segments[0].nonce {
			return damaged(s.name, 0, "the segment belongs to another log")
		}
	}
	// The process before may have died before its own sync of the directory, and a
	// seal must not be durable before the name of the segment that it promises.
	if err := r.fsys.SyncDir(); err != nil {
		return fmt.Errorf("wal: syncing the directory of the log: %w", err)
	}
	return nil
}

// continues says whether s begins in the state in which the log is now.
func (r *recovery) continues(s *segment) bool {
	return s.firstBatch == r.batch+1 && s.prevEnd == r.end && s.prevCRC == r.chain &&
		s.lastIndex == r.index.last && s.lastTerm == r.index.term(r.index.last) && s.hard == r.hard
}

// replaySealed replays the current segment, which next continues. All of it was
// durable before next was made, so any damage is an error.
func (r *recovery) replaySealed(next *segment, last bool) error {
	if next.prevEnd < segmentHeaderBytes+sealBatchBytes || next.prevEnd > r.current.size {
		return damaged(next.name, 0, fmt.Sprintf("it cannot continue a segment of %d bytes at %d", r.current.size, next.prevEnd))
	}
	limit, reseal := next.prevEnd, false
	if last {
		// A crash may have come between the new segment and the seal of the one before:
		// then the new one is still empty.
		end, err := r.dirtyEnd(next, segmentHeaderBytes)
		if err != nil {
			return err
		}
		if reseal = end == segmentHeaderBytes; reseal {
			limit -= sealBatchBytes
		}
	}
	stop, err := r.replay(limit)
	if err != nil {
		return err
	}
	switch {
	case r.end < limit:
		return damaged(r.current.name, stop.offset, stop.reason)
	case reseal && r.sealed, !reseal && !r.sealed:
		return damaged(r.current.name, r.end, "the segment's seal is not where the next segment says")
	case !reseal:
		r.sealed = false
		return nil
	}
	r.proven = r.end
	seal := r.encodeSeal()
	if seal != next.prevCRC {
		return damaged(next.name, 0, fmt.Sprintf("the segment does not continue %s", r.current.name))
	}
	if err := r.write(seal); err != nil {
		return err
	}
	return r.sync()
}

// replayLast replays the newest segment, cuts what is torn, and makes the rest durable.
func (r *recovery) replayLast() (*Cut, error) {
	s := r.current
	stop, err := r.replay(s.size)
	if err != nil {
		return nil, err
	}
	if r.sealed {
		return nil, damaged(segmentName(s.number+1), 0, fmt.Sprintf("the segment is missing, %s says that it was there", s.name))
	}
	dirty, err := r.dirtyEnd(s, r.end)
	if err != nil {
		return nil, err
	}
	var cut *Cut
	if dirty > r.end {
		at, err := r.findProof(dirty)
		if err != nil {
			return nil, err
		}
		if at > 0 {
			return nil, damaged(s.name, stop.offset, fmt.Sprintf("%s, and the batch at %d proves that it was durable", stop.reason, at))
		}
		cut = &Cut{Segment: s.name, Offset: r.end, Reason: stop.reason}
	}
	if err := r.checkStart(); err != nil {
		return nil, err
	}
	if err := r.settle(dirty); err != nil {
		return nil, fmt.Errorf("wal: segment %s at %d: %w", s.name, r.end, asFull(err))
	}
	return cut, nil
}

// checkStart checks, when all was read, that the first segment needed is there and
// can be the first.
func (r *recovery) checkStart() error {
	if r.oldest < r.segments[0].number {
		missing := r.oldest
		for _, n := range r.numbers {
			if n == missing {
				missing++
			}
		}
		return damaged(segmentName(missing), 0, fmt.Sprintf("the segment is missing, and no truncation before the end of %s says that it was given up", r.current.name))
	}
	s := r.segments[r.oldest-r.segments[0].number]
	if first, _, ok := r.index.start(s); !ok {
		return damaged(s.name, 0, fmt.Sprintf("the log begins here with entry %d, and an entry before that is replaced later", first))
	}
	return nil
}

// settle makes the current segment durable as it was read: what was not proven is
// written again, and what is torn, up to dirty, becomes zeros.
//
// It is not enough to sync. If a sync failed and the process died, the page cache
// holds what the disk does not, and calls it clean: the next sync has nothing to do.
func (r *recovery) settle(dirty int64) error {
	for off := r.proven; off < r.end; {
		n := min(r.end-off, scanChunkBytes)
		b, err := r.window.at(off, n)
		if err != nil {
			return err
		}
		if err := writeAll(r.current.file, b, off); err != nil {
			return err
		}
		off += n
	}
	if err := writeZeros(r.current.file, r.end, dirty); err != nil {
		return err
	}
	if err := r.current.file.Sync(); err != nil {
		return err
	}
	r.proven = r.end
	return nil
}

// stop says why a replay ended before its limit.
type stop struct {
	offset int64 // of the first bad record
	reason string
}

// replay replays the batches of the current segment up to limit or to the first
// that is not whole. An error means damage or that the file cannot be read.
func (r *recovery) replay(limit int64) (stop, error) {
	s := r.current
	r.look(s)
	for r.end < limit {
		if r.sealed {
			return stop{r.end, "the segment's seal is not its end"}, nil
		}
		if limit-r.end < batchHeaderBytes {
			return stop{r.end, "there is no room for a batch"}, nil
		}
		b, err := r.window.at(r.end, batchHeaderBytes)
		if err != nil {
			return stop{}, fmt.Errorf("wal: segment %s at %d: %w", s.name, r.end, err)
		}
		h, ok := decodeBatchHeader(b, s.seed, r.end)
		switch {
		case !ok:
			return stop{r.end, "the batch header is not what was written"}, nil
		case h.number != r.batch+1 || h.before != r.chain || h.proven < r.proven:
			return stop{r.end, fmt.Sprintf("batch %d does not follow batch %d", h.number, r.batch)}, nil
		case h.size > limit-r.end:
			return stop{r.end, fmt.Sprintf("a batch of %d bytes does not fit", h.size)}, nil
		}
		if b, err = r.window.at(r.end, h.size); err != nil {
			return stop{}, fmt.Errorf("wal: segment %s at %d: %w", s.name, r.end, err)
		}
		crc, bad := checkBatch(b)
		if bad > 0 {
			return stop{r.end + bad, "the record is not what was written"}, nil
		}
		if err := r.take(b); err != nil {
			return stop{}, err
		}
		r.proven, r.chain, r.batch = h.proven, crc, h.number
		r.proof = h.size == proofBytes
		r.end += h.size
	}
	return stop{}, nil
}

// take takes over what a whole batch says. Its checksums are right, so what
// contradicts the batches before it was written so, or put there by hand.
func (r *recovery) take(batch []byte) error {
	var err error
	last, first := r.index.last, true // first: an entry may still replace others
	records(batch, func(at int64, _ uint32, rec record) {
		switch rec.kind() {
		case typeEntry:
			i := rec.index()
			// Whether one below the first entry may be here is for checkStart.
			if err == nil && (i == 0 || i > last+1 || (i <= last && !first)) {
				err = damaged(r.current.name, r.end+at, fmt.Sprintf("entry %d follows entry %d", i, last))
			}
			last, first = i, false
		case typeHardState:
			r.hard = rec.hardState()
		case typeSeal:
			r.sealed = true
			if next := rec.sealNext(); err == nil && next != r.current.number+1 {
				err = damaged(r.current.name, r.end+at, fmt.Sprintf("the seal names segment %d as the next", next))
			}
		case typeMarker:
			if err == nil && at != batchHeaderBytes {
				err = damaged(r.current.name, r.end+at, "a snapshot does not begin its batch")
			}
			last, first = rec.index(), false
		case typeTruncation:
			n := rec.truncationOldest()
			if err == nil && (n < r.oldest || n > r.current.number) {
				err = damaged(r.current.name, r.end+at, fmt.Sprintf("the log cannot begin at segment %d: it begins at segment %d", n, r.oldest))
			}
			r.oldest = n
		case typeBatch: // begins a batch, and checkBatch refused any other
		}
	})
	if err == nil {
		r.index.add(r.current, r.end, batch)
	}
	return err
}

// look turns the window to s.
func (r *recovery) look(s *segment) {
	r.window = window{file: s.file, end: s.size, chunk: scanChunkBytes, buf: r.window.buf[:0]}
}

// dirtyEnd returns where the last byte of s that is not zero ends; from if there is none behind it.
func (r *recovery) dirtyEnd(s *segment, from int64) (int64, error) {
	r.look(s)
	end := from
	for off := from; off < s.size; off += scanChunkBytes {
		b, err := r.window.at(off, min(s.size-off, scanChunkBytes))
		if err != nil {
			return 0, fmt.Errorf("wal: segment %s at %d: %w", s.name, off, err)
		}
		if !bytes.Equal(b, zeros[:len(b)]) {
			end = off + int64(len(bytes.TrimRight(b, "\x00")))
		}
	}
	return end, nil
}

// findProof looks in the current segment, behind the batch at r.end that is not
// whole, for the header of a later batch that proves it durable, and returns its offset, or 0.
func (r *recovery) findProof(dirty int64) (int64, error) {
	s := r.current
	for off := r.end + 8; off < dirty && off+batchHeaderBytes <= s.size; off += 8 {
		b, err := r.window.at(off, batchHeaderBytes)
		if err != nil {
			return 0, fmt.Errorf("wal: segment %s at %d: %w", s.name, off, err)
		}
		if h, ok := decodeBatchHeader(b, s.seed, off); ok && h.number > r.batch && h.proven > r.end {
			return off, nil
		}
	}
	return 0, nil
}

// removeUnneeded removes files that a crash left: unfinished ones, and segments that were given up.
func (r *recovery) removeUnneeded() error {
	names, err := r.fsys.List()
	if err != nil {
		return fmt.Errorf("wal: listing the log: %w", err)
	}
	for _, name := range names {
		n, ok := segmentNumber(name)
		unfinished := strings.HasPrefix(name, segmentPrefix) && strings.HasSuffix(name, newSuffix)
		if !unfinished && (!ok || n >= r.oldest) {
			continue
		}
		if err := r.fsys.Remove(name); err != nil {
			return fmt.Errorf("wal: removing %s: %w", name, err)
		}
	}
	return nil
}
