package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

const (
	plantedTime  = 30 * time.Second
	plantedSeeds = 40 // each bug is caught within these
	controlSeeds = 6
)

// logWithoutVotes forgets the vote of each hard state.
type logWithoutVotes struct{ raftLog }

func (l logWithoutVotes) Append(b wal.Batch) error {
	if b.HardState != nil {
		b.HardState = &raftpb.HardState{Term: b.HardState.Term, Vote: new(uint64(0)), Commit: b.HardState.Commit}
	}
	return l.raftLog.Append(b)
}

// logWithoutHardState forgets hard states.
type logWithoutHardState struct{ raftLog }

func (l logWithoutHardState) Append(b wal.Batch) error {
	b.HardState = nil
	if len(b.Entries) == 0 {
		return nil
	}
	return l.raftLog.Append(b)
}

// logWithoutSync never syncs.
type logWithoutSync struct{ raftLog }

func (l logWithoutSync) Append(b wal.Batch) error {
	b.Sync = false
	return l.raftLog.Append(b)
}

func (l logWithoutSync) Prove() error { return nil }

// TestPlantedBugs: each is found within its seeds, by the judge that is meant to find it.
func TestPlantedBugs(t *testing.T) {
	cases := []struct {
		name  string
		hooks hooks
		found []string // any of these
	}{
		{
			name:  "appends acknowledged before the sync",
			hooks: hooks{ackEarly: true},
			found: []string{"durable"},
		},
		{
			name:  "vote not persisted",
			hooks: hooks{log: func(l raftLog) raftLog { return logWithoutVotes{l} }},
			found: []string{"lost what was durable"},
		},
		{
			name:  "hard state not persisted",
			hooks: hooks{log: func(l raftLog) raftLog { return logWithoutHardState{l} }},
			found: []string{"lost what was durable"},
		},
		{
			name:  "log never synced",
			hooks: hooks{log: func(l raftLog) raftLog { return logWithoutSync{l} }},
			found: []string{"lost what was durable"},
		},
		{
			name:  "reads served without asking",
			hooks: hooks{readEarly: true},
			found: []string{"the past was seen"},
		},
		{
			name: "results swapped",
			hooks: hooks{results: func(g generator, rs []fsm.Result) []fsm.Result {
				if len(rs) < 2 || !g.chance(0.5) {
					return rs
				}
				rs = slices.Clone(rs)
				rs[0].Outcome, rs[1].Outcome = rs[1].Outcome, rs[0].Outcome
				rs[0].Revision, rs[1].Revision = rs[1].Revision, rs[0].Revision
				return rs
			}},
			found: []string{"the entry at index"},
		},
		{
			name: "a revision too many",
			hooks: hooks{results: func(g generator, rs []fsm.Result) []fsm.Result {
				if g.chance(0.01) {
					rs = slices.Clone(rs)
					rs[0].Revision++
				}
				return rs
			}},
			found: []string{"the entry at index"},
		},
		{
			name: "a revision too many for the last key of several",
			hooks: hooks{results: func(_ generator, rs []fsm.Result) []fsm.Result {
				rs = slices.Clone(rs)
				for i := range rs {
					if n := len(rs[i].Ops); n > 1 {
						rs[i].Ops = slices.Clone(rs[i].Ops)
						rs[i].Ops[n-1].Revision++
					}
				}
				return rs
			}},
			found: []string{"the entry at index", "left key"},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= plantedSeeds; seed++ {
				_, err := Run(Options{Seed: seed, Time: plantedTime, hooks: c.hooks})
				if err == nil {
					continue
				}
				t.Logf("seed %d: %v", seed, err)
				for _, text := range c.found {
					require.ErrorContains(t, err, text)
				}
				return
			}
			t.Fatalf("not found in %d seeds", plantedSeeds)
		})
	}
}
