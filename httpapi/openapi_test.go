package httpapi

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// onlyRefused are routes that exist to refuse with "subtree" what else would be 405.
var onlyRefused = []string{"PUT /api/v1/config", "PATCH /api/v1/config"}

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(document)
	require.NoError(t, err)
	return doc
}

// TestDocumentIsValid: kin-openapi knows 3.1 with the JSON Schema of 2020-12; it also holds
// the examples and the defaults against their schemas.
func TestDocumentIsValid(t *testing.T) {
	doc := loadDocument(t)
	require.True(t, doc.IsOpenAPI31OrLater())
	require.NoError(t, doc.Validate(t.Context()))
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			assert.False(t, ids[op.OperationID], "%s is there twice", op.OperationID)
			ids[op.OperationID] = true
			assert.NotEmpty(t, op.Summary, "%s %s", method, path)
		}
	}
}

// TestEveryRouteIsDocumented, and every operation that is documented has a route.
func TestEveryRouteIsDocumented(t *testing.T) {
	f := newFixture(t)
	doc := loadDocument(t)
	routed := map[string]bool{}
	for _, rt := range f.routes() {
		name := rt.method + " " + strings.Replace(rt.path, "*path", "{path}", 1)
		routed[name] = true
		if slices.Contains(onlyRefused, name) {
			w := f.do(rt.method, rt.path, "1")
			assert.Equal(t, "urn:confman:problem:subtree", decoded(t, w)["type"], name)
			continue
		}
		item := doc.Paths.Value(strings.TrimPrefix(name, rt.method+" "))
		if assert.NotNil(t, item, "%s is not in openapi.yaml", name) {
			assert.NotNil(t, item.GetOperation(rt.method), "%s is not in openapi.yaml", name)
		}
		handle, _, _ := f.router.Lookup(rt.method, strings.Replace(rt.path, "*path", "a", 1))
		assert.NotNil(t, handle, name)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			name := method + " " + strings.TrimSuffix(path, "/")
			assert.True(t, routed[name], "openapi.yaml tells of %s, which has no route", name)
		}
	}
}

// TestEveryProblemIsDocumented with its title, its status and whether it is retryable.
func TestEveryProblemIsDocumented(t *testing.T) {
	type said struct {
		title     string
		status    float64
		retryable bool
	}
	codes := map[string]float64{}
	for code := range 600 {
		if text := http.StatusText(code); text != "" {
			codes["Status"+strings.NewReplacer(" ", "", "-", "").Replace(text)] = float64(code)
		}
	}
	inCode, inDocument := map[string]said{}, map[string]said{}
	for name, literal := range problemLiterals(t) {
		title, err := strconv.Unquote(literal.Elts[1].(*ast.BasicLit).Value)
		require.NoError(t, err)
		status := codes[literal.Elts[2].(*ast.SelectorExpr).Sel.Name]
		require.NotZero(t, status, name)
		inCode[name] = said{title, status, literal.Elts[3].(*ast.Ident).Name == "true"}
	}
	for schema, s := range loadDocument(t).Components.Schemas {
		name, ok := strings.CutPrefix(schema, "problem-")
		if !ok {
			continue
		}
		p := s.Value.Properties
		status, _ := p["status"].Value.Const.(float64)
		title, _ := p["title"].Value.Const.(string)
		retryable, _ := p["retryable"].Value.Const.(bool)
		inDocument[name] = said{title, status, retryable}
	}
	assert.Equal(t, inCode, inDocument)
}

// TestEveryLimitIsTold: a new limit is in openapi.yaml, or is nothing that a client meets.
func TestEveryLimitIsTold(t *testing.T) {
	nothingToClients := []string{
		"yamlNodeBytes", "MaxRecordsBytes", "MaxImportInFlight", "deletePage", "MaxPageBytes", "MaxJSONDepth", "HeaderTimeout", "IdleTimeout",
		"MaxConnections", "MaxStreams", "MaxConnectionBufferBytes", "MaxStreamBufferBytes", "PingInterval", "PingTimeout",
		"certificateCheck", "MaxEncoders", "encoderWindow", "maxKeptEncodedBytes", "MaxBatches", "MaxLargeBatches", "MaxWaitingBatchBytes",
		"DenialInterval", "maxStrangerRows", "minRate", "MaxRate", "MaxRatedCallers", "MaxScrapes",
	}
	f, err := parser.ParseFile(token.NewFileSet(), "limits.go", nil, 0)
	require.NoError(t, err)
	count := 0
	for _, decl := range f.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			continue
		}
		for _, spec := range d.Specs {
			for _, id := range spec.(*ast.ValueSpec).Names {
				if id.Name == "_" {
					continue
				}
				count++
				assert.True(t, documentLimits[id.Name] != nil || slices.Contains(nothingToClients, id.Name),
					"limit %s is neither in documentLimits nor known to be none of a client's", id.Name)
			}
		}
	}
	require.Greater(t, count, 20)
}

// TestOpenAPI: the document is served, and not sent again to who has it.
func TestOpenAPI(t *testing.T) {
	f := newFixture(t)
	w := f.ok("GET", "/openapi.json", "")
	assert.Equal(t, document, w.Body.Bytes())
	tag := w.Header().Get("Etag")
	assert.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
	assert.Empty(t, f.ok("HEAD", "/openapi.json", "").Body.Bytes())
	for _, tags := range []string{tag, "W/" + tag, `"1", ` + tag, "*"} {
		assert.Equal(t, http.StatusNotModified, f.do("GET", "/openapi.json", "", "If-None-Match: "+tags).Code, tags)
	}
	assert.Equal(t, http.StatusOK, f.do("GET", "/openapi.json", "", `If-None-Match: "1"`).Code)
	assert.Equal(t, http.StatusNotAcceptable, f.do("GET", "/openapi.json", "", "Accept: text/html").Code)
}

// TestCheckerSees: each answer here is wrong in one thing, and the checker says so.
func TestCheckerSees(t *testing.T) {
	c, err := documentChecker()
	require.NoError(t, err)
	f := newFixture(t)
	f.ok("PUT", config+"/a", `{"x":1}`)
	for _, tc := range []struct {
		name, request string
		headers       []string
		spoil         func(w *httptest.ResponseRecorder)
	}{
		{"a header is missing", "GET /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Header().Del("Confman-Staleness") }},
		{"a header of HEAD is missing", "HEAD /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Header().Del("Etag") }},
		{"a header of 304 is missing", "GET /api/v1/config/a", []string{"If-None-Match: *"}, func(w *httptest.ResponseRecorder) { w.Header().Del("Etag") }},
		{"a header is wrong", "GET /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Header().Set("Confman-Revision", "-1") }},
		{"a header is not told", "GET /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Header().Set("X-New", "1") }},
		{"a status is not told", "GET /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Code = http.StatusAccepted }},
		{"a type is not told", "GET /api/v1/config/a", nil, func(w *httptest.ResponseRecorder) { w.Header().Set("Content-Type", "text/html") }},
		{"a member is missing", "GET /api/v1/config/a", nil, replace(`"version":1,`, "")},
		{"a member is not told", "GET /api/v1/config/a", nil, replace(`"version":1,`, `"version":1,"new":1,`)},
		{"a member of a member is not told", "GET /api/v1/config/?recursive=true", nil, replace(`"version":1,`, `"version":1,"new":1,`)},
		{"a member is of another type", "GET /api/v1/config/a", nil, replace(`"version":1,`, `"version":"1",`)},
		{"a line is wrong", "GET /api/v1/export/?format=ndjson", nil, replace(`"version":1,`, "")},
		{"a problem is not told", "GET /api/v1/config/no", nil, replace("problem:not-found", "problem:found")},
		{"a problem of another status", "GET /api/v1/config/no", nil, replace("problem:not-found", "problem:behind")},
		{"a problem's title is another", "GET /api/v1/config/no", nil, replace("no such key", "such key")},
		{"a problem's member is not told", "GET /api/v1/config/no", nil, replace(`"status":404`, `"status":404,"new":1`)},
		{"a write without an outcome", "DELETE /api/v1/config/no", nil, replace(`"outcome":"not_applied",`, "")},
		{"a problem of no route is wrong", "GET /no", nil, replace(`"retryable":false`, `"retryable":true`)},
		{"a member of a result is not told", "POST /api/v1/txn", nil, replace(`"created":true`, `"created":true,"new":1`)},
		{"a result is none", "POST /api/v1/txn", nil, replace(`,"record":null`, "")},
		{"a bad request is taken", "GET /api/v1/config/?limit=0", nil, func(w *httptest.ResponseRecorder) { w.Code = http.StatusOK }},
	} {
		method, target, _ := strings.Cut(tc.request, " ")
		body := ""
		if method == http.MethodPost {
			body = `{"then":[{"put":"b","value":1},{"get":"no"}]}`
		}
		w := f.do(method, target, body, tc.headers...)
		r := httptest.NewRequest(method, target, nil)
		_, faults := c.check(r, body, w)
		require.Empty(t, faults, tc.name)
		tc.spoil(w)
		_, faults = c.check(r, body, w)
		assert.NotEmpty(t, faults, tc.name)
	}
}

// TestCheckerSeesEvents: the data of a stream's changes is checked, a problem at its end is none.
func TestCheckerSeesEvents(t *testing.T) {
	c, err := documentChecker()
	require.NoError(t, err)
	media := c.doc.Paths.Value("/api/v1/watch/{path:.+}").Get.Responses.Status(200).Value.Content[typeEvents]
	require.NotNil(t, media)
	stream := `id: 57
event: change
data: {"revision":57,"modified_at":"2026-01-23T10:00:00Z","modified_by":"anonymous","request_id":"r",
data: "events":[{"path":"a","action":"delete"}]}

: heartbeat
id: 60

event: error
data: {"type":"urn:confman:problem:stopping"}
`
	require.NoError(t, c.lines(media, typeEvents, []byte(stream)))
	require.Error(t, c.lines(media, typeEvents, []byte(strings.Replace(stream, `"action":"delete"`, `"action":"rename"`, 1))))
	require.Error(t, c.lines(media, typeEvents, []byte(strings.Replace(stream, `"modified_by":"anonymous",`, "", 1))))
	require.Error(t, c.lines(media, typeEvents, []byte(strings.Replace(stream, `"action":"delete"`, `"action":"put"`, 1))), "no record")
}

// replace spoils a body.
func replace(from, to string) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		w.Body = bytes.NewBuffer(bytes.Replace(w.Body.Bytes(), []byte(from), []byte(to), 1))
	}
}
