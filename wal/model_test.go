package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

var testOptions = Options{SegmentBytes: 4 << 10, ReserveBytes: 8 << 10, Nonce: 0x5eed}

// model is what a log should hold, kept plainly.
type model struct {
	base, baseTerm uint64          // what was given up ends here
	entries        []*raftpb.Entry // of index base+1 on
	hard           hardState
	marker         *Marker // the newest one that is held
}

func (m *model) last() uint64 { return m.base + uint64(len(m.entries)) }

func (m *model) append(b Batch) model {
	next := *m
	if s := b.Snapshot; s != nil {
		next.base, next.baseTerm, next.marker = s.Index, s.Term, s
		next.entries = nil
	}
	if len(b.Entries) > 0 {
		keep := b.Entries[0].GetIndex() - 1 - next.base
		next.entries = append(next.entries[:keep:keep], b.Entries...)
	}
	if hs := b.HardState; hs != nil {
		next.hard = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
	}
	return next
}

// truncated is m after l was truncated at index: which segments may go is l's affair.
func (m *model) truncated(l *Log, index uint64) (model, error) {
	base := l.FirstIndex() - 1
	if base < m.base || base > max(m.base, index) {
		return *m, fmt.Errorf("truncated at %d, the log went from beginning behind %d to behind %d", index, m.base, base)
	}
	next := *m
	if n := base - m.base; n > 0 {
		next.base, next.baseTerm, next.entries = base, m.entries[n-1].GetTerm(), m.entries[n:]
	}
	if m.marker != nil && l.index.markerIn == nil {
		if index < m.marker.Index {
			return next, fmt.Errorf("truncated at %d, the log gave up the marker at %d", index, m.marker.Index)
		}
		next.marker = nil
	}
	return next, nil
}

func marker(index, term uint64, voters ...uint64) *Marker {
	return &Marker{Index: index, Term: term, Conf: &raftpb.ConfState{Voters: voters}}
}

func entry(index, term uint64, data string) *raftpb.Entry {
	return &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum(), Data: []byte(data)}
}

func entries(from, n, term uint64, size int) []*raftpb.Entry {
	var out []*raftpb.Entry
	for i := from; i < from+n; i++ {
		data := fmt.Sprintf("entry %d of term %d ", i, term)
		for len(data) < size {
			data += data
		}
		out = append(out, entry(i, term, data[:size]))
	}
	return out
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// differs says how a log that was opened differs from m, or nil.
func (m *model) differs(l *Log, found Recovered) error {
	hs := found.HardState
	if got := (hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}); got != m.hard {
		return fmt.Errorf("hard state %v, want %v", got, m.hard)
	}
	got, want := found.Snapshot, m.marker
	if (got == nil) != (want == nil) {
		return fmt.Errorf("marker %v, want %v", got, want)
	}
	if got != nil && (got.Index != want.Index || got.Term != want.Term || !proto.Equal(got.Conf, want.Conf)) {
		return fmt.Errorf("marker %v, want %v", got, want)
	}
	return m.differsEntries(l)
}

func (m *model) differsEntries(l *Log) error {
	first, last := m.base+1, m.last()
	if l.FirstIndex() != first || l.LastIndex() != last {
		return fmt.Errorf("log of %d to %d, want %d to %d", l.FirstIndex(), l.LastIndex(), first, last)
	}
	if term, err := l.Term(m.base); term != m.baseTerm || err != nil {
		return fmt.Errorf("term of %d: %d, %w, want %d", m.base, term, err, m.baseTerm)
	}
	if m.base > 0 {
		if _, err := l.Term(m.base - 1); !errors.Is(err, ErrCompacted) {
			return fmt.Errorf("term of %d: %w", m.base-1, err)
		}
		if _, err := l.Entries(m.base, last+1, 1); !errors.Is(err, ErrCompacted) {
			return fmt.Errorf("entries from %d on: %w", m.base, err)
		}
	}
	for lo := first; lo <= last; {
		got, err := l.Entries(lo, last+1, 1<<10)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return errors.New("no entries")
		}
		for _, e := range got {
			want := m.entries[lo-first]
			if e.GetIndex() != lo || e.GetTerm() != want.GetTerm() || e.GetType() != want.GetType() || string(e.GetData()) != string(want.GetData()) {
				return fmt.Errorf("entry %v, want %v", e, want)
			}
			if term, err := l.Term(lo); term != want.GetTerm() || err != nil {
				return fmt.Errorf("term of %d: %d, %w, want %d", lo, term, err, want.GetTerm())
			}
			lo++
		}
	}
	return nil
}

// written is a log in memory, as one Append after another left it.
type written struct {
	fsys   *memFS
	log    *Log
	model  model
	states []model // before each batch or truncation, and the last
	ends   []int64 // of each batch, in the segment that is current then

	durable int // of states, for those that keep account of it
}

func newWritten(t *testing.T, opts Options) *written {
	t.Helper()
	w := &written{fsys: newMemFS(), states: []model{{}}}
	require.NoError(t, Create(w.fsys, opts))
	log, found, err := Open(w.fsys, opts)
	require.NoError(t, err)
	require.Nil(t, found.Cut)
	w.log = log
	return w
}

func (w *written) append(t *testing.T, b Batch) {
	t.Helper()
	require.NoError(t, w.log.Append(b))
	w.model = w.model.append(b)
	w.states = append(w.states, w.model)
	w.ends = append(w.ends, w.log.end)
}

func (w *written) truncate(t *testing.T, index uint64) {
	t.Helper()
	require.NoError(t, w.log.Truncate(index))
	var err error
	w.model, err = w.model.truncated(w.log, index)
	require.NoError(t, err)
	w.states = append(w.states, w.model)
	w.ends = append(w.ends, w.log.end)
}

// segments are those in the directory.
func (w *written) segments(t *testing.T) []uint64 {
	t.Helper()
	numbers, err := listSegments(w.fsys.clone())
	require.NoError(t, err)
	return numbers
}

// reopen opens a copy of the directory as it is, as after the death of the process.
func (w *written) reopen(t *testing.T, opts Options) (*Log, Recovered) {
	t.Helper()
	log, found, err := Open(w.fsys.clone(), opts)
	require.NoError(t, err)
	require.NoError(t, w.model.differs(log, found))
	return log, found
}
