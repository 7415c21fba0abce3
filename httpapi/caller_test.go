package httpapi

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
)

// people is an Authenticator whose tokens are names: of users, of applications that begin with app-,
// or reasons for which it lets nobody in. A certificate is its common name's.
type people struct {
	expires time.Time
	mu      sync.Mutex
	known   map[string]*auth.Identity
}

const tenant = "8f9bbf3b-3c0e-4c2a-9f57-2a6f1f0e0a01"

func (p *people) Token(_ context.Context, raw string) (*auth.Identity, error) {
	if slices.Contains(auth.Reasons(), auth.Reason(raw)) {
		return nil, &auth.Error{Reason: auth.Reason(raw), Detail: `the token is not taken: "` + raw + `" \ ä`}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if id := p.known[raw]; id != nil {
		return id, nil
	}
	name, scopes, _ := strings.Cut(raw, "+")
	id := &auth.Identity{Kind: auth.User, Issuer: "entra", Tenant: tenant, Object: name, App: "cli", Scopes: strings.Split(scopes, "+"), Expires: p.expires}
	if strings.HasPrefix(raw, "app-") {
		id.Kind, id.App, id.Scopes = auth.ServicePrincipal, raw, nil
	}
	p.known[raw] = id
	return id, nil
}

func (p *people) Certificate(verified *x509.Certificate) (*auth.Identity, error) {
	if verified == nil {
		return nil, &auth.Error{Reason: auth.MissingToken, Detail: "no certificate"}
	}
	return &auth.Identity{Kind: auth.Certificate, Object: verified.Subject.CommonName}, nil
}

// user is the subject whom a token of that name is of.
func user(name string) string { return "user:entra/" + tenant + "/" + name }

// as is the header that a caller of that name sends.
func as(name string) string { return "Authorization: Bearer " + name }

// guarded has the API tell callers, and the cluster administered by root.
func guarded(f *fixture) {
	f.api.Auth = &people{known: map[string]*auth.Identity{}}
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte(user("root"))}}})
}

// change has root change the policy, past the API.
func (f *fixture) change(cmd *fsm.Command) {
	f.tb.Helper()
	cmd.Principal = fsm.Principal{Kind: fsm.User, Issuer: "entra", Tenant: tenant, Object: "root"}
	res, err := f.node.Propose(f.tb.Context(), cmd)
	require.NoError(f.tb, err)
	require.Contains(f.tb, []fsm.Outcome{fsm.Applied, fsm.Unchanged}, res.Outcome)
}

// bind gives a role at a path to users, and takes all others from there, but for root's.
func (f *fixture) bind(path, role string, names ...string) {
	f.tb.Helper()
	f.bindAll(path, map[string][]string{role: names})
}

func (f *fixture) bindAll(path string, roles map[string][]string) {
	f.tb.Helper()
	var n fsm.Namespace
	if path == "" {
		n.Bindings = append(n.Bindings, fsm.Binding{Role: fsm.RoleAdmin, Subjects: []string{user("root")}})
		n.Roles = []fsm.Role{{Name: "writer", Verbs: fsm.VerbWrite}, {Name: "remover", Verbs: fsm.VerbDeleteTree}, {Name: "restorer", Verbs: fsm.VerbRollback}}
	}
	for role, names := range roles {
		b := fsm.Binding{Role: role}
		for _, name := range names {
			b.Subjects = append(b.Subjects, user(name))
		}
		n.Bindings = append(n.Bindings, b)
	}
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: path, Value: n.Encode()}}})
}

// newGuarded is a fixture with callers, and with values below a/ and b/: ann reads a/, ed edits it,
// pub publishes it.
func newGuarded(tb testing.TB) *fixture {
	tb.Helper()
	f := newFixture(tb)
	f.node.put("a", `"own"`)
	f.node.put("a/x", "1")
	f.node.put("a/y", `{"n":1}`)
	f.node.put("b/x", "2")
	guarded(f)
	f.bind("", fsm.RoleViewer, "all")
	f.bindAll("a/", map[string][]string{fsm.RoleViewer: {"ann"}, fsm.RoleEditor: {"ed"}, fsm.RolePublisher: {"pub"}})
	return f
}

// proposed is how many commands of the API's the node got since the count was taken.
func (f *fixture) proposedSince(n int) int {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.node.proposals - n
}
