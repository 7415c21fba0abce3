package httpapi

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// nowhere is the transport of a cluster of one.
type nowhere struct{}

func (nowhere) Send([]transport.Message)            {}
func (nowhere) SetCluster(fsm.ClusterID)            {}
func (nowhere) SetMembers([]transport.Peer, uint64) {}
func (nowhere) Close() error                        { return nil }

// newRunner starts a cluster of one on a real disk.
func newRunner(tb testing.TB) *node.Runner {
	tb.Helper()
	r, err := node.Start(node.RunnerConfig{
		Dir: tb.TempDir(), Name: "node1", Names: []string{"node1"},
		Dial:   func(node.Peering, transport.Handler) (node.Transport, error) { return nowhere{}, nil },
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, r.Close()) })
	require.Eventually(tb, func() bool { return r.Status().Ready }, 10*time.Second, time.Millisecond)
	return r
}

// TestOverARunner: what holds over the fake holds over the node itself.
func TestOverARunner(t *testing.T) {
	f := &fixture{tb: t}
	f.api = newAPI(Config{Node: newRunner(t), Name: "node1", Hosts: []string{"example.com"}, Logger: slog.New(slog.DiscardHandler)})
	assert.Equal(t, http.StatusOK, f.do("GET", "/health/ready", "").Code)
	f.ok("PUT", config+"/a/b", "1", "If-None-Match: *")
	assert.Equal(t, http.StatusPreconditionFailed, f.do("PUT", config+"/a/b", "2", "If-None-Match: *").Code)
	for _, query := range []string{"", "?consistency=linearizable", "?consistency=local", "?max_staleness=2s"} {
		w := f.ok("GET", config+"/a/b"+query, "")
		assert.Equal(t, "1", w.Header().Get("Confman-Revision"))
		assert.NotEqual(t, unknown, w.Header().Get("Confman-Staleness"), query)
		assert.Equal(t, "node1", w.Header().Get("Confman-Leader"))
	}
	f.ok("POST", "/api/v1/import/t", manyLeaves())
	assert.JSONEq(t, manyLeaves(), f.ok("GET", "/api/v1/export/t", "").Body.String())
	f.ok("DELETE", config+"/a/b", "")
	view := decoded(t, f.ok("GET", "/api/v1/cluster", ""))
	assert.Equal(t, "leader", view["role"])
	assert.Len(t, view["members"], 1)
}

// BenchmarkGetRunner is BenchmarkGet over a real node.
func BenchmarkGetRunner(b *testing.B) {
	f := &fixture{tb: b}
	f.api = newAPI(Config{Node: newRunner(b), Name: "node1", Hosts: []string{"example.com"}, Logger: slog.New(slog.DiscardHandler)})
	compare(b, f)
}

// TestCallersOverARunner: callers are let in, refused, and recorded by the node itself.
func TestCallersOverARunner(t *testing.T) {
	r := newRunner(t)
	f := &fixture{tb: t}
	f.api = newAPI(Config{Node: r, Name: "node1", Auth: &people{known: map[string]*auth.Identity{}}, Logger: slog.New(slog.DiscardHandler)})
	assert.Equal(t, http.StatusForbidden, f.do("GET", config+"/", "", as("root")).Code, "nobody may do anything yet")
	propose := func(op fsm.Op) fsm.Result {
		root := fsm.Principal{Kind: fsm.User, Issuer: "entra", Tenant: tenant, Object: "root"}
		res, err := r.Propose(t.Context(), &fsm.Command{Principal: root, Ops: []fsm.Op{op}})
		require.NoError(t, err)
		return res
	}
	bootstrap := fsm.Op{Kind: fsm.Bootstrap, Value: []byte(user("root"))}
	assert.Equal(t, fsm.Applied, propose(bootstrap).Outcome)
	assert.Equal(t, fsm.AdminExists, propose(bootstrap).Outcome)
	f.ok("PUT", config+"/a/x", "1", as("root"))
	assert.Equal(t, http.StatusForbidden, f.do("GET", config+"/a/x", "", as("ann")).Code)
	n := fsm.Namespace{Bindings: []fsm.Binding{{Role: fsm.RoleViewer, Subjects: []string{user("ann")}}}}
	propose(fsm.Op{Kind: fsm.PutNamespace, Key: "a/", Value: n.Encode()})
	for _, query := range []string{"", "?consistency=local", "?consistency=linearizable", "?max_staleness=1h"} {
		f.ok("GET", config+"/a/x"+query, "", as("ann"))
	}
	w := f.do("PUT", config+"/a/x", "2", as("ann"))
	assert.Equal(t, kindForbidden.name, kindOf(w))
	assert.Equal(t, http.StatusUnauthorized, f.do("GET", config+"/a/x", "").Code)

	f.denials.close(t.Context())
	v, _, err := r.View()
	require.NoError(t, err)
	defer v.Close()
	denied := map[string]uint64{}
	require.NoError(t, v.Audit(v.AuditEnd(), func(e fsm.AuditEntry, _ fsm.AuditPosition) bool {
		if e.Denied != nil {
			denied[e.Denied.Principal+" "+e.Denied.Path+" "+e.Denied.Reason] = e.Denied.Count
		}
		return true
	}))
	assert.Equal(t, map[string]uint64{
		user("root") + "  forbidden": 1, user("ann") + " a/x forbidden": 1, " a/x missing-token": 1,
	}, denied)
}
