package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// checker holds requests and their answers against the document.
type checker struct {
	doc     *openapi3.T
	router  routers.Router
	headers openapi3.Headers // of every answer
	bare    map[string]bool  // paths without "{path}" that mean the whole tree, as with a slash
}

// documentChecker is made once: what it has loaded is only read afterwards.
var documentChecker = sync.OnceValues(func() (*checker, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	for _, media := range []string{typeRecords, "application/ndjson", "application/jsonl", typeEvents} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.PlainBodyDecoder)
	}
	openapi3filter.RegisterBodyDecoder("text/yaml", openapi3filter.RegisteredBodyDecoder(typeYAML))
	for _, schema := range doc.Components.Schemas {
		exact(schema.Value)
	}
	// "{path}" does not span a slash, ours does (protocol.md §7).
	c := &checker{doc: doc, headers: openapi3.Headers{}, bare: map[string]bool{}}
	spanning := openapi3.NewPathsWithCapacity(doc.Paths.Len())
	for path, item := range doc.Paths.Map() {
		key, isTree := strings.CutSuffix(path, "/{path}")
		if isTree {
			c.bare[key] = true
		}
		if isTree && doc.Paths.Value(path+"/") != nil { // there, what ends in a slash is another
			path = key + "/{path:.*[^/]}"
		}
		spanning.Set(strings.Replace(path, "{path}", "{path:.+}", 1), item)
	}
	doc.Paths = spanning
	if c.router, err = gorillamux.NewRouter(doc); err != nil {
		return nil, err
	}
	for _, name := range []string{"Confman-Revision", "Confman-Staleness", "Confman-Node", "Confman-Leader", "X-Request-Id"} {
		c.headers[name] = doc.Components.Headers[name]
	}
	return c, nil
})

// exact forbids, in what we answer, members that the document does not tell.
func exact(s *openapi3.Schema) {
	if s == nil {
		return
	}
	if len(s.Properties) > 0 && s.Title == "" && s.AdditionalProperties.Has == nil || strings.Contains(s.Title, "-") {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		exact(p.Value)
	}
	if s.Items != nil {
		exact(s.Items.Value)
	}
}

// options are how kin-openapi checks.
// Who may call is looked at elsewhere: TestPermissions.
var checkOptions = &openapi3filter.Options{
	IncludeResponseStatus: true, SkipSettingDefaults: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc,
}

// refusal is why the document refuses a request: the part that is wrong, "" if it does not.
func (c *checker) refusal(r *http.Request, body string) (string, *openapi3filter.RequestValidationInput) {
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(body))
	if bare, ok := strings.CutSuffix(r.URL.Path, "/"); ok && c.bare[bare] {
		r.URL.Path = bare
	}
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return err.Error(), nil
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: checkOptions}
	// These it does not look for.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "query is not well formed", in
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case route.Operation.Parameters.GetByInAndName("query", name) == nil:
			return "query parameter " + name + " is not known", in
		case len(query[name]) > 1:
			return "query parameter " + name + " is there twice", in
		}
	}
	if r.Header.Get("Content-Type") == "" && body != "" && route.Operation.RequestBody != nil {
		if content := route.Operation.RequestBody.Value.Content; content["application/x-www-form-urlencoded"] != nil {
			r.Header.Set("Content-Type", typeJSON) // as the document says in words
		}
	}
	var re *openapi3filter.RequestError
	switch err := openapi3filter.ValidateRequest(r.Context(), in); {
	case err == nil:
		if b := route.Operation.RequestBody; b != nil && c.lines(b.Value.Content.Get(r.Header.Get("Content-Type")), typeRecords, []byte(body)) != nil {
			return "line of the body", in
		}
		return "", in
	case errors.As(err, &re) && re.Parameter != nil:
		return re.Parameter.In + " parameter " + re.Parameter.Name, in
	case errors.As(err, &re) && re.RequestBody != nil:
		return "body", in
	default:
		return err.Error(), in
	}
}

// check holds a request and its answer against the document: what the API takes the document
// takes, what the document refuses the API refuses, and the answer is one that the document
// tells of. It returns what refusal does, and what is wrong.
func (c *checker) check(r *http.Request, body string, w *httptest.ResponseRecorder) (refused string, faults []string) {
	refused, in := c.refusal(r, body)
	if refused != "" && w.Code < 400 && r.Method != http.MethodOptions {
		faults = append(faults, fmt.Sprintf("%s: the answer is %d, and the document refuses the request: %s", nameOf(r), w.Code, refused))
	}
	return refused, append(faults, c.answered(r, in, w)...)
}

func nameOf(r *http.Request) string { return r.Method + " " + abbreviated(r.URL.String()) }

// answered holds an answer against the document: its status, its headers and its body. in is
// what refusal made of the request, nil if the document has no such operation.
func (c *checker) answered(r *http.Request, in *openapi3filter.RequestValidationInput, w *httptest.ResponseRecorder) (faults []string) {
	fault := func(format string, args ...any) {
		faults = append(faults, nameOf(r)+": "+fmt.Sprintf(format, args...))
	}
	if in == nil {
		c.unrouted(r, w, fault)
		return faults
	}
	in.Request.Method = http.MethodGet // else kin-openapi looks at no answer of HEAD
	response := in.Route.Operation.Responses.Status(w.Code)
	if response == nil {
		fault("the document does not tell of status %d: %s", w.Code, w.Body)
		return faults
	}
	// Nor at one of 304: it is shown to it as one of 200.
	status := w.Code
	if status == http.StatusNotModified {
		status = http.StatusOK
	}
	operation := *in.Route.Operation
	operation.Responses = openapi3.NewResponses(openapi3.WithStatus(status, asAsked(response, r)))
	in.Route.Operation = &operation
	if len(response.Value.Content) == 0 && w.Body.Len() > 0 {
		fault("the document tells of no body, and there is one")
	}
	options := *checkOptions
	options.ExcludeResponseBody = w.Header().Get("Content-Encoding") != "" // the same is looked at as it is elsewhere
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: status, Header: w.Header(),
		Body: io.NopCloser(bytes.NewReader(w.Body.Bytes())), Options: &options,
	})
	if err != nil {
		fault("%v: %s", err, w.Body)
	}
	undocumented(w.Header(), response.Value.Headers, fault)
	contentType := w.Header().Get("Content-Type")
	if options.ExcludeResponseBody {
		return faults
	}
	if err = c.lines(response.Value.Content.Get(contentType), contentType, w.Body.Bytes()); err != nil {
		fault("%v", err)
	}
	return faults
}

// asAsked is a response without the alternatives that a request does not ask for: a tree, which
// is any JSON, or a verification, or a list of namespaces.
func asAsked(response *openapi3.ResponseRef, r *http.Request) *openapi3.ResponseRef {
	media, query := response.Value.Content[typeJSON], r.URL.Query()
	if query.Has("format") || media == nil || media.Schema == nil || len(media.Schema.Value.AnyOf) == 0 {
		return response
	}
	asked := 0
	if query.Get("verify") == "true" || strings.HasPrefix(r.URL.Path, base+"/namespaces") && query.Get("recursive") == "true" {
		asked = 1
	}
	strict, stricter := *response.Value, *media
	stricter.Schema = media.Schema.Value.AnyOf[asked]
	strict.Content = openapi3.Content{typeJSON: &stricter}
	return &openapi3.ResponseRef{Value: &strict}
}

type faultFunc func(format string, args ...any)

// operation is the operation that a request is of, "" if the document has none.
func (c *checker) operation(method, target string) string {
	_, in := c.refusal(httptest.NewRequest(method, target, nil), "")
	if in == nil {
		return ""
	}
	return in.Route.Operation.OperationID
}

// unrouted checks the answer to what the document has no operation for.
func (c *checker) unrouted(r *http.Request, w *httptest.ResponseRecorder, fault faultFunc) {
	headers := maps.Clone(c.headers)
	headers["Allow"], headers["Cache-Control"] = nil, nil
	for name := range c.headers {
		if w.Header().Get(name) == "" {
			fault("header %s is missing", name)
		}
	}
	undocumented(w.Header(), headers, fault)
	if r.Method == http.MethodOptions || r.Method == http.MethodHead {
		return
	}
	var value map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		fault("%v: %s", err, w.Body)
		return
	}
	kind := strings.TrimPrefix(fmt.Sprint(value["type"]), "urn:confman:problem:")
	if schema := c.doc.Components.Schemas["problem-"+kind]; schema == nil {
		fault("the document does not tell of problem %s", kind)
	} else if err := schema.Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		fault("%v: %s", err, w.Body)
	}
}

// ofHTTP are headers that any answer may have: they say how it is sent, not what it says.
var ofHTTP = []string{"Content-Type", "Content-Length", "Content-Encoding", "Connection", "Vary"}

// undocumented finds the headers of an answer that are not documented; kin-openapi looks only for
// those that are.
func undocumented(answer http.Header, documented openapi3.Headers, fault faultFunc) {
	for name := range answer {
		known := slices.Contains(ofHTTP, name) || strings.HasPrefix(name, "Access-Control-")
		for header := range documented {
			known = known || http.CanonicalHeaderKey(header) == name
		}
		if !known {
			fault("the document does not tell of header %s", name)
		}
	}
}

// lines checks what a stream is made of: all at once, because kin-openapi prepares a schema
// anew each time.
func (c *checker) lines(media *openapi3.MediaType, contentType string, body []byte) error {
	if media == nil || media.Extensions["x-lines"] == nil {
		return nil
	}
	values := []any{}
	for _, text := range textsOf(contentType, body) {
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		values = append(values, value)
	}
	to, _ := media.Extensions["x-lines"].(map[string]any)
	schema := c.doc.Components.Schemas[strings.TrimPrefix(fmt.Sprint(to["$ref"]), "#/components/schemas/")]
	return openapi3.NewArraySchema().WithItems(schema.Value).VisitJSON(values, openapi3.EnableJSONSchema2020())
}

// textsOf are the JSON texts in a stream: its lines, or the data of its events that are changes.
func textsOf(contentType string, body []byte) (texts [][]byte) {
	if contentType != typeEvents {
		for line := range bytes.Lines(body) {
			if line = bytes.TrimSpace(line); len(line) > 0 {
				texts = append(texts, line)
			}
		}
		return texts
	}
	for event := range bytes.SplitSeq(body, []byte("\n\n")) {
		var data [][]byte
		isChange := false
		for line := range bytes.SplitSeq(event, []byte("\n")) {
			if text, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				data = append(data, text)
			}
			isChange = isChange || string(line) == "event: change"
		}
		if isChange {
			texts = append(texts, bytes.Join(data, []byte("\n")))
		}
	}
	return texts
}
