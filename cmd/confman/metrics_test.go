package main

import (
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const metricsPage = "../../docs/metrics.md"

// metrics are what a node shows, by name.
type metrics map[string]*dto.MetricFamily

func (f *fleet) scrape(p *proc) metrics {
	f.tb.Helper()
	a := f.ask(p, http.MethodGet, "/metrics", "", "Accept", "text/plain;version=0.0.4")
	require.Equal(f.tb, http.StatusOK, a.status, a.body)
	problems, err := promlint.New(strings.NewReader(a.body)).Lint()
	require.NoError(f.tb, err)
	assert.Empty(f.tb, problems)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	require.NoError(f.tb, err)
	return families
}

// value adds up the samples of a metric that have the labels, given as name, value, name, value;
// of a histogram, how much it counted.
func (m metrics) value(name string, labels ...string) float64 {
	sum := 0.0
	for _, sample := range m[name].GetMetric() {
		has := func(name, value string) bool {
			return slices.ContainsFunc(sample.GetLabel(), func(l *dto.LabelPair) bool { return l.GetName() == name && l.GetValue() == value })
		}
		fits := true
		for i := 0; i < len(labels); i += 2 {
			fits = fits && has(labels[i], labels[i+1])
		}
		if fits {
			sum += sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + float64(sample.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// TestMetrics scrapes a cluster: every name is as Prometheus wants it, and what is done is counted.
// What it sees is docs/metrics.md.
func TestMetrics(t *testing.T) {
	f := newFleet(t, 3)
	f.certs = filepath.Join(f.dir, "ca")
	for _, args := range [][]string{{"init"}, {"node", "node1"}, {"node", "node2"}, {"node", "node3"}} {
		r := f.confman(append(append([]string{"cert"}, args...), "--dir", f.certs)...)
		require.Zero(t, r.code, r.err)
	}
	ca, err := os.ReadFile(filepath.Join(f.certs, "ca.crt"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(f.certs, "bundle.crt"), ca, 0o600))
	for _, p := range f.nodes {
		f.configure(p)
	}
	f.start(f.nodes...)
	f.await(f.nodes...)
	before := map[*proc]metrics{}
	for _, p := range f.nodes {
		before[p] = f.scrape(p)
	}
	for _, p := range f.nodes {
		for i := range 3 {
			key := fmt.Sprintf("%s%s/%d", configPath, p.name, i)
			require.Equal(t, http.StatusCreated, f.ask(p, http.MethodPut, key, "1").status)
			require.Equal(t, http.StatusOK, f.ask(p, http.MethodGet, key+"?consistency=linearizable", "").status)
		}
		require.Equal(t, http.StatusNotFound, f.ask(p, http.MethodGet, configPath+"none", "").status)
		require.Equal(t, http.StatusNotFound, f.ask(p, http.MethodGet, "/wp-login.php", "").status)
		require.Equal(t, http.StatusOK, f.ask(p, http.MethodGet, "/api/v1/watch/"+p.name+"/?from_revision=0&wait=1s", "").status)
	}
	last := f.converge()
	all := metrics{}
	for _, p := range f.nodes {
		// A busy machine may be late with some of it.
		f.until(readyWait, p.name+" shows a cluster that is well", func() bool {
			m := f.scrape(p)
			return m.value("confman_node_ready") == 1 && m.value("confman_node_has_leader") == 1 &&
				m.value("confman_node_staleness_seconds") < 5 && m.value("confman_transport_peer_connected") == 2 &&
				m.value("confman_node_member_reachable") >= 1+m.value("confman_node_role", "role", "leader")
		})
		now := f.scrape(p)
		maps.Copy(all, now)
		rose := func(least float64, name string, labels ...string) {
			t.Helper()
			assert.GreaterOrEqual(t, now.value(name, labels...)-before[p].value(name, labels...), least, "%s: %s %v", p.name, name, labels)
		}
		const route = "/api/v1/config"
		rose(3, "confman_http_requests_total", "route", route, "method", "PUT", "code", "201", "outcome", "ok")
		rose(3, "confman_http_requests_total", "route", route, "method", "GET", "code", "200", "outcome", "ok")
		rose(1, "confman_http_requests_total", "route", route, "code", "404", "outcome", "not-found")
		rose(1, "confman_http_requests_total", "route", "other", "outcome", "no-route")
		rose(6, "confman_http_request_duration_seconds", "route", route, "outcome", "ok")
		rose(1, "confman_http_request_duration_seconds", "route", route, "outcome", "refused")
		rose(1, "confman_watch_events_total")
		rose(3, "confman_node_proposals_total", "outcome", "applied")
		rose(3, "confman_node_reads_total", "outcome", "confirmed")
		rose(3, "confman_node_proposal_duration_seconds")
		rose(3, "confman_node_read_duration_seconds")
		for _, stage := range []string{"queue", "append", "replicate", "apply"} {
			rose(3, "confman_node_proposal_stage_duration_seconds", "stage", stage)
		}
		for _, some := range []string{
			"confman_node_step_duration_seconds", "confman_wal_append_duration_seconds", "confman_wal_sync_duration_seconds",
			"confman_store_apply_duration_seconds", "confman_store_applied_entries_total",
		} {
			rose(1, some)
		}
		for _, some := range []string{
			"confman_wal_bytes", "confman_wal_files", "confman_store_bytes", "confman_store_quota_bytes", "confman_store_file_bytes", "confman_disk_bytes", "confman_disk_free_bytes",
			"confman_http_connections", "confman_tls_certificate_expiry_timestamp_seconds", "process_resident_memory_bytes", "go_goroutines",
		} {
			assert.Positive(t, now.value(some), some)
		}
		assert.InDelta(t, float64(last.Revision), now.value("confman_store_revision"), 0)
		assert.InDelta(t, 3, now.value("confman_node_members"), 0)
		assert.InDelta(t, 1, now.value("confman_node_role"), 0, "it has one")
	}

	leader := f.leader()
	for _, p := range f.nodes {
		before[p] = f.scrape(p)
	}
	f.kill(leader)
	for _, p := range f.others(leader) {
		f.until(readyWait, p.name+" has another leader, and counts it", func() bool {
			m := f.scrape(p)
			return m.value("confman_node_leader_changes_total") > before[p].value("confman_node_leader_changes_total") &&
				m.value("confman_node_has_leader") == 1 && m.value("confman_transport_peer_connected", "member", leader.name) == 0
		})
	}

	page := metricsTable(all)
	if flag.Lookup("rewrite").Value.String() == "true" { // the flag is datadriven's
		require.NoError(t, os.WriteFile(metricsPage, page, 0o600))
	}
	want, err := os.ReadFile(metricsPage)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(page), "docs/metrics.md; go test ./cmd/confman -run TestMetrics -rewrite")
}

const metricsHead = `# Metrics

` + "`GET /metrics`" + ` on the API port of each node, without a token: what the node counted since it started, in Prometheus'
text format. A test writes this page from what a cluster shows. [deploy](../deploy/README.md) has rules, alerts and a
dashboard over these.

Labels are bounded: a route is what the API has, never a path; an outcome is ` + "`ok`" + `, or the name of a
[problem](api.md#problems); a member is one of the names that the cluster's members have. Beside these there are the ` + "`go_`" + ` and
` + "`process_`" + ` metrics that all programs in Go have.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
`

// metricsTable is the page of what is shown, but for what all programs have.
func metricsTable(all metrics) []byte {
	out := []byte(metricsHead)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !strings.HasPrefix(name, "confman_") {
			continue
		}
		family := all[name]
		var labels []string
		for _, l := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		out = fmt.Appendf(out, "| `%s` | %s | %s | %s |\n", name,
			strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), strings.ReplaceAll(family.GetHelp(), "|", "\\|"))
	}
	return out
}

// exported are the names of samples that docs/metrics.md tells of.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(metricsPage)
	require.NoError(t, err)
	names := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, " | ")
		name, ok := strings.CutPrefix(cells[0], "| `confman_")
		if !ok {
			continue
		}
		name = "confman_" + strings.TrimSuffix(name, "`")
		names[name] = true
		if cells[1] == "histogram" {
			delete(names, name)
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[name+suffix] = true
			}
		}
	}
	require.Greater(t, len(names), 40)
	return names
}
