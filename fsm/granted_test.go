package fsm

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestGrantsAreListed(t *testing.T) {
	who := &Principal{Kind: User, Issuer: "entra", Tenant: "t", Object: "ann", Groups: [][16]byte{{1}}, Roles: []string{"Ops"}}
	subjects := who.Subjects()
	assert.Equal(t, []string{"user:entra/t/ann", "group:entra/t/01000000-0000-0000-0000-000000000000", "role:entra/Ops"}, subjects)
	assert.Empty(t, (&Principal{}).Subjects())

	p := newPolicy()
	bind := func(path string, bindings ...Binding) {
		p = p.with(path, &NamespaceRecord{Path: path, Namespace: Namespace{Bindings: bindings}})
	}
	all := p.Grants(&Principal{})
	assert.Equal(t, []Granted{{"", allVerbs}}, all.List(), "there is no administrator yet")
	bind("", Binding{RoleAdmin, []string{"cert:root"}})
	bind("b/", Binding{RoleViewer, []string{subjects[0]}}, Binding{"no-such-role", []string{subjects[2]}})
	bind("a/", Binding{RoleEditor, []string{subjects[1]}}, Binding{RoleViewer, []string{subjects[0]}})
	g := p.Grants(who)
	assert.Equal(t, []Granted{{"a/", VerbRead | VerbWrite}, {"b/", VerbRead}}, g.List())
	none := p.Grants(&Principal{})
	assert.Empty(t, none.List())
}
