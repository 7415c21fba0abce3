package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/confman/confman/fsm"
)

var asYAML = []string{"Content-Type: application/yaml"}

func TestImportYAML(t *testing.T) {
	const own = `{"a/own":"1","a/own/below":"2","a/value":"{\"x\":{\"\":[{}]}}"}`
	cases := []struct{ name, target, body, want string }{
		{"block", "/a", "b:\n  c: 1\n  d:\n  - x\n  - {y: z}\n", `{"a/b/c":"1","a/b/d":"[\"x\",{\"y\":\"z\"}]"}`},
		{"at the root", "", "a: 1", `{"a":"1"}`},
		{"nothing", "/a", "{}", "{}"},
		{"nothing below", "/a", "b: {}", "{}"},
		{"own values", "/a", "own: {\"\": 1, below: 2}\nvalue: {'': {x: {'': [{}]}}}", own},
		{"JSON", "/a", `{"own":{"":1,"below":2},"value":{"":{"x":{"":[{}]}}}}`, own},
		{"numbers", "/a", "b: [0, -0, 12, 1e3, 1.0E+400, 12345678901234567890, -0.50]", `{"a/b":"[0,-0,12,1e3,1.0E+400,12345678901234567890,-0.50]"}`},
		{
			"no numbers", "/a", `b: ["1", '2', 1.2.3, 1-2, 1:30, 2026-01-23, 2026-01-23T10:00:00Z, "0x1F", .x, +, -x, 1e, 0b2, inf, nan]`,
			`{"a/b":"[\"1\",\"2\",\"1.2.3\",\"1-2\",\"1:30\",\"2026-01-23\",\"2026-01-23T10:00:00Z\",\"0x1F\",\".x\",\"+\",\"-x\",\"1e\",\"0b2\",\"inf\",\"nan\"]"}`,
		},
		{"words", "/a", "b: [null, Null, NULL, ~, true, True, TRUE, false, False, FALSE]\nc:", `{"a/b":"[null,null,null,null,true,true,true,false,false,false]","a/c":"null"}`},
		{"no words", "/a", "b: [nULL, tRUE, yes, No, on, off, y, n, <<, =, 'null', \"true\"]", `{"a/b":"[\"nULL\",\"tRUE\",\"yes\",\"No\",\"on\",\"off\",\"y\",\"n\",\"\\u003c\\u003c\",\"=\",\"null\",\"true\"]"}`},
		{"marks", "/a", "b: [\"! 1\", x! y, 'a !']\nc! : 1", `{"a/b":"[\"! 1\",\"x! y\",\"a !\"]","a/c!":"1"}`},
		{"text", "/a", "b: |\n  one\n  \"two\"\nc: >-\n  one\n  two\nd: one\n  two\ne: \"\\u0001\\t\\x85\\U0001F600\"", `{"a/b":"\"one\\n\\\"two\\\"\\n\"","a/c":"\"one two\"","a/d":"\"one two\"","a/e":"\"\\u0001\\t` + "\u0085😀" + `\""}`},
		{"names", "/a", "404: 1\n\"12\": 2\non: 3\n'<<': 4\n? long\n: 5", `{"a/404":"1","a/12":"2","a/on":"3","a/<<":"4","a/long":"5"}`},
		{"escaped", "/a?escape=~", "x/y: {//: 1}", `{"a/x~y/~~":"1"}`},
		{"tags", "/a", "!!map {b: !!seq [!!str 1, !!int 2, !!int \"3\", !!float 4, !!float 5.5, !!bool true, !!null '', !!str null, !<tag:yaml.org,2002:str> 6]}", `{"a/b":"[\"1\",2,3,4,5.5,true,null,\"null\",\"6\"]"}`},
		{"document", "/a", "# comment\n---\nb: 1 # one\n...\n# end\n", `{"a/b":"1"}`},
		{"line ends", "/a", "b: 1\r\nc: 2\r\n", `{"a/b":"1","a/c":"2"}`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			var want map[string]string
			require.NoError(t, json.Unmarshal([]byte(tc.want), &want))
			for k, v := range want {
				want[k] = typeJSON + " " + strings.ReplaceAll(v, `\u003c`, "<")
			}
			for _, contentType := range []string{"application/yaml; charset=utf-8", "application/x-yaml", "text/yaml"} {
				f := newFixture(t)
				f.ok("POST", "/api/v1/import"+tc.target, tc.body, "Content-Type: "+contentType)
				assert.Equal(t, want, f.contents())
			}
		})
	}
}

// TestYAMLDirective: a document may say its version, which kin-openapi does not take.
func TestYAMLDirective(t *testing.T) {
	for _, version := range []string{"1.1", "1.2"} {
		var r yamlReader
		require.NoError(t, r.read([]byte("%YAML "+version+"\n---\na: [yes, 1]\n")))
		assert.JSONEq(t, `{"a":["yes",1]}`, string(r.json))
	}
}

func TestImportYAMLRefuses(t *testing.T) {
	const other = "may be a number, but is none as JSON has it"
	deep := strings.Repeat("[", MaxJSONDepth+2)
	cases := []struct {
		body         string
		line, column int // column 1 with an error of the library
		reason       string
	}{
		{"", 1, 1, "no document"},
		{"# nothing\n", 1, 1, "no document"},
		{"---\n", 2, 1, "no mapping"},
		{"\n- a", 2, 1, "no mapping"},
		{"a", 1, 1, "no mapping"},
		{"a: 1\n---\nb: 2", 2, 1, "second document"},
		{"a: 1\n---\n]", 3, 1, "did not find expected node content"},
		{"a: &x 1\nb: *x", 1, 4, "anchors"},
		{"&x\na: 1", 1, 1, "anchors"},
		{"a: 1\nä: &x {b: 1}", 2, 4, "anchors"},
		{"a: 1\nb: [ä, *x]", 2, 8, "aliases"},
		{"a: {<<: {b: 1}}", 1, 5, "merge keys"},
		{"a: 1\n'b': !!binary AA==", 2, 6, "tag !!binary"},
		{"a: ! 12", 1, 4, "tag !"},
		{"a: 1\r\nb: \"! \u2028 \"\n\u0085ä: [! 12]", 5, 5, "tag !"},
		{"a: !", 1, 4, "tag !"},
		{"a:\n- !\n  12", 2, 3, "tag !"},
		{"a: !x 1", 1, 4, "tag !x"},
		{"a: !!set {b}", 1, 4, "tag !!set"},
		{"a: !!map [b]", 1, 4, "tag !!map"},
		{"a: !!str [b]", 1, 4, "tag !!str"},
		{"a: !!seq b", 1, 4, "tag !!seq"},
		{"a: !!timestamp 2026-01-23", 1, 4, "tag !!timestamp"},
		{"a: !!int 1.5", 1, 4, "1.5 is no int"},
		{"a: !!int x", 1, 4, "x is no int"},
		{"a: !!float x", 1, 4, "x is no float"},
		{"a: !!bool yes", 1, 4, "yes is no bool"},
		{"a: !!null 0", 1, 4, "0 is no null"},
		{"a: !!float .inf", 1, 4, other},
		{"a: 1\nb: 2\na: 3", 3, 1, `member "a" is there twice`},
		{"a: {'': {b: 1, \"b\": 2}}", 1, 16, `member "b" is there twice`},
		{"1: 1\n\"1\": 2", 2, 1, `member "1" is there twice`},
		{"true: 1", 1, 1, "name is no string"},
		{"~: 1", 1, 1, "name is no string"},
		{"?\n: 1", 1, 2, "name is no string"},
		{"[a]: 1", 1, 1, "name is no string"},
		{"? {a: 1}\n: 1", 1, 3, "name is no string"},
		{"0x1: 1", 1, 1, other},
		{"a: {..: 1}", 1, 5, "no path segment"},
		{"a:\n  b/c: 1", 2, 3, "holds a slash"},
		{"\"\": 1", 1, 1, "value has no path"},
		{"a: 1\nb: \"\xff\"", 2, 5, "not UTF-8"},
		{"a: 1\nä: \x01", 2, 4, "U+0001"},
		{"\ufeffa: 1", 1, 1, "byte order mark"},
		{"a: 1\nb:\n  '': " + deep, 3, 6 + MaxJSONDepth + 2, "nested more than"},
		{strings.Repeat("{k: ", fsm.MaxKeyDepth+1) + "1" + strings.Repeat("}", fsm.MaxKeyDepth+1), 1, 4*fsm.MaxKeyDepth + 2, "segments"},
		{"a: 1\nb: c: d", 2, 1, "mapping values"},
		{"a: 1\n}\n", 2, 1, "did not find expected key"},
		{"a:\n  - b\n c: 1\n", 3, 1, "did not find expected key"},
		{"{a: 1", 1, 1, "did not find expected ',' or '}'"},
		{"%YAML 3.0\n---\na: 1", 1, 1, "incompatible"},
		{"a: \"\\ud800\"", 1, 1, "invalid Unicode"},
	}
	for _, number := range []string{
		"0x1F", "-0xff", "0o17", "0b101", "017", "-08", "1_000", "1_0.5", "+1", "+0.5", ".5", "-.5", "5.", "1.e3", "01.5",
		".inf", "-.INF", "+.Inf", ".nan", ".NaN",
	} {
		cases = append(cases, struct {
			body         string
			line, column int
			reason       string
		}{"a: 1\nb: [" + number + "]", 2, 5, number + " " + other})
	}
	for _, tc := range cases {
		t.Run(fmt.Sprintf("%.40q", tc.body), func(t *testing.T) {
			f := newFixture(t)
			body := tc.body
			if strings.HasSuffix(body, deep) {
				body += strings.Repeat("]", len(deep))
			}
			w := f.do("POST", "/api/v1/import/?file=f.yml", body, asYAML...)
			require.Equal(t, 400, w.Code, w.Body)
			doc := decoded(t, w)
			assert.Equal(t, "urn:confman:problem:invalid-body", doc["type"])
			assert.Contains(t, doc["detail"], tc.reason)
			assert.Equal(t, fmt.Sprint(tc.line, " ", tc.column), fmt.Sprint(doc["line"], " ", doc["column"]), doc["detail"])
			assert.Empty(t, f.node.commands)
		})
	}
}

// TestYAMLComesBack: what an export writes as YAML means the values that it was made of, numbers
// to the letter.
func TestYAMLComesBack(t *testing.T) {
	f := treeFixture(t)
	want := f.ok("GET", "/api/v1/export/a", "").Body.String()
	text := f.ok("GET", "/api/v1/export/a", "", "Accept: application/yaml").Body.String()
	again := newFixture(t)
	again.ok("POST", "/api/v1/import/a", text, asYAML...)
	assert.Equal(t, text, again.ok("GET", "/api/v1/export/a", "", "Accept: application/yaml").Body.String())
	assert.Equal(t, asNumbers(t, want), asNumbers(t, again.ok("GET", "/api/v1/export/a", "").Body.String()))

	rapid.Check(t, func(t *rapid.T) {
		want := yamlValues().Draw(t, "value")
		value, err := json.Marshal(want)
		require.NoError(t, err)
		w := &treeWriter{exporter: &exporter{yaml: true}}
		w.leaf("", formJSON, value)
		require.NoError(t, w.err)
		_, fault := countYAML(w.buf)
		require.Nil(t, fault, "%q", w.buf)
		var r yamlReader
		require.NoError(t, r.read(w.buf), "%q", w.buf)
		require.Equal(t, map[string]any{"": asNumbers(t, string(value))}, asNumbers(t, string(r.json)))
	})
}

// asNumbers is what a JSON text says, with its numbers' texts.
func asNumbers(t require.TestingT, text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	require.NoError(t, d.Decode(&v), text)
	return v
}

// FuzzYAML: of any text comes either JSON without fault, or a problem that is the text's and has
// a place in it.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"", "a: 1", "a:\n- b\n- {c: [1, '2', \"\\x33\"]}\n", "a: &x [*x]", "{<<: *a}", "? a\n: |\n  b\n", "--- # x\n...\n---\n", "a: !!int 0x1F", "%TAG ! x\n---\n! a: !b c",
		"\"\": {\"\": .inf}", "[a: b, c]", "a: 1\n}", "a:\r\n\tb", "{? , :}", "a: >2-\n    x\n", "a: ''''", "a: *\xc3\xa4", "# \u2028 b: 1\n\u0085a: 1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		bound, fault := countYAML(text)
		if fault != nil {
			require.LessOrEqual(t, fault.offset, len(text))
			return
		}
		var r yamlReader
		if err := r.read(text); err != nil {
			p := problemOf(err)
			require.Equal(t, kindInvalidBody.name, p.name)
			require.Equal(t, "line", p.members[0].name)
			require.NotContains(t, []string{p.members[0].json, p.members[1].json}, "0")
			return
		}
		require.LessOrEqual(t, int64(len(r.marks)), bound, "more nodes than memory was taken for")
		if fault := checkJSON(r.json); fault != nil { // a depth at most
			require.Contains(t, fault.reason, "nested")
			require.Positive(t, r.problem(fault).status)
		}
	})
}
