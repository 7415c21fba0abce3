package httpapi

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
)

// TestGrantMemory: what is remembered is what the policy says, whoever shares a slot with whom, and
// after each change of the policy.
func TestGrantMemory(t *testing.T) {
	f := newGuarded(t)
	who := make([]caller, 3*grantSlots)
	for i := range who {
		name := []string{"ann", "ed", "eve"}[i%3]
		id := &auth.Identity{Kind: auth.User, Issuer: "entra", Tenant: tenant, Object: name}
		var err error
		who[i], err = f.callerOf(id)
		require.NoError(t, err)
		if i%2 == 0 {
			who[i].withheld = fsm.VerbWrite
		}
	}
	for _, role := range []string{fsm.RoleViewer, fsm.RoleEditor, fsm.RoleViewer} {
		f.bind("a/", role, "ann", "ed")
		v, err := f.node.store.View()
		require.NoError(t, err)
		for range 2 {
			for i := range who {
				g := f.granted.of(v.Policy(), &who[i])
				want := v.Policy().Grants(&who[i].principal).Without(who[i].withheld)
				require.Equal(t, want.Verbs("a/x"), g.Verbs("a/x"), fmt.Sprint(i))
			}
		}
		v.Close()
	}
	anybody := f.granted.of(policyOf(t, f), &caller{})
	assert.False(t, anybody.Allow(fsm.VerbRead, "a/x"))
}

// policyOf is the policy of now.
func policyOf(t *testing.T, f *fixture) *fsm.Policy {
	t.Helper()
	v, err := f.node.store.View()
	require.NoError(t, err)
	defer v.Close()
	return v.Policy()
}
