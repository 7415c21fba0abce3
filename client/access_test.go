package client_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// TestNamespaceRequests: what is sent is what is for writing.
func TestNamespaceRequests(t *testing.T) {
	var sent, body, match string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		sent, body, match = r.Method+" "+r.URL.RequestURI(), string(text), r.Header.Get("If-Match")+r.Header.Get("If-None-Match")
		answer(200, `{"path":"a/","owner":"o","bindings":[],"settings":{},"revision":7,"create_revision":7,"modified_at":"2026-01-23T10:00:00Z","modified_by":"x"}`)(w, r)
	})
	c := dial(t, s.URL)
	n, meta, err := c.Namespace(t.Context(), "a", client.ReadOptions{Revision: 7})
	require.NoError(t, err)
	assert.Equal(t, "GET /api/v1/namespaces/a/?revision=7", sent)
	assert.Equal(t, uint64(57), meta.Revision)
	_, _, err = c.PutNamespace(t.Context(), "a/", &n, client.WriteOptions{IfRevision: n.Revision})
	require.NoError(t, err)
	assert.Equal(t, "PUT /api/v1/namespaces/a/", sent)
	assert.JSONEq(t, `{"owner":"o","description":"","bindings":[],"settings":{}}`, body)
	assert.Equal(t, `"7"`, match)
	n = client.Namespace{
		Bindings: []client.Binding{{Role: "r"}}, Settings: client.NamespaceSettings{KeepVersions: 3},
		Roles: map[string][]string{"r": {"read"}}, Denied: []string{"cert:x"},
	}
	_, _, err = c.PutNamespace(t.Context(), "/", &n, client.WriteOptions{IfAbsent: true})
	require.NoError(t, err)
	assert.Equal(t, "PUT /api/v1/namespaces/", sent)
	assert.JSONEq(t, `{"owner":"","description":"","bindings":[{"role":"r","subjects":[]}],"settings":{"keep_versions":3},"roles":{"r":["read"]},"denied":["cert:x"]}`, body)
	assert.Equal(t, "*", match)
	_, _, err = c.DeleteNamespace(t.Context(), "a b", client.WriteOptions{IfRevision: 2})
	require.NoError(t, err)
	assert.Equal(t, "DELETE /api/v1/namespaces/a%20b/", sent)
	assert.Empty(t, body)
}

// TestAccessRefusesWhatNoNodeTakes: nothing is sent.
func TestAccessRefusesWhatNoNodeTakes(t *testing.T) {
	s := serve(t, answer(200, `{}`))
	c := dial(t, s.URL)
	past := client.ReadOptions{At: time.Now()}
	_, _, err := c.Namespace(t.Context(), "a//b", client.ReadOptions{})
	require.ErrorAs(t, err, new(*client.KeyError))
	_, _, err = c.Namespace(t.Context(), "a", past)
	require.ErrorAs(t, err, new(*client.RequestError))
	for _, o := range []client.ReadOptions{past, {Revision: 1}} {
		for _, err := range c.Namespaces(t.Context(), "a", client.NamespacesOptions{ReadOptions: o}) {
			require.ErrorAs(t, err, new(*client.RequestError))
		}
		for _, err := range c.Audit(t.Context(), client.AuditOptions{ReadOptions: o}) {
			require.ErrorAs(t, err, new(*client.RequestError))
		}
		_, _, err = c.WhoAmI(t.Context(), o)
		require.ErrorAs(t, err, new(*client.RequestError))
	}
	for _, err := range c.Namespaces(t.Context(), "a//b", client.NamespacesOptions{}) {
		require.ErrorAs(t, err, new(*client.KeyError))
	}
	_, _, err = c.ExportAudit(t.Context(), client.AuditOptions{Path: "a//b"})
	require.ErrorAs(t, err, new(*client.KeyError))
	_, _, err = c.PutNamespace(t.Context(), "a", &client.Namespace{}, client.WriteOptions{IfPresent: true})
	require.ErrorAs(t, err, new(*client.RequestError))
	_, _, err = c.PutNamespace(t.Context(), "a//b", &client.Namespace{}, client.WriteOptions{})
	require.ErrorAs(t, err, new(*client.KeyError))
	_, _, err = c.DeleteNamespace(t.Context(), "a", client.WriteOptions{IdempotencyKey: "a b"})
	require.ErrorAs(t, err, new(*client.RequestError))
	assert.Zero(t, s.requests.Load())
}

// TestEditNamespace: it reads again what others changed, a bounded number of times, and leaves alone what
// it need not, or must not, change.
func TestEditNamespace(t *testing.T) {
	const now = `{"path":"a/","bindings":[{"role":"viewer","subjects":["cert:b"]}],"settings":{},"revision":7}`
	put := answer(200, `{"path":"a/","revision":8,"changed":true}`)
	conflicts := 0
	c := dial(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet:
			assert.Equal(t, "linearizable", r.URL.Query().Get("consistency"))
			answer(200, now)(w, r)
		case conflicts > 0:
			conflicts--
			assert.Equal(t, `"7"`, r.Header.Get("If-Match"))
			problem(412, "precondition-failed", `,"outcome":"not_applied"`)(w, r)
		default:
			put(w, r)
		}
	}).URL)
	edits := 0
	grant := func(n *client.Namespace) (bool, error) { edits++; return n.Grant("viewer", "cert:a"), nil }
	conflicts = client.MaxNamespaceEdits - 1
	w, _, err := c.EditNamespace(t.Context(), "a", "why", grant)
	require.NoError(t, err)
	assert.Equal(t, client.Written{Path: "a/", Revision: 8, Changed: true}, w)
	assert.Equal(t, client.MaxNamespaceEdits, edits)
	edits, conflicts = 0, client.MaxNamespaceEdits
	_, _, err = c.EditNamespace(t.Context(), "a", "why", grant)
	assert.True(t, client.IsConflict(err))
	assert.Equal(t, client.MaxNamespaceEdits, edits)
	put = problem(409, "last-admin", `,"outcome":"not_applied"`)
	edits = 0
	_, _, err = c.EditNamespace(t.Context(), "a", "why", grant)
	assert.True(t, client.IsConflict(err))
	assert.Equal(t, 1, edits, "that does not go away")
	w, _, err = c.EditNamespace(t.Context(), "a", "why", func(n *client.Namespace) (bool, error) { return n.Grant("viewer", "cert:b"), nil })
	require.NoError(t, err)
	assert.Equal(t, client.Written{Path: "a/", Revision: 7}, w)
	refusal := errors.New("not this one")
	_, _, err = c.EditNamespace(t.Context(), "a", "why", func(*client.Namespace) (bool, error) { return true, refusal })
	assert.Equal(t, refusal, err)
	c = dial(t, serve(t, problem(403, "forbidden", "")).URL)
	_, _, err = c.EditNamespace(t.Context(), "a", "why", grant)
	require.ErrorContains(t, err, "forbidden")
}

func TestGrantAndRevoke(t *testing.T) {
	n := client.Namespace{Bindings: []client.Binding{{Role: "viewer", Subjects: []string{"cert:a"}}}}
	assert.False(t, n.Grant("viewer", "cert:a"))
	assert.True(t, n.Grant("viewer", "cert:b"))
	assert.True(t, n.Grant("editor", "cert:a"))
	assert.False(t, n.Revoke("editor", "cert:b"))
	assert.True(t, n.Revoke("editor", "cert:a"))
	assert.Equal(t, []client.Binding{{Role: "viewer", Subjects: []string{"cert:a", "cert:b"}}}, n.Bindings)
	assert.True(t, n.Revoke("viewer", "cert:a"))
	assert.False(t, n.Revoke("publisher", "cert:b"))
	assert.Equal(t, []client.Binding{{Role: "viewer", Subjects: []string{"cert:b"}}}, n.Bindings)
}

func TestDenyAndAllow(t *testing.T) {
	n := client.Namespace{Denied: []string{"cert:a"}}
	assert.False(t, n.Deny("cert:a"))
	assert.True(t, n.Deny("cert:b"))
	assert.Equal(t, []string{"cert:a", "cert:b"}, n.Denied)
	assert.True(t, n.Allow("cert:a"))
	assert.False(t, n.Allow("cert:a"))
	assert.Equal(t, []string{"cert:b"}, n.Denied)
}

func TestAuditRequests(t *testing.T) {
	var sent string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.URL.RequestURI() + " " + r.Header.Get("Accept")
		answer(200, `{"revision":1,"items":[{"outcome":"denied","count":2,"last":"2026-01-23T10:00:00Z"}]}`)(w, r)
	})
	c := dial(t, s.URL)
	o := client.AuditOptions{
		ReadOptions: client.ReadOptions{Consistency: client.Local, MinRevision: 3}, Principal: "user:e/b", Path: "a/", Action: "denied-read", Outcome: "denied",
		Since: time.Date(2026, 1, 23, 10, 0, 0, 5, time.FixedZone("", 3600)), Until: time.Date(2026, 1, 23, 11, 0, 0, 0, time.UTC), PageSize: 9,
	}
	n := 0
	for row, err := range c.Audit(t.Context(), o) {
		require.NoError(t, err)
		assert.Equal(t, uint64(2), row.Count)
		assert.Equal(t, time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC), row.Last)
		n++
	}
	assert.Equal(t, 1, n)
	const query = "action=denied-read&consistency=local&outcome=denied&path=a%2F&principal=user%3Ae%2Fb&since=2026-01-23T09%3A00%3A00.000000005Z&until=2026-01-23T11%3A00%3A00Z"
	assert.Equal(t, "/api/v1/audit?action=denied-read&consistency=local&limit=9"+query[len("action=denied-read&consistency=local"):]+"&min_revision=3 ", sent)
	body, _, err := c.ExportAudit(t.Context(), o)
	require.NoError(t, err)
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	assert.Contains(t, string(text), `"denied"`)
	assert.Equal(t, "/api/v1/audit?"+query+"&min_revision=3 application/x-ndjson", sent)
}
