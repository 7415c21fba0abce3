package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// contents is every key of the store with its type and value.
func (f *fixture) contents() map[string]string {
	f.tb.Helper()
	v, err := f.node.store.View()
	require.NoError(f.tb, err)
	defer v.Close()
	all := map[string]string{}
	require.NoError(f.tb, v.Scan("", "", func(rec fsm.Record) bool {
		all[rec.Key] = rec.ContentType + " " + string(rec.Value)
		return true
	}))
	return all
}

// overtaken is a node at which somebody else writes right after each proposal.
type overtaken struct{ *fakeNode }

func (n overtaken) Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error) {
	res, err := n.fakeNode.Propose(ctx, cmd)
	n.put("elsewhere", strconv.FormatUint(uint64(res.Revision), 10))
	return res, err
}

// TestImportRevision: an answer names the revision of the import, and not one that others made since.
func TestImportRevision(t *testing.T) {
	f := newFixture(t)
	f.api.Node = overtaken{f.node}
	w := f.do("POST", "/api/v1/import/a", `{"b":1}`)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.JSONEq(t, `{"revision":1,"records":1,"changed":1,"unchanged":0,"transactions":1}`, w.Body.String())
	assert.Equal(t, "2", w.Header().Get("Confman-Revision"), "of the state that the answer was made from")
}

func TestImportTree(t *testing.T) {
	f := newFixture(t)
	const tree = `{
		"main": {"en": {"numbers": {"decimal": ".", "digits": 3, "big": 1.0E+400, "yes": true, "none": null,
			"list": [ 1, {"deep": {}} ], "empty": {}, "": "own", "\u00e4\"": {"": {"a": 1}, "b": 2}}}}
	}`
	w := f.do("POST", "/api/v1/import/i18n/cldr", tree, "Confman-Comment: first")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	assert.JSONEq(t, `{"revision":1,"records":9,"changed":9,"unchanged":0,"transactions":1}`, w.Body.String())
	const p, j = "i18n/cldr/main/en/numbers", typeJSON + " "
	assert.Equal(t, map[string]string{
		p:                 j + `"own"`,
		p + "/decimal":    j + `"."`,
		p + "/digits":     j + "3",
		p + "/big":        j + "1.0E+400",
		p + "/yes":        j + "true",
		p + "/none":       j + "null",
		p + "/list":       j + `[ 1, {"deep": {}} ]`,
		p + "/ä\"":        j + `{"a": 1}`,
		p + "/ä\"" + "/b": j + "2",
	}, f.contents())
	assert.Equal(t, "first", f.node.commands[0].Comment)

	w = f.do("POST", "/api/v1/import/i18n/cldr/", tree)
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"revision":1,"records":9,"changed":0,"unchanged":9,"transactions":1}`, w.Body.String())
	assert.Equal(t, "1", w.Header().Get("Confman-Revision"))
}

func TestImportShapes(t *testing.T) {
	cases := []struct {
		name, target, body string
		want               map[string]string
	}{
		{"a lone value", "/a/b", "[1]", map[string]string{"a/b": "[1]"}},
		{"an empty object", "/a/b", "{}", map[string]string{}},
		{"at the root", "", `{"a":1}`, map[string]string{"a": "1"}},
		{"the path's own value", "/a", `{"":{"x":1}}`, map[string]string{"a": `{"x":1}`}},
		{"escaped", "/a?escape=~", `{"x/y":{"//":1}}`, map[string]string{"a/x~y/~~": "1"}},
		{"duplicates within a value", "/a", `{"":{"x":1,"x":2}}`, map[string]string{"a": `{"x":1,"x":2}`}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			f.ok("POST", "/api/v1/import"+tc.target, tc.body)
			want := map[string]string{}
			for k, v := range tc.want {
				want[k] = typeJSON + " " + v
			}
			assert.Equal(t, want, f.contents())
		})
	}
}

// TestImportChunks: transactions stay within their limits, and what no one else
// waits for is in flight together.
func TestImportChunks(t *testing.T) {
	f := newFixture(t)
	var most, now int
	var mu sync.Mutex
	full := make(chan struct{})
	f.node.during = func(*fsm.Command) {
		mu.Lock()
		now++
		if now > most {
			most = now
			if most == MaxImportInFlight {
				close(full)
			}
		}
		mu.Unlock()
		<-full // until as many as allowed are in flight
		mu.Lock()
		now--
		mu.Unlock()
	}
	var b strings.Builder
	const n = 20 * MaxImportOps
	for i := range n {
		fmt.Fprintf(&b, `,"k%05d":%d`, i, i)
	}
	f.ok("POST", "/api/v1/import/a", "{"+b.String()[1:]+"}")
	assert.Equal(t, MaxImportInFlight, most)
	assert.Len(t, f.node.commands, 20)
	assert.Len(t, f.contents(), n)
}

func TestImportChunkBytes(t *testing.T) {
	f := newFixture(t)
	value := strings.Repeat("x", 400<<10)
	var b strings.Builder
	for i := range 7 {
		fmt.Fprintf(&b, "{\"path\":\"a/%d\",\"value\":%q,\"content_type\":\"text/plain\"}\n", i, value)
	}
	w := f.ok("POST", "/api/v1/import/a", b.String(), ndjson...)
	assert.EqualValues(t, "4", decoded(t, w)["transactions"])
	for _, cmd := range f.node.commands {
		assert.LessOrEqual(t, len(cmd.Ops), 2)
	}
	assert.Len(t, f.contents(), 7)
}

// TestImportSameKey: of two records of one key the later wins: they are never in
// flight together, though other transactions are.
func TestImportSameKey(t *testing.T) {
	f := newFixture(t)
	var mu sync.Mutex
	flying := map[string]bool{}
	second := make(chan struct{})
	proposals := 0
	f.node.during = func(cmd *fsm.Command) {
		mu.Lock()
		proposals++
		n := proposals
		for _, op := range cmd.Ops {
			assert.False(t, flying[op.Key], "%s is in flight already", op.Key)
			flying[op.Key] = true
		}
		mu.Unlock()
		if n == 2 {
			close(second)
		}
		<-second // the first stays until there is another beside it
		mu.Lock()
		for _, op := range cmd.Ops {
			delete(flying, op.Key)
		}
		mu.Unlock()
	}
	// A round of keys is more than one transaction, and no multiple of it.
	const keys, records = MaxImportOps + 200, 3*MaxImportOps + 100
	var b strings.Builder
	for i := range records {
		fmt.Fprintf(&b, "{\"path\":\"a/%d\",\"value\":%d}\n", i%keys, i)
	}
	w := f.ok("POST", "/api/v1/import/a", b.String(), ndjson...)
	assert.EqualValues(t, fmt.Sprint(records), decoded(t, w)["records"])
	for i := records - keys; i < records; i++ {
		require.Equal(t, fmt.Sprint(i), string(f.record(fmt.Sprintf("a/%d", i%keys)).Value))
	}
}

// TestImportFailure: the count of what was applied is exact, whatever was in flight.
func TestImportFailure(t *testing.T) {
	for _, outcome := range []node.Outcome{node.NotApplied, node.Unknown} {
		t.Run(outcome.String(), func(t *testing.T) {
			f := newFixture(t)
			f.node.proposeErr = func(n int, _ *fsm.Command) error {
				if n == 5 || n == 7 && outcome == node.Unknown {
					o := node.NotApplied
					if n == 7 {
						o = node.Unknown
					}
					return &node.WriteError{Outcome: o, Err: node.ErrNoQuorum}
				}
				return nil
			}
			var b strings.Builder
			for i := range 20 * MaxImportOps {
				fmt.Fprintf(&b, "{\"path\":\"a/%d\",\"value\":%d}\n", i, i)
			}
			w := f.do("POST", "/api/v1/import/a", b.String(), ndjson...)
			require.Equal(t, 503, w.Code)
			doc := decoded(t, w)
			assert.Equal(t, json.Number(fmt.Sprint(len(f.contents()))), doc["applied_records"])
			if len(f.node.commands) >= 7 {
				assert.Equal(t, outcome.String(), doc["outcome"])
			}
			assert.Less(t, len(f.node.commands), 20, "it goes on after a failure")
			f.node.proposeErr = nil
			f.ok("POST", "/api/v1/import/a", b.String(), ndjson...)
			assert.Len(t, f.contents(), 20*MaxImportOps)
		})
	}
}

// TestImportIsCheckedWhole: a fault at the very end of a tree leaves nothing behind.
func TestImportIsCheckedWhole(t *testing.T) {
	f := newFixture(t)
	body := manyLeaves()
	w := f.do("POST", "/api/v1/import/a", body[:len(body)-1]+`,"k000":1}`)
	require.Equal(t, 400, w.Code)
	assert.Empty(t, f.node.commands)
	w = f.do("POST", "/api/v1/import/a", body+"]")
	require.Equal(t, 400, w.Code)
	assert.Empty(t, f.node.commands)
}

func TestImportMemoryIsGivenBack(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.do("POST", "/api/v1/import/a", `{"b":1}`)
		f.do("POST", "/api/v1/import/a", `{"b":`)
		f.do("POST", "/api/v1/import/a", `{"path":"a/b","value":1}`, ndjson...)
		f.do("PUT", config+"/x", "1")
		f.do("PUT", config+"/x", strings.Repeat("x", tooBig))
	}
	assert.True(t, f.bodies.TryAcquire(MaxBodyMemoryBytes), "some body's memory was not given back")
	assert.Zero(t, f.requests.Load())
}

// TestBodiesOfOneCaller: whoever announces bodies that do not come keeps nobody else from writing.
func TestBodiesOfOneCaller(t *testing.T) {
	f := newGuarded(t)
	stalled, stall := io.Pipe()
	var pending sync.WaitGroup
	for i := range int64(MaxCallerBodyBytes / MaxTxnBytes) { // by somebody who may do nothing
		pending.Go(func() {
			r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/txn", stalled)
			r.ContentLength = MaxTxnBytes
			r.Header.Set("Authorization", "Bearer eve")
			f.ServeHTTP(httptest.NewRecorder(), r)
		})
		require.Eventually(t, func() bool {
			f.shares.mu.Lock()
			defer f.shares.mu.Unlock()
			return f.shares.held[user("eve")] == (i+1)*MaxTxnBytes
		}, 10*time.Second, time.Millisecond)
	}
	w := f.do("PUT", config+"/a/x", "1", as("eve"))
	assert.Equal(t, kindOverloaded.name, kindOf(w))
	assert.Contains(t, w.Body.String(), user("eve"))
	f.ok("PUT", config+"/a/x", "1", as("ed"))
	require.NoError(t, stall.Close())
	pending.Wait()
	assert.Equal(t, kindForbidden.name, kindOf(f.do("PUT", config+"/a/x", "1", as("eve"))))
	// What one request takes alone is not too much.
	whole := f.api.shares.take("cert:large", 0, MaxBodyMemoryBytes)
	assert.True(t, whole && f.api.shares.take("cert:large", MaxBodyMemoryBytes, 1), "a tree in YAML takes as much")
	assert.False(t, f.api.shares.take("cert:large", 0, 1))
	f.api.shares.give("cert:large", MaxBodyMemoryBytes+1)
	assert.Empty(t, f.api.shares.held)
}

func TestImportBlankLines(t *testing.T) {
	f := newFixture(t)
	w := f.ok("POST", "/api/v1/import", "\n{\"path\":\"a\",\"value\":1}\r\n\n {\"path\":\"b\",\"value\":2}", ndjson...)
	assert.EqualValues(t, "2", decoded(t, w)["records"])
	assert.Equal(t, []string{"a", "b"}, slices.Sorted(maps.Keys(f.contents())))
}
