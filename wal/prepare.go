package wal

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// spareName is the next segment while it is made ahead of its time. As any unfinished file it is removed by Open.
const spareName = segmentPrefix + "spare" + newSuffix

// spare is room for the next segment.
type spare struct {
	wanted chan struct{}               // capacity 1: see Wanted
	ready  atomic.Pointer[preparation] // durable zeros throughout; until it has the segment's name

	// Of the goroutine that calls Prepare.

	making *preparation
	err    error // of the first Prepare that failed, and so of all after it
}

// preparation is a file of size bytes, of which so many were written.
type preparation struct {
	file    File
	size    int64
	written int64
}

// Wanted receives when the current segment is half full: it is time to call Prepare.
func (l *Log) Wanted() <-chan struct{} { return l.spare.wanted }

// Prepare makes a piece of the next segment, and says whether there is more to make. A segment that is not ready
// when it is needed is allocated then, which costs nothing but time: a sync of blocks that were
// allocated and never written waits for a commit of the file system's journal, too; one of
// blocks that were written does not. So Prepare writes zeros, a bounded piece at a time.
//
// It is for one goroutine, which may run beside the one that appends, and must have ended before Close. On a full disk
// it makes nothing. Errors: what the file system says; that disk cannot be trusted with a log any more.
func (l *Log) Prepare() (more bool, err error) {
	s := &l.spare
	if s.err == nil {
		more, s.err = l.prepare(s)
	}
	return more, s.err
}

func (l *Log) prepare(s *spare) (more bool, err error) {
	if s.making == nil {
		if s.ready.Load() != nil || l.full.Load() {
			return false, nil
		}
		size := l.opts.SegmentBytes
		f, err := allocateFile(l.fsys, spareName, size)
		if errors.Is(err, ErrFull) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s.making = &preparation{file: f, size: size}
	}
	m := s.making
	to := min(m.written+prepareBytes, m.size)
	err = writeZeros(m.file, m.written, to)
	if err == nil {
		err = m.file.Sync()
	}
	if err = asFull(err); errors.Is(err, ErrFull) {
		// On some file systems what was allocated can still want room. Nobody was promised anything of it.
		s.making = nil
		return false, errors.Join(m.file.Close(), l.fsys.Remove(spareName))
	}
	if err != nil {
		return false, fmt.Errorf("wal: preparing the next segment, %s: %w", spareName, err)
	}
	if m.written = to; to < m.size {
		return true, nil
	}
	s.making = nil
	s.ready.Store(m)
	return false, nil
}

// want tells of the current segment, once, that it is half full.
func (l *Log) want() {
	if l.told || l.end < l.current.size/2 {
		return
	}
	l.told = true
	select {
	case l.spare.wanted <- struct{}{}:
	default:
	}
}

// close closes what was prepared in vain.
func (s *spare) close() error {
	var errs []error
	for _, p := range []*preparation{s.making, s.ready.Swap(nil)} {
		if p != nil {
			errs = append(errs, p.file.Close())
		}
	}
	s.making = nil
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("wal: closing %s: %w", spareName, err)
	}
	return nil
}
