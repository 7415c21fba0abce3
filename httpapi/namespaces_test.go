package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const (
	namespaces = "/api/v1/namespaces"
	bobEdits   = `{"bindings":[{"role":"editor","subjects":["user:entra/t/bob"]}]}`
)

// bootstrap makes somebody an administrator.
func (n *fakeNode) bootstrap() {
	n.tb.Helper()
	_, err := n.Propose(n.tb.Context(), &fsm.Command{Ops: []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte("cert:root")}}})
	require.NoError(n.tb, err)
}

// TestNamespacePaths: a slash at the end, and an escape, make no other namespace.
func TestNamespacePaths(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", namespaces+"/a/b", bobEdits)
	f.ok("PUT", namespaces, bobEdits)
	for _, target := range []string{"/a/b", "/a/b/", "/a/%62", "/%61/b/"} {
		assert.Equal(t, "a/b/", decoded(t, f.ok("GET", namespaces+target, ""))["path"], target)
	}
	for _, target := range []string{"", "/"} {
		assert.Equal(t, "/", decoded(t, f.ok("GET", namespaces+target, ""))["path"], target)
	}
	for _, target := range []string{"/a", "/a/b/c", "/a/b%20"} {
		assert.Equal(t, 404, f.do("GET", namespaces+target, "").Code, target)
	}
	assert.Equal(t, 404, f.do("GET", config+"/a/b", "").Code, "it is no key")
	assert.JSONEq(t, `{"revision":2,"items":[]}`, f.ok("GET", config+"/", "").Body.String())
}

// TestNamespacesAreReadBack: what is written is what is read, and it can be written again as it
// was read but for what is not for writing.
func TestNamespacesAreReadBack(t *testing.T) {
	f := newFixture(t)
	body := `{"owner":"o \"q\"","description":"d\n","bindings":[{"role":"admin","subjects":["cert:a%2Fb"]},{"role":"r-1","subjects":["role:i/x","user:i/y"]}],` +
		`"settings":{"keep_versions":7},"roles":{"r-1":["read","audit"]},"denied":["user:i/z"]}`
	f.node.bootstrap() // else nobody may bind an administrator over this API
	root, found := (*fsm.Policy).Namespace(viewOf(f).Policy(), "")
	require.True(t, found)
	assert.Equal(t, "cert:root", root.Bindings[0].Subjects[0])

	n, fault := parseNamespace([]byte(body), "")
	require.Nil(t, fault)
	back, err := fsm.DecodeNamespace("", n.Encode())
	require.NoError(t, err)
	text := appendNamespace(nil, &fsm.NamespaceRecord{Namespace: *back, Revision: 1})
	var want, got map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &want))
	require.NoError(t, json.Unmarshal(text, &got))
	for _, name := range []string{"path", "revision", "create_revision", "modified_at", "modified_by"} {
		assert.Contains(t, got, name)
		delete(got, name)
	}
	assert.Equal(t, want, got)
}

func viewOf(f *fixture) *fsm.View {
	v, err := f.node.store.View()
	require.NoError(f.tb, err)
	f.tb.Cleanup(v.Close)
	return v
}

// TestNamespaceFaults: what is wrong with a body is told with its place.
func TestNamespaceFaults(t *testing.T) {
	f := newFixture(t)
	many := func(n int, one func(int) string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = one(i)
		}
		return strings.Join(all, ",")
	}
	for _, tc := range []struct{ path, body, want string }{
		{"a", `[]`, "line 1, column 1: '[' is not expected, want a namespace, which is an object"},
		{"a", "{\n \"Owner\": \"x\"}", `line 2, column 2: member "Owner" is not one of a namespace: owner, description, bindings, settings, roles, denied`},
		{"a", `{"owner":"a","owner":"b"}`, `line 1, column 14: member "owner" is there twice`},
		{"a", `{"owner":1}`, "line 1, column 10: '1' is not expected, want a string"},
		{"a", `{"revision":1}`, `line 1, column 2: member "revision" is not for writing: leave it out`},
		{"a", `{"roles":{}}`, `line 1, column 2: member "roles" is of the root namespace only`},
		{"a", `{"denied":[]}`, `line 1, column 2: member "denied" is of the root namespace only`},
		{"a", `{"bindings":{}}`, "line 1, column 13: '{' is not expected, want a list of bindings"},
		{"a", `{"bindings":[{"role":"viewer"}]}`, `line 1, column 14: binding of "viewer" has no subjects`},
		{"a", `{"bindings":[{"subjects":[]}]}`, "line 1, column 14: binding has no role"},
		{"a", `{"bindings":[{"role":"Viewer","subjects":[]}]}`, `line 1, column 14: role name "Viewer": want a lower-case letter, then letters, digits and '-', at most 64`},
		{"a", `{"bindings":[{"role":"viewer","subjects":[],"deny":true}]}`, `line 1, column 45: member "deny" is not one of a binding: role, subjects`},
		{"a", `{"bindings":[{"role":"viewer","subjects":[]},{"role":"viewer","subjects":[]}]}`, `line 1, column 46: role "viewer" has two bindings: write its subjects into one`},
		{"a", "{\"bindings\":[{\"role\":\"viewer\",\"subjects\":[\n\"bob\"]}]}", `line 2, column 1: subject "bob": want user:, app:, group:, role: or cert: in front`},
		{"a", `{"settings":{"keep":1}}`, `line 1, column 14: member "keep" is not one of settings: keep_versions`},
		{"a", `{"settings":{"keep_versions":0}}`, "line 1, column 30: keep_versions is 0, want a whole number from 1 to 100000; left out, what is said above this namespace applies"},
		{"a", `{"settings":{"keep_versions":"1"}}`, "line 1, column 30: '\"' is not expected, want a number"},
		{"", `{"roles":{"viewer":["write"]}}`, `line 1, column 11: role "viewer" is built in: choose another name`},
		{"", `{"roles":{"r":[]}}`, `line 1, column 11: role "r" has no verb, or one that there is not`},
		{"", `{"roles":{"r":["Read"]}}`, `line 1, column 16: "Read" is no verb: want read, write, rollback, delete-tree, retention, bind, cluster, audit`},
		{"", `{"roles":{"r":"read"}}`, "line 1, column 15: '\"' is not expected, want a list of verbs"},
		{"a", `{} {}`, "line 1, column 4: '{' is not expected, want the end"},
		{"a", ``, "line 1, column 1: text ends, want a namespace, which is an object"},
	} {
		w := f.do("PUT", namespaces+"/"+tc.path, tc.body)
		said := decoded(t, w)
		assert.Equal(t, "urn:confman:problem:invalid-body", said["type"], tc.body)
		assert.Equal(t, tc.want, said["detail"], tc.body)
	}
	for body, want := range map[string]string{
		`{"settings":{"keep_versions":100001}}`:               "line 1, column 30: versions to keep: 100001, at most 100000",
		`{"owner":"` + strings.Repeat("x", 257) + `"}`:        "line 1, column 10: bytes of the owner: 257, at most 256",
		`{"description":"` + strings.Repeat("x", 4097) + `"}`: "line 1, column 16: bytes of the description: 4097, at most 4096",
		`{"bindings":[{"role":"viewer","subjects":[` + many(513, func(i int) string { return fmt.Sprintf(`"cert:%d"`, i) }) + `]}]}`:      "line 1, column 14: subjects of the namespace: 513, at most 512",
		`{"bindings":[` + many(65, func(i int) string { return fmt.Sprintf(`{"role":"r%d","subjects":["cert:a"]}`, i) }) + `]}`:           "line 1, column 2372: there are more than 64 bindings",
		`{"roles":{` + many(65, func(i int) string { return fmt.Sprintf(`"r%d":["read"]`, i) }) + `}}`:                                    "line 1, column 961: there are more than 64 roles",
		`{"denied":[` + many(1001, func(i int) string { return fmt.Sprintf(`"cert:%d"`, i) }) + `]}`:                                      "line 1, column 1: denied subjects: 1001, at most 1000",
		`{"bindings":[` + many(2, func(i int) string { return bindingOf(i, 300) }) + `]}`:                                                 "line 1, column 1: subjects of the namespace: 600, at most 512",
		`{"bindings":[{"role":"viewer","subjects":[` + many(300, func(i int) string { return fmt.Sprintf(`"cert:%01000d"`, i) }) + `]}]}`: "bytes of the namespace: 302115, at most 262144",
		`{"owner":"` + strings.Repeat(" ", MaxNamespaceBodyBytes) + `"}`:                                                                  "body has more than 1048576 bytes",
	} {
		said := decoded(t, f.do("PUT", namespaces, body))
		assert.Equal(t, "urn:confman:problem:too-large", said["type"], want)
		assert.Equal(t, want, said["detail"])
	}
	assert.Zero(t, f.node.store.State().Revision)
}

// bindingOf is a binding to many.
func bindingOf(i, subjects int) string {
	b := fsm.Binding{Role: fmt.Sprint("r", i)}
	text := fmt.Sprintf(`{"role":"%s","subjects":[`, b.Role)
	for k := range subjects {
		if k > 0 {
			text += ","
		}
		text += fmt.Sprintf(`"cert:%d"`, k)
	}
	return text + "]}"
}

// TestNamespaceWalk: pages of a list hold each namespace once, the root too, and none is older than
// the one before.
func TestNamespaceWalk(t *testing.T) {
	f := newFixture(t)
	for _, path := range []string{"", "/!", "/a", "/a/b", "/a-b", "/b"} {
		f.ok("PUT", namespaces+path, `{"owner":"x"}`)
	}
	paths := func(target string) (all []string) {
		items, _ := f.pages(target)
		for _, it := range items {
			all = append(all, it["path"].(string))
		}
		return all
	}
	for limit := 1; limit < 8; limit++ {
		assert.Equal(t, []string{"/", "!/", "a-b/", "a/", "a/b/", "b/"}, paths(fmt.Sprintf("%s/?recursive=true&limit=%d", namespaces, limit)))
		assert.Equal(t, []string{"a/", "a/b/"}, paths(fmt.Sprintf("%s/a?recursive=true&limit=%d", namespaces, limit)))
	}
	first := decoded(t, f.ok("GET", namespaces+"/?recursive=true&limit=1", ""))
	next, _ := first["next_cursor"].(string)
	waited := fsm.Revision(0)
	f.node.arrives = func(rev fsm.Revision) { waited = rev }
	f.ok("GET", namespaces+"/?recursive=true&cursor="+next, "")
	assert.Equal(t, fsm.Revision(6), waited, "another node waits for what the first page showed")
	assert.Equal(t, 400, f.do("GET", namespaces+"/a?recursive=true&cursor="+next, "").Code)
	forged := cursorOf("namespaces a/", "zz")
	assert.Equal(t, 400, f.do("GET", namespaces+"/a?recursive=true&cursor="+forged, "").Code)
	for _, q := range []string{"?recursive=true&revision=1", "?limit=1", "?cursor=" + next} {
		assert.Equal(t, "urn:confman:problem:invalid-parameter", decoded(t, f.do("GET", namespaces+"/"+q, ""))["type"], q)
	}
}

// TestNamespaceOfThePast: a namespace can be read as it was; what was not there then is not found.
func TestNamespaceOfThePast(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", namespaces+"/a", `{"owner":"one"}`)
	f.ok("PUT", namespaces+"/a", `{"owner":"two"}`)
	f.ok("DELETE", namespaces+"/a", "")
	f.ok("PUT", namespaces+"/a", `{"owner":"four"}`)
	for rev, want := range map[int]any{1: "one", 2: "two", 4: "four"} {
		assert.Equal(t, want, decoded(t, f.ok("GET", fmt.Sprint(namespaces, "/a?revision=", rev), ""))["owner"])
	}
	for _, rev := range []int{0, 3} {
		assert.Equal(t, 404, f.do("GET", fmt.Sprint(namespaces, "/a?revision=", rev), "").Code)
	}
}

// TestRolesAreNamed: a role that is wrong is named.
func TestRolesAreNamed(t *testing.T) {
	f := newFixture(t)
	deployer := `{"roles":{"deployer":["write"]}}`
	binds := `{"bindings":[{"role":"viewer","subjects":["cert:a"]},{"role":"deployer","subjects":["cert:a"]}]}`
	refused := func(method, path, body string) string {
		said := decoded(t, f.do(method, namespaces+path, body))
		return fmt.Sprint(said["type"], ": ", said["detail"])
	}
	const unknown = `urn:confman:problem:unknown-role: there is no role "deployer": it is neither built in nor defined in the root namespace`
	assert.Equal(t, unknown, refused("PUT", "/a", binds))
	assert.Equal(t, unknown, refused("PUT", "", binds))
	f.ok("PUT", namespaces, deployer)
	f.ok("PUT", namespaces+"/a", binds)
	const used = `urn:confman:problem:role-in-use: role "deployer" is bound in namespace "a/": take it from there first`
	assert.Equal(t, used, refused("PUT", "", `{}`))
	assert.Equal(t, used, refused("DELETE", "", ""))
	f.node.during = func(*fsm.Command) { f.node.viewErr = context.DeadlineExceeded } // from then on
	assert.Equal(t, "urn:confman:problem:role-in-use: a role is bound in another namespace: take it from there first", refused("DELETE", "", ""), "the node cannot look")
}

// TestNamespacesAreNoKeys: history, diff and watch are of keys; a watch's position moves on.
func TestNamespacesAreNoKeys(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a/b", "1")
	f.ok("PUT", namespaces+"/a", bobEdits)
	f.ok("PUT", namespaces, `{"owner":"x"}`)
	for _, path := range []string{"/", "/a/"} {
		items, _ := f.pages("/api/v1/history" + path + "?limit=10")
		assert.Equal(t, []string{"1 put a/b=1"}, shortEvents(items))
		items, _ = f.pages("/api/v1/diff" + path + "?from=0")
		assert.Len(t, items, 1)
		var polled struct {
			Revision int
			Changes  []struct{ Revision int }
		}
		w := f.ok("GET", "/api/v1/watch"+path+"?from_revision=0&wait=1ms", "")
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &polled))
		assert.Equal(t, 3, polled.Revision, "all of it was looked at")
		assert.Len(t, polled.Changes, 1)
		w = f.ok("GET", "/api/v1/watch"+path+"?from_revision=1&wait=1ms", "")
		assert.JSONEq(t, `{"revision":3,"changes":[]}`, w.Body.String(), "the position moves on")
	}
}

func cursorOf(scope, last string) string { return cursor{revision: 1, last: last}.encode(scope) }
