package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
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
	{"GET", "/cluster", "cluster", "", "/cluster"},
}

// registered finds the routes in the source of package httpapi, which keeps them to itself.
var registered = regexp.MustCompile(`(?:tree|Handle|one)\(http\.Method(\w+), (base ?\+ ?)?"(/[a-z]+)`)

// TestCommandsCoverEveryRoute: what the API can do, a command does.
func TestCommandsCoverEveryRoute(t *testing.T) {
	covered := map[string]bool{}
	for _, r := range routes {
		covered[r.method+" "+r.route] = true
		t.Run(r.line, func(t *testing.T) {
			api, _ := newFakeAPI(t)
			exampleStore(api)
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
			got := command(t, s.URL, r.in, split(r.line)...)
			assert.Equal(t, exitOK, got.code, got.err)
			require.NotEmpty(t, sent)
			assert.Equal(t, r.method+" /api/v1"+r.sends, sent[0])
			assert.True(t, strings.HasPrefix(r.sends, r.route))
		})
	}
	source, err := os.ReadFile("../../httpapi/api.go")
	require.NoError(t, err)
	found := registered.FindAllStringSubmatch(string(source), -1)
	require.Greater(t, len(found), 8, "routes are registered in another way now")
	for _, match := range found {
		method, route := strings.ToUpper(match[1]), match[3]
		if below := strings.HasPrefix(match[0], "tree") || match[2] != ""; below && method != http.MethodHead {
			assert.True(t, covered[method+" "+route], "no command here uses %s %s", method, route)
		}
	}
}
