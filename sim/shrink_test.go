package sim

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMinimize: what is left is needed, and nothing of it can go.
func TestMinimize(t *testing.T) {
	items := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	for _, need := range [][]string{nil, {"a"}, {"h"}, {"c", "d"}, {"a", "h"}, {"b", "d", "g"}, items} {
		asked := 0
		got := minimize(items, func(part []string) bool {
			asked++
			return len(except(need, part)) == 0
		})
		assert.Equal(t, need, got)
		assert.LessOrEqual(t, asked, len(items)*len(items)+1, "%v", need)
	}
	assert.Empty(t, minimize(nil, func([]string) bool { t.Error("nothing is known to hold"); return true }))
}

// rule is a make-believe world: it fails if these faults, clients and time are there.
type rule struct {
	faults  []string
	clients int
	time    time.Duration
	runs    []Options
}

func (r *rule) run(o Options) (Result, error) {
	r.runs = append(r.runs, o)
	result := Result{Fired: map[string]uint64{}, Virtual: o.Time + time.Minute}
	for _, name := range []string{"kill", "bridge", "slow disks", "pause all", "batch"} {
		if !slices.Contains(o.Without, name) {
			result.Fired[name] = 1
			result.Trace++
		}
	}
	clients := newSetup(o).clients
	switch {
	case o.Time < r.time:
		return result, nil
	case clients < r.clients || len(except(r.faults, except(Faults(), o.Without))) > 0:
		return result, &Failure{Judge: JudgeLive, Err: errors.New("another failure"), Replay: o.Replay()}
	}
	result.Virtual = r.time
	return result, &Failure{Judge: JudgeState, Err: errors.New("broken"), Replay: o.Replay()}
}

func TestShrink(t *testing.T) {
	o := Options{Seed: 1, Time: 10 * time.Minute, Mix: Uniform}
	require.Equal(t, 4, newSetup(o).clients)
	var answers []Found
	for range 2 {
		r := &rule{faults: []string{"bridge", "batch"}, clients: 3, time: 90*time.Second + 30*time.Millisecond}
		var lines []string
		s := shrinker{run: r.run, say: func(line string) { lines = append(lines, line) }, judge: JudgeState}
		got, err := s.shrink(o)
		require.NoError(t, err)
		assert.Equal(t, Options{
			Budget: defaultBudget, Seed: 1, Time: 90*time.Second + 100*time.Millisecond, Mix: Uniform, Clients: 3,
			Without: []string{"kill", "pause all", "slow disks"},
		}, sorted(got.Options), "what did not happen needs no name")
		assert.Equal(t, JudgeState, got.Judge)
		assert.Equal(t, got.Options.Replay(), got.Replay)
		assert.Equal(t, "broken", got.Failure)
		assert.Len(t, lines, len(r.runs))
		assert.Contains(t, lines, "run 2: until 1m30.1s: fails")
		answers = append(answers, got)
	}
	assert.Equal(t, answers[0], answers[1])
}

func sorted(o Options) Options {
	o.Without = slices.Sorted(slices.Values(o.Without))
	return o
}

// TestShrinkRefuses: what passes, or fails otherwise, is not shrunk; nor is trouble hidden.
func TestShrinkRefuses(t *testing.T) {
	r := &rule{clients: 9}
	s := shrinker{run: r.run, say: func(string) {}, judge: JudgeState}
	_, err := s.shrink(Options{Seed: 1, Time: time.Minute})
	require.ErrorIs(t, err, ErrNotReproduced)
	assert.Len(t, r.runs, 1)

	broken := errors.New("no room")
	s = shrinker{run: func(Options) (Result, error) { return Result{}, broken }, say: func(string) {}}
	_, err = s.shrink(Options{Seed: 1})
	require.ErrorIs(t, err, broken)
}

// TestShrinkEnds: the number of worlds is bounded, and what is small by then is kept.
func TestShrinkEnds(t *testing.T) {
	runs := 0
	s := shrinker{say: func(string) {}, run: func(o Options) (Result, error) {
		runs++
		fired := map[string]uint64{}
		for _, name := range Faults() {
			fired[name] = 1
		}
		// No fault can go but the first, so there are many parts to try in vain.
		if len(o.Without) > 1 || len(o.Without) == 1 && o.Without[0] != Faults()[0] {
			return Result{Fired: fired}, nil
		}
		return Result{Fired: fired, Virtual: o.Time, Trace: uint64(runs)}, &Failure{Judge: JudgeState, Err: errors.New("x")}
	}}
	got, err := s.shrink(Options{Seed: 1, Time: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, JudgeState, got.Judge)
	assert.LessOrEqual(t, runs, maxShrinkRuns)
	assert.Equal(t, runs, s.runs)
}

// TestShrinkWorld: a planted bug's world, really run: it gets smaller, fails
// by the same judge when it is run again, and comes out the same each time.
func TestShrinkWorld(t *testing.T) {
	o := Options{Seed: 1, Time: 30 * time.Second, Nodes: 3, Mix: Uniform, hooks: hooks{ackEarly: true}}
	result, err := Run(o)
	var whole *Failure
	require.ErrorAs(t, err, &whole)
	var replays []string
	for range 2 {
		got, err := Shrink(o, whole.Judge, func(string) {})
		require.NoError(t, err)
		assert.Less(t, got.Options.Time, o.Time)
		assert.Equal(t, whole.Judge, got.Judge)
		again, err := Run(got.Options)
		require.ErrorAs(t, err, &whole)
		assert.Equal(t, got.Judge, whole.Judge)
		assert.Equal(t, got.Trace, FormatTrace(again.Trace))
		assert.LessOrEqual(t, len(again.Fired), len(result.Fired))
		replays = append(replays, got.Replay)
	}
	assert.Equal(t, replays[0], replays[1])
}
