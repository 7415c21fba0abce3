package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// TestMaintenanceGoesOnAfterAReport: a member's word on itself is no Maintenance on its way, for which the next would wait.
func TestMaintenanceGoesOnAfterAReport(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, true)
	leader := s.nodes[0]
	s.elect(leader)
	maintained := func() (n int) {
		for _, e := range s.applied {
			if cmd, err := fsm.Decode(e.Data); err == nil && cmd.Maintenance != nil {
				n++
			}
		}
		return n
	}
	pass := func() {
		for range 40 * idleMaintenance {
			s.tick(leader, 1)
			s.tick(s.nodes[1], 1)
			s.tick(s.nodes[2], 1)
			s.run()
		}
	}
	pass()
	before := maintained()
	require.Positive(t, before)
	s.receive(transport.Message{From: 2, To: 1, Claim: &transport.Claim{Version: 1}})
	s.run()
	require.Len(t, s.reports(), 1)
	pass()
	require.Greater(t, maintained(), before)
}
