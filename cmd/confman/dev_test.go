package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/config"
)

// devIn makes a dev cluster in a directory, on ports that are free.
func devIn(t *testing.T, dir string) (d *dev, out *bytes.Buffer) {
	t.Helper()
	out = &bytes.Buffer{}
	// Ports 10 apart for up to 5 nodes: a free one tells nothing of its neighbours.
	for range 100 {
		port := freePorts(t, 1)[0]
		d = &dev{env: env{out: out, err: out}, dir: dir, nodes: 5, port: port, self: "/bin/false", called: "confman"}
		if port < 65000 && d.plan() == nil && d.checkPorts() == nil {
			d.nodes = 3
			return d, out
		}
	}
	t.Fatal("no free ports")
	return nil, nil
}

func TestDevWritesValidConfiguration(t *testing.T) {
	dir := t.TempDir()
	d, _ := devIn(t, dir)
	require.NoError(t, d.prepare())
	for i := range 3 {
		name := fmt.Sprintf("node%d", i+1)
		cfg, err := config.Load(filepath.Join(dir, name+".json"), nil, nil)
		require.NoError(t, err)
		assert.Equal(t, name, cfg.Cluster.NodeID)
		assert.Equal(t, filepath.Join(dir, name), cfg.Data.Dir)
		assert.Equal(t, d.port+10*i, cfg.Self().APIPort)
		assert.Equal(t, d.port+10*i+1, cfg.Self().RaftPort)
		assert.Equal(t, "127.0.0.1", cfg.Self().Address)
		assert.Len(t, cfg.Cluster.Nodes, 3)
	}
}

func TestDevWithoutAuthAsksNobody(t *testing.T) {
	dir := t.TempDir()
	d, _ := devIn(t, dir)
	require.NoError(t, d.prepare())
	cfg, err := config.Load(filepath.Join(dir, "node1.json"), nil, nil)
	require.NoError(t, err)
	assert.Equal(t, config.Auth{Mode: config.ModeNone, MaxPolicyStaleness: config.DefaultMaxPolicyStaleness}, cfg.Auth)
}

// TestDevWithAuth: the nodes believe the provider, and a cluster that does stays so.
func TestDevWithAuth(t *testing.T) {
	dir := t.TempDir()
	d, _ := devIn(t, dir)
	require.NoError(t, d.prepare())
	d.auth = true
	require.NoError(t, d.prepare(), "one that nobody administers may get an administrator")
	for _, name := range []string{"node1", "node2", "node3"} {
		cfg, err := config.Load(filepath.Join(dir, name+".json"), nil, nil)
		require.NoError(t, err)
		require.NoError(t, checkAuth(cfg.Auth))
		assert.Equal(t, config.ModeOIDC, cfg.Auth.Mode)
		assert.Equal(t, "user:local/admin", cfg.Auth.Bootstrap)
		require.Len(t, cfg.Auth.Issuers, 1)
		assert.Equal(t, fmt.Sprintf("http://127.0.0.1:%d/oidc", d.port+5), cfg.Auth.Issuers[0].URL)
	}
	d.auth = false
	err := d.prepare()
	require.ErrorContains(t, err, "use --auth, --clean to begin anew, or another --dir")
	assert.Equal(t, exitUsage, exitCode(err))
	d.clean = true
	require.NoError(t, d.prepare())

	d.auth = true
	l, err := net.Listen("tcp", d.issuer())
	require.NoError(t, err)
	defer l.Close()
	require.ErrorContains(t, d.prepare(), fmt.Sprintf("port %d, for the provider of tokens", d.port+5))
}

func TestDevTellsWhichPortIsTaken(t *testing.T) {
	d, _ := devIn(t, t.TempDir())
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", d.port+11))
	require.NoError(t, err)
	defer l.Close()
	err = d.prepare()
	require.ErrorContains(t, err, fmt.Sprintf("port %d, for the Raft of node2", d.port+11))
	require.ErrorContains(t, err, "--port")
	assert.Equal(t, exitError, exitCode(err))
}

func TestDevKeepsTheSizeOfItsCluster(t *testing.T) {
	dir := t.TempDir()
	d, _ := devIn(t, dir)
	require.NoError(t, d.prepare())
	require.NoError(t, d.prepare(), "restarts with what is there")

	d.nodes = 5
	err := d.prepare()
	require.ErrorContains(t, err, "holds a cluster of 3 nodes")
	assert.Equal(t, exitUsage, exitCode(err))

	keep := filepath.Join(dir, "notes.txt")
	require.NoError(t, os.WriteFile(keep, nil, 0o600))
	data := filepath.Join(dir, "node3", "log")
	require.NoError(t, os.MkdirAll(data, 0o750))
	d.nodes, d.clean = 1, true
	require.NoError(t, d.prepare())
	assert.NoDirExists(t, data)
	assert.NoFileExists(t, filepath.Join(dir, "node3.json"))
	assert.FileExists(t, filepath.Join(dir, "node1.json"))
	assert.FileExists(t, keep, "only what dev made is deleted")
}

func TestDevNeedsASensibleSize(t *testing.T) {
	for _, args := range [][]string{{"--nodes", "2"}, {"--port", "65530"}, {"--port", "0"}, {"extra"}} {
		r := command(t, "", "", append([]string{"dev", "--dir", t.TempDir()}, args...)...)
		assert.Equal(t, exitUsage, r.code, "%v: %s", args, r.err)
	}
}

func TestDevEndsIfANodeDoesBeforeItIsReady(t *testing.T) {
	d, out := devIn(t, t.TempDir())
	require.NoError(t, d.prepare())
	err := d.run(t.Context())
	require.ErrorContains(t, err, "ended before the cluster was ready")
	assert.Contains(t, out.String(), "starting 3 nodes")
}

func TestDevStopsItsNodes(t *testing.T) {
	// A program that ignores its arguments and stays, as a node does.
	script := filepath.Join(t.TempDir(), "stay")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho up $0 $1\nexec sleep 600\n"), 0o700))
	d, out := devIn(t, t.TempDir())
	d.self = script
	require.NoError(t, d.prepare())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	require.Eventually(t, func() bool {
		d.lock.Lock()
		defer d.lock.Unlock()
		return strings.Count(out.String(), "serve\n") == 3
	}, 10*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	for _, n := range d.list {
		assert.False(t, n.running())
	}
	assert.Contains(t, out.String(), "node2 | up "+script+" serve\n")
}

func TestDevSaysWhereToGoNext(t *testing.T) {
	for _, c := range []struct {
		name        string
		nodes, port int
		endpoints   string
	}{
		{"default", 3, 5000, ""},
		{"other ports", 3, 6000, " --endpoints http://127.0.0.1:6000,http://127.0.0.1:6010,http://127.0.0.1:6020"},
		{"one node", 1, 5000, " --endpoints http://127.0.0.1:5000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			d := &dev{env: env{out: &out}, dir: "./confman-dev", nodes: c.nodes, port: c.port, called: "confman"}
			require.NoError(t, d.plan())
			d.welcome()
			assert.Contains(t, out.String(), fmt.Sprintf("curl -X PUT http://127.0.0.1:%d/api/v1/config/teams/payments/timeout-ms -d 30\n", c.port))
			assert.Contains(t, out.String(), "confman cluster"+c.endpoints+"\n")
		})
	}
}

func TestPrefixWriter(t *testing.T) {
	var (
		out  bytes.Buffer
		lock sync.Mutex
	)
	w := &prefixWriter{to: &out, lock: &lock, prefix: prefixOf("node1", 0, false)}
	for _, part := range []string{"one\ntw", "o\n\n", "thr", "ee"} {
		n, err := w.Write([]byte(part))
		require.NoError(t, err)
		assert.Equal(t, len(part), n)
	}
	w.end()
	assert.Equal(t, "node1 | one\nnode1 | two\nnode1 | \nnode1 | three\n", out.String())

	out.Reset()
	_, _ = w.Write(bytes.Repeat([]byte("x"), 2*maxLineBytes+1))
	assert.Equal(t, 2, strings.Count(out.String(), "\n"), "a line without an end is not kept forever")
	w.end()
	assert.Equal(t, 2*maxLineBytes+1, strings.Count(out.String(), "x"))
	assert.Equal(t, "\x1b[33mnode2 |\x1b[0m ", prefixOf("node2", 1, true))
}
