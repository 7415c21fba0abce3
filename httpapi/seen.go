package httpapi

import (
	"context"
	"encoding/hex"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// Tracer begins the traces of requests.
type Tracer interface {
	// Begin begins the span of a request to a route, as routes are spelled here; nil: the request
	// is not traced. It looks at the request's headers and keeps nothing of it.
	Begin(r *http.Request, route string) Span
}

// Span is one request in a trace.
type Span interface {
	// Trace names the span, for the access log and for the commands that belong to it.
	Trace() fsm.Trace
	// Wrote adds what a write of the request went through. err is why it failed, or nil.
	Wrote(s *node.Stages, err error)
	// End ends the span.
	End(o Outcome)
}

// Outcome is how a request ended.
type Outcome struct {
	// Status is that of the answer; 0: there was none, the connection was cut.
	Status int
	// Problem is the name of the problem it was answered with, or that a stream ended with; "": none.
	Problem string
	// Revision is that of the answer, as its header has it.
	Revision  string
	RequestID string
}

// seen is a request that is logged or traced. It stands between the handlers and the client.
type seen struct {
	http.ResponseWriter
	span    Span
	status  int
	bytes   int64
	problem string
	caller  string
}

// Unwrap is for http.ResponseController.
func (s *seen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// WriteHeader notes the status.
func (s *seen) WriteHeader(status int) {
	if s.status == 0 && status >= http.StatusOK {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write counts the body.
func (s *seen) Write(b []byte) (int, error) {
	n, err := s.ResponseWriter.Write(b)
	s.bytes += int64(n)
	return n, err
}

// observed is e, seen by the access log and the tracer: e itself, if there is neither.
func (a *api) observed(route string, e entry) entry {
	if a.AccessLog == nil && a.Tracer == nil {
		return e
	}
	// Probes come every second, and would be most of all traces.
	tracer := a.Tracer
	if !strings.HasPrefix(route, base) {
		tracer = nil
	}
	return func(w http.ResponseWriter, r *http.Request, m *routeMetrics, param string) {
		began := a.Now()
		s := &seen{ResponseWriter: w}
		if tracer != nil {
			s.span = tracer.Begin(r, route)
		}
		defer func() { a.ended(r, route, s, began) }() // also if the handler cuts the connection by a panic
		e(s, r, m, param)
	}
}

// ended tells of a request that is over.
func (a *api) ended(r *http.Request, route string, s *seen, began time.Time) {
	h := s.Header()
	o := Outcome{Status: s.status, Problem: s.problem, Revision: h.Get("Confman-Revision"), RequestID: h.Get("X-Request-Id")}
	if s.span != nil {
		s.span.End(o)
	}
	if a.AccessLog == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 12)
	some := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	attrs = append(attrs, slog.String("node", a.Name), slog.String("request_id", o.RequestID),
		slog.String("method", r.Method), slog.String("route", route), slog.String("path", loggedPath(r.URL.Path)),
		slog.Int("status", o.Status), slog.Duration("duration", a.Now().Sub(began)), slog.Int64("bytes", s.bytes))
	some("revision", o.Revision)
	some("caller", s.caller)
	some("problem", o.Problem)
	if s.span != nil {
		trace := s.span.Trace()
		some("trace_id", hex.EncodeToString(trace.ID[:]))
	}
	a.AccessLog.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// loggedPath is a path as the access log has it: any key fits, and nobody can write more.
func loggedPath(path string) string {
	const most = fsm.MaxKeyBytes + len(base) + 32
	if len(path) <= most {
		return path
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(path[cut]) {
		cut--
	}
	return path[:cut] + "..."
}

// sees notes for logs and traces what only the handlers know; nil, if there are none.
func (c *call) sees() *seen {
	s, _ := c.w.(*seen)
	return s
}

// wire is what the request came by, for net/http, which knows its own only.
func (c *call) wire() http.ResponseWriter {
	if s := c.sees(); s != nil {
		return s.ResponseWriter
	}
	return c.w
}

// traced has a write in ctx tell its stages to the trace of the call, if there is one, when it is
// done; and the command say to the other nodes which trace that is.
func (c *call) traced(ctx context.Context, cmd *fsm.Command) (_ context.Context, done func(error)) {
	s := c.sees()
	if s == nil || s.span == nil {
		return ctx, func(error) {}
	}
	cmd.Trace = s.span.Trace()
	stages := new(node.Stages)
	return node.WithStages(ctx, stages), func(err error) { s.span.Wrote(stages, err) }
}
