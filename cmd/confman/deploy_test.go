package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const deploy = "../../deploy"

// sometimes are metrics that a node shows only if it is configured so: that it makes backups by itself.
var sometimes = []string{"confman_backup_last_success_timestamp_seconds"}

// metricName is the name of a metric or of what a rule records, wherever it stands.
var metricName = regexp.MustCompile(`\b[a-z_]*:?confman_[a-z0-9_]+(?::[a-z0-9_]+)?`)

func deployed(t *testing.T, name string, into any) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, name))
	require.NoError(t, err)
	if strings.HasSuffix(name, ".json") {
		err = json.Unmarshal(text, into)
	} else {
		err = yaml.Unmarshal(text, into)
	}
	require.NoError(t, err, name)
	return string(text)
}

type rule struct{ Record, Alert, Expr string }

func rules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	deployed(t, "prometheus/rules.yml", &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// strangers are names in an expression that no node shows and no rule records.
func strangers(expr string, known map[string]bool) (all []string) {
	for _, name := range metricName.FindAllString(expr, -1) {
		if !known[name] && !slices.Contains(sometimes, name) {
			all = append(all, name)
		}
	}
	return all
}

// TestDeployNamesWhatIsExported: each metric of the rules, of their tests and of the dashboard is one
// that docs/metrics.md has, which TestMetrics writes from what a cluster shows.
func TestDeployNamesWhatIsExported(t *testing.T) {
	known := exported(t)
	named := 0
	look := func(where, expr string) {
		t.Helper()
		named += len(metricName.FindAllString(expr, -1))
		assert.Empty(t, strangers(expr, known), "%s: %s", where, expr)
	}
	for _, r := range rules(t) {
		look("rules.yml", r.Expr)
		if r.Record != "" {
			known[r.Record] = true
		}
	}
	var tests struct {
		Tests []struct {
			InputSeries []struct{ Series string } `yaml:"input_series"`
			PromqlTest  []struct{ Expr string }   `yaml:"promql_expr_test"`
		}
	}
	deployed(t, "prometheus/rules_test.yml", &tests)
	for _, test := range tests.Tests {
		for _, s := range test.InputSeries {
			look("rules_test.yml", s.Series)
		}
		for _, e := range test.PromqlTest {
			look("rules_test.yml", e.Expr)
		}
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
		Templating struct {
			List []struct{ Query json.RawMessage }
		}
	}
	deployed(t, "grafana/confman.json", &board)
	ids := map[int]bool{}
	for _, p := range board.Panels {
		assert.False(t, ids[p.ID], "panel %d is there twice", p.ID)
		ids[p.ID] = true
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, "%s: the grid has 24 columns", p.Title)
		for _, target := range p.Targets {
			look("confman.json: "+p.Title, target.Expr)
			assert.Contains(t, target.Expr, `job="$job"`, "%s is of one cluster", p.Title)
		}
	}
	for _, v := range board.Templating.List {
		look("confman.json: variables", string(v.Query))
	}
	require.Greater(t, named, 80, "the names were not found")

	assert.Equal(t, []string{"confman_none_total"}, strangers("rate(confman_none_total[5m]) + confman_node_ready", known), "one that is wrong is found")
	assert.Equal(t, []string{"job:confman_none:rate5m"}, strangers("job:confman_none:rate5m > 0", known))
}

// TestEveryAlertIsTested: each alert has a test in which it fires, and one in which it does not.
func TestEveryAlertIsTested(t *testing.T) {
	var tests struct {
		Tests []struct {
			AlertTest []struct {
				Alertname string
				Expected  []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	deployed(t, "prometheus/rules_test.yml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, a := range test.AlertTest {
			if len(a.Expected) > 0 {
				fires[a.Alertname] = true
			} else {
				silent[a.Alertname] = true
			}
		}
	}
	alerts := map[string]bool{}
	page, err := os.ReadFile(filepath.Join(deploy, "README.md"))
	require.NoError(t, err)
	for _, r := range rules(t) {
		if r.Alert != "" {
			alerts[r.Alert] = true
			assert.Contains(t, string(page), r.Alert, "deploy/README.md tells what it means")
		}
	}
	require.Greater(t, len(alerts), 10)
	names := slices.Sorted(maps.Keys(alerts))
	assert.Equal(t, names, slices.Sorted(maps.Keys(fires)))
	assert.Equal(t, names, slices.Sorted(maps.Keys(silent)))
}
