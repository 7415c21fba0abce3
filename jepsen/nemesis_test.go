package jepsen

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// rehearsed is what came of nemeses that were at work on a fake ground.
type rehearsed struct {
	*Run
	ground *fakeGround
	faults []linearizability.Event
}

// rehearse has nemeses at work for a time, in virtual time, and returns when all is undone. It ends early after stop, unless that is 0.
func rehearse(t *testing.T, seed uint64, nodes int, d, stop time.Duration, names ...string) (out rehearsed) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newFake(nodes, 2)
		r, err := newRun(g, Options{Seed: seed, Nemeses: names, Time: d, Quiet: 300 * time.Millisecond, Held: 300 * time.Millisecond})
		require.NoError(t, err)
		r.Workloads = nil
		chosen, err := r.nemeses()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rest := r.minded(t.Context(), r.mind)
		require.NoError(t, r.begin(ctx, nil))
		if stop != 0 {
			defer time.AfterFunc(stop, cancel).Stop()
		}
		during, over := context.WithTimeout(ctx, d)
		defer over()
		var breaking sync.WaitGroup
		for _, n := range chosen {
			breaking.Go(func() { r.torment(during, n) })
		}
		breaking.Wait()
		out = rehearsed{Run: r, ground: g}
		h, _ := r.Recorder.History()
		for _, e := range h.Events {
			if e.Kind == linearizability.FaultBegins {
				out.faults = append(out.faults, e)
			}
		}
		require.NoError(t, r.awaitReady(t.Context(), healTime), "it serves without being healed")
		assert.Empty(t, g.whole())
		assert.Empty(t, r.claims())
		assert.Empty(t, r.rules)
		assert.Empty(t, r.ended())
		require.NoError(t, r.heal(t.Context()))
		assert.Empty(t, r.mended)
		rest()
		time.Sleep(2 * time.Second) // connections that nobody used end
	})
	return out
}

func texts(events []linearizability.Event) (texts []string) {
	for i := range events {
		texts = append(texts, events[i].Name+": "+events[i].Text)
	}
	return texts
}

// TestNemeses: each strikes, leaves nothing broken, and makes the same faults of the same seed.
func TestNemeses(t *testing.T) {
	for _, n := range Nemeses() {
		t.Run(n.Name, func(t *testing.T) {
			t.Parallel()
			sizes := []int{3, 5}
			if testing.Short() {
				sizes = sizes[:1]
			}
			for _, nodes := range sizes {
				first := rehearse(t, 1, nodes, 15*time.Second, 0, n.Name)
				require.NotEmpty(t, first.faults)
				for _, e := range first.faults {
					assert.NotEmpty(t, e.Text)
					assert.NotEmpty(t, e.Nodes, e.Text)
				}
				second := rehearse(t, 1, nodes, 15*time.Second, 0, n.Name)
				// How many there are before the time is over is decided by who comes first where several may.
				same := min(len(first.faults), len(second.faults))
				require.NotZero(t, same)
				assert.Equal(t, texts(first.faults[:same]), texts(second.faults[:same]))
			}
		})
	}
}

// TestNemesesBreakOff: whenever the run ends, nothing stays broken.
func TestNemesesBreakOff(t *testing.T) {
	for _, n := range Nemeses() {
		t.Run(n.Name, func(t *testing.T) {
			t.Parallel()
			times := 8
			if testing.Short() {
				times = 2
			}
			for i := range times {
				rehearse(t, uint64(i), 3, time.Minute, time.Duration(1+i)*431*time.Millisecond, n.Name)
			}
		})
	}
}

// TestNemesesTogether: whatever is at work at a time, none has what another one has, and nothing stays broken.
func TestNemesesTogether(t *testing.T) {
	var all []string
	for name := range nemeses {
		all = append(all, name)
	}
	for seed := range uint64(3) {
		r := rehearse(t, seed, 5, time.Minute, 0, all...)
		assert.Greater(t, len(r.faults), 100)
		assert.Greater(t, len(r.fired), len(all)/2)
	}
}

// TestMixed: seeds draw different nemeses, and only what the ground can make.
func TestMixed(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(50) {
		g := newFake(3, 2)
		g.cannot = []Capability{Clocks, DiskFaults}
		r, err := newRun(g, Options{Seed: seed, Nemeses: []string{Mixed}})
		require.NoError(t, err)
		chosen, err := r.nemeses()
		require.NoError(t, err)
		require.NotEmpty(t, chosen)
		require.LessOrEqual(t, len(chosen), mostMixed)
		for _, n := range chosen {
			require.NoError(t, n.possible(g))
			drawn[n.Name] = true
		}
	}
	assert.Greater(t, len(drawn), 25)
	g := newFake(3, 0)
	g.cannot = []Capability{Clocks}
	r, err := newRun(g, Options{Nemeses: []string{"clock-jump"}})
	require.NoError(t, err)
	_, err = r.nemeses()
	require.ErrorContains(t, err, "clock-jump")
}

// TestMinority: while members may change nobody is said to have no majority.
func TestMinority(t *testing.T) {
	said := func(names ...string) (minority bool) {
		for _, e := range rehearse(t, 1, 3, 15*time.Second, 0, names...).faults {
			minority = minority || len(e.Minority) > 0
		}
		return minority
	}
	assert.True(t, said("isolate-one"))
	assert.False(t, said("isolate-one", "grow-shrink"))
	assert.False(t, said("flapping"))
}

func TestCutOff(t *testing.T) {
	three, five := []string{"a", "b", "c"}, []string{"a", "b", "c", "d", "e"}
	for _, c := range []struct {
		name  string
		nodes []string
		links []Link
		want  []string
	}{
		{name: "nothing is cut", nodes: three},
		{name: "one is alone", nodes: three, links: apart([]string{"a"}, []string{"b", "c"}), want: []string{"a"}},
		{name: "all are", nodes: three, links: apart(three, three), want: three},
		{name: "one is not heard", nodes: three, links: []Link{{"a", "b"}, {"a", "c"}}, want: []string{"a"}},
		{name: "one hears nobody", nodes: three, links: []Link{{"b", "a"}, {"c", "a"}}, want: []string{"a"}},
		{name: "one is not heard by one", nodes: three, links: []Link{{"a", "b"}}},
		{name: "a bridge", nodes: three, links: apart([]string{"a"}, []string{"b"})},
		{name: "a ring, one way", nodes: three, links: []Link{{"b", "a"}, {"c", "b"}, {"a", "c"}}},
		{name: "a line, one way", nodes: three, links: []Link{{"b", "a"}, {"c", "b"}, {"a", "c"}, {"c", "a"}}, want: three},
		{name: "two of five", nodes: five, links: apart(five[:2], five[2:]), want: five[:2]},
		{name: "two of five, and one between", nodes: five, links: apart(five[:2], five[3:])},
		{name: "two, two and one", nodes: five, links: append(apart(five[:2], five[2:]), apart(five[2:4], five[4:])...), want: five},
		{name: "clients do not count", nodes: three, links: []Link{{Clients, "a"}, {"a", Clients}}},
		{name: "alone", nodes: []string{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, cutOff(c.nodes, c.links)) })
	}
}
