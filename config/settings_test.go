package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "write docs/settings.md")

// setting is what the page says of one.
type setting struct {
	key, unit, def, allowed, span, flag, doc string
	kind                                     reflect.Type
}

// comments are the sentences about the types of the package and their fields: "API", "API.Hosts".
func comments(t *testing.T) map[string]string {
	all := map[string]string{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			gen, ok := n.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				return true
			}
			for _, spec := range gen.Specs {
				typ := spec.(*ast.TypeSpec)
				all[typ.Name.Name] = gen.Doc.Text()
				fields, ok := typ.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, field := range fields.Fields.List {
					for _, name := range field.Names {
						if len(field.Names) == 1 {
							all[typ.Name.Name+"."+name.Name] = field.Doc.Text()
						}
					}
				}
			}
			return false
		})
	}
	return all
}

// subject is how a comment begins, which the page leaves out: what it is about.
var subject = regexp.MustCompile(`^(\w+)( \(in the file: \w+\))? ((is|are) )?`)

// sentence is the comment about name, in one line and without its subject.
func sentence(name, comment string) string {
	text := strings.Join(strings.Fields(comment), " ")
	if m := subject.FindStringSubmatch(text); m != nil && m[1] == name {
		text = text[len(m[0]):]
	}
	if text == "" {
		return ""
	}
	return strings.ReplaceAll(strings.ToUpper(text[:1])+text[1:], "<", "&lt;")
}

// settings are all settings, lists of objects before what is in them.
func settings(t *testing.T) (all []setting) {
	docs := comments(t)
	var walk func(v reflect.Value, at string)
	walk = func(v reflect.Value, at string) {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			s := setting{
				key: join(at, keyOf(f)), kind: f.Type, unit: f.Tag.Get("unit"), def: f.Tag.Get("default"), allowed: f.Tag.Get("allowed"),
				span: f.Tag.Get("range"), flag: f.Tag.Get("flag"), doc: sentence(f.Name, docs[v.Type().Name()+"."+f.Name]),
			}
			switch {
			case f.Type.Kind() == reflect.Struct:
				walk(v.Field(i), s.key)
				continue
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				s.unit = "list of objects"
				defaultOf(&s, v.Field(i))
				all = append(all, s)
				walk(reflect.New(f.Type.Elem()).Elem(), s.key+listItem)
				continue
			case f.Type == reflect.TypeFor[time.Duration]():
				s.unit = "duration"
			case f.Type.Kind() == reflect.Bool:
				s.unit = "true or false"
			case f.Type.Kind() == reflect.Slice && s.unit != "":
				s.unit = "list: " + s.unit
			}
			defaultOf(&s, v.Field(i))
			all = append(all, s)
		}
	}
	walk(reflect.ValueOf(defaults()), "")
	return all
}

// defaultOf has s say what v, its default, is, unless a tag does.
func defaultOf(s *setting, v reflect.Value) {
	if s.def != "" {
		return
	}
	switch v := v.Interface().(type) {
	case time.Duration:
		s.def = duration(v)
	case int:
		s.def = number(s.unit, v)
	default:
		s.def = fmt.Sprint(v)
		if rv := reflect.ValueOf(v); rv.Kind() != reflect.Bool && rv.IsZero() {
			s.def = "none"
		}
	}
}

func duration(d time.Duration) string {
	text := strings.TrimSuffix(d.String(), "m0s")
	if text != d.String() {
		text = strings.TrimSuffix(text+"m", "h0m")
		if !strings.HasSuffix(text, "m") {
			text += "h"
		}
	}
	return text
}

var sizes = []struct {
	unit  string
	bytes int
}{{"PiB", 1 << 50}, {"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}}

// number is n as it is written into the file, and of bytes how many that is.
func number(unit string, n int) string {
	for _, size := range sizes {
		if unit == "bytes" && n > 0 && n%size.bytes == 0 {
			return fmt.Sprintf("%d (%d %s)", n, n/size.bytes, size.unit)
		}
	}
	return strconv.Itoa(n)
}

// bounds are the ends of a range, as the numbers of a setting; most is NaN if there is none.
func (s *setting) bounds(t *testing.T) (orZero bool, least, most float64) {
	text, orZero := strings.CutPrefix(s.span, "0 or ")
	low, high, ok := strings.Cut(text, "..")
	require.True(t, ok, s.key)
	value := func(text string) float64 {
		if text == "" {
			return math.NaN()
		}
		if s.unit == "duration" {
			d, err := time.ParseDuration(text)
			require.NoError(t, err, s.key)
			return float64(d)
		}
		factor := 1
		for _, size := range sizes {
			if n, ok := strings.CutSuffix(text, size.unit); ok {
				text, factor = n, size.bytes
			}
		}
		f, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err, s.key)
		return f * float64(factor)
	}
	return orZero, value(low), value(high)
}

// values is what the page says a setting may be.
func (s *setting) values(t *testing.T) string {
	if s.span == "" {
		return s.allowed
	}
	orZero, least, most := s.bounds(t)
	show := func(f float64) string {
		switch s.kind.Kind() {
		case reflect.Int64:
			return duration(time.Duration(f))
		case reflect.Float64:
			return fmt.Sprint(f)
		default:
			return number(s.unit, int(f))
		}
	}
	text := show(least) + " or more"
	if !math.IsNaN(most) {
		text = show(least) + " to " + show(most)
	}
	if orZero {
		text = "0, or " + text
	}
	return text
}

// page is docs/settings.md.
func page(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`# Settings

Every key of a node's configuration. This page is made from package config by ` + "`go test ./config -run TestSettingsAreDocumented -rewrite`" + `,
and a test fails if it is not what the code says. How they fit together: [operations.md](operations.md).

The file of ` + "`confman serve --config`" + ` is JSON, or YAML of the same shape: ` + "`Data.Dir`" + ` is ` + "`Dir`" + ` in the object ` + "`Data`" + `, and ` + "`[]`" + ` is
each object of a list. The variable of a key in the environment wins over the file, a flag over both; a variable that sets a
list takes all of it, as JSON. A duration is text such as ` + "`\"15s\"`, `\"30m\"`, `\"2160h\"`" + `: there are no days. Keys that are not here
are errors, and everything that is wrong is reported at once (exit code 2).

**Settings are read when a node starts**: to change one, change the file and restart the node, one node after the other. What
the files hold that settings name (certificates, keys, CAs: "PEM file") is read again when they are replaced, without a restart.
`)
	section, docs := "", comments(t)
	for _, s := range settings(t) {
		first, _, _ := strings.Cut(s.key, ".")
		if first != section {
			section = first
			types := slices.Collect(reflect.TypeFor[Config]().Fields())
			typ := types[slices.IndexFunc(types, func(f reflect.StructField) bool { return keyOf(f) == first })].Type.Name()
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| key, variable, flag | value | default | may be | what it is |\n| --- | --- | --- | --- | --- |\n",
				first, sentence(typ, docs[typ]))
		}
		name := "`" + s.key + "`"
		if !strings.Contains(s.key, listItem) {
			name += "<br>`" + envPrefix + strings.ReplaceAll(s.key, ".", "__") + "`"
		}
		if s.flag != "" {
			name += "<br>`--" + s.flag + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, s.unit, s.def, s.values(t), s.doc)
	}
	return b.String()
}

// TestSettingsAreDocumented: every setting has a unit, a default and a sentence, and docs/settings.md has them.
func TestSettingsAreDocumented(t *testing.T) {
	var keys []string
	for _, s := range settings(t) {
		assert.NotEmpty(t, s.unit, "%s: its field wants a tag unit", s.key)
		assert.NotEmpty(t, s.def, "%s: its field wants a tag default", s.key)
		assert.NotEmpty(t, s.doc, "%s: its field wants a comment of its own, above it", s.key)
		if k := s.kind.Kind(); s.unit != "duration" && (k == reflect.Int || k == reflect.Float64) {
			assert.NotEmpty(t, s.span, "%s: its field wants a tag range", s.key)
		}
		if s.unit == "duration" {
			assert.NotEmpty(t, s.span+s.allowed, "%s: its field wants a tag range", s.key)
		}
		if s.unit != "list of objects" {
			keys = append(keys, strings.TrimSuffix(s.key, listItem))
		}
	}
	var all []string
	for _, key := range known() {
		all = append(all, strings.TrimSuffix(key, listItem))
	}
	require.Equal(t, all, keys, "not all settings were found")

	const path = "../docs/settings.md"
	want := page(t)
	if *rewrite {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o600))
	}
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "go test ./config -run TestSettingsAreDocumented -rewrite")
}

// good is a configuration under which each setting that has a range may be anything in it.
const good = `{"Cluster": {"NodeId": "a", "Nodes": [{"Id": "a", "Address": "localhost"}]}, "Raft": {"PlainText": true},
	"Data": {"Dir": "/d"}, "Backup": {"Dir": "/b"}, "Limits": {"RequestsPerSecond": 9, "WritesPerSecond": 9}}`

// TestRangesAreThoseOfTheCode: what the page says a number or a duration may be is what a node takes.
func TestRangesAreThoseOfTheCode(t *testing.T) {
	tried := 0
	for _, s := range settings(t) {
		if s.span == "" {
			continue
		}
		tried++
		load := func(f float64) error {
			var file map[string]any
			require.NoError(t, json.Unmarshal([]byte(good), &file))
			at, keys := file, strings.Split(s.key, ".")
			for _, key := range keys[:len(keys)-1] {
				name, list := strings.CutSuffix(key, listItem)
				if at[name] == nil {
					at[name] = map[string]any{}
				}
				if list {
					at = at[name].([]any)[0].(map[string]any)
				} else {
					at = at[name].(map[string]any)
				}
			}
			at[keys[len(keys)-1]] = f
			if s.unit == "duration" {
				at[keys[len(keys)-1]] = time.Duration(f).String()
			}
			b, err := json.Marshal(file)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "f.json")
			require.NoError(t, os.WriteFile(path, b, 0o600))
			_, err = Load(path, nil, nil)
			return err
		}
		step := 1.0
		switch {
		case s.unit == "duration":
			step = float64(time.Second)
		case s.kind.Kind() == reflect.Float64:
			step = 0.001
		}
		orZero, least, most := s.bounds(t)
		require.NoError(t, load(least), s.key)
		require.Error(t, load(least-step), s.key)
		if orZero {
			require.NoError(t, load(0), s.key)
		}
		if !math.IsNaN(most) {
			require.NoError(t, load(most), s.key)
			require.Error(t, load(most+step), s.key)
		}
	}
	assert.Greater(t, tried, 10)
}
