package client_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

func limited(after string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		problem(429, "rate-limited", `,"outcome":"not_applied","retryable":true`)(w, r)
	}
}

// TestRetryAfterIsKept: who asks too often waits as long as it is told to, and does not go to
// another node meanwhile; unless there is no time for that.
func TestRetryAfterIsKept(t *testing.T) {
	written := answer(200, `{"path":"a","content_type":"application/json","revision":5,"created":true,"changed":true}`)
	for _, c := range []struct {
		name     string
		first    http.HandlerFunc
		deadline time.Duration
		want     time.Duration // 0: it fails at once
	}{
		{"a second", limited("1"), 0, time.Second},
		{"long", limited("30"), 0, 30 * time.Second},
		{"in time", limited("30"), time.Minute, 30 * time.Second},
		{"past the deadline", limited("30"), 10 * time.Second, 0},
		{"longer than anybody waits", limited("3600"), 0, 0},
		{"for ever", limited("99999999999999999999"), 0, time.Second},
		{"it does not say", limited(""), 0, time.Second},
		{"nonsense", limited("-5"), 0, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hosts []string
				handler := sequence(c.first, written)
				cl, err := client.New(client.Options{Endpoints: []string{"a", "b"}, HTTP: &http.Client{
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) { // no network: time is the bubble's
						hosts = append(hosts, r.URL.Host)
						w := httptest.NewRecorder()
						handler(w, r)
						return w.Result(), nil
					}),
				}})
				require.NoError(t, err)
				ctx, cancel := context.WithCancel(t.Context())
				if c.deadline > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), c.deadline)
				}
				defer cancel()
				begin := time.Now()
				_, _, err = cl.Put(ctx, "a", []byte("1"), "", client.WriteOptions{})
				took := time.Since(begin)
				if c.want == 0 {
					require.ErrorContains(t, err, "rate-limited")
					assert.Equal(t, client.NotApplied, client.OutcomeOf(err))
					assert.Zero(t, took)
					assert.Len(t, hosts, 1)
					return
				}
				require.NoError(t, err)
				assert.Equal(t, c.want, took)
				assert.Equal(t, "ab", strings.Join(hosts, ""))
			})
		})
	}
}
