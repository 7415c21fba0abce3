package wal

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// errDied is what every operation says from the one on before which the power was lost.
var errDied = errors.New("died")

// crashSteps is what a node does to its log: appends, conflicts, markers,
// truncations and proofs, with segments so small that most appends switch.
func crashSteps(rng *rand.Rand, n int) []func(w *written) error {
	var steps []func(w *written) error
	last, committed, term := uint64(0), uint64(0), uint64(1)
	appends := func(b Batch) {
		prepares := rng.IntN(2) == 0
		steps = append(steps, func(w *written) error {
			if err := w.tryAppend(b); err != nil || !prepares {
				return err
			}
			return w.tryPrepare()
		})
	}
	for range n {
		switch k := rng.IntN(10); {
		case k == 0:
			steps = append(steps, (*written).tryProve)
		case k == 1:
			index := committed + rng.Uint64N(last+20-committed) + 1
			b := Batch{Snapshot: marker(index, term, 1, 2, 3), HardState: hard(term, 1, index), Sync: rng.IntN(4) > 0}
			b.Entries = entries(index+1, rng.Uint64N(3), term, 50)
			appends(b)
			last, committed = index+uint64(len(b.Entries)), index
		case k < 4 && last > committed:
			index := committed + rng.Uint64N(last-committed+1)
			steps = append(steps, func(w *written) error { return w.tryTruncate(index) })
			committed = index
		default:
			from := last + 1
			if rng.IntN(4) == 0 {
				from = committed + 1 + rng.Uint64N(last-committed+1)
				term++
			}
			b := Batch{Entries: entries(from, 1+rng.Uint64N(4), term, 20+rng.IntN(300)), Sync: rng.IntN(2) == 0}
			if rng.IntN(2) == 0 {
				b.HardState = hard(term, 1, committed)
			}
			appends(b)
			last = from + uint64(len(b.Entries)) - 1
		}
	}
	return steps
}

func (w *written) tryAppend(b Batch) error {
	if err := w.log.Append(b); err != nil {
		return err
	}
	w.model = w.model.append(b)
	if b.Sync {
		w.durable = len(w.states)
	}
	return nil
}

func (w *written) tryProve() error {
	if err := w.log.Prove(); err != nil {
		return err
	}
	w.durable = len(w.states)
	return nil
}

func (w *written) tryTruncate(index uint64) error {
	oldest := w.log.segments[0].number
	err := w.log.Truncate(index)
	if err != nil {
		return err
	}
	w.model, err = w.model.truncated(w.log, index)
	if w.log.segments[0].number > oldest {
		w.durable = len(w.states)
	}
	return err
}

// TestPowerLostAtEveryOperation cuts the power before each operation of a workload,
// with nothing, everything or any part kept of what was not synced, and again while
// the log is opened. Then all is there that was durable, and nothing but what was written.
func TestPowerLostAtEveryOperation(t *testing.T) {
	count := map[string]int{}
	for seed := range uint64(12) {
		steps := crashSteps(rand.New(rand.NewPCG(seed, 0)), 30)
		whole := newWritten(t, tinyOptions)
		for _, step := range steps {
			require.NoError(t, step(whole), "seed %d", seed)
			whole.states = append(whole.states, whole.model)
		}
		for n, done := 0, false; !done; n++ {
			w := newWritten(t, tinyOptions)
			w.fsys.fault = dieAfter(n)
			done = true
			for _, step := range steps {
				if err := step(w); err != nil {
					require.ErrorIs(t, err, errDied, "seed %d", seed)
					done = false
					break
				}
				w.states = append(w.states, w.model)
			}
			count["crashes"]++
			// What failed may have been done.
			may := whole.states[w.durable:min(len(w.states)+1, len(whole.states))]
			rng := rand.New(rand.NewPCG(seed, uint64(n)))
			for _, keep := range []func() bool{
				func() bool { return false },
				func() bool { return true },
				func() bool { return rng.IntN(2) == 0 },
				func() bool { return rng.IntN(4) > 0 },
			} {
				fsys := w.fsys.crash(keep)
				fsys.fault = dieAfter(rng.IntN(40))
				if _, _, err := Open(fsys, tinyOptions); err != nil {
					require.ErrorIs(t, err, errDied, "seed %d, operation %d", seed, n)
					count["crashes of Open"]++
				}
				fsys = fsys.crash(keep)
				l, found, err := Open(fsys, tinyOptions)
				require.NoError(t, err, "seed %d, operation %d", seed, n)
				is := holds(l, found, may)
				require.NotNil(t, is, "seed %d, operation %d: a log of %d to %d is none of %d states", seed, n, l.FirstIndex(), l.LastIndex(), len(may))
				if found.Cut != nil {
					count["cuts"]++
				}
				if is.marker != nil {
					count["markers"]++
				}
				if l.segments[0].number > firstSegment {
					count["truncated"]++
				}
				goesOn(t, fsys, l, *is)
			}
		}
	}
	t.Log(count)
	for _, what := range []string{"crashes", "crashes of Open", "cuts", "markers", "truncated"} {
		assert.Greater(t, count[what], 50, what)
	}
}

// dieAfter lets n operations be done.
func dieAfter(n int) func(op, name string) error {
	return func(string, string) error {
		if n--; n < 0 {
			return errDied
		}
		return nil
	}
}

// holds returns the state that a log is in, or nil.
func holds(l *Log, found Recovered, states []model) *model {
	for i := range states {
		if states[i].differs(l, found) == nil {
			return &states[i]
		}
	}
	return nil
}
