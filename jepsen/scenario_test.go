package jepsen

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAllNumbersHaveScenarios: each situation of the list is brought about by one at least, which says what it does.
func TestAllNumbersHaveScenarios(t *testing.T) {
	const numbers = 20
	has := map[int]bool{}
	for _, sc := range Scenarios() {
		has[sc.Number] = true
		assert.NotEmpty(t, sc.About, sc.Name)
		found, err := FindScenario(sc.Name)
		require.NoError(t, err)
		assert.Same(t, sc, found)
		for _, w := range sc.Workloads {
			assert.Contains(t, Workloads(), w, sc.Name)
		}
	}
	for n := range numbers {
		assert.True(t, has[n+1], "number %d", n+1)
	}
	_, err := FindScenario("none")
	require.ErrorContains(t, err, "leader-stopped")
}

// TestScriptEnds: a step that cannot be taken ends a script, and what it had broken is undone, the newest first.
func TestScriptEnds(t *testing.T) {
	for name, c := range map[string]struct {
		last func(s *Stage)
		want error
	}{
		"a promise":   {func(s *Stage) { s.promised(false, "it leads") }, ErrPromise},
		"nothing":     {func(s *Stage) { s.shown(false, "nobody leads") }, ErrProvesNothing},
		"a step":      {func(s *Stage) { s.ok(errors.New("no such machine")) }, ErrProvesNothing},
		"no step":     {func(s *Stage) { s.ok(nil); s.promised(true, ""); s.shown(true, "") }, nil},
		"what undoes": {func(s *Stage) { s.begin(Fault{Undo: func(context.Context) error { return ErrNotLive }}) }, ErrNotLive},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := newRun(newFake(3, 2), Options{})
			require.NoError(t, err)
			var undone []int
			s := &Stage{Run: r, keys: map[string]bool{}, scenario: &Scenario{Name: "test", Script: func(_ context.Context, s *Stage) {
				for i := range 2 {
					s.begin(Fault{Undo: func(context.Context) error { undone = append(undone, i); return nil }})
				}
				c.last(s)
			}}}
			err = s.play(t.Context())
			require.ErrorIs(t, err, c.want)
			assert.Equal(t, []int{1, 0}, undone)
		})
	}
}

// TestScenarioCannotBeMade: it says why, and does not try.
func TestScenarioCannotBeMade(t *testing.T) {
	g := newFake(3, 2)
	g.cannot = []Capability{PowerLoss}
	sc, err := FindScenario("power-loss-all")
	require.NoError(t, err)
	require.Error(t, sc.CannotBeMade(g))
	_, err = Perform(t.Context(), g, sc, Options{})
	require.ErrorContains(t, err, "cannot be made here")
	sc, err = FindScenario("restore-beside-old")
	require.NoError(t, err)
	require.ErrorIs(t, sc.CannotBeMade(g), errNotHere)
}
