package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFollowersKnowOfTheirLeaderOnly: another follower, which is heard when states are compared,
// does not come and go for that.
func TestFollowersKnowOfTheirLeaderOnly(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	s.settings.DigestInterval = 2 * time.Second
	for _, a := range s.nodes {
		s.start(a)
	}
	s.elect(s.nodes[0])
	heard := func() {
		for _, a := range s.nodes {
			s.tick(a, 1)
		}
		s.run()
	}
	heard()
	for range int(5 * time.Second / (50 * time.Millisecond)) {
		heard()
		require.Equal(t, []uint64{2, 3}, s.nodes[0].core.Status().Reachable)
		for _, a := range s.nodes[1:] {
			require.Equal(t, []uint64{1}, a.core.Status().Reachable)
		}
	}
	assert.NotEmpty(t, s.nodes[1].core.digests, "followers heard of each other")
}
