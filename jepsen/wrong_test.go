package jepsen

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/confman/confman/linearizability"
)

// TestHistorySoFar: what is asked while a history is taken is in it as it was asked.
func TestHistorySoFar(t *testing.T) {
	r := NewRecorder()
	op := &linearizability.Op{Kind: linearizability.Txn, Steps: []linearizability.Step{{Kind: linearizability.Read, Key: "a"}, {Kind: linearizability.Put, Key: "b"}}}
	assert.True(t, r.Call(op))
	op.Steps[0].Found, op.Outcome = true, linearizability.Applied
	h, _ := r.History()
	assert.Len(t, h.Ops, 1)
	assert.False(t, h.Ops[0].Steps[0].Found)
	assert.Equal(t, linearizability.Unknown, h.Ops[0].Outcome)
	r.Return(op)
	h, _ = r.History()
	assert.Len(t, h.Ops, 1)
	assert.Equal(t, linearizability.Applied, h.Ops[0].Outcome)
}

// TestWrongOf: each judge that found something is named.
func TestWrongOf(t *testing.T) {
	v := linearizability.Verdict{
		{Judge: linearizability.Watches}, {Judge: linearizability.Staleness, Violation: &linearizability.Violation{Text: "old"}},
	}
	assert.Equal(t, []Wrong{{linearizability.Staleness, "old"}}, wrongOf(v))
}
