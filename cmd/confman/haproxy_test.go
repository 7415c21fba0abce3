package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// unfetched is how deploy/tools.sh exits if Debian's packages cannot be fetched.
const unfetched = 3

// haproxyCommand is the HAProxy of this system or, if it has none, Debian's, with the libraries that
// deploy/tools.sh brought along.
func haproxyCommand(tb testing.TB, args ...string) *exec.Cmd {
	tb.Helper()
	if path, err := exec.LookPath("haproxy"); err == nil {
		return exec.Command(path, args...)
	}
	out, err := exec.Command(filepath.Join(deploy, "tools.sh")).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == unfetched {
		tb.Skipf("there is no HAProxy here, and Debian's cannot be fetched: %s", out)
	}
	require.NoError(tb, err, "%s", out)
	tools, err := filepath.Abs("../../bin/tools")
	require.NoError(tb, err)
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, err := filepath.Glob(filepath.Join(tools, pattern))
		require.NoError(tb, err)
		libraries = append(libraries, found...)
	}
	cmd := exec.Command(filepath.Join(tools, "usr/sbin/haproxy"), args...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"))
	return cmd
}

// proxy is an HAProxy before a fleet, as deploy/haproxy/haproxy.cfg has it.
type proxy struct {
	f     *fleet
	addr  string // where clients connect
	admin string // the socket that tells how the nodes are

	mu     sync.Mutex
	log    string   // the end of what it logged, but for requests that went as they should
	events []string // what of that is about the nodes
}

// newProxy starts HAProxy before f. It ends with the test.
func newProxy(f *fleet) *proxy {
	f.tb.Helper()
	ports := steadyPorts(f.tb, 2)
	p := &proxy{f: f, addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), admin: filepath.Join(f.dir, "admin.sock")}
	file := filepath.Join(f.dir, "haproxy.cfg")
	require.NoError(f.tb, os.WriteFile(file, []byte(p.configuration(ports[1])), 0o600))
	p.listenLog()
	out, err := os.Create(filepath.Join(f.dir, "haproxy.out"))
	require.NoError(f.tb, err)
	cmd := haproxyCommand(f.tb, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	steady() <- func() { started <- cmd.Start() }
	require.NoError(f.tb, <-started)
	require.NoError(f.tb, out.Close())
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed, unless it failed: then its output says why
		close(ended)
	}()
	f.tb.Cleanup(func() {
		_ = cmd.Process.Kill() // it runs, unless it failed
		<-ended
		if f.tb.Failed() {
			text, _ := os.ReadFile(out.Name())
			f.tb.Logf("HAProxy said:\n%s\nand logged:\n%s", tail(string(text)), p.logged())
		}
	})
	f.until(readyWait, "HAProxy has found all nodes", func() bool {
		select {
		case <-ended:
			require.Fail(f.tb, "HAProxy does not run")
		default:
		}
		return p.up(f.nodes...)
	})
	return p
}

// configuration is the example, with addresses, ports and paths of the test; without the account
// that Debian's package makes when it is installed; and with fewer connections: each takes two open
// files, of which a machine that tests may allow too few.
func (p *proxy) configuration(metrics int) string {
	tb := p.f.tb
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "haproxy/haproxy.cfg"))
	require.NoError(tb, err)
	cfg := string(text)
	here := [][2]string{
		{"\tlog /dev/log ", "\tlog " + filepath.Join(p.f.dir, "log.sock") + " "},
		{"\tmaxconn 20000\n", "\tmaxconn 1000\n"},
		{"\tuser haproxy\n\tgroup haproxy\n", ""},
		{"\tstats socket /run/haproxy/admin.sock ", "\tstats socket " + p.admin + " "},
		{"\tbind :5080\n", "\tbind " + p.addr + "\n"},
		{"\tbind 127.0.0.1:8405\n", fmt.Sprintf("\tbind 127.0.0.1:%d\n", metrics)},
	}
	for i, n := range p.f.nodes {
		here = append(here, [2]string{
			fmt.Sprintf("\tserver %s 10.0.1.%d:5000\n", n.name, 10+i),
			fmt.Sprintf("\tserver %s 127.0.0.1:%d\n", n.name, n.api),
		})
	}
	for _, h := range here {
		require.Equal(tb, 1, strings.Count(cfg, h[0]), "the example has %q once", h[0])
		cfg = strings.Replace(cfg, h[0], h[1], 1)
	}
	return cfg
}

// listenLog keeps the end of what HAProxy logs that is worth a look.
func (p *proxy) listenLog() {
	p.f.tb.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(p.f.dir, "log.sock"), Net: "unixgram"})
	require.NoError(p.f.tb, err)
	done := make(chan struct{})
	p.f.tb.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			line := strings.TrimSpace(string(buf[:n]))
			if strings.Contains(line, " - - ---- ") || strings.Contains(line, " - - LR-- ") {
				continue // a request that went as it should, or for which there was no node
			}
			p.mu.Lock()
			if len(p.log) > 4*logTail {
				p.log = tail(p.log)
			}
			p.log += line + "\n"
			if strings.Contains(line, "Server confman-nodes/") {
				p.events = append(p.events, line)
			}
			p.mu.Unlock()
		}
	}()
}

func (p *proxy) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return tail(p.log)
}

// fell is why HAProxy turned away from each node, for the first time since there were since events.
func (p *proxy) fell(since int) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := map[string]string{}
	for _, line := range p.events[since:] {
		_, line, _ = strings.Cut(line, "Server confman-nodes/")
		if name, reason, down := strings.Cut(line, " is DOWN, reason: "); down && why[name] == "" {
			why[name] = reason
		}
	}
	return why
}

// seen is how many events there were.
func (p *proxy) seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.events)
}

// nodes is what HAProxy thinks of the nodes: UP, DOWN, or on the way, such as "UP 1/2"; nil if it does
// not say.
func (p *proxy) nodes() map[string]string {
	conn, err := net.Dial("unix", p.admin)
	if err != nil {
		return nil
	}
	defer conn.Close()
	if _, err = io.WriteString(conn, "show stat\n"); err != nil {
		return nil
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return nil
	}
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(strings.TrimSpace(string(text)), "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	states := map[string]string{}
	for _, row := range rows[1:] {
		if row[column["pxname"]] == "confman-nodes" {
			states[row[column["svname"]]] = row[column["status"]]
		}
	}
	return states
}

// up tells whether HAProxy sends requests to all of nodes, and doubts none.
func (p *proxy) up(nodes ...*proc) bool { return p.all("UP", nodes) }

// down tells whether HAProxy sends nothing to any of nodes.
func (p *proxy) down(nodes ...*proc) bool { return p.all("DOWN", nodes) }

func (p *proxy) all(state string, nodes []*proc) bool {
	states := p.nodes()
	for _, n := range nodes {
		if states[n.name] != state {
			return false
		}
	}
	return true
}

func (p *proxy) url() string { return "http://" + p.addr }

// ask sends a request through the proxy.
func (p *proxy) ask(method, path string, headers ...string) reply {
	p.f.tb.Helper()
	a, err := p.f.send(method, p.url()+path, "", headers...)
	require.NoError(p.f.tb, err)
	return a
}

// ofProxy tells whether the answer is HAProxy's own, and not a node's.
func ofProxy(h http.Header) bool { return h.Get("Confman-Node") == "" }
