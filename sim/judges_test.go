package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

// answers is a hook that changes the answers to reads whose keys begin with prefix.
func answers(kind linearizability.Kind, prefix string, change func(*linearizability.Op)) hooks {
	return hooks{answer: func(o *linearizability.Op) {
		key := o.Key
		if len(o.Steps) > 0 {
			key = o.Steps[0].Key
		}
		if o.Kind == kind && o.Outcome == linearizability.ReadDone && strings.HasPrefix(key, prefix) {
			change(o)
		}
	}}
}

// TestWrongAnswers: what is wrong in a history is found by the judges that it concerns,
// and by no other.
func TestWrongAnswers(t *testing.T) {
	const (
		values = linearizability.Linearizability
		order  = linearizability.Porcupine
	)
	cases := []struct {
		name   string
		hooks  hooks
		caught []string
	}{
		{
			name: "local reads show another value",
			hooks: answers(linearizability.Local, "k", func(o *linearizability.Op) {
				if o.Found {
					o.Got += "!"
				}
			}),
			caught: []string{values},
		},
		{
			name: "reads do not find keys",
			hooks: answers(linearizability.Read, "k", func(o *linearizability.Op) {
				o.Found, o.Got, o.KeyRevision = false, "", 0
			}),
			caught: []string{values, order},
		},
		{
			name: "writes said not to be applied",
			hooks: hooks{answer: func(o *linearizability.Op) {
				if o.Kind == linearizability.Put && o.Outcome == linearizability.Applied && o.ID%10 == 0 {
					o.Outcome = linearizability.NotApplied
				}
			}},
			caught: []string{values, order, linearizability.NotAppliedStays},
		},
		{
			name: "claims to be fresh later than is so",
			hooks: answers(linearizability.Local, "", func(o *linearizability.Op) {
				o.FreshAt += int64(10 * time.Second)
			}),
			caught: []string{linearizability.Staleness},
		},
		{
			name:   "bounds on the age of answers not kept",
			hooks:  hooks{anyAge: true},
			caught: []string{linearizability.Staleness},
		},
		{
			name:   "sessions go back",
			hooks:  hooks{behind: true},
			caught: []string{linearizability.Sessions},
		},
		{
			name: "two leaders in a term",
			hooks: hooks{history: func(h *linearizability.History) {
				i := slices.IndexFunc(h.Events, func(e linearizability.Event) bool { return e.Kind == linearizability.Leads })
				other := h.Events[i]
				other.Node = "node0"
				h.Events = append(slices.Clone(h.Events), other)
			}},
			caught: []string{linearizability.SplitBrain},
		},
		{
			name: "acknowledged without a majority",
			hooks: hooks{history: func(h *linearizability.History) {
				h.Events = append(slices.Clone(h.Events), linearizability.Event{
					Kind: linearizability.FaultBegins, Fault: 1 << 40, Minority: []string{"node1"},
				})
			}},
			caught: []string{linearizability.SplitBrain},
		},
		{
			name: "a watch misses a change",
			hooks: hooks{history: func(h *linearizability.History) {
				i := slices.IndexFunc(h.Watches, func(w linearizability.Watch) bool { return len(w.Events) > 2 })
				if i < 0 {
					return // nobody was let watch for that long: another world has one
				}
				w := &h.Watches[i]
				w.Events = slices.Delete(slices.Clone(w.Events), 1, 2)
			}},
			caught: []string{linearizability.Watches},
		},
		{
			name:   "transfers make money",
			hooks:  hooks{minted: 1},
			caught: []string{linearizability.Bank},
		},
		{
			name: "a set forgets an element",
			hooks: answers(linearizability.Read, setPrefix, func(o *linearizability.Op) {
				_, o.Got, _ = strings.Cut(o.Got, " ")
			}),
			caught: []string{values, order, linearizability.Set},
		},
		{
			name: "a list in another order",
			hooks: answers(linearizability.Txn, "list", func(o *linearizability.Op) {
				elements := strings.Fields(o.Steps[0].Got)
				if o.ID%2 == 0 {
					slices.Reverse(elements)
				}
				o.Steps[0].Got = strings.Join(elements, " ")
			}),
			caught: []string{values, order, linearizability.ListAppend},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= plantedSeeds; seed++ {
				result, err := Run(Options{Seed: seed, Time: plantedTime, Nodes: 3, hooks: c.hooks})
				if err == nil {
					continue
				}
				verdict := linearizability.Check(&result.History, time.Second)
				assert.Equal(t, c.caught, verdict.Caught(), "seed %d: %v", seed, err)
				var failure *Failure
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, Judge(c.caught[0]), failure.Judge)
				for _, name := range c.caught[1:] {
					require.ErrorContains(t, err, "also "+name+": ")
				}
				namesOperations(t, err)
				return
			}
			t.Fatalf("not found in %d seeds", plantedSeeds)
		})
	}
}

// namesOperations: a failure tells which operations are at odds.
func namesOperations(t *testing.T, err error) {
	t.Helper()
	var v *linearizability.Violation
	require.ErrorAs(t, err, &v)
	if len(v.Ops) == 0 {
		return // of nodes, or of streams
	}
	require.ErrorContains(t, err, "operations: "+strings.Trim(fmt.Sprint(v.Ops), "[]"))
	require.ErrorContains(t, err, fmt.Sprintf("op %d", v.Ops[0]))
}

// TestSilent: up to a tenth of the keys may be without an answer; keys that were
// judged together are as many as they are.
func TestSilent(t *testing.T) {
	f := linearizability.Finding{Judge: linearizability.Porcupine, Count: 20, NoAnswer: []string{"a", "b"}}
	require.NoError(t, silent(&f))
	f.NoAnswer = []string{"a", "b+c"}
	require.EqualError(t, silent(&f), "nothing is proven: no answer for 3 of 20 keys (a, b+c)")
}

// TestComplaints: the error says what all judges say.
func TestComplaints(t *testing.T) {
	first := &linearizability.Violation{Text: "wrong", Ops: []uint64{3, 7}}
	err := complaints(linearizability.Verdict{
		{Judge: linearizability.Linearizability},
		{Judge: linearizability.Porcupine, Violation: first},
		{Judge: linearizability.Sessions, Violation: &linearizability.Violation{Text: "went back"}},
	})
	require.EqualError(t, err, "wrong\noperations: 3 7\nalso session: went back")
	require.ErrorIs(t, err, first)
	require.NoError(t, complaints(linearizability.Verdict{{Judge: linearizability.Bank}}))
}

// TestWorkloads: each workload does all that it has, and its judge has something to see.
func TestWorkloads(t *testing.T) {
	left := map[string]bool{linearizability.Bank: true, linearizability.Set: true, linearizability.ListAppend: true}
	for seed := uint64(1); len(left) > 0 && seed <= plantedSeeds; seed++ {
		o := Options{Seed: seed, Time: plantedTime, Mix: Calm}
		load := newSetup(o).load
		if !left[load] {
			continue
		}
		delete(left, load)
		result, err := Run(o)
		require.NoError(t, err)
		assert.Equal(t, load, result.History.Workloads[0].Name)
		assert.Greater(t, result.Fired["judged: "+load], uint64(10), "%s: %v", load, result.Fired)
		writes, reads := 0, 0
		for i := range result.History.Ops {
			op := &result.History.Ops[i]
			if key := touched(op); !slices.Contains(result.History.Workloads[0].Keys, key) {
				continue
			}
			switch op.Outcome {
			case linearizability.Applied:
				writes++
			case linearizability.ReadDone:
				reads++
			default:
			}
		}
		assert.Greater(t, writes, 3, load)
		assert.Greater(t, reads, 3, load)
		assert.Positive(t, result.Fired["read back"])
	}
	assert.Empty(t, left, "no world had these")
}

// touched is the first key of an operation.
func touched(o *linearizability.Op) string {
	if len(o.Steps) > 0 {
		return o.Steps[0].Key
	}
	return o.Key
}
