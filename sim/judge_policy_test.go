package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/linearizability"
)

// binding returns the operation that has the root bind alice to a role, or to none, beside root.
func binding(role string) fsm.Op {
	n := fsm.Namespace{}
	bind(&n, administrator, namesOfPrincipal(&principals[root])[0])
	if role != "" {
		bind(&n, role, namesOfPrincipal(&principals[alice])[0])
	}
	return fsm.Op{Kind: fsm.PutNamespace, Value: n.Encode()}
}

// TestLawful: the log alone shows what was done without a permission, and what was denied with one.
func TestLawful(t *testing.T) {
	by := func(who int, op fsm.Op, outcome fsm.Outcome) decided {
		return decided{cmd: &fsm.Command{RequestID: "it", Principal: principals[who], Ops: []fsm.Op{op}}, outcome: outcome}
	}
	write, first := putOf("k", "v"), fsm.Op{Kind: fsm.Bootstrap, Value: []byte(namesOfPrincipal(&principals[root])[0])}
	log := func(then ...decided) []decided {
		return append([]decided{
			by(nobody, write, fsm.Applied), by(alice, write, fsm.Denied),
			by(nobody, first, fsm.Applied), by(nobody, write, fsm.Denied), by(nobody, first, fsm.AdminExists),
			by(root, binding("editor"), fsm.Applied), by(alice, write, fsm.Applied), by(alice, binding("admin"), fsm.Denied),
			by(root, binding(""), fsm.Applied), by(alice, write, fsm.Denied),
		}, then...)
	}
	require.NoError(t, lawful(modelPolicy{}, log()))
	require.ErrorContains(t, lawful(modelPolicy{}, log(by(alice, write, fsm.Unchanged))), "who lacked write")
	require.ErrorContains(t, lawful(modelPolicy{}, log(by(root, write, fsm.Denied))), "who was allowed it")
	again := by(alice, write, fsm.Applied)
	again.replayed = true
	require.NoError(t, lawful(modelPolicy{}, log(again, by(alice, write, fsm.KeyReused))))
	require.NoError(t, lawful(modelPolicy{}, log(by(root, fsm.Op{Kind: fsm.DeleteNamespace}, fsm.LastAdmin), by(root, write, fsm.Applied))))
}

// ruledWorld is a world in which alice may write from index 2 on and not any more from index 4 on:
// the one was acknowledged after a second, the other after two.
func ruledWorld(t *testing.T) *World {
	w := built(t, 1)
	p := modelPolicy{}
	for i, role := range []string{"", "editor", "viewer", ""} {
		op := binding(role)
		p = p.after(&op)
		w.judge.model.policies = append(w.judge.model.policies, modelPolicyFrom{index: fsm.Index(i + 1), modelPolicy: p})
		w.judge.slots = append(w.judge.slots, slot{})
	}
	w.judge.rulings = []ruling{{at: int64(time.Second), index: 2}, {at: 2 * int64(time.Second), index: 4}}
	return w
}

// TestRefusalKnowsOfGrants: what a node refuses was not allowed all the time since it was asked.
func TestRefusalKnowsOfGrants(t *testing.T) {
	for call, wrong := range map[time.Duration]bool{0: false, 1500 * time.Millisecond: false, 3 * time.Second: false} {
		w := ruledWorld(t)
		o := &operation{node: w.nodes[0], keyed: keyed{principal: alice}, op: linearizability.Op{Kind: linearizability.Put, Key: "k", Value: "v", Call: int64(call)}}
		w.judge.refusal(w.nodes[0], o)
		assert.Equal(t, wrong, w.err != nil, "called at %v: %v", call, w.err)
	}
	w := ruledWorld(t)
	w.judge.slots, w.judge.model.policies = w.judge.slots[:2], w.judge.model.policies[:2]
	o := &operation{node: w.nodes[0], keyed: keyed{principal: alice}, op: linearizability.Op{Kind: linearizability.Put, Key: "k", Value: "v", Call: 1500 * int64(time.Millisecond)}}
	w.judge.refusal(w.nodes[0], o)
	require.ErrorContains(t, w.err, "which was allowed before it asked")
	assert.Equal(t, JudgePolicy, w.judged)
}

// TestReadersKnowOfRevocations: nobody is let read by a policy that was over before.
func TestReadersKnowOfRevocations(t *testing.T) {
	for by, wrong := range map[time.Duration]bool{0: false, 1500 * time.Millisecond: false, 3 * time.Second: true} {
		w := ruledWorld(t)
		w.judge.stillReads(w.nodes[0], &principals[alice], "k", int64(by))
		assert.Equal(t, wrong, w.err != nil, "by %v: %v", by, w.err)
	}
}

// TestCastIsSpelled: the model's subjects are those of the documents.
func TestCastIsSpelled(t *testing.T) {
	for who := range principals {
		p := &principals[who]
		assert.Equal(t, p.String(), namesOfPrincipal(p)[0])
		for _, s := range namesOfPrincipal(p) {
			if p.Kind != fsm.Anonymous {
				require.NoError(t, fsm.ValidateSubject(s))
			}
		}
	}
	assert.Equal(t, "app:entra/t%2F1/cli", throughWhom(&principals[alice]))
	assert.Equal(t, "group:entra/t%2F1/ab010203-0405-0607-0809-0a0b0c0d0e0f", hisTeam())
}

// TestModelOfRoles: what the document has in a table.
func TestModelOfRoles(t *testing.T) {
	for _, r := range fsm.BuiltInRoles() {
		assert.Equal(t, r.Verbs, standingRoles[r.Name])
	}
	assert.Len(t, standingRoles, len(fsm.BuiltInRoles()))
	assert.Len(t, everyVerb.Names(), 8)
}
