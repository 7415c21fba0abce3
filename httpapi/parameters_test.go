package httpapi

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

var (
	badRevisions = []string{"", "-1", "+1", "1.5", "new", "0x10", "1_000", " 1", "18446744073709551616"}
	badTimes     = []string{"", "now", "1h", "2026-01-23", "2026-01-23T10:00:00", "2026-01-23 10:00:00Z", "2026-02-30T10:00:00Z", "1769162400"}
	badFlags     = []string{"", "1", "True", "yes", " true"}
)

// badParameters are values that no route may take for a query parameter; each parameter of the
// document has some.
var badParameters = map[string][]string{
	"consistency":   {"", "eventual", "Bounded", "bounded,local"},
	"max_staleness": {"", "0", "0s", "-1s", "1h0m0.001s", "soon", "NaN", "Inf", "1e3", "5 s", "0x10", "9999999999999h"},
	"min_revision":  badRevisions,
	"revision":      badRevisions,
	"from":          badRevisions,
	"to":            badRevisions,
	"recursive":     badFlags,
	"chunked":       badFlags,
	"limit":         {"", "0", "-1", "+5", "1.5", "all", strconv.Itoa(MaxPage + 1), "4294967297", "18446744073709551617"},
	"cursor":        {"", "$", "AQ", "AQ==", "AgAAAAAAAAAAAAAAAAAAAAAAYQ"},
	"format":        {"", "xml", "Tree", "tree,ndjson"},
	"escape":        {"", "/", ".", "..", "a/b", "\x00", "\xff", strings.Repeat("x", MaxEscapeBytes+1)},
	"file":          {"a\nb", "\xff", strings.Repeat("x", MaxFileNameBytes+1)},
	"verify":        badFlags,
	"principal":     {"", "alice", "Anonymous", "user:", "user:entra", "user:a/b/c/d", "group:entra/t/nobody", "user:entra/%41", "user:a/b\x00", "user:a/" + strings.Repeat("x", fsm.MaxSubjectBytes)},
	"path":          {"", "/a", "//", "a//b", "a/../b", "a\x00", "\xff"},
	"action":        {"", "read", "Put", "put,delete"},
	"outcome":       {"", "ok", "Applied", "applied,denied"},
	"since":         badTimes,
	"until":         badTimes,
	"from_revision": badRevisions,
	"heartbeat":     {"", "0", "0.5", "-1s", "5m1s", "soon", "NaN", "9999999999999h"},
	"wait":          {"", "-1s", "5m1s", "soon", "NaN", "9999999999999h"},
}

// badHeaders are the same of headers; those of reads that are lists of etags take anything.
var badHeaders = map[string][]string{
	"If-Match":        {"", "1", `"0"`, `"01"`, `"-1"`, `"a"`, `W/"1"`, `"1", "2"`, `*, "1"`, `"18446744073709551616"`},
	"If-None-Match":   {"", `"1"`, `*, *`, `W/"1"`},
	"Confman-Comment": {"\xff", "a\x7fb", strings.Repeat("x", fsm.MaxCommentBytes+1)},
	"Confman-File":    {"\xff", "a\x7fb", strings.Repeat("x", MaxFileNameBytes+1)},
	"Idempotency-Key": {"", "a b", "a\x7fb", "\xff", strings.Repeat("x", fsm.MaxIdempotencyKeyBytes+1)},
	"Accept-Datetime": {"", "yesterday", "2026-01-23T10:00:00Z", "Fri, 32 Jan 2026 10:00:00 GMT"},
	"Last-Event-ID":   {"", "-1", "+1", "new", "18446744073709551616"},
}

// badPaths are escaped paths that are no key, nor a subtree with a slash after them.
var badPaths = []string{
	"a%2Fb", "a%2fb/c", "a//b", "/a", "//", "a//", ".", "..", "a/./b", "a/../b", "a/%2e%2E/b", "a%00b", "a%0Ab", "a%7Fb", "a%C2%85b", "a%FFb",
	strings.Repeat("a/", fsm.MaxKeyDepth) + "a", strings.Repeat("a", fsm.MaxKeyBytes+1), strings.Repeat("%61", fsm.MaxKeyBytes+1),
}

// badInput asks one wrong thing of one operation after the other.
type badInput struct {
	*fixture
	golden bytes.Buffer
	method string
	id     string // of the operation
	path   string // of the document
	op     *openapi3.Operation
}

// target is a request of the operation that is right but for parameter name, if it has that.
func (b *badInput) target(name, value string) string {
	path := strings.Replace(b.path, "{path}", "seed", 1)
	var query []string
	for _, p := range b.op.Parameters {
		if p.Value.In == "query" && p.Value.Required && p.Value.Name != name {
			right := "0"
			if p.Value.Schema.Value.Type.Is("boolean") {
				right = "true"
			}
			query = append(query, p.Value.Name+"="+right)
		}
	}
	if name != "" {
		query = append(query, name+"="+url.QueryEscape(value))
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	return path
}

// refuses makes the request, which must be refused with a problem of kind want, and must not
// have done anything. It returns the problem.
func (b *badInput) refuses(target, want string, headers ...string) map[string]any {
	b.tb.Helper()
	body := ""
	switch {
	case strings.HasPrefix(b.id, "rollBack"):
		body = `{"to_revision":0}`
	case b.id == "transact":
		body = `{"then":[{"delete":"seed"}]}`
	case b.op.RequestBody != nil:
		body = "{}"
	}
	if b.method == http.MethodPatch {
		headers = append(headers, asMerge)
	}
	proposals := b.node.proposals
	w := b.do(b.method, target, body, headers...)
	what := fmt.Sprintf("%s %s %q", b.method, target, headers)
	assert.Equal(b.tb, http.StatusBadRequest, w.Code, what)
	assert.Equal(b.tb, proposals, b.node.proposals, what)
	if b.method == http.MethodHead { // GET tells why
		return nil
	}
	fmt.Fprintf(&b.golden, "%s %s\n", b.method, abbreviated(target))
	for _, h := range headers {
		if h != asMerge {
			fmt.Fprintf(&b.golden, "  %s\n", strings.ToValidUTF8(abbreviated(strings.ReplaceAll(h, "\x7f", "\\x7f")), "\\xff"))
		}
	}
	doc := decoded(b.tb, w)
	assert.Equal(b.tb, "urn:confman:problem:"+want, doc["type"], what)
	fmt.Fprintf(&b.golden, "  %s: %s\n", want, doc["detail"])
	if b.refused != "" {
		b.golden.WriteString("  the document refuses it, too\n")
	}
	return doc
}

// TestBadParameters asks every operation for everything that it must refuse: each query
// parameter with each bad value, twice, with a bad escape; one that it does not know; bad
// headers; bad paths. What the golden file has is what people read.
func TestBadParameters(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/seed", `{"n":1}`)
	f.ok("PUT", config+"/seed/b", "2")
	b := &badInput{fixture: f}
	doc := loadDocument(t)
	tried := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		item := doc.Paths.Value(path)
		for _, method := range slices.Sorted(maps.Keys(item.Operations())) {
			b.method, b.path, b.op = method, path, item.GetOperation(method)
			b.id = b.op.OperationID
			fmt.Fprintf(&b.golden, "=== %s\n\n", b.id)
			b.unknown(t)
			if strings.HasSuffix(b.id, "OfAll") { // the same handler as with a path
				b.golden.WriteByte('\n')
				continue
			}
			for _, p := range slices.Concat(item.Parameters, b.op.Parameters) {
				tried[p.Value.Name] = true
				switch p.Value.In {
				case "query":
					b.query(p.Value.Name)
				case "header":
					b.header(p.Value.Name)
				case "path":
					for _, bad := range badPaths {
						b.refuses(strings.Replace(b.target("", ""), "/seed", "/"+bad, 1), "invalid-path")
					}
				}
			}
			b.golden.WriteByte('\n')
		}
	}
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(badParameters)), slices.Sorted(maps.Keys(badHeaders))) {
		assert.True(t, tried[name], "no operation has parameter %s", name)
	}
	golden(t, "parameters.golden", b.golden.Bytes())
}

// unknown asks for a parameter that no route has. The answer tells those that there are, which
// must be the documented ones.
func (b *badInput) unknown(t *testing.T) {
	t.Helper()
	said := b.refuses(b.target("nosuch", "1"), "invalid-parameter")
	if said == nil {
		return
	}
	assert.Equal(t, "nosuch", said["parameter"])
	documented := []string{}
	for _, p := range b.op.Parameters {
		if p.Value.In == "query" {
			documented = append(documented, p.Value.Name)
		}
	}
	detail, _ := said["detail"].(string)
	_, known, ok := strings.Cut(detail, "known are: ")
	require.True(t, ok, detail)
	if known == "none" {
		assert.Empty(t, documented, b.id)
	} else {
		assert.ElementsMatch(t, documented, strings.Split(known, ", "), b.id)
	}
}

func (b *badInput) query(name string) {
	values := badParameters[name]
	assert.NotEmpty(b.tb, values, "badParameters has no values of %s", name)
	ofName := func(said map[string]any) {
		if said != nil {
			assert.Equal(b.tb, name, said["parameter"], b.id)
		}
	}
	for _, value := range values {
		if name == "cursor" {
			b.refuses(b.target(name, value), "invalid-cursor")
			continue
		}
		ofName(b.refuses(b.target(name, value), "invalid-parameter"))
	}
	ofName(b.refuses(b.target(name, "1")+"&"+name+"=1", "invalid-parameter"))
	ofName(b.refuses(b.target(name, "")+"%zz", "invalid-parameter"))
	ofName(b.refuses(b.target(name, "")+"1;2", "invalid-parameter"))
}

func (b *badInput) header(name string) {
	read := b.method == http.MethodGet || b.method == http.MethodHead
	if name == "X-Request-Id" || read && (name == "If-Match" || name == "If-None-Match") {
		return // any is taken
	}
	values := badHeaders[name]
	assert.NotEmpty(b.tb, values, "badHeaders has no values of %s", name)
	want := "invalid-header"
	switch name {
	case "If-Match", "If-None-Match":
		want = "invalid-condition"
	case "Confman-File": // the same as a parameter
		want = "invalid-parameter"
	}
	for _, value := range values {
		b.refuses(b.target("", ""), want, name+": "+value)
	}
}
