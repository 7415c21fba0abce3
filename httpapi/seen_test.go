package httpapi

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/julienschmidt/httprouter"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// observe has what f serves seen from now on, as if it had been made so.
func (f *fixture) observe(log *bytes.Buffer, tracer Tracer) {
	f.AccessLog, f.Tracer = slog.New(slog.NewJSONHandler(log, nil)), tracer
	f.router = httprouter.New()
	f.route()
}

// lines are those of an access log, without what every one has.
func lines(t *testing.T, log *bytes.Buffer) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m), line)
		for key, value := range map[string]any{"level": "INFO", "msg": "request", "node": "node1"} {
			require.Equal(t, value, m[key])
			delete(m, key)
		}
		for _, key := range []string{"time", "duration"} {
			require.Contains(t, m, key)
			delete(m, key)
		}
		all = append(all, m)
	}
	log.Reset()
	return all
}

func TestAccessLog(t *testing.T) {
	f := newGuarded(t)
	f.bind("a/", "writer", "ann")
	var log bytes.Buffer
	f.observe(&log, nil)
	w := f.do("PUT", config+"/a/b", "1", as("ann"), "X-Request-Id: mine")
	require.Equal(t, http.StatusCreated, w.Code)
	assert.Equal(t, map[string]any{
		"request_id": "mine", "method": "PUT", "route": "/api/v1/config/*path", "path": "/api/v1/config/a/b", "status": 201.0,
		"bytes": float64(w.Body.Len()), "revision": w.Header().Get("Confman-Revision"), "caller": user("ann"),
	}, lines(t, &log)[0])

	f.do("PUT", config+"/b", "1", as("ann"))
	f.do("GET", config+"/a/b", "")
	f.do("GET", "/health/live", "")
	f.do("GET", "/none", "")
	f.do("POST", "/health/live", "")
	f.do("OPTIONS", config+"/a", "")
	var got []any
	for _, l := range lines(t, &log) {
		got = append(got, []any{l["route"], l["status"], l["problem"], l["caller"]})
	}
	assert.Equal(t, []any{
		[]any{"/api/v1/config/*path", 403.0, "forbidden", user("ann")},
		[]any{"/api/v1/config/*path", 401.0, "unauthenticated", nil},
		[]any{"/health/live", 200.0, nil, nil},
		[]any{"none", 404.0, "no-route", nil},
		[]any{"none", 405.0, "method-not-allowed", nil},
		[]any{"none", 204.0, nil, nil},
	}, got)
}

// TestLogsHaveNoSecrets: neither what is written, nor who shows what for a proof, nor what stands in
// a query where it does not belong, is in any log, whatever becomes of the request.
func TestLogsHaveNoSecrets(t *testing.T) {
	f := newGuarded(t)
	f.bind("a/", "writer", "ann")
	var log bytes.Buffer
	f.observe(&log, nil)
	const secret = "hunter2"
	f.Auth.(*people).known[secret] = &auth.Identity{Kind: auth.User, Issuer: "entra", Tenant: tenant, Object: "ann"}
	for _, h := range []string{as(secret), "Authorization: Basic " + secret} {
		for _, r := range [][2]string{
			{"PUT", "/a/b"}, {"PUT", "/b"}, {"PUT", "/a/b?access_token=" + secret}, {"GET", "/a/b?value=" + secret}, {"PATCH", "/a/b"}, {"DELETE", "/a/none"},
		} {
			f.do(r[0], config+r[1], `"`+secret+`"`, h, "Cookie: "+secret, "Confman-Comment: "+secret, "Idempotency-Key: "+secret)
		}
	}
	f.node.proposeErr = func(int, *fsm.Command) error { return node.ErrStopped }
	f.do("PUT", config+"/a/b", secret, as(secret))
	assert.Len(t, lines(t, bytes.NewBufferString(log.String())), 2*6+1)
	assert.NotContains(t, log.String(), secret)
	assert.NotContains(t, f.log.String(), secret)
}

// TestAccessLogIsBounded: nobody fills the disk with one path.
func TestAccessLogIsBounded(t *testing.T) {
	key := strings.Repeat("k", fsm.MaxKeyBytes)
	assert.Equal(t, base+"/namespaces/"+key, loggedPath(base+"/namespaces/"+key))
	long := loggedPath("/" + strings.Repeat("é", 5000))
	assert.Less(t, len(long), 1200)
	assert.True(t, strings.HasSuffix(long, "é..."))
}

// TestSeenIsCutOff: a connection that is cut while it is answered is told of.
func TestSeenIsCutOff(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	f.observe(&log, nil)
	e := f.observed("/x", func(http.ResponseWriter, *http.Request, *routeMetrics, string) { panic(http.ErrAbortHandler) })
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		e(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil), nil, "")
	})
	assert.InDelta(t, 0, lines(t, &log)[0]["status"], 0)
}

// span is what a tracer was told of one request.
type span struct {
	route   string
	wrote   []error
	outcome []Outcome
}

func (s *span) Trace() fsm.Trace                { return fsm.Trace{ID: [16]byte{0xab}, Span: [8]byte{1}, Flags: 1} }
func (s *span) Wrote(_ *node.Stages, err error) { s.wrote = append(s.wrote, err) }
func (s *span) End(o Outcome)                   { s.outcome = append(s.outcome, o) }

type spans struct{ all []*span }

func (s *spans) Begin(r *http.Request, route string) Span {
	if r.Header.Get("X-Untraced") != "" {
		return nil
	}
	s.all = append(s.all, &span{route: route})
	return s.all[len(s.all)-1]
}

func TestTracer(t *testing.T) {
	f := newFixture(t)
	var log bytes.Buffer
	var s spans
	f.observe(&log, &s)
	f.do("PUT", config+"/a", "1", "X-Request-Id: w")
	f.do("GET", config+"/none", "", "X-Request-Id: r")
	f.do("GET", "/health/ready", "")
	f.do("PUT", config+"/a", "1", "X-Untraced: 1")
	require.Len(t, s.all, 2, "probes are not traced")
	assert.Equal(t, &span{
		route: "/api/v1/config/*path", wrote: []error{nil},
		outcome: []Outcome{{Status: 201, Revision: "1", RequestID: "w"}},
	}, s.all[0])
	assert.Equal(t, &span{
		route:   "/api/v1/config/*path",
		outcome: []Outcome{{Status: 404, Problem: "not-found", Revision: "1", RequestID: "r"}},
	}, s.all[1])
	all := lines(t, &log)
	assert.Equal(t, "ab000000000000000000000000000000", all[0]["trace_id"])
	assert.Equal(t, s.all[0].Trace(), f.node.commands[0].Trace)
	assert.Zero(t, f.node.commands[1].Trace)
	assert.NotContains(t, all[2], "trace_id")
}

// TestNothingIsSeenUnasked: without logs and traces a request is served as it is.
func TestNothingIsSeenUnasked(t *testing.T) {
	f := newFixture(t)
	r := httptest.NewRecorder()
	f.observed("/x", func(w http.ResponseWriter, _ *http.Request, _ *routeMetrics, _ string) { assert.Same(t, r, w) })(r, nil, nil, "")
}
