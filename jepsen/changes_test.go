package jepsen

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func event(rev uint64, path, value, comment string) client.Event {
	return client.Event{Record: client.Record{Path: path, Value: []byte(value), Revision: rev}, Deleted: value == "", Comment: comment}
}

// TestChanges: each change is whose comment it has; a revision without one changed no key.
func TestChanges(t *testing.T) {
	h := func() *linearizability.History {
		ops := []linearizability.Op{
			{ID: 1, Kind: linearizability.Put, Key: "a", Value: "v1", Outcome: linearizability.Applied},
			{ID: 2, Kind: linearizability.Put, Key: "a", Value: "v2", IdempotencyKey: "k", Outcome: linearizability.NotApplied},
			{ID: 3, Kind: linearizability.Put, Key: "a", Value: "v2", IdempotencyKey: "k", Outcome: linearizability.Unknown},
			{ID: 4, Kind: linearizability.Delete, Key: "a", Outcome: linearizability.Unknown},
			{ID: 5, Kind: linearizability.Txn, Steps: []linearizability.Step{{Kind: linearizability.Append, Key: "set/0", Value: "e5"}}},
			{ID: 6, Kind: linearizability.Txn, Steps: []linearizability.Step{{Kind: linearizability.Append, Key: "l", Value: "e6"}, {Kind: linearizability.Read, Key: "a"}}},
		}
		return &linearizability.History{Ops: ops}
	}
	r := &Run{Options: Options{loads: []Workload{&set{}}}}
	log := []client.Event{
		event(1, "a", "v1", "op 1"), event(4, "a", "v2", "key k"), event(5, "a", "", "op 4"),
		event(6, "set/0/e5", "e5", "op 5"), event(7, "l", "e1 e6", "op 6"), event(7, "x", "y", "somebody else's"),
	}
	got := h()
	require.NoError(t, r.takeChanges(got, log))
	assert.True(t, got.HasChanges)
	assert.Equal(t, []linearizability.Change{
		{Revision: 1, Op: 1, Key: "a"},
		{Revision: 2},
		{Revision: 3},
		{Revision: 4, Op: 3, Key: "a"},
		{Revision: 5, Op: 4, Key: "a"},
		{Revision: 6, Op: 5, Key: "set/0"},
		{Revision: 7, Op: 6, Key: "l"},
		{Revision: 7, Key: "x"},
	}, got.Changes)

	for name, c := range map[string]struct {
		log  []client.Event
		want error
	}{
		"asked for by nobody":       {[]client.Event{event(1, "a", "v1", "op 9")}, ErrLog},
		"under a key of nobody":     {[]client.Event{event(1, "a", "v1", "key z")}, ErrLog},
		"by nobody whom it tells":   {[]client.Event{event(1, "a", "v1", "")}, ErrLog},
		"another value":             {[]client.Event{event(1, "a", "v3", "op 1")}, ErrLog},
		"another key":               {[]client.Event{event(1, "b", "v1", "op 1")}, ErrLog},
		"deleted instead":           {[]client.Event{event(1, "a", "", "op 1")}, ErrLog},
		"put instead":               {[]client.Event{event(1, "a", "v1", "op 4")}, ErrLog},
		"what was read":             {[]client.Event{event(1, "a", "v1", "op 6")}, ErrLog},
		"another element":           {[]client.Event{event(1, "set/0/e5", "e4", "op 5")}, ErrLog},
		"revisions that go back":    {[]client.Event{event(2, "a", "v1", "op 1"), event(1, "a", "", "op 4")}, ErrLog},
		"compacted, or never there": {[]client.Event{event(1<<32, "a", "v1", "op 1")}, errNotWhole},
	} {
		t.Run(name, func(t *testing.T) {
			got := h()
			require.ErrorIs(t, r.takeChanges(got, c.log), c.want)
			assert.False(t, got.HasChanges)
		})
	}
}
