package jepsen

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// TestThin: what is read back in the end, when nothing is broken any more, makes no run a thick one.
func TestThin(t *testing.T) {
	var ops []linearizability.Op
	add := func(n, client int, outcome linearizability.Outcome) {
		for range n {
			ops = append(ops, linearizability.Op{Client: client, Kind: linearizability.Put, Key: "k", Outcome: outcome})
		}
	}
	check := func(r *Run, chosen ...*Nemesis) error {
		return errors.Join(r.thin(&linearizability.History{Ops: ops}, chosen)...)
	}
	r := &Run{fired: map[string]int{}}
	add(1000, settler, linearizability.Applied)
	require.ErrorIs(t, check(r), errThin, "nobody asked anything")
	require.NoError(t, check(&Run{alone: true}), "nobody is to")
	add(leastAnswers, 0, linearizability.Applied)
	require.NoError(t, check(r))
	add(leastAnswers/5, 0, linearizability.Unknown)
	require.ErrorIs(t, check(r), errThin, "a sixth is unknown")
	loses := &Run{loses: true}
	require.NoError(t, check(loses), "that is what it is about")
	loses.loads, loses.Workloads = []Workload{&register{}}, []string{"register"}
	require.ErrorIs(t, check(loses), errThin, "the workload beside has had nothing all the same")
	add(leastAnswers, 0, linearizability.Applied)
	require.NoError(t, check(r))

	require.ErrorIs(t, check(r, &Nemesis{Name: "n"}), ErrProvesNothing)
	require.ErrorIs(t, check(r, &Nemesis{Name: "n", drawn: true}, &Nemesis{Name: "m", drawn: true}), ErrProvesNothing, "none of those that were drawn struck")
	r.fired["m"] = 1
	require.NoError(t, check(r, &Nemesis{Name: "n", drawn: true}, &Nemesis{Name: "m", drawn: true}))
}

// TestLeftBroken: what a nemesis cannot undo is mended, and said: it may be the cluster's fault.
func TestLeftBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := newRun(newFake(3, 0), Options{})
		require.NoError(t, err)
		rest := r.minded(t.Context(), r.mind)
		require.NoError(t, r.begin(t.Context(), nil))
		require.NoError(t, r.finish(t.Context(), nil, nil).mendedOnly())
		r.undo("n", &Fault{Text: "something", Undo: func(context.Context) error { return errors.New("it does not become a voter") }})
		err = r.finish(t.Context(), nil, nil).Err
		require.ErrorIs(t, err, ErrLeftBroken)
		require.ErrorContains(t, err, "it does not become a voter")
		rest()
		time.Sleep(2 * time.Second) // connections that nobody used end
	})
}

// TestBrokenOff: a run that is broken off while it is judged is no violation.
func TestBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := newRun(newFake(3, 0), Options{})
		require.NoError(t, err)
		rest := r.minded(t.Context(), r.mind)
		require.NoError(t, r.begin(t.Context(), nil))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = r.conclude(ctx, nil, nil)
		require.ErrorIs(t, err, context.Canceled)
		rest()
		time.Sleep(2 * time.Second) // connections that nobody used end
	})
}

// mendedOnly is what is wrong, if something was left broken.
func (res *Result) mendedOnly() error {
	if errors.Is(res.Err, ErrLeftBroken) {
		return res.Err
	}
	return nil
}

// TestHealWaits: a node that is just being started again by who minds is not taken away from there.
func TestHealWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFake(3, 0)
		r, err := newRun(g, Options{})
		require.NoError(t, err)
		rest := r.minded(t.Context(), r.mind)
		require.NoError(t, r.begin(t.Context(), nil))
		r.Excuse("node2", "damaged")
		require.True(t, r.Claim(membership)) // it takes until then to replace it
		g.mu.Lock()
		g.end("node2", errFakeExit, "damaged\nwhat to do: replace the node")
		g.mu.Unlock()
		time.Sleep(time.Second)
		time.AfterFunc(time.Second, func() { r.Release(membership) })
		time.Sleep(950 * time.Millisecond)
		healed := make(chan error)
		go func() { healed <- r.unmindedThenHeal(t.Context()) }()
		require.NoError(t, <-healed)
		assert.True(t, g.Runs("node2"))
		rest()
		time.Sleep(2 * time.Second)
	})
}

// unmindedThenHeal is heal, of which nothing is found broken.
func (r *Run) unmindedThenHeal(ctx context.Context) error {
	if err := r.heal(ctx); err != nil {
		return err
	}
	if len(r.mended) > 0 {
		return errors.New(r.mended[0])
	}
	return nil
}

// TestAgree: nodes that are never seen at one index do not agree; those that are, are compared, whatever they have there.
func TestAgree(t *testing.T) {
	var index atomic.Uint64
	node := func(hash string, at func() string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"node":"n","role":"follower","term":1,"applied_index":` + at() + `,"state_hash":"` + hash + `"}`))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	machines := []Machine{
		{Name: "node1", URL: node("aa", func() string { return "7" })},
		{Name: "node2", URL: node("bb", func() string {
			if index.Add(1) > 3 {
				return "7"
			}
			return "6"
		})},
	}
	r, err := newRun(&answerGround{machines: machines}, Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, r.agree(ctx), "node2 at index 6")
	require.NoError(t, r.agree(t.Context()))
	h, _ := r.Recorder.History()
	_, err = linearizability.CheckSplitBrain(&h)
	require.ErrorContains(t, err, "logs differ at index 7")
}

// TestCutIsOverBeforeItIsUndone: who is answered while a cut is undone may have a majority again.
func TestCutIsOverBeforeItIsUndone(t *testing.T) {
	r, err := newRun(newFake(3, 0), Options{})
	require.NoError(t, err)
	s := &Stage{Run: r, scenario: &Scenario{Name: "s"}, keys: map[string]bool{}}
	ends := func() (n int) {
		h, _ := r.Recorder.History()
		for i := range h.Events {
			if h.Events[i].Kind == linearizability.FaultEnds {
				n++
			}
		}
		return n
	}
	over := -1
	end := s.begin(Fault{Text: "cut", Minority: []string{"node1"}, Undo: func(context.Context) error {
		over = ends()
		return nil
	}})
	end(t.Context())
	assert.Equal(t, 1, over)
	end = s.begin(Fault{Text: "down", Undo: func(context.Context) error {
		over = ends()
		return nil
	}})
	end(t.Context())
	assert.Equal(t, 1, over, "it lasts until it is undone")
	assert.Equal(t, 2, ends())
}
