package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// fakeNode applies commands to a real store at once, as a cluster of one would.
type fakeNode struct {
	tb    testing.TB
	path  string // of the store
	store *fsm.Store
	done  chan struct{}
	hub   *node.Watches

	mu       sync.Mutex
	index    fsm.Index
	status   node.NodeStatus
	measures node.Measures
	// The faults to inject; nil or false: none.
	proposeErr   func(n int, cmd *fsm.Command) error // n counts the proposals, from 1
	linearizeErr error
	linearize    func()             // called in each Linearize, unlocked
	arrives      func(fsm.Revision) // called in each WaitRevision
	viewErr      error
	waitErr      error
	backupErr    error
	handOverErr  error
	drains       bool
	transferred  []string
	damage       []error // what StoreDamaged was told
	proposals    int
	linearized   int
	commands     []fsm.Command         // all that were proposed
	during       func(*fsm.Command)    // called in each proposal, unlocked
	proposed     func(context.Context) // the same
	outcome      fsm.Outcome           // results have this one, and little else
}

func newFakeNode(tb testing.TB) *fakeNode {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "store")
	members := []fsm.Member{{RaftID: 1, Name: "node1"}, {RaftID: 2, Name: "node2"}, {RaftID: 3, Name: "node3"}}
	opts := fsm.Options{MmapBytes: 1 << 30, NoSync: true}
	require.NoError(tb, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: members}, opts))
	store, err := fsm.Open(path, opts)
	require.NoError(tb, err)
	n := &fakeNode{tb: tb, path: path, store: store, done: make(chan struct{}), hub: node.NewWatches(node.WatchLimits{})}
	tb.Cleanup(func() { require.NoError(tb, n.store.Close()) })
	n.status.ID, n.status.Leader, n.status.Role = 1, 1, node.Leader
	n.status.Term, n.status.Reachable = 3, []uint64{2}
	n.status.Formed, n.status.Ready, n.status.Fresh = true, true, true
	n.status.Staleness = 25 * time.Millisecond
	return n
}

func (n *fakeNode) Propose(ctx context.Context, cmd *fsm.Command) (fsm.Result, error) {
	n.mu.Lock()
	n.proposals++
	n.commands = append(n.commands, *cmd)
	var err error
	if n.proposeErr != nil {
		err = n.proposeErr(n.proposals, cmd)
	}
	during := n.during
	n.mu.Unlock()
	if n.proposed != nil {
		n.proposed(ctx)
	}
	if during != nil {
		during(cmd)
	}
	if err != nil {
		return fsm.Result{}, err
	}
	if err = ctx.Err(); err != nil {
		return fsm.Result{}, &node.WriteError{Outcome: node.NotApplied, Err: node.ErrNoQuorum}
	}
	data, err := cmd.Encode()
	if err != nil {
		return fsm.Result{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	if cmd.Maintenance == nil {
		fsm.SetOrigin(data, fsm.Origin{Node: 1, Incarnation: 1, Seq: uint64(n.index)})
	}
	res, err := n.store.Apply([]fsm.Entry{{Index: n.index, Term: 3, Data: data}})
	if err != nil {
		return fsm.Result{}, err
	}
	v, err := n.store.View()
	if err != nil {
		return fsm.Result{}, err
	}
	defer v.Close()
	if err = n.hub.Advance(v); err != nil {
		return fsm.Result{}, err
	}
	if n.outcome != 0 {
		return fsm.Result{Outcome: n.outcome, Revision: res[0].Revision}, nil
	}
	return res[0], nil
}

// put is somebody else's write.
func (n *fakeNode) put(key, value string) {
	_, err := n.Propose(n.tb.Context(), &fsm.Command{
		Ops: []fsm.Op{{Kind: fsm.Put, Key: key, Value: []byte(value), ContentType: typeJSON}},
	})
	require.NoError(n.tb, err)
}

// maintain lets replicated time pass, and compacts the history.
func (n *fakeNode) maintain(m fsm.Maintenance) {
	n.tb.Helper()
	_, err := n.Propose(n.tb.Context(), &fsm.Command{Maintenance: &m})
	require.NoError(n.tb, err)
}

func (n *fakeNode) Linearize(ctx context.Context) error {
	if n.linearize != nil {
		n.linearize()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.linearized++
	if n.linearizeErr != nil {
		return n.linearizeErr
	}
	return ctx.Err()
}

func (n *fakeNode) WaitRevision(ctx context.Context, rev fsm.Revision) error {
	if n.arrives != nil {
		n.arrives(rev)
	}
	if n.waitErr != nil {
		return n.waitErr
	}
	if n.store.State().Revision < rev {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

func (n *fakeNode) View() (*fsm.View, node.Freshness, error) {
	if n.viewErr != nil {
		return nil, node.Freshness{}, n.viewErr
	}
	v, err := n.store.View()
	return v, node.Freshness{}, err
}

func (n *fakeNode) Backup(context.Context) (*node.Backup, error) {
	if n.backupErr != nil {
		return nil, n.backupErr
	}
	if err := n.store.BeginFlush().Commit(); err != nil {
		return nil, err
	}
	image, err := n.store.OpenImage()
	if err != nil {
		return nil, err
	}
	at := time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC)
	return &node.Backup{Image: image, Info: image.Backup("node1", at), Until: at.Add(time.Hour)}, nil
}

func (n *fakeNode) Watch(path string, from fsm.Revision) (*node.Watcher, error) {
	return n.hub.Watch(path, from)
}

func (n *fakeNode) Measures() node.Measures {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.measures
}

func (n *fakeNode) Leader() uint64 { return n.Status().Leader }

func (n *fakeNode) Status() node.NodeStatus {
	s := n.status
	s.State = n.store.State()
	s.Commit, s.Applied = uint64(s.State.Applied), uint64(s.State.Applied)
	return s
}

func (n *fakeNode) TransferLeadership(_ context.Context, to string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handOverErr == nil {
		n.transferred = append(n.transferred, to)
		n.status.Role, n.status.Leader = node.Follower, 2
	}
	return n.handOverErr
}

func (n *fakeNode) Drain(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.drains = true
	return n.handOverErr
}

func (n *fakeNode) Place(string) fsm.MemberSpec { return fsm.MemberSpec{} }

func (n *fakeNode) Undrain() { n.drains = false }

func (n *fakeNode) Draining() bool { return n.drains }

func (n *fakeNode) StoreDamaged(v *fsm.View, err error) {
	require.True(n.tb, v.Of(n.store), "the view is closed")
	n.damage = append(n.damage, err)
}

func (n *fakeNode) Done() <-chan struct{} { return n.done }

// fixture is an API over a fake node.
type fixture struct {
	*api
	tb    testing.TB
	node  *fakeNode
	proof standing // what Freshness.Age answers
	now   time.Time
	log   bytes.Buffer
	// refused is why the document refuses the request of the last do, "" if it does not. Requests
	// may be made at the same time: the lock is for the race detector.
	mu      sync.Mutex
	refused string
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	f := &fixture{
		tb: tb, node: newFakeNode(tb),
		proof: standing{age: 12 * time.Millisecond, fresh: true},
		now:   time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC),
	}
	f.api = newAPI(Config{
		Node: f.node, Name: "node1",
		Members: []Member{
			{Name: "node1", Address: "10.0.1.10", APIPort: 5000, RaftPort: 5001},
			{Name: "node2", Address: "10.0.1.11", APIPort: 5000, RaftPort: 5001},
			{Name: "node3", Address: "10.0.1.12", APIPort: 5000, RaftPort: 5001},
		},
		Hosts:  []string{"example.com", "x"}, // those of httptest, and of requests that tests spell
		Now:    func() time.Time { return f.now },
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)),
	})
	f.idPrefix = "made-"
	f.age = func(node.Freshness) (time.Duration, bool) { return f.proof.age, f.proof.fresh }
	return f
}

// do answers one request, and holds it against the document; headers are "Name: value".
func (f *fixture) do(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	f.tb.Helper()
	return f.doFor(f.tb.Context(), method, target, body, headers...)
}

// doFor is do for a client that leaves when ctx is done.
func (f *fixture) doFor(ctx context.Context, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	f.tb.Helper()
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(ctx, method, target, src)
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ": ")
		require.True(f.tb, ok, h)
		r.Header.Add(name, value)
	}
	if r.Header["X-Request-Id"] == nil {
		r.Header.Set("X-Request-Id", "test-1")
	}
	w := httptest.NewRecorder()
	sent := r.Clone(r.Context())
	f.ServeHTTP(w, r)
	c, err := documentChecker()
	require.NoError(f.tb, err)
	refused, faults := c.check(sent, body, w)
	f.mu.Lock()
	f.refused = refused
	f.mu.Unlock()
	assert.Empty(f.tb, faults, "openapi.yaml and the API differ")
	return w
}

// ok is do for what must succeed.
func (f *fixture) ok(method, target, body string, headers ...string) *httptest.ResponseRecorder {
	f.tb.Helper()
	w := f.do(method, target, body, headers...)
	require.Less(f.tb, w.Code, 300, "%s %s: %s", method, target, w.Body)
	return w
}

// decoded is an answer's JSON body.
func decoded(tb testing.TB, w *httptest.ResponseRecorder) map[string]any {
	tb.Helper()
	var m map[string]any
	d := json.NewDecoder(w.Body)
	d.UseNumber()
	require.NoError(tb, d.Decode(&m))
	return m
}

var _ http.Handler = (*fixture)(nil)
