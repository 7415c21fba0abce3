package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// FuzzRequest takes any request through the router: every answer is one that the document
// tells of, and what is taken for a key is one. header has lines as "Name: value".
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"/api/v1/config/a/b?consistency=local", "/api/v1/config/a%2Fb", "/api/v1/config/a/?recursive=true&limit=3&cursor=AQ",
		"/api/v1/config", "", "*", "//", "/api/v1/config/%00/..", "/api/v1/export/?format=tree", "/api/v1/cluster?a", "/health/ready",
		"/api/v1/history/a/?revision=1", "/api/v1/diff/?from=0&to=1", "/openapi.json",
	} {
		f.Add("GET", s, "Accept: text/plain\nIf-None-Match: \"1\"", "")
		f.Add("PUT", s, "If-Match: *\nConfman-Comment: why", "1")
	}
	f.Add("PATCH", "/api/v1/config/a", asPatch, `[{"op":"add","path":"/a","value":1}]`)
	f.Add("PATCH", "/api/v1/config/a", asMerge, `{"a":null}`)
	f.Add("DELETE", "/api/v1/config/a/?recursive=true&chunked=true", "", "")
	f.Add("POST", "/api/v1/import/a?escape=-&file=f", ndjson[0], `{"path":"a/b","value":"AA==","encoding":"base64"}`)
	f.Add("POST", "/api/v1/import", "", `{"a":{"":1,"b":[]}}`)
	f.Add("POST", "/api/v1/import", asYAML[0], "a: {\"\": 1, b: [x, 0x1F]}")
	f.Add("POST", "/api/v1/txn", keyed, `{"compare":[{"path":"a","exists":false}],"then":[{"put":"a","value":1},{"get":"a/b"}],"else":[{"delete":"a/"}]}`)
	f.Add("POST", "/api/v1/txn", "", `{"compare":[{"path":"a","value":"AA==","encoding":"base64"}]}`)
	f.Add("POST", "/api/v1/rollback/a/?chunked=true", "", `{"to_revision":0}`)
	f.Add("POST", "/api/v1/rollback", keyed, `{"to_revision":1}`)
	f.Add("PUT", "/api/v1/namespaces/a", keyed, bobEdits)
	f.Add("PUT", "/api/v1/namespaces", "If-None-Match: *", `{"roles":{"r":["read"]},"denied":["cert:x"],"settings":{"keep_versions":2}}`)
	f.Add("GET", "/api/v1/namespaces/?recursive=true&limit=1", "", "")
	f.Add("DELETE", "/api/v1/namespaces/a/", `If-Match: "1"`, "")
	f.Add("GET", "/api/v1/audit?path=a/&since=2026-01-23T10:00:00Z&until=9999-12-31T23:59:59Z", "Accept: application/x-ndjson", "")
	f.Add("GET", "/api/v1/audit?principal=anonymous&limit=1", "", "")
	f.Add("GET", "/api/v1/whoami", "", "")
	f.Add("GET", "/api/v1/history?verify=true", "Accept-Encoding: gzip", "")
	f.Add("GET", "/api/v1/config/a/?recursive=true&format=tree", "Accept: application/yaml\n"+asOf, "")
	f.Add("GET", "/api/v1/watch/a?from_revision=0", "Last-Event-ID: 0", "")
	f.Add("GET", "/api/v1/watch/?wait=0s&from_revision=0", "", "")
	fx := newFixture(f)
	checker, err := documentChecker()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, method, raw, header, body string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			u = &url.URL{Path: raw}
		}
		r := (&http.Request{
			Method: method, URL: u, Header: http.Header{}, RemoteAddr: "127.0.0.1:1",
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}).WithContext(t.Context())
		if strings.HasPrefix(u.Path, "/api/v1/watch") { // what is there, and then the client leaves
			ctx, leave := context.WithCancel(t.Context())
			leave()
			r = r.WithContext(ctx)
		}
		for line := range strings.SplitSeq(header, "\n") {
			if name, value, ok := strings.Cut(line, ": "); ok {
				r.Header.Add(name, value)
			}
		}
		sent := r.Clone(r.Context())
		w := httptest.NewRecorder()
		fx.ServeHTTP(w, r)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, w.Body)
		require.NotEmpty(t, w.Header().Get("Confman-Revision"))
		_, in := checker.refusal(sent, body)
		require.Empty(t, checker.answered(sent, in, w))
		if rest, ok := strings.CutPrefix(u.Path, config+"/"); ok && method == "PUT" && w.Code < 300 {
			require.NoError(t, fsm.ValidateKey(rest))
			require.NotContains(t, strings.ToLower(u.RawPath), "%2f")
		}
	})
}

// FuzzTarget: a path that is taken is a key or a subtree, spelled as it was sent, and is the
// same when it is sent again.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"", "/", "/a", "/a/", "/a%2fb", "/a%2Fb/", "/a//b", "/./a", "/a/%2E", "/%ff", "/a%00", "/\u00e9/%c3%a9", "/a%25b", "/" + strings.Repeat("a/", 33)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		u, err := url.ParseRequestURI(config + escaped)
		if err != nil {
			return
		}
		param, ok := strings.CutPrefix(u.Path, config)
		if !ok || param != "" && param[0] != '/' { // of another route
			return
		}
		got, err := parseTarget(u, param)
		if err != nil {
			require.Equal(t, kindInvalidPath.name, problemOf(err).name)
			return
		}
		if got.key != "" {
			require.NoError(t, fsm.ValidateKey(got.key))
		}
		require.Equal(t, strings.TrimPrefix(param, "/"), strings.TrimPrefix(got.String(), "/"))
		require.Equal(t, strings.Count(u.EscapedPath(), "/"), strings.Count(u.Path, "/"), "a slash came out of an escape")
		again := &url.URL{Path: config + "/" + strings.TrimPrefix(got.String(), "/")}
		parsed, err := url.ParseRequestURI(again.EscapedPath())
		require.NoError(t, err)
		same, err := parseTarget(parsed, strings.TrimPrefix(parsed.Path, config))
		require.NoError(t, err)
		require.Equal(t, got, same)
		// What is below the subtree, and nothing else, lies between prefix and end.
		if end := got.end(); end != "" {
			require.Less(t, got.prefix(), end)
			require.Less(t, got.prefix()+"\U0010ffff", end)
		}
	})
}

// FuzzQuery reads any query as each route would: what is taken is as net/url reads it, and
// within its limits.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{
		"", "recursive=true&limit=3", "limit=%31", "&&limit", "cursor=a&cursor=b", "a;b=c", "max_staleness=1e9h", "max_staleness=NaN",
		"from=1&to=18446744073709551615", "chunked=true", "revision=0&min_revision=+1", "format=tree&escape=%2D&file=", "limit=-0",
	} {
		f.Add(s)
	}
	lists := [][]string{noParams, keyParams, listParams, exportParams, importParams, treeParams, chunkParams, historyParams, diffParams, watchParams, namespaceParams, auditParams, whoParams}
	f.Fuzz(func(t *testing.T, raw string) {
		want, wantErr := url.ParseQuery(raw)
		for _, list := range lists {
			q, err := parseQuery(raw, list)
			if err != nil {
				require.Equal(t, kindInvalidParameter.name, problemOf(err).name)
				continue
			}
			require.NoError(t, wantErr, "taken, though net/url refuses it")
			for name := range want {
				require.Contains(t, list, name, "a parameter was ignored")
			}
			for _, name := range list {
				v, ok := q.get(name)
				require.Equal(t, want.Has(name), ok)
				require.Equal(t, want.Get(name), v)
			}
			withinLimits(t, &q)
		}
	})
}

func withinLimits(t *testing.T, q *query) {
	t.Helper()
	fr, err := q.freshness(DefaultMaxStaleness)
	if err == nil {
		require.True(t, fr.maxStaleness > 0 && fr.maxStaleness <= MaxMaxStaleness)
	}
	if l, err := q.listing(target{}, &fr); err == nil {
		require.True(t, l.limit >= 1 && l.limit <= MaxPage)
		require.Equal(t, l.resumed, l.after != "", "a cursor names a place")
	}
	for _, name := range q.names {
		v, ok := q.get(name)
		if n, given, err := q.revision(name); err == nil && given {
			require.True(t, ok)
			require.Equal(t, strings.TrimLeft(v, "0"), strings.TrimLeft(strconv.FormatUint(uint64(n), 10), "0"), "a sign, a space or a base was taken")
		}
		if yes, err := q.flag(name); err == nil {
			require.Equal(t, v == "true", yes)
		}
		if d, given, err := q.duration(name, MinHeartbeat, MaxHeartbeat); err == nil && given {
			require.True(t, d >= MinHeartbeat && d <= MaxHeartbeat)
		}
	}
}

// FuzzCursor: a cursor that is taken is one that was given out, for the same query.
func FuzzCursor(f *testing.F) {
	for _, scope := range []string{"keys a/", "history a", "diff 0 a/"} {
		f.Add(cursor{revision: 7, last: "a/b"}.encode(scope), scope)
		f.Add(cursor{revision: 7, last: "3.1"}.encode(scope), "children a/")
	}
	f.Add("AQ", "keys ")
	f.Fuzz(func(t *testing.T, text, scope string) {
		c, err := parseCursor(text, scope)
		if err != nil {
			require.Equal(t, kindInvalidCursor.name, problemOf(err).name)
			return
		}
		require.Equal(t, text, c.encode(scope))
		if p, err := parsePlace(c.last); err == nil {
			require.True(t, p.revision > 0 && p.events >= 0)
		}
	})
}

// FuzzConditions: what is taken for a condition demands what the header says.
func FuzzConditions(f *testing.F) {
	for _, s := range []string{"", "*", `"1"`, `"01"`, `W/"1"`, `"1", "2"`, `"18446744073709551616"`, `""`, `"`} {
		f.Add(s, "")
		f.Add("", s)
	}
	f.Fuzz(func(t *testing.T, match, none string) {
		h := http.Header{}
		if match != "" {
			h.Set("If-Match", match)
		}
		if none != "" {
			h.Set("If-None-Match", none)
		}
		if c, err := writeCondition(h); err == nil {
			match, none = strings.TrimSpace(match), strings.TrimSpace(none)
			switch c.kind {
			case fsm.RevisionIs:
				require.True(t, strings.HasPrefix(match, `"`+strconv.FormatUint(uint64(c.revision), 10)), match)
			case fsm.KeyExists:
				require.Equal(t, "*", match)
			case fsm.KeyAbsent:
				require.Equal(t, "*", none)
			default:
				require.Empty(t, h)
			}
		} else {
			require.Equal(t, kindInvalidCondition.name, problemOf(err).name)
		}
		q := quality([]string{match}, typeJSON)
		require.True(t, q >= 0 && q <= 1)
	})
}

// FuzzNamespace: what is taken for a namespace is one, and is read back as it was written.
func FuzzNamespace(f *testing.F) {
	for _, s := range []string{
		"{}", bobEdits, `{"owner":"\u00e9\n","description":"","settings":{"keep_versions":1}}`,
		`{"roles":{"b":["audit"],"a":["read","read"]},"denied":["cert:b","cert:a","cert:a"],"bindings":[{"role":"z","subjects":[]},{"role":"a","subjects":["app:i/x"]}]}`,
		`{"settings":{}}{}`, `{"bindings":[{"role":"viewer","role":"x"}]}`,
	} {
		f.Add([]byte(s), "")
		f.Add([]byte(s), "a/")
	}
	f.Fuzz(func(t *testing.T, text []byte, prefix string) {
		if prefix != "" {
			prefix = "a/"
		}
		n, fault := parseNamespace(text, prefix)
		if fault != nil {
			require.LessOrEqual(t, fault.offset, len(text))
			return
		}
		require.True(t, json.Valid(text))
		stored, err := fsm.DecodeNamespace(prefix, n.Encode())
		if err != nil { // as a whole it is too large
			require.ErrorAs(t, err, new(*fsm.LimitError))
			return
		}
		shown := appendNamespace(nil, &fsm.NamespaceRecord{Path: prefix, Namespace: *stored, Revision: 1})
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(shown, &members))
		for _, name := range []string{"path", "revision", "create_revision", "modified_at", "modified_by"} {
			delete(members, name)
		}
		again, err := json.Marshal(members)
		require.NoError(t, err)
		back, fault := parseNamespace(again, prefix)
		require.Nil(t, fault)
		require.Equal(t, n.Encode(), back.Encode())
	})
}
