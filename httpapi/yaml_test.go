package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// treeFixture has a tree with all that is special about trees.
func treeFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t)
	put := func(key, value string, headers ...string) { f.ok("PUT", config+"/"+key, value, headers...) }
	put("a", "0")
	put("a/x", "1")
	put("a/x-y", "2")
	put("a/x/z", "3")
	put("a/x-y/w", "4")
	put("a/o", `{"p":1, "list":[1e400, 12345678901234567890, -0.0, {"no": null}], "":{}}`)
	put("a/t", "text \"q\"\nand more", "Content-Type: text/plain")
	put("a/bin", "\xff")
	put("a/off", "true")
	put("a/12", `"no"`)
	put("a/emoji", `"\ud83d\ude00 \u0000\u0085\u2028"`)
	put("b", "9")
	return f
}

func TestTreeListing(t *testing.T) {
	f := treeFixture(t)
	const target = config + "/a/?recursive=true&format=tree"
	w := f.ok("GET", target, "")
	want := strings.Replace(f.ok("GET", "/api/v1/export/a/", "").Body.String(), "{\"\":0,\n", "{", 1)
	assert.Equal(t, want, w.Body.String(), "an export, without the subtree's own value")
	assert.Contains(t, want, `"x":{"":1`)
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	assert.Equal(t, "12", w.Header().Get("Confman-Revision"))
	assert.Equal(t, "Accept, Accept-Datetime, Accept-Encoding", w.Header().Get("Vary"))
	assert.Equal(t, "{}\n", newFixture(t).ok("GET", config+"/?recursive=true&format=tree", "").Body.String())
	assert.JSONEq(t, `{"a":{"":0,"x":1}}`, f.ok("GET", config+"/?recursive=true&format=tree&revision=2", "").Body.String())
}

func TestTreeInYAML(t *testing.T) {
	f := treeFixture(t)
	const want = `"12": "no"
bin:
  "": {value: "/w==", encoding: base64}
emoji: "😀 \u0000\u0085\u2028"
o:
  "": {p: 1, list: [1e400, 12345678901234567890, -0.0, {"no": null}], "": {}}
"off": true
t: "text \"q\"\nand more"
x:
  "": 1
  z: 3
x-y:
  "": 2
  w: 4
`
	for _, accept := range []string{"Accept: application/yaml", "Accept: application/json;q=0.5, application/yaml"} {
		w := f.ok("GET", config+"/a/?recursive=true&format=tree", "", accept)
		assert.Equal(t, want, w.Body.String())
		assert.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
		for _, query := range []string{"", "?format=tree"} {
			w = f.ok("GET", "/api/v1/export/a"+query, "", accept)
			assert.Equal(t, "\"\": 0\n"+want, w.Body.String())
			assert.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
		}
	}
	for _, target := range []string{config + "/?recursive=true&format=tree", "/api/v1/export/"} {
		assert.Equal(t, "{}\n", newFixture(t).ok("GET", target, "", "Accept: application/yaml").Body.String())
	}
}

// like checks that a YAML node says what a JSON value says; numbers to the letter.
func like(t require.TestingT, want any, n *yaml.Node) {
	switch want := want.(type) {
	case map[string]any:
		require.Equal(t, yaml.MappingNode, n.Kind)
		require.Len(t, n.Content, 2*len(want))
		for i := 0; i < len(n.Content); i += 2 {
			require.Equal(t, "!!str", n.Content[i].ShortTag(), n.Content[i].Value)
			value, ok := want[n.Content[i].Value]
			require.True(t, ok, n.Content[i].Value)
			like(t, value, n.Content[i+1])
		}
	case []any:
		require.Equal(t, yaml.SequenceNode, n.Kind)
		require.Len(t, n.Content, len(want))
		for i := range want {
			like(t, want[i], n.Content[i])
		}
	case string:
		require.Equal(t, "!!str", n.ShortTag())
		require.Equal(t, want, n.Value)
	case json.Number:
		require.Equal(t, want.String(), n.Value)
		require.Equal(t, yaml.Style(0), n.Style, "no string")
	default:
		require.Equal(t, map[any]string{nil: "!!null", true: "!!bool", false: "!!bool"}[want], n.ShortTag())
		require.Equal(t, map[any]string{nil: "null", true: "true", false: "false"}[want], n.Value)
	}
}

// yamlWords are strings, many of which YAML may take for something else.
func yamlWords() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"", "a", "y", "No", "null", "~", "1", "1e3", "0x1f", "1:30", "2026-01-23", "-", "- a", "a: b", "a #b", "#", "&a", "*a", "!a", "%", "@", "`", "|", ">",
			"'", `"`, `\`, "{", "[", "a,b", " a", "a ", "\n", "a\nb\n", "\t", "\r", "\u0085", "\u2028", "\ufeff", "\ufffe", "\x7f", "<<", "=", "?", "?a", "...", "---", "ä", "😀",
		}),
		rapid.String(),
		rapid.Map(rapid.IntRange(100, 1100), func(n int) string { return strings.Repeat("k", n) }),
	)
}

// yamlValues are values of all types.
func yamlValues() *rapid.Generator[any] {
	words := yamlWords()
	numbers := rapid.SampledFrom([]string{"0", "-0", "1e400", "-1E-400", "12345678901234567890", "123456789012345678901234567890", "0.1", "1.0e+5"})
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		scalar := rapid.OneOf(
			rapid.Map(words, func(s string) any { return s }),
			rapid.Map(numbers, func(s string) any { return json.Number(s) }),
			rapid.SampledFrom([]any{nil, true, false}),
		)
		if depth == 0 {
			return scalar
		}
		return rapid.OneOf(
			scalar,
			rapid.Map(rapid.SliceOfN(value(depth-1), 0, 3), func(v []any) any { return v }),
			rapid.Map(rapid.MapOfN(words, value(depth-1), 0, 3), func(v map[string]any) any { return v }),
		)
	}
	return value(3)
}

// TestYAMLSaysWhatJSONSays: for any tree, as a library of YAML reads it.
func TestYAMLSaysWhatJSONSays(t *testing.T) {
	words, values := yamlWords(), yamlValues()
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		want := map[string]any{}
		for i := range rapid.IntRange(1, 4).Draw(t, "members") {
			name, v := words.Draw(t, "name"), values.Draw(t, "value")
			if _, ok := want[name]; ok {
				name = fmt.Sprint("other", i)
			}
			want[name] = v
			text, err := json.Marshal(v)
			require.NoError(t, err)
			w := &treeWriter{exporter: &exporter{yaml: true, buf: b}}
			w.leaf(name, formJSON, text)
			require.NoError(t, w.err)
			b = w.buf
		}
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal(b, &doc), "%q", b)
		if wrapped, err := json.Marshal(want); err == nil { // objects are the values of their own paths
			var again map[string]any
			d := json.NewDecoder(strings.NewReader(string(wrapped)))
			d.UseNumber()
			require.NoError(t, d.Decode(&again))
			for name, v := range again {
				if _, ok := v.(map[string]any); ok && name != "" {
					again[name] = map[string]any{"": v}
				}
			}
			like(t, again, doc.Content[0])
		}
	})
}

// TestLongNamesInYAML: a reader takes a name of a mapping only so far.
func TestLongNamesInYAML(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("k", 1000)
	f.ok("PUT", config+"/a/"+long+"/b", "1")
	f.ok("PUT", config+"/a/"+long+"/c/d", `[{"`+strings.Repeat("n", 2000)+`":2}]`)
	w := f.ok("GET", "/api/v1/export/", "", "Accept: application/yaml")
	var got map[string]map[string]map[string]any
	require.NoError(t, yaml.Unmarshal(w.Body.Bytes(), &got), w.Body)
	assert.Equal(t, 1, got["a"][long]["b"])
	assert.Contains(t, got["a"][long]["c"], "d")
}
