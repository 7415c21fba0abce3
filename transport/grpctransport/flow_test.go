package grpctransport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFlowStopsBulkAtTheWindow(t *testing.T) {
	t0 := time.Unix(0, 0)
	f := newFlow(WireVersion, t0)
	require.Equal(t, uint64(1), f.sending(0, t0), "a new stream begins with a ping")
	pings := []uint64{}
	for f.room() {
		if p := f.sending(ackBytes/2, t0); p != 0 {
			pings = append(pings, p)
		}
	}
	assert.Equal(t, []uint64{2, 3, 4, 5, 6, 7, 8, 9}, pings, "one for each ackBytes")
	f.pong(2, t0)
	assert.True(t, f.room())
	assert.Len(t, f.wake, 1)
	f.pong(9, t0)
	assert.Equal(t, f.sent, f.acked)
	assert.Empty(t, f.asked)
}

func TestFlowKnowsSlowFromSilent(t *testing.T) {
	t0 := time.Unix(0, 0)
	second := func(n float64) time.Time { return t0.Add(time.Duration(n * float64(time.Second))) }

	idle := newFlow(WireVersion, t0)
	idle.sending(0, t0)
	assert.False(t, idle.tick(second(4)))
	assert.True(t, idle.tick(second(4.1)), "nothing is on its way, and no answer came")

	busy := newFlow(WireVersion, t0)
	busy.sending(4*slowestLink, t0)
	assert.False(t, busy.tick(second(8)), "4 s for the bulk, and patience")
	assert.True(t, busy.tick(second(8.1)))

	answering := newFlow(WireVersion, t0)
	answering.pong(answering.sending(4*slowestLink, t0), second(5))
	assert.Equal(t, 5*time.Second, answering.roundTrip())
	assert.False(t, answering.tick(second(9)))
	assert.True(t, answering.tick(second(9.1)))
}

func TestFlowIgnoresPongsOfNoPing(t *testing.T) {
	t0 := time.Unix(0, 0)
	f := newFlow(WireVersion, t0)
	first := f.sending(windowBytes, t0)
	f.pong(0, t0.Add(time.Second))
	assert.False(t, f.room())
	assert.Equal(t, t0, f.heard)
	f.pong(first, t0)
	f.pong(first, t0.Add(time.Hour))
	assert.Equal(t, t0, f.heard, "an answer counts once")
}
