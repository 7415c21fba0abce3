package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), actEnv+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
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
	} {
		code, out := act(t, args...)
		assert.Equal(t, exitUsage, code, "%v: %s", args, out)
	}
}
