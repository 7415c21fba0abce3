package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// routes are those of the API below /api/v1, and the command line that uses each. HEAD is
// GET without what a command prints.
var routes = []struct {
	method, route string
	line          string // run against exampleStore
	in            string
	sends         string // the first request
}{
	{"GET", "/config", "get teams/payments/timeout-ms --revision 41 --consistency local", "", "/config/teams/payments/timeout-ms?consistency=local&revision=41"},
	{"GET", "/config", "ls teams", "", "/config/teams/"},
	{"GET", "/config", "ls -r teams", "", "/config/teams/?recursive=true"},
	{"PUT", "/config", "put teams/payments/timeout-ms 31", "", "/config/teams/payments/timeout-ms"},
	{"PATCH", "/config", "patch teams/payments/limits {}", "", "/config/teams/payments/limits"},
	{"DELETE", "/config", "rm teams/payments/lock", "", "/config/teams/payments/lock"},
	{"DELETE", "/config", "rm -r teams/payments/", "", "/config/teams/payments/?recursive=true"},
	{"DELETE", "/config", "rm -r teams/payments/ --chunked", "", "/config/teams/payments/?chunked=true&recursive=true"},
	{"POST", "/txn", "txn", `{"then": [{"get": "a"}]}`, "/txn"},
	{"GET", "/history", "history teams/payments/lock", "", "/history/teams/payments/lock"},
	{"GET", "/history", "history /", "", "/history/"},
	{"GET", "/history", "history --verify", "", "/history/?verify=true"},
	{"GET", "/watch", "watch teams/ --from 40 --count 1", "", "/watch/teams/?from_revision=40&heartbeat=10s"},
	{"GET", "/diff", "diff teams/ --from 41 --to 42", "", "/diff/teams/?from=41&to=42"},
	{"POST", "/rollback", "rollback teams/ --to 41", "", "/rollback/teams/"},
	{"POST", "/rollback", "rollback teams/payments/lock --to 41 --chunked", "", "/rollback/teams/payments/lock?chunked=true"},
	{"POST", "/import", "import teams -", `{"a": 1}`, "/import/teams/"},
	{"GET", "/export", "export teams", "", "/export/teams/?format=tree"},
	{"GET", "/export", "export / --format ndjson", "", "/export/?format=ndjson"},
	{"GET", "/namespaces", "ns get teams/payments --revision 57", "", "/namespaces/teams/payments/?revision=57"},
	{"GET", "/namespaces", "ns ls teams", "", "/namespaces/teams/?recursive=true"},
	{"GET", "/namespaces", "ns grant teams/payments viewer cert:ci", "", "/namespaces/teams/payments/?consistency=linearizable"},
	{"GET", "/namespaces", "ns deny cert:ci", "", "/namespaces/?consistency=linearizable"},
	{"PUT", "/namespaces", "ns put teams/ci -f -", `{"owner": "ann"}`, "/namespaces/teams/ci/"},
	{"DELETE", "/namespaces", "ns rm teams/payments", "", "/namespaces/teams/payments/"},
	{"GET", "/audit", "audit --path teams/ --outcome applied --since 2026-01-23T11:00:00+01:00", "", "/audit?outcome=applied&path=teams%2F&since=2026-01-23T10%3A00%3A00Z"},
	{"GET", "/audit", "audit -o ndjson", "", "/audit"},
	{"GET", "/whoami", "whoami", "", "/whoami"},
	{"GET", "/cluster", "cluster", "", "/cluster"},
	{"GET", "/cluster/backup", "backup --out DIR/x.backup", "", "/cluster/backup"},
	{"GET", "/cluster/members", "cluster seat node4", "", "/cluster/members?consistency=linearizable"},
	{"POST", "/cluster/members", "cluster add node4 --address 10.0.1.13", "", "/cluster/members"},
	{"POST", "/cluster/members/promote", "cluster promote node4 node5", "", "/cluster/members/promote"},
	{"POST", "/cluster/members/remove", "cluster remove node4", "", "/cluster/members/remove"},
	{"POST", "/cluster/members/replace", "cluster replace node2", "", "/cluster/members/replace"},
	{"POST", "/cluster/transfer-leadership", "cluster transfer-leadership --to node2", "", "/cluster/transfer-leadership"},
	{"POST", "/cluster/drain", "cluster drain node1 --off", "", "/cluster/drain"},
	{"POST", "/cluster/finalize-upgrade", "cluster finalize-upgrade", "", "/cluster/finalize-upgrade"},
}

// TestCommandsCoverEveryRoute: what the API can do, a command does.
func TestCommandsCoverEveryRoute(t *testing.T) {
	covered := map[string]bool{}
	for _, r := range routes {
		covered[r.method+" "+r.route] = true
		t.Run(r.line, func(t *testing.T) {
			api, _ := newFakeAPI(t)
			exampleStore(api)
			api.backup = exampleBackup(t)
			dir := t.TempDir()
			var (
				mu   sync.Mutex
				sent []string
			)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				mu.Lock()
				sent = append(sent, req.Method+" "+req.URL.RequestURI())
				mu.Unlock()
				api.ServeHTTP(w, req)
			}))
			defer s.Close()
			got := command(t, s.URL, r.in, split(strings.ReplaceAll(r.line, "DIR", dir))...)
			assert.Equal(t, exitOK, got.code, got.err)
			require.NotEmpty(t, sent)
			if strings.HasPrefix(r.line, "cluster drain") {
				sent = sent[1:] // it asks first who is where
			}
			assert.Equal(t, r.method+" /api/v1"+r.sends, sent[0])
			assert.True(t, strings.HasPrefix(r.sends, r.route))
		})
	}
	for _, route := range documented(t) {
		assert.True(t, covered[route], "no command here uses %s", route)
	}
}

// documented are the routes below /api/v1 that the API's own document tells, which are all,
// says a test of package httpapi.
func documented(t *testing.T) (found []string) {
	t.Helper()
	text, err := os.ReadFile("../../httpapi/openapi.json")
	require.NoError(t, err)
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &document))
	for path, item := range document.Paths {
		route, below := strings.CutPrefix(path, "/api/v1")
		route, _, _ = strings.Cut(route, "/{path}")
		for _, method := range []string{"get", "put", "patch", "post", "delete"} {
			if below && item[method] != nil {
				found = append(found, strings.ToUpper(method)+" "+route)
			}
		}
	}
	require.Greater(t, len(found), 8)
	return found
}
