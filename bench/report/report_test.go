package report

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/bench/work"
)

func TestSpread(t *testing.T) {
	assert.Equal(t, Spread{}, Of(nil))
	assert.Equal(t, Spread{Median: 3, Min: 1, Max: 9, N: 3}, Of([]float64{9, 1, 3}))
	assert.Equal(t, Spread{Median: 2, Min: 1, Max: 3, N: 2}, Of([]float64{3, 1}))
	assert.Empty(t, Of(nil).text())
	assert.Equal(t, "2.00", Of([]float64{2}).text())
	assert.Equal(t, "2.00 [1.00–3.00]", Of([]float64{3, 1}).text())
}

func TestDigits(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.01234: "0.012", 0.5: "0.500", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 999.6: "1000", 1234: "1,230", 12345: "12,300",
		123456: "123,000", 1_234_567: "1,230,000",
	} {
		assert.Equal(t, want, digits(v))
	}
}

func results() *work.Results {
	r := &work.Results{Loads: []work.Load{
		{Name: "put", Want: work.Want{Ratio: 2, P99: 0.5, CPU: 100}},
		{Name: "read", Want: work.Want{Ratio: 2, Empty: 0.65}},
	}}
	add := func(l, by string, round int, rate, p99, cpu float64) {
		r.Cells = append(r.Cells, work.Cell{Load: l, By: by, Round: round, Attempt: 1, Ops: 1, Rate: rate, P99: p99, CPU: cpu})
	}
	for round, factor := range []float64{1, 2, 1.5} { // the machine is not the same in each
		add("put", work.Confman, round, 300*factor, 10, 90)
		add("put", work.EtcdGRPC, round, 100*factor, 20, 200)
		add("put", work.EtcdHTTP, round, 110*factor, 30, 250)
		add("read", work.Confman, round, 800, 1, 10)
		add("read", work.EtcdGRPC, round, 500, 1, 10)
		add("read", work.EtcdHTTP, round, 300, 1, 10)
		add("read", work.Empty, round, 1000, 1, 10)
	}
	return r
}

// TestMarkdown: ratios are those of a round, against the better way to drive etcd.
func TestMarkdown(t *testing.T) {
	text := Markdown(results())
	for _, line := range []string{
		"| put | 450 [300–600] | 150 [100–200] | 165 [110–220] | 2.73 [2.73–2.73] | ≥ 2: yes |",
		"| read | 800 [800–800] | 500 [500–500] | 300 [300–300] | 1.60 [1.60–1.60] | ≥ 2: **no** |",
		"| … by an empty handler with the same bytes | 800 [800–800] | 1,000 [1,000–1,000] |  | 0.800 [0.800–0.800] | ≥ 0.65: yes |",
		"| put | 90.0 [90.0–90.0] | ≤ 100: yes | 200 [200–200] | 250 [250–250] |  |",
		"| put | Confman | 0 [0–0] | 10.0 [10.0–10.0] | 0 [0–0] | 0.333 [0.333–0.333] | ≤ 0.5: yes |",
	} {
		assert.Contains(t, text, line+"\n")
	}
}

// TestWithoutEtcd: nothing is compared then.
func TestWithoutEtcd(t *testing.T) {
	r := results()
	var mine []work.Cell
	for _, c := range r.Cells {
		if c.By == work.Confman {
			mine = append(mine, c)
		}
	}
	r.Cells = mine
	assert.Contains(t, Markdown(r), "| put | 450 [300–600] |  |  |  | ≥ 2 |\n")
}

// TestTasks: of what less is better of, the better way to drive etcd took less.
func TestTasks(t *testing.T) {
	r := &work.Results{Tasks: []work.Task{
		{Name: "restart", Of: "5 keys", Unit: "s", Want: 0.5}, {Name: "watch", Unit: "ms", Want: 1, Against: work.EtcdGRPC}, {Name: "kill", Unit: "ms", Pooled: true},
	}}
	r.Figures = []work.Figure{
		{Task: "restart", By: work.Confman, Value: 1},
		{Task: "restart", By: work.Confman, Value: 3},
		{Task: "restart", By: work.Etcd, Value: 4},
		{Task: "restart", By: work.Etcd, Value: 4},
		{Task: "watch", By: work.Confman, Value: 9},
		{Task: "watch", By: work.EtcdGRPC, Value: 8},
		{Task: "watch", By: work.EtcdHTTP, Value: 20},
		{Task: "kill", By: work.Confman, Value: 5},
		{Task: "kill", By: work.Etcd, Value: 10},
		{Task: "kill", By: work.Etcd, Value: 30},
	}
	text := Markdown(r)
	for _, line := range []string{
		"| restart, 5 keys | s | 2.00 [1.00–3.00] | 4.00 [4.00–4.00] | 0.500 [0.250–0.750] | ≤ 0.5: yes |",
		"| watch | ms | 9.00 | gRPC 8.00, HTTP 20.0 | 1.12 | ≤ 1: **no** |",
		"| kill | ms | 5.00 | 20.0 [10.0–30.0] | 0.250 |  |",
	} {
		assert.Contains(t, text, line+"\n")
	}
}

// TestCurve: a point for each number of clients, a line for each contender that was measured.
func TestCurve(t *testing.T) {
	r := results()
	r.Loads[0].Curve = "put"
	assert.Empty(t, curveNames(r), "one point is no line")
	r.Loads[1].Curve = "put"
	require.Equal(t, []string{"put"}, curveNames(r))
	p := curve(r, "put")
	require.Len(t, p.Series, 6)
	assert.Equal(t, []float64{450, 800}, p.Series[0].X)
	dir := t.TempDir()
	require.NoError(t, Write(dir, "", r))
	assert.FileExists(t, filepath.Join(dir, "put.svg"))
}

// TestGrowth: a table for each axis, with a column empty of what was not measured.
func TestGrowth(t *testing.T) {
	r := &work.Results{Growth: []work.Growth{
		{Axis: "keys", At: 4096, By: work.Confman, Values: map[string]float64{work.GrowthNames[1]: 1234}},
		{Axis: "keys", At: 4096, By: work.Etcd, Values: map[string]float64{work.GrowthNames[0]: 2}},
		{Axis: "nodes", At: 5, By: work.Etcd},
	}}
	text := Markdown(r)
	assert.Contains(t, text, "| 4096 | Confman |  | 1,230 |  |")
	assert.Contains(t, text, "| 4096 | etcd | 2.00 |  |")
	assert.Contains(t, text, "| nodes |  | fill, s |")
}

// TestHour: what drifts is seen.
func TestHour(t *testing.T) {
	r := &work.Results{}
	for i := range 40 {
		r.Hour = append(r.Hour, work.Sample{At: float64(10 * i), Rate: 1000, P50: 1, P99: 3, Anon: 50 + float64(i), Files: 200, Goroutines: 99})
	}
	text := Markdown(r)
	assert.Contains(t, text, "| anonymous memory | MiB | 64.5 [60.0–69.0] | 84.5 [80.0–89.0] | 1.31 |\n")
	assert.Contains(t, text, "| goroutines |  | 99.0 [99.0–99.0] | 99.0 [99.0–99.0] | 1.00 |\n")
	dir := t.TempDir()
	require.NoError(t, Write(dir, text, r))
	assert.FileExists(t, filepath.Join(dir, "hour.svg"))
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	require.NoError(t, Write(dir, "text", results()))
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	require.NoError(t, err)
	var back work.Results
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, results(), &back)
}
