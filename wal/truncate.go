package wal

import "fmt"

// Truncate gives up what is no longer needed of the entries at or below index, and
// removes the files. The caller promises that all of them are committed, and durable
// elsewhere.
//
// Only whole segments go, oldest first, and never the current one; FirstIndex rises to
// what is really held then, at most index+1. The term of FirstIndex-1 can still be
// read. At an index below FirstIndex no entry is given up, but at FirstIndex-1 the
// segments go of which a snapshot took the place. When the disk was full and
// segments went, the reserve is made again if there is room.
//
// Errors: if index is above LastIndex; ErrFull; what the file system says. After one
// the log takes nothing more.
func (l *Log) Truncate(index uint64) error { return l.poison(l.truncate(index)) }

func (l *Log) truncate(index uint64) error {
	if l.err != nil {
		return l.err
	}
	if index > l.index.last {
		return fmt.Errorf("wal: truncating a log of %d to %d at %d", l.index.first, l.index.last, index)
	}
	n := l.removable(index)
	if n == 0 {
		return nil
	}
	// A missing segment is damage unless the log says that it was given up. So it says
	// so, durably, before the first file goes. Then every subset of the files may be
	// left after a crash: Open knows what it needs, and removes the rest. The
	// directory need not be synced.
	if err := l.fault("before-truncation"); err != nil {
		return err
	}
	if err := l.writeTruncation(l.segments[n].number); err != nil {
		return err
	}
	for _, s := range l.giveUp(n) {
		if err := l.fault("before-segment-remove"); err != nil {
			return err
		}
		if err := l.fsys.Remove(s.name); err != nil {
			return fmt.Errorf("wal: removing segment %s: %w", s.name, err)
		}
		if err := l.fault("after-segment-remove"); err != nil {
			return err
		}
	}
	if l.full.Load() {
		return l.tryReserve()
	}
	return nil
}

// removable returns how many segments hold nothing but what Truncate may give up.
func (l *Log) removable(index uint64) int {
	for n := len(l.segments) - 1; n > 0; n-- {
		if first, _, ok := l.index.start(l.segments[n]); ok && first <= index+1 {
			return n
		}
	}
	return 0
}

// writeTruncation makes durable that the segments before oldest are no longer needed.
func (l *Log) writeTruncation(oldest uint64) error {
	if l.end+truncationBatchBytes > l.current.size-proofBytes-sealBatchBytes {
		if err := l.switchSegment(truncationBatchBytes); err != nil {
			return err
		}
	}
	crc := l.begin(truncationBatchBytes)
	l.buf, crc = appendTruncation(l.buf, crc, oldest)
	if err := l.write(crc); err != nil {
		return err
	}
	l.proof = false
	return l.sync()
}

// giveUp makes l.segments[n] the first segment, which index.start allows, and
// returns those before it. Their files are left to remove, and readers may still use them.
func (l *Log) giveUp(n int) []*segment {
	gone := l.segments[:n:n]
	l.segments = l.segments[n:]
	l.mu.Lock()
	l.index.truncateFront(l.segments[0])
	l.mu.Unlock()
	for _, s := range gone {
		s.release()
	}
	return gone
}
