package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Who hears that the leader's process has ended does not wait for an election timeout, and one after the other stands.
func TestTheLeaderIsGone(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a, b, c := s.nodes[0], s.nodes[1], s.nodes[2]
	s.elect(a)
	s.run()
	require.Equal(t, Leader, a.core.Status().Role)
	term := a.core.Status().Term

	s.kill(a)
	for _, n := range []*actor{b, c} {
		s.step(n, Gone{Peer: 3})
		require.Equal(t, uint64(1), n.core.Status().Leader, "of somebody else it is no matter")
		s.step(n, Gone{Peer: 1})
		require.Zero(t, n.core.Status().Leader)
	}
	for range standTicks {
		s.tick(b, 1)
		s.tick(c, 1)
	}
	s.run()
	assert.Equal(t, Leader, b.core.Status().Role)
	assert.Equal(t, uint64(2), c.core.Status().Leader)
	assert.Equal(t, term+1, b.core.Status().Term)
}

// A leader that only one node holds for gone goes on to lead, and is followed again.
func TestTheLeaderIsNotGone(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a, b, c := s.nodes[0], s.nodes[1], s.nodes[2]
	s.elect(a)
	s.run()
	term := a.core.Status().Term

	s.step(b, Gone{Peer: 1})
	s.tick(b, standTicks)
	s.run()
	assert.Equal(t, uint64(1), c.core.Status().Leader)
	s.tick(a, 1) // a heartbeat
	s.run()
	for _, n := range s.nodes {
		assert.Equal(t, uint64(1), n.core.Status().Leader)
		assert.Equal(t, term, n.core.Status().Term)
	}
}
