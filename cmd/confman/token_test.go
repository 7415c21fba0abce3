package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCommandsSayWhoCalls: by the environment or a file, and nothing that they print tells it.
func TestCommandsSayWhoCalls(t *testing.T) {
	var shown []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		shown = append(shown, token)
		w.Header().Set("Content-Type", "application/problem+json")
		if token == "s3cret-reader" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"type":"urn:confman:problem:forbidden","detail":"you lack write on a","outcome":"not_applied"}`))
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"type":"urn:confman:problem:unauthenticated","detail":"there is no token","outcome":"not_applied"}`))
	}))
	defer s.Close()
	dir := t.TempDir()
	file, other := filepath.Join(dir, "token"), filepath.Join(dir, "other")
	require.NoError(t, os.WriteFile(file, []byte("s3cret-reader\n"), 0o600))
	require.NoError(t, os.WriteFile(other, []byte("s3cret-other\n"), 0o600))
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		shown   string
		code    int
		says    string
	}{
		{"nobody", nil, nil, "", exitDenied, "confman: say who you are: a valid token in $CONFMAN_TOKEN or --token-file"},
		{"variable", []string{"CONFMAN_TOKEN=s3cret-reader"}, nil, "s3cret-reader", exitDenied, "confman: confman whoami tells who you are to the cluster"},
		{"file of a variable", []string{"CONFMAN_TOKEN_FILE=" + other}, nil, "s3cret-other", exitDenied, "there is no token (unauthenticated)"},
		{"token before file", []string{"CONFMAN_TOKEN_FILE=" + other, "CONFMAN_TOKEN=s3cret-reader"}, nil, "s3cret-reader", exitDenied, "you lack write on a"},
		{"flag before all", []string{"CONFMAN_TOKEN=s3cret-other"}, []string{"--token-file", file}, "s3cret-reader", exitDenied, "you lack write on a"},
		{"no file", nil, []string{"--token-file", file + "s"}, "-", exitDenied, "no token to send: stat " + file + "s: no such file"},
		{"beyond this machine", []string{"CONFMAN_TOKEN=s3cret-reader"}, []string{"--endpoints", "http://192.0.2.1:5000"}, "-", exitUsage, "--plain-text-token"},
		{"certificate without a key", nil, []string{"--cert", file}, "-", exitUsage, "both are needed, or none"},
		{"certificate that is none", []string{"CONFMAN_CERT=" + file, "CONFMAN_KEY=" + file}, nil, "-", exitUsage, "client: certificate " + file},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown = nil
			var out, errs bytes.Buffer
			e := env{in: strings.NewReader(""), out: &out, err: &errs, environ: append(c.environ, endpointsVariable+"="+s.URL)}
			code := run(t.Context(), e, append([]string{"put", "a", "1"}, c.args...))
			assert.Equal(t, c.code, code)
			assert.Contains(t, errs.String(), c.says)
			assert.NotContains(t, out.String()+errs.String(), "s3cret")
			if c.shown == "-" {
				assert.Empty(t, shown)
			} else {
				assert.Equal(t, []string{c.shown}, shown)
			}
		})
	}
}
