package httpapi

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	site     = "https://ui.example.com"
	stranger = "https://evil.example.com"
)

// allowed is what an answer says to browsers.
func allowed(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		if after, ok := strings.CutPrefix(name, "Access-Control-"); ok {
			out[after] = strings.Join(values, "|")
		}
	}
	return out
}

// admit configures the API with origins.
func (f *fixture) admit(origins ...string) {
	f.tb.Helper()
	f.Origins = origins
	var err error
	f.api.pages, err = f.writers()
	require.NoError(f.tb, err)
}

func TestCORSIsOff(t *testing.T) {
	f := newFixture(t)
	for _, method := range []string{"GET", "OPTIONS"} {
		w := f.ok(method, config+"/", "", "Origin: "+site, "Access-Control-Request-Method: GET")
		assert.Empty(t, allowed(w.Header()))
		assert.NotContains(t, w.Header().Get("Vary"), "Origin")
	}
}

func TestCORS(t *testing.T) {
	f := newFixture(t)
	f.admit(site, "http://localhost:3000")
	seen := map[string]string{"Allow-Origin": site, "Expose-Headers": corsAnswerHeaders[0]}
	for _, c := range []struct {
		name, method, target, vary string
		status                     int
	}{
		{"a write", "PUT", config + "/a", "Origin", 201},
		{"a value", "GET", config + "/a", "Accept, Accept-Datetime, Accept-Encoding, Origin", 200},
		{"an export", "GET", "/api/v1/export/", "Accept, Accept-Datetime, Accept-Encoding, Origin", 200},
		{"an error", "GET", config + "/none", "Origin", 404},
		{"no route", "GET", "/none", "Origin", 404},
		{"health", "GET", "/health/ready", "Origin", 200},
	} {
		body := ""
		if c.method == "PUT" {
			body = "1"
		}
		w := f.do(c.method, c.target, body, "Origin: "+site)
		assert.Equal(t, c.status, w.Code, c.name)
		assert.Equal(t, seen, allowed(w.Header()), c.name)
		assert.Equal(t, []string{c.vary}, w.Header()["Vary"], c.name)
		for _, origin := range []string{stranger, "null", "*", site + ".evil.com", "HTTPS://ui.example.com"} {
			w = f.do(c.method, c.target, body, "Origin: "+origin)
			assert.Equal(t, c.method == "PUT", w.Code == http.StatusForbidden, c.name)
			assert.Empty(t, allowed(w.Header()), c.name)
			assert.Equal(t, []string{c.vary}, w.Header()["Vary"], c.name)
		}
		w = f.do(c.method, c.target, body)
		assert.Empty(t, allowed(w.Header()), c.name)
		assert.Equal(t, []string{c.vary}, w.Header()["Vary"], "a cache must not give this to a page")
	}
	w := f.do("GET", config+"/a", "", "Origin: "+site, "Origin: "+stranger)
	assert.Empty(t, allowed(w.Header()), "two origins are none")
	for _, name := range []string{"Confman-Revision", "ETag", "X-Request-Id", "Idempotency-Replayed"} {
		assert.Contains(t, corsAnswerHeaders[0], name)
	}
}

func TestPreflight(t *testing.T) {
	f := newFixture(t)
	f.admit(site)
	asks := []string{"Origin: " + site, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: if-match"}
	w := f.do("OPTIONS", config+"/a", "", asks...)
	assert.Equal(t, http.StatusNoContent, w.Code)
	assert.Equal(t, map[string]string{
		"Allow-Origin": site, "Expose-Headers": corsAnswerHeaders[0], "Max-Age": "600",
		"Allow-Methods": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", "Allow-Headers": corsRequestHeaders[0],
	}, allowed(w.Header()))
	assert.Equal(t, []string{"Origin"}, w.Header()["Vary"])
	assert.Equal(t, "OPTIONS, POST", f.do("OPTIONS", "/api/v1/import/a", "", asks...).Header().Get("Access-Control-Allow-Methods"))
	w = f.do("OPTIONS", config+"/a", "", "Origin: "+stranger, asks[1])
	assert.Equal(t, http.StatusNoContent, w.Code)
	assert.Empty(t, allowed(w.Header()))
	assert.Empty(t, f.do("OPTIONS", config+"/a", "", "Origin: "+site).Header()["Access-Control-Allow-Methods"], "it did not ask")
	assert.Equal(t, http.StatusNotFound, f.do("OPTIONS", "/none", "", asks...).Code)
	assert.Empty(t, f.node.commands)
}

// TestCORSForAll: who lets everybody in lets everybody read.
func TestCORSForAll(t *testing.T) {
	f := newFixture(t)
	f.admit(site, "*")
	f.ok("PUT", config+"/a", "1")
	assert.Equal(t, "*", allowed(f.do("GET", config+"/a", "", "Origin: "+stranger).Header())["Allow-Origin"])
	assert.Empty(t, allowed(f.do("PUT", config+"/a", "2", "Origin: "+stranger).Header()))
	assert.Equal(t, site, allowed(f.do("PUT", config+"/a", "2", "Origin: "+site).Header())["Allow-Origin"])
	w := f.do("OPTIONS", config+"/a", "", "Origin: "+stranger, "Access-Control-Request-Method: PUT")
	assert.Equal(t, "GET, HEAD", w.Header().Get("Access-Control-Allow-Methods"))
	assert.Equal(t, "*", w.Header().Get("Access-Control-Allow-Origin"))
	assert.Empty(t, w.Header().Get("Access-Control-Allow-Credentials"))
	w = f.do("OPTIONS", config+"/a", "", "Origin: "+site, "Access-Control-Request-Method: PUT")
	assert.Contains(t, w.Header().Get("Access-Control-Allow-Methods"), "PUT")
}

// TestForeignWrites: browsers send some writes of any page without asking first. They say whose they are.
func TestForeignWrites(t *testing.T) {
	for _, origins := range [][]string{nil, {site}, {site, "*"}} {
		f := newFixture(t)
		f.admit(origins...)
		for _, r := range []struct{ name, target, body string }{
			{"a transaction", "/api/v1/txn", `{"then":[{"put":"a","value":1}]}`},
			{"a rollback", "/api/v1/rollback/", `{"to_revision":0}`},
			{"an import", "/api/v1/import/", `{"a":1}`},
		} {
			for _, from := range [][]string{
				{"Origin: " + stranger},
				{"Origin: null"},
				{"Origin: " + stranger, "Sec-Fetch-Site: cross-site"},
				{"Origin: http://other.example.com", "Sec-Fetch-Site: same-site"},
			} {
				w := f.do("POST", r.target, r.body, append(from, "Content-Type: application/x-www-form-urlencoded")...)
				assert.Equal(t, http.StatusForbidden, w.Code, "%s from %s", r.name, from)
			}
			assert.Empty(t, f.node.commands, r.name)
		}
		for _, from := range []string{"Origin: http://example.com", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: none"} {
			f.ok("PUT", config+"/a", "1", from) // example.com is httptest's own
		}
		if origins != nil {
			f.ok("PUT", config+"/a", "1", "Origin: "+site, "Sec-Fetch-Site: cross-site")
		}
		f.ok("GET", config+"/a", "", "Origin: "+stranger, "Sec-Fetch-Site: cross-site")
	}
	_, err := Config{Origins: []string{"https://ui.example.com/path"}}.writers()
	assert.ErrorContains(t, err, "httpapi: Origins")
}
