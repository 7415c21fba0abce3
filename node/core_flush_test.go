package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is applied is in the database as soon as somebody wants that, and there is one flush for it.
func TestFlushNow(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 1, false)
	a := s.nodes[0]
	s.run()
	s.step(a, Propose{Request: 1, Command: s.command(), Deadline: a.now + patience})
	s.run()
	st := a.core.Status()
	require.Positive(t, st.Applied)
	require.Less(t, st.Durable, st.Applied, "a flush has time")

	flushes := 0
	s.watch = func(_ *actor, e Effect) {
		if _, ok := e.(Flush); ok {
			flushes++
		}
	}
	s.step(a, FlushNow{})
	st = a.core.Status()
	assert.Equal(t, st.Applied, st.Durable)
	assert.Equal(t, 1, flushes)
	s.step(a, FlushNow{})
	s.step(a, Tick{Now: a.now})
	assert.Equal(t, 1, flushes, "there was nothing to write")
}
