package httpapi

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

func TestPutAndGet(t *testing.T) {
	f := newFixture(t)
	w := f.do("PUT", config+"/teams/pay/timeout-ms", "30", "Confman-Comment: slower bank")
	require.Equal(t, http.StatusCreated, w.Code)
	assert.Equal(t, `"1"`, w.Header().Get("ETag"))
	assert.Equal(t, "1", w.Header().Get("Confman-Revision"))
	assert.JSONEq(t, `{"path":"teams/pay/timeout-ms","content_type":"application/json","revision":1,"created":true,"changed":true}`, w.Body.String())

	cmd := f.node.commands[0]
	assert.Equal(t, "slower bank", cmd.Comment)
	assert.Equal(t, "test-1", cmd.RequestID)
	assert.Equal(t, f.now.UnixNano(), cmd.AcceptedAt)
	assert.Equal(t, netip.MustParseAddr("192.0.2.1"), cmd.Source)

	w = f.do("GET", config+"/teams/pay/timeout-ms", "")
	require.Equal(t, http.StatusOK, w.Code)
	want := http.Header{
		"Cache-Control":     {"no-cache"},
		"Confman-Leader":    {"node1"},
		"Confman-Node":      {"node1"},
		"Confman-Revision":  {"1"},
		"Confman-Staleness": {"0.012"},
		"Content-Length":    {w.Header().Get("Content-Length")},
		"Content-Type":      {"application/json"},
		"Etag":              {`"1"`},
		"Vary":              {"Accept, Accept-Datetime, Accept-Encoding"},
		"X-Request-Id":      {"test-1"},
	}
	assert.Equal(t, want, w.Header())
	by := f.record("teams/pay/timeout-ms").ModifiedBy
	assert.JSONEq(t, `{"path":"teams/pay/timeout-ms","value":30,"content_type":"application/json","revision":1,
		"create_revision":1,"version":1,"modified_at":"2026-01-23T10:00:00Z","modified_by":"`+by+`"}`, w.Body.String())

	assert.Equal(t, http.StatusOK, f.do("PUT", config+"/teams/pay/timeout-ms", "31").Code)
	w = f.do("PUT", config+"/teams/pay/timeout-ms", "31")
	assert.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"path":"teams/pay/timeout-ms","content_type":"application/json","revision":2,"created":false,"changed":false}`, w.Body.String())
	assert.Equal(t, `"2"`, w.Header().Get("ETag"))

	w = f.do("DELETE", config+"/teams/pay/timeout-ms", "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"path":"teams/pay/timeout-ms","revision":3,"changed":true}`, w.Body.String())
	assert.Equal(t, "3", w.Header().Get("Confman-Revision"))
	w = f.do("GET", config+"/teams/pay/timeout-ms", "")
	assert.Equal(t, http.StatusNotFound, w.Code)
	assert.Equal(t, "3", w.Header().Get("Confman-Revision"))
}

// record reads a key from the store itself.
func (f *fixture) record(key string) fsm.Record {
	f.tb.Helper()
	v, err := f.node.store.View()
	require.NoError(f.tb, err)
	defer v.Close()
	rec, ok, err := v.Get(key)
	require.NoError(f.tb, err)
	require.True(f.tb, ok, key)
	return rec
}

func TestContentTypes(t *testing.T) {
	cases := []struct {
		name, header, body string
		want               string // stored
		json               string // value, and encoding, in an answer
		form               form
	}{
		{"number", "", "30", typeJSON, `"value":30,`, formJSON},
		{"number text is kept", "", "1.50e+3", typeJSON, `"value":1.50e+3,`, formJSON},
		{"space is kept", "", " {\"a\": [1]}\n", typeJSON, "\"value\": {\"a\": [1]}\n,", formJSON},
		{"curl -d", typeForm, `{"a":1}`, typeJSON, `"value":{"a":1},`, formJSON},
		{"curl -d of text", typeForm, "a=1", typeText, `"value":"a=1",`, formText},
		{"text", "", "grüß \"dich\"\t\x01", typeText, `"value":"grüß \"dich\"\t\u0001",`, formText},
		{"nothing", "", "", typeText, `"value":"",`, formText},
		{"octets", "", "\xff\x00", typeOctets, `"value":"/wA=","encoding":"base64",`, formOctets},
		{"kept type", "application/toml", "a = 1", "application/toml", `"value":"a = 1",`, formText},
		{"kept parameters", "text/plain; charset=latin1", "\xe9", "text/plain; charset=latin1", `"value":"6Q==","encoding":"base64",`, formOctets},
		{"octets that are text", typeOctets, "abc", typeOctets, `"value":"YWJj","encoding":"base64",`, formOctets},
		{"json suffix", "application/schema+json; v=1", "true", "application/schema+json; v=1", `"value":true,`, formJSON},
		{"json as text", "text/plain", "30", "text/plain", `"value":"30",`, formText},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			var headers []string
			if tc.header != "" {
				headers = []string{"Content-Type: " + tc.header}
			}
			f.ok("PUT", config+"/k", tc.body, headers...)
			rec := f.record("k")
			assert.Equal(t, tc.want, rec.ContentType)
			assert.Equal(t, tc.body, string(rec.Value))
			assert.Equal(t, tc.form, formOf(rec.ContentType, rec.Value))
			w := f.ok("GET", config+"/k", "")
			assert.Contains(t, w.Body.String(), tc.json)
			decoded(t, w)
			for accept, contentType := range map[string]string{"text/plain": typeText, typeOctets: typeOctets} {
				w = f.ok("GET", config+"/k", "", "Accept: "+accept)
				assert.Equal(t, tc.body, w.Body.String())
				assert.Equal(t, contentType, w.Header().Get("Content-Type"))
				assert.Equal(t, tc.want, w.Header().Get("Confman-Content-Type"))
				assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
			}
		})
	}
}

func TestAccepted(t *testing.T) {
	cases := []struct {
		name   string
		accept []string
		want   int
	}{
		{"none", nil, 0},
		{"anything", []string{"*/*"}, 0},
		{"a browser", []string{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, 0},
		{"text", []string{"text/plain"}, 1},
		{"any text", []string{"text/*"}, 1},
		{"text over JSON", []string{"application/json;q=0.5, text/plain;q=0.6"}, 1},
		{"two lines", []string{"image/png", "Application/Octet-Stream"}, 2},
		{"the specific range decides", []string{"*/*, application/json;q=0.1"}, 1},
		{"everything but JSON and text", []string{"application/json;q=0, text/plain;q=0, */*"}, 2},
		{"a weight that cannot be read", []string{"text/plain;q=x, application/json;q=0.9"}, 1},
		{"nothing here", []string{"image/png"}, -1},
		{"refused", []string{"*/*;q=0"}, -1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			r := &http.Request{Header: http.Header{}}
			if tc.accept != nil {
				r.Header["Accept"] = tc.accept
			}
			assert.Equal(t, tc.want, accepted(r, valueTypes...))
		})
	}
}

func TestConditionalReads(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	f.ok("PUT", config+"/b", "1") // revision 2
	cases := []struct {
		name, header, value string
		want                int
	}{
		{"same", "If-None-Match", `"2"`, 304},
		{"weak", "If-None-Match", `W/"2"`, 304},
		{"one of several", "If-None-Match", `"1", "x", W/"2"`, 304},
		{"star", "If-None-Match", "*", 304},
		{"other", "If-None-Match", `"1"`, 200},
		{"no etag of ours", "If-None-Match", `"02"`, 200},
		{"match", "If-Match", `"1", "2"`, 200},
		{"match star", "If-Match", "*", 200},
		{"match fails", "If-Match", `"1"`, 412},
		{"match weak fails", "If-Match", `W/"2"`, 412},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				w := f.do(method, config+"/b", "", tc.header+": "+tc.value)
				assert.Equal(t, tc.want, w.Code)
				assert.Equal(t, "2", w.Header().Get("Confman-Revision"))
				if tc.want == 304 {
					assert.Empty(t, w.Body.String())
					assert.Empty(t, w.Header().Get("Content-Length"))
					assert.Equal(t, `"2"`, w.Header().Get("ETag"))
				}
			}
		})
	}
}

func TestConditionalWrites(t *testing.T) {
	f := newFixture(t)
	assert.Equal(t, 201, f.do("PUT", config+"/a", "1", "If-None-Match: *").Code)
	assert.Equal(t, 412, f.do("PUT", config+"/a", "2", "If-None-Match: *").Code)
	assert.Equal(t, 200, f.do("PUT", config+"/a", "2", `If-Match: "1"`).Code)
	w := f.do("PUT", config+"/a", "3", `If-Match: "1"`)
	assert.Equal(t, 412, w.Code)
	assert.Equal(t, "2", w.Header().Get("Confman-Revision"))
	assert.EqualValues(t, "2", decoded(t, w)["current_revision"])
	assert.Equal(t, 200, f.do("PUT", config+"/a", "3", "If-Match: *").Code)
	assert.Equal(t, 412, f.do("PUT", config+"/b", "3", "If-Match: *").Code)
	assert.Equal(t, 412, f.do("DELETE", config+"/a", "", `If-Match: "2"`).Code)
	assert.Equal(t, 200, f.do("DELETE", config+"/a", "", `If-Match: "3"`).Code)
	assert.Equal(t, 412, f.do("DELETE", config+"/a", "", "If-Match: *").Code)
}

func TestHead(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	get, head := f.ok("GET", config+"/a", ""), f.ok("HEAD", config+"/a", "")
	assert.Equal(t, get.Header(), head.Header())
	assert.Empty(t, head.Body.String())
}

func TestConsistency(t *testing.T) {
	cases := []struct {
		name       string
		query      string
		proof      standing
		linearized int
		linErr     error
		pass       time.Duration // on the clock while the quorum is asked
		want       int
		staleness  string
	}{
		{name: "bounded and fresh", proof: standing{age: 5 * time.Second, fresh: true}, want: 200, staleness: "5.000"},
		{name: "bounded and too old", proof: standing{age: 5*time.Second + 1, fresh: true}, linearized: 1, want: 200, staleness: "0.000"},
		{name: "bounded and unknown", proof: standing{}, linearized: 1, want: 200, staleness: "0.000"},
		{name: "bounded by the request", query: "max_staleness=10ms", proof: standing{age: 11 * time.Millisecond, fresh: true}, linearized: 1, pass: time.Millisecond, want: 200, staleness: "0.002"},
		{name: "bounded by the request in seconds", query: "max_staleness=0.5", proof: standing{age: 500 * time.Millisecond, fresh: true}, want: 200, staleness: "0.500"},
		{name: "bounded, the quorum answers too late", query: "max_staleness=10ms", linearized: 1, pass: 20 * time.Millisecond, want: 503, staleness: "0.021"},
		{name: "bounded without a quorum", proof: standing{age: time.Minute, fresh: true}, linearized: 1, linErr: node.ErrNoQuorum, want: 503, staleness: "60.000"},
		{name: "local and unknown", query: "consistency=local", want: 200, staleness: "unknown"},
		{name: "local without a quorum", query: "consistency=local", linErr: node.ErrNoQuorum, proof: standing{age: time.Hour, fresh: true}, want: 200, staleness: "3600.000"},
		{name: "linearizable", query: "consistency=linearizable", proof: standing{age: time.Nanosecond, fresh: true}, linearized: 1, pass: time.Second, want: 200, staleness: "0.001"},
		{name: "linearizable without a quorum", query: "consistency=linearizable", linearized: 1, linErr: node.ErrNoQuorum, want: 503, staleness: "0.025"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			for _, target := range []string{config + "/a", config + "/", "/api/v1/export/a", "/api/v1/export/?format=ndjson"} {
				f := newFixture(t)
				f.ok("PUT", config+"/a", "1")
				f.proof, f.node.linearizeErr = tc.proof, tc.linErr
				start := f.now
				f.Now = func() time.Time { // later each time it is asked
					start = start.Add(tc.pass)
					return start
				}
				if tc.query != "" {
					target += map[bool]string{true: "&", false: "?"}[strings.Contains(target, "?")] + tc.query
				}
				w := f.do("GET", target, "")
				assert.Equal(t, tc.want, w.Code, target)
				assert.Equal(t, tc.linearized, f.node.linearized, target)
				assert.Equal(t, tc.staleness, w.Header().Get("Confman-Staleness"), target)
				assert.Equal(t, "1", w.Header().Get("Confman-Revision"), target)
			}
		})
	}
}

// TestAgeIsTakenAfterTheRead: a proof read before the data would claim too much.
func TestAgeIsTakenAfterTheRead(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	c := &call{api: f.api, r: &http.Request{}}
	c.need(fsm.VerbRead, "a")
	read := false
	f.age = func(node.Freshness) (time.Duration, bool) {
		assert.True(t, read)
		return 0, true
	}
	_, err := c.read(freshness{consistency: local}, func(*fsm.View) error { read = true; return nil })
	require.NoError(t, err)
}

func TestRequestIDs(t *testing.T) {
	f := newFixture(t)
	seen := map[string]bool{}
	for _, sent := range []string{"", "has space", "quote\"", strings.Repeat("x", fsm.MaxRequestIDBytes+1), "umlaut-ä"} {
		r, _ := http.NewRequest("GET", "/health/live", nil)
		r.Header.Set("X-Request-Id", sent)
		w := newRecorder()
		f.ServeHTTP(w, r)
		id := w.Header().Get("X-Request-Id")
		assert.NotEqual(t, sent, id)
		assert.True(t, usableID(id), id)
		assert.False(t, seen[id])
		seen[id] = true
	}
	r, _ := http.NewRequest("GET", "/health/live", nil)
	r.Header.Set("X-Request-Id", "a.B_9:/+=@-")
	w := newRecorder()
	f.ServeHTTP(w, r)
	assert.Equal(t, "a.B_9:/+=@-", w.Header().Get("X-Request-Id"))
}

func TestLeaderHeader(t *testing.T) {
	f := newFixture(t)
	leader := func() string { return f.do("GET", "/health/live", "").Header().Get("Confman-Leader") }
	assert.Equal(t, "node1", leader())
	f.node.status.Leader = 3
	assert.Equal(t, "node3", leader())
	f.node.status.Leader = 0
	assert.Equal(t, unknown, leader())
	f.node.status.Leader = 9 // not a member here yet
	assert.Equal(t, unknown, leader())
	f.node.status.Leader = 1
	assert.Equal(t, "node1", leader())
}

func TestOptions(t *testing.T) {
	f := newFixture(t)
	w := f.do("OPTIONS", config+"/a", "")
	assert.Equal(t, http.StatusNoContent, w.Code)
	assert.Equal(t, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", w.Header().Get("Allow"))
}
