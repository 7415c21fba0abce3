package sim

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// TestCutOff: without a majority are those that cannot both reach one and be reached
// from it, over whatever nodes.
func TestCutOff(t *testing.T) {
	w := built(t, 5)
	n := &w.nemesis
	first := w.nodes[0]
	assert.Empty(t, n.cutOff(nil))
	assert.Equal(t, []string{"node1"}, n.cutOff(n.around(first, true, true)))
	assert.Equal(t, []string{"node1"}, n.cutOff(n.around(first, true, false)), "it hears nobody")
	assert.Equal(t, []string{"node1"}, n.cutOff(n.around(first, false, true)), "nobody hears it")
	assert.Equal(t, []string{"node1", "node2"}, n.cutOff(n.between(func(a, b int) bool { return (a < 2) != (b < 2) })))
	g := newGenerator(1, "test")
	assert.Empty(t, n.cutOff(n.ring(g)), "they reach each other around it")
	assert.Empty(t, n.cutOff(n.bridge(g)), "they reach each other over it")
	pieces := n.between(func(a, b int) bool { return a/2 != b/2 })
	assert.Len(t, n.cutOff(pieces), 5, "no part is a majority")
}

// TestEventsEnd: every fault has an end, also where there is no more room for beginnings.
func TestEventsEnd(t *testing.T) {
	w := built(t, 3)
	before := w.begins(linearizability.Event{Name: "a fault"})
	for len(w.noted) < maxEvents {
		w.note(linearizability.Event{Kind: linearizability.Started, Node: "node1"})
	}
	assert.Zero(t, w.begins(linearizability.Event{Name: "another"}))
	w.ended(0)
	w.ended(before)
	require.Len(t, w.noted, maxEvents+1)
	last := w.noted[maxEvents]
	assert.Equal(t, linearizability.FaultEnds, last.Kind)
	assert.Equal(t, before, last.Fault)
}

// TestEvents: the history has leaders, crashes and faults in order of time; faults end
// once, and after they began, but for nodes that are set aside.
func TestEvents(t *testing.T) {
	result, err := Run(Options{Seed: 1, Time: 2 * time.Minute, Nodes: 3, Mix: Uniform})
	require.NoError(t, err)
	h := &result.History
	begun, terms := map[uint64]string{}, map[uint64]bool{}
	kinds := map[linearizability.EventKind]uint64{}
	cuts := 0
	last := int64(0)
	for _, e := range h.Events {
		require.GreaterOrEqual(t, e.At, last)
		last = e.At
		kinds[e.Kind]++
		switch e.Kind {
		case linearizability.Leads:
			assert.False(t, terms[e.Term], "term %d", e.Term)
			terms[e.Term] = true
		case linearizability.FaultBegins:
			assert.NotEmpty(t, e.Name)
			begun[e.Fault] = e.Name
			if len(e.Minority) > 0 {
				cuts++
			}
		case linearizability.FaultEnds:
			assert.Contains(t, begun, e.Fault)
			delete(begun, e.Fault)
		default:
		}
	}
	for _, name := range begun {
		assert.Equal(t, "set aside", name)
	}
	assert.Equal(t, result.Fired["leader elected"], kinds[linearizability.Leads])
	assert.Equal(t, result.Fired["start"], kinds[linearizability.Started])
	assert.Equal(t, result.Fired["power lost"]+result.Fired["killed"]+result.Fired["clean stop"], kinds[linearizability.Crashed])
	assert.Equal(t, result.Fired["pause"], kinds[linearizability.Paused])
	assert.Positive(t, kinds[linearizability.Paused])
	assert.Positive(t, cuts)

	var page bytes.Buffer
	require.NoError(t, linearizability.Report(&page, h, linearizability.Check(h, time.Second), time.Second))
	for _, span := range []string{`"kind":"leader","label":"term `, `"kind":"down","label":"power lost"`, `"kind":"minority"`, `"kind":"fault","label":"`} {
		assert.Contains(t, page.String(), span)
	}
}

// TestAge: a bound on the age of an answer holds in true time, however the node's
// clock runs.
func TestAge(t *testing.T) {
	for _, ppm := range []int64{-100_000, -200, 0, 200, 100_000} {
		w := built(t, 1)
		w.setup.drift = 100_000
		r := w.nodes[0]
		for _, d := range []time.Duration{0, 1, time.Millisecond, 5 * time.Second, 1000 * time.Hour} {
			r.clock = clock{base: time.Hour, since: w.now, ppm: ppm}
			at := r.now()
			w.now += int64(d)
			assert.GreaterOrEqual(t, r.age(at), d, "%d ppm", ppm)
			assert.LessOrEqual(t, r.age(at), d*5/4+time.Millisecond, "%d ppm", ppm)
		}
	}
}
