package sim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

func TestPlaces(t *testing.T) {
	m := newModel()
	assert.Equal(t, fsm.Revision(4), m.after(3))
	assert.Equal(t, 3, m.place(4))
	m.skip, m.revision, m.changes = fsm.Gap{From: 3, To: 100}, 101, make([]modelChange, 5)
	rev := fsm.Revision(0)
	for place := range m.changes {
		next := m.after(rev)
		assert.Equal(t, place, m.place(next))
		assert.Equal(t, next, m.number(place))
		assert.Equal(t, rev, m.before(next))
		assert.Same(t, &m.changes[place], m.made(next))
		rev = next
	}
	assert.Equal(t, m.revision, rev)
	for rev, skipped := range map[fsm.Revision]bool{0: false, 3: false, 4: true, 99: true, 100: false} {
		assert.Equal(t, skipped, m.skipped(rev), "%d", rev)
	}
	assert.Nil(t, m.made(50), "a restore skipped it")
	assert.Nil(t, m.made(102), "nobody made it yet")
}

// restoredOptions are those of the first world that is restored in the end.
func restoredOptions(t *testing.T) Options {
	t.Helper()
	for seed := range uint64(1000) {
		o := Options{Seed: seed, Nodes: 3, Mix: Uniform, Time: leastToRestore}
		if s := newSetup(o); s.restored {
			return o
		}
	}
	require.Fail(t, "no world is restored")
	return Options{}
}

// TestRestored: the clients of a restored world see nothing but what comes behind the gap, and what the
// world does is the same each time.
func TestRestored(t *testing.T) {
	o := restoredOptions(t)
	result, err := Run(o)
	require.NoError(t, err)
	for _, name := range []string{"backup made", "restored", "write of before the restore asked for again"} {
		assert.NotZero(t, result.Fired[name], name)
	}
	applied := 0
	for i := range result.History.Ops {
		if op := &result.History.Ops[i]; op.Outcome == linearizability.Applied {
			applied++
			assert.Greater(t, op.Revision, uint64(fsm.RestoreGap))
		}
	}
	assert.NotZero(t, applied)
	again, err := Run(o)
	require.NoError(t, err)
	assert.Equal(t, result.Trace, again.Trace)
	o.Without = []string{"restored"}
	without, err := Run(o)
	require.NoError(t, err)
	assert.Zero(t, without.Fired["restored"])
}
