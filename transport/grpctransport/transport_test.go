package grpctransport

import (
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/transport"
)

const patience = 20 * time.Second

// inbox is a handler that keeps what it got.
type inbox struct {
	mu          sync.Mutex
	got         []transport.Message
	unreachable map[uint64]int
	gone        map[uint64]int
	dismissed   map[uint64]int
}

func (b *inbox) Receive(m transport.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, m)
}

func (b *inbox) Unreachable(peer uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unreachable == nil {
		b.unreachable = make(map[uint64]int)
	}
	b.unreachable[peer]++
}

func (b *inbox) Gone(peer uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone == nil {
		b.gone = make(map[uint64]int)
	}
	b.gone[peer]++
}

func (b *inbox) Dismissed(peer uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dismissed == nil {
		b.dismissed = make(map[uint64]int)
	}
	b.dismissed[peer]++
}

func (b *inbox) messages() []transport.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]transport.Message(nil), b.got...)
}

// lockedBuffer is a log that a test can read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type testNode struct {
	*Transport
	inbox *inbox
	log   *lockedBuffer
}

// freePorts returns n addresses on loopback that nobody listens on.
func freePorts(t testing.TB, n int) []string {
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

func start(t testing.TB, addresses []string, i int) *testNode {
	t.Helper()
	return startAs(t, addresses, i, 1)
}

// startAs starts the node with the i-th address, in one of its incarnations.
func startAs(t testing.TB, addresses []string, i int, incarnation uint64) *testNode {
	t.Helper()
	return startWith(t, addresses, i, func(cfg *Config) { cfg.PlainText, cfg.Incarnation = true, incarnation })
}

// startWith starts the node with the i-th address.
func startWith(t testing.TB, addresses []string, i int, tune func(*Config)) *testNode {
	t.Helper()
	n := &testNode{inbox: &inbox{}, log: &lockedBuffer{}}
	cfg := Config{
		Listen: addresses[i], RaftID: uint64(i + 1), Incarnation: 1, Peers: map[uint64]string{}, Names: map[uint64]string{},
		Handler: n.inbox, Logger: slog.New(slog.NewTextHandler(n.log, nil)),
	}
	for k, a := range addresses {
		cfg.Names[uint64(k+1)] = fmt.Sprintf("node%d", k+1)
		if k != i {
			cfg.Peers[uint64(k+1)] = a
		}
	}
	tune(&cfg)
	var err error
	n.Transport, err = New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	return n
}

func app(from, to, index uint64, data int) transport.Message {
	m := &raftpb.Message{Type: raftpb.MsgApp.Enum(), From: &from, To: &to, Term: new(uint64(1)), Index: &index}
	if data > 0 {
		m.Entries = []*raftpb.Entry{{Index: new(index + 1), Term: new(uint64(1)), Data: make([]byte, data)}}
	}
	return transport.Message{From: from, To: to, Raft: m}
}

func beat(from, to uint64) transport.Message {
	return transport.Message{From: from, To: to, Raft: &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &from, To: &to, Term: new(uint64(1))}}
}

func form(from, to uint64) transport.Message {
	return transport.Message{From: from, To: to, Form: &transport.Form{
		Kind: transport.FormHello, State: transport.FormEmpty, Config: 7, Cluster: [16]byte{1}, Life: [16]byte{2}, Echo: [16]byte{3},
	}}
}

func connected(n *testNode, peer uint64) func() bool {
	return func() bool {
		for _, s := range n.Stats() {
			if s.ID == peer {
				return s.Connected
			}
		}
		return false
	}
}

func eventually(t testing.TB, done func() bool, what string) {
	require.Eventually(t, done, patience, 5*time.Millisecond, what)
}

var cluster = [16]byte{0xc1}

func TestEverythingArrivesAsItWasSent(t *testing.T) {
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	sent := []transport.Message{
		{From: 1, To: 2, Forward: &transport.Forward{Addressee: 1, Incarnation: 2, Seq: 3, Attempt: 4, Command: []byte("command")}},
		{From: 1, To: 2, ForwardReply: &transport.ForwardReply{Incarnation: 1, Origin: 2, Seq: 3, Attempt: 4, Verdict: transport.StorageFull, Term: 5, Index: 6}},
		form(1, 2), app(1, 2, 9, 100), beat(1, 2), claims()[0], claims()[1],
	}
	var got []transport.Message
	eventually(t, func() bool {
		a.Send(sent)
		got = b.inbox.messages()
		return len(got) >= len(sent)
	}, "messages arrive")
	for _, want := range sent {
		found := false
		for _, m := range got {
			switch {
			case want.Raft != nil && m.Raft != nil:
				found = found || proto.Equal(want.Raft, m.Raft)
			case want.Raft == nil && m.Raft == nil:
				found = found || assert.ObjectsAreEqual(want, m)
			}
		}
		assert.True(t, found, "%+v did not arrive", want)
	}
}

func TestAppendsStayInOrder(t *testing.T) {
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected as members")
	const n = 2000
	for i := range uint64(n) {
		a.Send([]transport.Message{app(1, 2, i, int(i%3)*1000), beat(1, 2)})
	}
	var apps []uint64
	eventually(t, func() bool {
		apps = nil
		for _, m := range b.inbox.messages() {
			if m.Raft.GetType() == raftpb.MsgApp {
				apps = append(apps, m.Raft.GetIndex())
			}
		}
		return len(apps) == n
	}, "all appends arrive")
	for i, index := range apps {
		require.Equal(t, uint64(i), index)
	}
}

func TestOnlyFormMessagesPassBeforeBothAreMembers(t *testing.T) {
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	forms := func() int { return len(b.inbox.messages()) }
	eventually(t, func() bool { a.Send([]transport.Message{form(1, 2), beat(1, 2)}); return forms() > 3 }, "forms pass")
	a.SetCluster(cluster)
	was := forms()
	eventually(t, func() bool { a.Send([]transport.Message{form(1, 2), beat(1, 2)}); return forms() > was+3 }, "forms pass to one that is not a member")
	for _, m := range b.inbox.messages() {
		require.NotNil(t, m.Form, "something else passed: %+v", m)
	}
	b.SetCluster(cluster)
	eventually(t, func() bool {
		a.Send([]transport.Message{beat(1, 2)})
		got := b.inbox.messages()
		return got[len(got)-1].Raft != nil
	}, "everything passes between members")
}

func TestStrangersAreRefusedAndBothSidesSayWhy(t *testing.T) {
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster([16]byte{0xaa})
	b.SetCluster([16]byte{0xbb})
	for _, n := range []*testNode{a, b} {
		eventually(t, func() bool {
			s := n.log.String()
			return strings.Contains(s, "belongs to cluster aa000000000000000000000000000000") && strings.Contains(s, "to cluster bb000000000000000000000000000000")
		}, "the log of both names both clusters")
	}
	for _, n := range []*testNode{a, b} {
		assert.Contains(t, n.log.String(), "node1")
		assert.Contains(t, n.log.String(), addresses[1])
	}
	a.Send([]transport.Message{beat(1, 2), form(1, 2)})
	assert.Empty(t, b.inbox.messages())
	assert.False(t, connected(a, 2)())
}

func TestUnknownMemberIsRefusedOnBothSides(t *testing.T) {
	addresses := freePorts(t, 3)
	// Node 2 was configured without node 3.
	b := start(t, addresses[:2], 1)
	c := start(t, addresses, 2)
	for _, n := range []*testNode{b, c} {
		eventually(t, func() bool {
			return strings.Contains(n.log.String(), "raft id 3 is not a member that node2 (raft id 2, at "+addresses[1]+") knows")
		}, "the log of both says so")
	}
}

func TestAMemberThatForgotItsIncarnationIsRefused(t *testing.T) {
	addresses := freePorts(t, 2)
	b := start(t, addresses, 1)
	b.SetCluster(cluster)
	a := startAs(t, addresses, 0, 7)
	a.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected")
	require.NoError(t, a.Close())

	old := startAs(t, addresses, 0, 6)
	eventually(t, func() bool { old.Send([]transport.Message{form(1, 2)}); return formsOf(b) > 0 }, "before it is a member it is heard")
	old.SetCluster(cluster)
	for _, n := range []*testNode{old, b} {
		eventually(t, func() bool { return strings.Contains(n.log.String(), "node1 is in its incarnation 6") }, "both say why")
	}
	require.NoError(t, old.Close())

	was := len(b.inbox.messages())
	next := startAs(t, addresses, 0, 8)
	next.SetCluster(cluster)
	eventually(t, func() bool { next.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > was }, "the next one is heard")
}

// TestBothBecomeMembersAtOnce is what happens when a cluster forms: whoever comes
// first, both directions end as streams between members.
func TestBothBecomeMembersAtOnce(t *testing.T) {
	for range 30 {
		addresses := freePorts(t, 2)
		a, b := start(t, addresses, 0), start(t, addresses, 1)
		eventually(t, func() bool {
			a.Send([]transport.Message{form(1, 2)})
			b.Send([]transport.Message{form(2, 1)})
			return formsOf(a) > 0 && formsOf(b) > 0
		}, "met")
		var both sync.WaitGroup
		both.Go(func() { a.SetCluster(cluster) })
		both.Go(func() { b.SetCluster(cluster) })
		both.Wait()
		eventually(t, func() bool {
			a.Send([]transport.Message{beat(1, 2)})
			b.Send([]transport.Message{beat(2, 1)})
			return len(a.inbox.messages()) > formsOf(a) && len(b.inbox.messages()) > formsOf(b)
		}, "members hear each other")
		require.NoError(t, a.Close())
		require.NoError(t, b.Close())
	}
}

func formsOf(n *testNode) int {
	count := 0
	for _, m := range n.inbox.messages() {
		if m.Form != nil {
			count++
		}
	}
	return count
}

func TestWrongAddresseeIsRefused(t *testing.T) {
	addresses := freePorts(t, 3)
	start(t, addresses, 1)
	// Node 1 has the addresses of 2 and 3 mixed up.
	a := start(t, []string{addresses[0], addresses[2], addresses[1]}, 0)
	eventually(t, func() bool { return strings.Contains(a.log.String(), "the stream is for raft id 3, this node is 2") }, "the mistake is named")
}

func TestPeerComesBack(t *testing.T) {
	addresses := freePorts(t, 2)
	a := start(t, addresses, 0)
	a.SetCluster(cluster)
	for round := range 3 {
		b := start(t, addresses, 1)
		b.SetCluster(cluster)
		eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, fmt.Sprint("round ", round))
		require.NoError(t, b.Close())
		eventually(t, func() bool { return !connected(a, 2)() }, "the loss is noticed")
	}
}

// mute accepts connections and never says anything.
func mute(t *testing.T, address string) {
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
}

func TestADeadPeerDelaysNobody(t *testing.T) {
	addresses := freePorts(t, 3)
	mute(t, addresses[2])
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected to the live one")
	was := len(b.inbox.messages())
	// Far more than the queue to the dead one holds.
	for range 4 * MaxQueuedMessages {
		a.Send([]transport.Message{app(1, 3, 1, 16<<10)})
	}
	a.Send([]transport.Message{beat(1, 2)})
	eventually(t, func() bool { return len(b.inbox.messages()) > was }, "the live one is served")
	stats := a.Stats()
	require.Equal(t, uint64(3), stats[1].ID)
	assert.Positive(t, stats[1].Dropped)
	assert.LessOrEqual(t, stats[1].QueuedBytes, MaxQueuedBytes)
	assert.LessOrEqual(t, stats[1].Queued, 2*MaxQueuedMessages)
	a.inbox.mu.Lock()
	defer a.inbox.mu.Unlock()
	assert.Positive(t, a.inbox.unreachable[3], "the loss is reported")
	assert.Less(t, a.inbox.unreachable[3], 100, "once for each burst")
}

func TestOversizeMessageIsDroppedAloneAndReported(t *testing.T) {
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected")
	a.Send([]transport.Message{app(1, 2, 1, MaxMessageBytes), app(1, 2, 2, 4<<20)})
	eventually(t, func() bool {
		got := b.inbox.messages()
		return got[len(got)-1].Raft.GetIndex() == 2
	}, "the largest allowed passes")
	for _, m := range b.inbox.messages() {
		require.NotEqual(t, uint64(1), m.Raft.GetIndex())
	}
	assert.True(t, connected(a, 2)())
	assert.Contains(t, a.log.String(), "too large to be sent")
	a.inbox.mu.Lock()
	defer a.inbox.mu.Unlock()
	assert.Positive(t, a.inbox.unreachable[2])
}

func TestCloseEndsEverything(t *testing.T) {
	before := runtime.NumGoroutine()
	addresses := freePorts(t, 3)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected")
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	// The condition runs in a goroutine of its own.
	eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, "goroutines end")
	_, err := net.Dial("tcp", addresses[0])
	require.Error(t, err)
}

// That a process has ended is told by who connects to where it listened, at once.
func TestAProcessThatEndedIsTold(t *testing.T) {
	t.Parallel()
	addresses := freePorts(t, 2)
	a, b := start(t, addresses, 0), start(t, addresses, 1)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return len(b.inbox.messages()) > 0 }, "connected")
	gone := func() int {
		a.inbox.mu.Lock()
		defer a.inbox.mu.Unlock()
		return a.inbox.gone[2]
	}
	before := gone() // it may have been there later than a
	require.NoError(t, b.Close())
	eventually(t, func() bool { return gone() > before }, "nobody listens any more")
}
