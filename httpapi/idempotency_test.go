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

// keyedCase is a request that may be made twice under one key.
type keyedCase struct {
	name    string
	setup   func(*fixture)
	request string
	body    string
	headers []string
	code    int
}

var keyedCases = []keyedCase{
	{name: "put that creates", request: "PUT /api/v1/config/new", body: "1", code: 201},
	{name: "put that changes", request: "PUT /api/v1/config/seed", body: "2", code: 200},
	{name: "put of what is there", request: "PUT /api/v1/config/seed", body: `{"n":1}`, code: 200},
	{name: "put on a condition", request: "PUT /api/v1/config/seed", body: "2", headers: []string{`If-Match: "1"`}, code: 200},
	{name: "put on a condition that fails", request: "PUT /api/v1/config/seed", body: "2", headers: []string{"If-None-Match: *"}, code: 412},
	{name: "put on a condition that fails, of an absent key", request: "PUT /api/v1/config/new", body: "2", headers: []string{"If-Match: *"}, code: 412},
	{name: "delete", request: "DELETE /api/v1/config/seed", code: 200},
	{name: "delete of nothing", request: "DELETE /api/v1/config/new", code: 404},
	{name: "delete on a condition that fails", request: "DELETE /api/v1/config/seed", headers: []string{`If-Match: "9"`}, code: 412},
	{name: "delete of a subtree", request: "DELETE /api/v1/config/tree/?recursive=true", code: 200},
	{name: "delete of an empty subtree", request: "DELETE /api/v1/config/new/?recursive=true", code: 404},
	{
		name: "delete of a subtree that is too large", request: "DELETE /api/v1/config/big/?recursive=true", code: 413,
		setup: func(f *fixture) { f.fill("big/", fsm.MaxTreeKeys+1) },
	},
	{name: "patch", request: "PATCH /api/v1/config/seed", body: `{"a":1}`, headers: []string{asMerge}, code: 200},
	{name: "patch that changes nothing", request: "PATCH /api/v1/config/seed", body: `{"n":1}`, headers: []string{asMerge}, code: 200},
	{
		name: "patch that does not fit its own result", request: "PATCH /api/v1/config/seed", code: 200,
		body: `[{"op":"test","path":"/n","value":1},{"op":"remove","path":"/n"}]`, headers: []string{asPatch, `If-Match: "1"`},
	},
	{
		name: "patch of another JSON type", request: "PATCH /api/v1/config/doc", body: `{"a":1}`, headers: []string{asMerge}, code: 200,
		setup: func(f *fixture) { f.ok("PUT", config+"/doc", "{}", "Content-Type: application/vnd.doc+json") },
	},
	{
		name: "transaction", request: "POST /api/v1/txn", code: 200,
		body: `{"compare":[{"path":"seed","revision":1}],"then":[{"put":"new","value":1},{"delete":"tree/"},{"get":"seed"},{"get":"none"}]}`,
	},
	{
		name: "transaction of what does not hold", request: "POST /api/v1/txn", code: 200,
		body: `{"compare":[{"path":"new","exists":true}],"then":[{"put":"new","value":1}]}`,
	},
	{
		name: "transaction with an else", request: "POST /api/v1/txn", code: 200,
		body: `{"compare":[{"path":"seed","value":7}],"else":[{"delete":"seed"},{"get":"tree/a"}]}`,
	},
	{name: "transaction that only reads", request: "POST /api/v1/txn", body: `{"then":[{"get":"seed"},{"get":"tree/b/c"}]}`, code: 200},
	{name: "rollback", request: "POST /api/v1/rollback/", body: `{"to_revision":1}`, code: 200},
	{name: "rollback of a key", request: "POST /api/v1/rollback/seed", body: `{"to_revision":0}`, code: 200},
	{name: "rollback of nothing", request: "POST /api/v1/rollback/none/", body: `{"to_revision":1}`, code: 200},
	{name: "rollback to the future", request: "POST /api/v1/rollback/", body: `{"to_revision":3}`, code: 400},
	{
		name: "rollback to what is compacted", request: "POST /api/v1/rollback/seed", body: `{"to_revision":1}`, code: 410,
		setup: func(f *fixture) {
			f.node.put("seed", "2")
			f.node.maintain(fsm.Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
		},
	},
}

// told is all of an answer but what is of the request alone: its id, and when and by whom it was taken.
func told(tb testing.TB, w *httptest.ResponseRecorder) map[string]any {
	tb.Helper()
	out := map[string]any{"body": strings.ReplaceAll(w.Body.String(), w.Header().Get("X-Request-Id"), "ID")}
	for name, values := range w.Header() {
		switch name {
		case "X-Request-Id", "Confman-Staleness", "Idempotency-Replayed":
		case "Content-Length": // of the id
		default:
			out[name] = values
		}
	}
	out["status"] = w.Code
	return out
}

// TestReplay: a request that is made again under its key has the answer of the first time, and
// no effect, whatever was written in between.
func TestReplay(t *testing.T) {
	for _, tc := range keyedCases {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			f.ok("PUT", config+"/seed", `{"n":1}`)
			f.ok("POST", "/api/v1/import/tree", `{"a":1,"b":{"c":2}}`)
			if tc.setup != nil {
				tc.setup(f)
			}
			method, target, _ := strings.Cut(tc.request, " ")
			headers := append([]string{keyed, "Confman-Comment: once"}, tc.headers...)
			first := f.do(method, target, tc.body, headers...)
			require.Equal(t, tc.code, first.Code, first.Body)
			require.Empty(t, first.Header().Get("Idempotency-Replayed"))

			f.ok("PUT", config+"/new", `"other"`, "Content-Type: application/x+json")
			f.ok("PUT", config+"/new/key", "1")
			f.ok("PUT", config+"/tree/a", "3")
			f.do("DELETE", config+"/seed", "")
			f.do("DELETE", config+"/doc", "")
			revision := f.node.store.State().Revision
			for i := range 2 {
				again := f.do(method, target, tc.body, append([]string{fmt.Sprintf("X-Request-Id: again-%d", i)}, headers...)...)
				assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
				assert.Equal(t, told(t, first), told(t, again))
			}
			assert.Equal(t, revision, f.node.store.State().Revision)

			other := f.do(method, target, tc.body, append([]string{"Confman-Comment: another"}, append(tc.headers, keyed)...)...)
			assert.Equal(t, 422, other.Code, "another comment is another request")
			assert.Empty(t, other.Header().Get("Idempotency-Replayed"))
			f.node.maintain(fsm.Maintenance{Elapsed: fsm.IdempotencyRetention - time.Second})
			again := f.do(method, target, tc.body, headers...)
			assert.Equal(t, told(t, first), told(t, again), "it is remembered for all of its time")
			f.node.maintain(fsm.Maintenance{Elapsed: time.Second})
			late := f.do(method, target, tc.body, append([]string{"Confman-Comment: another"}, append(tc.headers, keyed)...)...)
			assert.NotEqual(t, 422, late.Code, "the key is forgotten")
			assert.Empty(t, late.Header().Get("Idempotency-Replayed"))
		})
	}
}

// TestRequestHash: what a request asks for is in its hash, how it is spelled is not.
func TestRequestHash(t *testing.T) {
	hash := func(method, target, body string, headers ...string) [32]byte {
		r := httptest.NewRequest(method, target, nil)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Add(name, value)
		}
		return requestHash(r, []byte(body))
	}
	base := hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c")
	for name, same := range map[string][32]byte{
		"escapes":        hash("PUT", "/a/%62?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c"),
		"query":          hash("PUT", "/a/b?y=2&&x=%31", "body", "Content-Type: text/plain", "Confman-Comment: c"),
		"other headers":  hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c", "Accept: */*", "X-Request-Id: 2"),
		"empty headers":  hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c", "If-Match: "),
		"space around":   hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type:  text/plain ", "Confman-Comment: c"),
		"order of lines": hash("PUT", "/a/b?x=1&y=2", "body", "Confman-Comment: c", "Content-Type: text/plain"),
	} {
		assert.Equal(t, base, same, name)
	}
	seen := map[[32]byte]string{base: "base"}
	for name, other := range map[string][32]byte{
		"method":          hash("PATCH", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c"),
		"path":            hash("PUT", "/a/b/?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c"),
		"query":           hash("PUT", "/a/b?x=1&y=3", "body", "Content-Type: text/plain", "Confman-Comment: c"),
		"body":            hash("PUT", "/a/b?x=1&y=2", "body ", "Content-Type: text/plain", "Confman-Comment: c"),
		"type":            hash("PUT", "/a/b?x=1&y=2", "body", "Confman-Comment: c"),
		"comment":         hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain"),
		"if-match":        hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c", "If-Match: *"),
		"if-none-match":   hash("PUT", "/a/b?x=1&y=2", "body", "Content-Type: text/plain", "Confman-Comment: c", "If-None-Match: *"),
		"parts that move": hash("PUT", "/a/b?x=1&y=2", "cbody", "Content-Type: text/plain"),
	} {
		assert.Empty(t, seen[other], name)
		seen[other] = name
	}
}

// TestReplayAfterAFailure: an attempt whose answer was lost is found to have been done, and one
// that was not applied is done by the next.
func TestReplayAfterAFailure(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/list", "[]")
	add := func() *httptest.ResponseRecorder {
		return f.do("PATCH", config+"/list", `[{"op":"add","path":"/-","value":1}]`, asPatch, keyed)
	}
	f.node.proposeErr = func(n int, _ *fsm.Command) error {
		if n == 2 {
			return &node.WriteError{Outcome: node.NotApplied, Err: node.ErrLost}
		}
		return nil
	}
	assert.Equal(t, 503, add().Code)
	assert.Equal(t, 200, add().Code)
	assert.Equal(t, "true", add().Header().Get("Idempotency-Replayed"))
	assert.Equal(t, "[1]", f.ok("GET", config+"/list", "", "Accept: text/plain").Body.String())
}

// TestPatchIsReplayedWhereItIsApplied: an attempt that is in flight while the next one reads is
// done when that is applied.
func TestPatchIsReplayedWhereItIsApplied(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/list", "[]")
	var inner *httptest.ResponseRecorder
	f.node.during = func(*fsm.Command) {
		f.node.during = nil
		inner = f.do("PATCH", config+"/list", `[{"op":"add","path":"/-","value":1}]`, asPatch, keyed)
	}
	outer := f.do("PATCH", config+"/list", `[{"op":"add","path":"/-","value":1}]`, asPatch, keyed)
	require.Equal(t, 200, inner.Code)
	assert.Equal(t, "true", outer.Header().Get("Idempotency-Replayed"))
	assert.Equal(t, told(t, inner), told(t, outer))
	assert.Equal(t, "[1]", f.ok("GET", config+"/list", "", "Accept: text/plain").Body.String())
}

// TestPatchRetriesUnderAKey: an attempt that others came before is not what is remembered.
func TestPatchRetriesUnderAKey(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/doc", `{"n":0}`)
	f.node.during = func(*fsm.Command) {
		f.node.during = nil
		f.node.put("doc", `{"n":1}`)
	}
	f.ok("PATCH", config+"/doc", `{"a":1}`, asMerge, keyed)
	assert.Equal(t, `{"n":1,"a":1}`, f.ok("GET", config+"/doc", "", "Accept: text/plain").Body.String())
	again := f.ok("PATCH", config+"/doc", `{"a":1}`, asMerge, keyed)
	assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
}

// TestReplayOfTheFirst: what was first done was done to the empty store, at revision 0.
func TestReplayOfTheFirst(t *testing.T) {
	for request, body := range map[string]string{
		"DELETE /api/v1/config/a":                 "",
		"DELETE /api/v1/config/a/?recursive=true": "",
		"POST /api/v1/rollback/":                  `{"to_revision":0}`,
		"POST /api/v1/txn":                        `{"then":[{"get":"a"},{"get":"a/b"}]}`,
		"PUT /api/v1/config/a":                    "1",
	} {
		f := newFixture(t)
		method, target, _ := strings.Cut(request, " ")
		var headers []string
		if method == "PUT" {
			headers = []string{"If-Match: *"}
		}
		first := f.do(method, target, body, append(headers, keyed)...)
		assert.Equal(t, "0", first.Header().Get("Confman-Revision"), request)
		f.node.put("a", "2")
		f.node.put("a/b", "3")
		assert.Equal(t, told(t, first), told(t, f.do(method, target, body, append(headers, keyed)...)), request)
	}
}

// TestReplayOfACompactedGet: what a transaction read is not held any more, in part or at all.
func TestReplayOfACompactedGet(t *testing.T) {
	for name, compaction := range map[string]fsm.Maintenance{
		`"compacted":true`: {Elapsed: time.Minute, KeepFor: time.Second},
		`"record":null`:    {KeepVersions: 1},
	} {
		f := newFixture(t)
		f.ok("PUT", config+"/hot", "0")
		const body = `{"then":[{"get":"hot"},{"put":"b","value":1},{"get":"none"}]}`
		f.ok("POST", "/api/v1/txn", body, keyed)
		for i := range 3 {
			f.node.put("hot", fmt.Sprint(i))
		}
		f.node.maintain(compaction)
		again := f.ok("POST", "/api/v1/txn", body, keyed)
		assert.JSONEq(t, `{"revision":2,"succeeded":true,"changed":true,"results":[{"get":"hot","compacted":true},
			{"put":"b","revision":2,"created":true,"changed":true},{"get":"none",`+name+`}]}`, again.Body.String())
	}
}

// TestReplayOfACompactedPatch: what the key was when it was patched is not held any more.
func TestReplayOfACompactedPatch(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/doc", `{"n":0}`)
	f.ok("PATCH", config+"/doc", `{"a":1}`, asMerge, keyed)
	for i := range 3 {
		f.node.put("doc", fmt.Sprint(i))
	}
	f.node.maintain(fsm.Maintenance{KeepVersions: 1})
	again := f.ok("PATCH", config+"/doc", `{"a":1}`, asMerge, keyed)
	assert.JSONEq(t, `{"path":"doc","revision":2,"created":false,"changed":true}`, again.Body.String())
}
