package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/sim"
)

// TestSweepFailures: all that fail are told by judge, kept in files, and in the summary.
func TestSweepFailures(t *testing.T) {
	dir, summary := filepath.Join(t.TempDir(), "failures"), filepath.Join(t.TempDir(), "summary.json")
	code, out := act(t, "sweep", "--seeds", "3", "--from", "7", "--time", "500ms", "--keep-going",
		"--without", "kill,slow disks", "--clients", "1", "--save", dir, "--json", summary)
	assert.Equal(t, exitFound, code)
	assert.Contains(t, out, "judge traffic: 3 failed: seeds 7, 8, 9\n")
	assert.Equal(t, "go run ./cmd/sim run --seed 7 --time 500ms --without 'kill,slow disks' --clients 1", lastLine(out))

	for n := range 3 {
		f, err := sim.ReadFound(filepath.Join(dir, fmt.Sprintf("world-%d-traffic.json", n+1)))
		require.NoError(t, err)
		assert.Equal(t, uint64(7+n), f.Options.Seed)
	}
	var s struct {
		Commit       string
		Seeds        int
		VirtualHours float64 `json:"virtual_hours"`
		HoursAMinute float64 `json:"hours_a_minute"`
		Reached      map[string]map[string]uint64
		Failures     []sim.Found
	}
	b, err := os.ReadFile(summary)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &s))
	assert.Equal(t, sim.Commit(), s.Commit)
	assert.Equal(t, 3, s.Seeds)
	assert.Positive(t, s.VirtualHours)
	assert.Positive(t, s.HoursAMinute)
	require.Len(t, s.Failures, 3)
	assert.Equal(t, sim.JudgeTraffic, s.Failures[0].Judge)
	assert.Contains(t, s.Reached["faults"], "kill", "what was never reached is there with 0")
	assert.Len(t, s.Reached["marks"], len(sim.Marks()))
	assert.Positive(t, s.Reached["states"]["start"])
}

// TestSweepStops: no world is begun after a failure.
func TestSweepStops(t *testing.T) {
	code, out := act(t, "sweep", "--seeds", "1000", "--jobs", "1", "--time", "500ms")
	assert.Equal(t, exitFound, code)
	assert.Contains(t, out, "1 of 1000 seeds, 1 failed")
}

// TestRegressions: they run first, each with its own options, and say why they are there.
func TestRegressions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"about": "a test", "worlds": [
		{"why": "all was well", "options": {"seed": "any text", "time": "20s"}},
		{"why": "once too short", "options": {"seed": "9", "time": "500ms", "nodes": 3}}]}`), 0o600))
	code, out := act(t, "sweep", "--seeds", "1", "--jobs", "1", "--time", "20s", "--keep-going", "--regressions", path)
	assert.Equal(t, exitFound, code)
	assert.Contains(t, out, "seed 9 failed (a regression: once too short): traffic: ")
	assert.Contains(t, out, "3 of 3 seeds, 1 failed")
	assert.Equal(t, "go run ./cmd/sim run --seed 9 --time 500ms --nodes 3", lastLine(out))
}

// TestRegressionsList: the list in the repository can be run.
func TestRegressionsList(t *testing.T) {
	list, err := sim.ReadRegressions("../../testdata/seeds/regressions.json")
	require.NoError(t, err)
	assert.NotEmpty(t, list)
}

// TestTake: regressions, then seeds in order, then more of them until the time is over.
func TestTake(t *testing.T) {
	s := sweep{
		from: 5, seeds: 2, lasting: time.Hour, start: time.Now(), world: worldFlags{time: time.Minute, clients: 2},
		regressions: []sim.Regression{{Options: sim.Options{Seed: 99, Time: time.Second, Nodes: 5}}},
	}
	for n, want := range []sim.Options{
		{Seed: 99, Time: time.Second, Nodes: 5},
		{Seed: 5, Time: time.Minute, Clients: 2},
		{Seed: 6, Time: time.Minute, Clients: 2},
		{Seed: 7, Time: time.Minute, Clients: 2},
	} {
		got, o, ok := s.take()
		require.True(t, ok)
		assert.Equal(t, n, got)
		assert.Equal(t, want, o)
	}
	s.start = s.start.Add(-time.Hour)
	_, _, ok := s.take()
	assert.False(t, ok, "the time is over")
	s.next = 2
	_, _, ok = s.take()
	assert.True(t, ok, "--seeds is demanded even then")
	s.failures = make([]failedWorld, 1)
	_, _, ok = s.take()
	assert.False(t, ok, "a world failed")
	s.keepGoing = true
	_, _, ok = s.take()
	assert.False(t, ok, "all seeds are given out")
	s.next = 0
	_, _, ok = s.take()
	assert.True(t, ok)
	s.trouble = os.ErrInvalid
	_, _, ok = s.take()
	assert.False(t, ok, "a worker is in trouble")
}

// TestFor: the time comes on top of the seeds, and no total is promised.
func TestFor(t *testing.T) {
	code, out := act(t, "sweep", "--seeds", "2", "--time", "20s", "--for", "1ms")
	require.Zero(t, code, out)
	assert.Regexp(t, `^2 seeds, 0 failed, `, lastLine(out))
}

func TestHours(t *testing.T) {
	code, out := act(t, "sweep", "--seeds", "1", "--time", "20s", "--hours", "0.001")
	require.Zero(t, code, out)
	code, out = act(t, "sweep", "--seeds", "1", "--time", "20s", "--hours", "5")
	assert.Equal(t, exitTrouble, code)
	assert.Contains(t, lastLine(out), "--hours demands 5")
}

// TestMissing: a plain sweep of some size demands all faults, a nightly one everything.
func TestMissing(t *testing.T) {
	everything := func() map[string]uint64 {
		fired := map[string]uint64{}
		for _, g := range groups() {
			for _, name := range g.names {
				fired[name] = 1
			}
		}
		return fired
	}
	fault, mark, state := sim.Faults()[3], sim.Marks()[3], sim.States()[0]
	for _, c := range []struct {
		name string
		s    *sweep
		want []string
	}{
		{"few seeds", &sweep{done: coverageSeeds - 1}, nil},
		{"some seeds", &sweep{done: coverageSeeds}, []string{fault}},
		{"narrowed", &sweep{done: coverageSeeds, world: worldFlags{without: []string{fault}}}, nil},
		{"nightly", &sweep{done: nightlySeeds, nightly: true}, []string{fault, mark, state}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.fired = everything()
			assert.Empty(t, c.s.missing())
			require.NoError(t, c.s.verdict())
			delete(c.s.fired, fault)
			delete(c.s.fired, mark)
			delete(c.s.fired, state)
			assert.ElementsMatch(t, c.want, c.s.missing())
			if c.want != nil {
				require.ErrorIs(t, c.s.verdict(), errUnreached)
			}
		})
	}
}

// TestSummaryTellsNever: what was not reached is in the summary, by its group.
func TestSummaryTellsNever(t *testing.T) {
	var out bytes.Buffer
	s := sweep{out: &out, start: time.Now(), fired: map[string]uint64{"kill": 3, "a new state": 1}}
	s.summary()
	assert.Contains(t, out.String(), "         3  kill\n")
	assert.Contains(t, out.String(), "     never  "+sim.Marks()[0]+"\n")
	_, states, found := strings.Cut(out.String(), "states:\n")
	require.True(t, found)
	assert.Contains(t, states, "         1  a new state\n")
}

// TestHoles: what no world reaches is told with its reason, and not demanded.
func TestHoles(t *testing.T) {
	for name, why := range sim.Holes() {
		assert.Equal(t, "     never  "+name+" (a hole: "+why+")", reached(name, 0))
		assert.Contains(t, reached(name, 2), "a hole no more")
		s := sweep{nightly: true, fired: map[string]uint64{}}
		assert.NotContains(t, s.missing(), name)
	}
}

func TestList(t *testing.T) {
	code, out := act(t, "sweep", "--list")
	require.Zero(t, code)
	for _, g := range groups() {
		assert.Contains(t, out, g.name+":\n")
		for _, name := range g.names {
			assert.Contains(t, out, "  "+name+"\n")
		}
	}
}

// TestWorkerLines: a line is a seed, for a world of the flags, or a whole world.
func TestWorkerLines(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "worker", "--time", "500ms", "--nodes", "3")
	cmd.Stdin = strings.NewReader("9\n" + `{"seed":"8","time":"400ms"}` + "\n")
	code, out := finish(t, cmd)
	require.Zero(t, code, out)
	dec := json.NewDecoder(strings.NewReader(out))
	for _, replay := range []string{
		"go run ./cmd/sim run --seed 9 --time 500ms --nodes 3",
		"go run ./cmd/sim run --seed 8 --time 400ms",
	} {
		var v verdict
		require.NoError(t, dec.Decode(&v))
		require.NotNil(t, v.Found)
		assert.Equal(t, replay, v.Replay)
		assert.Equal(t, sim.JudgeTraffic, v.Judge)
	}
	cmd = exec.Command(self, "worker")
	cmd.Stdin = strings.NewReader("{}\n")
	code, _ = finish(t, cmd)
	assert.Equal(t, exitUsage, code)
}

// TestSweepRemovesLeftStores: what a killed worker left in memory is gone.
func TestSweepRemovesLeftStores(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	dead := exec.Command(self, "-test.run", "^$")
	require.NoError(t, dead.Run())
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = os.TempDir()
	}
	left := filepath.Join(base, fmt.Sprintf("confman-sim-%d-left", dead.Process.Pid))
	require.NoError(t, os.Mkdir(left, 0o700))
	t.Cleanup(func() { _ = os.RemoveAll(left) })
	code, out := act(t, "sweep", "--seeds", "1", "--time", "20s")
	require.Zero(t, code, out)
	assert.NoDirExists(t, left)
}

// TestWorldHangs: a world that takes too long is killed, and told like one that ended
// its process.
func TestWorldHangs(t *testing.T) {
	t.Setenv(actEnv, "1")
	o := sim.Options{Seed: 1, Time: 1000 * time.Hour}
	w, err := startWorker()
	require.NoError(t, err)
	w.hang = -o.Time
	_, err = w.run(o)
	require.ErrorContains(t, err, "it does not end")
	assert.Equal(t, o.Replay(), lastLine(err.Error()))
	require.Error(t, w.stop())

	w, err = startWorker()
	require.NoError(t, err)
	require.NoError(t, w.cmd.Process.Kill())
	_, err = w.run(o)
	require.ErrorContains(t, err, "process died")
	assert.Equal(t, o.Replay(), lastLine(err.Error()))
	require.Error(t, w.stop())
}
