package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

const (
	asPatch = "Content-Type: " + typeJSONPatch
	asMerge = "Content-Type: " + typeMergePatch
)

// TestPatchExamples are the examples of RFC 6902 appendix A and RFC 7396 appendix A.
func TestPatchExamples(t *testing.T) {
	for i, tc := range []struct{ kind, value, patch, want string }{
		{asPatch, `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"baz":"qux","foo":"bar"}`},
		{asPatch, `{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`},
		{asPatch, `{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`},
		{asPatch, `{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`},
		{asPatch, `{"baz":"qux","foo":"bar"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo","foo":"bar"}`},
		{asPatch, `{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`, `{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`},
		{asPatch, `{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`},
		{asPatch, `{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]`, `{"baz":"qux","foo":["a",2,"c"]}`},
		{asPatch, `{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"foo":"bar","child":{"grandchild":{}}}`},
		{asPatch, `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `{"foo":"bar","baz":"qux"}`},
		{asPatch, `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10}]`, `{"/":9,"~1":10}`},
		{asPatch, `{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`},
		{asPatch, `{"a":{"b":1}}`, `[{"op":"copy","from":"/a","path":"/c"}]`, `{"a":{"b":1},"c":{"b":1}}`},
		{asMerge, `{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{asMerge, `{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{asMerge, `{"a":"b"}`, `{"a":null}`, `{}`},
		{asMerge, `{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{asMerge, `{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{asMerge, `{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{asMerge, `{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{asMerge, `{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{asMerge, `["a","b"]`, `["c","d"]`, `["c","d"]`},
		{asMerge, `{"a":"b"}`, `["c"]`, `["c"]`},
		{asMerge, `{"a":"foo"}`, `null`, `null`},
		{asMerge, `{"a":"foo"}`, `"bar"`, `"bar"`},
		{asMerge, `{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{asMerge, `[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{asMerge, `{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{asMerge, `{"n":12345678901234567890.50,"s":"<&>"}`, `{"a":1}`, `{"a":1,"n":12345678901234567890.50,"s":"<&>"}`},
	} {
		f := newFixture(t)
		f.ok("PUT", config+"/k", tc.value)
		w := f.ok("PATCH", config+"/k", tc.patch, tc.kind)
		got := f.ok("GET", config+"/k", "", "Accept: application/octet-stream").Body.String()
		assert.JSONEq(t, tc.want, got, "example %d: %s", i, w.Body)
		assert.Equal(t, strings.Contains(tc.want, "67890.50"), strings.Contains(got, "67890.50"), "numbers keep their text")
	}
}

// TestPatchRefused: nothing is written.
func TestPatchRefused(t *testing.T) {
	for i, tc := range []struct {
		kind, patch string
		status      int
		problem     string
	}{
		{asPatch, `[{"op":"add","path":"/a/b/c","value":1}]`, 409, "patch-conflict"},
		{asPatch, `[{"op":"remove","path":"/none"}]`, 409, "patch-conflict"},
		{asPatch, `[{"op":"test","path":"/a","value":2}]`, 409, "patch-conflict"},
		{asPatch, `[{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":3}]`, 409, "patch-conflict"},
		{asPatch, `[{"op":"remove","path":"/list/-1"}]`, 409, "patch-conflict"},
		{asPatch, `[{"op":"rename","path":"/a"}]`, 400, "invalid-body"},
		{asPatch, `[{"op":"add","path":"/a"}]`, 400, "invalid-body"},
		{asPatch, `{"op":"add","path":"/a","value":1}`, 400, "invalid-body"},
		{asPatch, `[{`, 400, "invalid-body"},
		{asPatch, `[` + strings.Repeat(`{"op":"test","path":"/a","value":1},`, MaxPatchOps) + `{"op":"test","path":"/a","value":1}]`, 413, "too-large"},
		{asMerge, `{"a":`, 400, "invalid-body"},
		{asMerge, ``, 400, "invalid-body"},
		{"Content-Type: application/json", `{"a":1}`, 415, "unsupported-media-type"},
		{"Accept: */*", `{"a":1}`, 415, "unsupported-media-type"},
	} {
		f := newFixture(t)
		f.ok("PUT", config+"/k", `{"a":1,"list":[1]}`)
		w := f.do("PATCH", config+"/k", tc.patch, tc.kind)
		assert.Equal(t, tc.status, w.Code, "case %d: %s", i, w.Body)
		p := decoded(t, w)
		assert.Equal(t, "urn:confman:problem:"+tc.problem, p["type"], "case %d", i)
		assert.Equal(t, "not_applied", p["outcome"], "case %d", i)
		assert.Equal(t, 1, f.node.proposals, "case %d", i)
		if tc.status == 415 {
			assert.Contains(t, w.Header().Get("Accept-Patch"), typeMergePatch)
		}
	}
}

func TestPatchConditions(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/k", `{"a":1}`)
	f.ok("PUT", config+"/text", `not JSON`)
	patch := func(key string, headers ...string) int {
		return f.do("PATCH", config+"/"+key, `{"b":2}`, append(headers, asMerge)...).Code
	}
	assert.Equal(t, 404, patch("none"))
	assert.Equal(t, 412, patch("none", "If-Match: *"))
	assert.Equal(t, 412, patch("k", `If-Match: "7"`))
	assert.Equal(t, 400, patch("k", "If-None-Match: *"))
	assert.Equal(t, 409, patch("text"))
	assert.Equal(t, 400, patch("k/"))
	assert.Equal(t, 2, f.node.proposals)
	assert.Equal(t, 200, patch("k", `If-Match: "1"`))
	assert.Equal(t, 200, patch("k", "If-Match: *"), "it changes nothing now")
	assert.Equal(t, fsm.Revision(3), f.node.store.State().Revision)
	before := f.node.linearized
	patch("k")
	assert.Equal(t, before+1, f.node.linearized, "a patch is made for the newest value")
}

// TestPatchContended: what others write between the read and the write is not lost.
func TestPatchContended(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/k", `{"n":0}`)
	left := 3
	f.node.during = func(cmd *fsm.Command) {
		if len(cmd.Compares) == 0 || left == 0 {
			return
		}
		left--
		f.node.put("k", fmt.Sprintf(`{"n":%d}`, 10+left))
	}
	f.ok("PATCH", config+"/k", `{"b":1}`, asMerge)
	assert.JSONEq(t, `{"n":10,"b":1}`, f.ok("GET", config+"/k", "", "Accept: text/plain").Body.String())

	left = -1 // for ever
	w := f.do("PATCH", config+"/k", `{"b":2}`, asMerge)
	p := decoded(t, w)
	assert.Equal(t, 409, w.Code)
	assert.Equal(t, "urn:confman:problem:contended", p["type"])
	assert.Equal(t, "not_applied", p["outcome"])
	assert.Equal(t, true, p["retryable"])

	left = 1 // who names a revision wants no other
	revision := f.node.store.State().Revision
	w = f.do("PATCH", config+"/k", `{"b":3}`, asMerge, fmt.Sprintf(`If-Match: "%d"`, revision))
	assert.Equal(t, 412, w.Code, w.Body)
}

// TestPatchUnknown: a patch whose write may have been applied is not tried again.
func TestPatchUnknown(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/k", `{"n":0}`)
	f.node.proposeErr = func(int, *fsm.Command) error { return &node.WriteError{Outcome: node.Unknown, Err: node.ErrNoQuorum} }
	w := f.do("PATCH", config+"/k", `{"b":1}`, asMerge)
	assert.Equal(t, 503, w.Code)
	assert.Equal(t, "unknown", decoded(t, w)["outcome"])
	assert.Equal(t, 2, f.node.proposals)
}

// TestPatchEnds: all attempts together have the time of one write.
func TestPatchEnds(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/k", `{"n":0}`)
	var ends []time.Time
	f.node.proposed = func(ctx context.Context) {
		at, ok := ctx.Deadline()
		require.True(t, ok)
		ends = append(ends, at)
	}
	n := 0
	f.node.during = func(cmd *fsm.Command) {
		if n++; len(cmd.Compares) > 0 && n < 6 {
			f.node.proposed = nil
			f.node.put("k", fmt.Sprintf(`{"n":%d}`, n))
			f.node.proposed = func(ctx context.Context) { at, _ := ctx.Deadline(); ends = append(ends, at) }
		}
	}
	f.ok("PATCH", config+"/k", `{"b":1}`, asMerge)
	require.Greater(t, len(ends), 1)
	for _, at := range ends[1:] {
		assert.Equal(t, ends[0], at, "a later attempt has no time of its own")
	}
}

// FuzzPatch: whatever is sent, what is stored is JSON within the limits.
func FuzzPatch(f *testing.F) {
	f.Add(true, `{"a":[1,{"b":2}]}`, `[{"op":"copy","from":"/a","path":"/a/1/b"}]`)
	f.Add(false, `{"a":{"b":null}}`, `{"a":{"b":null,"c":{"d":null}}}`)
	f.Add(true, `[]`, `[{"op":"add","path":"","value":null},{"op":"add","path":"/-","value":1}]`)
	f.Fuzz(func(t *testing.T, ops bool, value, patch string) {
		if checkJSON([]byte(value)) != nil {
			return
		}
		c := &call{api: &api{Config: Config{MaxValueBytes: fsm.MaxValueBytes}}}
		kind := typeMergePatch
		if ops {
			kind = typeJSONPatch
		}
		apply, err := c.patcher(kind, []byte(patch))
		if err != nil {
			return
		}
		made, err := apply([]byte(value))
		if err != nil {
			return
		}
		require.Nil(t, checkJSON(made), "%s", made)
	})
}
