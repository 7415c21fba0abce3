package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/confman/confman/wal"
)

// meter is what a Runner counts. Measures shows all of it; nothing decides by it.
type meter struct {
	propose, read                            Histogram // what callers wait for
	queue, forward, append, replicate, apply Histogram // the stages of proposals
	step                                     Histogram // of the loop
	logAppend, logSync                       Histogram
	storeApply, storeFlush                   Histogram

	proposals [Unknown + 1]reasonCounts // by outcome; 0: applied
	reads     reasonCounts

	appliedEntries, flushedBytes       atomic.Uint64
	leaderChanges, damages             atomic.Uint64
	imagesOpened, imageReadBytes       atomic.Uint64
	imagesVerified, imagesRejected     atomic.Uint64
	imagesInstalled, imageWrittenBytes atomic.Uint64
}

// reasons are why proposals and reads fail, each in a word. What none of them is, is otherReason.
var reasons = [...]struct {
	name string
	is   error
}{
	{"overloaded", ErrOverloaded},
	{"no-quorum", ErrNoQuorum},
	{"storage-full", ErrStorageFull},
	{"quota", ErrQuota},
	{"leadership-lost", ErrLost},
	{"overtaken", ErrOvertaken},
	{"repeated", ErrRepeated},
	{"undecodable", ErrUndecodable},
	{"rebuilding", ErrRebuilding},
	{"forming", ErrForming},
	{"stopping", ErrStopped},
	{"canceled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
}

const otherReason = "other"

// reasonCounts counts by reason: first those without one, last those of otherReason.
type reasonCounts [len(reasons) + 2]atomic.Uint64

func (n *reasonCounts) add(err error) {
	if err == nil {
		n[0].Add(1)
		return
	}
	for i := range reasons {
		if errors.Is(err, reasons[i].is) {
			n[i+1].Add(1)
			return
		}
	}
	n[len(n)-1].Add(1)
}

// counts are how many requests ended with an outcome: those without a reason, or the failures by reason.
func (n *reasonCounts) counts(outcome string, failures bool) []Ended {
	var out []Ended
	if !failures {
		return append(out, Ended{Outcome: outcome, Count: n[0].Load()})
	}
	for i := range reasons {
		out = append(out, Ended{Outcome: outcome, Reason: reasons[i].name, Count: n[i+1].Load()})
	}
	return append(out, Ended{Outcome: outcome, Reason: otherReason, Count: n[len(n)-1].Load()})
}

// passed counts the stages of a write that was answered.
func (m *meter) passed(s *Stages) {
	s.Each(func(stage Stage, from, to time.Duration) {
		switch stage {
		case StageQueue:
			m.queue.Observe(to - from)
		case StageForward:
			m.forward.Observe(to - from)
		case StageAppend:
			m.append.Observe(to - from)
		case StageReplicate:
			m.replicate.Observe(to - from)
		case StageApply:
			m.apply.Observe(to - from)
		}
	})
}

// proposed counts a proposal that ended.
func (m *meter) proposed(took time.Duration, err error) {
	m.propose.Observe(took)
	var we *WriteError
	switch {
	case err == nil:
		m.proposals[0].add(nil)
	case errors.As(err, &we):
		m.proposals[we.Outcome].add(we.Err)
	default: // it could not be encoded
		m.proposals[NotApplied].add(err)
	}
}

// image counts what the image worker did.
func (m *meter) image(in Input) {
	switch in := in.(type) {
	case ImageOpened:
		if in.Err == nil {
			m.imagesOpened.Add(1)
		}
	case ImageRead:
		m.imageReadBytes.Add(uint64(len(in.Data)))
	case ImageVerified:
		if in.Err == nil {
			m.imagesVerified.Add(1)
		} else {
			m.imagesRejected.Add(1)
		}
	default: // not counted
	}
}

// meteredFS is a file system that measures how long syncs of files take.
type meteredFS struct {
	wal.FS
	syncs *Histogram
}

// Create is part of wal.FS.
func (m meteredFS) Create(name string) (wal.File, error) { return m.metered(m.FS.Create(name)) }

// Open is part of wal.FS.
func (m meteredFS) Open(name string) (wal.File, error) { return m.metered(m.FS.Open(name)) }

func (m meteredFS) metered(f wal.File, err error) (wal.File, error) {
	if err != nil {
		return nil, err
	}
	return meteredFile{f, m.syncs}, nil
}

type meteredFile struct {
	wal.File
	syncs *Histogram
}

// Sync is part of wal.File.
func (m meteredFile) Sync() error {
	began := time.Now()
	err := m.File.Sync()
	m.syncs.Observe(time.Since(began))
	return err
}
