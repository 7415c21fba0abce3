package jepsen

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// TestRecorder: what clients ask side by side is remembered, each with the times at which it was asked and answered; what
// was not answered is unknown, or failed if it reads.
func TestRecorder(t *testing.T) {
	r := NewRecorder()
	const clients, each = 8, 1500 // some blocks
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for range each {
				op := &linearizability.Op{Client: n, Kind: linearizability.Put, Key: "k"}
				assert.True(t, r.Call(op))
				op.Outcome, op.Revision = linearizability.Applied, op.ID
				r.Return(op)
			}
		})
	}
	all.Wait()
	require.True(t, r.Call(&linearizability.Op{Kind: linearizability.Put}))
	require.True(t, r.Call(&linearizability.Op{Kind: linearizability.Txn, Steps: []linearizability.Step{{Kind: linearizability.Read}}}))
	h, full := r.History()
	assert.False(t, full)
	require.Len(t, h.Ops, clients*each+2)
	ids := map[uint64]bool{}
	for i := range h.Ops[:clients*each] {
		o := &h.Ops[i]
		ids[o.ID] = true
		assert.Equal(t, linearizability.Applied, o.Outcome)
		assert.LessOrEqual(t, o.Call, o.Return)
		assert.Equal(t, o.ID, o.Revision)
	}
	assert.Len(t, ids, clients*each)
	left := map[linearizability.Outcome]int{}
	for _, o := range h.Ops[clients*each:] {
		assert.Equal(t, linearizability.Never, o.Return)
		left[o.Outcome]++
	}
	assert.Equal(t, map[linearizability.Outcome]int{linearizability.Unknown: 1, linearizability.ReadFailed: 1}, left)
}

// TestRecorderIsBounded: beyond its limits nothing is asked, and it is said.
func TestRecorderIsBounded(t *testing.T) {
	for name, fill := range map[string]func(*Recorder){
		"bytes":   func(r *Recorder) { r.bytes = MaxRecordedBytes },
		"watched": func(r *Recorder) { r.watched = MaxWatched },
		"events":  func(r *Recorder) { r.events = make([]linearizability.Event, MaxEvents) },
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRecorder()
			fill(r)
			room := r.Call(&linearizability.Op{Kind: linearizability.Put})
			assert.Equal(t, name != "bytes", room)
			r.Watched(linearizability.Watch{Events: make([]linearizability.WatchEvent, 1)})
			r.Note(linearizability.Event{Kind: linearizability.Started})
			before := len(r.events)
			r.End(7)
			assert.Len(t, r.events, before+1, "a fault without an end would seem to last")
			assert.True(t, r.full)
		})
	}
}

// TestRecorderIsQuick: to record an operation takes next to nothing of the time that one takes.
func TestRecorderIsQuick(t *testing.T) {
	r := NewRecorder()
	began := time.Now()
	const ops = 50_000
	for range ops {
		op := &linearizability.Op{Kind: linearizability.Put, Key: "k", Value: "v"}
		r.Call(op)
		op.Outcome = linearizability.Applied
		r.Return(op)
	}
	assert.Less(t, time.Since(began)/ops, 100*time.Microsecond)
}
