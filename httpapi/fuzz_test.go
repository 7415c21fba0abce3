package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

// FuzzRequest takes any path and query through the router: every answer is one
// of ours, and what is taken for a key is one.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"/api/v1/config/a/b?consistency=local", "/api/v1/config/a%2Fb", "/api/v1/config/a/?recursive=true&limit=3&cursor=AQ",
		"/api/v1/config", "", "*", "//", "/api/v1/config/%00/..", "/api/v1/export/?format=tree", "/api/v1/cluster?a", "/health/ready",
	} {
		f.Add("GET", s)
		f.Add("PUT", s)
	}
	fx := newFixture(f)
	f.Fuzz(func(t *testing.T, method, raw string) {
		u, err := url.ParseRequestURI(raw)
		if err != nil {
			u = &url.URL{Path: raw}
		}
		r := (&http.Request{Method: method, URL: u, Header: http.Header{}, Body: http.NoBody, RemoteAddr: "127.0.0.1:1"}).WithContext(t.Context())
		w := httptest.NewRecorder()
		fx.ServeHTTP(w, r)
		require.NotEqual(t, http.StatusInternalServerError, w.Code, w.Body)
		require.NotEmpty(t, w.Header().Get("Confman-Revision"))
		if rest, ok := strings.CutPrefix(u.Path, config+"/"); ok && method == "PUT" && w.Code < 300 {
			require.NoError(t, fsm.ValidateKey(rest))
			require.NotContains(t, strings.ToLower(u.RawPath), "%2f")
		}
	})
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "recursive=true&limit=3", "limit=%31", "&&limit", "cursor=a&cursor=b", "a;b=c", "max_staleness=1e9h", "max_staleness=NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, listParams)
		want, wantErr := url.ParseQuery(raw)
		if err != nil {
			return
		}
		require.NoError(t, wantErr, "taken, though net/url refuses it")
		for _, name := range listParams {
			v, ok := q.get(name)
			require.Equal(t, want.Has(name), ok)
			require.Equal(t, want.Get(name), v)
		}
		fr, err := q.freshness(DefaultMaxStaleness)
		if err == nil {
			require.True(t, fr.maxStaleness > 0 && fr.maxStaleness <= MaxMaxStaleness)
		}
		if l, err := q.listing(target{}, &fr); err == nil {
			require.True(t, l.limit >= 1 && l.limit <= MaxPage)
		}
	})
}
