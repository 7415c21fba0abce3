package grpctransport

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/tlsfiles"
	"github.com/confman/confman/transport"
)

// membersAt are members 1, 2 and so on at addresses, called node1, node2 and so on.
func membersAt(addresses ...string) []transport.Peer {
	var out []transport.Peer
	for i, a := range addresses {
		out = append(out, transport.Peer{RaftID: uint64(i + 1), Name: "node" + string(rune('1'+i)), Address: a})
	}
	return out
}

// startMember starts the node that has a raft id among members.
func startMember(t testing.TB, id uint64, listen string, all []transport.Peer, tune ...func(*Config)) *testNode {
	t.Helper()
	n := startWith(t, []string{listen}, 0, func(cfg *Config) {
		cfg.RaftID, cfg.PlainText = id, true
		for _, m := range all {
			cfg.Names[m.RaftID] = m.Name
			if m.RaftID != id {
				cfg.Peers[m.RaftID] = m.Address
			}
		}
		for _, f := range tune {
			f(cfg)
		}
	})
	n.SetCluster(cluster)
	return n
}

func secured(f files) func(*Config) {
	return func(cfg *Config) { cfg.TLS, cfg.PlainText = f.unchecked(), false }
}

// talking has all nodes send to all raft ids until the test ends.
func talking(t *testing.T, ids []uint64, nodes ...*testNode) {
	t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
				for _, to := range ids {
					n.Send([]transport.Message{beat(n.cfg.RaftID, to), app(n.cfg.RaftID, to, 1, 1000)})
				}
			}
		})
	}
	t.Cleanup(func() { close(done); all.Wait() })
}

// heard is how many messages came from a raft id.
func (b *inbox) heard(from uint64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, m := range b.got {
		if m.From == from {
			n++
		}
	}
	return n
}

func (b *inbox) dismissedBy(peer uint64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dismissed[peer]
}

// hears waits until something new came from each of the raft ids.
func hears(t *testing.T, n *testNode, from ...uint64) {
	t.Helper()
	for _, id := range from {
		was := n.inbox.heard(id)
		eventually(t, func() bool { return n.inbox.heard(id) > was }, "messages pass")
	}
}

func TestAMemberComesAndGoesUnderTraffic(t *testing.T) {
	addresses := freePorts(t, 3)
	two, three := membersAt(addresses[:2]...), membersAt(addresses...)
	a, b := startMember(t, 1, addresses[0], two), startMember(t, 2, addresses[1], two)
	c := startMember(t, 3, addresses[2], three)
	talking(t, []uint64{1, 2, 3}, a, b, c)
	hears(t, a, 2)
	hears(t, b, 1)
	eventually(t, says(c, "raft id 3 is not a member that node1"), "who is not a member yet is refused")
	there := a.peer(2).flow.Load()

	a.SetMembers(three, 3)
	b.SetMembers(three, 3)
	for _, n := range []*testNode{a, b, c} {
		for _, from := range []uint64{1, 2, 3} {
			if from != n.cfg.RaftID {
				hears(t, n, from)
			}
		}
	}
	assert.Zero(t, c.inbox.dismissedBy(1)+c.inbox.dismissedBy(2), "nobody told it that it was one")

	a.SetMembers(two, 3)
	b.SetMembers(two, 3)
	eventually(t, func() bool { return c.inbox.dismissedBy(1) > 0 && c.inbox.dismissedBy(2) > 0 }, "the removed one is told")
	was := a.inbox.heard(3)
	hears(t, a, 2)
	hears(t, b, 1)
	assert.LessOrEqual(t, a.inbox.heard(3), was+1, "nothing but what was with the handler")
	assert.Same(t, there, a.peer(2).flow.Load(), "the others did not notice")
	require.Len(t, a.Stats(), 1)
	a.mu.Lock()
	assert.NotContains(t, a.incarnations, uint64(3))
	assert.NotContains(t, a.incoming, uint64(3))
	a.mu.Unlock()
	assert.LessOrEqual(t, strings.Count(a.log.String(), "raft id 3 is not a member of the cluster"), 1, "not for each attempt")
}

// gate is a handler that holds each message until it is let through.
type gate struct {
	inbox
	came, pass chan struct{}
}

func (g *gate) Receive(m transport.Message) {
	signal(g.came)
	<-g.pass
	g.inbox.Receive(m)
}

// TestNothingOfARemovedOneIsDelivered: not the rest of a frame that is here already, nor what
// waits behind it.
func TestNothingOfARemovedOneIsDelivered(t *testing.T) {
	addresses := freePorts(t, 2)
	g := &gate{came: make(chan struct{}, 1), pass: make(chan struct{})}
	all := membersAt(addresses...)
	a := startMember(t, 1, addresses[0], all, func(cfg *Config) { cfg.Handler = g })
	b := startMember(t, 2, addresses[1], all)
	eventually(t, func() bool {
		b.Send([]transport.Message{beat(2, 1), beat(2, 1), beat(2, 1), app(2, 1, 1, 100), app(2, 1, 2, 100)})
		return len(g.came) > 0
	}, "the first is with the handler")
	a.SetMembers(all[:1], 2)
	close(g.pass)
	eventually(t, func() bool { return b.inbox.dismissedBy(1) > 0 }, "it is told")
	eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.incoming[1] == nil
	}, "nor is it spoken to any more")
	require.NoError(t, a.Close()) // waits for all that receives
	assert.Equal(t, 1, g.heard(2), "what was with the handler, no more")
}

// TestANodeTakesThePlaceOfAnother: of one name, at one address.
func TestANodeTakesThePlaceOfAnother(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 4)
	before := membersAt(addresses[:3]...)
	node := func(name string) func(*Config) { return secured(put(t, name, ca.node(name), ca)) }
	a := startMember(t, 1, addresses[0], before, node("node1"))
	c := startMember(t, 3, addresses[2], before, node("node3"))
	old := startMember(t, 2, addresses[1], before, node("node2"))
	talking(t, []uint64{1, 2, 3, 4}, a, c, old)
	hears(t, a, 2, 3)
	require.NoError(t, old.Close())

	during := append(membersAt(addresses[:3]...), transport.Peer{RaftID: 4, Name: "node2", Address: addresses[1]})
	d := startMember(t, 4, addresses[1], during, node("node2"))
	a.SetMembers(during, 4)
	c.SetMembers(during, 4)
	talking(t, []uint64{1, 2, 3}, d)
	hears(t, a, 3, 4)
	hears(t, d, 1, 3)
	there := a.peer(4).flow.Load()
	eventually(t, says(a, "the stream is for raft id 2, and at "+addresses[1]+" is raft id 4, which takes its place"), "who looks for the old one is told")
	for _, s := range d.Stats() {
		if s.ID == 2 {
			assert.Empty(t, s.Address, "it does not look for the old one at its own address")
		}
	}
	hears(t, a, 4)
	hears(t, d, 1)
	assert.Same(t, there, a.peer(4).flow.Load(), "nor does it disturb the other stream")
	assert.NotContains(t, d.log.String(), "refused a peer")
	assert.Equal(t, 1, strings.Count(a.log.String(), "which takes its place"))

	after := []transport.Peer{during[0], during[2], during[3]}
	for _, n := range []*testNode{a, c, d} {
		n.SetMembers(after, 4)
	}
	// The old one was not dead: its name is still a member's, its raft id is not.
	back := startMember(t, 2, addresses[3], before, func(cfg *Config) { cfg.Incarnation = 2 }, node("node2"))
	was := a.inbox.heard(2)
	talking(t, []uint64{1, 3}, back)
	eventually(t, func() bool { return back.inbox.dismissedBy(1) > 0 && back.inbox.dismissedBy(3) > 0 }, "it is told")
	hears(t, a, 3, 4)
	hears(t, d, 1, 3)
	assert.Equal(t, was, a.inbox.heard(2))
	assert.Same(t, there, a.peer(4).flow.Load())
}

// TestWhoJoinsIsToldThatItsSeatIsGone: it does not belong to the cluster yet, and would ask for ever.
func TestWhoJoinsIsToldThatItsSeatIsGone(t *testing.T) {
	addresses := freePorts(t, 2)
	all := membersAt(addresses...)
	a := startMember(t, 1, addresses[0], all[:1])
	a.SetMembers(all[:1], 2)
	b := startMember(t, 2, addresses[1], all)
	b.SetCluster([16]byte{})
	eventually(t, func() bool { return b.inbox.dismissedBy(1) > 0 }, "told")
}

// TestARemovedOneIsToldThroughTLS: nobody knows its name any more, as after a restart.
func TestARemovedOneIsToldThroughTLS(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 3)
	all := membersAt(addresses...)
	node := func(name string) func(*Config) { return secured(put(t, name, ca.node(name), ca)) }
	a := startMember(t, 1, addresses[0], all[:2], node("node1"))
	a.SetMembers(all[:2], 3)
	c := startMember(t, 3, addresses[2], all, node("node3"))
	talking(t, []uint64{1}, c)
	eventually(t, func() bool { return c.inbox.dismissedBy(1) > 0 }, "told")
	assert.Empty(t, a.inbox.messages())
	assert.True(t, says(a, "raft id 3 is not a member of the cluster of node1 any more")())

	// Of another cluster, it hears nothing but that it is a stranger.
	other := startMember(t, 3, freePorts(t, 1)[0], all[2:], node("node3"), func(cfg *Config) { cfg.Names[3] = "another" })
	other.SetCluster([16]byte{0xee})
	other.SetMembers(all[:2], 0) // only now does it connect: who is of no cluster would be told
	eventually(t, says(other, `the certificate names \"node3\", and that is no other member that node1 knows`), "refused")
	assert.Zero(t, other.inbox.dismissedBy(1))
	assert.NotContains(t, other.log.String(), clusterID(cluster).String())
}

// TestVisitorsDoNotStay: who passes the handshake only to hear that it is no member any more has
// a moment for that, and a place in the lobby until then. Others do not pass.
func TestVisitorsDoNotStay(t *testing.T) {
	t.Parallel()
	ca, addresses := newAuthority(t), freePorts(t, 3)
	all := membersAt(addresses...)
	a := startMember(t, 1, addresses[0], all[:2], secured(put(t, "node1", ca.node("node1"), ca)))
	// Nobody has left as far as this node knows: it hears no stranger at all.
	started, ended := newThief(t, addresses[0], ca.node("node9")).stream(t.Context(), 3, 1, 1)
	require.False(t, started)
	require.Error(t, <-ended)
	eventually(t, says(a, `TLS: the certificate names \"node9\", and that is no other member`), "refused in the handshake")

	a.SetMembers(all[:2], 3)
	for _, from := range []uint64{2, 3, 4} {
		started, ended := newThief(t, addresses[0], ca.node("node9")).stream(t.Context(), from, 1, 1)
		require.False(t, started)
		want := `the certificate names "node9", and that is no other member`
		if from == 3 {
			want = "is not a member of the cluster of node1 any more"
		}
		require.ErrorContains(t, <-ended, want)
	}
	a.mu.Lock()
	assert.Empty(t, a.incoming)
	assert.Empty(t, a.incarnations)
	a.mu.Unlock()

	pair := ca.node("node9")
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	conn, err := tls.Dial("tcp", addresses[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{cert}})
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // all that HTTP/2 needs
	require.NoError(t, err)
	waiting := func() int {
		a.lobby.mu.Lock()
		defer a.lobby.mu.Unlock()
		return len(a.lobby.waiting)
	}
	eventually(t, func() bool { return waiting() > 0 }, "it has a place in the lobby")
	eventually(t, func() bool { return waiting() == 0 }, "and loses it")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(keepaliveInterval))) // before gRPC would notice that nobody is there
	for err == nil {
		_, err = conn.Read(make([]byte, 1<<10))
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it is closed")

	client, err := ca.Client("one", nil, valid)
	require.NoError(t, err)
	unnamed, err := ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "another"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, valid)
	require.NoError(t, err)
	for name, pair := range map[string]tlsfiles.Pair{"one": client, "another": unnamed} {
		started, ended := newThief(t, addresses[0], pair).stream(t.Context(), 3, 1, 1)
		require.False(t, started)
		require.Error(t, <-ended)
		eventually(t, says(a, `TLS: the certificate names no node (its common name is \"`+name+`\")`), "who is no node does not even pass the handshake")
	}
}

// attempt waits until n has tried in vain so often to connect to its first peer. Each time it drops
// what waits for it.
func attempt(t *testing.T, n *testNode, times int) {
	t.Helper()
	for range times {
		peer, was := n.Stats()[0].ID, n.Stats()[0].Dropped
		eventually(t, func() bool {
			n.Send([]transport.Message{beat(n.cfg.RaftID, peer)})
			return n.Stats()[0].Dropped > was && !connected(n, peer)()
		}, "another attempt")
	}
}

func TestDismissedIsSaidOnceAMinute(t *testing.T) {
	addresses := freePorts(t, 2)
	all := membersAt(addresses...)
	var minutes atomic.Int64
	a := startMember(t, 1, addresses[0], all[:1])
	a.SetMembers(all[:1], 2)
	b := startMember(t, 2, addresses[1], all, func(cfg *Config) {
		cfg.Now = func() time.Time { return time.Unix(0, 0).Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	eventually(t, func() bool { return b.inbox.dismissedBy(1) > 0 }, "said")
	attempt(t, b, 4)
	assert.Equal(t, 1, b.inbox.dismissedBy(1))
	minutes.Add(1)
	attempt(t, b, 4)
	assert.Equal(t, 2, b.inbox.dismissedBy(1))
}

func TestAPeerMoves(t *testing.T) {
	addresses := freePorts(t, 3)
	all := membersAt(addresses[:2]...)
	a, b := startMember(t, 1, addresses[0], all), startMember(t, 2, addresses[1], all)
	talking(t, []uint64{1, 2}, a, b)
	hears(t, a, 2)
	hears(t, b, 1)

	// Without an address it is heard, and not looked for.
	a.SetMembers([]transport.Peer{all[0], {RaftID: 2, Name: "node2"}}, 2)
	eventually(t, func() bool { return !connected(a, 2)() }, "not connected")
	assert.Equal(t, "node2", a.Stats()[0].Name)
	assert.Empty(t, a.Stats()[0].Address)
	was := a.Stats()[0].Dropped
	eventually(t, func() bool { return a.Stats()[0].Dropped > was && a.Stats()[0].Queued < MaxQueuedMessages }, "what is for it is dropped")
	hears(t, a, 2)

	require.NoError(t, b.Close())
	b = startMember(t, 2, addresses[2], all, func(cfg *Config) { cfg.Incarnation = 2 })
	talking(t, []uint64{1}, b)
	a.SetMembers(membersAt(addresses[0], addresses[2]), 2)
	hears(t, b, 1)
	hears(t, a, 2)
	assert.Equal(t, addresses[2], a.Stats()[0].Address)
}

// TestMembersChangeWhileStreamsBegin: whatever comes first, who is a member in the end is heard,
// and who is not is not.
func TestMembersChangeWhileStreamsBegin(t *testing.T) {
	addresses := freePorts(t, 2)
	all := membersAt(addresses...)
	a, b := startMember(t, 1, addresses[0], all), startMember(t, 2, addresses[1], all)
	talking(t, []uint64{1, 2}, a, b)
	for range 20 {
		a.SetMembers(all[:1], 2)
		a.SetMembers(all, 2)
	}
	hears(t, a, 2)
	hears(t, b, 1)
	a.SetMembers(all[:1], 2)
	was := a.inbox.heard(2)
	attempt(t, b, 3)
	assert.LessOrEqual(t, a.inbox.heard(2), was+1, "nothing but what was with the handler")
}

// TestAMemberIsRemovedWhileItsStreamBegins: after it was found to be one.
func TestAMemberIsRemovedWhileItsStreamBegins(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	all := membersAt(addresses...)
	var now atomic.Pointer[func()]
	f := put(t, "node1", ca.node("node1"), ca)
	f.Now = func() time.Time {
		if do := now.Swap(nil); do != nil {
			(*do)()
		}
		return time.Now()
	}
	a := startMember(t, 1, addresses[0], all, secured(f))
	h := newThief(t, addresses[0], ca.node("node2"))
	started, first := h.stream(t.Context(), 2, 1, 1)
	require.True(t, started)
	now.Store(new(func() { a.SetMembers(all[:1], 2) })) // who asks for the time next is about to believe the certificate
	started, second := h.stream(t.Context(), 2, 1, 1)
	require.False(t, started)
	require.Error(t, <-first)
	require.Error(t, <-second)
	assert.Nil(t, now.Load())
	a.mu.Lock()
	defer a.mu.Unlock()
	assert.Empty(t, a.incoming)
	assert.Empty(t, a.incarnations)
}

// TestAnotherNameIsAnotherPeer: what was known of a raft id is that of its name.
func TestAnotherNameIsAnotherPeer(t *testing.T) {
	addresses := freePorts(t, 2)
	all := membersAt(addresses...)
	a := startMember(t, 1, addresses[0], all)
	b := startMember(t, 2, addresses[1], all, func(cfg *Config) { cfg.Incarnation = 7 })
	pass(t, b, a, beat(2, 1))
	was := a.peer(2)
	a.SetMembers([]transport.Peer{all[0], {RaftID: 2, Name: "another", Address: addresses[1]}}, 2)
	assert.NotSame(t, was, a.peer(2))
	require.Error(t, was.ctx.Err())
	require.NoError(t, b.Close())
	b = startMember(t, 2, addresses[1], all)
	pass(t, b, a, beat(2, 1))
	pass(t, a, b, beat(1, 2))
}

func TestAfterCloseNobodyIsAMember(t *testing.T) {
	addresses := freePorts(t, 2)
	a := startMember(t, 1, addresses[0], nil)
	require.NoError(t, a.Close())
	a.SetMembers(membersAt(addresses...), 2)
	assert.Empty(t, a.Stats())
}
