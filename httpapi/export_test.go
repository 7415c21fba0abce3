package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestExportTree(t *testing.T) {
	f := newFixture(t)
	put := func(key, value string, headers ...string) { f.ok("PUT", config+"/"+key, value, headers...) }
	put("a", "0")
	put("a/x", "1")
	put("a/x-y", "2")
	put("a/x/z", "3")
	put("a/x-y/w", "4")
	put("a/o", `{"p":1}`)
	put("a/t", "text \"q\"", "Content-Type: text/plain")
	put("a/bin", "\xff")
	put("b", "9")
	cases := []struct{ name, target, want string }{
		{"a subtree with its own value", "/a", `{"":0,"bin":{"":{"value":"/w==","encoding":"base64"}},"o":{"":{"p":1}},"t":"text \"q\"",
			"x":{"":1,"z":3},"x-y":{"":2,"w":4}}`},
		{"with a slash", "/a/x/", `{"":1,"z":3}`},
		{"a lone key", "/b", `{"":9}`},
		{"a key that has siblings after it", "/a/x-y", `{"":2,"w":4}`},
		{"the root", "", `{"a":{"":0,"bin":{"":{"value":"/w==","encoding":"base64"}},"o":{"":{"p":1}},"t":"text \"q\"",
			"x":{"":1,"z":3},"x-y":{"":2,"w":4}},"b":9}`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := f.ok("GET", "/api/v1/export"+tc.target, "")
			assert.JSONEq(t, tc.want, w.Body.String())
			assert.Equal(t, "9", w.Header().Get("Confman-Revision"))
			assert.Empty(t, duplicateMembers(t, w.Body.Bytes()))
		})
	}
	assert.JSONEq(t, "{}", newFixture(t).ok("GET", "/api/v1/export/", "").Body.String())
}

// duplicateMembers says whether some object has a member twice, which JSONEq does not see.
func duplicateMembers(t *testing.T, text []byte) string {
	t.Helper()
	r := treeReader{scanner: scanner{b: text}, check: true, maxValue: 1 << 20, leaf: func(string, []byte) error { return nil }}
	if fault, _ := r.walk("root"); fault != nil {
		return fault.reason
	}
	return ""
}

func TestExportRecords(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "0")
	f.ok("PUT", config+"/a/b", "[1,\n2]")
	f.ok("PUT", config+"/a-b", "1")
	for _, how := range [][]string{{"/api/v1/export/a?format=ndjson"}, {"/api/v1/export/a/", "Accept: application/x-ndjson"}} {
		w := f.ok("GET", how[0], "", how[1:]...)
		assert.Equal(t, typeRecords, w.Header().Get("Content-Type"))
		lines := strings.SplitAfter(strings.TrimSpace(w.Body.String()), "\n")
		require.Len(t, lines, 2)
		for _, line := range lines {
			require.True(t, json.Valid([]byte(line)))
		}
		assert.Contains(t, lines[0], `{"path":"a","value":0,"content_type":"application/json","revision":1,`)
		assert.Contains(t, lines[1], `{"path":"a/b","value":"WzEsCjJd","encoding":"base64","content_type":"application/json","revision":2,`)
	}
}

// TestExportIsOneRevision: a write during an export is not in it.
func TestExportIsOneRevision(t *testing.T) {
	f := newFixture(t)
	value := `"` + strings.Repeat("x", exportBuffer) + `"`
	for i := range 9 {
		f.ok("PUT", fmt.Sprintf("%s/a/%d", config, i), value)
	}
	w := &writeHook{ResponseWriter: newRecorder(), hook: func() { f.ok("PUT", config+"/a/9", "late") }}
	r, err := http.NewRequest("GET", "/api/v1/export/?format=ndjson", nil)
	require.NoError(t, err)
	f.ServeHTTP(w, r)
	assert.Equal(t, 9, w.lines)
	assert.Equal(t, "9", w.Header().Get("Confman-Revision"))
	assert.Len(t, f.contents(), 10)
}

// writeHook calls hook at the first write, and counts writes and lines.
type writeHook struct {
	http.ResponseWriter
	hook          func()
	writes, lines int
}

func (w *writeHook) Write(b []byte) (int, error) {
	if w.hook != nil {
		w.hook()
		w.hook = nil
	}
	w.writes++
	w.lines += strings.Count(string(b), "\n")
	return len(b), nil
}

// names are segments that sort around the slash.
var names = rapid.SampledFrom([]string{"a", "b", "a-", "a.b", "a b", "a0", "ä", "-", "a-b", "b!", `"`, `\`})

// trees draws contents for a store: key to content type and value.
func trees(rt *rapid.T, values *rapid.Generator[[2]string]) map[string][2]string {
	return rapid.MapOfN(
		rapid.Custom(func(rt *rapid.T) string {
			return strings.Join(rapid.SliceOfN(names, 1, 4).Draw(rt, "key"), "/")
		}), values, 0, 30).Draw(rt, "tree")
}

var (
	jsonValues = rapid.Custom(func(rt *rapid.T) [2]string {
		return [2]string{typeJSON, rapid.SampledFrom([]string{"1", "-0.50e7", `"x\u00e4\n"`, "null", "true", "[ 1,{}]", "{}", `{"a":{"":1}}`, `{"a" : 1 , "a":2}`}).Draw(rt, "value")}
	})
	allValues = rapid.OneOf(jsonValues, rapid.Custom(func(rt *rapid.T) [2]string {
		return rapid.SampledFrom([][2]string{
			{typeJSON, " [1,\n2]\n"},
			{typeJSON, "\t1\r"},
			{"application/x+json; a=1", "{}"},
			{"text/plain", ""},
			{"text/plain", "30"},
			{typeText, "line\n\"line\"\x00\u2028"},
			{"text/plain", "\xff"},
			{typeOctets, "abc"},
			{typeOctets, ""},
			{"image/png", "\x89PNG"},
		}).Draw(rt, "value")
	}))
)

func fill(f *fixture, prefix string, tree map[string][2]string) map[string]string {
	want := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		v := tree[key]
		r, err := http.NewRequest("PUT", "/", strings.NewReader(v[1]))
		require.NoError(f.tb, err)
		r.URL.Path = config + "/" + prefix + key
		r.Header.Set("Content-Type", v[0])
		w := newRecorder()
		f.ServeHTTP(w, r)
		require.Less(f.tb, w.Code, 300, "%s", w.Body)
		want[prefix+key] = v[0] + " " + v[1]
	}
	return want
}

// TestExportImportTree: a tree of JSON values comes back as it went, and its
// export has the members of every object once.
func TestExportImportTree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from, to := newFixture(t), newFixture(t)
		want := fill(from, "p/", trees(rt, jsonValues))
		for _, noise := range []string{"p-x", "p0", "q/p/z"} {
			from.ok("PUT", config+"/"+noise, "1")
		}
		if len(want) == 0 {
			return
		}
		tree := from.ok("GET", "/api/v1/export/p", "").Body.String()
		require.True(rt, json.Valid([]byte(tree)), tree)
		require.Empty(rt, duplicateMembers(t, []byte(tree)), tree)
		to.ok("POST", "/api/v1/import/p", tree)
		require.Equal(rt, want, to.contents(), tree)
	})
}

// TestExportImportRecords: records keep everything.
func TestExportImportRecords(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from, to := newFixture(t), newFixture(t)
		want := fill(from, "", trees(rt, allValues))
		records := from.ok("GET", "/api/v1/export?format=ndjson", "").Body.String()
		w := to.ok("POST", "/api/v1/import", records, ndjson...)
		require.Equal(rt, json.Number(fmt.Sprint(len(want))), decoded(t, w)["records"])
		require.Equal(rt, want, to.contents(), records)
	})
}
