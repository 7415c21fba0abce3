package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// server is one endpoint that answers with handler and counts.
type server struct {
	*httptest.Server
	requests atomic.Int64
}

func serve(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// dead is the address of an endpoint that refuses connections.
func dead(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return "http://" + l.Addr().String()
}

// dial makes a client that does not lose time.
func dial(t *testing.T, endpoints ...string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{
		Endpoints: endpoints, MaxAttempts: 6, MinBackoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond,
	})
	require.NoError(t, err)
	return c
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Confman-Revision", "57")
		w.Header().Set("Confman-Staleness", "0.120")
		w.Header().Set("Confman-Node", "node2")
		w.Header().Set("Confman-Leader", "unknown")
		w.Header().Set("X-Request-Id", "r-1")
		w.Header().Set("Content-Type", "application/json")
		if status >= 400 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func problem(status int, name, rest string) http.HandlerFunc {
	return answer(status, fmt.Sprintf(`{"type":"urn:confman:problem:%s","title":"T","status":%d,"detail":"D"%s}`, name, status, rest))
}

// hangUp closes the connection after the request has arrived.
func hangUp(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	panic(http.ErrAbortHandler)
}

const record = `{"path":"a/b","value":30,"content_type":"application/json","revision":42,"create_revision":7,"version":3,"modified_at":"2026-01-23T10:00:00Z","modified_by":"x"}`

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name      string
		endpoints []string
	}{
		{"none", nil},
		{"empty", []string{""}},
		{"another scheme", []string{"ftp://a"}},
		{"no host", []string{"http://"}},
		{"a query", []string{"http://a?b=c"}},
		{"a password", []string{"http://a:b@c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := client.New(client.Options{Endpoints: c.endpoints})
			require.Error(t, err)
		})
	}
	c, err := client.New(client.Options{Endpoints: []string{" 10.0.0.1:5000 ", "https://a/"}})
	require.NoError(t, err)
	assert.Equal(t, []string{"http://10.0.0.1:5000", "https://a"}, c.Endpoints())
}

// TestCAFile: certificates are good if they lead to one in the file, and only then.
func TestCAFile(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"path":"a","value":1,"content_type":"application/json"}`)
	}))
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	file := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	get := func(caFile string) error {
		c, err := client.New(client.Options{Endpoints: []string{s.URL}, CAFile: caFile, MaxAttempts: 1})
		require.NoError(t, err)
		_, _, err = c.Get(t.Context(), "a", client.ReadOptions{})
		return err
	}
	require.NoError(t, get(file))
	require.ErrorContains(t, get(""), "names whom to trust")
	_, err := client.New(client.Options{Endpoints: []string{s.URL}, CAFile: file, HTTP: s.Client()})
	require.ErrorContains(t, err, "both HTTP and CAFile")
	_, err = client.New(client.Options{Endpoints: []string{s.URL}, CAFile: file + ".none"})
	require.ErrorContains(t, err, "no such file")
}

func TestGet(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/v1/config/a%20b/c%2525?consistency=bounded&max_staleness=2s&revision=57", r.URL.EscapedPath()+"?"+r.URL.RawQuery)
		answer(200, record)(w, r)
	})
	rec, meta, err := dial(t, s.URL).Get(t.Context(), "a b/c%25", client.ReadOptions{Consistency: client.Bounded, MaxStaleness: 2 * time.Second, Revision: 57})
	require.NoError(t, err)
	assert.Equal(t, client.Record{
		Path: "a/b", Value: []byte("30"), ContentType: "application/json", Revision: 42, CreateRevision: 7, Version: 3,
		ModifiedAt: time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC), ModifiedBy: "x",
	}, rec)
	assert.Equal(t, client.Meta{Revision: 57, Staleness: 120 * time.Millisecond, Fresh: true, Node: "node2", RequestID: "r-1"}, meta)
}

func TestRecordsKeepTheirBytes(t *testing.T) {
	for _, c := range []struct{ name, contentType, value, json string }{
		{"json", "application/json", `{"a": 1.0}`, `{"a": 1.0}`},
		{"json of another type", "application/merge-patch+json; charset=utf-8", `1e400`, `1e400`},
		{"json with line breaks", "application/json", "[1,\n2]", `"WzEsCjJd","encoding":"base64"`},
		{"text", "text/plain; charset=utf-8", "a\"b\\\n\u2028", `"a\"b\\\u000a` + "\u2028" + `"`},
		{"text that is none", "text/plain", "\xff", `"/w==","encoding":"base64"`},
		{"octets", "application/octet-stream", "ab", `"YWI=","encoding":"base64"`},
		{"nothing", "text/plain", "", `""`},
		{"no content type", "", "x", `"x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			rec := client.Record{Path: "p", Value: []byte(c.value), ContentType: c.contentType}
			text := rec.AppendJSON(nil)
			assert.Equal(t, fmt.Appendf(nil, `{"path":"p","value":%s,"content_type":%q}`, c.json, c.contentType), text, "byte for byte")
			var back client.Record
			require.NoError(t, json.Unmarshal(text, &back))
			assert.Equal(t, rec, back)
		})
	}
}

func TestKeysAreCheckedBeforeAnythingIsSent(t *testing.T) {
	c := dial(t, dead(t))
	var key *client.KeyError
	_, _, err := c.Get(t.Context(), "a//b", client.ReadOptions{})
	require.ErrorAs(t, err, &key)
	_, _, err = c.Put(t.Context(), "", nil, "", client.WriteOptions{})
	require.ErrorAs(t, err, &key)
	for _, err := range c.List(t.Context(), "../x", client.ListOptions{}) {
		require.ErrorAs(t, err, &key)
	}
}

// What each answer, or none, means for a read, a write without a key, and one with a key.
func TestRetries(t *testing.T) {
	const once, always = 1, 6
	for _, c := range []struct {
		name               string
		answer             http.HandlerFunc // nil: connections are refused
		read, write, keyed int64            // attempts
		outcome            client.Outcome   // of the writes
	}{
		{"refused connection", nil, always, always, always, client.NotApplied},
		{"hang-up", hangUp, always, once, always, client.Unknown},
		{"retryable, not applied", problem(503, "overloaded", `,"outcome":"not_applied","retryable":true`), always, always, always, client.NotApplied},
		{"retryable, unknown", problem(503, "no-quorum", `,"outcome":"unknown","retryable":true`), always, once, always, client.Unknown},
		{"retryable, no word", problem(503, "no-quorum", `,"retryable":true`), always, once, always, client.Unknown},
		{"for good, not applied", problem(400, "invalid-body", `,"outcome":"not_applied","retryable":false`), once, once, once, client.NotApplied},
		{"condition failed", problem(412, "precondition-failed", `,"outcome":"not_applied","retryable":false,"current_revision":9`), once, once, once, client.NotApplied},
		{"no room for keys", problem(503, "idempotency-full", `,"outcome":"not_applied","retryable":true`), always, always, always, client.NotApplied},
		{"key of another request", problem(422, "idempotency-key-reused", `,"outcome":"not_applied","retryable":false`), once, once, once, client.NotApplied},
		{"something between us, 502", answerPlain(502), always, once, always, client.Unknown},
		{"something between us, 404", answerPlain(404), once, once, once, client.Unknown},
		{"not JSON", answer(200, `<html>`), once, once, once, client.Unknown},
		{"cut off", cutOff, always, once, always, client.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			count := func(call func(*client.Client) error) (*client.Error, int64) {
				url, requests := dead(t), func() int64 { return 0 }
				if c.answer != nil {
					s := serve(t, c.answer)
					url, requests = s.URL, s.requests.Load
				}
				err := call(dial(t, url))
				var failed *client.Error
				require.ErrorAs(t, err, &failed)
				if c.answer != nil {
					assert.Equal(t, int64(failed.Attempts), requests(), "attempts that arrived")
				}
				return failed, int64(failed.Attempts)
			}
			err, n := count(func(cl *client.Client) error {
				_, _, err := cl.Get(t.Context(), "a", client.ReadOptions{})
				return err
			})
			assert.Equal(t, c.read, n, "reads: %v", err)
			assert.Empty(t, err.Outcome)
			err, n = count(func(cl *client.Client) error {
				_, _, err := cl.Put(t.Context(), "a", []byte("1"), "", client.WriteOptions{NoIdempotencyKey: true})
				return err
			})
			assert.Equal(t, c.write, n, "writes: %v", err)
			assert.Equal(t, c.outcome, err.Outcome)
			err, n = count(func(cl *client.Client) error {
				_, _, err := cl.Put(t.Context(), "a", []byte("1"), "", client.WriteOptions{})
				return err
			})
			assert.Equal(t, c.keyed, n, "writes with a key: %v", err)
			assert.Equal(t, c.outcome, err.Outcome)
		})
	}
}

func answerPlain(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, "proxy", status)
	}
}

// cutOff promises more than it sends.
func cutOff(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"path"`)
}

// sequence answers with each handler once, then with the last.
func sequence(handlers ...http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		i := int(n.Add(1)) - 1
		handlers[min(i, len(handlers)-1)](w, r)
	}
}

func TestOutcomeIsOverAllAttempts(t *testing.T) {
	s := serve(t, sequence(hangUp, problem(412, "precondition-failed", `,"outcome":"not_applied","current_revision":9`)))
	_, _, err := dial(t, s.URL).Put(t.Context(), "a", nil, "", client.WriteOptions{IfRevision: 8})
	assert.Equal(t, client.Unknown, client.OutcomeOf(err), "the first attempt may have been applied, and be why the second was not")
	assert.True(t, client.IsConflict(err))
}

func TestAnotherEndpointIsAsked(t *testing.T) {
	bad := serve(t, problem(503, "no-quorum", `,"outcome":"not_applied","retryable":true`))
	good := serve(t, answer(200, `{"path":"a","content_type":"application/json","revision":5,"created":true,"changed":true}`))
	c := dial(t, dead(t), bad.URL, good.URL)
	for range 3 {
		w, _, err := c.Put(t.Context(), "a", []byte("1"), "", client.WriteOptions{})
		require.NoError(t, err)
		assert.Equal(t, client.Written{Path: "a", ContentType: "application/json", Revision: 5, Created: true, Changed: true}, w)
	}
	assert.EqualValues(t, 1, bad.requests.Load(), "one that failed is asked last for a while")
	assert.EqualValues(t, 3, good.requests.Load())
}

// TestWhoIsToBlame: a node that cannot serve is asked last for a while, one that refused a
// request, or told of a trouble of the whole cluster, is not.
func TestWhoIsToBlame(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		blamed bool
	}{
		{"not ready", problem(503, "not-ready", `,"retryable":true`), true},
		{"stopping", problem(503, "stopping", `,"retryable":true`), true},
		{"draining", problem(503, "draining", `,"retryable":true`), true},
		{"no quorum here", problem(503, "no-quorum", `,"retryable":true`), true},
		{"behind", problem(503, "behind", `,"retryable":true`), true},
		{"overloaded", problem(503, "overloaded", `,"retryable":true`), true},
		{"damaged", problem(500, "damaged", `,"retryable":true`), true},
		{"hang-up", hangUp, true},
		{"cut off", cutOff, true},
		{"something between us", answerPlain(502), true},
		{"not JSON", answer(200, `<html>`), true},
		{"no such key", problem(404, "not-found", ``), false},
		{"contended", problem(409, "contended", `,"retryable":true`), false},
		{"no room for keys", problem(503, "idempotency-full", `,"retryable":true`), false},
		{"disk of the leader", problem(507, "storage-full", `,"retryable":true`), false},
		{"its store is full", problem(507, "quota", `,"outcome":"not_applied"`), false},
		{"another leader", problem(503, "leadership-lost", `,"retryable":true`), false},
		{"bug", problem(500, "internal", ``), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			first := serve(t, sequence(c.answer, answer(200, record)))
			second := serve(t, answer(200, record))
			cl := dial(t, first.URL, second.URL)
			_, _, _ = cl.Get(t.Context(), "a/b", client.ReadOptions{})
			before := second.requests.Load()
			_, _, err := cl.Get(t.Context(), "a/b", client.ReadOptions{})
			require.NoError(t, err)
			assert.Equal(t, c.blamed, second.requests.Load() > before)
		})
	}
}

// TestSilenceUntilTheDeadline: a caller whose patience is shorter than AttemptTimeout does
// not ask the same silent node for ever; one that gave up by itself says nothing of it.
func TestSilenceUntilTheDeadline(t *testing.T) {
	for _, c := range []struct {
		name  string
		bound func(context.Context) (context.Context, context.CancelFunc)
		asked string
	}{
		{"deadline", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, "ab"},
		{"given up", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, "aa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := ""
				cl, err := client.New(client.Options{Endpoints: []string{"a", "b"}, HTTP: &http.Client{
					Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
						asked += r.URL.Host
						<-r.Context().Done()
						return nil, r.Context().Err()
					}),
				}})
				require.NoError(t, err)
				for range 2 {
					ctx, cancel := c.bound(t.Context())
					_, _, err := cl.Get(ctx, "a", client.ReadOptions{})
					require.Error(t, err)
					cancel()
				}
				assert.Equal(t, c.asked, asked)
			})
		})
	}
}

func TestConditionsAndRemarks(t *testing.T) {
	var got http.Header
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		answer(200, `{}`)(w, r)
	})
	c := dial(t, s.URL)
	for _, tc := range []struct {
		name   string
		opts   client.WriteOptions
		header map[string]string
	}{
		{"none", client.WriteOptions{}, map[string]string{"If-Match": "", "If-None-Match": "", "Content-Type": ""}},
		{"revision", client.WriteOptions{IfRevision: 42}, map[string]string{"If-Match": `"42"`}},
		{"absent", client.WriteOptions{IfAbsent: true}, map[string]string{"If-None-Match": "*"}},
		{"present", client.WriteOptions{IfPresent: true}, map[string]string{"If-Match": "*"}},
		{"comment", client.WriteOptions{Comment: "why é"}, map[string]string{"Confman-Comment": "why é"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := c.Put(t.Context(), "a", nil, "", tc.opts)
			require.NoError(t, err)
			for name, want := range tc.header {
				assert.Equal(t, want, got.Get(name), name)
			}
			_, _, err = c.Delete(t.Context(), "a", tc.opts)
			require.NoError(t, err)
			for name, want := range tc.header {
				assert.Equal(t, want, got.Get(name), name)
			}
		})
	}
}

func TestProblem(t *testing.T) {
	s := serve(t, answer(412, `{"type":"urn:confman:problem:precondition-failed","title":"T","status":412,
		"detail":"key \"a\" was last changed at revision 9","instance":"urn:confman:request:x","outcome":"not_applied",
		"retryable":false,"leader":"node3","current_revision":9,"new_member":1}`))
	_, _, err := dial(t, s.URL).Put(t.Context(), "a", nil, "", client.WriteOptions{})
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	assert.Equal(t, client.Problem{
		Type: "urn:confman:problem:precondition-failed", Title: "T", Status: 412,
		Detail: `key "a" was last changed at revision 9`, Instance: "urn:confman:request:x",
		Outcome: client.NotApplied, Leader: "node3", CurrentRevision: 9,
	}, *p)
	assert.Equal(t, "precondition-failed", p.Name())
	assert.Equal(t, s.URL+`: key "a" was last changed at revision 9 (precondition-failed)`, err.Error())
	assert.True(t, client.IsConflict(err))
	assert.False(t, client.IsNotFound(err))
	assert.False(t, client.IsUnavailable(err))
}

func TestSilentEndpointIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	silent := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	good := serve(t, answer(200, record))
	c, err := client.New(client.Options{Endpoints: []string{silent.URL, good.URL}, AttemptTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	_, _, err = c.Get(t.Context(), "a/b", client.ReadOptions{})
	require.NoError(t, err)
	assert.EqualValues(t, 1, silent.requests.Load())
	only, err := client.New(client.Options{Endpoints: []string{silent.URL}, AttemptTimeout: 50 * time.Millisecond, MaxAttempts: 1})
	require.NoError(t, err)
	_, _, err = only.Put(t.Context(), "a", nil, "", client.WriteOptions{})
	require.ErrorIs(t, err, client.ErrAttemptTimeout)
	assert.Equal(t, client.Unknown, client.OutcomeOf(err))
	assert.True(t, client.IsUnavailable(err))
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestContextBoundsTheAttempts(t *testing.T) {
	for _, c := range []struct {
		name    string
		last    func(*http.Request, *http.Response) (*http.Response, error)
		outcome client.Outcome
	}{
		{"between two attempts", func(_ *http.Request, resp *http.Response) (*http.Response, error) { return resp, nil }, client.NotApplied},
		{"while the request is under way", func(r *http.Request, _ *http.Response) (*http.Response, error) {
			httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{})
			return nil, r.Context().Err()
		}, client.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			cl, err := client.New(client.Options{
				Endpoints: []string{"a"}, MaxAttempts: -1, MinBackoff: time.Millisecond, MaxBackoff: time.Millisecond,
				HTTP: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					problem(503, "no-quorum", `,"outcome":"not_applied","retryable":true`)(w, r)
					if n++; n < 10 {
						return w.Result(), nil
					}
					cancel()
					return c.last(r, w.Result())
				})},
			})
			require.NoError(t, err)
			_, _, err = cl.Put(ctx, "a", nil, "", client.WriteOptions{})
			var failed *client.Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, 10, failed.Attempts)
			assert.Equal(t, c.outcome, failed.Outcome)
			var p *client.Problem
			assert.ErrorAs(t, err, &p, "what the node said is told, not only that time is up")
		})
	}
}

func TestRetriesAreTold(t *testing.T) {
	s := serve(t, sequence(problem(503, "no-quorum", `,"outcome":"not_applied","retryable":true`), answer(200, `{}`)))
	var told []error
	c, err := client.New(client.Options{
		Endpoints: []string{s.URL}, MinBackoff: time.Millisecond, OnRetry: func(err error) { told = append(told, err) },
	})
	require.NoError(t, err)
	_, _, err = c.Put(t.Context(), "a", nil, "", client.WriteOptions{})
	require.NoError(t, err)
	require.Len(t, told, 1)
	assert.True(t, client.IsUnavailable(told[0]))
}

func TestAnswersAreBounded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		part := strings.Repeat(" ", 1<<20)
		for range client.MaxAnswerBytes>>20 + 1 {
			_, _ = io.WriteString(w, part)
		}
	})
	_, _, err := dial(t, s.URL).Get(t.Context(), "a", client.ReadOptions{})
	require.ErrorIs(t, err, client.ErrAnswer)
}

func TestList(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/v1/config/a/", r.URL.EscapedPath())
		switch r.URL.RawQuery {
		case "limit=2":
			answer(200, `{"revision":57,"items":[`+record+`,{"path":"a/c","subtree":true}],"next_cursor":"x y"}`)(w, r)
		case "cursor=x+y&limit=2":
			answer(200, `{"revision":57,"items":[{"path":"a/d","value":"t","content_type":"text/plain","subtree":true}]}`)(w, r)
		default:
			problem(400, "invalid-parameter", "")(w, r)
		}
	})
	var got []string
	for item, err := range dial(t, s.URL).List(t.Context(), "a/", client.ListOptions{PageSize: 2}) {
		require.NoError(t, err)
		got = append(got, fmt.Sprintf("%s %q value=%v subtree=%v", item.Path, item.Value, item.HasValue, item.Subtree))
	}
	assert.Equal(t, []string{
		`a/b "30" value=true subtree=false`,
		`a/c "" value=false subtree=true`,
		`a/d "t" value=true subtree=true`,
	}, got)
}

func TestListOfTheRoot(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/v1/config/?recursive=true", r.URL.String())
		answer(200, `{"revision":0,"items":[]}`)(w, r)
	})
	for _, err := range dial(t, s.URL).List(t.Context(), "/", client.ListOptions{Recursive: true}) {
		require.NoError(t, err)
	}
	assert.EqualValues(t, 1, s.requests.Load())
}

func TestCluster(t *testing.T) {
	s := serve(t, answer(200, `{"node":"node1","role":"leader","leader":"node1","term":3,"revision":9,"applied_index":12,
		"commit_index":12,"state_hash":"ab","staleness":0.25,"members":[{"id":"node1","raft_id":1,"address":"127.0.0.1","api_port":5000,
		"raft_port":5001,"role":"leader","reachable":true},{"id":"node2","raft_id":2,"address":"","api_port":0,"raft_port":0,"role":null,"reachable":null}]}`))
	c := dial(t, dead(t))
	view, err := c.Cluster(t.Context(), s.URL)
	require.NoError(t, err)
	assert.Equal(t, "node1", view.Leader)
	assert.EqualValues(t, 12, view.AppliedIndex)
	assert.InDelta(t, 0.25, *view.Staleness, 0)
	assert.True(t, *view.Members[0].Reachable)
	assert.Nil(t, view.Members[1].Reachable)
	_, err = c.Cluster(t.Context(), dead(t))
	require.Error(t, err)
	assert.True(t, client.IsUnavailable(err))
}

func TestExport(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/api/v1/export/a/?format=ndjson", r.URL.String())
		_, _ = io.WriteString(w, record+"\n\n"+`{"path":"a/c","value":"/w==","encoding":"base64","content_type":"application/octet-stream"}`)
	})
	var got []string
	for rec, err := range dial(t, s.URL).Export(t.Context(), "a", client.ReadOptions{}) {
		require.NoError(t, err)
		got = append(got, fmt.Sprintf("%s %q", rec.Path, rec.Value))
	}
	assert.Equal(t, []string{`a/b "30"`, `a/c "\xff"`}, got)
}

func TestExportThatBreaksOff(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, record+"\n")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	var errs []error
	n := 0
	for _, err := range dial(t, s.URL).Export(t.Context(), "a", client.ReadOptions{}) {
		if err != nil {
			errs = append(errs, err)
		} else {
			n++
		}
	}
	assert.Equal(t, 1, n)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], client.ErrBrokenOff)
}

// leaking is a body whose reads fail once its request was given up.
type leaking struct {
	io.Reader
	given func() error
}

func (b leaking) Read(p []byte) (int, error) {
	if err := b.given(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p[:1])
}

func (b leaking) Close() error { return nil }

func TestExportWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := client.New(client.Options{Endpoints: []string{"a"}, HTTP: &http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: leaking{strings.NewReader("{}"), r.Context().Err}}, nil
			}),
		}})
		require.NoError(t, err)
		src, _, err := c.ExportTree(t.Context(), "", client.ReadOptions{})
		require.NoError(t, err)
		defer src.Close()
		for _, want := range []string{"{", "}"} {
			time.Sleep(time.Hour) // in the bubble
			got := make([]byte, 1)
			_, err := src.Read(got)
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
		}
	})
}

func TestExportThatFallsSilent(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	c, err := client.New(client.Options{Endpoints: []string{s.URL}, AttemptTimeout: 50 * time.Millisecond})
	require.NoError(t, err)
	src, _, err := c.ExportTree(t.Context(), "", client.ReadOptions{})
	require.NoError(t, err)
	defer src.Close()
	_, err = io.ReadAll(src)
	require.ErrorIs(t, err, client.ErrBrokenOff)
	require.ErrorIs(t, err, client.ErrAttemptTimeout)
}

// sink keeps what imports put, as a cluster would.
type sink struct {
	mu      sync.Mutex
	values  map[string]string
	changed int
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var res client.ImportResult
	s.mu.Lock()
	defer s.mu.Unlock()
	for rec, err := range client.ReadRecords(r.Body, "") {
		if err != nil {
			problem(400, "invalid-body", "")(w, r)
			return
		}
		res.Records++
		if s.values[rec.Path] != string(rec.Value) {
			s.values[rec.Path] = string(rec.Value)
			res.Changed++
		}
	}
	s.changed += res.Changed
	res.Unchanged, res.Revision, res.Transactions = res.Records-res.Changed, uint64(s.changed), 1
	_ = json.NewEncoder(w).Encode(res)
}

func records(n int, value func(int) string) iter.Seq2[client.Record, error] {
	return func(yield func(client.Record, error) bool) {
		for i := range n {
			rec := client.Record{Path: fmt.Sprintf("p/%d", i), Value: []byte(value(i)), ContentType: client.TypeJSON}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func TestImportSurvivesFaults(t *testing.T) {
	store := &sink{values: map[string]string{}}
	var n atomic.Int64
	flaky := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			hangUp(w, r)
		case 1: // applied, but the answer is lost
			store.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 2:
			problem(503, "no-quorum", `,"outcome":"unknown","retryable":true`)(w, r)
		default:
			store.ServeHTTP(w, r)
		}
	})
	good := serve(t, store.ServeHTTP)
	const total = 6 * client.MaxChunkRecords
	c := dial(t, flaky.URL, dead(t), good.URL)
	var seen atomic.Int64
	res, err := c.Import(t.Context(), "p", records(total, func(i int) string { return fmt.Sprint(i) }), client.ImportOptions{
		Progress: func(r client.ImportResult) { seen.Add(int64(r.Records)) },
	})
	require.NoError(t, err)
	assert.Equal(t, total, res.Records)
	assert.EqualValues(t, total, seen.Load())
	assert.Equal(t, total, res.Changed+res.Unchanged)
	assert.Len(t, store.values, total)
	assert.Equal(t, total, store.changed, "each was changed once")
	assert.Positive(t, n.Load(), "the flaky endpoint was asked")

	again, err := c.Import(t.Context(), "p", records(total, func(i int) string { return fmt.Sprint(i) }), client.ImportOptions{})
	require.NoError(t, err)
	assert.Equal(t, 0, again.Changed)
	assert.EqualValues(t, total, again.Revision)
}

func TestImportOfOnePathTwice(t *testing.T) {
	store := &sink{values: map[string]string{}}
	s := serve(t, store.ServeHTTP)
	list := func(yield func(client.Record, error) bool) {
		for i := range 300 {
			rec := client.Record{Path: fmt.Sprintf("p/%d", i%3), Value: []byte(fmt.Sprint(i)), ContentType: client.TypeJSON}
			if !yield(rec, nil) {
				return
			}
		}
	}
	res, err := dial(t, s.URL).Import(t.Context(), "p", list, client.ImportOptions{})
	require.NoError(t, err)
	assert.Equal(t, 300, res.Records)
	assert.Equal(t, map[string]string{"p/0": "297", "p/1": "298", "p/2": "299"}, store.values)
}

func TestImportThatIsRefused(t *testing.T) {
	s := serve(t, problem(400, "invalid-body", `,"outcome":"not_applied","retryable":false`))
	res, err := dial(t, s.URL).Import(t.Context(), "p", records(20*client.MaxChunkRecords, func(int) string { return "1" }), client.ImportOptions{})
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	assert.Zero(t, res)
	assert.LessOrEqual(t, s.requests.Load(), int64(client.DefaultInFlight), "nothing is sent after the first refusal but what was under way")
}

func TestImportOfRecordsThatFail(t *testing.T) {
	store := &sink{values: map[string]string{}}
	s := serve(t, store.ServeHTTP)
	broken := errors.New("broken")
	_, err := dial(t, s.URL).Import(t.Context(), "p", func(yield func(client.Record, error) bool) {
		_ = yield(client.Record{}, broken)
	}, client.ImportOptions{})
	require.ErrorIs(t, err, broken)
	assert.Zero(t, s.requests.Load())
}

func TestOnlyItsContextEndsAnImport(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var n atomic.Int64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 20 { // more than Options.MaxAttempts
			cancel()
		}
		problem(503, "no-quorum", `,"outcome":"unknown","retryable":true`)(w, r)
	})
	_, err := dial(t, s.URL).Import(ctx, "p", records(3*client.MaxChunkRecords, func(int) string { return "1" }), client.ImportOptions{InFlight: 1})
	require.Error(t, err)
	assert.Equal(t, client.Unknown, client.OutcomeOf(err))
	assert.EqualValues(t, 20, n.Load())
}

func TestChunkKeepsValues(t *testing.T) {
	store := &sink{values: map[string]string{}}
	s := serve(t, store.ServeHTTP)
	imp, err := dial(t, s.URL).NewImport(t.Context(), "", client.ImportOptions{})
	require.NoError(t, err)
	want := map[string]string{
		`a"b\c`: `1.0`, "array": `[1, 2]`, "pretty": "[\n  1,\r\n  2\n]", "text": `"x\ny"`, "é": `null`,
	}
	var chunk client.Chunk
	for path, value := range want {
		chunk.AppendLeaf([]byte(path), value)
	}
	assert.Equal(t, len(want), chunk.Len())
	require.NoError(t, imp.Send(&chunk))
	assert.Zero(t, chunk.Len())
	_, err = imp.Wait()
	require.NoError(t, err)
	assert.Equal(t, want, store.values)
}

func TestReadRecordsBelowAKey(t *testing.T) {
	read := func(path string) error {
		for _, err := range client.ReadRecords(strings.NewReader(`{"path":"`+path+`","value":1}`), "a/b") {
			return err
		}
		return nil
	}
	require.NoError(t, read("a/b"))
	require.NoError(t, read("a/b/c"))
	require.EqualError(t, read("a/bc"), `line 1, column 1: path "a/bc" is not below "a/b", where the import goes`)
	require.Error(t, read("a"))
}

func TestRecordForPeople(t *testing.T) {
	text, err := json.Marshal(client.Record{Path: "p", Value: []byte("[1,\n 2]"), ContentType: client.TypeJSON})
	require.NoError(t, err)
	assert.Equal(t, fmt.Appendf(nil, `{"path":"p","value":%s,"content_type":"application/json"}`, "[1,2]"), text)
}

func TestReadRecords(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "{\"path\":\"a\",\"value\":1}\n\n{\"path\":\"a\" 1}", `line 3, column 13: '1' is not expected, want a comma or '}'`},
		{"no value", `{"path":"a"}`, `line 1, column 1: record has no value`},
		{"no path", `{"value":1}`, `line 1, column 1: path "" is empty`},
		{"bad path", `{"path":"a//b","value":1}`, `line 1, column 1: path "a//b" has an empty segment`},
		{"unknown member", `{"path":"a","value":1,"contentType":"x"}`, `line 1, column 1: unknown field "contentType"`},
		{"not base64", `{"path":"a","value":"!","encoding":"base64"}`, `line 1, column 1: record "a": value is not base64: illegal base64 data at input byte 0`},
		{"not a string", `{"path":"a","value":1,"content_type":"text/plain"}`, `line 1, column 1: record "a": value must be a string: json: cannot unmarshal number into Go value of type string`},
		{"not UTF-8", "{\"path\":\"a\xff\",\"value\":1}", `line 1, column 11: byte 0xff is not UTF-8`},
		{"too long", strings.Repeat(" ", client.MaxLineBytes+1), fmt.Sprintf(`line 1 has more than %d bytes`, client.MaxLineBytes)},
	} {
		t.Run(c.name, func(t *testing.T) {
			var failed error
			for _, err := range client.ReadRecords(strings.NewReader(c.text), "") {
				failed = err
			}
			require.EqualError(t, failed, c.want)
		})
	}
}

// TestSession: what a session saw at one node it asks of the next.
func TestSession(t *testing.T) {
	var asked []string
	var revision atomic.Uint64
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.RequestURI())
		w.Header().Set("Confman-Revision", fmt.Sprint(revision.Load()))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case strings.Contains(r.URL.Path, "missing"):
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(404)
			_, _ = io.WriteString(w, `{"type":"urn:confman:problem:not-found","status":404}`)
		case strings.HasSuffix(r.URL.Path, "/"):
			_, _ = io.WriteString(w, `{"revision":1,"items":[]}`)
		default:
			_, _ = io.WriteString(w, record)
		}
	})
	plain := dial(t, s.URL)
	c := plain.Session()
	ctx := t.Context()
	get := func(c *client.Client, key string, o client.ReadOptions) { _, _, _ = c.Get(ctx, key, o) }
	get(c, "a", client.ReadOptions{})
	revision.Store(7)
	_, _, err := c.Put(ctx, "a", []byte("1"), "", client.WriteOptions{})
	require.NoError(t, err)
	get(c, "a", client.ReadOptions{Consistency: client.Local})
	revision.Store(9)
	get(c, "missing", client.ReadOptions{}) // an error tells a revision too
	revision.Store(3)                       // a node that is behind, or the past
	get(c, "a", client.ReadOptions{MinRevision: 4})
	get(c, "a", client.ReadOptions{MinRevision: 12})
	for _, err := range c.List(ctx, "a", client.ListOptions{}) {
		require.NoError(t, err)
	}
	for _, err := range c.History(ctx, "a/", client.HistoryOptions{}) {
		require.NoError(t, err)
	}
	for _, err := range c.Diff(ctx, "a/", client.DiffOptions{From: 2}) {
		require.NoError(t, err)
	}
	for _, err := range c.Export(ctx, "a", client.ReadOptions{}) {
		require.NoError(t, err)
	}
	_, _ = c.Cluster(ctx, s.URL)
	get(plain, "a", client.ReadOptions{})
	get(plain.Session(), "a", client.ReadOptions{})
	assert.Equal(t, []string{
		"GET /api/v1/config/a",
		"PUT /api/v1/config/a",
		"GET /api/v1/config/a?consistency=local&min_revision=7",
		"GET /api/v1/config/missing?min_revision=7",
		"GET /api/v1/config/a?min_revision=9",
		"GET /api/v1/config/a?min_revision=12",
		"GET /api/v1/config/a/?min_revision=9",
		"GET /api/v1/history/a/?min_revision=9",
		"GET /api/v1/diff/a/?from=2&min_revision=9",
		"GET /api/v1/export/a/?format=ndjson&min_revision=9",
		"GET /api/v1/cluster",
		"GET /api/v1/config/a",
		"GET /api/v1/config/a",
	}, asked)
	assert.EqualValues(t, 9, c.SeenRevision())
	assert.Zero(t, plain.SeenRevision())
}

func TestPatch(t *testing.T) {
	var got []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "+r.Header.Get("If-Match")+" "+string(body))
		answer(200, `{"path":"a","content_type":"application/json","revision":9,"created":false,"changed":true}`)(w, r)
	})
	c := dial(t, s.URL)
	w, _, err := c.Patch(t.Context(), "a", []byte(`{"b":1}`), client.MergePatch, client.WriteOptions{IfRevision: 7})
	require.NoError(t, err)
	assert.Equal(t, client.Written{Path: "a", ContentType: "application/json", Revision: 9, Changed: true}, w)
	_, _, err = c.Patch(t.Context(), "a", []byte(`[]`), client.JSONPatch, client.WriteOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{
		`PATCH /api/v1/config/a application/merge-patch+json "7" {"b":1}`,
		`PATCH /api/v1/config/a application/json-patch+json  []`,
	}, got)
}

func TestDeleteTree(t *testing.T) {
	var got []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Confman-Comment"))
		answer(200, `{"path":"a/","revision":9,"removed":3,"transactions":1}`)(w, r)
	})
	c := dial(t, s.URL)
	removed, _, err := c.DeleteTree(t.Context(), "a/", client.DeleteTreeOptions{Comment: "why"})
	require.NoError(t, err)
	assert.Equal(t, client.Removed{Path: "a/", Revision: 9, Removed: 3, Transactions: 1}, removed)
	_, _, err = c.DeleteTree(t.Context(), "a b", client.DeleteTreeOptions{Chunked: true})
	require.NoError(t, err)
	_, _, err = c.DeleteTree(t.Context(), "", client.DeleteTreeOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"DELETE /api/v1/config/a/?recursive=true why",
		"DELETE /api/v1/config/a%20b/?chunked=true&recursive=true ",
		"DELETE /api/v1/config/?recursive=true ",
	}, got)
	_, _, err = c.DeleteTree(t.Context(), "a//b", client.DeleteTreeOptions{})
	var key *client.KeyError
	require.ErrorAs(t, err, &key)
	assert.Len(t, got, 3)
}
