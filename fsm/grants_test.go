package fsm

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestWithout: what is withheld is lacking, whatever is bound.
func TestWithout(t *testing.T) {
	who := &Principal{Kind: User, Issuer: "entra", Object: "ann"}
	p := newPolicy().with("", &NamespaceRecord{Namespace: Namespace{Bindings: []Binding{{RoleEditor, []string{who.String()}}}}})
	put := &Command{Ops: []Op{{Kind: Put, Key: "a/b"}}}
	remove := &Command{Ops: []Op{{Kind: Delete, Key: "a/b"}}}
	all, some := p.Grants(who), p.Grants(who).Without(VerbWrite)

	assert.True(t, all.Allow(VerbRead|VerbWrite, "a/b"), "a copy was made")
	assert.True(t, some.Allow(VerbRead, "a/b"))
	assert.False(t, some.Allow(VerbWrite, "a/b"))
	assert.Zero(t, p.RefusedTo(all, put))
	assert.Equal(t, Need{VerbWrite, "a/b"}, p.RefusedTo(some, put))
	assert.Equal(t, Need{VerbWrite, "a/b"}, p.RefusedTo(some, remove))

	open := newPolicy()
	assert.Zero(t, open.Refused(&Principal{}, put))
	assert.Equal(t, Need{VerbWrite, "a/b"}, open.RefusedTo(open.Grants(&Principal{}).Without(VerbWrite), put))
}
