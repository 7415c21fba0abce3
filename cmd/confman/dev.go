package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/confman/confman/auth/localissuer"
	"github.com/confman/confman/config"
)

const (
	devDir      = "./confman-dev"
	devAddress  = "127.0.0.1"
	devPort     = 5000 // the first node's API; its Raft is one above
	devPortStep = 10   // from node to node

	// devStopTime is how long a node may take to stop before it is killed.
	devStopTime = 20 * time.Second
	// devReadyPoll is the time between two looks at whether a node is ready, and
	// devReadyNotice the time after which the wait is explained.
	devReadyPoll   = 100 * time.Millisecond
	devReadyNotice = 10 * time.Second
)

// dev is a cluster for trying out: processes of this program on loopback.
type dev struct {
	env
	dir   string
	nodes int
	port  int
	clean bool
	auth  bool // callers must say who they are, to the provider
	// self is the program to run, and what to call it in examples.
	self, called string

	list     []*devNode
	provider *localissuer.Provider // with auth
	lock     sync.Mutex            // of lines on out and err
}

// devNode is one node's process.
type devNode struct {
	name     string
	api      int
	raft     int
	config   string // its file
	data     string
	cmd      *exec.Cmd
	output   *prefixWriter
	finished chan struct{} // closed when the process has ended, with err
	err      error
}

func newDev(e env) *cobra.Command {
	d := &dev{env: e, called: os.Args[0]}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a cluster on this machine to try things out",
		Long: `Run a cluster of three nodes on loopback: a serve process each, with configuration
and data below --dir, API on ports 5000, 5010 and 5020, Raft one above each. It
prints what the nodes log and, once they are ready, where to go next. Ctrl-C stops
all; the data stays for the next time.

With --auth callers must say who they are. An OpenID provider runs here as well, on
port 5005, and tokens are printed for a reader, a writer and an administrator, good
for as long as this runs and at most 12 hours. Who has administered a cluster with
--auth needs it, or --clean, from then on.

A node that is killed is not started again, so that one can watch what the others
do; the command that starts it is printed.`,
		Example: `  confman dev
  confman dev --clean
  confman dev --auth
  confman dev --nodes 1 --dir /tmp/try --port 6000`,
		Args: usage(cobra.NoArgs),
	}
	f := cmd.Flags()
	f.StringVar(&d.dir, "dir", devDir, "where configuration and data go")
	f.IntVar(&d.nodes, "nodes", 3, "how many nodes: 1, 3 or 5")
	f.IntVar(&d.port, "port", devPort, "the first node's API port; the others follow in steps of 10")
	f.BoolVar(&d.clean, "clean", false, "begin with an empty cluster: delete the nodes' data below --dir first")
	f.BoolVar(&d.auth, "auth", false, "have callers say who they are, and print tokens for three of them")
	complete(cmd, "nodes", "1", "3", "5")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait
		var err error
		if d.self, err = os.Executable(); err != nil {
			return err
		}
		if err := d.prepare(); err != nil {
			return err
		}
		if d.auth {
			if d.provider, err = localissuer.Start(d.issuer(), localissuer.Options{}); err != nil {
				return err
			}
			defer d.provider.Close()
		}
		return d.run(ctx)
	}
	return cmd
}

// plan decides what the nodes are called and where they are.
func (d *dev) plan() error {
	if d.nodes != 1 && d.nodes != 3 && d.nodes != 5 {
		return usagef("--nodes is %d, want 1, 3 or 5", d.nodes)
	}
	if most := 65535 - d.nodes*devPortStep; d.port < 1 || d.port > most {
		return usagef("--port is %d, want 1 to %d", d.port, most)
	}
	dir, err := filepath.Abs(d.dir)
	if err != nil {
		return err
	}
	d.list = nil
	for i := range d.nodes {
		name := fmt.Sprintf("node%d", i+1)
		d.list = append(d.list, &devNode{
			name: name, api: d.port + i*devPortStep, raft: d.port + i*devPortStep + 1,
			config: filepath.Join(dir, name+".json"), data: filepath.Join(dir, name),
		})
	}
	return nil
}

// prepare checks everything and writes the nodes' configuration.
func (d *dev) prepare() error {
	if err := d.plan(); err != nil {
		return err
	}
	// Ports first: a cluster that runs must not lose its data to --clean.
	if err := d.checkPorts(); err != nil {
		return err
	}
	if err := d.checkDir(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o750); err != nil {
		return err
	}
	for _, n := range d.list {
		text, err := json.MarshalIndent(d.configOf(n), "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.config, append(text, '\n'), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// checkPorts tells which port is taken, before one node of three fails.
func (d *dev) checkPorts() error {
	var errs []error
	for _, n := range d.list {
		for _, p := range []struct {
			port int
			use  string
		}{{n.api, "API"}, {n.raft, "Raft"}} {
			l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", devAddress, p.port))
			if err != nil {
				errs = append(errs, fmt.Errorf("port %d, for the %s of %s: %w", p.port, p.use, n.name, errors.Unwrap(err)))
				continue
			}
			_ = l.Close() // nothing was accepted
		}
	}
	if d.auth {
		if l, err := net.Listen("tcp", d.issuer()); err != nil {
			errs = append(errs, fmt.Errorf("port %d, for the provider of tokens: %w", d.port+devIssuerPort, errors.Unwrap(err)))
		} else {
			_ = l.Close() // as above
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w\nstop what uses it (another confman dev?), or choose others with --port", errors.Join(errs...))
	}
	return nil
}

// checkDir makes room for a new cluster, or sees that the old one is as large as
// what is asked for.
func (d *dev) checkDir() error {
	old, err := filepath.Glob(filepath.Join(d.dir, "node[0-9].json"))
	if err != nil {
		return err
	}
	if d.clean {
		for _, config := range old {
			if err := errors.Join(os.RemoveAll(strings.TrimSuffix(config, ".json")), os.Remove(config)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(old) > 0 && len(old) != d.nodes {
		return usagef("%s holds a cluster of %d nodes: use --nodes %d, --clean to begin anew, or another --dir", d.dir, len(old), len(old))
	}
	for _, name := range old {
		// Its administrator stays, and with one nobody may do anything without a token.
		if cfg, err := config.Load(name, nil, nil); err == nil && !cfg.Auth.Open() && !d.auth {
			return usagef("%s holds a cluster that takes tokens: use --auth, --clean to begin anew, or another --dir", d.dir)
		}
	}
	return nil
}

// configOf is a node's configuration file.
func (d *dev) configOf(n *devNode) any {
	type member struct {
		ID       string `json:"Id"`
		Address  string
		APIPort  int `json:"ApiPort"`
		RaftPort int
	}
	type cluster struct {
		NodeID string `json:"NodeId"`
		Nodes  []member
	}
	type data struct{ Dir string }
	type raft struct{ PlainText bool } // nobody else reaches loopback
	c := cluster{NodeID: n.name}
	for _, m := range d.list {
		c.Nodes = append(c.Nodes, member{m.name, devAddress, m.api, m.raft})
	}
	return struct {
		Cluster cluster
		Raft    raft
		Data    data
		Auth    any
	}{c, raft{true}, data{n.data}, d.authOf()}
}

// run starts the nodes and stays until ctx ends or no node is left.
func (d *dev) run(ctx context.Context) error {
	// The nodes die with the thread that started them (see start), so it must live
	// as long as this does.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer d.stop()
	died := make(chan *devNode, len(d.list))
	for i, n := range d.list {
		if err := d.start(n, i, died); err != nil {
			return fmt.Errorf("starting %s: %w", n.name, err)
		}
	}
	d.say("starting %d nodes, data in %s", len(d.list), d.dir)
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- d.awaitReady(waiting) }()
	select {
	case <-ctx.Done():
		return nil
	case n := <-died:
		return fmt.Errorf("%s ended before the cluster was ready (%w): what it said is above", n.name, n.why())
	case err := <-ready:
		if err != nil {
			return nil // it is ctx's: to be stopped is no fault
		}
	}
	if d.auth {
		switch err := d.admit(ctx); {
		case ctx.Err() != nil:
			return nil // as above
		case err != nil:
			return err
		}
	}
	d.welcome()
	for left := len(d.list); left > 0; left-- {
		select {
		case <-ctx.Done():
			return nil
		case n := <-died:
			d.say("%s ended (%v); the others go on; to start it again: %s serve --config %s", n.name, n.why(), d.called, n.config)
		}
	}
	return errors.New("no node is left")
}

// start runs a node's process.
func (d *dev) start(n *devNode, i int, died chan<- *devNode) error {
	n.output = &prefixWriter{to: d.err, lock: &d.lock, prefix: prefixOf(n.name, i, d.errTerminal)}
	n.finished = make(chan struct{})
	n.cmd = exec.Command(d.self, "serve", "--config", n.config, "--log-format", logText) //nolint:gosec // it is this program
	n.cmd.Stdout, n.cmd.Stderr = n.output, n.output
	// What overrides one node's configuration must not override three.
	n.cmd.Env = slices.DeleteFunc(slices.Clone(d.environ), func(v string) bool { return strings.HasPrefix(v, "CONFMAN_") })
	// Ctrl-C goes to this process alone, which then stops the nodes in order; if it
	// is killed, the kernel stops them.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := n.cmd.Start(); err != nil {
		close(n.finished)
		return err
	}
	go func() {
		n.err = n.cmd.Wait()
		n.output.end()
		close(n.finished)
		died <- n
	}()
	return nil
}

// why is how a node's process ended.
func (n *devNode) why() error {
	if n.err == nil {
		return errors.New("it stopped in order")
	}
	return n.err
}

// awaitReady returns nil once all nodes are ready, or ctx's error.
func (d *dev) awaitReady(ctx context.Context) error {
	poll := time.NewTicker(devReadyPoll)
	defer poll.Stop()
	notice := time.NewTimer(devReadyNotice)
	defer notice.Stop()
	for {
		var missing []string
		for _, n := range d.list {
			if !isReady(ctx, n.api) {
				missing = append(missing, n.name)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-notice.C:
			d.say("still waiting for %s; what the nodes log says why", strings.Join(missing, ", "))
		case <-poll.C:
		}
	}
}

func isReady(ctx context.Context, port int) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/health/ready", devAddress, port), nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // the status is all
	return resp.StatusCode == http.StatusOK
}

// stop stops all nodes that run, and waits for them.
func (d *dev) stop() {
	deadline := time.NewTimer(devStopTime)
	defer deadline.Stop()
	for _, n := range d.list {
		if n.running() {
			_ = n.cmd.Process.Signal(syscall.SIGTERM) // it fails if the process has just ended
		}
	}
	for _, n := range d.list {
		if n.finished == nil {
			continue
		}
		select {
		case <-n.finished:
		case <-deadline.C:
			d.say("%s does not stop: killing what is left", n.name)
			for _, left := range d.list {
				if left.running() {
					_ = left.cmd.Process.Kill() // as above
				}
			}
			<-n.finished
		}
	}
}

func (n *devNode) running() bool {
	if n.finished == nil || n.cmd.Process == nil {
		return false
	}
	select {
	case <-n.finished:
		return false
	default:
		return true
	}
}

// say prints a line of our own among the nodes'.
func (d *dev) say(format string, args ...any) {
	d.lock.Lock()
	defer d.lock.Unlock()
	_, _ = fmt.Fprintf(d.out, "dev   | "+format+"\n", args...) // nobody is left to tell
}

// urls are where the nodes' APIs are.
func (d *dev) urls() []string {
	var urls []string
	for _, n := range d.list {
		urls = append(urls, fmt.Sprintf("http://%s:%d", devAddress, n.api))
	}
	return urls
}

// welcome says where to go next.
func (d *dev) welcome() {
	url := func(i int) string { return d.urls()[i%len(d.list)] }
	endpoints := ""
	if d.port != devPort || d.nodes == 1 {
		endpoints = " --endpoints " + strings.Join(d.urls(), ",")
	}
	curl := "curl"
	if d.auth {
		curl = `curl -H "Authorization: Bearer $CONFMAN_TOKEN"`
	}
	d.lock.Lock()
	defer d.lock.Unlock()
	_, _ = fmt.Fprintf(d.out, `
The cluster is ready. %[7]sWrite to any node, read from any other:

  %[8]s -X PUT %[2]s/api/v1/config/teams/payments/timeout-ms -d 30
  %[8]s %[3]s/api/v1/config/teams/payments/timeout-ms
  %[8]s '%[4]s/api/v1/config/teams/?recursive=true'
  %[8]s %[2]s/api/v1/cluster

  %[1]s get teams/payments/timeout-ms%[5]s
  %[1]s ls -r%[5]s
  %[1]s cluster%[5]s

Ctrl-C stops all nodes; the data stays in %[6]s.

`, d.called, url(0), url(1), url(2), endpoints, d.dir, d.tokens(), curl)
}
