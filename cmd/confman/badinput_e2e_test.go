package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestE2EWrongConfiguration: a node with a wrong configuration does not start,
// and says what is wrong with which key.
func TestE2EWrongConfiguration(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(string) string
		want []string
	}{
		{
			"unknown key", func(s string) string { return strings.Replace(s, `"Dir"`, `"Directory"`, 1) },
			[]string{"Data.Directory"},
		},
		{
			"duplicate ids", func(s string) string { return strings.Replace(s, `"Id":"node2"`, `"Id":"node1"`, 1) },
			[]string{`Cluster.Nodes[1].Id: "node1" is the Id of Cluster.Nodes[0] already`},
		},
		{
			"not one of the nodes", func(s string) string { return strings.Replace(s, `"NodeId":"node1"`, `"NodeId":"node9"`, 1) },
			[]string{`Cluster.NodeId: "node9" is not the Id of any of Cluster.Nodes`},
		},
		{
			"not JSON", func(s string) string { return s[:len(s)/2] },
			[]string{"node1.json"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFleet(t, 3)
			p := f.nodes[0]
			text, err := os.ReadFile(p.config)
			require.NoError(t, err)
			changed := c.edit(string(text))
			require.NotEqual(t, string(text), changed)
			require.NoError(t, os.WriteFile(p.config, []byte(changed), 0o600))
			f.start(p)
			require.Error(t, f.exit(p))
			assert.Equal(t, exitUsage, p.cmd.ProcessState.ExitCode())
			for _, want := range c.want {
				assert.Contains(t, p.output(), want)
			}
			assert.NoDirExists(t, p.data, "nothing is made before the configuration is good")
		})
	}
}

// TestE2EUnreachablePeers: a node alone forms no cluster; it says whom it waits
// for, and joins the others when they come.
func TestE2EUnreachablePeers(t *testing.T) {
	f := newFleet(t, 3)
	alone := f.nodes[0]
	f.start(alone)
	f.until(readyWait, "the node answers", func() bool {
		a, err := f.send(http.MethodGet, alone.url()+"/health/live", "")
		return err == nil && a.status == http.StatusOK
	})
	a := f.ask(alone, http.MethodGet, "/health/ready", "")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	reason := a.problem(t).Detail
	assert.Contains(t, reason, "waiting for")
	assert.Contains(t, reason, "node2")
	assert.Contains(t, reason, "node3")
	a = f.ask(alone, http.MethodPut, configPath+"a", "1")
	assert.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.Equal(t, "forming", a.problem(t).Type)
	assert.Equal(t, "not_applied", a.problem(t).Outcome)
	assert.Contains(t, alone.output(), "waiting for members to form the cluster")

	f.start(f.nodes[1])
	f.until(readyWait, "it waits for the other peer alone, and goes on saying so", func() bool {
		detail := f.ask(alone, http.MethodGet, "/health/ready", "").problem(t).Detail
		return !strings.Contains(detail, "node2") && strings.Contains(detail, "node3")
	})
	f.start(f.nodes[2])
	f.await(f.nodes...)
}

// TestE2EDataOfAnotherCluster: a node on the data directory of another cluster
// neither serves as one of this one nor harms it.
func TestE2EDataOfAnotherCluster(t *testing.T) {
	f, other := up(t, 3), up(t, 3)
	require.Equal(t, http.StatusCreated, f.ask(f.nodes[0], http.MethodPut, configPath+"ours", "1").status)
	require.Equal(t, http.StatusCreated, other.ask(other.nodes[0], http.MethodPut, configPath+"theirs", "1").status)
	stranger := f.nodes[2]
	f.stop(stranger)
	other.stop(other.nodes...)
	stranger.data = other.nodes[2].data
	theirs := len(stranger.output())
	f.configure(stranger)
	f.start(stranger)
	f.until(readyWait, "the stranger is told apart", func() bool {
		return strings.Contains(stranger.output(), "another cluster") || strings.Contains(stranger.output(), "different cluster")
	})
	t.Logf("the stranger said:\n%s", stranger.output()[theirs:])
	for _, p := range f.nodes[:2] {
		require.Equal(t, http.StatusOK, f.ask(p, http.MethodPut, configPath+"ours", "1").status, "the others go on")
		assert.Equal(t, http.StatusNotFound, f.ask(p, http.MethodGet, configPath+"theirs", "").status)
	}
	if stranger.runs() {
		assert.Equal(t, http.StatusServiceUnavailable, f.ask(stranger, http.MethodGet, "/health/ready", "").status)
		assert.Equal(t, http.StatusServiceUnavailable, f.ask(stranger, http.MethodPut, configPath+"ours", "2").status)
		f.stop(stranger)
	}
	stranger.data = filepath.Join(f.dir, stranger.name)
	f.configure(stranger)
	f.start(stranger)
	f.await(f.nodes...)
	f.converge()
}

// TestE2ELockedDataDirectory: a second process on the same directory ends at once,
// names the first, and does not disturb it.
func TestE2ELockedDataDirectory(t *testing.T) {
	f := up(t, 1)
	first := f.nodes[0]
	intruder := newFleet(t, 1)
	intruder.nodes[0].data = first.data
	intruder.configure(intruder.nodes[0])
	intruder.start(intruder.nodes...)
	second := intruder.nodes[0]
	require.Error(t, intruder.exit(second))
	assert.Equal(t, exitError, second.cmd.ProcessState.ExitCode())
	assert.Contains(t, second.output(), fmt.Sprintf("in use by process %d: stop that one first", first.cmd.Process.Pid))
	assert.Equal(t, http.StatusCreated, f.ask(first, http.MethodPut, configPath+"a", "1").status)
}

// TestE2EBadRequests: what is wrong with a request is told, and nothing is written.
func TestE2EBadRequests(t *testing.T) {
	f := up(t, 3)
	node := f.nodes[0]
	long := strings.Repeat("x", 1025)
	deep := strings.Repeat("d/", 32) + "d"
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		problem                  string
	}{
		{"body over the limit", http.MethodPut, configPath + "a", strings.Repeat("x", 1<<20+1), 413, "too-large"},
		{"empty segment", http.MethodPut, configPath + "a//b", "1", 400, "invalid-path"},
		{"control character", http.MethodPut, configPath + "a%01b", "1", 400, "invalid-path"},
		{"line break", http.MethodPut, configPath + "a%0Ab", "1", 400, "invalid-path"},
		{"too deep", http.MethodPut, configPath + deep, "1", 400, "invalid-path"},
		{"too long", http.MethodPut, configPath + long, "1", 400, "invalid-path"},
		{"invalid UTF-8", http.MethodPut, configPath + "a%FFb", "1", 400, "invalid-path"},
		{"dots", http.MethodPut, configPath + "a/../b", "1", 400, "invalid-path"},
		{"encoded slash", http.MethodPut, configPath + "a%2Fb", "1", 400, "invalid-path"},
		{"malformed JSON tree", http.MethodPost, "/api/v1/import/t/", "{\n  \"a\": 1,\n  \"b\" 2}", 400, "invalid-body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.method == http.MethodPost {
				headers = []string{"Content-Type", "application/json"}
			}
			a := f.ask(node, c.method, c.path, c.body, headers...)
			assert.Equal(t, c.status, a.status, a.body)
			p := a.problem(t)
			assert.Equal(t, c.problem, p.Type)
			assert.Equal(t, "not_applied", p.Outcome)
			assert.NotEmpty(t, p.Detail)
		})
	}
	t.Run("value of invalid UTF-8 is octets", func(t *testing.T) {
		require.Equal(t, http.StatusCreated, f.ask(node, http.MethodPut, configPath+"octets", "\xff\xfe").status)
		a := f.ask(f.nodes[1], http.MethodGet, configPath+"octets?consistency=linearizable", "", "Accept", "application/octet-stream")
		assert.Equal(t, "\xff\xfe", a.body)
	})
	assert.Equal(t, uint64(1), f.converge().Revision, "nothing else was written")
}

// TestE2EMalformedImport: of a directory with a broken file nothing is written,
// and the file, the line and the column are named.
func TestE2EMalformedImport(t *testing.T) {
	f := up(t, 1)
	for _, c := range []struct{ name, text, want string }{
		{"malformed JSON", "{\n  \"a\": 1,\n  \"b\" 2\n}", "line 3, column 7"},
		{"slash in a name", "{\n  \"a/b\": 1\n}", "line 2"},
		{"invalid UTF-8", "{\n  \"a\": \"\xff\"\n}", "line 2"},
		{"ends early", "{\"a\": 1", "line 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "a-good.json"), []byte(`{"x": 1}`), 0o600))
			bad := filepath.Join(dir, "b-bad.json")
			require.NoError(t, os.WriteFile(bad, []byte(c.text), 0o600))
			r := f.confman("import", "tree", dir)
			assert.NotZero(t, r.code)
			assert.Contains(t, r.err, bad)
			assert.Contains(t, r.err, c.want)
			assert.Zero(t, f.converge().Revision, "nothing was written")
		})
	}
}
