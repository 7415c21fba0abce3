package httpapi

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
	"github.com/confman/confman/transport"
)

// wires is the network between the nodes of one process.
type wires struct {
	mu   sync.Mutex
	ends map[uint64]*wire
}

// wire is one node's end of it.
type wire struct {
	all     *wires
	self    uint64
	handler transport.Handler
	cluster fsm.ClusterID // guarded by all.mu
	in      chan transport.Message
	closing chan struct{}
	closed  chan struct{}
}

func (n *wires) dial(self node.Peering, h transport.Handler) (node.Transport, error) {
	w := &wire{all: n, self: self.RaftID, handler: h, in: make(chan transport.Message, 4096), closing: make(chan struct{}), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ends[w.self] = w
	go func() {
		defer close(w.closed)
		for {
			select {
			case m := <-w.in:
				h.Receive(m)
			case <-w.closing:
				return
			}
		}
	}()
	return w, nil
}

// Send delivers to those who are there and of the same cluster.
func (w *wire) Send(msgs []transport.Message) {
	for _, m := range msgs {
		w.all.mu.Lock()
		to := w.all.ends[m.To]
		if to != nil && m.Form == nil && (w.cluster == fsm.ClusterID{} || w.cluster != to.cluster) {
			to = nil
		}
		w.all.mu.Unlock()
		if to == nil {
			w.handler.Unreachable(m.To)
			continue
		}
		// What arrives is the receiver's.
		if m.Raft != nil {
			m.Raft = proto.Clone(m.Raft).(*raftpb.Message)
		}
		if m.Forward != nil {
			f := *m.Forward
			f.Command = bytes.Clone(f.Command)
			m.Forward = &f
		}
		select {
		case to.in <- m:
		default:
			w.handler.Unreachable(m.To)
		}
	}
}

func (w *wire) SetCluster(id fsm.ClusterID) {
	w.all.mu.Lock()
	defer w.all.mu.Unlock()
	w.cluster = id
}

// SetMembers is nothing to this network: it takes messages to where they are sent.
func (w *wire) SetMembers([]transport.Peer, uint64) {}

func (w *wire) Close() error {
	w.all.mu.Lock()
	if w.all.ends[w.self] == w {
		delete(w.all.ends, w.self)
	}
	w.all.mu.Unlock()
	close(w.closing)
	<-w.closed
	return nil
}

// trio is a cluster of three real nodes in this process, each with its API.
type trio struct {
	tb      testing.TB
	dir     string
	wires   *wires
	runners []*node.Runner
	apis    []*fixture
}

func newTrio(tb testing.TB) *trio {
	tb.Helper()
	c := &trio{tb: tb, dir: tb.TempDir(), wires: &wires{ends: make(map[uint64]*wire)}}
	c.start()
	tb.Cleanup(c.stop)
	return c
}

// start starts all nodes on their directories, and waits until they are ready.
func (c *trio) start() {
	c.tb.Helper()
	c.apis = nil
	names := []string{"node1", "node2", "node3"}
	for _, name := range names {
		r, err := node.Start(node.RunnerConfig{
			Settings: node.Settings{TickInterval: 10 * time.Millisecond},
			Dir:      filepath.Join(c.dir, name), Name: name, Names: names, Dial: c.wires.dial, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(c.tb, err)
		c.runners = append(c.runners, r)
		c.apis = append(c.apis, &fixture{tb: c.tb, api: newAPI(Config{Node: r, Name: name, Hosts: []string{"example.com"}, Logger: slog.New(slog.DiscardHandler)})})
	}
	for _, r := range c.runners {
		require.Eventually(c.tb, func() bool { return r.Status().Ready }, 30*time.Second, time.Millisecond)
	}
}

func (c *trio) stop() {
	for _, r := range c.runners {
		assert.NoError(c.tb, r.Close())
	}
	c.runners = nil
}

// TestKeyedWritesOverThreeNodes: what is not idempotent by itself, adding to a list, is done once
// under its key, at whichever nodes and however often it is asked for, one after another, at once,
// and after a restart of all.
func TestKeyedWritesOverThreeNodes(t *testing.T) {
	c := newTrio(t)
	add := func(at, n int) *httptest.ResponseRecorder {
		return c.apis[at].do("PATCH", config+"/list", fmt.Sprintf(`[{"op":"add","path":"/-","value":%d}]`, n),
			asPatch, fmt.Sprintf("Idempotency-Key: add-%d", n))
	}
	list := func(at int) string {
		return c.apis[at].ok("GET", config+"/list?consistency=linearizable", "", "Accept: text/plain").Body.String()
	}
	// What an answer tells of the write, and not of the node that gives it.
	of := func(w *httptest.ResponseRecorder) []any {
		return []any{w.Code, w.Header().Get("ETag"), w.Header().Get("Confman-Revision"), w.Body.String()}
	}
	c.apis[0].ok("PUT", config+"/list", "[]")

	first := add(0, 0)
	require.Equal(t, 200, first.Code, first.Body)
	for at := range c.apis {
		again := add(at, 0)
		assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		assert.Equal(t, of(first), of(again))
	}
	assert.Equal(t, "[0]", list(1))

	const same = 2 // at each node
	answers := make(chan *httptest.ResponseRecorder, same*len(c.apis))
	var all sync.WaitGroup
	for at := range c.apis {
		for range same {
			all.Go(func() { answers <- add(at, 1) })
		}
	}
	all.Wait()
	close(answers)
	var told []any
	done := 0
	for w := range answers {
		require.Equal(t, 200, w.Code, w.Body)
		if w.Header().Get("Idempotency-Replayed") == "" {
			done++
		}
		if told == nil {
			told = of(w)
		}
		assert.Equal(t, told, of(w))
	}
	assert.Equal(t, 1, done)
	assert.Equal(t, "[0,1]", list(2))

	c.stop()
	c.start()
	for at := range c.apis {
		again := add(at, 0)
		assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		assert.Equal(t, of(first), of(again))
	}
	assert.Equal(t, "[0,1]", list(0))
	assert.Equal(t, 422, c.apis[1].do("PUT", config+"/list", "1", "Idempotency-Key: add-0").Code)
}

// TestTxnAndRollbackOverThreeNodes: what holds over the fake holds over nodes that do not lead.
func TestTxnAndRollbackOverThreeNodes(t *testing.T) {
	c := newTrio(t)
	var revisions []string
	for at, f := range c.apis {
		w := f.ok("POST", txnPath, fmt.Sprintf(`{"compare":[{"path":"n","value":%d}],"then":[{"get":"none"}],"else":[{"put":"n","value":%d},{"get":"seen"}]}`, at, at))
		assert.Contains(t, w.Body.String(), `{"get":"seen","record":null}`)
		revisions = append(revisions, w.Header().Get("Confman-Revision"))
	}
	assert.Equal(t, []string{"1", "2", "3"}, revisions)
	w := c.apis[1].ok("POST", rollbackPath+"/n", `{"to_revision":1}`)
	assert.JSONEq(t, `{"path":"n","to_revision":1,"revision":4,"restored":1,"removed":0,"changed":true,"transactions":1}`, w.Body.String())
	for _, f := range c.apis {
		assert.Equal(t, "0", f.ok("GET", config+"/n?min_revision=4", "", "Accept: text/plain").Body.String())
		assert.Equal(t, true, decoded(t, f.ok("GET", verifyPath+"&min_revision=4", ""))["verified"])
	}
}
