package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// readyWait bounds the wait for a cluster to come up, formation and election
	// included, on a machine that is busy with other tests.
	readyWait = 60 * time.Second
	// stopWait bounds an orderly stop: drainTime, and the flush after it.
	stopWait = 30 * time.Second
	// pollEvery is how often a condition is looked at.
	pollEvery = 20 * time.Millisecond
	// logTail is how much of a node's log a failed test shows.
	logTail = 16 << 10
)

func TestMain(m *testing.M) {
	if answer := os.Getenv(emptyVariable); answer != "" {
		fmt.Fprintln(os.Stderr, serveEmpty(answer))
		os.Exit(1)
	}
	code := m.Run()
	if dir := programDir; dir != "" {
		_ = os.RemoveAll(dir) // the verdict stands without it
	}
	os.Exit(code)
}

var programDir string

// program is the real program, built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "confman-test-")
	if err != nil {
		return "", err
	}
	programDir = dir
	path := filepath.Join(dir, "confman")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

// fleet is a cluster of real serve processes on loopback, data on disk.
type fleet struct {
	tb    testing.TB
	path  string // of the program
	dir   string
	nodes []*proc
	http  http.Client
	certs string // the directory of the nodes' certificates; "": plain text
	// sections are what the nodes are configured with beside.
	sections map[string]any
	environ  []string // of commands
}

// proc is a node of a fleet, whether its process runs or not.
type proc struct {
	name      string
	api, raft int
	config    string // its file
	data      string
	log       string // what it wrote, over all its lives
	scheme    string // of the API; "": http
	path      string // of the program; "": the fleet's
	// wrap goes before the program in the command line, args after it.
	wrap, args []string
	attr       syscall.SysProcAttr

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended, with err
	err   error
}

// newFleet makes a fleet of n nodes named node1 to node<n>; none runs yet. A
// failed test shows the end of their logs.
func newFleet(tb testing.TB, n int) *fleet {
	tb.Helper()
	path, err := program()
	require.NoError(tb, err)
	f := &fleet{tb: tb, path: path, dir: tb.TempDir(), http: http.Client{Timeout: 30 * time.Second}}
	ports := steadyPorts(tb, 2*n)
	for i := range n {
		f.nodes = append(f.nodes, f.node(fmt.Sprintf("node%d", i+1), ports[2*i], ports[2*i+1]))
	}
	for _, p := range f.nodes {
		f.configure(p)
	}
	tb.Cleanup(f.cleanup)
	return f
}

// node is one that has no configuration yet.
func (f *fleet) node(name string, api, raft int) *proc {
	return &proc{
		name: name, api: api, raft: raft,
		config: filepath.Join(f.dir, name+".json"),
		data:   filepath.Join(f.dir, name),
		log:    filepath.Join(f.dir, name+".log"),
	}
}

// configure writes p's configuration file, in which there are these nodes, or all.
func (f *fleet) configure(p *proc, nodes ...*proc) {
	f.tb.Helper()
	if len(nodes) == 0 {
		nodes = f.nodes
	}
	var members []map[string]any
	for _, m := range nodes {
		members = append(members, map[string]any{"Id": m.name, "Address": "127.0.0.1", "ApiPort": m.api, "RaftPort": m.raft})
	}
	all := map[string]any{
		"Cluster": map[string]any{"NodeId": p.name, "Nodes": members},
		"Raft":    f.raft(p),
		"Data":    map[string]any{"Dir": p.data},
	}
	maps.Copy(all, f.sections)
	text, err := json.Marshal(all)
	require.NoError(f.tb, err)
	require.NoError(f.tb, os.WriteFile(p.config, text, 0o600))
}

// raft is how p speaks to the others.
func (f *fleet) raft(p *proc) map[string]any {
	if f.certs == "" {
		return map[string]any{"PlainText": true}
	}
	file := func(name string) string { return filepath.Join(f.certs, name) }
	return map[string]any{"Tls": map[string]any{
		"CaFile": file("bundle.crt"), "CertFile": file(p.name + ".crt"), "KeyFile": file(p.name + ".key"),
	}}
}

// steadyPorts are ports nothing listens on, from below the range out of which the
// kernel gives connections theirs: no connection takes one while its node is down.
func steadyPorts(tb testing.TB, n int) []int {
	tb.Helper()
	const first, last = 20_000, 32_000
	var ports []int
	// Processes that run side by side begin at different places.
	for i, at := 0, os.Getpid()*37; len(ports) < n && i < last-first; i++ {
		port := first + (at+i)%(last-first)
		if taken[port] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		require.NoError(tb, l.Close())
		taken[port] = true
		ports = append(ports, port)
	}
	require.Len(tb, ports, n, "no free ports")
	return ports
}

// taken are the ports that this process has given out. Fleets are made one after another.
var taken = map[int]bool{}

// steady runs functions on one thread that lives as long as the process: the
// kernel stops a node when the thread that started it ends (Pdeathsig).
var steady = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})

// start starts the node's process, in a process group of its own.
func (f *fleet) start(nodes ...*proc) {
	f.tb.Helper()
	for _, p := range nodes {
		require.False(f.tb, p.runs(), "%s runs", p.name)
		log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		require.NoError(f.tb, err)
		line := append(slices.Clone(p.wrap), cmp.Or(p.path, f.path), "serve", "--config", p.config)
		line = append(line, p.args...)
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Env = append(os.Environ(), "CONFMAN_Log__Format=text")
		cmd.Stdout, cmd.Stderr = log, log
		attr := p.attr
		attr.Setpgid, attr.Pdeathsig = true, syscall.SIGKILL
		cmd.SysProcAttr = &attr
		started := make(chan error)
		steady() <- func() { started <- cmd.Start() }
		require.NoError(f.tb, <-started)
		require.NoError(f.tb, log.Close())
		ended := make(chan struct{})
		p.cmd, p.ended, p.err = cmd, ended, nil
		go func() {
			p.err = cmd.Wait()
			close(ended)
		}()
	}
}

func (p *proc) runs() bool {
	if p.ended == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// signal sends sig to the node's process group.
func (p *proc) signal(sig syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, sig) }

// kill ends nodes with SIGKILL.
func (f *fleet) kill(nodes ...*proc) {
	f.tb.Helper()
	for _, p := range nodes {
		require.NoError(f.tb, p.signal(syscall.SIGKILL), p.name)
	}
	for _, p := range nodes {
		<-p.ended
	}
}

// stop ends nodes in order, with SIGTERM; each must exit with 0.
func (f *fleet) stop(nodes ...*proc) {
	f.tb.Helper()
	for _, p := range nodes {
		require.NoError(f.tb, p.signal(syscall.SIGTERM), p.name)
	}
	for _, p := range nodes {
		require.NoError(f.tb, f.exit(p), p.name)
	}
}

// exit waits until a node's process has ended by itself, and says how.
func (f *fleet) exit(p *proc) error {
	f.tb.Helper()
	select {
	case <-p.ended:
	case <-time.After(stopWait):
		require.Fail(f.tb, "the process does not end", p.name)
	}
	return p.err
}

// cleanup ends all that runs, after a failure with a look at the logs.
func (f *fleet) cleanup() {
	if f.tb.Failed() {
		for _, p := range f.nodes {
			f.tb.Logf("the log of %s:\n%s", p.name, tail(p.output()))
		}
	}
	for _, p := range f.nodes {
		if p.runs() {
			_ = p.signal(syscall.SIGKILL) // it may have ended just now
			<-p.ended
		}
	}
}

// output is what the node wrote so far.
func (p *proc) output() string {
	text, _ := os.ReadFile(p.log) // none if it never ran
	return string(text)
}

func tail(s string) string { return s[max(0, len(s)-logTail):] }

func (p *proc) url() string { return fmt.Sprintf("%s://127.0.0.1:%d", cmp.Or(p.scheme, "http"), p.api) }

// endpoints is what --endpoints takes.
func (f *fleet) endpoints() string {
	var urls []string
	for _, p := range f.nodes {
		urls = append(urls, p.url())
	}
	return strings.Join(urls, ",")
}

// await waits until the nodes are ready.
func (f *fleet) await(nodes ...*proc) {
	f.tb.Helper()
	for _, p := range nodes {
		f.until(readyWait, p.name+" is ready", func() bool {
			require.True(f.tb, p.runs(), "%s ended", p.name)
			a, err := f.send(http.MethodGet, p.url()+"/health/ready", "")
			return err == nil && a.status == http.StatusOK
		})
	}
}

// up makes a fleet of n nodes that are ready.
func up(tb testing.TB, n int) *fleet {
	tb.Helper()
	f := newFleet(tb, n)
	f.start(f.nodes...)
	f.await(f.nodes...)
	return f
}

// until waits for a condition.
func (f *fleet) until(wait time.Duration, what string, holds func() bool) {
	f.tb.Helper()
	deadline, tick := time.After(wait), time.NewTicker(pollEvery)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			require.Fail(f.tb, "waited in vain", "for %v until %s", wait, what)
		case <-tick.C:
		}
	}
}

// reply is a node's answer over HTTP.
type reply struct {
	status int
	header http.Header
	body   string
}

// trouble is what a problem document says.
type trouble struct {
	Type, Detail, Outcome string
	Retryable             bool
	Reasons               []string
}

// send makes one request. Headers are given as name, value, name, value.
func (f *fleet) send(method, url, body string, headers ...string) (reply, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return reply{}, err
	}
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(text)}, errors.Join(err, resp.Body.Close())
}

// ask is send to a node that must answer.
func (f *fleet) ask(p *proc, method, path, body string, headers ...string) reply {
	f.tb.Helper()
	a, err := f.send(method, p.url()+path, body, headers...)
	require.NoError(f.tb, err, "%s %s at %s", method, path, p.name)
	return a
}

// problem reads an answer that must be a problem.
func (a reply) problem(tb testing.TB) trouble {
	tb.Helper()
	require.Equal(tb, "application/problem+json", a.header.Get("Content-Type"), "%d %s", a.status, a.body)
	var t trouble
	require.NoError(tb, json.Unmarshal([]byte(a.body), &t))
	t.Type = strings.TrimPrefix(t.Type, "urn:confman:problem:")
	return t
}

const configPath = "/api/v1/config/"

// standing is what GET /cluster says of the node that answers.
type standing struct {
	Node, Role, Leader string
	Term, Revision     uint64
	AppliedIndex       uint64 `json:"applied_index"`
	StateHash          string `json:"state_hash"`
}

// standing asks a node for its view of the cluster; false if it does not answer.
func (f *fleet) standing(p *proc) (standing, bool) {
	var s standing
	a, err := f.send(http.MethodGet, p.url()+"/api/v1/cluster", "")
	return s, err == nil && a.status == http.StatusOK && json.Unmarshal([]byte(a.body), &s) == nil
}

// leader waits until a node says of itself that it leads.
func (f *fleet) leader() *proc {
	f.tb.Helper()
	var leader *proc
	f.until(readyWait, "a node leads", func() bool {
		for _, p := range f.nodes {
			if s, ok := f.standing(p); p.runs() && ok && s.Role == "leader" {
				leader = p
			}
		}
		return leader != nil
	})
	return leader
}

// others are the nodes but one.
func (f *fleet) others(not *proc) []*proc {
	return slices.DeleteFunc(slices.Clone(f.nodes), func(p *proc) bool { return p == not })
}

// converge waits until all nodes have applied the same, and returns the revision
// that they have then. Their states must be the same too.
func (f *fleet) converge() standing {
	f.tb.Helper()
	var all []standing
	f.until(readyWait, "all nodes have applied the same", func() bool {
		all = nil
		for _, p := range f.nodes {
			s, ok := f.standing(p)
			if !ok || len(all) > 0 && s.AppliedIndex != all[0].AppliedIndex {
				return false
			}
			all = append(all, s)
		}
		return true
	})
	for _, s := range all {
		assert.Equal(f.tb, all[0].Revision, s.Revision, "revision of %s", s.Node)
		assert.Equal(f.tb, all[0].StateHash, s.StateHash, "state hash of %s", s.Node)
	}
	return all[0]
}

// running is a client command under way.
type running struct {
	cmd      *exec.Cmd
	out, err output
	ended    chan struct{}
}

// output is what a command has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// begin starts a client command against all nodes.
func (f *fleet) begin(args ...string) *running {
	f.tb.Helper()
	r := &running{cmd: exec.Command(f.path, args...), ended: make(chan struct{})}
	r.cmd.Env = append(append(os.Environ(), endpointsVariable+"="+f.endpoints()), f.environ...)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	require.NoError(f.tb, r.cmd.Start())
	f.tb.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it has ended, unless the test failed
		<-r.ended
	})
	go func() {
		_ = r.cmd.Wait() // the exit code says it
		close(r.ended)
	}()
	return r
}

func (r *running) over() bool {
	select {
	case <-r.ended:
		return true
	default:
		return false
	}
}

// result waits for the command's end.
func (r *running) result() result {
	<-r.ended
	return result{r.cmd.ProcessState.ExitCode(), r.out.String(), r.err.String()}
}

// confman runs a client command of the real program against all nodes.
func (f *fleet) confman(args ...string) result {
	f.tb.Helper()
	return f.begin(args...).result()
}
