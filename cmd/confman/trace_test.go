package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/config"
)

// sink is a collector of traces.
type sink struct {
	url string

	mu     sync.Mutex
	spans  map[string][]*otlp.Span // by trace
	nodes  map[string]string       // which node sent a span
	posts  int
	refuse bool
}

func newSink(t *testing.T) *sink {
	s := &sink{spans: map[string][]*otlp.Span{}, nodes: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.posts++
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if s.refuse || r.URL.Path != "/v1/traces" || err != nil || proto.Unmarshal(body, &req) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, rs := range req.GetResourceSpans() {
			for _, ss := range rs.GetScopeSpans() {
				for _, span := range ss.GetSpans() {
					id := fmt.Sprintf("%x", span.GetTraceId())
					s.spans[id] = append(s.spans[id], span)
					for _, a := range rs.GetResource().GetAttributes() {
						if a.GetKey() == "service.instance.id" {
							s.nodes[string(span.GetSpanId())] = a.GetValue().GetStringValue()
						}
					}
				}
			}
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// three are the servers of a cluster.
func three(t *testing.T, trace config.Trace) []*server {
	t.Helper()
	ports := freePorts(t, 6)
	var nodes []config.Node
	for i := range 3 {
		nodes = append(nodes, config.Node{ID: fmt.Sprintf("node%d", i+1), Address: "127.0.0.1", APIPort: ports[2*i], RaftPort: ports[2*i+1]})
	}
	var all []*server
	for _, n := range nodes {
		all = append(all, &server{
			config: config.Config{
				Cluster: config.Cluster{NodeID: n.ID, Nodes: nodes}, Raft: config.Raft{PlainText: true}, Data: config.Data{Dir: t.TempDir()}, Trace: trace,
			},
			log: slog.New(slog.DiscardHandler),
		})
	}
	return all
}

// tracedPut writes as a client does whose trace has a span, or, with "" for that, as one without.
func tracedPut(t *testing.T, url, traceparent string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/api/v1/config/a/b", strings.NewReader("secret"))
	require.NoError(t, err)
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Less(t, resp.StatusCode, 300)
}

// reign is who leads, as a node knows it.
type reign struct {
	Leader  string
	Term    uint64
	Applied uint64 `json:"applied_index"`
}

func reignAt(t *testing.T, url string) (v reign) {
	t.Helper()
	resp, err := http.Get(url + "/api/v1/cluster")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&v))
	return v
}

// TestTraceOfAWrite: a collector is told of a write where its time went, by the node that took it,
// below the span of the client, whether that node leads or not; and of nothing that is not sampled.
func TestTraceOfAWrite(t *testing.T) {
	to := newSink(t)
	servers := three(t, config.Trace{Endpoint: to.url}) // Ratio 0: only what clients have sampled
	var urls []string
	var stops []func() error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, s := range servers {
		wg.Go(func() {
			url, stop := runs(t, s)
			mu.Lock()
			defer mu.Unlock()
			urls, stops = append(urls, url), append(stops, stop)
		})
	}
	wg.Wait()
	require.Len(t, urls, 3)
	const client = "00f067aa0ba902b7"
	round, leader := 0, ""
	require.Eventually(t, func() bool { // an election in between would have its own story
		round++
		before := reignAt(t, urls[0])
		for i, url := range urls {
			tracedPut(t, url, fmt.Sprintf("00-%032x-%s-01", 10*round+i, client))
			tracedPut(t, url, fmt.Sprintf("00-%032x-%s-00", 10*round+5+i, client))
			tracedPut(t, url, "")
		}
		leader = before.Leader
		after := reignAt(t, urls[0])
		return before.Leader == after.Leader && before.Term == after.Term
	}, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { // what is applied was appended
		a, b, c := reignAt(t, urls[0]), reignAt(t, urls[1]), reignAt(t, urls[2])
		return a == b && b == c
	}, 20*time.Second, time.Millisecond)
	for _, stop := range stops {
		require.NoError(t, stop()) // sends what there is
	}

	to.mu.Lock()
	defer to.mu.Unlock()
	require.Len(t, to.spans, 3*round, "what is not sampled is not there")
	forwarded := 0
	for i := range urls {
		spans := to.spans[fmt.Sprintf("%032x", 10*round+i)]
		slices.SortStableFunc(spans, func(a, b *otlp.Span) int { return int(a.GetStartTimeUnixNano()) - int(b.GetStartTimeUnixNano()) })
		byName := map[string]*otlp.Span{}
		var names []string
		for _, s := range spans {
			byName[s.GetName()] = s
			names = append(names, s.GetName())
			assert.NotContains(t, s.String(), "secret")
		}
		request := byName["PUT /api/v1/config/*path"]
		require.NotNil(t, request, names)
		assert.Equal(t, client, fmt.Sprintf("%x", request.GetParentSpanId()))
		assert.Equal(t, otlp.Span_SPAN_KIND_SERVER, request.GetKind())
		attrs := map[string]string{}
		for _, a := range request.GetAttributes() {
			attrs[a.GetKey()] = a.GetValue().GetStringValue() + fmt.Sprint(a.GetValue().GetIntValue())
		}
		assert.Regexp(t, "^0?20[01]$", attrs["http.response.status_code"])
		assert.Contains(t, attrs, "confman.revision")
		assert.Contains(t, attrs, "confman.index")

		want := []string{"queue", "append", "replicate", "apply", "append on a follower"}
		if node := to.nodes[string(request.GetSpanId())]; node != leader {
			want = append(want, "forward", "append on the leader", "replicate from the leader")
			forwarded++
			assert.Equal(t, leader, to.nodes[string(byName["append on the leader"].GetSpanId())])
			assert.Equal(t, leader, to.nodes[string(byName["replicate from the leader"].GetSpanId())])
		} else {
			want = append(want, "append on a follower")
		}
		require.ElementsMatch(t, append(want, request.GetName()), names)
		for _, name := range want {
			s := byName[name]
			assert.Equal(t, request.GetSpanId(), s.GetParentSpanId(), name)
			assert.GreaterOrEqual(t, s.GetStartTimeUnixNano(), request.GetStartTimeUnixNano(), name)
			assert.GreaterOrEqual(t, s.GetEndTimeUnixNano(), s.GetStartTimeUnixNano(), name)
			if !strings.Contains(name, "follower") && !strings.Contains(name, "leader") { // those may take longer than a quorum
				assert.LessOrEqual(t, s.GetEndTimeUnixNano(), request.GetEndTimeUnixNano(), name)
			}
		}
		assert.LessOrEqual(t, byName["queue"].GetEndTimeUnixNano(), byName["append"].GetStartTimeUnixNano())
		assert.LessOrEqual(t, byName["queue"].GetEndTimeUnixNano(), byName["replicate"].GetStartTimeUnixNano())
		assert.LessOrEqual(t, byName["append"].GetEndTimeUnixNano(), byName["apply"].GetStartTimeUnixNano())
		assert.LessOrEqual(t, byName["replicate"].GetEndTimeUnixNano(), byName["apply"].GetStartTimeUnixNano())
		if f := byName["forward"]; f != nil {
			assert.LessOrEqual(t, byName["queue"].GetEndTimeUnixNano(), f.GetStartTimeUnixNano())
			assert.LessOrEqual(t, f.GetEndTimeUnixNano(), byName["apply"].GetStartTimeUnixNano())
		}
	}
	assert.Equal(t, 2, forwarded)
}

// TestTracesAreOffUnlessAskedFor: a client that wants a trace does not get one, nor does the
// environment of the process make one.
func TestTracesAreOffUnlessAskedFor(t *testing.T) {
	to := newSink(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.url)
	none, err := newTracer(t.Context(), config.Trace{Ratio: 1}, "node1", slog.Default())
	require.NoError(t, err)
	require.Nil(t, none)
	url, stop := runs(t, single(t, t.TempDir()))
	tracedPut(t, url, "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01")
	require.NoError(t, stop())
	assert.Zero(t, to.posts)
}

// TestCollectorThatRefuses: it is said once, and once that it is over.
func TestCollectorThatRefuses(t *testing.T) {
	to := newSink(t)
	var said bytes.Buffer
	tr, err := newTracer(t.Context(), config.Trace{Endpoint: to.url + "/v1/traces", Ratio: 1}, "node1", slog.New(slog.NewTextHandler(&said, nil)))
	require.NoError(t, err)
	one := func(refuse bool) {
		to.mu.Lock()
		to.refuse = refuse
		to.mu.Unlock()
		_, s := tr.tracer.Start(t.Context(), "x")
		s.End()
		require.NoError(t, tr.provider.ForceFlush(t.Context()))
	}
	one(false)
	assert.Empty(t, said.String())
	one(true)
	one(true)
	assert.Equal(t, 1, strings.Count(said.String(), "they are lost"), said.String())
	one(false)
	assert.Equal(t, 1, strings.Count(said.String(), "takes traces again"), said.String())
	tr.close()
}

// TestStopDoesNotWaitForACollector that does not answer.
func TestStopDoesNotWaitForACollector(t *testing.T) {
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-gone }))
	defer server.Close()
	defer close(gone)
	tr, err := newTracer(t.Context(), config.Trace{Endpoint: server.URL, Ratio: 1}, "node1", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	_, s := tr.tracer.Start(t.Context(), "x")
	s.End()
	began := time.Now()
	tr.close()
	assert.Less(t, time.Since(began), flushTracesTime+5*time.Second)
}

// TestAccessLogIsAskedFor: whatever the level, and in the format of the log.
func TestAccessLogIsAskedFor(t *testing.T) {
	var out bytes.Buffer
	log, err := newLogger(&out, false, config.Log{Level: "error"})
	require.NoError(t, err)
	log.Info("not this")
	accessLogger(log).With(slog.String("a", "b")).Info("request")
	assert.Contains(t, out.String(), `"msg":"request","a":"b"`)
	assert.NotContains(t, out.String(), "not this")
}
