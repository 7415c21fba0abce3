package node

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// reports are the commands in what the nodes applied that say what members know.
func (s *stage) reports() (all []fsm.Report) {
	for _, e := range s.applied {
		if cmd, err := fsm.Decode(e.Data); err == nil && cmd.Report != nil {
			all = append(all, *cmd.Report)
		}
	}
	return all
}

// TestWhoCannotClaimIsReportedAsOld: a member that went back to a program that cannot say what it knows is not
// taken for what it said before. Only the leader puts that into the log, and only if it is news.
func TestWhoCannotClaimIsReportedAsOld(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	s.elect(s.nodes[0])
	old := func(from, to, version uint8) {
		s.receive(transport.Message{From: uint64(from), To: uint64(to), Claim: &transport.Claim{Version: version}})
		s.tick(s.nodes[to-1], 1)
		s.run()
	}
	old(2, 3, 1)
	old(2, 1, fsm.Version)
	old(9, 1, 1)
	require.Empty(t, s.reports(), "to a follower; what is known; of nobody that is known")
	old(2, 1, 1)
	assert.Equal(t, []fsm.Report{{RaftID: 2, Life: fsm.Life{1}, Version: 1}}, s.reports())
	for _, m := range s.wire {
		assert.Nil(t, m.ClaimReply, "it could not read one")
	}
}

// TestANodeStopsBeforeAStateOfANewerVersion, however it gets there: it starts from one, or an image of one came. The image
// is not installed, and not called damaged, or its sender would give up its own store.
func TestANodeStopsBeforeAStateOfANewerVersion(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	newer := s.nodes[0].state
	newer.Version = fsm.Version + 1
	_, err := NewCore(Config{ID: 1, Incarnation: 1, Life: fsm.Life{1}, Log: &memLog{}, State: newer})
	require.ErrorIs(t, err, ErrNewerCluster)
	require.ErrorContains(t, err, fmt.Sprintf("the cluster uses version %d of commands, this program knows up to %d", fsm.Version+1, fsm.Version))

	newer.Applied, newer.Term = 7, 1
	for name, r := range map[string]ImageVerified{
		"version": {State: newer},
		"layout":  {Err: fmt.Errorf("image: %w", fsm.ErrUnknownVersion)},
	} {
		s.start(s.nodes[1])
		core := s.nodes[1].core
		core.incoming = &incoming{from: 1, index: 7, phase: imageVerifying}
		effects := core.Step(r)
		require.Len(t, effects, 1, name)
		stop, ok := effects[0].(Stop)
		require.True(t, ok, name)
		require.ErrorIs(t, stop.Err, ErrNewerCluster, name)
		require.ErrorContains(t, stop.Err, "start the release that the other members run", name)
	}

	core := s.nodes[2].core
	core.membershipApplied(&newer)
	require.ErrorIs(t, core.err, ErrNewerCluster)
}
