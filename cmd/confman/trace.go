package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/httpapi"
	"github.com/confman/confman/node"
)

const (
	// flushTracesTime is how long a node that stops waits for its collector to take the last spans.
	flushTracesTime = 2 * time.Second

	// maxTracedWrites is how many writes of one request have their stages in its trace: an import
	// makes thousands, which are alike.
	maxTracedWrites = 20
)

// tracer makes spans of requests, and sends them to a collector in the background.
type tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	parents  propagation.TraceContext
}

// newTracer makes a tracer of a node; nil, if there are to be no traces. cfg is valid.
func newTracer(ctx context.Context, cfg config.Trace, nodeID string, log *slog.Logger) (*tracer, error) {
	if cfg.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("Trace.Endpoint: %w", err)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("the exporter of traces: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&reporting{SpanExporter: exporter, log: log.With(slog.String("node", nodeID))}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "confman"), attribute.String("service.version", version()), attribute.String("service.instance.id", nodeID))),
	)
	return &tracer{provider: provider, tracer: provider.Tracer("github.com/confman/confman")}, nil
}

// close sends what spans there are, if the collector takes them soon.
func (t *tracer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTracesTime)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // reporting has said why it cannot
}

// Begin begins the span of a request, below the span that its traceparent names.
func (t *tracer) Begin(r *http.Request, route string) httpapi.Span {
	ctx := t.parents.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	_, s := t.tracer.Start(ctx, r.Method+" "+route, trace.WithSpanKind(trace.SpanKindServer))
	if !s.IsRecording() {
		return nil
	}
	s.SetAttributes(attribute.String("http.request.method", r.Method), attribute.String("http.route", route))
	return &span{tracer: t.tracer, span: s}
}

// copied makes spans of what this node did for a write that another one had accepted, below the
// span of that one.
func (t *tracer) copied(c *node.Copied) {
	parent := trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: c.Trace.ID, SpanID: c.Trace.Span, TraceFlags: trace.TraceFlags(c.Trace.Flags), Remote: true,
	}))
	one := func(name string, from, to time.Time) {
		_, s := t.tracer.Start(parent, name, trace.WithTimestamp(from))
		s.End(trace.WithTimestamp(to))
	}
	if !c.Led {
		one("append on a follower", c.Appending, c.Appended)
		return
	}
	one("append on the leader", c.Appending, c.Appended)
	one("replicate from the leader", c.Appending, c.Committed)
}

// span is a request that is traced.
type span struct {
	tracer trace.Tracer
	span   trace.Span
	writes int
}

// Trace names the span.
func (s *span) Trace() fsm.Trace {
	c := s.span.SpanContext()
	return fsm.Trace{ID: c.TraceID(), Span: c.SpanID(), Flags: byte(c.TraceFlags())}
}

// Wrote adds the stages of a write as spans below the request's.
func (s *span) Wrote(stages *node.Stages, err error) {
	if s.writes++; s.writes > maxTracedWrites {
		return
	}
	parent := trace.ContextWithSpan(context.Background(), s.span)
	stages.Each(func(stage node.Stage, from, to time.Duration) {
		_, child := s.tracer.Start(parent, string(stage), trace.WithTimestamp(stages.Accepted.Add(from)))
		child.End(trace.WithTimestamp(stages.Accepted.Add(to)))
	})
	if stages.Index != 0 {
		s.span.SetAttributes(attribute.Int64("confman.index", int64(stages.Index)))
	}
	var failed *node.WriteError
	if errors.As(err, &failed) {
		s.span.SetAttributes(attribute.String("confman.outcome", failed.Outcome.String()))
	}
}

// End ends the span of the request.
func (s *span) End(o httpapi.Outcome) {
	s.span.SetAttributes(attribute.Int("http.response.status_code", o.Status), attribute.String("confman.request_id", o.RequestID))
	for key, value := range map[string]string{"confman.revision": o.Revision, "confman.problem": o.Problem} {
		if value != "" {
			s.span.SetAttributes(attribute.String(key, value))
		}
	}
	if o.Status == 0 || o.Status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, o.Problem)
	}
	s.span.End()
}

// reporting says when spans begin to be lost, and when they are taken again; not each time.
type reporting struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed atomic.Bool
}

// ExportSpans sends spans to the collector.
func (r *reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if was := r.failed.Swap(err != nil); was != (err != nil) {
		if err != nil {
			r.log.Warn("the collector does not take traces, and they are lost", slog.Any("error", err))
		} else {
			r.log.Info("the collector takes traces again")
		}
	}
	return nil // else the library would say so on standard error, every time
}
