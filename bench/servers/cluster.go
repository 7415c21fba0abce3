package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is one member of a cluster.
type Node struct {
	*Process
	Name string
	Addr string // of its API
	Data string
}

// Cluster is the nodes of one product.
type Cluster struct {
	Product string
	Nodes   []*Node
	// fresh asks a node by a linearizable read whether it takes part.
	fresh func(ctx context.Context, addr string) (bool, error)
	// leads asks a node whether it leads.
	leads func(ctx context.Context, n *Node) (bool, error)
	// term asks a node for Raft's term.
	term func(ctx context.Context, addr string) (uint64, error)
}

// prober asks nodes things that are not measured.
var prober = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 4}}

// Options are of a cluster.
type Options struct {
	Program string
	Dir     string // for its files
	Size    int
	// Link, if not nil, is by which port the nodes reach another one's for its peers.
	Link func(port int) (int, error)
	// Settings of Confman that are not the default ones, by section.
	Settings map[string]any
}

// Confman is a cluster of Confman.
func Confman(o Options) (*Cluster, error) {
	program, dir, size := o.Program, o.Dir, o.Size
	ports, err := freePorts(2 * size)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Product: "Confman"}
	for i := range size {
		name := fmt.Sprintf("node%d", i+1)
		var nodes []map[string]any
		for j := range size {
			raft := ports[2*j+1]
			if o.Link != nil && i != j {
				if raft, err = o.Link(raft); err != nil {
					return nil, err
				}
			}
			nodes = append(nodes, map[string]any{"Id": fmt.Sprintf("node%d", j+1), "Address": "127.0.0.1", "ApiPort": ports[2*j], "RaftPort": raft})
		}
		data := filepath.Join(dir, name)
		settings := map[string]any{
			"Cluster": map[string]any{"NodeId": name, "Nodes": nodes},
			"Raft":    map[string]any{"PlainText": true}, // etcd's peers speak plain text by default
			"Data":    map[string]any{"Dir": data},
		}
		maps.Copy(settings, o.Settings)
		text, err := json.MarshalIndent(settings, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, err
		}
		config := filepath.Join(dir, name+".json")
		if err := os.WriteFile(config, text, 0o600); err != nil {
			return nil, err
		}
		c.Nodes = append(c.Nodes, &Node{
			Process: &Process{line: []string{program, "serve", "--config", config}, log: filepath.Join(dir, name+".log")},
			Name:    name, Addr: fmt.Sprintf("127.0.0.1:%d", ports[2*i]), Data: data,
		})
	}
	c.fresh = func(ctx context.Context, addr string) (bool, error) {
		// No such key is an answer, too.
		status, _, _, err := ask(ctx, http.MethodGet, "http://"+addr+"/api/v1/config/bench-probe?consistency=linearizable", "")
		return status == http.StatusOK || status == http.StatusNotFound, err
	}
	c.leads = func(ctx context.Context, n *Node) (bool, error) {
		_, header, _, err := ask(ctx, http.MethodGet, "http://"+n.Addr+"/health/ready", "")
		return err == nil && header.Get("Confman-Leader") == n.Name, err
	}
	c.term = func(ctx context.Context, addr string) (uint64, error) {
		_, _, body, err := ask(ctx, http.MethodGet, "http://"+addr+"/api/v1/cluster", "")
		if err != nil {
			return 0, err
		}
		var cluster struct{ Term uint64 }
		return cluster.Term, json.Unmarshal(body, &cluster)
	}
	return c, nil
}

// Etcd is a cluster of etcd with default settings.
func Etcd(o Options) (*Cluster, error) {
	program, dir, size := o.Program, o.Dir, o.Size
	ports, err := freePorts(2 * size)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, err
	}
	c := &Cluster{Product: "etcd"}
	for i := range size {
		name := fmt.Sprintf("node%d", i+1)
		// All members must agree on each other's address, so a link's port is the one that all but its owner use.
		var members []string
		for j := range size {
			peer := ports[2*j+1]
			if o.Link != nil {
				if peer, err = o.Link(peer); err != nil {
					return nil, err
				}
			}
			members = append(members, fmt.Sprintf("node%d=http://127.0.0.1:%d", j+1, peer))
		}
		api, data := fmt.Sprintf("127.0.0.1:%d", ports[2*i]), filepath.Join(dir, name)
		_, advertised, _ := strings.Cut(members[i], "=")
		c.Nodes = append(c.Nodes, &Node{
			Process: &Process{line: []string{
				program, "--name", name, "--data-dir", data,
				"--listen-client-urls", "http://" + api, "--advertise-client-urls", "http://" + api,
				"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1]), "--initial-advertise-peer-urls", advertised,
				"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new", "--initial-cluster-token", filepath.Base(dir),
			}, log: filepath.Join(dir, name+".log")},
			Name: name, Addr: api, Data: data,
		})
	}
	c.fresh = func(ctx context.Context, addr string) (bool, error) {
		status, _, _, err := ask(ctx, http.MethodPost, "http://"+addr+"/v3/kv/range", `{"key":"YmVuY2gtcHJvYmU="}`) // bench-probe
		return status == http.StatusOK, err
	}
	c.leads = func(ctx context.Context, n *Node) (bool, error) {
		status, err := etcdStatus(ctx, n.Addr)
		return err == nil && status.Leader != "" && status.Leader == status.Header.MemberID, err
	}
	c.term = func(ctx context.Context, addr string) (uint64, error) {
		status, err := etcdStatus(ctx, addr)
		return status.RaftTerm, err
	}
	return c, nil
}

// status is what a member of etcd says of itself.
type status struct {
	Header struct {
		MemberID string `json:"member_id"`
	}
	Leader   string
	RaftTerm uint64 `json:"raftTerm,string"`
}

func etcdStatus(ctx context.Context, addr string) (s status, err error) {
	_, _, body, err := ask(ctx, http.MethodPost, "http://"+addr+"/v3/maintenance/status", `{}`)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

// ask is one request.
func ask(ctx context.Context, method, url, body string) (status int, header http.Header, text []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	resp, err := prober.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, text, err
}

// Start starts all nodes, and waits until each answers.
func (c *Cluster) Start(ctx context.Context) error {
	for _, n := range c.Nodes {
		if err := n.Start(); err != nil {
			return fmt.Errorf("%s %s: %w", c.Product, n.Name, err)
		}
	}
	return c.Ready(ctx)
}

// Ready waits until each node that runs has answered a linearizable read.
func (c *Cluster) Ready(ctx context.Context) error {
	var group sync.WaitGroup
	errs := make([]error, len(c.Nodes))
	for i, n := range c.Nodes {
		if n.Runs() {
			group.Go(func() { errs[i] = c.Fresh(ctx, n) })
		}
	}
	group.Wait()
	return errors.Join(errs...)
}

// Fresh waits until a node has answered a linearizable read.
func (c *Cluster) Fresh(ctx context.Context, n *Node) error {
	return await(ctx, n.Process, c.Product+" "+n.Name, func(ctx context.Context) (bool, error) { return c.fresh(ctx, n.Addr) })
}

// Leader is the node that leads.
func (c *Cluster) Leader(ctx context.Context) (*Node, error) {
	ctx, cancel := context.WithTimeout(ctx, ReadyTime)
	defer cancel()
	for {
		for _, n := range c.Nodes {
			if n.Runs() {
				if ok, _ := c.leads(ctx, n); ok { // an error is no leader
					return n, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: nobody leads: %w", c.Product, ctx.Err())
		case <-time.After(pollTime):
		}
	}
}

// Term is Raft's term: each election has a new one.
func (c *Cluster) Term(ctx context.Context) (uint64, error) {
	term, err := c.term(ctx, c.Nodes[0].Addr)
	if err == nil && term == 0 {
		err = errors.New("it does not say its term")
	}
	return term, err
}

// Addrs are where the nodes' APIs are.
func (c *Cluster) Addrs() (addrs []string) {
	for _, n := range c.Nodes {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

// PIDs are those of the nodes.
func (c *Cluster) PIDs() (pids []int) {
	for _, n := range c.Nodes {
		if n.Runs() {
			pids = append(pids, n.PID())
		}
	}
	return pids
}

// Stop stops all nodes in order.
func (c *Cluster) Stop() error {
	errs := make([]error, len(c.Nodes))
	var group sync.WaitGroup
	for i, n := range c.Nodes {
		group.Go(func() { errs[i] = n.Stop() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Kill kills all nodes.
func (c *Cluster) Kill() {
	for _, n := range c.Nodes {
		n.Kill()
	}
}

// Goroutines is how many the node has that has most.
func (c *Cluster) Goroutines(ctx context.Context) (most float64, err error) {
	for _, n := range c.Nodes {
		_, _, text, err := ask(ctx, http.MethodGet, "http://"+n.Addr+"/metrics", "")
		if err != nil {
			return 0, err
		}
		one, err := metric(string(text), "go_goroutines")
		if err != nil {
			return 0, err
		}
		most = max(most, one)
	}
	return most, nil
}

// metric is a metric without labels.
func metric(text, name string) (float64, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// Files is the size of all files of the node that has most, as far as they take space of the disk.
func (c *Cluster) Files() (most int64, err error) {
	for _, n := range c.Nodes {
		var sum int64
		err := filepath.WalkDir(n.Data, func(_ string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return ignoreGone(err)
			}
			info, err := d.Info()
			if err != nil {
				return ignoreGone(err)
			}
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
			return nil
		})
		if err != nil {
			return 0, err
		}
		most = max(most, sum)
	}
	return most, nil
}

// ignoreGone: files go while one looks.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
