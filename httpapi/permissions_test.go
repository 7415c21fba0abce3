package httpapi

import (
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// samples are a request of each operation that is more than its method and path, which succeeds if
// it is allowed. {path} is a/x, unless it says another. A new operation needs a row in
// docs/permissions.md and, unless it takes nothing more, one here.
var samples = map[string]sample{
	"putKey":        {body: "3"},
	"patchKey":      {body: `{"n":2}`, header: asMerge},
	"listSubtree":   {path: "a"},
	"deleteSubtree": {path: "a", query: "?recursive=true"},
	"transact":      {body: `{"compare":[{"path":"a/x","exists":true}],"then":[{"put":"a/z","value":1},{"get":"a/x"}]}`},
	"rollBack":      {body: `{"to_revision":1}`},
	"getDiff":       {query: "?from=1"},
	"watch":         {query: "?wait=0s"},
	"importTree":    {path: "a", body: `{"x":4}`},

	"addMember":          {body: `{"id":"node4","address":"10.0.1.13","api_port":5000,"raft_port":5001}`},
	"promoteMembers":     {body: `{"ids":["node2"]}`},
	"removeMembers":      {body: `{"ids":["node3"],"even_fewer":true}`},
	"replaceMember":      {body: `{"id":"node2"}`},
	"finalizeUpgrade":    {body: `{}`},
	"transferLeadership": {body: `{"to":"node2"}`},
	"drainNode":          {body: `{"on":true}`},

	"getNamespace":    {path: "ns"},
	"putNamespace":    {path: "ns", body: `{"owner":"x"}`},
	"deleteNamespace": {path: "ns"},
}

type sample struct{ path, query, body, header string }

// permissions reads the table of docs/permissions.md: what each column says of each route.
func permissions(t *testing.T) (table map[string]map[string]string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "permissions.md"))
	require.NoError(t, err)
	table = map[string]map[string]string{}
	var columns []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "route":
			columns = cells[2:]
		case strings.HasPrefix(cells[0], "`") && len(columns) > 0 && len(cells) == len(columns)+2:
			row := map[string]string{}
			for i, column := range columns {
				row[column] = cells[i+2]
			}
			table[strings.Trim(cells[0], "`")] = row
		}
	}
	require.NotEmpty(t, table)
	return table
}

// roles are the columns of the table, and who is bound so; those who may do least come first.
var roles = []struct{ column, who string }{
	{"no token", ""}, {"admin elsewhere", "else"}, {fsm.RoleViewer, "ann"}, {fsm.RoleEditor, "ed"}, {fsm.RolePublisher, "pub"}, {fsm.RoleAdmin, "root"},
}

// TestPermissions makes each request of the document as each caller, against a real store, and
// compares with the table in docs/permissions.md.
func TestPermissions(t *testing.T) {
	table, doc := permissions(t), loadDocument(t)
	left := maps.Clone(table)
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		for method, op := range doc.Paths.Value(path).Operations() {
			id := strings.TrimSuffix(strings.TrimSuffix(op.OperationID, "Head"), "OfAll")
			ofAll := strings.HasSuffix(strings.TrimSuffix(op.OperationID, "Head"), "OfAll")
			name := strings.Replace(method, http.MethodHead, http.MethodGet, 1) + " " + documentedAs(doc.Paths.Map(), path, ofAll)
			row := table[name]
			if !assert.NotNil(t, row, "docs/permissions.md has no row for %s", name) {
				continue
			}
			delete(left, name)
			assert.Equal(t, op.Security != nil && len(*op.Security) == 0, row["no token"] == "yes", "%s: the document's security", name)
			t.Run(method+" "+path, func(t *testing.T) { walkRoles(t, method, path, samples[id], row) })
		}
	}
	assert.Empty(t, left, "docs/permissions.md has rows for what is not served")
}

// documentedAs is the path with the parameter, of one that is of all.
func documentedAs[T any](paths map[string]T, path string, ofAll bool) string {
	if !ofAll {
		return path
	}
	for _, full := range []string{path + "/{path}/", path + "/{path}"} {
		if _, ok := paths[full]; ok {
			return full
		}
	}
	return path
}

// walkRoles makes one request as each caller.
func walkRoles(t *testing.T, method, path string, s sample, row map[string]string) {
	f := newFixture(t)
	guarded(f)
	f.bindAll("", map[string][]string{fsm.RoleViewer: {"ann"}, fsm.RoleEditor: {"ed"}, fsm.RolePublisher: {"pub"}})
	f.bind("elsewhere/", fsm.RoleAdmin, "else")
	if s.path == "" {
		s.path = "a/x"
	}
	target := strings.Replace(path, "{path}", s.path, 1) + s.query
	for _, role := range roles {
		f.change(&fsm.Command{Ops: []fsm.Op{put("a/x", []byte(`{"n":1}`), typeJSON)}}) // again
		f.bind("ns/", fsm.RoleViewer, "somebody")
		var headers []string
		if role.who != "" {
			headers = append(headers, as(role.who))
		}
		if s.header != "" {
			headers = append(headers, s.header)
		}
		before := f.proposedSince(0)
		w := f.do(method, target, s.body, headers...)
		got := "yes"
		switch w.Code {
		case http.StatusUnauthorized:
			got = "401"
		case http.StatusForbidden:
			got = "403"
			if method != http.MethodHead {
				assert.Equal(t, kindForbidden.name, kindOf(w), role.column)
			}
		default: // that the last administrator stays is no matter of permission
			assert.True(t, w.Code < 400 || kindOf(w) == kindLastAdmin.name, "%s: %s", role.column, w.Body)
		}
		assert.Equal(t, row[role.column], got, "%s: %s", role.column, w.Body)
		if got != "yes" {
			assert.Zero(t, f.proposedSince(before), "%s: nothing is proposed", role.column)
		}
	}
}
