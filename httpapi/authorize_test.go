package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// kindOf is the name of the problem that an answer is, "" if it is none.
func kindOf(w *httptest.ResponseRecorder) string {
	var doc struct{ Type string }
	_ = json.Unmarshal(w.Body.Bytes(), &doc)
	return strings.TrimPrefix(doc.Type, "urn:confman:problem:")
}

// TestForgottenNeed: a handler that does not say what its caller must be allowed to do gets
// nothing, and gives nothing out, whoever calls and whatever they may do.
func TestForgottenNeed(t *testing.T) {
	for name, h := range map[string]handler{
		"reads": func(c *call) error {
			_, err := c.read(freshness{consistency: local}, func(*fsm.View) error { panic("it got a view") })
			return err
		},
		"watches": func(c *call) error { _, err := c.newest(); return err },
		"proposes": func(c *call) error {
			_, err := c.propose(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "forgotten"}}})
			return err
		},
		"peeks": (*call).peek,
		"answers without a look": func(c *call) error {
			c.need(fsm.VerbRead, "")
			c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standing{}, &node.NodeStatus{})
			return nil
		},
	} {
		for _, setup := range []func(*fixture){func(*fixture) {}, guarded} {
			f := newFixture(t)
			setup(f)
			before := f.proposedSince(0)
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer root")
			w := httptest.NewRecorder()
			f.api.serve(h, false, w, r, f.counted.unrouted("GET"), "")
			assert.Equal(t, kindInternal.name, kindOf(w), name)
			assert.Zero(t, f.proposedSince(before), name)
		}
	}
}

// TestOnlyTheseAskTheNode: all that is read or proposed passes what decides about it.
func TestOnlyTheseAskTheNode(t *testing.T) {
	allowed := map[string][]string{
		"View":    {"look", "refused", "peek"},
		"Propose": {"propose", "report"}, // a report of denials is nobody's
		"Watch":   {"watch"},             // its views come from look
	}
	names, err := filepath.Glob("*.go")
	require.NoError(t, err)
	got := map[string]map[string]bool{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				method, ok := n.(*ast.SelectorExpr)
				if !ok || allowed[method.Sel.Name] == nil {
					return true
				}
				if on, ok := method.X.(*ast.SelectorExpr); ok && strings.EqualFold(on.Sel.Name, "node") {
					if got[method.Sel.Name] == nil {
						got[method.Sel.Name] = map[string]bool{}
					}
					got[method.Sel.Name][fn.Name.Name] = true
				}
				return true
			})
		}
	}
	for method, names := range allowed {
		want := map[string]bool{}
		for _, name := range names {
			want[name] = true
		}
		assert.Equal(t, want, got[method], "who calls Node.%s", method)
	}
}

// TestNothingIsLearned: whoever may not read a path gets the same answer whether there is something
// or not.
func TestNothingIsLearned(t *testing.T) {
	f := newGuarded(t)
	for _, request := range []struct {
		method, path, body string
		headers            []string
	}{
		{"GET", config + "/b/KEY", "", nil},
		{"HEAD", config + "/b/KEY", "", nil},
		{"GET", config + "/b/KEY", "", []string{`If-None-Match: "4"`}},
		{"GET", config + "/b/KEY?revision=4", "", nil},
		{"GET", config + "/b/KEY?revision=99", "", nil},
		{"GET", "/api/v1/history/b/KEY", "", nil},
		{"GET", "/api/v1/diff/b/KEY?from=1", "", nil},
		{"GET", "/api/v1/export/b/KEY", "", nil},
		{"GET", "/api/v1/watch/b/KEY?wait=1s", "", nil},
		{"PUT", config + "/b/KEY", "1", nil},
		{"PUT", config + "/b/KEY", "1", []string{"If-None-Match: *"}},
		{"PUT", config + "/b/KEY", "1", []string{`If-Match: "4"`}},
		{"PATCH", config + "/b/KEY", "{}", []string{asMerge}},
		{"DELETE", config + "/b/KEY", "", []string{"If-Match: *"}},
		{"POST", "/api/v1/rollback/b/KEY", `{"to_revision":1}`, nil},
		{"POST", "/api/v1/rollback/b/KEY?chunked=true", `{"to_revision":1}`, nil},
		{"POST", "/api/v1/txn", `{"compare":[{"path":"b/KEY","exists":true}],"then":[{"put":"a/z","value":1}]}`, nil},
		{"POST", "/api/v1/txn", `{"then":[{"get":"b/KEY"}]}`, nil},
	} {
		var answers []string
		for _, key := range []string{"x", "z"} { // there is only the first
			named := strings.NewReplacer("KEY", key)
			w := f.do(request.method, named.Replace(request.path), named.Replace(request.body), append(request.headers, as("ed"))...)
			require.Equal(t, http.StatusForbidden, w.Code, "%s %s: %s", request.method, request.path, w.Body)
			assert.Contains(t, w.Header().Get("Www-Authenticate"), `error="insufficient_scope"`)
			answers = append(answers, strings.NewReplacer("b/"+key, "b/KEY").Replace(string(show(w))))
		}
		assert.Equal(t, answers[0], answers[1], "%s %s", request.method, request.path)
	}
}

// TestNamespacesAreNotProbed: what a change of a namespace takes depends on what is there. Whoever may
// not see that cannot try out who is bound or denied, or what is kept, by what it is said to lack.
func TestNamespacesAreNotProbed(t *testing.T) {
	f := newGuarded(t)
	rec, _ := viewOf(f).Policy().Namespace("")
	root := rec.Namespace
	root.Denied = []string{user("mallory")}
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Value: root.Encode()}}})
	there := fsm.Namespace{Owner: "them", KeepVersions: 7, Bindings: []fsm.Binding{{Role: fsm.RoleEditor, Subjects: []string{user("bob")}}}}
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: "b/", Value: there.Encode()}}})
	bobEdits := `"bindings":[{"role":"editor","subjects":["` + user("bob") + `"]}]`
	for path, bodies := range map[string][]string{
		"/b/": {
			"", `{}`, `{"settings":{"keep_versions":7}}`, `{"settings":{"keep_versions":8}}`, "{" + bobEdits + "}", strings.ReplaceAll("{"+bobEdits+"}", "bob", "eve"),
			strings.ReplaceAll("{"+bobEdits+"}", "editor", "writer"), `{"owner":"them","settings":{"keep_versions":8},` + bobEdits + "}",
		},
		"/": {"", `{}`, `{"denied":["` + user("mallory") + `"]}`, `{"denied":["` + user("bob") + `"]}`, `{"roles":{"writer":["write"]}}`, `{"roles":{"writer":["bind"]}}`},
	} {
		for _, body := range bodies {
			method := "PUT"
			if body == "" {
				method = "DELETE"
			}
			w := f.do(method, namespaces+path, body, as("ed"))
			require.Equal(t, http.StatusForbidden, w.Code, "%s: %s", body, w.Body)
			assert.Equal(t, []any{"bind"}, decoded(t, w)["verbs"], "%s: %s", path, body)
		}
	}
	// Whoever reads it is told how much is kept by another verb, but not what a role is.
	for body, want := range map[string][]any{
		`{"owner":"them","settings":{"keep_versions":8},` + bobEdits + "}": {"retention"},
		`{"settings":{"keep_versions":8}}`:                                 {"retention", "bind"},
		strings.ReplaceAll("{"+bobEdits+"}", "editor", "writer"):           {"retention", "bind"},
	} {
		assert.Equal(t, want, decoded(t, f.do("PUT", namespaces+"/b/", body, as("all")))["verbs"], body)
	}
}

func TestWhoReads(t *testing.T) {
	f := newGuarded(t)
	for target, may := range map[string]string{
		config + "/a/x": "all ann ed pub", config + "/a/": "all ann ed pub", config + "/a/?recursive=true": "all ann ed pub",
		config + "/a": "all", config + "/": "all", config + "/b/x": "all",
		config + "/a/x?revision=2": "all ann ed pub", config + "/a/?format=tree&recursive=true": "all ann ed pub",
		"/api/v1/history/a/": "all ann ed pub", "/api/v1/history/a/x": "all ann ed pub", "/api/v1/history/": "all",
		"/api/v1/history/a/?verify=true": "all", "/api/v1/diff/a/?from=1": "all ann ed pub", "/api/v1/diff/?from=1": "all",
		"/api/v1/export/a/": "all ann ed pub", "/api/v1/export/a": "all", "/api/v1/export/": "all",
		"/api/v1/watch/a/?wait=0s": "all ann ed pub", "/api/v1/watch/a?wait=0s": "all", "/api/v1/watch/?wait=0s": "all",
		"/api/v1/cluster": "all",
	} {
		for _, who := range []string{"all", "ann", "ed", "pub", "eve"} {
			want := http.StatusForbidden
			if strings.Contains(may, who) {
				want = http.StatusOK
			}
			w := f.do("GET", target, "", as(who))
			assert.Equal(t, want, w.Code, "%s %s: %s", who, target, w.Body)
		}
		assert.Equal(t, http.StatusUnauthorized, f.do("GET", target, "").Code, target)
	}
}

// TestExportWithoutItsOwnPath: a binding on a/ is of what is below, not of key a.
func TestExportWithoutItsOwnPath(t *testing.T) {
	f := newGuarded(t)
	const own = `"own"`
	for _, format := range []string{"", "?format=ndjson", "?revision=4"} {
		assert.Contains(t, f.ok("GET", "/api/v1/export/a/"+format, "", as("all")).Body.String(), own, format)
		assert.NotContains(t, f.ok("GET", "/api/v1/export/a/"+format, "", as("ann")).Body.String(), own, format)
	}
}

// TestExportEndsWithItsPermission, and not at its end: what comes after is not given out.
func TestExportEndsWithItsPermission(t *testing.T) {
	for _, what := range []string{"export/a/", "export/a/?format=ndjson", "audit?path=a/"} {
		f := newGuarded(t)
		for i := range 9 {
			f.ok("PUT", fmt.Sprintf("%s/a/%d", config, i), `"`+strings.Repeat("x", exportBuffer)+`"`, as("ed"))
		}
		for i := range 700 { // for the audit, which has no values
			f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.Put, Key: "a/n", Value: []byte(strconv.Itoa(i))}}})
		}
		f.bind("a/", fsm.RoleAdmin, "zoe")
		gone := func() { f.bind("a/", fsm.RoleViewer, "ann") }
		for _, stays := range []bool{true, false} {
			w := &writeHook{ResponseWriter: newRecorder(), hook: gone}
			if stays {
				w.hook = nil
			}
			r := httptest.NewRequest("GET", base+"/"+what, nil)
			r.Header.Set("Authorization", "Bearer zoe")
			if strings.HasPrefix(what, "audit") {
				r.Header.Set("Accept", typeRecords)
			}
			if stays {
				assert.NotPanics(t, func() { f.ServeHTTP(w, r) }, what)
				assert.Greater(t, w.writes, 2, what)
				continue
			}
			assert.PanicsWithValue(t, http.ErrAbortHandler, func() { f.ServeHTTP(w, r) }, what)
			assert.Equal(t, 1, w.writes, what)
			assert.Contains(t, f.log.String(), user("zoe")+" lacks ", what)
		}
		f.denials.close(t.Context())
	}
}

// TestStalePolicy: nothing is read by a policy that may be too old, unless a quorum says that it is not.
func TestStalePolicy(t *testing.T) {
	f := newGuarded(t)
	f.proof = standing{age: DefaultMaxPolicyStaleness + time.Millisecond, fresh: true}
	for _, query := range []string{"", "?max_staleness=1h", "?consistency=linearizable"} {
		before := f.node.linearized
		f.ok("GET", config+"/a/x"+query, "", as("ann"))
		assert.Equal(t, before+1, f.node.linearized, query)
	}
	stays := f.do("GET", config+"/a/x?consistency=local", "", as("ann"))
	assert.Equal(t, kindStaleness.name, kindOf(stays))
	assert.Equal(t, kindStaleness.name, kindOf(f.do("GET", "/api/v1/watch/a/?wait=1s", "", as("ann"))))
	f.node.linearizeErr = node.ErrNoQuorum
	w := f.do("GET", config+"/a/x?max_staleness=1h", "", as("ann"))
	assert.Equal(t, kindStaleness.name, kindOf(w))
	assert.Equal(t, "5s", decoded(t, w)["max_staleness"], "the smaller of both bounds")
	assert.Equal(t, kindNoQuorum.name, kindOf(f.do("GET", config+"/a/x?consistency=linearizable", "", as("ann"))))
	f.ok("GET", "/api/v1/cluster", "", as("all")) // it is what one looks at now

	f.api.Auth = nil // the policy asks for it, too
	assert.Equal(t, kindStaleness.name, kindOf(f.do("GET", config+"/a/x?consistency=local", "")))
	f.proof.age = time.Second
	assert.Equal(t, kindForbidden.name, kindOf(f.do("GET", config+"/a/x", "")))
}

// TestTheNewestPolicyIsRemembered, also if a request with an older view comes later.
func TestTheNewestPolicyIsRemembered(t *testing.T) {
	f := newGuarded(t)
	older, _, err := f.node.View()
	require.NoError(t, err)
	defer older.Close()
	f.bind("a/", fsm.RoleViewer, "zoe")
	newer, _, err := f.node.View()
	require.NoError(t, err)
	defer newer.Close()
	require.NotSame(t, older.Policy(), newer.Policy())
	for _, v := range []*fsm.View{older, newer, older} {
		assert.Same(t, v.Policy(), f.saw(v))
	}
	assert.Same(t, newer.Policy(), f.policy.Load().policy)
}

// TestWritesAreRefusedHere, so that nobody fills the log, but only after a quorum was asked.
func TestWritesAreRefusedHere(t *testing.T) {
	f := newGuarded(t)
	requests := []struct{ method, target, body, header string }{
		{"PUT", config + "/a/x", "3", ""},
		{"DELETE", config + "/a/x", "", ""},
		{"DELETE", config + "/a/?recursive=true", "", ""},
		{"POST", "/api/v1/txn", `{"then":[{"get":"a/y"},{"put":"a/x","value":1}]}`, ""},
		{"POST", "/api/v1/txn", `{"compare":[{"path":"a/x","exists":true}],"then":[],"else":[{"put":"a/x","value":1}]}`, ""},
		{"POST", "/api/v1/import/a/", `{"x":1}`, ""},
		{"POST", "/api/v1/rollback/a/", `{"to_revision":1}`, ""},
	}
	before, asked := f.proposedSince(0), f.node.linearized
	for i, r := range requests {
		w := f.do(r.method, r.target, r.body, as("ann"))
		assert.Equal(t, http.StatusForbidden, w.Code, r.target)
		doc := decoded(t, w)
		assert.Equal(t, "not_applied", doc["outcome"])
		assert.Contains(t, doc["detail"], user("ann")+" lacks ")
		assert.Contains(t, doc["detail"], "confman ns get a/")
		assert.Equal(t, asked+i+1, f.node.linearized, r.target)
	}
	// These are read first, in views that a quorum confirmed.
	for _, r := range []struct{ method, target, body, header string }{
		{"PATCH", config + "/a/y", `{"n":2}`, asMerge},
		{"DELETE", config + "/a/?recursive=true&chunked=true", "", "X: y"},
		{"POST", "/api/v1/rollback/a/?chunked=true", `{"to_revision":1}`, "X: y"},
	} {
		assert.Equal(t, http.StatusForbidden, f.do(r.method, r.target, r.body, as("ann"), r.header).Code, r.target)
	}
	assert.Zero(t, f.proposedSince(before))

	f.node.linearizeErr = node.ErrNoQuorum
	w := f.do("PUT", config+"/a/x", "3", as("ann"))
	assert.Equal(t, kindNoQuorum.name, kindOf(w))
	assert.Equal(t, "not_applied", decoded(t, w)["outcome"])
	assert.Zero(t, f.proposedSince(before))

	// A grant from elsewhere arrives.
	f.node.linearizeErr = nil
	f.node.linearize = func() {
		f.node.linearize = nil
		f.bind("a/", fsm.RoleEditor, "ann")
	}
	f.ok("PUT", config+"/a/x", "3", as("ann"))
}

// TestRevokedOnTheWay: what is decided where the write is applied counts.
func TestRevokedOnTheWay(t *testing.T) {
	for _, request := range []string{"PUT " + config + "/a/x", "POST /api/v1/import/a/", "DELETE " + config + "/a/?recursive=true&chunked=true"} {
		f := newGuarded(t)
		f.node.during = func(cmd *fsm.Command) {
			if cmd.Ops[0].Kind != fsm.PutNamespace {
				f.node.during = nil
				f.bind("a/", fsm.RoleViewer, "pub")
			}
		}
		before := f.node.store.State().Revision
		method, target, _ := strings.Cut(request, " ")
		body := map[string]string{"PUT": "3", "POST": `{"x":3}`}[method]
		w := f.do(method, target, body, as("pub"))
		assert.Equal(t, kindForbidden.name, kindOf(w), request)
		assert.Equal(t, "not_applied", decoded(t, w)["outcome"])
		assert.Equal(t, before+1, f.node.store.State().Revision, "%s: the revocation, and no more", request)
	}
}

// TestReplaysStay: what was done under an Idempotency-Key has its answer, whatever its sender may do
// now: that it was not applied would be wrong.
func TestReplaysStay(t *testing.T) {
	f := newGuarded(t)
	requests := [][]string{
		{"PUT", config + "/a/x", "3"},
		{"PATCH", config + "/a/y", `{"n":2}`, asMerge},
		{"POST", "/api/v1/txn", `{"then":[{"put":"a/z","value":1}]}`},
	}
	send := func(r []string, n int) *httptest.ResponseRecorder {
		return f.do(r[0], r[1], r[2], append(r[3:], as("ed"), fmt.Sprint("Idempotency-Key: k", n))...)
	}
	var first []string
	for i, r := range requests {
		w := send(r, i)
		require.Less(t, w.Code, 300, w.Body)
		first = append(first, w.Body.String())
	}
	f.bind("a/", fsm.RoleViewer)
	for i, r := range requests {
		w := send(r, i)
		assert.Equal(t, first[i], w.Body.String())
		assert.Equal(t, "true", w.Header().Get("Idempotency-Replayed"))
		assert.Equal(t, http.StatusForbidden, send(r, 100+i).Code, "under another key it is another request")
	}
	// And so is another one under the same key: nobody fills the log with those.
	before := f.proposedSince(0)
	for i, r := range requests {
		other := slices.Clone(r)
		other[2] = strings.NewReplacer("1", "4", "2", "4", "3", "4").Replace(r[2])
		w := send(other, i)
		assert.Equal(t, kindForbidden.name, kindOf(w))
		assert.Equal(t, "not_applied", decoded(t, w)["outcome"])
	}
	assert.Zero(t, f.proposedSince(before))
}

// TestWriteWithoutRead: whoever may write and not read is told nothing that it wrote not itself.
func TestWriteWithoutRead(t *testing.T) {
	f := newGuarded(t)
	f.bindAll("", map[string][]string{fsm.RoleViewer: {"all"}, "writer": {"wes"}, "remover": {"rem"}, "restorer": {"res"}})
	before := f.proposedSince(0)
	for _, r := range [][]string{
		{"GET", config + "/a/x", ""},
		{"PATCH", config + "/a/y", `{"n":2}`, asMerge},
		{"POST", "/api/v1/txn", `{"then":[{"put":"a/x","value":1},{"get":"a/y"}]}`},
		{"POST", "/api/v1/txn", `{"compare":[{"path":"a/x","value":1}],"then":[{"put":"a/x","value":1}]}`},
	} {
		w := f.do(r[0], r[1], r[2], append(r[3:], as("wes"))...)
		assert.Equal(t, http.StatusForbidden, w.Code, r[2])
		assert.Equal(t, []any{"read"}, decoded(t, w)["verbs"])
	}
	assert.Zero(t, f.proposedSince(before))
	f.ok("POST", "/api/v1/txn", `{"then":[{"put":"a/x","value":1}]}`, as("wes"))
	f.ok("PUT", config+"/a/x", "9", as("wes"), `If-Match: *`)
	// One by one as well as all at once.
	f.ok("DELETE", config+"/a/x", "", as("rem"))
	f.ok("DELETE", config+"/b/?recursive=true&chunked=true", "", as("rem"))
	assert.Equal(t, http.StatusForbidden, f.do("PUT", config+"/a/x", "1", as("rem")).Code)
	f.ok("POST", "/api/v1/rollback/a/", `{"to_revision":3}`, as("res"))
	assert.Equal(t, http.StatusForbidden, f.do("POST", "/api/v1/rollback/a/?chunked=true", `{"to_revision":3}`, as("res")).Code, "it is made of writes")
}

// TestGetsAreReadAgain: between the decision and the read the permission may go.
func TestGetsAreReadAgain(t *testing.T) {
	f := newGuarded(t)
	f.node.during = func(cmd *fsm.Command) {
		if cmd.Ops[0].Kind == fsm.Put {
			f.node.during = nil
			f.bindAll("", map[string][]string{fsm.RoleViewer: {"all"}, "writer": {"ed"}})
			f.bind("a/", fsm.RoleViewer)
		}
	}
	w := f.do("POST", "/api/v1/txn", `{"then":[{"put":"a/z","value":1},{"get":"a/x"}]}`, as("ed"))
	assert.Equal(t, kindForbidden.name, kindOf(w))
	assert.Equal(t, "unknown", decoded(t, w)["outcome"], "it was done, and the answer cannot be given")
}

// TestScopes: a token lets its holder do what its user may and its scopes stand for.
func TestScopes(t *testing.T) {
	f := newGuarded(t)
	f.Scopes = map[string]map[string]fsm.Verbs{"entra": {"Config.Read": fsm.VerbRead, "Config.Write": fsm.VerbWrite}}
	f.bind("a/", fsm.RoleEditor, "ed", "app-x")
	status := func(method, who string) int { return f.do(method, config+"/a/x", "7", as(who)).Code }
	assert.Equal(t, http.StatusOK, f.do("GET", config+"/a/x", "", as("ed+Config.Read")).Code)
	assert.Equal(t, http.StatusForbidden, status("PUT", "ed+Config.Read"))
	assert.Equal(t, http.StatusOK, status("PUT", "ed+Config.Write"))
	assert.Equal(t, http.StatusForbidden, f.do("GET", config+"/a/x", "", as("ed+Config.Write")).Code)
	assert.Equal(t, http.StatusOK, status("PUT", "ed+Config.Write+Config.Read"))
	assert.Equal(t, http.StatusForbidden, status("PUT", "ed+Other"))
	assert.Equal(t, http.StatusForbidden, status("PUT", "eve+Config.Write"), "a scope grants nothing")
	w := f.do("PUT", config+"/a/x", "7", as("ed+Config.Read"))
	assert.Contains(t, decoded(t, w)["detail"], "scope")
	f.Scopes = map[string]map[string]fsm.Verbs{"other": {}}
	assert.Equal(t, http.StatusOK, status("PUT", "ed+Config.Read"), "an issuer without a map allows all")
}

// TestForbiddenTellsWhy: who is refused is told what would help, and nothing that is not so.
func TestForbiddenTellsWhy(t *testing.T) {
	const namespaces = "/api/v1/namespaces/"
	f := newFixture(t)
	w := f.do("PUT", namespaces, `{"bindings":[{"role":"admin","subjects":["cert:root"]}]}`)
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.Contains(t, w.Body.String(), "Auth.Bootstrap")
	assert.NotContains(t, w.Body.String(), "is administered")

	f.api.Auth = &people{known: map[string]*auth.Identity{}}
	assert.Contains(t, f.do("GET", config+"/a", "", as("ann")).Body.String(), "Auth.Bootstrap", "nobody has bind yet")

	f = newGuarded(t)
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Value: (&fsm.Namespace{
		Bindings: []fsm.Binding{{Role: fsm.RoleAdmin, Subjects: []string{user("root")}}},
		Denied:   []string{user("ann")},
	}).Encode()}}})
	for _, method := range []string{"GET", "PUT"} {
		w = f.do(method, config+"/a/x", "7", as("ann"))
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, w.Body.String(), "is denied everything", "a binding would not help")
	}
	f.api.Auth = nil
	assert.Contains(t, f.do("GET", config+"/a/x", "").Body.String(), "is administered")
}

// TestCredentials: a token wins over a certificate, and nothing else counts.
func TestCredentials(t *testing.T) {
	f := newGuarded(t)
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: "b/", Value: (&fsm.Namespace{
		Bindings: []fsm.Binding{{Role: fsm.RoleEditor, Subjects: []string{"cert:node7", "app:entra/" + tenant + "/app-ci"}}},
	}).Encode()}}})
	certificate := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{CommonName: "node7"}}}}}
	ask := func(state *tls.ConnectionState, target string, lines ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", target, nil)
		r.TLS, r.Header["Authorization"] = state, lines
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	const target = config + "/b/x"
	for _, c := range []struct {
		name   string
		state  *tls.ConnectionState
		lines  []string
		status int
		how    string
	}{
		{"certificate", certificate, nil, 200, ""},
		{"application", nil, []string{"Bearer app-ci"}, 200, ""},
		{"scheme in lower case", nil, []string{"bearer  app-ci "}, 200, ""},
		{"token before certificate", certificate, []string{"Bearer eve"}, 403, `Bearer realm="confman", error="insufficient_scope", error_description="user:entra/` + tenant + `/eve lacks read on b/x; ask whoever has bind there: confman ns get b/"`},
		{"bad token before certificate", certificate, []string{"BEARER expired"}, 401, `Bearer realm="confman", error="invalid_token", error_description="the token is not taken: 'expired' ? ?"`},
		{"nothing", nil, nil, 401, `Bearer realm="confman"`},
		{"not verified", &tls.ConnectionState{PeerCertificates: certificate.VerifiedChains[0]}, nil, 401, `Bearer realm="confman"`},
		{"another scheme", nil, []string{"Basic YTpi"}, 401, `Bearer realm="confman"`},
		{"another scheme and a certificate", certificate, []string{"Basic YTpi"}, 200, ""},
		{"no token after the scheme", certificate, []string{"Bearer "}, 401, `Bearer realm="confman", error="invalid_token", error_description="the Authorization header has no token after Bearer"`},
		{"two", nil, []string{"Bearer app-ci", "Bearer app-ci"}, 401, `Bearer realm="confman", error="invalid_token", error_description="there is more than one Authorization header: send one"`},
		{"no roles", nil, []string{"Bearer no-roles"}, 403, `Bearer realm="confman", error="insufficient_scope", error_description="the token is not taken: 'no-roles' ? ?"`},
		{"no keys", nil, []string{"Bearer keys-unavailable"}, 503, ""},
	} {
		w := ask(c.state, target, c.lines...)
		assert.Equal(t, c.status, w.Code, "%s: %s", c.name, w.Body)
		assert.Equal(t, c.how, w.Header().Get("Www-Authenticate"), c.name)
	}
	assert.Equal(t, 401, ask(nil, target+"?access_token=app-ci").Code)
	for _, open := range []string{"/health/live", "/health/ready", "/openapi.json"} {
		assert.Equal(t, 200, ask(nil, open).Code)
	}
	f.api.Auth = brokenAuth{}
	for _, token := range []string{"kind", "error"} {
		assert.Equal(t, 500, ask(nil, target, "Bearer "+token).Code, "it must not pass for anybody")
	}
}

type brokenAuth struct{ *people }

func (brokenAuth) Token(_ context.Context, raw string) (*auth.Identity, error) {
	if raw == "kind" {
		return &auth.Identity{}, nil
	}
	return nil, errors.New("broken")
}

// TestCallersAreRecorded: who wrote is who was found to call.
func TestCallersAreRecorded(t *testing.T) {
	f := newGuarded(t)
	f.ok("PUT", config+"/a/x", "5", as("ed"))
	assert.Equal(t, user("ed"), decoded(t, f.ok("GET", config+"/a/x", "", as("ann")))["modified_by"])
}

func TestHosts(t *testing.T) {
	f := newFixture(t)
	f.api.Config.Hosts = nil
	f.api.Config = f.api.Config.withDefaults()
	for _, host := range []string{"127.0.0.1:5000", "10.0.1.10", "[::1]:5000", "[::1]", "localhost", "LocalHost:5000", "a.localhost", "localhost.", ""} {
		assert.True(t, host == "" || f.isOwn(host), host)
	}
	for _, host := range []string{"evil.example.com", "evil.example.com:5000", "127.0.0.1.evil.com", "localhost.evil.com", "evillocalhost", "x"} {
		assert.False(t, f.isOwn(host), host)
	}
	f.api.Config.Hosts = []string{"Confman.Example.com"}
	f.api.Config = f.api.Config.withDefaults()
	assert.True(t, f.isOwn("confman.example.com:443"))
	w := f.do("PUT", "http://evil.example.com"+config+"/a", "1")
	assert.Equal(t, http.StatusMisdirectedRequest, w.Code)
	assert.Equal(t, http.StatusMisdirectedRequest, f.do("GET", "http://evil.example.com/health/live", "").Code)
	guarded(f)
	assert.Equal(t, http.StatusUnauthorized, f.do("GET", "http://evil.example.com"+config+"/a", "").Code, "a token is something that no page has")
	for _, host := range []string{"", "a:1", "https://a", "a b"} {
		require.ErrorContains(t, Config{Hosts: []string{host}}.Validate(), "Hosts", host)
	}
	require.ErrorContains(t, Config{MaxPolicyStaleness: -1}.Validate(), "MaxPolicyStaleness")
}

// TestAuthorizationAcrossOrigins: a preflight comes without credentials, and a page may send its own.
func TestAuthorizationAcrossOrigins(t *testing.T) {
	f := newGuarded(t)
	f.admit(site)
	w := f.ok("OPTIONS", config+"/a/x", "", "Origin: "+site, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization")
	assert.Contains(t, allowed(w.Header())["Allow-Headers"], "Authorization")
	w = f.do("GET", config+"/a/x", "", "Origin: "+site)
	assert.Equal(t, http.StatusUnauthorized, w.Code)
	assert.Equal(t, site, allowed(w.Header())["Allow-Origin"], "its page learns why")
	assert.Contains(t, allowed(w.Header())["Expose-Headers"], "WWW-Authenticate")
}
