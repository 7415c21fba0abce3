package client_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/confman/confman/client"
	"github.com/confman/confman/fsm"
)

// walk returns the leaves of text as lines "path = value".
func walk(text string, o client.WalkOptions) ([]string, client.WalkStats, error) {
	var leaves []string
	stats, err := client.WalkTree(text, o, func(path []byte, value string) error {
		leaves = append(leaves, string(path)+" = "+value)
		return nil
	})
	return leaves, stats, err
}

func TestWalkTree(t *testing.T) {
	for _, c := range []struct {
		name, text string
		opts       client.WalkOptions
		want       []string
	}{
		{"kinds", `{"a":"x","b":{"c":1,"d":true},"e":null,"f":[1,{"g":2}]}`, client.WalkOptions{}, []string{
			`a = "x"`, `b/c = 1`, `b/d = true`, `e = null`, `f = [1,{"g":2}]`,
		}},
		{"numbers keep their text", `{"a":1.0,"b":1e400,"c":-0,"d":123456789012345678901234567890}`, client.WalkOptions{}, []string{
			`a = 1.0`, `b = 1e400`, `c = -0`, `d = 123456789012345678901234567890`,
		}},
		{"strings keep their text", `{"a":"\u00e9\/"}`, client.WalkOptions{}, []string{`a = "\u00e9\/"`}},
		{"names are decoded", `{"\u00e9\ud83d\ude00":1,"a\"b":2,"c\\d":3}`, client.WalkOptions{}, []string{`é😀 = 1`, `a"b = 2`, `c\d = 3`}},
		{"space is not part of a value", " { \"a\" : \n 1 , \"b\":[1,\n 2] } \n", client.WalkOptions{}, []string{"a = 1", "b = [1,\n 2]"}},
		{"prefix", `{"a":{"b":1}}`, client.WalkOptions{Prefix: "x/y.json"}, []string{`x/y.json/a/b = 1`}},
		{"a value at the prefix itself", `[1]`, client.WalkOptions{Prefix: "x/y.json"}, []string{`x/y.json = [1]`}},
		{"the empty name is the object's own path", `{"a":{"":1,"b":2},"c":{"":{"d":3}}}`, client.WalkOptions{}, []string{
			`a = 1`, `a/b = 2`, `c = {"d":3}`,
		}},
		{"escape", `{"a/b":{"c//d":1}}`, client.WalkOptions{Escape: "~"}, []string{`a~b/c~~d = 1`}},
		{"byte order mark", "\ufeff{\"a\":1}", client.WalkOptions{}, []string{`a = 1`}},
		{"same name in different objects", `{"a":{"x":1},"b":{"x":1},"x":{"x":1}}`, client.WalkOptions{}, []string{`a/x = 1`, `b/x = 1`, `x/x = 1`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			leaves, stats, err := walk(c.text, c.opts)
			require.NoError(t, err)
			assert.Equal(t, c.want, leaves)
			assert.Equal(t, len(c.want), stats.Leaves)
			c.opts.Trusted = true
			again, _, err := walk(c.text, c.opts)
			require.NoError(t, err)
			assert.Equal(t, leaves, again)
		})
	}
}

func TestWalkTreeCountsEmptyObjects(t *testing.T) {
	leaves, stats, err := walk(`{"a":{},"b":{"c":{}},"d":[{}]}`, client.WalkOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"d = [{}]"}, leaves)
	assert.Equal(t, client.WalkStats{Leaves: 1, EmptyObjects: 2}, stats)
}

func TestWalkTreeRefuses(t *testing.T) {
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf(`"k%d":1`, i)
	}
	for _, c := range []struct{ name, text, want string }{
		{"nothing", ``, `line 1, column 1: text ends, want a value`},
		{"only space", " \n ", `line 2, column 2: text ends, want a value`},
		{"missing comma", "{\n  \"a\": 1\n  \"b\": 2\n}", `line 3, column 3: '"' is not expected, want a comma or '}'`},
		{"trailing comma", `{"a":1,}`, `line 1, column 8: '}' is not expected, want a member name in quotes`},
		{"trailing comma in an array", `{"a":[1,]}`, `line 1, column 9: ']' is not expected, want a value`},
		{"two values", `{} {}`, `line 1, column 4: '{' is not expected, want the end`},
		{"no quotes", `{a:1}`, `line 1, column 2: 'a' is not expected, want a member name in quotes`},
		{"no colon", `{"a" 1}`, `line 1, column 6: '1' is not expected, want a colon`},
		{"cut in an object", `{"a":{"b":1}`, `line 1, column 13: text ends, want a comma or '}'`},
		{"cut in a string", `{"a":"x`, `line 1, column 8: text ends, want the end of the string`},
		{"bare word", `{"a":nul}`, `line 1, column 6: 'n' is not expected, want a value`},
		{"leading zero", `{"a":01}`, `line 1, column 7: '1' is not expected, want a comma or '}'`},
		{"number without digits", `{"a":-}`, `line 1, column 7: '}' is not expected, want a digit`},
		{"number without fraction", `{"a":1.}`, `line 1, column 8: '}' is not expected, want a digit`},
		{"number without exponent", `{"a":1e}`, `line 1, column 8: '}' is not expected, want a digit`},
		{"unknown escape", `{"a":"\x"}`, `line 1, column 8: 'x' is not expected, want an escape`},
		{"short escape", `{"a":"\u12"}`, `line 1, column 11: '"' is not expected, want four hexadecimal digits`},
		{"line break in a string", "{\"a\":\"x\ny\"}", `line 1, column 8: string holds the control character U+000A; write it as an escape`},
		{"half a surrogate pair in a name", `{"\ud83d":1}`, `line 1, column 3: string holds half a surrogate pair`},
		{"half a surrogate pair before another escape", `{"\ud83d\u0041":1}`, `line 1, column 3: string holds half a surrogate pair`},
		{"columns are characters", "{\"é😀\":1,\n\"é😀\" 1}", `line 2, column 6: '1' is not expected, want a colon`},
		{"not UTF-8", "{\n\"a\":\"x\xff\"}", `line 2, column 7: byte 0xff is not UTF-8`},
		{"UTF-16", "\xff\xfe{\x00}\x00", `line 1, column 1: byte 0xff is not UTF-8`},
		{"fault after a byte order mark", "\ufeff{x", `line 1, column 2: 'x' is not expected, want a member name in quotes`},
		{"duplicate member", "{\"a\":1,\n \"a\":2}", `line 2, column 2: member "a" is there twice`},
		{"duplicate of another spelling", `{"a":1,"\u0061":2}`, `line 1, column 8: member "a" is there twice`},
		{"duplicate after its object", `{"a":{"b":1},"a":1}`, `line 1, column 14: member "a" is there twice`},
		{"duplicate among many", `{` + strings.Join(many, ",") + `,"k3":1}`, `line 1, column 232: member "k3" is there twice`},
		{"duplicate of the last of many", `{` + strings.Join(many, ",") + `,"k29":1}`, `line 1, column 232: member "k29" is there twice`},
		{"slash", "{\"x\":{\n\"a/b\":1}}", `line 2, column 1: member "a/b" holds a slash, which separates segments: --escape replaces it`},
		{"escaped slash", `{"a\/b":1}`, `line 1, column 2: member "a/b" holds a slash, which separates segments: --escape replaces it`},
		{"dots", `{"..":1}`, `line 1, column 2: member ".." is no path segment: it has a segment "." or ".."`},
		{"control character", `{"a\u0007":1}`, `line 1, column 2: member "a\a" is no path segment: it has a control character`},
		{"control character of Unicode", `{"a\u0085":1}`, `line 1, column 2: member "a\u0085" is no path segment: it has a control character`},
		{"no path", `7`, `line 1, column 1: value has no path: import it below one, or wrap it in an object`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := walk(c.text, client.WalkOptions{})
			var syntax *client.SyntaxError
			require.ErrorAs(t, err, &syntax)
			assert.Equal(t, c.want, err.Error())
		})
	}
}

func TestWalkTreeLimits(t *testing.T) {
	nest := func(opening, inner, closing string, n int) string {
		return strings.Repeat(opening, n) + inner + strings.Repeat(closing, n)
	}
	for _, c := range []struct {
		name, most, over string
		opts             client.WalkOptions
		want             string
	}{
		{
			"depth of a key", nest(`{"a":`, `1`, `}`, client.MaxKeyDepth), nest(`{"a":`, `1`, `}`, client.MaxKeyDepth+1),
			client.WalkOptions{},
			"has more than 32 segments",
		},
		{
			"depth below a prefix", nest(`{"a":`, `1`, `}`, client.MaxKeyDepth-2), nest(`{"a":`, `1`, `}`, client.MaxKeyDepth-1),
			client.WalkOptions{Prefix: "x/y"},
			"has more than 32 segments",
		},
		{
			"depth of empty objects", nest(`{"a":`, `{}`, `}`, client.MaxKeyDepth), nest(`{"a":`, `{}`, `}`, client.MaxKeyDepth+1),
			client.WalkOptions{},
			"has more than 32 segments",
		},
		{
			"depth of a value", nest(`[`, ``, `]`, client.MaxJSONDepth+1), nest(`[`, ``, `]`, 1_000_000),
			client.WalkOptions{Prefix: "x"},
			"value is nested more than 1000 deep",
		},
		{
			"length of a key", `{"` + strings.Repeat("a", client.MaxKeyBytes) + `":1}`, `{"` + strings.Repeat("a", client.MaxKeyBytes+1) + `":1}`,
			client.WalkOptions{},
			"is longer than 1024 bytes",
		},
		{
			"size of a value", `"` + strings.Repeat("a", client.MaxValueBytes-2) + `"`, `"` + strings.Repeat("a", client.MaxValueBytes-1) + `"`,
			client.WalkOptions{Prefix: "x"},
			`value of "x" has 1048577 bytes, at most 1048576 are allowed`,
		},
		{
			"prefix", `1`, `1`,
			client.WalkOptions{Prefix: "x//y"},
			"has an empty segment",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.opts.Prefix != "x//y" {
				_, _, err := walk(c.most, c.opts)
				require.NoError(t, err)
			}
			_, _, err := walk(c.over, c.opts)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestWalkTreeStopsAtLeafsError(t *testing.T) {
	stop := errors.New("stop")
	n := 0
	_, err := client.WalkTree(`{"a":1,"b":{"c":2,"d":3}}`, client.WalkOptions{}, func([]byte, string) error {
		n++
		if n == 2 {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, err, stop)
	assert.Equal(t, 2, n)
}

// What the servers refuse is refused here, and nothing else.
func TestKeysAreTheServers(t *testing.T) {
	require.Equal(t, fsm.MaxKeyBytes, client.MaxKeyBytes)
	require.Equal(t, fsm.MaxKeyDepth, client.MaxKeyDepth)
	require.Equal(t, fsm.MaxValueBytes, client.MaxValueBytes)
	segment := rapid.OneOf(
		rapid.SampledFrom([]string{"", ".", "..", "...", "a", "a b", "\x7f", "\u0085", "é", "\xff", "%2F", strings.Repeat("x", 400)}),
		rapid.String(),
	)
	rapid.Check(t, func(t *rapid.T) {
		key := strings.Join(rapid.SliceOfN(segment, 0, 40).Draw(t, "segments"), "/")
		if got, want := client.CheckKey(key), fsm.ValidateKey(key); (got == nil) != (want == nil) {
			t.Fatalf("key %q: %v here, %v there", key, got, want)
		}
	})
}

// genNode draws a tree: an object of nodes, or a leaf.
func genNode(depth int) *rapid.Generator[string] {
	leaf := rapid.SampledFrom([]string{`1`, `-0.50e+7`, `"x"`, `"\u00e9\n"`, `true`, `null`, `[]`, `[1, {"a/b": [ ]}]`, "[\n1]"})
	if depth == 0 {
		return leaf
	}
	return rapid.Custom(func(t *rapid.T) string {
		if rapid.IntRange(0, 3).Draw(t, "leaf") == 0 {
			return leaf.Draw(t, "value")
		}
		names := rapid.SliceOfNDistinct(rapid.SampledFrom(segments), 1, 20, rapid.ID).Draw(t, "names")
		var members []string
		for _, name := range names {
			value := genNode(depth-1).Draw(t, "member")
			if name == "" {
				value = rapid.OneOf(leaf, rapid.SampledFrom([]string{`{}`, `{"a":1}`})).Draw(t, "own")
			}
			members = append(members, fmt.Sprintf("%q: %s", name, value))
		}
		return "{" + strings.Join(members, ", ") + "}"
	})
}

var segments = []string{
	"", "a", "b", "a-b", "é", "x.json", "A B", "😀", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
}

// A tree taken apart and put together again has the same leaves in the same order.
func TestTreeIsTheInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := `{"root": ` + genNode(4).Draw(t, "tree") + `}`
		leaves, _, err := walk(text, client.WalkOptions{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var tree client.Tree
		_, err = client.WalkTree(text, client.WalkOptions{}, func(path []byte, value string) error {
			return tree.Add(string(path), &client.Record{Path: string(path), Value: []byte(value), ContentType: client.TypeJSON})
		})
		if err != nil {
			t.Fatal(err)
		}
		back, _, err := walk(string(tree.AppendJSON(nil)), client.WalkOptions{})
		if err != nil {
			t.Fatalf("%s: %v", tree.AppendJSON(nil), err)
		}
		// Members come back where their object was first seen, its own value first.
		require.ElementsMatch(t, leaves, back)
		require.Equal(t, len(leaves), tree.Len())
	})
}

func TestTreeRefusesAPathItHas(t *testing.T) {
	var tree client.Tree
	rec := client.Record{Path: "p/a", Value: []byte(`1`), ContentType: client.TypeJSON}
	require.NoError(t, tree.Add("a", &rec))
	require.EqualError(t, tree.Add("a", &rec), `path "p/a" is there twice`)
}

func TestTreeOfOtherTypes(t *testing.T) {
	var tree client.Tree
	require.NoError(t, tree.Add("text", &client.Record{Value: []byte("a \"b\"\n"), ContentType: "text/plain"}))
	require.NoError(t, tree.Add("octets", &client.Record{Value: []byte{0xff}, ContentType: "application/octet-stream"}))
	assert.JSONEq(t, `{"text": "a \"b\"\n", "octets": {"": {"encoding":"base64","value":"/w=="}}}`, string(tree.AppendJSON(nil)))
}

// FuzzWalkTree: no text makes it panic, and what it takes, it takes the same
// without the search for duplicates, and after a way through Tree.
func FuzzWalkTree(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"":2,"b":[1,2]}}`, "\ufeff{}", `{"\ud83d\ude00":null}`, `[1`, `{"a":1,"a":2}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		leaves, _, err := walk(text, client.WalkOptions{Prefix: "p"})
		if err != nil {
			return
		}
		trusted, _, err := walk(text, client.WalkOptions{Prefix: "p", Trusted: true})
		require.NoError(t, err)
		require.Equal(t, leaves, trusted)
		for _, l := range leaves {
			path, _, _ := strings.Cut(l, " = ")
			require.NoError(t, client.CheckKey(path))
		}
	})
}

func BenchmarkWalkTree(b *testing.B) {
	var texts []string
	require.NoError(b, filepath.WalkDir("../testdata", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".json") {
			return err
		}
		text, err := os.ReadFile(name)
		texts = append(texts, string(text))
		return err
	}))
	require.NotEmpty(b, texts)
	leaves := 0
	for b.Loop() {
		var chunk client.Chunk
		for _, text := range texts {
			stats, err := client.WalkTree(text, client.WalkOptions{Prefix: "i18n/cldr"}, func(path []byte, value string) error {
				chunk.AppendLeaf(path, value)
				if chunk.Full() {
					chunk = client.Chunk{}
				}
				return nil
			})
			require.NoError(b, err)
			leaves += stats.Leaves
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(leaves), "ns/leaf")
}
