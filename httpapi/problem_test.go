package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// rewriting tells whether the golden files are to be rewritten; the flag is datadriven's.
func rewriting() bool { return flag.Lookup("rewrite").Value.String() == "true" }

// golden compares got with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if rewriting() {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	wants, gots := strings.Split(string(want), "=== "), strings.Split(string(got), "=== ")
	for i := range min(len(wants), len(gots)) {
		require.Equal(t, wants[i], gots[i], "%s; go test ./httpapi -rewrite", path)
	}
	require.Len(t, gots, len(wants), path)
}

// show writes an answer as golden files hold it.
func show(w *httptest.ResponseRecorder) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d\n", w.Code)
	for _, name := range slices.Sorted(maps.Keys(w.Header())) {
		for _, value := range w.Header()[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteByte('\n')
	if json.Indent(&b, bytes.TrimSpace(w.Body.Bytes()), "", "  ") != nil {
		b.Write(w.Body.Bytes())
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// errorCase is a request that must be refused.
type errorCase struct {
	name    string
	setup   func(*fixture)
	request string // method and target
	body    string
	headers []string
}

const (
	config = "/api/v1/config"
	tooBig = fsm.MaxValueBytes + 1
)

const asOf = "Accept-Datetime: Fri, 23 Jan 2026 10:00:00 GMT"

func writeFails(outcome node.Outcome, leader uint64, err error) func(*fixture) {
	return func(f *fixture) {
		f.node.proposeErr = func(int, *fsm.Command) error { return &node.WriteError{Outcome: outcome, Leader: leader, Err: err} }
	}
}

func stale(f *fixture) {
	f.proof = standing{age: 7 * time.Second, fresh: true}
	f.node.linearizeErr = node.ErrNoQuorum
}

func quorumless(f *fixture) {
	f.node.linearizeErr = node.ErrNoQuorum
	f.node.status.Leader, f.node.status.Fresh, f.node.status.Ready = 0, false, false
}

func forming(f *fixture) {
	f.node.status.Formed, f.node.status.Ready, f.node.status.Fresh = false, false, false
	f.node.status.Leader = 0
	f.node.status.Waiting = []string{"node2", "node3"}
	f.node.viewErr = node.ErrForming
	f.node.linearizeErr = node.ErrForming
	f.node.proposeErr = func(int, *fsm.Command) error { return &node.WriteError{Outcome: node.NotApplied, Err: node.ErrForming} }
}

// compactedTo2 leaves a store that can be read from revision 2 on.
func compactedTo2(f *fixture) {
	f.node.put("other", "1")
	f.node.maintain(fsm.Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
	f.node.put("seed", "2")
}

const keyed = "Idempotency-Key: key-1"

func keyedPut(f *fixture) { f.ok("PUT", config+"/a", "1", keyed) }

// keepsOneVersion leaves a key without the first of its three versions.
func keepsOneVersion(f *fixture) {
	f.node.put("seed", "2")
	f.node.put("seed", "3")
	f.node.put("seed", "4")
	f.node.maintain(fsm.Maintenance{KeepVersions: 1})
}

// manyNames are as many as there can be members.
var manyNames = func() (names []string) {
	for i := range fsm.MaxMembers {
		names = append(names, fmt.Sprint("m", i))
	}
	return names
}()

func manyMembers(f *fixture) {
	for _, name := range manyNames[:fsm.MaxMembers-3] {
		f.ok("POST", "/api/v1/cluster/members", `{"id":"`+name+`","address":"h","api_port":1,"raft_port":2}`)
	}
}

var errorCases = []errorCase{
	// Paths.
	{name: "path with an encoded slash", request: "GET /api/v1/config/a%2Fb"},
	{name: "path with an encoded slash in lower case", request: "GET /api/v1/config/a%2fb"},
	{name: "path with two dots", request: "GET /api/v1/config/a/../b"},
	{name: "path with a dot", request: "GET /api/v1/config/./b"},
	{name: "path with encoded dots", request: "GET /api/v1/config/a/%2e%2e/b"},
	{name: "path with an empty segment", request: "GET /api/v1/config/a//b"},
	{name: "path that begins with an empty segment", request: "GET /api/v1/config//a"},
	{name: "path of slashes", request: "PUT /api/v1/config//", body: "1"},
	{name: "path with a zero byte", request: "GET /api/v1/config/a%00b"},
	{name: "path with a line break", request: "PUT /api/v1/config/a%0Ab", body: "1"},
	{name: "path with a control character of two bytes", request: "GET /api/v1/config/a%C2%85b"},
	{name: "path that is not UTF-8", request: "GET /api/v1/config/a%FFb"},
	{name: "path too deep", request: "GET /api/v1/config/" + strings.Repeat("a/", fsm.MaxKeyDepth) + "a"},
	{name: "path too long", request: "GET /api/v1/config/" + strings.Repeat("a", fsm.MaxKeyBytes+1)},
	{name: "listing of a bad path", request: "GET /api/v1/config/a//?recursive=true"},
	{name: "export of a bad path", request: "GET /api/v1/export/a/.."},
	{name: "import to a bad path", request: "POST /api/v1/import/a//b", body: "{}"},
	// Routes.
	{name: "no route", request: "GET /api/v2/config/a"},
	{name: "no route at the root", request: "GET /"},
	{name: "route of a later version", request: "GET /api/v1/quotas/a"},
	{name: "route with a trailing slash", request: "GET /api/v1/cluster/"},
	{name: "method not allowed", request: "POST /api/v1/config/a", body: "{}"},
	{name: "patch of no type", request: "PATCH /api/v1/config/seed", body: "{}"},
	{name: "patch that is no JSON", request: "PATCH /api/v1/config/seed", body: "{", headers: []string{asMerge}},
	{name: "patch of a missing member", request: "PATCH /api/v1/config/seed", body: `[{"op":"remove","path":"/a"}]`, headers: []string{asPatch}},
	{name: "patch of a missing key", request: "PATCH /api/v1/config/none", body: "{}", headers: []string{asMerge}},
	{name: "patch of an absent key", request: "PATCH /api/v1/config/seed", body: "{}", headers: []string{asMerge, "If-None-Match: *"}},
	{name: "patch under contention", request: "PATCH /api/v1/config/seed", body: `{"a":1}`, headers: []string{asMerge}, setup: func(f *fixture) {
		n := 0
		f.node.during = func(cmd *fsm.Command) {
			if len(cmd.Compares) > 0 {
				n++
				f.node.put("seed", fmt.Sprintf(`{"n":%d}`, n))
			}
		}
	}},
	// The past, by time.
	{name: "time that is none", request: "GET /api/v1/config/seed", headers: []string{"Accept-Datetime: 2026-01-23T10:00:00Z"}},
	{name: "two times", request: "GET /api/v1/config/", headers: []string{asOf, asOf}},
	{name: "time that is none, of an export", request: "GET /api/v1/export/", headers: []string{"Accept-Datetime: yesterday"}},
	{name: "time and revision", request: "GET /api/v1/config/seed?revision=1", headers: []string{asOf}},
	{name: "time and revision of a listing", request: "GET /api/v1/config/?revision=1", headers: []string{asOf}},
	{name: "time and revision of an export", request: "GET /api/v1/export/?revision=1", headers: []string{asOf}},
	{name: "time before everything", request: "GET /api/v1/config/seed", headers: []string{"Accept-Datetime: Thu, 01 Jan 1970 00:00:00 GMT"}},
	{name: "no such key at a time", request: "GET /api/v1/config/none?consistency=local", headers: []string{asOf}},
	{name: "method not allowed on an import", request: "GET /api/v1/import/a"},
	{name: "method not allowed on the cluster", request: "DELETE /api/v1/cluster"},
	// Keys and subtrees.
	{name: "no such key", request: "GET /api/v1/config/none"},
	{name: "no such key, HEAD", request: "HEAD /api/v1/config/none"},
	{name: "no such subtree", request: "GET /api/v1/config/none/"},
	{name: "no such subtree, as a tree", request: "GET /api/v1/config/none/?recursive=true&format=tree"},
	{name: "tree of what is directly below", request: "GET /api/v1/config/?format=tree"},
	{name: "tree in pages", request: "GET /api/v1/config/?recursive=true&format=tree&limit=10"},
	{name: "tree from a cursor", request: "GET /api/v1/config/?recursive=true&format=tree&cursor=x"},
	{name: "listing of an unknown format", request: "GET /api/v1/config/?recursive=true&format=ndjson"},
	{name: "tree of a key", request: "GET /api/v1/config/seed?format=tree"},
	{name: "tree of another type", request: "GET /api/v1/config/?recursive=true&format=tree", headers: []string{"Accept: text/html"}},
	{name: "listing in YAML", request: "GET /api/v1/config/?recursive=true", headers: []string{"Accept: application/yaml"}},
	{name: "records in YAML", request: "GET /api/v1/export/?format=ndjson", headers: []string{"Accept: application/yaml"}},
	{name: "tree of too many keys", setup: func(f *fixture) { f.fill("big/", MaxPage+1) }, request: "GET /api/v1/config/?recursive=true&format=tree"},
	{name: "tree of too many bytes", setup: func(f *fixture) {
		for i := range MaxPageBytes>>20 + 1 {
			f.node.put(fmt.Sprintf("big/%d", i), `"`+strings.Repeat("x", fsm.MaxValueBytes-2)+`"`)
		}
	}, request: "GET /api/v1/config/?recursive=true&format=tree"},
	{name: "no such subtree, recursive", request: "GET /api/v1/config/none/?recursive=true"},
	{name: "export of nothing", request: "GET /api/v1/export/none"},
	{name: "delete of nothing", request: "DELETE /api/v1/config/none"},
	{name: "put of a subtree", request: "PUT /api/v1/config/a/", body: "1"},
	{name: "put of the root", request: "PUT /api/v1/config", body: "1"},
	{name: "delete of a subtree", request: "DELETE /api/v1/config/a/"},
	{name: "delete of a subtree, not recursive", request: "DELETE /api/v1/config/a/?recursive=false"},
	{name: "delete of a subtree, flag that is none", request: "DELETE /api/v1/config/a/?recursive=true&chunked=1"},
	{name: "delete of a subtree on a condition", request: "DELETE /api/v1/config/a/?recursive=true", headers: []string{`If-Match: "3"`}},
	{name: "delete of a subtree on a condition that is none", request: "DELETE /api/v1/config/a/?recursive=true", headers: []string{`If-Match: 3`}},
	{name: "delete of an empty subtree", request: "DELETE /api/v1/config/none/?recursive=true"},
	{name: "delete of an empty subtree in chunks", request: "DELETE /api/v1/config/none/?recursive=true&chunked=true"},
	{name: "delete of a subtree that is too large", setup: func(f *fixture) { f.fill("big/", fsm.MaxTreeKeys+1) }, request: "DELETE /api/v1/config/big/?recursive=true"},
	{name: "delete of a subtree, outcome unknown", setup: writeFails(node.Unknown, 2, node.ErrNoQuorum), request: "DELETE /api/v1/config/a/?recursive=true"},
	{name: "delete of a key with recursive", request: "DELETE /api/v1/config/a?recursive=true"},
	{name: "delete of the root", request: "DELETE /api/v1/config/"},
	// Query parameters.
	{name: "unknown parameter", request: "GET /api/v1/config/a?consistancy=local"},
	{name: "unknown parameter of a put", request: "PUT /api/v1/config/a?consistency=local", body: "1"},
	{name: "unknown parameter of the cluster", request: "GET /api/v1/cluster?verbose=true"},
	{name: "parameter of listings on a key", request: "GET /api/v1/config/a?recursive=true"},
	{name: "parameter twice", request: "GET /api/v1/config/a?consistency=local&consistency=bounded"},
	{name: "parameter with a bad escape", request: "GET /api/v1/config/a?consistency=%zz"},
	{name: "parameter name that is not UTF-8", request: "GET /api/v1/config/a?%ff=1"},
	{name: "consistency unknown", request: "GET /api/v1/config/a?consistency=eventual"},
	{name: "staleness bound of a linearizable read", request: "GET /api/v1/config/a?consistency=linearizable&max_staleness=1"},
	{name: "staleness bound of a local read", request: "GET /api/v1/config/a?max_staleness=1&consistency=local"},
	{name: "staleness bound of zero", request: "GET /api/v1/config/a?max_staleness=0"},
	{name: "staleness bound negative", request: "GET /api/v1/config/a?max_staleness=-1s"},
	{name: "staleness bound too large", request: "GET /api/v1/config/a?max_staleness=2h"},
	{name: "staleness bound no number", request: "GET /api/v1/config/a?max_staleness=soon"},
	{name: "revision no number", request: "GET /api/v1/config/a?revision=-1"},
	{name: "revision of a listing no number", request: "GET /api/v1/config/?revision=1.5"},
	{name: "revision in the future", request: "GET /api/v1/config/a?revision=1000"},
	{name: "revision other than the cursor's", request: "GET /api/v1/config/?revision=1&cursor=" + cursor{revision: 2, last: "x"}.encode("children /")},
	{name: "history of an unknown parameter", request: "GET /api/v1/history/a?from=1"},
	{name: "history with a cursor of a listing", request: "GET /api/v1/history/a/?cursor=" + cursor{last: "x"}.encode("children a/")},
	{name: "history with a cursor made up", request: "GET /api/v1/history/a/?cursor=" + cursor{last: "x"}.encode("history a/")},
	{name: "history of what never was", request: "GET /api/v1/history/no"},
	{name: "verification that is no boolean", request: "GET /api/v1/history?verify=1"},
	{name: "verification of a page", request: "GET /api/v1/history?verify=true&limit=5"},
	{name: "verification of the past", request: "GET /api/v1/history?verify=true&revision=1"},
	{name: "verification, not acceptable", request: "GET /api/v1/history?verify=true", headers: []string{"Accept: text/plain"}},
	{name: "too many verifications", request: "GET /api/v1/history?verify=true", setup: func(f *fixture) { f.exports.TryAcquire(MaxExports) }},
	{name: "diff without from", request: "GET /api/v1/diff/a"},
	{name: "diff backwards", request: "GET /api/v1/diff/a?from=1&to=0"},
	{name: "diff from no number", request: "GET /api/v1/diff/a?from=x"},
	{name: "diff to the future", request: "GET /api/v1/diff/a?from=1&to=99"},
	{name: "diff with the cursor of another", request: "GET /api/v1/diff/a?from=0&cursor=" + cursor{revision: 1, last: "x"}.encode("diff 1 a")},
	{name: "revision that a restore lost", request: "GET /api/v1/config/seed?revision=9", setup: restoredAt1},
	{name: "history at a revision that a restore lost", request: "GET /api/v1/history/?revision=9", setup: restoredAt1},
	{name: "watch from a revision that a restore lost", request: "GET /api/v1/watch/?from_revision=9&wait=0s", setup: restoredAt1},
	{name: "diff with a revision that a restore lost", request: "GET /api/v1/diff/?from=9", setup: restoredAt1},
	{name: "rollback to a revision that a restore lost", request: "POST /api/v1/rollback/", body: `{"to_revision":9}`, setup: restoredAt1},
	{name: "min_revision that a restore lost", request: "GET /api/v1/config/seed?min_revision=9", setup: restoredAt1},
	{name: "condition of a revision that a restore lost", request: "PUT /api/v1/config/seed", body: "1", headers: []string{`If-Match: "9"`}, setup: restoredAt1},
	{name: "revision that is compacted", request: "GET /api/v1/config/seed?revision=1", setup: compactedTo2},
	{name: "listing at a revision that is compacted", request: "GET /api/v1/config/?revision=1", setup: compactedTo2},
	{name: "listing that goes on at a revision that is compacted", setup: compactedTo2, request: "GET /api/v1/config/?cursor=" + cursor{revision: 1, last: "a"}.encode("children /")},
	{name: "export at a revision that is compacted", request: "GET /api/v1/export/?revision=1", setup: compactedTo2},
	{name: "export with a record that is compacted", request: "GET /api/v1/export/?revision=2", setup: keepsOneVersion},
	{name: "version of a key that is compacted", request: "GET /api/v1/config/seed?revision=1", setup: keepsOneVersion},
	{name: "history at a revision that is compacted", request: "GET /api/v1/history/?revision=1", setup: compactedTo2},
	{name: "history that goes on at a revision that is compacted", setup: compactedTo2, request: "GET /api/v1/history/seed?cursor=" + cursor{revision: 1, last: "1.0"}.encode("history seed")},
	{name: "history of what was before the floor", request: "GET /api/v1/history/no/", setup: compactedTo2},
	{name: "diff from a revision that is compacted", request: "GET /api/v1/diff/seed?from=1", setup: compactedTo2},
	{name: "diff with a record that is compacted", request: "GET /api/v1/diff/?from=1", setup: keepsOneVersion},
	{name: "watch of a bad path", request: "GET /api/v1/watch/a//b"},
	{name: "watch from no revision", request: "GET /api/v1/watch/a?from_revision=new"},
	{name: "watch from the future", request: "GET /api/v1/watch/a?from_revision=99"},
	{name: "watch from what a minority does not know", request: "GET /api/v1/watch/a?from_revision=99", setup: quorumless},
	{name: "watch after no event", request: "GET /api/v1/watch/a", headers: []string{"Last-Event-ID: first"}},
	{name: "watch after an event before its beginning", request: "GET /api/v1/watch/a?from_revision=2", headers: []string{"Last-Event-ID: 1"}},
	{name: "watch with a heartbeat too often", request: "GET /api/v1/watch/a?heartbeat=10ms"},
	{name: "watch with a heartbeat too seldom", request: "GET /api/v1/watch/a?heartbeat=1h"},
	{name: "watch with a heartbeat that is none", request: "GET /api/v1/watch/a?heartbeat=often"},
	{name: "watch with an unknown parameter", request: "GET /api/v1/watch/a?from=1"},
	{name: "watch that waits too long", request: "GET /api/v1/watch/a?wait=1h"},
	{name: "watch that waits backwards", request: "GET /api/v1/watch/a?wait=-1s"},
	{name: "watch that waits with a heartbeat", request: "GET /api/v1/watch/a?wait=1s&heartbeat=1s"},
	{name: "watch that waits, as a stream", request: "GET /api/v1/watch/a?wait=1s", headers: []string{"Accept: text/event-stream"}},
	{name: "watch not acceptable", request: "GET /api/v1/watch/a", headers: []string{"Accept: application/json"}},
	{name: "watch of what is compacted", request: "GET /api/v1/watch/?from_revision=0", setup: compactedTo2},
	{name: "watch beyond the limit", request: "GET /api/v1/watch/a", setup: func(f *fixture) {
		for range node.MaxWatchers {
			_, err := f.node.hub.Watch("elsewhere", 0)
			require.NoError(f.tb, err)
		}
	}},
	{name: "watch while stopping", request: "GET /api/v1/watch/a", setup: func(f *fixture) { close(f.drained) }},
	{name: "watch while rebuilding", request: "GET /api/v1/watch/a", setup: func(f *fixture) { f.node.viewErr = node.ErrRebuilding }},
	{name: "method not allowed on a watch", request: "HEAD /api/v1/watch/a"},
	{name: "diff from the future", request: "GET /api/v1/diff/a?from=2"},
	{name: "diff to another revision than the cursor's", request: "GET /api/v1/diff/a?from=0&to=0&cursor=" + cursor{revision: 1, last: "x"}.encode("diff 0 a")},
	{name: "diff not acceptable", request: "GET /api/v1/diff/a?from=0", headers: []string{"Accept: text/plain"}},
	{name: "history with the cursor of a diff", request: "GET /api/v1/history/a/?cursor=" + cursor{revision: 1, last: "1.0"}.encode("diff 1 a/")},
	{name: "history at another revision than the cursor's", request: "GET /api/v1/history/a/?revision=0&cursor=" + cursor{revision: 1, last: "1.0"}.encode("history a/")},
	{name: "history in the future", request: "GET /api/v1/history/seed?revision=2"},
	{name: "history not acceptable", request: "GET /api/v1/history/seed", headers: []string{"Accept: application/yaml"}},
	{name: "listing in the future", request: "GET /api/v1/config/?revision=2"},
	{name: "export in the future", request: "GET /api/v1/export/?revision=18446744073709551615"},
	{name: "min_revision no number", request: "GET /api/v1/config/a?min_revision=new"},
	{name: "min_revision not there in time", request: "GET /api/v1/config/a?min_revision=7"},
	{name: "recursive no boolean", request: "GET /api/v1/config/?recursive=1"},
	{name: "limit zero", request: "GET /api/v1/config/?limit=0"},
	{name: "limit too large", request: "GET /api/v1/config/?limit=10001"},
	{name: "limit with a sign", request: "GET /api/v1/config/?limit=%2B5"},
	{name: "limit no number", request: "GET /api/v1/config/?limit=all"},
	{name: "cursor no base64", request: "GET /api/v1/config/?cursor=$"},
	{name: "cursor too short", request: "GET /api/v1/config/?cursor=AQ"},
	{name: "cursor of another path", request: "GET /api/v1/config/b/?cursor=" + cursor{last: "x"}.encode("children a/")},
	{name: "cursor of another kind of listing", request: "GET /api/v1/config/a/?recursive=true&cursor=" + cursor{last: "x"}.encode("children a/")},
	{name: "cursor made up", request: "GET /api/v1/config/a/?recursive=true&cursor=" + cursor{last: "x"}.encode("keys a/")},
	{name: "unknown parameter of a HEAD", request: "HEAD /api/v1/config/a?consistancy=local"},
	{name: "unknown parameter of a health check", request: "GET /health/ready?verbose=true"},
	{name: "unknown parameter of the document", request: "GET /openapi.json?version=3.0"},
	{name: "unknown parameter of a patch", request: "PATCH /api/v1/config/seed?dry_run=true", body: "{}", headers: []string{asMerge}},
	{name: "chunked without recursive", request: "DELETE /api/v1/config/a/?chunked=true"},
	{name: "export format unknown", request: "GET /api/v1/export/?format=xml"},
	{name: "escape with a slash", request: "POST /api/v1/import/a?escape=/", body: "{}"},
	{name: "escape empty", request: "POST /api/v1/import/a?escape=", body: "{}"},
	{name: "file named twice", request: "POST /api/v1/import/a?file=x.json", body: "{}", headers: []string{"Confman-File: y.json"}},
	{name: "file name with a line break", request: "POST /api/v1/import/a?file=x%0Ay", body: "{}"},
	// Headers.
	{name: "both conditions", request: "PUT /api/v1/config/a", body: "1", headers: []string{`If-Match: "1"`, "If-None-Match: *"}},
	{name: "both conditions of a patch", request: "PATCH /api/v1/config/seed", body: "{}", headers: []string{asMerge, `If-Match: "1"`, "If-None-Match: *"}},
	{name: "both conditions of a delete", request: "DELETE /api/v1/config/seed", headers: []string{`If-Match: "1"`, "If-None-Match: *"}},
	{name: "if-match weak", request: "PUT /api/v1/config/a", body: "1", headers: []string{`If-Match: W/"1"`}},
	{name: "if-match list", request: "PUT /api/v1/config/a", body: "1", headers: []string{`If-Match: "1", "2"`}},
	{name: "if-match twice", request: "DELETE /api/v1/config/a", headers: []string{`If-Match: "1"`, `If-Match: "2"`}},
	{name: "if-match foreign", request: "PUT /api/v1/config/a", body: "1", headers: []string{`If-Match: "abc"`}},
	{name: "if-match empty", request: "PUT /api/v1/config/a", body: "1", headers: []string{"If-Match: "}},
	{name: "if-match without quotes", request: "PUT /api/v1/config/a", body: "1", headers: []string{"If-Match: 1"}},
	{name: "if-none-match of an etag", request: "PUT /api/v1/config/a", body: "1", headers: []string{`If-None-Match: "1"`}},
	{name: "comment too long", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Confman-Comment: " + strings.Repeat("x", fsm.MaxCommentBytes+1)}},
	{name: "comment not UTF-8", request: "DELETE /api/v1/config/a", headers: []string{"Confman-Comment: \xff"}},
	{name: "content type broken", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Content-Type: text"}},
	{name: "content type too long", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Content-Type: text/" + strings.Repeat("x", fsm.MaxContentTypeBytes)}},
	{name: "idempotency key empty", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Idempotency-Key: "}},
	{name: "idempotency key with a space", request: "DELETE /api/v1/config/a", headers: []string{"Idempotency-Key: a b"}},
	{name: "idempotency key not ASCII", request: "PATCH /api/v1/config/seed", body: "{}", headers: []string{asMerge, "Idempotency-Key: ä"}},
	{name: "idempotency key too long", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Idempotency-Key: " + strings.Repeat("k", fsm.MaxIdempotencyKeyBytes+1)}},
	{name: "idempotency key twice", request: "PUT /api/v1/config/a", body: "1", headers: []string{keyed, keyed}},
	{name: "idempotency key of an import", request: "POST /api/v1/import/a", body: `{"b":1}`, headers: []string{keyed}},
	{name: "idempotency key of a delete in chunks", request: "DELETE /api/v1/config/a/?recursive=true&chunked=true", headers: []string{keyed}},
	{name: "idempotency key of another put", request: "PUT /api/v1/config/a", body: "2", headers: []string{keyed}, setup: keyedPut},
	{name: "idempotency key of a put, for a patch", request: "PATCH /api/v1/config/a", body: "{}", headers: []string{asMerge, keyed}, setup: keyedPut},
	{name: "idempotency keys take too much room", request: "PUT /api/v1/config/a", body: "1", headers: []string{keyed}, setup: func(f *fixture) { f.node.outcome = fsm.AnswersFull }},
	{name: "content type twice", request: "PUT /api/v1/config/a", body: "1", headers: []string{"Content-Type: text/plain", "Content-Type: text/html"}},
	{name: "comments too long together", request: "PUT /api/v1/config/a", body: "1", headers: []string{
		"Confman-Comment: " + strings.Repeat("x", fsm.MaxCommentBytes/2), "Confman-Comment: " + strings.Repeat("x", fsm.MaxCommentBytes/2),
	}},
	{name: "document not acceptable", request: "GET /openapi.json", headers: []string{"Accept: application/yaml"}},
	{name: "value not acceptable", request: "GET /api/v1/config/seed", headers: []string{"Accept: image/png"}},
	{name: "listing not acceptable", request: "GET /api/v1/config/", headers: []string{"Accept: text/plain"}},
	{name: "export not acceptable", request: "GET /api/v1/export/?format=tree", headers: []string{"Accept: application/x-ndjson"}},
	{name: "cluster not acceptable", request: "GET /api/v1/cluster", headers: []string{"Accept: application/json;q=0"}},
	// Members.
	{name: "members not acceptable", request: "GET /api/v1/cluster/members", headers: []string{"Accept: text/plain"}},
	{name: "member that is there", request: "POST /api/v1/cluster/members", body: `{"id":"node1","address":"h","api_port":1,"raft_port":2}`},
	{name: "member that is not there", request: "POST /api/v1/cluster/members/promote", body: `{"ids":["node9"]}`},
	{
		name: "member that is being replaced", request: "POST /api/v1/cluster/members/replace", body: `{"id":"node1"}`,
		setup: func(f *fixture) { f.ok("POST", "/api/v1/cluster/members/replace", `{"id":"node1"}`) },
	},
	{name: "too few members", request: "POST /api/v1/cluster/members/remove", body: `{"ids":["node1"]}`},
	{name: "nobody left", request: "POST /api/v1/cluster/members/remove", body: `{"ids":["node1","node2","node3"],"even_fewer":true}`},
	{name: "too many members", request: "POST /api/v1/cluster/members", body: `{"id":"more","address":"h","api_port":1,"raft_port":2}`, setup: manyMembers},
	{name: "too many members named", request: "POST /api/v1/cluster/members/promote", body: `{"ids":["` + strings.Join(manyNames, `","`) + `","x"]}`},
	{name: "member named twice", request: "POST /api/v1/cluster/members/promote", body: `{"ids":["a","a"]}`},
	{name: "member without a port", request: "POST /api/v1/cluster/members/replace", body: `{"id":"node1","address":"h","api_port":1}`},
	{name: "member of a body that is not known", request: "POST /api/v1/cluster/drain", body: `{"off":true}`},
	{name: "members under a condition", request: "POST /api/v1/cluster/members/promote", body: `{"ids":["a"]}`, headers: []string{"If-Match: *"}},
	{name: "version that is not known", request: "POST /api/v1/cluster/finalize-upgrade", body: `{"version":1}`},
	{
		name: "hand over at a follower", request: "POST /api/v1/cluster/transfer-leadership", body: `{}`,
		setup: func(f *fixture) { f.node.handOverErr, f.node.status.Leader = node.ErrNotLeader, 2 },
	},
	{
		name: "hand over to nobody", request: "POST /api/v1/cluster/transfer-leadership", body: `{}`,
		setup: func(f *fixture) { f.node.handOverErr = context.DeadlineExceeded },
	},
	{
		name: "hand over to no voter", request: "POST /api/v1/cluster/transfer-leadership", body: `{"to":"node9"}`,
		setup: func(f *fixture) { f.node.handOverErr = node.ErrNoSuchVoter },
	},
	{
		name: "not ready: draining", request: "GET /health/ready", setup: func(f *fixture) { f.node.drains, f.node.status.Ready = true, false },
	},
	{
		name: "not ready: joining", request: "GET /health/ready",
		setup: func(f *fixture) {
			forming(f)
			f.node.status.Joining, f.node.status.Waiting = true, []string{"no member has answered yet"}
		},
	},
	{
		name: "not ready: rebuilding", request: "GET /health/ready",
		setup: func(f *fixture) { f.node.status.Damage, f.node.status.Ready = fsm.ErrDamaged, false },
	},
	{
		name: "not ready: stale", request: "GET /health/ready",
		setup: func(f *fixture) { f.node.status.Staleness, f.node.status.Ready = 7*time.Second, false },
	},
	// Conditions that do not hold.
	{name: "if-match fails", request: "PUT /api/v1/config/seed", body: "2", headers: []string{`If-Match: "7"`}},
	{name: "if-match of an absent key", request: "PUT /api/v1/config/none", body: "2", headers: []string{`If-Match: "7"`}},
	{name: "if-match star of an absent key", request: "DELETE /api/v1/config/none", headers: []string{"If-Match: *"}},
	{name: "if-none-match star of a key", request: "PUT /api/v1/config/seed", body: "2", headers: []string{"If-None-Match: *"}},
	{name: "if-match of a read", request: "GET /api/v1/config/seed", headers: []string{`If-Match: "7"`}},
	// Bodies.
	{name: "value too large", request: "PUT /api/v1/config/a", body: strings.Repeat("x", tooBig)},
	{name: "value of unknown length too large", request: "PUT /api/v1/config/a", body: strings.Repeat("x", tooBig), headers: []string{"Transfer-Encoding: chunked"}},
	{name: "value that is not the JSON it says", request: "PUT /api/v1/config/a", body: "{\n  \"a\": tru\n}", headers: []string{"Content-Type: application/json"}},
	{name: "value of a JSON type that is empty", request: "PUT /api/v1/config/a", headers: []string{"Content-Type: application/merge-patch+json"}},
	{name: "value of a JSON type that is not UTF-8", request: "PUT /api/v1/config/a", body: "\"\xff\"", headers: []string{"Content-Type: application/json"}},
	{
		name: "patch of too many operations", request: "PATCH /api/v1/config/seed", headers: []string{asPatch},
		body: "[" + strings.Repeat(`{"op":"test","path":"","value":1},`, MaxPatchOps) + `{"op":"test","path":"","value":1}]`,
	},
	{name: "patch too large", request: "PATCH /api/v1/config/seed", body: `"` + strings.Repeat("x", fsm.MaxValueBytes) + `"`, headers: []string{asMerge}},
	{
		name: "patched value too large", headers: []string{asMerge}, request: "PATCH /api/v1/config/big",
		setup: func(f *fixture) { f.node.put("big", `{"a":"`+strings.Repeat("x", fsm.MaxValueBytes-10)+`"}`) }, body: `{"b":"xx"}`,
	},
	{name: "patch that is no list", request: "PATCH /api/v1/config/seed", body: `{"op":"test"}`, headers: []string{asPatch}},
	{name: "patch with an operation that is none", request: "PATCH /api/v1/config/seed", body: `[{"op":"increment","path":""}]`, headers: []string{asPatch}},
	{name: "bodies take too much memory", request: "PUT /api/v1/config/a", body: "1", setup: func(f *fixture) { f.bodies.TryAcquire(MaxBodyMemoryBytes) }},
	// The node.
	{name: "too many requests", request: "GET /api/v1/config/a", setup: func(f *fixture) { f.requests.Store(MaxRequests) }},
	{name: "write overloaded", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 2, node.ErrOverloaded)},
	{name: "write without a quorum, not applied", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 0, node.ErrNoQuorum)},
	{name: "write without a quorum, unknown", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "delete without a quorum, unknown", request: "DELETE /api/v1/config/a", setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "write lost", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 3, node.ErrLost)},
	{name: "write repeated", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.Unknown, 0, node.ErrRepeated)},
	{name: "write undecodable", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 0, node.ErrUndecodable)},
	{name: "disk full", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 2, node.ErrStorageFull)},
	{name: "store at its quota", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 2, &node.QuotaError{Used: 1000, Quota: 900})},
	{name: "import into a store at its quota", request: "POST /api/v1/import/a", body: `{"b":1}`, setup: writeFails(node.NotApplied, 2, &node.QuotaError{Used: 1000, Quota: 900})},
	{name: "too many requests of one caller", request: "GET /api/v1/config/seed", setup: func(f *fixture) {
		f.rates.Rates = Rates{Requests: Rate{PerSecond: 0.1}}
		f.do("GET", "/api/v1/config/seed", "")
	}},
	{name: "too many writes of one caller", request: "PUT /api/v1/config/seed", body: "1", setup: func(f *fixture) {
		f.rates.Rates = Rates{Writes: Rate{PerSecond: 0.5}}
		f.do("PUT", "/api/v1/config/seed", "1")
	}},
	{name: "write while forming", request: "PUT /api/v1/config/a", body: "1", setup: forming},
	{name: "write while stopping", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.Unknown, 0, node.ErrStopped)},
	{name: "write fails for an unknown reason", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.Unknown, 0, errors.New("secret"))},
	{name: "write with a result that makes no sense", request: "PUT /api/v1/config/a", body: "1", setup: func(f *fixture) { f.node.outcome = fsm.Repeated }},
	{name: "bug after the proposal", request: "PUT /api/v1/config/a", body: "1", setup: func(f *fixture) { f.node.during = func(*fsm.Command) { panic("bug") } }},
	{name: "bug in an import", request: "POST /api/v1/import/a", body: `{"b":1}`, setup: func(f *fixture) { f.node.during = func(*fsm.Command) { panic("bug") } }},
	{name: "command over a limit", request: "PUT /api/v1/config/a", body: "1", setup: func(f *fixture) {
		f.node.proposeErr = func(int, *fsm.Command) error { return &fsm.LimitError{What: "command", Got: 9, Max: 8} }
	}},
	{name: "command with a bad key", request: "PUT /api/v1/config/a", body: "1", setup: func(f *fixture) {
		f.node.proposeErr = func(int, *fsm.Command) error { return fsm.ValidateKey("a//b") }
	}},
	{name: "read without a quorum", request: "GET /api/v1/config/a?consistency=linearizable", setup: quorumless},
	{name: "read overloaded", request: "GET /api/v1/config/a?consistency=linearizable", setup: func(f *fixture) { f.node.linearizeErr = node.ErrOverloaded }},
	{name: "read past the deadline", request: "GET /api/v1/config/a?consistency=linearizable", setup: func(f *fixture) { f.node.linearizeErr = fmt.Errorf("wait: %w", context.DeadlineExceeded) }},
	{name: "read too stale", request: "GET /api/v1/config/seed", setup: stale},
	{name: "read too stale for its own bound", request: "GET /api/v1/config/seed?max_staleness=10ms", setup: func(f *fixture) { f.node.linearizeErr = node.ErrNoQuorum }},
	{name: "read of unknown staleness", request: "GET /api/v1/config/?recursive=true", setup: func(f *fixture) { stale(f); f.proof.fresh = false }},
	{name: "export too stale", request: "GET /api/v1/export/", setup: stale},
	{name: "too many exports", request: "GET /api/v1/export/", setup: func(f *fixture) { f.exports.TryAcquire(MaxExports) }},
	{name: "read while forming", request: "GET /api/v1/config/a?consistency=local", setup: forming},
	{name: "read while stopping", request: "GET /api/v1/config/a", setup: func(f *fixture) { f.node.viewErr = node.ErrStopped }},
	{name: "read while rebuilding", request: "GET /api/v1/config/a", setup: func(f *fixture) { f.node.viewErr = node.ErrRebuilding }},
	{name: "write while rebuilding", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.NotApplied, 3, node.ErrRebuilding)},
	{name: "write overtaken", request: "PUT /api/v1/config/a", body: "1", setup: writeFails(node.Unknown, 3, node.ErrOvertaken)},
	{name: "read of damaged data", request: "GET /api/v1/config/a", setup: func(f *fixture) { f.node.viewErr = fmt.Errorf("%w: secret place", fsm.ErrDamaged) }},
	{name: "bug", request: "GET /api/v1/config/a", setup: func(f *fixture) {
		f.age = func(node.Freshness) (time.Duration, bool) { panic("bug") }
	}},
	// Imports.
	{name: "import of another type", request: "POST /api/v1/import/a", body: "a=1", headers: []string{"Content-Type: application/toml"}},
	{name: "import of broken YAML", request: "POST /api/v1/import/a?file=en.yml", body: "ä: 1\nb: c: d", headers: asYAML},
	{name: "import of YAML with an alias", request: "POST /api/v1/import/a?file=en.yml", body: "ä: 1\nb: [ö, *x]", headers: asYAML},
	{name: "import of YAML with a number that JSON has not", request: "POST /api/v1/import/a", body: "b:\n  c: 0x1F", headers: asYAML},
	{name: "import of YAML with a slash in a name", request: "POST /api/v1/import/a", body: "b:\n  x/y: 1", headers: asYAML},
	{name: "import of YAML with a value too large", request: "POST /api/v1/import/a", body: "b: 1\nv: " + strings.Repeat("x", fsm.MaxValueBytes), headers: asYAML},
	{name: "import of YAML with too many nodes", request: "POST /api/v1/import/a", body: "b: [" + strings.Repeat("1,", MaxYAMLNodes/2) + "]", headers: asYAML},
	{name: "import of a tree too large, in YAML", request: "POST /api/v1/import/a", body: "{}" + strings.Repeat(" ", MaxTreeBytes), headers: asYAML},
	{name: "import of broken JSON", request: "POST /api/v1/import/a?file=en/numbers.json", body: "{\n \"ä\": 1,\n \"ö\": 2,,\n}"},
	{name: "import of nothing", request: "POST /api/v1/import/a"},
	{name: "import with a duplicate member", request: "POST /api/v1/import/a", body: "{\n\"b\": {\"x\": 1, \"x\": 2}}", headers: []string{"Confman-File: t.json"}},
	{name: "import with a slash in a name", request: "POST /api/v1/import/a", body: "{\"b\":\n  {\"x/y\": 1}}", headers: []string{"Confman-File: t.json"}},
	{name: "import with escaped names that meet", request: "POST /api/v1/import/a?escape=-", body: `{"x/y": 1, "x-y": 2}`},
	{name: "import with dots as a name", request: "POST /api/v1/import/a", body: `{"b": {"..": 1}}`},
	{name: "import with a control character in a name", request: "POST /api/v1/import/a", body: `{"b\u0007": 1}`},
	{name: "import with half a surrogate pair", request: "POST /api/v1/import/a", body: `{"\ud800": 1}`},
	{name: "import with a byte order mark", request: "POST /api/v1/import/a", body: "\ufeff{}"},
	{name: "import that is not UTF-8", request: "POST /api/v1/import/a", body: "{\n\"a\": \"\xe9\"}"},
	{name: "import too deep", request: "POST /api/v1/import/a", body: strings.Repeat(`{"b":`, fsm.MaxKeyDepth) + "1" + strings.Repeat("}", fsm.MaxKeyDepth)},
	{name: "import with a key too long", request: "POST /api/v1/import/a", body: `{"` + strings.Repeat("k", 600) + `": {"` + strings.Repeat("l", 600) + `": 1}}`},
	{name: "import of a value at the root", request: "POST /api/v1/import", body: `{"": 1}`},
	{name: "import of a value too large", request: "POST /api/v1/import/a", body: `{"v": "` + strings.Repeat("x", fsm.MaxValueBytes) + `"}`},
	{name: "import of a tree too large", request: "POST /api/v1/import/a", body: "{}" + strings.Repeat(" ", MaxTreeBytes)},
	{name: "import that fails", request: "POST /api/v1/import/a", body: `{"b": 1}`, setup: writeFails(node.NotApplied, 2, node.ErrOverloaded)},
	{name: "import that fails in the middle", request: "POST /api/v1/import/a", body: manyLeaves(), setup: func(f *fixture) {
		f.node.proposeErr = func(_ int, cmd *fsm.Command) error {
			if cmd.Ops[0].Key == "a/k512" {
				return &node.WriteError{Outcome: node.Unknown, Leader: 2, Err: node.ErrNoQuorum}
			}
			return nil
		}
	}},
	{name: "records broken in the middle", request: "POST /api/v1/import/a?file=r.ndjson", body: "{\"path\":\"a/b\",\"value\":1}\n{\"path\":\"a/c\",\"value\":tru}\n", headers: ndjson},
	{name: "record outside the import", request: "POST /api/v1/import/a", body: `{"path":"ab","value":1}`, headers: ndjson},
	{name: "record without a path", request: "POST /api/v1/import/a", body: `{"value":1}`, headers: ndjson},
	{name: "record without a value", request: "POST /api/v1/import/", body: `{"path":"a","subtree":true}`, headers: ndjson},
	{name: "record that is only a path", request: "POST /api/v1/import/", body: `{"path":"a"}`, headers: ndjson},
	{name: "record with a bad path", request: "POST /api/v1/import/", body: `{"path":"a//b","value":1}`, headers: ndjson},
	{name: "record with a duplicate member", request: "POST /api/v1/import/", body: `{"path":"a","value":1,"value":2}`, headers: ndjson},
	{name: "record with an unknown member", request: "POST /api/v1/import/", body: `{"path":"a","value":1,"ttl":2}`, headers: ndjson},
	{name: "record that is no object", request: "POST /api/v1/import/", body: "\n[1]\n", headers: ndjson},
	{name: "record with a bad encoding", request: "POST /api/v1/import/", body: `{"path":"a","value":"1","encoding":"hex"}`, headers: ndjson},
	{name: "record with bad base64", request: "POST /api/v1/import/", body: `{"path":"a","value":"!","encoding":"base64"}`, headers: ndjson},
	{name: "record with base64 of no JSON", request: "POST /api/v1/import/", body: `{"path":"a","value":"eA==","encoding":"base64"}`, headers: ndjson},
	{name: "record with a bad type", request: "POST /api/v1/import/", body: `{"path":"a","value":"1","content_type":"text"}`, headers: ndjson},
	{name: "record of text that is no string", request: "POST /api/v1/import/", body: `{"path":"a","value":1,"content_type":"text/plain"}`, headers: ndjson},
	{name: "record with two documents", request: "POST /api/v1/import/", body: `{"path":"a","value":1} {}`, headers: ndjson},
	{name: "record with a value too large", request: "POST /api/v1/import/", body: `{"path":"a","value":"` + strings.Repeat("x", tooBig) + `"}`, headers: ndjson},
	{name: "record too long", request: "POST /api/v1/import/", body: strings.Repeat(" ", MaxLineBytes+1), headers: ndjson},
	// Transactions.
	{name: "transaction of another type", request: "POST /api/v1/txn", body: "{}", headers: []string{"Content-Type: application/yaml"}},
	{name: "transaction with a parameter", request: "POST /api/v1/txn?dry=true", body: "{}"},
	{name: "transaction on a condition", request: "POST /api/v1/txn", body: "{}", headers: []string{"If-None-Match: *"}},
	{name: "transaction of nothing", request: "POST /api/v1/txn", body: "{}"},
	{name: "transaction without a body", request: "POST /api/v1/txn"},
	{name: "transaction that is no object", request: "POST /api/v1/txn", body: "[]"},
	{name: "transaction with a member unknown", request: "POST /api/v1/txn", body: "{\n  \"success\": []}"},
	{name: "transaction with a member twice", request: "POST /api/v1/txn", body: `{"then":[],"then":[]}`},
	{name: "transaction with a list that is none", request: "POST /api/v1/txn", body: `{"then":{"put":"a","value":1}}`},
	{name: "transaction with an else for nothing", request: "POST /api/v1/txn", body: `{"else":[{"delete":"a"}]}`},
	{name: "transaction with too many operations", request: "POST /api/v1/txn", body: manyGets(MaxTxnOps + 1)},
	{name: "transaction with too many compares", request: "POST /api/v1/txn", body: `{"compare":[` + strings.Repeat(`{"path":"a","exists":true},`, MaxTxnOps) + `{"path":"a","exists":true}]}`},
	{name: "transaction too large", request: "POST /api/v1/txn", body: "{}" + strings.Repeat(" ", MaxTxnBytes)},
	{name: "transaction that is too large as a command", request: "POST /api/v1/txn", body: largePuts(), headers: []string{"Confman-Comment: " + strings.Repeat("x", fsm.MaxCommentBytes)}},
	{name: "transaction with a key twice", request: "POST /api/v1/txn", body: "{\"then\":[{\"put\":\"a\",\"value\":1},\n{\"get\":\"a\"}]}"},
	{name: "transaction with a key below a subtree", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a/"},{"put":"a/b","value":1}]}`},
	{name: "transaction with a subtree over a key", request: "POST /api/v1/txn", body: `{"then":[{"put":"a/b","value":1},{"delete":"/"}]}`},
	{name: "transaction with a subtree twice", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a/"},{"delete":"a/"}]}`},
	{name: "transaction with two operations in one", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1,"delete":"b"}]}`},
	{name: "transaction with an operation of nothing", request: "POST /api/v1/txn", body: `{"then":[{"value":1}]}`},
	{name: "transaction with a put without a value", request: "POST /api/v1/txn", body: `{"then":[{"put":"a"}]}`},
	{name: "transaction with a put of a subtree", request: "POST /api/v1/txn", body: `{"then":[{"put":"a/","value":1}]}`},
	{name: "transaction with a get of a subtree", request: "POST /api/v1/txn", body: `{"then":[{"get":"a/"}]}`},
	{name: "transaction with a delete of a value", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a","value":1}]}`},
	{name: "transaction with a path that is no string", request: "POST /api/v1/txn", body: `{"then":[{"delete":7}]}`},
	{name: "transaction with a path that is no key", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a//b"}]}`},
	{name: "transaction with a member of an operation unknown", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1,"ttl":5}]}`},
	{name: "transaction with a value too large", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":"` + strings.Repeat("x", tooBig) + `"}]}`},
	{name: "transaction with text that is no string", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1,"content_type":"text/plain"}]}`},
	{name: "transaction with a content type that is none", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1,"content_type":"text"}]}`},
	{name: "transaction with an empty content type", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1,"content_type":""}]}`},
	{name: "transaction with bad base64", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":"!","encoding":"base64"}]}`},
	{name: "transaction with an encoding unknown", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":"1","encoding":"hex"}]}`},
	{name: "transaction with a value that is no JSON", request: "POST /api/v1/txn", body: "{\"then\":[{\"put\":\"a\",\n\"value\":tru}]}"},
	{name: "compare without a path", request: "POST /api/v1/txn", body: `{"compare":[{"exists":true}]}`},
	{name: "compare of nothing", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a"}]}`},
	{name: "compare of two things", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","exists":true,"revision":1}]}`},
	{name: "compare with an existence that is none", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","exists":1}]}`},
	{name: "compare with a revision that is text", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","revision":"1"}]}`},
	{name: "compare with a revision that is not whole", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","revision":1.5}]}`},
	{name: "compare with revision 0", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","revision":0}]}`},
	{name: "compare with an encoding of nothing", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","exists":true,"encoding":"base64"}]}`},
	{name: "compare with a member unknown", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","version":1}]}`},
	{name: "compare of a subtree", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a/","exists":true}]}`},
	{name: "compare with a value too large", request: "POST /api/v1/txn", body: `{"compare":[{"path":"a","value":"` + strings.Repeat("x", tooBig) + `"}]}`},
	{name: "transaction with a subtree that is too large", request: "POST /api/v1/txn", body: `{"then":[{"delete":"big/"}]}`, setup: func(f *fixture) { f.fill("big/", fsm.MaxTreeKeys+1) }},
	{name: "transaction, outcome unknown", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a"}]}`, setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "transaction with another's idempotency key", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a"}]}`, headers: []string{keyed}, setup: keyedPut},
	{name: "transaction that was applied, and cannot be read", request: "POST /api/v1/txn", body: `{"then":[{"put":"a","value":1},{"get":"b"}]}`, setup: func(f *fixture) {
		f.node.during = func(*fsm.Command) { f.node.viewErr = node.ErrRebuilding }
	}},
	{name: "transaction that was applied, and whose node was overtaken", request: "POST /api/v1/txn", body: `{"then":[{"get":"a"}]}`, setup: func(f *fixture) {
		f.node.waitErr = context.DeadlineExceeded
	}},
	{name: "method not allowed on a transaction", request: "GET /api/v1/txn"},
	{name: "transaction of another origin's page", request: "POST /api/v1/txn", body: `{"then":[{"delete":"a"}]}`, headers: []string{"Origin: https://evil.example.com", "Content-Type: application/x-www-form-urlencoded"}},
	// Rollbacks.
	{name: "rollback to nothing", request: "POST /api/v1/rollback/a/", body: "{}"},
	{name: "rollback to no number", request: "POST /api/v1/rollback/a/", body: `{"to_revision":"1"}`},
	{name: "rollback to a negative revision", request: "POST /api/v1/rollback/a/", body: `{"to_revision":-1}`},
	{name: "rollback with a member unknown", request: "POST /api/v1/rollback/a/", body: "{\"to_revision\":1,\n\"dry_run\":true}"},
	{name: "rollback without a body", request: "POST /api/v1/rollback/a/"},
	{name: "rollback with a body too large", request: "POST /api/v1/rollback/a/", body: "{}" + strings.Repeat(" ", MaxRollbackBytes)},
	{name: "rollback of another type", request: "POST /api/v1/rollback/a/", body: "1", headers: []string{"Content-Type: text/plain"}},
	{name: "rollback of a bad path", request: "POST /api/v1/rollback/a//b", body: `{"to_revision":0}`},
	{name: "rollback with a parameter unknown", request: "POST /api/v1/rollback/a/?recursive=true", body: `{"to_revision":0}`},
	{name: "rollback on a condition", request: "POST /api/v1/rollback/seed", body: `{"to_revision":0}`, headers: []string{`If-Match: "1"`}},
	{name: "rollback to the future", request: "POST /api/v1/rollback/", body: `{"to_revision":9}`},
	{name: "rollback in chunks to the future", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":9}`},
	{name: "rollback to what is compacted", request: "POST /api/v1/rollback/", body: `{"to_revision":1}`, setup: compactedTo2},
	{name: "rollback in chunks to what is compacted", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":1}`, setup: compactedTo2},
	{name: "rollback of a record that is compacted", request: "POST /api/v1/rollback/seed", body: `{"to_revision":1}`, setup: keepsOneVersion},
	{name: "rollback in chunks of a record that is compacted", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":1}`, setup: keepsOneVersion},
	{name: "rollback of a subtree that is too large", request: "POST /api/v1/rollback/big/", body: `{"to_revision":1}`, setup: func(f *fixture) { f.fill("big/", fsm.MaxTreeKeys+1) }},
	{name: "rollback in chunks with an idempotency key", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":1}`, headers: []string{keyed}},
	{name: "rollback, outcome unknown", request: "POST /api/v1/rollback/seed", body: `{"to_revision":0}`, setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "rollback in chunks, outcome unknown", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":0}`, setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "rollback in chunks without a quorum", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":0}`, setup: quorumless},
	{name: "too many rollbacks in chunks", request: "POST /api/v1/rollback/?chunked=true", body: `{"to_revision":0}`, setup: func(f *fixture) { f.exports.TryAcquire(MaxExports) }},
	{name: "method not allowed on a rollback", request: "GET /api/v1/rollback/a"},
	// Namespaces and the audit.
	{name: "namespace that is not there", request: "GET /api/v1/namespaces/nobody"},
	{name: "namespace of a bad path", request: "GET /api/v1/namespaces/a//b"},
	{name: "namespace that is no JSON", request: "PUT /api/v1/namespaces/a", body: "{\"owner\":\n\"x\""},
	{name: "namespace with a member unknown", request: "PUT /api/v1/namespaces/a", body: `{"quota":1}`},
	{name: "namespace with a subject that is none", request: "PUT /api/v1/namespaces/a", body: "{\"bindings\":[{\"role\":\"viewer\",\"subjects\":[\n  \"bob\"]}]}"},
	{name: "namespace of another type", request: "PUT /api/v1/namespaces/a", body: "owner: x", headers: []string{"Content-Type: application/yaml"}},
	{name: "namespace too large", request: "PUT /api/v1/namespaces/a", body: "{}" + strings.Repeat(" ", MaxNamespaceBodyBytes)},
	{name: "namespace that must be there", request: "PUT /api/v1/namespaces/a", body: "{}", headers: []string{"If-Match: *"}},
	{name: "namespace that was changed", request: "PUT /api/v1/namespaces/a", body: "{}", headers: []string{`If-Match: "1"`}},
	{name: "namespace with a role unknown", request: "PUT /api/v1/namespaces/a", body: `{"bindings":[{"role":"editors","subjects":["cert:a"]}]}`},
	{name: "namespace whose role is in use", request: "DELETE /api/v1/namespaces", setup: func(f *fixture) {
		f.ok("PUT", namespaces, `{"roles":{"deployer":["write"]}}`)
		f.ok("PUT", namespaces+"/a", `{"bindings":[{"role":"deployer","subjects":["cert:a"]}]}`)
	}},
	{name: "last administrator", request: "DELETE /api/v1/namespaces", setup: func(f *fixture) { f.node.outcome = fsm.LastAdmin }},
	{name: "denies themselves", request: "PUT /api/v1/namespaces", body: `{"denied":["user:entra/t/o"]}`, setup: func(f *fixture) { f.node.outcome = fsm.SelfDenied }},
	{name: "namespaces full", request: "PUT /api/v1/namespaces/a", body: "{}", setup: func(f *fixture) { f.node.outcome = fsm.PolicyFull }},
	{name: "namespace, outcome unknown", request: "PUT /api/v1/namespaces/a", body: "{}", setup: writeFails(node.Unknown, 2, node.ErrNoQuorum)},
	{name: "no such namespace to remove", request: "DELETE /api/v1/namespaces/a"},
	{name: "namespace of a revision ahead", request: "GET /api/v1/namespaces/a?revision=9"},
	{name: "list of namespaces at a revision", request: "GET /api/v1/namespaces?recursive=true&revision=1"},
	{name: "page of one namespace", request: "GET /api/v1/namespaces?limit=1"},
	{name: "audit of a bad path", request: "GET /api/v1/audit?path=/a"},
	{name: "audit of nobody", request: "GET /api/v1/audit?principal=bob"},
	{name: "audit of no time", request: "GET /api/v1/audit?since=2026-01-23T10:00:00+01:00"},
	{name: "pages of lines of the audit", request: "GET /api/v1/audit?limit=1", headers: []string{"Accept: application/x-ndjson"}},
	{name: "method not allowed on the audit", request: "DELETE /api/v1/audit"},
	// Callers.
	{name: "no token", request: "GET /api/v1/config/seed", setup: guarded},
	{name: "no token, of a write", request: "PUT /api/v1/config/seed", body: "1", setup: guarded},
	{name: "token in the query", request: "GET /api/v1/config/seed?access_token=root", setup: guarded},
	{name: "credentials of another scheme", request: "GET /api/v1/config/seed", headers: []string{"Authorization: Basic c2VjcmV0"}, setup: guarded},
	{name: "two tokens", request: "GET /api/v1/config/seed", headers: []string{as("root"), as("root")}, setup: guarded},
	{name: "token that has expired", request: "GET /api/v1/config/seed", headers: []string{as("expired")}, setup: guarded},
	{name: "token without roles", request: "PUT /api/v1/config/seed", body: "1", headers: []string{as("no-roles")}, setup: guarded},
	{name: "token whose key is not known", request: "GET /api/v1/config/seed", headers: []string{as("keys-unavailable")}, setup: guarded},
	{name: "read that is forbidden", request: "GET /api/v1/config/seed", headers: []string{as("eve")}, setup: guarded},
	{name: "read of all that is forbidden", request: "GET /api/v1/config/", headers: []string{as("eve")}, setup: guarded},
	{name: "write that is forbidden", request: "PUT /api/v1/config/teams/payments/x", body: "1", headers: []string{as("eve")}, setup: guarded},
	{name: "removal that is forbidden", request: "DELETE /api/v1/config/teams/?recursive=true", headers: []string{as("eve")}, setup: guarded},
	{name: "write that is not in the token's scopes", request: "PUT /api/v1/config/a", body: "1", headers: []string{as("root+Config.Read")}, setup: func(f *fixture) {
		guarded(f)
		f.Scopes = map[string]map[string]fsm.Verbs{"entra": {"Config.Read": fsm.VerbRead}}
	}},
	{name: "read by anybody of a cluster that is administered", request: "GET /api/v1/config/seed", setup: func(f *fixture) { guarded(f); f.api.Auth = nil }},
	{name: "read by a policy that may be too old", request: "GET /api/v1/config/seed?consistency=local", headers: []string{as("root")}, setup: func(f *fixture) { guarded(f); stale(f) }},
	{name: "read by a policy that may be too old for its own bound", request: "GET /api/v1/config/seed?max_staleness=1h", headers: []string{as("root")}, setup: func(f *fixture) { guarded(f); stale(f) }},
	{name: "forbidden write without a quorum", request: "PUT /api/v1/config/a", body: "1", headers: []string{as("eve")}, setup: func(f *fixture) { guarded(f); quorumless(f) }},
	{name: "another host", request: "GET http://evil.example.org/api/v1/config/seed"},
	// Health.
	{name: "not ready: forming", request: "GET /health/ready", setup: forming},
	{name: "not ready: no leader", request: "GET /health/ready", setup: quorumless},
	{name: "not ready: not confirmed yet", request: "GET /health/ready", setup: func(f *fixture) { f.node.status.Ready, f.node.status.Fresh = false, false }},
	{name: "not ready: confirmed long ago", request: "GET /health/ready", setup: func(f *fixture) { f.node.status.Ready, f.node.status.Staleness = false, 9*time.Second }},
	{name: "not ready: shutting down", request: "GET /health/ready", setup: func(f *fixture) { f.draining.Store(true) }},
	{name: "not ready: stopped", request: "GET /health/ready", setup: func(f *fixture) { close(f.node.done) }},
	{name: "not live", request: "GET /health/live", setup: func(f *fixture) { close(f.node.done) }},
}

// manyGets is a transaction of n operations.
func manyGets(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"get":"k%d"}`, i)
	}
	return `{"then":[` + b.String()[1:] + "]}"
}

// largePuts is a transaction whose body is within its limit; with a comment, its command is not.
func largePuts() string {
	value := strings.Repeat("x", fsm.MaxTxnBytes/4-30)
	var b strings.Builder
	for i := range 4 {
		fmt.Fprintf(&b, `,{"put":"k%d","value":"%s"}`, i, value)
	}
	return `{"then":[` + b.String()[1:] + "]}"
}

var ndjson = []string{"Content-Type: application/x-ndjson"}

// manyLeaves is a tree of 600 leaves: two transactions.
func manyLeaves() string {
	var b strings.Builder
	for i := range 600 {
		fmt.Fprintf(&b, `,"k%03d":%d`, i, i)
	}
	return "{" + b.String()[1:] + "}"
}

// TestErrors answers every error as the golden file has it.
func TestErrors(t *testing.T) {
	var all bytes.Buffer
	seen := make(map[string]bool)
	for _, tc := range errorCases {
		f := newFixture(t)
		f.ok("PUT", config+"/seed", "1")
		if tc.setup != nil {
			tc.setup(f)
		}
		method, target, _ := strings.Cut(tc.request, " ")
		w := f.do(method, target, tc.body, tc.headers...)
		require.GreaterOrEqual(t, w.Code, 400, tc.name)
		assert.NotContains(t, w.Body.String(), "secret", tc.name)
		assert.NotEmpty(t, w.Header().Get("Confman-Revision"), tc.name)
		assert.NotEmpty(t, w.Header().Get("Confman-Leader"), tc.name)
		var doc struct {
			Type, Outcome string
			Status        int
			Retryable     *bool
		}
		if method != "HEAD" {
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &doc), "%s: %s", tc.name, w.Body)
			assert.Equal(t, w.Code, doc.Status, tc.name)
			assert.NotNil(t, doc.Retryable, tc.name)
			assert.Equal(t, isWrite(method), doc.Outcome != "", "%s: a write tells its outcome, a read has none", tc.name)
			seen[strings.TrimPrefix(doc.Type, "urn:confman:problem:")] = true
		}
		fmt.Fprintf(&all, "=== %s\n%s\n\n%s", tc.name, abbreviated(tc.request), show(w))
		all.WriteByte('\n')
	}
	golden(t, "errors.golden", all.Bytes())
	// The rest needs a connection to break: see TestBrokenBodies.
	seen[kindBodyTimeout.name], seen[kindIncompleteBody.name], seen[kindCanceled.name] = true, true, true
	for _, name := range problemNames(t) {
		assert.True(t, seen[name], "no case has problem %s", name)
	}
}

func abbreviated(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}

// problemNames are the names of all kinds, from the source: a new one cannot be forgotten.
func problemNames(t *testing.T) []string {
	t.Helper()
	return slices.Sorted(maps.Keys(problemLiterals(t)))
}

// problemLiterals are all kinds as the source spells them, by name.
func problemLiterals(t *testing.T) map[string]*ast.CompositeLit {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	require.NoError(t, err)
	literals := map[string]*ast.CompositeLit{}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.CompositeLit); ok {
			if id, ok := lit.Type.(*ast.Ident); ok && id.Name == "kind" {
				name, err := strconv.Unquote(lit.Elts[0].(*ast.BasicLit).Value)
				require.NoError(t, err)
				literals[name] = lit
			}
		}
		return true
	})
	require.Greater(t, len(literals), 20)
	return literals
}

// TestDamageReachesTheNode: a reader is often the first to meet damage.
func TestDamageReachesTheNode(t *testing.T) {
	f := newFixture(t)
	text := strings.Repeat("v", 200)
	f.ok("PUT", config+"/a", "1")
	f.ok("PUT", config+"/b", `"`+text+`"`)
	require.NoError(t, f.node.store.BeginFlush().Commit())
	b, err := os.ReadFile(f.node.path)
	require.NoError(t, err)
	at := bytes.Index(b, []byte(text))
	require.Positive(t, at)
	file, err := os.OpenFile(f.node.path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte("w"), int64(at))
	require.NoError(t, err)
	require.NoError(t, file.Close())

	f.ok("GET", config+"/a", "")
	assert.Empty(t, f.node.damage, "nothing read it")
	assert.Equal(t, "urn:confman:problem:damaged", decoded(t, f.do("GET", config+"/b", ""))["type"])
	assert.Len(t, f.node.damage, 1)
	for i, format := range []string{"tree", "ndjson"} {
		w := f.do("GET", "/api/v1/export/?format="+format, "")
		assert.Equal(t, "urn:confman:problem:damaged", decoded(t, w)["type"], "nothing was sent yet")
		assert.Len(t, f.node.damage, 2+i, format)
	}
	f.ok("PUT", config+"/aa", strings.Repeat("x", exportBuffer))
	f.ok("PUT", config+"/ab", "1") // a tree keeps one record back
	for i, format := range []string{"tree", "ndjson"} {
		// The answer has begun with what is sound.
		assert.PanicsWithValue(t, http.ErrAbortHandler, func() { f.do("GET", "/api/v1/export/?format="+format, "") })
		assert.Len(t, f.node.damage, 4+i, format)
	}
	for _, err := range f.node.damage {
		assert.ErrorIs(t, err, fsm.ErrDamaged)
	}
}
