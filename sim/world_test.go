package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// traceEnv makes the test binary run one world and print its trace.
const traceEnv = "CONFMAN_SIM_TRACE_SEED"

func TestMain(m *testing.M) {
	if seed := os.Getenv(traceEnv); seed != "" {
		result, err := Run(Options{Seed: ParseSeed(seed), Time: traceTime})
		fmt.Printf("trace %016x %v\n", result.Trace, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const traceTime = 15 * time.Second

// TestSameSeedSameTrace runs seeds twice here and once in another process with
// another number of threads.
func TestSameSeedSameTrace(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	seen := map[uint64]bool{}
	images := uint64(0)
	for seed := uint64(9); seed <= 12; seed++ {
		first, err := Run(Options{Seed: seed, Time: traceTime})
		require.NoError(t, err)
		images += first.Fired["image verified"]
		second, err := Run(Options{Seed: seed, Time: traceTime})
		require.NoError(t, err)
		require.Equal(t, first.Trace, second.Trace, "seed %d", seed)
		require.Equal(t, first.Events, second.Events, "seed %d", seed)

		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", traceEnv, seed), "GOMAXPROCS=1", "GOGC=20")
		out, err := cmd.Output()
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("trace %016x <nil>", first.Trace), strings.TrimSpace(string(out)))
		assert.False(t, seen[first.Trace], "two seeds gave one trace")
		seen[first.Trace] = true
	}
	assert.Positive(t, images, "no world sent an image, whose bytes are the likeliest to differ")
}

// TestWorlds is the control of the planted bugs: the same seeds, nothing planted.
func TestWorlds(t *testing.T) {
	for seed := uint64(1); seed <= controlSeeds; seed++ {
		o := Options{Seed: seed, Time: plantedTime}
		_, err := Run(o)
		require.NoError(t, err)
	}
}

// TestSizes: every size of cluster, every mix.
func TestSizes(t *testing.T) {
	for _, nodes := range []int{1, 3, 5} {
		for _, mix := range []Mix{Calm, Uniform, Swarm} {
			t.Run(fmt.Sprintf("%d %s", nodes, mix), func(t *testing.T) {
				result, err := Run(Options{Seed: 7, Time: 10 * time.Second, Nodes: nodes, Mix: mix})
				require.NoError(t, err)
				assert.Positive(t, result.Fired["outcome: applied"])
				assert.Positive(t, result.Fired["outcome: read"])
			})
		}
	}
}

// TestFailureReplays: what a failure prints runs the same world again.
func TestFailureReplays(t *testing.T) {
	o := Options{Seed: 3, Time: 90 * time.Second, Nodes: 5, Mix: Swarm}
	f := &Failure{Err: errors.New("broken"), Replay: o.Replay()}
	lines := strings.Split(f.Error(), "\n")
	assert.Equal(t, "go run ./cmd/sim run --seed 3 --time 1m30s --nodes 5 --mix swarm", lines[len(lines)-1])
	assert.Equal(t, "go run ./cmd/sim run --seed 3 --time 1m", Options{Seed: 3}.Replay())
}

func TestOptionsRefused(t *testing.T) {
	for _, o := range []Options{{Nodes: 2}, {Mix: "stormy"}, {Time: -1}} {
		_, err := Run(o)
		require.Error(t, err)
		var f *Failure
		require.NotErrorAs(t, err, &f)
	}
}

func TestParseSeed(t *testing.T) {
	assert.Equal(t, uint64(12), ParseSeed("12"))
	assert.Equal(t, uint64(255), ParseSeed("0xff"))
	assert.NotEqual(t, ParseSeed("a"), ParseSeed("b"))
	for _, commit := range []string{
		"0000000000000000000000000000000000000012", // octal 12
		"0b00000000000000000000000000000000000001", // binary 1
		"1234567890123456789012345678901234567890", // no 64 bits hold it
		"8156ed1f0e2b4c6d8a90123456789abcdef01234",
	} {
		require.Len(t, commit, commitDigits)
		assert.Equal(t, xxhash.Sum64String(commit), ParseSeed(commit))
	}
	assert.Equal(t, uint64(1), ParseSeed(strings.Repeat("0", 38)+"1"), "39 digits are a number")
}

// TestOptionsInFiles: what is written is read back, and nothing else is taken.
func TestOptionsInFiles(t *testing.T) {
	for _, o := range []Options{
		{Seed: 1, Time: time.Minute},
		{Seed: math.MaxUint64, Time: 1500 * time.Millisecond, Nodes: 5, Mix: Swarm, Without: []string{"kill", "slow disks"}, Clients: 3},
	} {
		b, err := json.Marshal(o)
		require.NoError(t, err)
		var back Options
		require.NoError(t, json.Unmarshal(b, &back))
		assert.Equal(t, o, back, "%s", b)
	}
	for text, says := range map[string]string{
		`{"seed":"1","time":"1m","nodes":2}`:          "2 nodes",
		`{"seed":"1","time":"1m","without":["rain"]}`: "rain",
		`{"seed":"1","time":"soon"}`:                  "time",
		`{"seed":"1","time":"1m","speed":3}`:          "speed",
	} {
		var o Options
		assert.ErrorContains(t, json.Unmarshal([]byte(text), &o), says, text)
	}
}

// TestThinTraffic: a run in which nothing happened is no pass.
func TestThinTraffic(t *testing.T) {
	_, err := Run(Options{Seed: 1, Time: 500 * time.Millisecond})
	require.ErrorIs(t, err, errThin)
}
