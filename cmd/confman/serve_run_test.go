package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
	"github.com/confman/confman/config"
	"github.com/confman/confman/fsm"
	"github.com/confman/confman/httpapi"
	"github.com/confman/confman/node"
	"github.com/confman/confman/wal"
)

// freePorts are ports that nothing listens on just now.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func single(t *testing.T, dir string) *server {
	t.Helper()
	ports := freePorts(t, 2)
	n := config.Node{ID: "node1", Address: "127.0.0.1", APIPort: ports[0], RaftPort: ports[1]}
	return &server{
		config: config.Config{Cluster: config.Cluster{NodeID: "node1", Nodes: []config.Node{n}}, Raft: config.Raft{PlainText: true}, Data: config.Data{Dir: dir}},
		log:    slog.New(slog.DiscardHandler),
	}
}

// runs starts s and waits until it is ready; stop ends it and returns run's error.
func runs(t *testing.T, s *server) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	url = "http://" + s.config.Self().API()
	require.Eventually(t, func() bool {
		resp, err := http.Get(url + "/health/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
	return url, func() error {
		cancel()
		return <-ended
	}
}

func TestServeKeepsWhatWasPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := single(t, dir)
	url, stop := runs(t, s)
	r := command(t, url, "", "put", "a/b", "30")
	assert.Equal(t, result{out: "a/b: created at revision 1\n"}, r)
	r = command(t, url, "", "put", "a/b", "31", "--if-absent")
	assert.Equal(t, exitConflict, r.code, r.err)
	r = command(t, url, "", "get", "no/such")
	assert.Equal(t, exitNotFound, r.code, r.err)
	r = command(t, url, `{"x":{"y":[1, 2.50]},"z":"é"}`, "import", "tree", "-")
	assert.Contains(t, r.out, "1 file, 2 leaves: 2 changed, 0 unchanged, revision 2", r.err)
	require.NoError(t, stop())

	url, stop = runs(t, s)
	r = command(t, url, "", "get", "a/b", "--consistency", "linearizable")
	assert.Equal(t, result{out: "30"}, r)
	r = command(t, url, "", "export", "tree")
	assert.JSONEq(t, `{"x":{"y":[1,2.50]},"z":"é"}`, r.out)
	r = command(t, url, "", "put", "a/b", "31")
	assert.Zero(t, r.code, r.err)
	for _, args := range [][]string{{"get", "a/b"}, {"ls", "a", "-o", "json"}, {"export", "a"}} {
		r = command(t, url, "", append(args, "--revision", "2")...)
		assert.Contains(t, r.out, "30", r.err)
		r = command(t, url, "", append(args, "--revision", "4")...)
		assert.Contains(t, r.err, "4, the newest is 3")
		assert.NotZero(t, r.code)
	}
	r = command(t, url, "", "cluster")
	assert.Contains(t, r.out, "leader")
	assert.Zero(t, r.code)
	require.NoError(t, stop())
}

func TestHistoryAndDiff(t *testing.T) {
	url, stop := runs(t, single(t, t.TempDir()))
	for _, args := range [][]string{
		{"put", "a/b", "1", "--comment", "first"}, {"put", "a/c", "2"}, {"put", "a/b", "3"}, {"rm", "a/c"}, {"put", "z", "5"},
	} {
		require.Zero(t, command(t, url, "", args...).code, args)
	}
	lines := func(r result) [][]string {
		require.Zero(t, r.code, r.err)
		var out [][]string
		for _, line := range strings.Split(strings.TrimSpace(r.out), "\n")[1:] {
			out = append(out, strings.Fields(when.ReplaceAllString(line, "")))
		}
		return out
	}
	assert.Equal(t, [][]string{{"3", "anonymous", "a/b", "3"}, {"1", "anonymous", "a/b", "1", "first"}},
		lines(command(t, url, "", "history", "a/b")))
	all := [][]string{
		{"5", "anonymous", "z", "5"},
		{"4", "anonymous", "a/c", "(deleted)"},
		{"3", "anonymous", "a/b", "3"},
		{"2", "anonymous", "a/c", "2"},
		{"1", "anonymous", "a/b", "1", "first"},
	}
	assert.Equal(t, all, lines(command(t, url, "", "history", "/")))
	assert.Equal(t, all[:2], lines(command(t, url, "", "history", "/", "--limit", "2")))
	assert.Equal(t, all[1:], lines(command(t, url, "", "history", "a/")))
	assert.Equal(t, all[3:], lines(command(t, url, "", "history", "a/", "--revision", "2")))
	r := command(t, url, "", "patch", "a/none", "{}")
	assert.Equal(t, exitNotFound, r.code, r.err)
	r = command(t, url, "", "history", "a/c", "-o", "json")
	var events []client.Event
	require.NoError(t, json.Unmarshal([]byte(r.out), &events), r.out)
	require.Len(t, events, 2)
	assert.True(t, events[0].Deleted)
	assert.Equal(t, "2", string(events[1].Value))
	assert.Equal(t, exitNotFound, command(t, url, "", "history", "no").code)
	assert.Equal(t, exitUsage, command(t, url, "", "history", "a", "--limit", "-1").code)

	assert.Equal(t, [][]string{{"~", "a/b", "1", "3"}, {"-", "a/c", "2"}, {"+", "z", "5"}},
		lines(command(t, url, "", "diff", "/", "--from", "2")))
	assert.Equal(t, [][]string{{"~", "a/b", "1", "3"}}, lines(command(t, url, "", "diff", "a/", "--from", "2", "--to", "3")))
	assert.Equal(t, [][]string{{"+", "a/b", "3"}}, lines(command(t, url, "", "diff", "a/b", "--from", "0")))
	r = command(t, url, "", "diff", "a/b", "--from", "1", "-o", "json")
	var differences []client.Difference
	require.NoError(t, json.Unmarshal([]byte(r.out), &differences), r.out)
	require.Len(t, differences, 1)
	assert.Equal(t, "changed", differences[0].Action)
	assert.Equal(t, "1", string(differences[0].Before.Value))
	assert.Equal(t, "3", string(differences[0].After.Value))
	require.Zero(t, command(t, url, `{"x":1,"y":2}`, "put", "o", "-f", "-").code)
	assert.Equal(t, result{out: "o: changed at revision 7\n"}, command(t, url, "", "patch", "o", `{"x":null,"z":3}`))
	assert.Equal(t, result{out: "o: changed at revision 8\n"},
		command(t, url, `[{"op":"replace","path":"/y","value":[]}]`, "patch", "o", "-f", "-", "--operations", "--if-revision", "7"))
	assert.JSONEq(t, `{"y":[],"z":3}`, command(t, url, "", "get", "o").out)
	r = command(t, url, "", "diff", "a/b")
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "--from is missing")
	require.NoError(t, stop())
}

// when is a time as tables show it.
var when = regexp.MustCompile(`\d{4}-\d\d-\d\dT\S+`)

// TestServeDrains: told to stop, a node says so and serves on for Api.DrainDelay; then its port
// closes, and a write whose body is half here is still taken.
func TestServeDrains(t *testing.T) {
	s := single(t, t.TempDir())
	s.config.API.DrainDelay = 15 * time.Second
	delays, elapsed := make(chan time.Duration, 1), make(chan time.Time)
	s.after = func(d time.Duration) <-chan time.Time {
		delays <- d
		return elapsed
	}
	url, stop := runs(t, s)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	assert.Equal(t, 15*time.Second, <-delays)
	res, err := http.Get(url + "/health/ready")
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	assert.Zero(t, command(t, url, "", "put", "a/b", "1").code)

	conn, err := net.Dial("tcp", s.config.Self().API())
	require.NoError(t, err)
	defer conn.Close()
	// With 100-continue the node says that it is reading the body: the request is in flight.
	_, err = conn.Write([]byte("PUT /api/v1/config/a/c HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"))
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	line, err := answers.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	_, err = answers.ReadString('\n')
	require.NoError(t, err)
	close(elapsed)
	require.Eventually(t, func() bool {
		other, err := net.Dial("tcp", s.config.Self().API())
		if err == nil {
			_ = other.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "the port closes")
	assert.Empty(t, stopped)
	_, err = conn.Write([]byte("42"))
	require.NoError(t, err)
	res, err = http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusCreated, res.StatusCode)
	require.NoError(t, <-stopped)
}

func TestServeTellsWhyItDoesNotStart(t *testing.T) {
	t.Run("API port taken", func(t *testing.T) {
		s := single(t, t.TempDir())
		l, err := net.Listen("tcp", s.config.Self().API())
		require.NoError(t, err)
		defer l.Close()
		require.ErrorContains(t, s.run(t.Context()), "is another node running here")
	})
	t.Run("Raft port taken", func(t *testing.T) {
		s := single(t, t.TempDir())
		l, err := net.Listen("tcp", s.config.Self().Raft())
		require.NoError(t, err)
		defer l.Close()
		require.ErrorContains(t, s.run(t.Context()), s.config.Self().Raft())
	})
	t.Run("directory in use", func(t *testing.T) {
		s := single(t, t.TempDir())
		_, stop := runs(t, s)
		other := single(t, s.config.Data.Dir)
		err := other.run(t.Context())
		require.ErrorIs(t, err, node.ErrLocked)
		assert.Contains(t, err.Error(), "stop that one first")
		require.NoError(t, stop())
	})
	t.Run("directory of another node", func(t *testing.T) {
		s := single(t, t.TempDir())
		_, stop := runs(t, s)
		require.NoError(t, stop())
		s.config.Cluster.NodeID, s.config.Cluster.Nodes[0].ID = "node2", "node2"
		require.ErrorContains(t, s.run(t.Context()), "belongs to node node1")
	})
}

func TestEveryDamageHasAWayOut(t *testing.T) {
	for _, err := range []error{node.ErrDiskLost, node.ErrIdentityDamaged, node.ErrInconsistent, node.ErrOtherCluster, wal.ErrDamaged, fsm.ErrDamaged} {
		wrapped := errors.Join(err)
		require.ErrorIs(t, new(server).explained(wrapped), err)
		assert.Contains(t, new(server).explained(wrapped).Error(), "what to do: ")
	}
	assert.NoError(t, new(server).explained(nil))
}

func TestConnectionsLeaveFilesToTheNode(t *testing.T) {
	for files, want := range map[int]int{0: httpapi.MaxConnections, 1 << 20: httpapi.MaxConnections, 10_000: 9_744, 1024: 768, 300: 150} {
		assert.Equal(t, want, maxConnections(files), files)
	}
	assert.NotZero(t, maxFiles())
}

func TestServeRefusesWrongConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "confman.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"Cluster": {"NodeId": "node1", "Nodes": [
		{"Id": "node1", "Address": "127.0.0.1"}, {"Id": "node1", "Address": "127.0.0.1", "Port": 1}]}}`), 0o600))
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"none", nil, "Cluster.NodeId"},
		{"missing", []string{"--config", file + ".none"}, "no such file"},
		{"unknown key", []string{"--config", file}, "Cluster.Nodes[1].Port"},
		{"wrong level", []string{"--log-level", "loud"}, "loud"},
		{"unknown flag", []string{"--tpyo"}, "--tpyo"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := command(t, "http://127.0.0.1:1", "", append([]string{"serve"}, c.args...)...)
			assert.Equal(t, exitUsage, r.code)
			assert.Contains(t, r.err, c.want)
			assert.Empty(t, r.out)
		})
	}
}

func TestLogFormats(t *testing.T) {
	for _, c := range []struct {
		name     string
		cfg      config.Log
		terminal bool
		want     string
	}{
		{"terminal", config.Log{Level: "info"}, true, `level=INFO msg=hello n=1`},
		{"elsewhere", config.Log{Level: "info"}, false, `"level":"INFO","msg":"hello","n":1`},
		{"text asked for", config.Log{Level: "info", Format: "text"}, false, `level=INFO msg=hello n=1`},
		{"json asked for", config.Log{Level: "info", Format: "json"}, true, `"level":"INFO","msg":"hello","n":1`},
		{"level", config.Log{Level: "warn"}, true, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			log, err := newLogger(&out, c.terminal, c.cfg)
			require.NoError(t, err)
			log.Info("hello", slog.Int("n", 1))
			assert.Contains(t, out.String(), c.want)
			assert.Equal(t, c.want == "", out.Len() == 0)
		})
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(env{err: &out}, "import", "leaves", 1000)
	p.add(100)
	assert.Empty(t, out.String(), "not a line for each chunk")
	p.told = p.told.Add(-progressEvery)
	p.add(150)
	assert.Regexp(t, `^import: 250 of 1000 leaves \(25%\), \d+ leaves/s\n$`, out.String())
	p.end()

	out.Reset()
	p = newProgress(env{err: &out, errTerminal: true}, "import", "leaves", 1000)
	p.add(250)
	p.end()
	assert.Contains(t, out.String(), "import")
}
