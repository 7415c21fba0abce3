package wal

import (
	"errors"
	"fmt"
	"io/fs"
)

const reserveName = "wal-reserve"

// switchSegment goes on in a new segment, with room for a batch of need bytes.
//
// The order is what recovery relies on: all of the old segment is durable before
// the new one exists under its name, and the new one is durable before the seal
// says so. So whatever is in the new one, the seal is there; and if the
// seal is there, the new one is.
func (l *Log) switchSegment(need int64) error {
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.fault("before-segment"); err != nil {
		return err
	}
	seal := l.encodeSeal()
	h := segmentHeader{
		nonce:      l.current.nonce,
		number:     l.current.number + 1,
		size:       max(l.opts.SegmentBytes, fileSize(segmentHeaderBytes+need+tailBytes)),
		firstBatch: l.batch + 2,
		prevEnd:    l.end + sealBatchBytes,
		lastIndex:  l.index.last,
		lastTerm:   l.index.term(l.index.last),
		hard:       l.hard,
		prevCRC:    seal,
	}
	wasFull := l.full.Load()
	next, err := l.makeSegment(h, segmentHeaderBytes+need+tailBytes)
	if err != nil {
		return err
	}
	l.segments = append(l.segments, next)
	if err := l.fault("before-seal"); err != nil {
		return err
	}
	if err := l.write(seal); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	if err := l.fault("after-seal"); err != nil {
		return err
	}
	l.enter(next)
	if wasFull {
		return l.tryReserve()
	}
	return nil
}

// encodeSeal puts the seal of the current segment into l.buf and returns its CRC.
func (l *Log) encodeSeal() uint32 {
	crc := l.begin(sealBatchBytes)
	l.buf, crc = appendSeal(l.buf, crc, l.current.number+1)
	return crc
}

// enter makes s, which has no batches yet, the current segment.
func (l *Log) enter(s *segment) {
	l.current = s
	l.end, l.proven = segmentHeaderBytes, segmentHeaderBytes
	l.chain = s.crc()
	l.proof = true
	l.told = false
}

// makeSegment makes the segment h, of what was prepared if it is large enough; if there is no room, of the reserve, whatever
// its size is if it is at least least.
func (l *Log) makeSegment(h segmentHeader, least int64) (*segment, error) {
	if p := l.spare.ready.Load(); p != nil && p.size >= h.size {
		h.size = p.size
		s, err := finishSegment(l.fsys, p.file, spareName, h)
		l.spare.ready.Store(nil) // not before: Prepare removes what has the name that is the segment's until it is renamed
		return s, err
	}
	name := segmentName(h.number) + newSuffix
	f, err := allocateFile(l.fsys, name, h.size)
	if err == nil {
		return finishSegment(l.fsys, f, name, h)
	}
	if !errors.Is(err, ErrFull) || l.full.Load() {
		return nil, err
	}
	// The reserve becomes the segment under another name: to remove it and allocate
	// again would give others a chance to take the room.
	r, openErr := l.fsys.Open(reserveName)
	if openErr != nil {
		return nil, errors.Join(err, fmt.Errorf("wal: opening the reserve %s: %w", reserveName, openErr))
	}
	size, sizeErr := r.Size()
	if sizeErr != nil || size < least {
		return nil, errors.Join(err, fmt.Errorf("wal: the reserve %s has %d bytes, %d are needed", reserveName, size, least), sizeErr, r.Close())
	}
	h.size = size
	s, err := finishSegment(l.fsys, r, reserveName, h)
	if err == nil {
		l.full.Store(true)
	}
	return s, err
}

// tryReserve makes the reserve again, if there is room.
func (l *Log) tryReserve() error {
	err := makeReserve(l.fsys, l.opts.ReserveBytes)
	if errors.Is(err, ErrFull) {
		return nil
	}
	if err == nil {
		l.full.Store(false)
	}
	return err
}

// makeReserve makes the reserve, durably, or replaces it.
func makeReserve(fsys FS, size int64) error {
	f, err := allocateFile(fsys, reserveName+newSuffix, size)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = fsys.Rename(reserveName+newSuffix, reserveName)
	}
	if err == nil {
		err = fsys.SyncDir()
	}
	if err != nil {
		return fmt.Errorf("wal: making the reserve: %w", err)
	}
	return nil
}

// findReserve sets full if there is no reserve and no room for one.
func (l *Log) findReserve() error {
	l.full.Store(true)
	f, err := l.fsys.Open(reserveName)
	if errors.Is(err, fs.ErrNotExist) {
		return l.tryReserve()
	}
	if err != nil {
		return fmt.Errorf("wal: opening the reserve %s: %w", reserveName, err)
	}
	size, err := f.Size()
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("wal: the reserve %s: %w", reserveName, err)
	}
	if size == l.opts.ReserveBytes {
		l.full.Store(false)
		return nil
	}
	// It was made with other options, or by hand.
	if err := l.fsys.Remove(reserveName); err != nil {
		return fmt.Errorf("wal: removing the reserve %s: %w", reserveName, err)
	}
	return l.tryReserve()
}
