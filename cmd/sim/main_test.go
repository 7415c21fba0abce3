package main

import (
	"bytes"
	"errors"
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

// actEnv makes the test binary the command itself; its workers inherit it.
const actEnv = "CONFMAN_SIM_ACT"

func TestMain(m *testing.M) {
	if os.Getenv(actEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// act runs the command and returns its exit code and all that it printed.
func act(t *testing.T, args ...string) (int, string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	return finish(t, exec.Command(self, args...))
}

// finish runs cmd, which is the command, to its end.
func finish(t *testing.T, cmd *exec.Cmd) (int, string) {
	t.Helper()
	cmd.Env = append(os.Environ(), actEnv+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestRunPrintsTrace(t *testing.T) {
	history := filepath.Join(t.TempDir(), "history.jsonl")
	code, first := act(t, "run", "--seed", "any text", "--time", "20s", "--history", history)
	require.Zero(t, code, first)
	assert.Regexp(t, `^trace [0-9a-f]{16}\n$`, first)
	_, second := act(t, "run", "--seed", "any text", "--time", "20s")
	assert.Equal(t, first, second)
	info, err := os.Stat(history)
	require.NoError(t, err)
	assert.Positive(t, info.Size())
}

// Half a second is too little traffic for anything: a failure that needs no bug.
func TestFailureEndsWithReplay(t *testing.T) {
	cases := []struct {
		name string
		args []string
		last string
	}{
		{"run", []string{"run", "--seed", "9", "--time", "500ms", "--nodes", "3"}, "go run ./cmd/sim run --seed 9 --time 500ms --nodes 3"},
		{"sweep", []string{"sweep", "--seeds", "1", "--from", "9", "--time", "500ms", "--mix", "calm"}, "go run ./cmd/sim run --seed 9 --time 500ms --mix calm"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, out := act(t, c.args...)
			assert.Equal(t, exitFound, code)
			assert.Equal(t, c.last, lastLine(out))
		})
	}
}

func TestSweep(t *testing.T) {
	code, out := act(t, "sweep", "--seeds", "4", "--jobs", "2", "--time", "20s")
	require.Zero(t, code, out)
	assert.Regexp(t, `^4 of 4 seeds, 0 failed, .* virtual hours a minute$`, lastLine(out))
	assert.Contains(t, out, "outcome: applied")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"run", "--nodes", "2"},
		{"run", "--mix", "stormy"},
		{"run", "--no-such-flag"},
		{"sweep", "--seeds", "0"},
		{"sweep", "--for", "-1s"},
		{"sweep", "--hours", "-1"},
		{"sweep", "--nightly", "--seeds", "50"},
		{"sweep", "--nightly", "--seeds", "5000", "--mix", "calm"},
		{"sweep", "--without", "meteor"},
		{"sweep", "--regressions", "no-such-file"},
		{"sweep", "fast"},
		{"run", "--clients", "-1"},
		{"replay"},
		{"replay", "no-such-file"},
		{"shrink", "no-such-file"},
		{"shrink", "no-such-file", "--seed", "1"},
		{"no-such-command"},
		{"--no-such-flag"},
	} {
		code, out := act(t, args...)
		assert.Equal(t, exitUsage, code, "%v: %s", args, out)
	}
}

// thin is a world that fails without a bug: half a second is too little traffic.
const thin = 500 * time.Millisecond

// TestReplayLinesRun: each option goes through a shell and the flags, and comes out
// as it was.
func TestReplayLinesRun(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for _, o := range []sim.Options{
		{Seed: 1<<64 - 1, Time: thin},
		{Seed: 2, Time: thin, Nodes: 5},
		{Seed: 3, Time: thin, Mix: sim.Swarm},
		{Seed: 4, Time: thin, Without: []string{"kill"}},
		{Seed: 5, Time: thin, Without: []string{"power loss of all", "kill", "crash in a start"}},
		{Seed: 6, Time: thin, Clients: 1},
		{Seed: 7, Time: thin, Nodes: 3, Mix: sim.Uniform, Without: sim.Faults(), Clients: 2},
	} {
		line := o.Replay()
		flags, ok := strings.CutPrefix(line, "go run ./cmd/sim ")
		require.True(t, ok)
		code, out := finish(t, exec.Command("sh", "-c", `"$0" `+flags, self))
		assert.Equal(t, exitFound, code, out)
		assert.Equal(t, line, lastLine(out))
	}
}

// TestNoCommandIsRun: run may be left out.
func TestNoCommandIsRun(t *testing.T) {
	code, out := act(t, "--seed", "any text", "--time", "20s")
	require.Zero(t, code, out)
	_, run := act(t, "run", "--seed", "any text", "--time", "20s")
	assert.Equal(t, run, out)
}

// TestOut: the directory holds the same things whether the world fails or not.
func TestOut(t *testing.T) {
	for _, c := range []struct {
		name, time string
		code       int
		says       string
	}{
		{"right", "20s", 0, "go run ./cmd/sim run --seed 9 --time 20s --nodes 3\n"},
		{"wrong", "500ms", exitFound, "traffic: at "},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "dir")
			code, out := act(t, "run", "--seed", "9", "--time", c.time, "--nodes", "3", "--out", dir)
			require.Equal(t, c.code, code, out)
			read := func(name string) string {
				b, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				return string(b)
			}
			assert.True(t, strings.HasPrefix(read(historyFile), "{"))
			assert.Contains(t, read(reportFile), "</html>")
			world := read(worldFile)
			assert.Contains(t, world, "setup: ")
			assert.Contains(t, world, c.says)
			assert.Equal(t, "go run ./cmd/sim run --seed 9 --time "+c.time+" --nodes 3", lastLine(world))
		})
	}
}

// saved is the file of a failure.
func saved(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "failure.json")
	code, out := act(t, "run", "--seed", "9", "--time", "500ms", "--nodes", "3", "--save", path)
	require.Equal(t, exitFound, code, out)
	return path
}

func TestReplay(t *testing.T) {
	path := saved(t)
	code, out := act(t, "replay", path)
	assert.Equal(t, exitFound, code)
	assert.Contains(t, out, "reproduced: judge traffic complains; the same trace")
	assert.Equal(t, "go run ./cmd/sim run --seed 9 --time 500ms --nodes 3", lastLine(out))

	f, err := sim.ReadFound(path)
	require.NoError(t, err)
	f.Options.Time = 20 * time.Second
	require.NoError(t, f.Write(path))
	code, out = act(t, "replay", path)
	assert.Zero(t, code, out)
	assert.Contains(t, out, "not reproduced: the world is as it should be; another trace: ")
}

// TestCompare: what may differ from what was saved, at the same commit and at another.
func TestCompare(t *testing.T) {
	const commit, other = "8156ed1f0e2b4c6d8a90123456789abcdef01234", "18156ed1f0e2b4c6d8a90123456789abcdef0123"
	was := sim.Found{Judge: sim.JudgeState, Trace: sim.FormatTrace(1), Commit: commit}
	state, live := &sim.Failure{Judge: sim.JudgeState}, &sim.Failure{Judge: sim.JudgeLive}
	for _, c := range []struct {
		name    string
		commit  string
		failure *sim.Failure
		trace   uint64
		says    string
		failed  bool
		strange bool
	}{
		{"the same", commit, state, 1, "reproduced: judge state complains; the same trace", true, false},
		{"no failure", commit, nil, 1, "not reproduced: the world is as it should be", false, true},
		{"another trace", commit, state, 2, "reproduced: judge state complains; another trace", true, true},
		{"another judge", commit, live, 1, "not reproduced: judge liveness complains, it was state", true, true},
		{"other code, the same", other, state, 1, "commit " + other, true, false},
		{"other code, no failure", other, nil, 2, "not reproduced", false, false},
		{"other code, another trace", other, state, 2, "reproduced: judge state complains; another trace", true, false},
		{"other code, another judge", other, live, 2, "not reproduced: judge liveness", true, false},
		{"unknown code, no failure", "unknown", nil, 2, "not reproduced", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			err := compare(&out, &was, c.commit, &sim.Result{Trace: c.trace}, c.failure)
			assert.Contains(t, out.String(), c.says)
			switch {
			case c.strange:
				require.ErrorIs(t, err, errOtherWay)
			case c.failed:
				require.ErrorIs(t, err, c.failure)
			default:
				require.NoError(t, err)
			}
		})
	}
}

func TestShrink(t *testing.T) {
	path := saved(t)
	code, first := act(t, "shrink", path)
	assert.Equal(t, exitFound, code, first)
	assert.Contains(t, first, "run 1: as it is: fails\n")
	small, err := sim.ReadFound(strings.TrimSuffix(path, ".json") + "-small.json")
	require.NoError(t, err)
	assert.Equal(t, sim.JudgeTraffic, small.Judge)
	assert.Equal(t, small.Replay, lastLine(first))

	aside := filepath.Join(t.TempDir(), "small.json")
	code, second := act(t, "shrink", "--seed", "9", "--time", "500ms", "--nodes", "3", "--save", aside)
	assert.Equal(t, exitFound, code)
	assert.Equal(t, first, second, "flags and a file that say the same")
	again, err := sim.ReadFound(aside)
	require.NoError(t, err)
	assert.Equal(t, small, again)

	code, out := act(t, "shrink", "--seed", "any text", "--time", "20s")
	assert.Equal(t, exitTrouble, code)
	assert.Contains(t, out, "the failure does not come")
}
