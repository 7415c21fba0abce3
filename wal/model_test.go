package wal

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

var testOptions = Options{SegmentBytes: 4 << 10, ReserveBytes: 8 << 10, Nonce: 0x5eed}

// model is what a log should hold, kept plainly.
type model struct {
	entries []*raftpb.Entry // of index 1 on
	hard    hardState
}

func (m *model) append(b Batch) model {
	next := model{entries: m.entries, hard: m.hard}
	if len(b.Entries) > 0 {
		keep := b.Entries[0].GetIndex() - 1
		next.entries = append(m.entries[:keep:keep], b.Entries...)
	}
	if hs := b.HardState; hs != nil {
		next.hard = hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}
	}
	return next
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

// differs says how log and hard state differ from m, or nil.
func (m *model) differs(l *Log, hs *raftpb.HardState) error {
	if got := (hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}); got != m.hard {
		return fmt.Errorf("hard state %v, want %v", got, m.hard)
	}
	return m.differsEntries(l)
}

func (m *model) differsEntries(l *Log) error {
	if l.FirstIndex() != 1 || l.LastIndex() != uint64(len(m.entries)) {
		return fmt.Errorf("log of %d to %d, want 1 to %d", l.FirstIndex(), l.LastIndex(), len(m.entries))
	}
	if term, err := l.Term(0); term != 0 || err != nil {
		return fmt.Errorf("term of 0: %d, %w", term, err)
	}
	for lo := uint64(1); lo <= uint64(len(m.entries)); {
		got, err := l.Entries(lo, uint64(len(m.entries))+1, 1<<10)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return errors.New("no entries")
		}
		for _, e := range got {
			want := m.entries[lo-1]
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
	states []model // before each batch, and the last
	ends   []int64 // of each batch, in the segment that is current then
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

// reopen opens a copy of the directory as it is, as after the death of the process.
func (w *written) reopen(t *testing.T, opts Options) (*Log, Recovered) {
	t.Helper()
	log, found, err := Open(w.fsys.clone(), opts)
	require.NoError(t, err)
	require.NoError(t, w.model.differs(log, found.HardState))
	return log, found
}
