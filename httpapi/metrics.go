package httpapi

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
)

// metrics are what the API counts. Their labels are bounded: a route is what was registered,
// never a path, and an outcome is "ok" or the name of a problem.
type metrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	callers     map[string]prometheus.Counter // by result
	denials     map[fsm.DenialKind]prometheus.Counter
	watchEvents prometheus.Counter
	watchErrors *prometheus.CounterVec
}

const (
	outcomeOK = "ok"
	// outcomeAborted is of an answer that was broken off, which tells its client that it is not whole.
	outcomeAborted = "aborted"
	// otherRoute is what nothing is served at; otherMethod none that is known.
	otherRoute, otherMethod = "other", "other"
	// resultError is what it is called when it cannot be told who calls, for no reason of the caller's.
	resultError = "error"
)

// durationBuckets go from a read of one key to the longest wait of a write, in seconds.
var durationBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// callerKinds are what callers are who are let in.
var callerKinds = map[auth.Kind]string{auth.User: "user", auth.ServicePrincipal: "service-principal", auth.Certificate: "certificate"}

// newMetrics registers what a counts, and what its node does.
func newMetrics(a *api) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confman_http_requests_total",
			Help: "Requests answered, by route, method, status, and \"ok\" or the name of the problem they were answered with.",
		}, []string{"route", "method", "code", "outcome"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "confman_http_request_duration_seconds",
			Help:    "What requests took, by route, method, and whether they were answered, refused (4xx) or failed (5xx); watches, which wait, are left out.",
			Buckets: durationBuckets,
		}, []string{"route", "method", "outcome"}),
		callers: map[string]prometheus.Counter{},
		denials: map[fsm.DenialKind]prometheus.Counter{},
		watchEvents: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "confman_watch_events_total", Help: "Changes gathered for watchers, of streams and of long-polls.",
		}),
		watchErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "confman_watch_errors_total", Help: "Event streams that ended with an error, by the name of the problem.",
		}, []string{"outcome"}),
	}
	callers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "confman_auth_callers_total",
		Help: "Requests by who sent them: what the caller is, or why it was not let in. Without Auth nobody is counted.",
	}, []string{"result"})
	denials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "confman_auth_denials_total",
		Help: "What was refused for want of permission by this node, as counted for the audit: reads, writes before they are proposed, and access.",
	}, []string{"kind"})
	for _, kind := range callerKinds {
		m.callers[kind] = callers.WithLabelValues(kind)
	}
	for _, reason := range auth.Reasons() {
		m.callers[string(reason)] = callers.WithLabelValues(string(reason))
	}
	m.watchErrors.WithLabelValues(kindStopping.name) // that of every shutdown: so the metric is always there
	m.callers[resultError] = callers.WithLabelValues(resultError)
	for kind, name := range map[fsm.DenialKind]string{fsm.DeniedRead: "read", fsm.DeniedWrite: "write", fsm.DeniedAccess: "access"} {
		m.denials[kind] = denials.WithLabelValues(name)
	}
	inFlight := func(callers string, n func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "confman_http_requests_in_flight",
			Help:        "Requests being worked on, of callers who must be known and of those that anybody may make; watches and health checks are left out.",
			ConstLabels: prometheus.Labels{"callers": callers},
		}, func() float64 { return float64(n()) })
	}
	a.Registry.MustRegister(m.requests, m.durations, callers, denials, m.watchEvents, m.watchErrors,
		inFlight("known", a.requests.Load), inFlight("anybody", a.public.Load), newNodeCollector(a.Node))
	return m
}

// processStart is what sinceStart counts from.
var processStart = time.Now()

// sinceStart is a clock that only measures: time.Now, which also tells what time it is, takes twice as
// long, and every read asks twice.
func sinceStart() time.Duration { return time.Since(processStart) }

// serverMetrics are those of the connections.
func serverMetrics(r prometheus.Registerer, open *connections) {
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "confman_http_connections", Help: "Connections that are open.",
		}, func() float64 { return float64(open.count()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "confman_http_connections_limit", Help: "Connections that may be open.",
		}, func() float64 { return float64(open.max) }),
	)
}

// routeMetrics count one method of one route. What is counted with every read is looked up once.
type routeMetrics struct {
	all           *metrics
	route, method string
	timed         bool
	ok            prometheus.Counter // answered with 200
	took          prometheus.Observer
}

func (m *metrics) of(route, method string) *routeMetrics {
	route = strings.TrimSuffix(route, "/*path")
	r := &routeMetrics{all: m, route: route, method: method, timed: route != base+"/watch"}
	r.ok = m.requests.WithLabelValues(route, method, "200", outcomeOK)
	if r.timed {
		r.took = m.durations.WithLabelValues(route, method, outcomeOK)
	}
	return r
}

// done counts a call that was answered with a status; 0: with none.
func (r *routeMetrics) done(status int, outcome string, took time.Duration) {
	if status == http.StatusOK && outcome == outcomeOK && r.ok != nil {
		r.ok.Inc()
	} else {
		r.all.requests.WithLabelValues(r.route, r.method, strconv.Itoa(status), outcome).Inc()
	}
	switch {
	case !r.timed:
	case status >= http.StatusInternalServerError || outcome == outcomeAborted:
		r.all.durations.WithLabelValues(r.route, r.method, "failed").Observe(took.Seconds())
	case status >= http.StatusBadRequest:
		r.all.durations.WithLabelValues(r.route, r.method, "refused").Observe(took.Seconds())
	default:
		r.took.Observe(took.Seconds())
	}
}

// unrouted counts what nothing is served at.
func (m *metrics) unrouted(method string) *routeMetrics {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = otherMethod
	}
	return &routeMetrics{all: m, route: otherRoute, method: method}
}

// letIn counts a caller who is known.
func (m *metrics) letIn(kind auth.Kind) { m.callers[callerKinds[kind]].Inc() }

// turnedAway counts a caller who is not.
func (m *metrics) turnedAway(result string) {
	if n, ok := m.callers[result]; ok { // tests have Reasons of their own
		n.Inc()
	}
}

// typeMetrics is Prometheus' text format. Every scraper takes it, so nothing is negotiated.
const (
	plainText   = "text/plain"
	typeMetrics = plainText + "; version=0.0.4; charset=utf-8"
)

var metricsHeader = []string{typeMetrics}

// metrics answers GET /metrics.
func (c *call) metrics() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	if accepted(c.r, plainText) < 0 {
		return notAcceptable(plainText)
	}
	families, err := c.api.Registry.Gather()
	if err != nil {
		return internal(err)
	}
	out := sliceWriter{c.buf}
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&out, family); err != nil {
			return internal(err)
		}
	}
	c.buf = out.b
	c.w.Header()["Cache-Control"] = noStoreHeader
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: metricsHeader}, standingOf(&status), &status)
	return nil
}

// sliceWriter appends what is written.
type sliceWriter struct{ b []byte }

// Write is part of io.Writer.
func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
