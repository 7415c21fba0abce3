package meter

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	// A name may look like the end of itself.
	d, err := parseStat([]byte("42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 7 20 0 9 0 100 1 1\n"))
	require.NoError(t, err)
	assert.Equal(t, 2*time.Second, d)
	_, err = parseStat([]byte("42 (a) S 1"))
	require.Error(t, err)
	_, err = parseStat([]byte("42 (a) S 1 42 42 0 -1 4194560 100 0 0 0 x 50 7 7"))
	require.Error(t, err)
}

func TestParseMachine(t *testing.T) {
	m, err := parseMachine([]byte("cpu  100 20 30 4000 500 6 7 80 9 0\ncpu0 1 2\n"))
	require.NoError(t, err)
	assert.Equal(t, Machine{Processes: 1500 * time.Millisecond, Interrupt: 130 * time.Millisecond, Steal: 800 * time.Millisecond}, m)
	for _, bad := range []string{"", "cpu 1 2 3", "intr 1 2 3 4 5 6 7 8 9", "cpu 1 2 3 4 x 6 7 8"} {
		_, err := parseMachine([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

func TestParseAnon(t *testing.T) {
	n, err := parseAnon([]byte("VmRSS:\t 9 kB\nRssAnon:\t     123 kB\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 123<<10, n)
	_, err = parseAnon([]byte("RssAnon:\n"))
	require.Error(t, err)
	_, err = parseAnon(nil)
	require.Error(t, err)
}

func TestOfThisProcess(t *testing.T) {
	_, err := Anon(os.Getpid())
	require.NoError(t, err)
	_, err = CPUs([]int{os.Getpid(), os.Getpid()})
	require.NoError(t, err)
	own, err := Own()
	require.NoError(t, err)
	assert.Positive(t, own)
	m, err := ReadMachine()
	require.NoError(t, err)
	assert.Positive(t, m.Processes)
	assert.False(t, ofKernel([]byte("1 (init) S 0 1")))
	assert.True(t, ofKernel([]byte("9 (kworker/0:1) I 2 0")))
	_, err = CPU(1 << 30)
	require.Error(t, err)
}

func TestParseDisk(t *testing.T) {
	n, err := parseDisk([]byte("  109 0 2 3   40 5 2048 7 0 9 10 0 0 0 0\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 1<<20, n)
	_, err = parseDisk([]byte("1 2 3"))
	require.Error(t, err)
	_, err = DiskWritten("/nowhere")
	require.Error(t, err)
}
