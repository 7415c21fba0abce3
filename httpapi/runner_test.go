package httpapi

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// nowhere is the transport of a cluster of one.
type nowhere struct{}

func (nowhere) Send([]transport.Message) {}
func (nowhere) SetCluster(fsm.ClusterID) {}
func (nowhere) Close() error             { return nil }

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
	f.api = newAPI(Config{Node: newRunner(t), Name: "node1", Logger: slog.New(slog.DiscardHandler)})
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
	f.api = newAPI(Config{Node: newRunner(b), Name: "node1", Logger: slog.New(slog.DiscardHandler)})
	compare(b, f)
}
