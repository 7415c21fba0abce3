package grpctransport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestWhoProvesNothingKeepsNobodyOut: many connections that say nothing are few, and a peer comes in
// beside them.
func TestWhoProvesNothingKeepsNobodyOut(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	a := startTLS(t, addresses, 0, put(t, "node1", ca.node("node1"), ca))
	waiting := func() int {
		a.lobby.mu.Lock()
		defer a.lobby.mu.Unlock()
		return len(a.lobby.waiting)
	}
	for range 2 * maxGuests {
		conn, err := net.Dial("tcp", addresses[0])
		require.NoError(t, err)
		defer conn.Close()
		require.LessOrEqual(t, waiting(), maxGuests)
	}
	eventually(t, says(a, "it did not prove who it is, and others wait"), "said")
	b := startTLS(t, addresses, 1, put(t, "node2", ca.node("node2"), ca))
	pass(t, b, a, form(2, 1))
	eventually(t, func() bool { return waiting() == 0 }, "all are gone in the end, and a peer is no guest")
}
