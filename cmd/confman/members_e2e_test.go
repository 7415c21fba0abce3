package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/client"
)

// newcomer is a node that is in no other one's configuration, nor are they in its own.
func (f *fleet) newcomer(name string) *proc {
	f.tb.Helper()
	ports := steadyPorts(f.tb, 2)
	p := f.node(name, ports[0], ports[1])
	f.configure(p, p)
	return p
}

// add makes a seat for a newcomer and starts it with that.
func (f *fleet) add(p *proc) {
	f.tb.Helper()
	seat := filepath.Join(f.dir, p.name+".seat")
	f.must("cluster", "add", p.name, "--address", "127.0.0.1", "--api-port", fmt.Sprint(p.api), "--raft-port", fmt.Sprint(p.raft), "--out", seat)
	p.args = []string{"--seat", "@" + seat}
	f.nodes = append(f.nodes, p)
	f.start(p)
}

// must is confman that must end well.
func (f *fleet) must(args ...string) result {
	f.tb.Helper()
	r := f.confman(args...)
	require.Zero(f.tb, r.code, "%v: %s%s", args, r.out, r.err)
	return r
}

// members is what a node says of who takes part, by its name and raft id.
func (f *fleet) members(p *proc) map[string]string {
	f.tb.Helper()
	var list client.Members
	a, err := f.send(http.MethodGet, p.url()+"/api/v1/cluster/members?consistency=linearizable", "")
	if err != nil || a.status != http.StatusOK {
		return nil
	}
	require.NoError(f.tb, json.Unmarshal([]byte(a.body), &list))
	found := map[string]string{}
	for _, m := range list.Items {
		found[fmt.Sprintf("%s/%d", m.ID, m.RaftID)] = m.Membership
	}
	return found
}

// writing is of clients that write keys of their own through all nodes, until they are stopped.
type writing struct {
	stop chan struct{}
	all  sync.WaitGroup

	mu           sync.Mutex
	acknowledged []string
	slowest      time.Duration
	failed       []error
}

// load starts clients that write through nodes, each of which begins with another one.
func (f *fleet) load(count int, nodes ...*proc) *writing {
	f.tb.Helper()
	w := &writing{stop: make(chan struct{})}
	for i := range count {
		var urls []string
		for k := range nodes {
			urls = append(urls, nodes[(i+k)%len(nodes)].url())
		}
		c, err := client.New(client.Options{Endpoints: urls, AttemptTimeout: 20 * time.Second})
		require.NoError(f.tb, err)
		w.all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-w.stop:
					return
				default:
					w.one(c, fmt.Sprintf("load/%d/%d", i, n))
				}
			}
		})
	}
	f.tb.Cleanup(func() { w.end() })
	return w
}

func (w *writing) one(c *client.Client, key string) {
	ctx, cancel := context.WithTimeout(context.Background(), readyWait)
	defer cancel()
	began := time.Now()
	_, _, err := c.Put(ctx, key, []byte(key), "text/plain", client.WriteOptions{})
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed = append(w.failed, err)
		return
	}
	w.acknowledged = append(w.acknowledged, key)
	w.slowest = max(w.slowest, took)
}

func (w *writing) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acknowledged)
}

// more waits until so many more writes were acknowledged.
func (f *fleet) more(w *writing, n int) {
	f.tb.Helper()
	had := w.count()
	f.until(readyWait, "the writers get on", func() bool { return w.count() >= had+n })
}

// end stops them.
func (w *writing) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	w.all.Wait()
}

// audit demands that all writes were acknowledged, and are at each of the nodes.
func (w *writing) audit(f *fleet, nodes ...*proc) {
	f.tb.Helper()
	w.end()
	assert.Empty(f.tb, w.failed, "each write is acknowledged in the end")
	for _, p := range nodes {
		c, err := client.New(client.Options{Endpoints: []string{p.url()}})
		require.NoError(f.tb, err)
		there := map[string]bool{}
		for rec, err := range c.List(f.tb.Context(), "load/", client.ListOptions{ReadOptions: client.ReadOptions{Consistency: client.Linearizable}, Recursive: true}) {
			require.NoError(f.tb, err)
			there[rec.Path] = true
		}
		for _, key := range w.acknowledged {
			require.True(f.tb, there[key], "%s was acknowledged, and %s does not have it", key, p.name)
		}
	}
	f.tb.Logf("%d writes, all acknowledged; the slowest took %v", len(w.acknowledged), w.slowest.Round(time.Millisecond))
}

// TestE2EMembersComeAndGo takes a cluster from three nodes to five and back to three while clients write through all of
// them. The leader is among those who leave.
func TestE2EMembersComeAndGo(t *testing.T) {
	f := up(t, 3)
	first := slices.Clone(f.nodes)
	four, five := f.newcomer("node4"), f.newcomer("node5")
	w := f.load(6, append(slices.Clone(first), four, five)...)
	f.more(w, 50)

	f.add(four)
	f.add(five)
	r := f.must("cluster", "promote", "node4", "node5", "--timeout", "2m")
	assert.Contains(t, r.out, "node4, node5: with a vote")
	f.await(f.nodes...)
	want := map[string]string{"node1/1": "voter", "node2/2": "voter", "node3/3": "voter", "node4/4": "voter", "node5/5": "voter"}
	assert.Equal(t, want, f.members(four))
	f.more(w, 50)

	leader := f.leader()
	for !slices.Contains(first, leader) { // one that was there from the beginning
		f.must("cluster", "transfer-leadership", "--to", first[0].name)
		leader = f.leader()
	}
	other := first[(slices.Index(first, leader)+1)%3]
	r = f.must("cluster", "remove", leader.name, other.name, "--timeout", "2m")
	assert.Contains(t, r.out, leader.name+", "+other.name+": gone")
	for _, p := range []*proc{leader, other} {
		require.Error(t, f.exit(p), "%s stops by itself", p.name)
		assert.Contains(t, p.output(), "removed from its cluster", p.name)
		assert.Contains(t, p.output(), "what to do: ", p.name)
	}
	f.nodes = slices.DeleteFunc(f.nodes, func(p *proc) bool { return p == leader || p == other })
	f.await(f.nodes...)
	f.more(w, 50)
	w.audit(f, f.nodes...)
	members := f.members(four)
	assert.Len(t, members, 3)
	f.converge()

	// Back from their old directories they are no use to anybody, and say so.
	for _, p := range []*proc{leader, other} {
		said := len(p.output())
		f.start(p)
		require.Error(t, f.exit(p), "%s is no member any more", p.name)
		assert.Contains(t, p.output()[said:], "removed from its cluster", p.name)
	}
	assert.Equal(t, members, f.members(four))
	r = f.must("cluster")
	assert.Contains(t, r.out, "hold the same state", "or at different indices")
}

// TestE2EReplacedNode: a node whose disk was emptied does not start; it comes back with a seat, under another raft id.
// The seat is good for one directory.
func TestE2EReplacedNode(t *testing.T) {
	f := up(t, 3)
	f.must("put", "a/b", "1")
	p := f.nodes[1]
	f.stop(p)
	empty := func() (said int) {
		require.NoError(t, os.RemoveAll(p.data))
		return len(p.output())
	}
	empty()
	f.start(p)
	require.Error(t, f.exit(p), "it may have voted")
	assert.Contains(t, p.output(), "confman cluster replace node2")

	seat := filepath.Join(f.dir, "node2.seat")
	f.must("cluster", "replace", "node2", "--out", seat)
	assert.Contains(t, f.confman("cluster", "replace", "node2").err, "being replaced already")
	require.NoError(t, os.RemoveAll(p.data))
	p.args = []string{"--seat", "@" + seat}
	f.start(p)
	want := map[string]string{"node1/1": "voter", "node2/4": "voter", "node3/3": "voter"}
	f.until(readyWait, "node2 has its place back", func() bool { return fmt.Sprint(f.members(f.nodes[0])) == fmt.Sprint(want) })
	f.await(f.nodes...)
	a := f.ask(p, http.MethodGet, configPath+"a/b?consistency=local", "")
	assert.Equal(t, http.StatusOK, a.status, a.body)
	f.converge()

	// It is a member like others: with the seat in its command line too.
	f.kill(p)
	f.start(p)
	f.await(p)
	f.must("put", "a/b", "2")

	// A second directory gets nothing by the same seat, though the first is gone.
	f.stop(p)
	said := empty()
	f.start(p)
	require.Error(t, f.exit(p))
	assert.Contains(t, p.output()[said:], "is that of another data directory")
	assert.Contains(t, p.output()[said:], "confman cluster replace node2")
	assert.Equal(t, want, f.members(f.nodes[0]))
}

// TestE2EHandOver moves the leadership, drains the leader, and stops it, while clients write: all is acknowledged.
func TestE2EHandOver(t *testing.T) {
	f := up(t, 3)
	w := f.load(6, f.nodes...)
	f.more(w, 50)
	term := func(p *proc) uint64 {
		s, ok := f.standing(p)
		require.True(t, ok)
		return s.Term
	}

	leader := f.leader()
	for _, to := range f.others(leader) {
		f.must("cluster", "transfer-leadership", "--to", to.name)
		f.until(readyWait, to.name+" leads", func() bool { return f.leader() == to })
		f.more(w, 50)
	}
	r := f.confman("cluster", "transfer-leadership", "--to", "node9")
	assert.Equal(t, exitNotFound, r.code, r.err)

	leader = f.leader()
	f.must("cluster", "drain", leader.name)
	f.until(readyWait, "another node leads", func() bool { return f.leader() != leader })
	a := f.ask(leader, http.MethodGet, "/health/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	assert.Contains(t, strings.Join(a.problem(t).Reasons, " "), "--off ends that")
	assert.Contains(t, f.must("cluster").out, "draining")
	f.more(w, 50)
	f.must("cluster", "drain", leader.name, "--off")
	f.await(leader)

	// A stop that is planned costs no election: the next term is the one after.
	leader = f.leader()
	before := term(leader)
	f.stop(leader)
	assert.Contains(t, leader.output(), "stopped")
	next := f.leader()
	assert.Equal(t, before+1, term(next))
	f.more(w, 50)
	f.start(leader)
	f.await(leader)
	w.audit(f, f.nodes...)
}
