package servers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain is the empty handler if it is told so, as main is.
func TestMain(m *testing.M) {
	if err := ServeEmpty(); err != nil {
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// TestEmpty: the empty handler is a process, and answers everything as the other server answered one thing.
func TestEmpty(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Confman-Staleness", "0.1")
		_, _ = w.Write([]byte("a value\n"))
	}))
	defer s.Close()
	c, err := Empty(t.Context(), t.TempDir(), "/api/", s.URL+"/api/x")
	require.NoError(t, err)
	require.NoError(t, c.Start(t.Context()))
	defer c.Kill()
	status, header, body, err := ask(t.Context(), http.MethodGet, "http://"+c.Addrs()[0]+"/api/whatever", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "0.1", header.Get("Confman-Staleness"))
	assert.Equal(t, "a value\n", string(body))
	assert.Len(t, c.PIDs(), 1)
	c.Kill()
	assert.Empty(t, c.PIDs())
}

// TestAProcessThatEnds: what it wrote is in the error.
func TestAProcessThatEnds(t *testing.T) {
	p := &Process{line: []string{"/bin/sh", "-c", "echo no licence; exit 3"}, log: filepath.Join(t.TempDir(), "log")}
	require.NoError(t, p.Start())
	err := await(t.Context(), p, "node1", func(context.Context) (bool, error) { return false, nil })
	require.ErrorContains(t, err, "no licence")
	assert.NoError(t, p.Stop())
}

func TestStop(t *testing.T) {
	p := &Process{line: []string{"/bin/sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done"}, log: filepath.Join(t.TempDir(), "log")}
	require.NoError(t, p.Start())
	require.Error(t, p.Start(), "it runs")
	require.Eventually(t, func() bool { return p.tail() == "up\n" }, 10*time.Second, time.Millisecond)
	require.NoError(t, p.Stop())
	assert.False(t, p.Runs())
	require.NoError(t, p.Start(), "it can be started again")
	p.Kill()
}

func TestPortsAreFree(t *testing.T) {
	ports, err := freePorts(20)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, p := range ports {
		assert.False(t, seen[p])
		seen[p] = true
	}
}

func TestOnDisk(t *testing.T) {
	require.Error(t, OnDisk("/dev/shm"))
	require.Error(t, OnDisk(filepath.Join(t.TempDir(), "missing")))
}

func TestMetric(t *testing.T) {
	n, err := metric("# HELP go_goroutines x\ngo_goroutines 42\n", "go_goroutines")
	require.NoError(t, err)
	assert.InDelta(t, 42, n, 1e-9)
	_, err = metric("go_goroutines_more 42\n", "go_goroutines")
	require.Error(t, err)
}

// TestFiles: the node that has most counts, and nothing that is gone.
func TestFiles(t *testing.T) {
	small, large := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(large, "file"), make([]byte, 100_000), 0o600))
	c := &Cluster{Nodes: []*Node{{Data: large}, {Data: small}, {Data: filepath.Join(small, "none")}}}
	n, err := c.Files()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, n, int64(100_000))
}
