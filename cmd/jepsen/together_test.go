package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/jepsen"
)

// TestToldApart: what is wrong is noted where it belongs, and what is not known by that is run alone.
func TestToldApart(t *testing.T) {
	stale := errors.New("stale")
	thin := fmt.Errorf("%w: few", jepsen.ErrProvesNothing)
	for name, c := range map[string]struct {
		troubles []jepsen.Trouble
		want     map[string]string
	}{
		"one is wrong":                  {[]jepsen.Trouble{{Workload: "bank", Err: stale}}, map[string]string{"bank": resultWrong}},
		"one asked too little":          {[]jepsen.Trouble{{Workload: "bank", Err: thin}}, map[string]string{"set": resultGood, "watch": resultGood}},
		"all asked too little":          {[]jepsen.Trouble{{Err: thin}}, map[string]string{}},
		"the cluster is wrong":          {[]jepsen.Trouble{{Err: stale}}, map[string]string{"bank": resultWrong, "set": resultWrong, "watch": resultWrong}},
		"one is wrong, one asks little": {[]jepsen.Trouble{{Workload: "set", Err: thin}, {Workload: "bank", Err: stale}}, map[string]string{"bank": resultWrong}},
	} {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for w, o := range toldApart([]string{"bank", "set", "watch"}, outcome{Result: resultWrong, Seconds: 3}, &jepsen.Result{Troubles: c.troubles}) {
				got[w] = o.Result
				assert.True(t, o.Together)
				assert.InDelta(t, 3, o.Seconds, 0.01)
			}
			assert.Equal(t, c.want, got)
		})
	}
	for _, all := range []outcome{{Result: resultGood}, {Result: resultNotHere, Text: "no clocks"}, {Result: resultWrong, Text: "it does not come up"}} {
		known := toldApart([]string{"bank", "set"}, all, nil)
		all.Together = true
		assert.Equal(t, map[string]outcome{"bank": all, "set": all}, known)
	}
}

// TestRows: a row has one run of all that go together, and others alone where it does not tell what came of them.
func TestRows(t *testing.T) {
	f := &seriesFlags{}
	runs, err := f.rows(matrixCommand(), []string{"auth", "bank", "set"}, []string{"kill-all", "ring"}, 0)
	require.NoError(t, err)
	var names []string
	for i := range runs {
		names = append(names, runs[i].name)
	}
	assert.Equal(t, []string{"together-kill-all", "auth-kill-all", "together-ring", "auth-ring"}, names)
	assert.Contains(t, runs[2].again, "--together --workloads bank,set --nemeses ring")

	r := &results{Matrix: map[string]map[string]outcome{}}
	runs[0].note(r, outcome{Result: resultGood, Seconds: 12})
	more, instead := runs[0].then(outcome{Result: resultGood})
	assert.Empty(t, more)
	assert.False(t, instead)
	assert.Equal(t, "12 s ∥", r.Matrix["kill-all"]["set"].short())

	_, err = f.rows(matrixCommand(), []string{"nonsense"}, nil, 0)
	require.ErrorContains(t, err, "nonsense")
}
