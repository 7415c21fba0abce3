package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
	"github.com/confman/confman/fsm"
)

// guarded is a fleet whose callers must say who they are, over TLS, to a provider of the test.
type guarded struct {
	*fleet
	provider *localissuer.Provider
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	provider, err := localissuer.Start("127.0.0.1:0", localissuer.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = provider.Close() })
	g := &guarded{newFleet(t, 3), provider}
	ca, files := certificates(t)
	clients := filepath.Join(g.dir, "clients")
	require.Zero(t, g.confman("cert", "init", "--dir", clients).code)
	require.Zero(t, g.confman("cert", "client", "deploy", "--dir", clients).code)
	g.environ = []string{caVariable + "=" + ca}
	g.sections = map[string]any{
		"Api": map[string]any{"Tls": map[string]any{"CertFile": files.CertFile, "KeyFile": files.KeyFile}},
		"Auth": map[string]any{
			"Mode": "oidc", "Bootstrap": "user:local/alice",
			"Issuers": []any{map[string]any{
				"Name": "local", "Url": provider.URL(), "Audiences": []string{"confman"},
				"Scopes": map[string][]string{"all": (^fsm.Verbs(0)).Names(), "look": {"read"}},
			}},
			"Certificates": map[string]any{
				"CaFile": filepath.Join(clients, "ca.crt"),
				"Rules":  []any{map[string]any{"CommonName": "deploy", "Name": "deploy"}},
			},
		},
	}
	for _, p := range g.nodes {
		p.scheme = "https"
		g.configure(p)
	}
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	g.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return g
}

// token is one that a user's application got.
func (g *guarded) token(user, scope string) string {
	g.tb.Helper()
	token, err := g.provider.Issue(localissuer.Token{Audience: "confman", Object: user, App: "test", Scope: scope, Lifetime: 12 * time.Hour})
	require.NoError(g.tb, err)
	return token
}

// as runs a command as somebody.
func (g *guarded) as(token string, args ...string) result {
	g.tb.Helper()
	r := g.asBegin(token, args...).result()
	assert.NotContains(g.tb, r.out+r.err, token)
	return r
}

func (g *guarded) asBegin(token string, args ...string) *running {
	g.tb.Helper()
	before := g.environ
	g.environ = append(before[:len(before):len(before)], tokenVariable+"="+token)
	defer func() { g.environ = before }()
	return g.begin(args...)
}

// status is a node's answer to somebody.
func (g *guarded) status(p *proc, token, method, path, body string) int {
	g.tb.Helper()
	return g.ask(p, method, path, body, "Authorization", "Bearer "+token).status
}

// TestE2EAuthorization: who may do what, over TLS, on all nodes at once, and after a restart.
func TestE2EAuthorization(t *testing.T) {
	g := newGuarded(t)
	g.start(g.nodes...)
	g.await(g.nodes...)
	alice, vera, edith, dora := g.token("alice", "all"), g.token("vera", "all"), g.token("edith", "all"), g.token("dora", "all")
	const key = configPath + "teams/a"
	done := func(r result) {
		t.Helper()
		require.Zero(t, r.code, r.err)
	}

	for _, p := range g.nodes {
		a := g.ask(p, http.MethodGet, key, "")
		assert.Equal(t, http.StatusUnauthorized, a.status)
		assert.Equal(t, "unauthenticated", a.problem(t).Type)
		assert.Contains(t, a.header.Get("WWW-Authenticate"), "Bearer")
		assert.Equal(t, http.StatusUnauthorized, g.status(p, vera+"x", http.MethodGet, key, ""))
	}
	g.until(readyWait, "alice administers the cluster", func() bool { return g.as(alice, "ns", "get", "/").code == 0 })
	done(g.as(alice, "ns", "grant", "teams", "viewer", "user:local/vera"))
	done(g.as(alice, "ns", "grant", "teams", "editor", "user:local/edith", "user:local/dora", "cert:deploy"))

	// Granted at one node, it holds at each: nobody is refused by a node that has not heard of it.
	for _, p := range g.nodes {
		assert.Less(t, g.status(p, edith, http.MethodPut, key, `"`+p.name+`"`), 300)
		assert.Equal(t, http.StatusOK, g.status(p, vera, http.MethodGet, key+"?consistency=linearizable", ""))
		assert.Equal(t, http.StatusForbidden, g.status(p, vera, http.MethodPut, key, "1"))
		assert.Equal(t, http.StatusForbidden, g.status(p, edith, http.MethodPut, configPath+"other", "1"), "she may elsewhere only")
		assert.Equal(t, http.StatusForbidden, g.status(p, g.token("edith", "look"), http.MethodPut, key, "1"), "her token is for reading")
		assert.Equal(t, http.StatusForbidden, g.status(p, g.token("mallory", "all"), http.MethodGet, key+"?consistency=linearizable", ""))
	}
	r := g.as(vera, "put", "teams/a", "1")
	assert.Equal(t, exitDenied, r.code)
	assert.Contains(t, r.err, "user:local/vera lacks write on teams/a")
	clients := filepath.Join(g.dir, "clients")
	done(g.confman("put", "teams/b", "1", "--cert", filepath.Join(clients, "deploy.crt"), "--key", filepath.Join(clients, "deploy.key")))

	// Watches at each node, which end when the permission goes.
	var watches []*running
	all := g.nodes
	for _, p := range all {
		g.nodes = []*proc{p}
		watches = append(watches, g.asBegin(edith, "watch", "teams/", "--from", "0"))
		g.nodes = all
	}
	for _, w := range watches {
		g.until(readyWait, "the watch gives what there was", func() bool { return strings.Contains(w.out.String(), "teams/b") })
	}
	g.nodes = all[2:]
	done(g.as(alice, "ns", "revoke", "teams", "editor", "user:local/edith"))
	g.nodes = all
	for _, p := range g.nodes {
		assert.Equal(t, http.StatusForbidden, g.status(p, edith, http.MethodPut, key, `"too late"`), "the very next write at %s", p.name)
		assert.Equal(t, http.StatusForbidden, g.status(p, edith, http.MethodGet, key+"?consistency=linearizable", ""))
	}
	for _, w := range watches {
		r := w.result()
		assert.Equal(t, exitDenied, r.code, r.err)
	}

	// Whose token is stolen is denied everything, though it is good for hours.
	for _, p := range g.nodes {
		assert.Less(t, g.status(p, dora, http.MethodPut, key, "1"), 300)
	}
	g.nodes = all[1:2]
	done(g.as(alice, "ns", "deny", "user:local/dora"))
	g.nodes = all
	for _, p := range g.nodes {
		assert.Equal(t, http.StatusForbidden, g.status(p, dora, http.MethodPut, key, "2"), "the very next write at %s", p.name)
	}
	r = g.as(alice, "ns", "deny", "user:local/alice")
	assert.Equal(t, exitConflict, r.code, "the last administrator stays: %s", r.err)

	// The audit has it all, but for what is secret; what nodes refused comes by and by.
	var audit string
	g.until(readyWait, "the audit has what was refused", func() bool {
		r := g.as(alice, "audit", "-o", "ndjson")
		audit = r.out
		return r.code == 0 && strings.Contains(audit, "user:local/mallory") && strings.Contains(audit, "denied-access")
	})
	for _, want := range []string{
		"Auth.Bootstrap in the configuration of node node", "user:local/edith", "user:local/dora", "user:local/vera",
		"cert:deploy", "namespace-put", "denied-write", "denied-read", "teams/a",
	} {
		assert.Contains(t, audit, want)
	}
	for _, token := range []string{alice, vera, edith, dora} {
		assert.NotContains(t, audit, token)
		for _, p := range g.nodes {
			assert.NotContains(t, p.output(), token)
		}
	}
	assert.Equal(t, exitDenied, g.as(vera, "audit").code)

	// All of it is replicated state: a restart keeps it, and the tokens are as good as before.
	g.stop(g.nodes...)
	g.start(g.nodes...)
	g.await(g.nodes...)
	for _, p := range g.nodes {
		assert.Equal(t, http.StatusUnauthorized, g.ask(p, http.MethodGet, key, "").status)
		assert.Equal(t, http.StatusForbidden, g.status(p, edith, http.MethodPut, key, "1"))
		assert.Equal(t, http.StatusForbidden, g.status(p, dora, http.MethodPut, key, "1"))
		assert.Equal(t, http.StatusOK, g.status(p, vera, http.MethodGet, key+"?consistency=linearizable", ""))
		g.until(readyWait, "the node says what became of Bootstrap", func() bool {
			return strings.Contains(p.output(), "Auth.Bootstrap has no effect")
		})
	}
	r = g.as(alice, "audit", "-o", "ndjson")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, "user:local/mallory")
}
