package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// running is a world of nodes that has run for a while and found nothing wrong.
func running(t *testing.T, nodes int) *World {
	t.Helper()
	w := built(t, nodes)
	w.run(int64(5 * time.Second))
	require.NoError(t, w.err)
	t.Cleanup(func() {
		for _, r := range w.nodes {
			r.abandon()
		}
	})
	return w
}

// TestChainDiffers: a head that is not the model's is found at the next apply.
func TestChainDiffers(t *testing.T) {
	w := running(t, 1)
	r, m := w.nodes[0], &w.judge.model
	s := r.db.State()
	require.Positive(t, s.Revision)
	require.NoError(t, w.judge.state(r, s))
	m.changes[s.Revision-1].head[0] ^= 1
	assert.ErrorContains(t, w.judge.state(r, s), "chain")
}

// TestChangeDiffers: each part of a change is held against the model.
func TestChangeDiffers(t *testing.T) {
	w := running(t, 1)
	m := &w.judge.model
	view, err := w.nodes[0].db.View()
	require.NoError(t, err)
	defer view.Close()
	var change fsm.Change
	require.NoError(t, view.Changes(1, 1, func(c fsm.Change) bool { change = c; return false }))
	require.NoError(t, m.logged(&change))
	for name, spoil := range map[string]func(*fsm.Change){
		"another request": func(c *fsm.Change) { c.RequestID += "x" },
		"another time":    func(c *fsm.Change) { c.At-- },
		"another chain":   func(c *fsm.Change) { c.Chain[5] ^= 1 },
		"another key":     func(c *fsm.Change) { c.Ops = append(c.Ops[:0:0], fsm.ChangedKey{Kind: fsm.Put, Key: "x"}) },
	} {
		wrong := change
		spoil(&wrong)
		assert.Error(t, m.logged(&wrong), name)
	}
}

// TestOverdue: a request that a live node has not answered long after its deadline fails
// the world; not if the node was paused until just now.
func TestOverdue(t *testing.T) {
	w := running(t, 1)
	r := w.nodes[0]
	o := w.closingOp(r, 0)
	r.overdue(o.op.ID)
	require.NoError(t, w.err, "it has no request of that number")
	r.pending = append(r.pending, o.op.ID)
	r.resumed = w.now - 1
	r.overdue(o.op.ID)
	require.NoError(t, w.err, "it has not had the time since its pause")
	r.resumed = 0
	r.overdue(o.op.ID)
	assert.ErrorContains(t, w.err, "never answers")
}

// TestViewMoves: a view that stays open shows what it showed when it was opened.
func TestViewMoves(t *testing.T) {
	w := running(t, 1)
	r := w.nodes[0]
	for range 1000 {
		r.hold("k0/0")
	}
	require.Len(t, r.held, maxHeld)
	w.run(w.now + int64(time.Second))
	require.NoError(t, w.err)
	if len(r.held) == 0 {
		r.hold("k0/0")
	}
	for range 1000 {
		r.hold("k0/0")
	}
	r.held[0].state.Revision++
	r.look()
	assert.ErrorContains(t, w.err, "says later")
}

// TestRests: an append that names another term than its sender's log has is found.
func TestRests(t *testing.T) {
	w := running(t, 3)
	r := w.leader()
	require.NotNil(t, r)
	i := uint64(len(r.shadow.terms))
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), Index: &i, LogTerm: new(r.shadow.terms[i-1])}
	r.storage.appends, r.storage.appending = nil, nil
	w.judge.rests(r, m)
	require.NoError(t, w.err)
	*m.LogTerm++
	w.judge.rests(r, m)
	assert.ErrorContains(t, w.err, "is of term")
}

// TestCleanTail: what is left of a torn batch behind the end of a log is found.
func TestCleanTail(t *testing.T) {
	w := running(t, 1)
	r := w.nodes[0]
	names := r.disk.names()
	cut := &wal.Cut{Segment: names[len(names)-1], Offset: r.disk.written(names[len(names)-1])}
	require.NoError(t, r.cleanTail(nil))
	require.NoError(t, r.cleanTail(cut))
	r.disk.files[cut.Segment].write([]byte{1}, cut.Offset+2*proofBytes)
	assert.ErrorContains(t, r.cleanTail(cut), "torn batch")
}

// TestProven: what may rot in the segment in use is what its newest durable batch says.
func TestProven(t *testing.T) {
	d := NewDisk(rand.New(rand.NewPCG(1, 1)))
	require.NoError(t, wal.Create(d, wal.Options{SegmentBytes: 64 << 10, ReserveBytes: 4 << 10, Nonce: 1}))
	log, _, err := wal.Open(d, wal.Options{SegmentBytes: 64 << 10, ReserveBytes: 4 << 10})
	require.NoError(t, err)
	entry := func(i uint64, sync bool) {
		require.NoError(t, log.Append(wal.Batch{Entries: []*raftpb.Entry{{Index: &i, Term: new(uint64(1)), Data: make([]byte, 100)}}, Sync: sync}))
	}
	f := d.files["wal-0000000000000001.log"]
	require.NotNil(t, f)
	before := f.proven()
	entry(1, true)
	one := int64(len(f.data))
	entry(2, true)
	assert.Equal(t, one, f.proven(), "the second batch says that the first one was durable")
	assert.Less(t, before, one)
	entry(3, false)
	assert.Zero(t, f.proven(), "the third is not durable")
	require.NoError(t, log.Close())
}

// TestLoseMeta: without its newest meta page a store is what it was before the flush.
func TestLoseMeta(t *testing.T) {
	w := running(t, 1)
	r := w.nodes[0]
	before := r.lastDurable
	require.NotEqual(t, before, r.db.State().Applied, "there is nothing to flush")
	if r.storage.flush == nil {
		r.storage.flush = r.db.BeginFlush()
	}
	meta, err := r.metas()
	require.NoError(t, err)
	require.NoError(t, r.commit())
	require.Greater(t, r.lastDurable, before)
	require.NoError(t, r.loseMeta(meta))
	r.closeViews()
	require.NoError(t, r.db.Close())
	r.db, err = fsm.Open(r.store, r.storeOptions())
	require.NoError(t, err)
	assert.Equal(t, before, r.db.State().Applied)
}

// TestMetaTxid: the place of the transaction's number is bbolt's.
func TestMetaTxid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	opts := fsm.Options{MmapBytes: storeMmapBytes, NoSync: true}
	require.NoError(t, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{RaftID: 1, Name: "a"}}}, opts))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	first, second := binary.LittleEndian.Uint64(b[metaTxid:]), binary.LittleEndian.Uint64(b[pageBytes+metaTxid:])
	assert.Equal(t, uint64(0), first%2, "transaction n is in meta page n mod 2")
	assert.Equal(t, uint64(1), second%2)
	assert.Equal(t, uint64(1), max(first, second)-min(first, second), "they are of two transactions that follow each other")
}

// TestAfterlife: late copies reach all edges of what is remembered of an origin, and the
// stores do with them what the model says.
func TestAfterlife(t *testing.T) {
	w := running(t, 3)
	w.clients.over = true
	w.settle()
	require.NoError(t, w.err)
	applied := len(w.judge.slots)
	w.afterlife()
	require.NoError(t, w.err)
	outcomes := map[fsm.Outcome]int{}
	for _, s := range w.judge.slots[applied:] {
		outcomes[s.result.outcome]++
		if s.result.outcome == fsm.Repeated && s.result.first.outcome == 0 {
			outcomes[fsm.Empty]++ // a repeat of what is forgotten
		}
	}
	assert.Positive(t, outcomes[fsm.Applied])
	assert.Positive(t, outcomes[fsm.Repeated])
	assert.Positive(t, outcomes[fsm.Empty])
	h := w.judge.history()
	assert.Less(t, len(h.Changes), len(w.judge.model.changes), "clients' history has none of it")
}
