package httpapi

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// sample is a metric with labels, given as in the text format: one sample must have them.
func (f *fixture) sample(t *testing.T, name, labels string) *dto.Metric {
	t.Helper()
	families, err := f.Registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var pairs []string
			for _, l := range m.GetLabel() {
				pairs = append(pairs, l.GetName()+"="+l.GetValue())
			}
			if family.GetName() == name && strings.Join(pairs, " ") == labels {
				return m
			}
		}
	}
	return nil
}

func (f *fixture) shows(t *testing.T, name, labels string) float64 {
	t.Helper()
	m := f.sample(t, name, labels)
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}

const requestsTotal, requestSeconds = "confman_http_requests_total", "confman_http_request_duration_seconds"

// TestRequestsAreCounted: by route and not by path, with their outcome.
func TestRequestsAreCounted(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a/x", "1")
	f.ok("PUT", config+"/a/y", "1")
	f.ok("GET", config+"/a/x", "")
	f.ok("GET", config+"/a/y", "")
	f.do("GET", config+"/a/y", "", `If-None-Match: "2"`)
	f.do("GET", config+"/a/none", "")
	f.node.proposeErr = func(int, *fsm.Command) error {
		return &node.WriteError{Outcome: node.Unknown, Err: node.ErrNoQuorum}
	}
	f.do("PUT", config+"/a/x", "2")
	f.do("GET", "/wp-login.php", "")
	f.do("BREW", config+"/a/x", "")
	f.do("GET", "/api/v1/watch/a/?from_revision=0&wait=0s", "")
	for labels, want := range map[string]float64{
		"code=201 method=PUT outcome=ok route=/api/v1/config":          2,
		"code=200 method=GET outcome=ok route=/api/v1/config":          2,
		"code=304 method=GET outcome=ok route=/api/v1/config":          1,
		"code=404 method=GET outcome=not-found route=/api/v1/config":   1,
		"code=503 method=PUT outcome=no-quorum route=/api/v1/config":   1,
		"code=404 method=GET outcome=no-route route=other":             1,
		"code=405 method=other outcome=method-not-allowed route=other": 1,
		"code=200 method=GET outcome=ok route=/api/v1/watch":           1,
		"code=200 method=GET outcome=ok route=/api/v1/history":         0,
	} {
		assert.InDelta(t, want, f.shows(t, requestsTotal, labels), 0, labels)
	}
	for labels, want := range map[string]float64{
		"method=PUT outcome=ok route=/api/v1/config":      2,
		"method=GET outcome=ok route=/api/v1/config":      3,
		"method=GET outcome=refused route=/api/v1/config": 1,
		"method=PUT outcome=failed route=/api/v1/config":  1,
	} {
		assert.InDelta(t, want, f.shows(t, requestSeconds, labels), 0, labels)
	}
	assert.Nil(t, f.sample(t, requestSeconds, "method=GET outcome=ok route=/api/v1/watch"), "a watch takes as long as its client likes")
	assert.InDelta(t, 2, f.shows(t, "confman_watch_events_total", ""), 0)
}

// TestDurationsAreMeasured from a request's arrival to its end, in seconds.
func TestDurationsAreMeasured(t *testing.T) {
	f := newFixture(t)
	clock := time.Minute
	f.clock = func() time.Duration { return clock }
	f.node.during = func(*fsm.Command) { clock += 2 * time.Second }
	f.ok("PUT", config+"/a/x", "1")
	m := f.sample(t, requestSeconds, "method=PUT outcome=ok route=/api/v1/config")
	assert.InDelta(t, 2, m.GetHistogram().GetSampleSum(), 1e-9)
}

// TestPanicsAreCounted: one that is answered is internal; one that came too late for that, aborted.
func TestPanicsAreCounted(t *testing.T) {
	f := newFixture(t)
	f.serveCall(func(*call) error { panic("a bug") }, httptest.NewRecorder())
	assert.InDelta(t, 1, f.shows(t, requestsTotal, "code=500 method=GET outcome=internal route=other"), 0)
	for _, cause := range []any{"a bug", http.ErrAbortHandler} {
		assert.Panics(t, func() {
			f.serveCall(func(c *call) error {
				c.sendHealth()
				panic(cause)
			}, httptest.NewRecorder())
		})
	}
	assert.InDelta(t, 2, f.shows(t, requestsTotal, "code=200 method=GET outcome=aborted route=other"), 0)
}

// TestCallersAreCounted: what they are, or why they are not let in, and what they are denied.
func TestCallersAreCounted(t *testing.T) {
	f := newGuarded(t)
	callers := func(result string) float64 { return f.shows(t, "confman_auth_callers_total", "result="+result) }
	denials := func(kind string) float64 { return f.shows(t, "confman_auth_denials_total", "kind="+kind) }
	users, reads, writes := callers("user"), denials("read"), denials("write")
	f.ok("GET", config+"/a/x", "", as("all"))
	f.do("GET", config+"/a/x", "", as("eve"))
	f.do("PUT", config+"/a/x", "1", as("eve"))
	f.do("GET", config+"/a/x", "")
	f.do("GET", config+"/a/x", "", "Authorization: Bearer ")
	assert.InDelta(t, 3, callers("user")-users, 0)
	assert.InDelta(t, 1, callers(string(auth.MissingToken)), 0)
	assert.InDelta(t, 1, callers(string(auth.Malformed)), 0)
	assert.InDelta(t, 1, denials("read")-reads, 0)
	assert.InDelta(t, 1, denials("write")-writes, 0)
	assert.InDelta(t, 2, denials("access"), 0)
	for kind, name := range callerKinds {
		require.NotNil(t, f.api.counted.callers[name], kind)
	}
	assert.Len(t, f.api.counted.callers, len(callerKinds)+len(auth.Reasons())+1)
	f.api.counted.turnedAway(resultError)
	assert.InDelta(t, 1, callers(resultError), 0)
}

// TestNodeMetrics: what a node tells is shown under names that Prometheus likes.
func TestNodeMetrics(t *testing.T) {
	f := newFixture(t)
	problems, err := promlint.New(f.ok("GET", "/metrics", "").Body).Lint()
	require.NoError(t, err)
	assert.Empty(t, problems)
	var h node.Histogram
	h.Observe(3 * time.Millisecond)
	h.Observe(time.Minute)
	f.node.measures = node.Measures{
		LogSync: h.Times(), FileBytes: 7, Watchers: 3, LeaderChanges: 2,
		Proposals: []node.Ended{{Outcome: "not_applied", Reason: "overloaded", Count: 5}},
		Peers:     []transport.PeerStats{{ID: 2, Connected: true, QueuedBytes: 9, Dropped: 4, RoundTrip: time.Millisecond}, {ID: 9}},
	}
	f.node.status.StorageFull, f.node.status.Disputed = true, true
	assert.Nil(t, f.sample(t, "confman_backup_last_success_timestamp_seconds", ""), "it makes none")
	f.node.status.BackupEvery = time.Hour
	assert.InDelta(t, 0, f.shows(t, "confman_backup_last_success_timestamp_seconds", ""), 0, "there is none yet")
	f.node.status.LastBackup = time.UnixMilli(1500)
	assert.InDelta(t, 1.5, f.shows(t, "confman_backup_last_success_timestamp_seconds", ""), 0)
	f.node.status.StoreBytes, f.node.status.StoreQuota = 5, 10
	for name, want := range map[string]float64{
		"confman_store_file_bytes": 7, "confman_store_bytes": 5, "confman_store_quota_bytes": 10, "confman_watch_watchers": 3, "confman_node_leader_changes_total": 2, "confman_store_disputed": 1,
		"confman_store_damaged": 0, "confman_node_ready": 1, "confman_node_has_leader": 1, "confman_node_members": 3,
		"confman_node_staleness_seconds": 0.025,
	} {
		assert.InDelta(t, want, f.shows(t, name, ""), 1e-9, name)
	}
	for labels, want := range map[string]float64{"role=leader": 1, "role=follower": 0, "role=candidate": 0, "role=pre-candidate": 0} {
		require.NotNil(t, f.sample(t, "confman_node_role", labels))
		assert.InDelta(t, want, f.shows(t, "confman_node_role", labels), 0, labels)
	}
	assert.InDelta(t, 5, f.shows(t, "confman_node_proposals_total", "outcome=not_applied reason=overloaded"), 0)
	assert.InDelta(t, 1, f.shows(t, "confman_writes_refused", "reason=storage-full"), 0)
	assert.InDelta(t, 0, f.shows(t, "confman_writes_refused", "reason=quota"), 0)
	f.node.status.AtQuota = true
	assert.InDelta(t, 1, f.shows(t, "confman_writes_refused", "reason=quota"), 0)
	assert.InDelta(t, 1, f.shows(t, "confman_node_member_reachable", "member=node2"), 0)
	assert.InDelta(t, 0, f.shows(t, "confman_node_member_reachable", "member=node3"), 0)
	assert.Nil(t, f.sample(t, "confman_node_member_reachable", "member=node1"), "it is the node itself")
	assert.InDelta(t, 1, f.shows(t, "confman_transport_peer_connected", "member=node2"), 0)
	assert.Nil(t, f.sample(t, "confman_transport_peer_connected", "member=node3"), "the transport does not tell")
	assert.InDelta(t, 9, f.shows(t, "confman_transport_peer_queued_bytes", "member=node2"), 0)
	assert.InDelta(t, 4, f.shows(t, "confman_transport_peer_dropped_messages_total", "member=node2"), 0)
	assert.InDelta(t, 0.001, f.shows(t, "confman_transport_peer_round_trip_seconds", "member=node2"), 1e-9)

	sync := f.sample(t, "confman_wal_sync_duration_seconds", "").GetHistogram()
	assert.Equal(t, uint64(2), sync.GetSampleCount())
	assert.InDelta(t, 60.003, sync.GetSampleSum(), 1e-9)
	for _, b := range sync.GetBucket() {
		want := uint64(0)
		if b.GetUpperBound() >= 0.005 {
			want = 1
		}
		assert.Equal(t, want, b.GetCumulativeCount(), b.GetUpperBound())
	}

	f.node.status.Fresh = false
	assert.InDelta(t, math.Inf(1), f.shows(t, "confman_node_staleness_seconds", ""), 0, "nothing is proven")
	f.node.status = node.NodeStatus{Waiting: []string{"node2"}}
	assert.InDelta(t, 0, f.shows(t, "confman_node_role", "role=follower"), 0, "it has none yet")
}

// TestMembersOfOneName: while one replaces another, only it is shown; no sample is there twice.
func TestMembersOfOneName(t *testing.T) {
	s := &sight{}
	s.ID = 1
	s.State.Members = []fsm.Member{{RaftID: 1, Name: "node1"}, {RaftID: 4, Name: "node2"}, {RaftID: 2, Name: "node2"}}
	s.Reachable = []uint64{4}
	s.Peers = []transport.PeerStats{{ID: 2, Connected: false}, {ID: 4, Connected: true}}
	seen := map[*prometheus.Desc]float64{}
	s.peers(func(d *prometheus.Desc, _ prometheus.ValueType, value float64, labels ...string) {
		if d == memberDesc { // of this node, too
			assert.Equal(t, "seat", labels[1])
			return
		}
		assert.Equal(t, []string{"node2"}, labels)
		assert.NotContains(t, seen, d)
		seen[d] = value
	})
	assert.InDelta(t, 1, seen[reachableDesc], 0)
	assert.InDelta(t, 1, seen[connectedDesc], 0)
}

// TestMetricsAreFew: whoever asks for everything there is, and more, makes no label of it.
func TestMetricsAreFew(t *testing.T) {
	f := newFixture(t)
	size := func() int { return len(f.ok("GET", "/metrics", "").Body.Bytes()) }
	ask := func(s string) {
		for _, method := range []string{"GET", "PUT", "X" + s} {
			f.do(method, config+"/a/"+s, "")
			f.do(method, "/"+s, "")
		}
	}
	ask("first")
	before := size()
	for i := range 50 {
		ask(strings.Repeat("x", i+1))
	}
	assert.Less(t, size()-before, 200, "some numbers have more digits")
}

// TestScrapesAreBounded: they keep nobody else from being answered.
func TestScrapesAreBounded(t *testing.T) {
	f := newFixture(t)
	f.scrapes.Store(MaxScrapes)
	assert.Equal(t, kindOverloaded.name, kindOf(f.do("GET", "/metrics", "")))
	f.ok("GET", "/openapi.json", "")
	f.scrapes.Store(0)
	f.ok("GET", "/metrics", "")
	f.api.public.Store(MaxPublicRequests)
	f.ok("GET", "/metrics", "")
}

// TestMetricsInGzip, which Prometheus asks for.
func TestMetricsInGzip(t *testing.T) {
	f := newFixture(t)
	w := f.ok("GET", "/metrics", "", "Accept-Encoding: gzip")
	assert.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	assert.Less(t, w.Body.Len(), f.ok("GET", "/metrics", "").Body.Len()/3)
}

// TestMetricsThatFail: a metric that cannot be collected is a bug, and no page with holes.
func TestMetricsThatFail(t *testing.T) {
	f := newFixture(t)
	f.Registry.MustRegister(failing{errors.New("no such metric")})
	w := f.do("GET", "/metrics", "")
	assert.Equal(t, kindInternal.name, kindOf(w))
	assert.True(t, bytes.Contains(f.log.Bytes(), []byte("no such metric")))
}

// TestCountingCostsNoMemory: a read that goes well is counted by what was looked up before.
func TestCountingCostsNoMemory(t *testing.T) {
	f := newFixture(t)
	m := f.api.counted.of(base+"/config/*path", http.MethodGet)
	assert.Zero(t, testing.AllocsPerRun(100, func() { m.done(http.StatusOK, outcomeOK, time.Millisecond) }))
	assert.Zero(t, testing.AllocsPerRun(100, func() { f.api.counted.letIn(auth.User) }))
}

// failing is a collector of one metric, which fails.
type failing struct{ err error }

// Describe is part of prometheus.Collector.
func (f failing) Describe(to chan<- *prometheus.Desc) { to <- failingDesc }

// Collect is part of prometheus.Collector.
func (f failing) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.NewInvalidMetric(failingDesc, f.err)
}

var failingDesc = prometheus.NewDesc("confman_test", "A metric.", nil, nil)
