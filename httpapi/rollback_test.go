package httpapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

const rollbackPath = "/api/v1/rollback"

// changed is a fixture with a tree at revision 1 that others have changed since, up to revision 6.
func changed(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	f.ok("POST", "/api/v1/import/a", `{"same":0,"changed":1,"gone":2,"back":3,"":4}`)
	f.ok("PUT", config+"/a/changed", "other", "Content-Type: text/plain")
	f.ok("DELETE", config+"/a/gone", "")
	f.ok("PUT", config+"/a/new/key", "1")
	f.ok("PUT", config+"/a/back", "1")
	f.ok("POST", "/api/v1/import/", `{"a":{"back":3,"":5},"b":6}`)
	require.Equal(t, fsm.Revision(6), f.node.store.State().Revision)
	return f
}

func TestRollback(t *testing.T) {
	const below = `{"same":0,"changed":1,"gone":2,"back":3,"":`
	cases := []struct{ name, path, body, want, after string }{
		{
			"a subtree", "/a/", `{"to_revision":1}`,
			`{"path":"a/","to_revision":1,"revision":7,"restored":2,"removed":1,"changed":true,"transactions":1}`,
			`{"a":` + below + `5},"b":6}`,
		},
		{
			"everything", "", `{"to_revision":1}`,
			`{"path":"/","to_revision":1,"revision":7,"restored":3,"removed":2,"changed":true,"transactions":1}`,
			`{"a":` + below + `4}}`,
		},
		{
			"to the empty store", "/", `{"to_revision":0}`,
			`{"path":"/","to_revision":0,"revision":7,"restored":0,"removed":6,"changed":true,"transactions":1}`, `{}`,
		},
		{
			"a key", "/a/gone", `{"to_revision":2}`,
			`{"path":"a/gone","to_revision":2,"revision":7,"restored":1,"removed":0,"changed":true,"transactions":1}`,
			`{"a":{"same":0,"changed":"other","gone":2,"back":3,"new":{"key":1},"":5},"b":6}`,
		},
		{
			"a key that was not there", "/a/new/key", `{"to_revision":1}`,
			`{"path":"a/new/key","to_revision":1,"revision":7,"restored":0,"removed":1,"changed":true,"transactions":1}`,
			`{"a":{"same":0,"changed":"other","back":3,"":5},"b":6}`,
		},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := changed(t)
			w := f.ok("POST", rollbackPath+tc.path, tc.body, "Confman-Comment: back")
			assert.JSONEq(t, tc.want, w.Body.String())
			assert.Equal(t, "7", w.Header().Get("Confman-Revision"))
			assert.JSONEq(t, tc.after, f.ok("GET", "/api/v1/export/", "").Body.String())
			f2 := changed(t)
			chunked := f2.ok("POST", rollbackPath+tc.path+"?chunked=true", tc.body, "Confman-Comment: back")
			assert.JSONEq(t, tc.want, chunked.Body.String())
			export := "/api/v1/export/?format=ndjson"
			assert.Equal(t, f.ok("GET", export, "").Body.String(), f2.ok("GET", export, "").Body.String(), "in chunks it comes to the same")
			assert.Equal(t, "back", f2.node.commands[len(f2.node.commands)-1].Comment)
		})
	}
}

func TestRollbackOfNothing(t *testing.T) {
	for _, query := range []string{"", "?chunked=true"} {
		f := changed(t)
		w := f.ok("POST", rollbackPath+"/a/same"+query, `{"to_revision":1}`)
		transactions := map[string]int{"": 1, "?chunked=true": 0}[query]
		assert.JSONEq(t, fmt.Sprintf(`{"path":"a/same","to_revision":1,"revision":6,"restored":0,"removed":0,"changed":false,"transactions":%d}`, transactions),
			w.Body.String())
	}
}

// What is too much for one transaction goes in several; the history keeps what was between.
func TestRollbackInChunks(t *testing.T) {
	f := newFixture(t)
	const n = fsm.MaxTreeKeys + 5
	f.fill("big/", n)
	before := f.node.store.State().Revision
	f.ok("DELETE", config+"/big/?recursive=true&chunked=true", "")
	f.ok("PUT", config+"/big/late", "1")
	f.node.linearized = 0
	w := f.ok("POST", rollbackPath+"/big/?chunked=true", fmt.Sprintf(`{"to_revision":%d}`, before))
	got := decoded(t, w)
	assert.Equal(t, fmt.Sprint(n), fmt.Sprint(got["restored"]))
	assert.Equal(t, "1", fmt.Sprint(got["removed"]))
	assert.Equal(t, fmt.Sprint((n+fsm.MaxTxnOps)/fsm.MaxTxnOps), fmt.Sprint(got["transactions"]))
	assert.Len(t, f.keys("big/"), n)
	assert.Equal(t, 1, f.node.linearized)
	items, _ := f.pages("/api/v1/history/big/late?limit=10")
	assert.Len(t, items, 2)
}

// One that fails half-way says how far it came; one that cannot be done does nothing.
func TestRollbackInChunksFails(t *testing.T) {
	f := newFixture(t)
	f.fill("big/", 10*fsm.MaxTxnOps)
	before := f.node.proposals
	f.node.proposeErr = func(n int, _ *fsm.Command) error {
		if n == before+10 {
			return &node.WriteError{Outcome: node.Unknown, Err: node.ErrNoQuorum}
		}
		return nil
	}
	w := f.do("POST", rollbackPath+"/big/?chunked=true", `{"to_revision":0}`)
	got := decoded(t, w)
	assert.Equal(t, 503, w.Code)
	assert.Equal(t, "unknown", got["outcome"])
	assert.Equal(t, fmt.Sprint(9*fsm.MaxTxnOps), fmt.Sprint(got["applied_records"]))

	f = newFixture(t)
	f.fill("a/", 2*fsm.MaxTxnOps)
	f.node.put("z", "1")
	to := f.node.store.State().Revision
	f.node.put("z", "2")
	f.ok("DELETE", config+"/a/?recursive=true&chunked=true", "")
	f.node.put("z", "3")
	for range 10 { // each does a bounded part
		f.node.maintain(fsm.Maintenance{KeepVersions: 1})
	}
	revision := f.node.store.State().Revision
	w = f.do("POST", rollbackPath+"?chunked=true", fmt.Sprintf(`{"to_revision":%d}`, to))
	assert.Equal(t, 410, w.Code)
	assert.Equal(t, "not_applied", decoded(t, w)["outcome"])
	assert.Equal(t, revision, f.node.store.State().Revision)
}

// TestRollbackInChunksMayTakeLong: not the last of its transactions says by when it is answered, or
// HTTP/2 would end it half-way while it looks for what else differs.
func TestRollbackInChunksMayTakeLong(t *testing.T) {
	f := newFixture(t)
	f.fill("big/", 2*fsm.MaxTxnOps)
	w := &timed{ResponseRecorder: httptest.NewRecorder()}
	f.ServeHTTP(w, httptest.NewRequest("POST", rollbackPath+"/big/?chunked=true", strings.NewReader(`{"to_revision":0}`)))
	assert.Equal(t, 200, w.Code, w.Body)
	assert.Equal(t, []time.Time{f.now.Add(MaxExportTime + TransferTimeout)}, w.writes)
}
