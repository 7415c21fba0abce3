package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

func someSeat() *Seat {
	return &Seat{Cluster: fsm.ClusterID{1, 2}, RaftID: 4, Name: "node4", Membership: Membership{
		Members: []fsm.Member{
			{RaftID: 1, Name: "node1", MemberSpec: fsm.MemberSpec{Address: "10.0.1.10", APIPort: 5000, RaftPort: 5001}, Want: fsm.Voter, Life: fsm.Life{1}, Version: 1},
			{RaftID: 4, Name: "node4", Want: fsm.Learner, Version: 1},
		},
		Conf: fsm.ConfState{Voters: []uint64{1}}, LastRaftID: 4,
	}}
}

// TestParseSeat: a seat is what String wrote, or the error says what to do.
func TestParseSeat(t *testing.T) {
	want := someSeat()
	text := want.String()
	got, err := ParseSeat(" " + text[:30] + "\r\n " + text[30:] + "\n")
	require.NoError(t, err)
	require.Equal(t, want, got)
	long := strings.Repeat("00", 17)
	for name, bad := range map[string]string{
		"nothing":           "",
		"another word":      "confman-seat-2" + text[len("confman-seat-1"):],
		"its end missing":   text[:len(text)-1],
		"one letter":        strings.Replace(text, "e", "f", 1),
		"too long":          text + strings.Repeat("0", maxSeatBytes),
		"no JSON":           seatText([]byte("seat")),
		"what nobody knows": seatText([]byte(`{"more":1}`)),
		"a short cluster":   seatText([]byte(`{"cluster":"00"}`)),
		"a long cluster":    seatText([]byte(`{"cluster":"` + long + `"}`)),
		"a long life":       seatText([]byte(`{"cluster":"` + long[2:] + `","membership":{"members":[{"life":"` + long + `"}]}}`)),
	} {
		_, err := ParseSeat(bad)
		require.ErrorContains(t, err, "this is no seat", name)
		require.ErrorContains(t, err, "confman cluster add or replace", name)
	}
}

func FuzzParseSeat(f *testing.F) {
	f.Add([]byte(`{"cluster":"` + strings.Repeat("0", 32) + `","raft_id":4,"name":"node4","membership":{"members":[],"voters":[1],"last_raft_id":4}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		seat, err := ParseSeat(seatText(body))
		if err != nil {
			return
		}
		again, err := ParseSeat(seat.String())
		require.NoError(t, err)
		require.Equal(t, seat.String(), again.String())
	})
}
