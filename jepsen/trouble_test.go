package jepsen

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// TestTroubles: what is wrong is its workload's, if it is about what one of them asked, and else everybody's.
func TestTroubles(t *testing.T) {
	h := &linearizability.History{Ops: []linearizability.Op{
		{ID: 1, Kind: linearizability.Put, Key: "register/0/1"},
		{ID: 2, Kind: linearizability.Txn, Steps: []linearizability.Step{{Key: "bank/0/1"}}},
		{ID: 3, Kind: linearizability.Put, Key: "bank/0/2"},
		{ID: 4, Kind: linearizability.Put, Key: "last"},
	}}
	stale := func(ops ...uint64) linearizability.Finding {
		return linearizability.Finding{Judge: linearizability.Porcupine, Violation: &linearizability.Violation{Text: "stale", Ops: ops}}
	}
	open := linearizability.Finding{Judge: linearizability.Porcupine, NoAnswer: []string{"set/7"}}
	down := fmt.Errorf("%w: node1 does not run", ErrNotLive)
	thin := fmt.Errorf("%w: few", errThin)
	for name, c := range map[string]struct {
		finding linearizability.Finding
		err     error
		of      string
		thin    bool
	}{
		"one operation":              {finding: stale(1), of: "register"},
		"operations of one":          {finding: stale(2, 3), of: "bank"},
		"operations of two":          {finding: stale(1, 2)},
		"of no workload":             {finding: stale(4)},
		"none":                       {finding: stale()},
		"no answer":                  {finding: open, of: "set", thin: true},
		"the cluster":                {err: down},
		"what one of them read":      {err: about("watch", down), of: "watch"},
		"too little was asked":       {err: thin, thin: true},
		"one asked too little":       {err: about("import", thin), of: "import", thin: true},
		"nobody's is that of nobody": {err: about("", down)},
	} {
		t.Run(name, func(t *testing.T) {
			v := linearizability.Verdict{c.finding}
			list := troubles([]error{nil, v.Err(), c.err}, v, h)
			require.Len(t, list, 1)
			assert.Equal(t, c.of, list[0].Workload)
			assert.Equal(t, c.thin, list[0].ProvesNothing())
		})
	}
	require.NoError(t, about("set", nil))
	require.ErrorIs(t, about("set", errNotWhole), errNotWhole)
	assert.Equal(t, down.Error(), about("set", down).Error())
	assert.False(t, Trouble{Err: errors.Join(down)}.ProvesNothing())
}
