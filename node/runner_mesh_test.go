package node

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// mesh is the network between the runners of one test.
type mesh struct {
	mu    sync.Mutex
	ports map[uint64]*port
	cut   map[uint64]bool // nodes that nobody reaches, and who reach nobody
}

func newMesh() *mesh {
	return &mesh{ports: make(map[uint64]*port), cut: make(map[uint64]bool)}
}

// port is one node's end of the mesh.
type port struct {
	mesh    *mesh
	self    uint64
	handler transport.Handler
	in      chan transport.Message
	closing chan struct{}
	closed  chan struct{}

	mu      sync.Mutex
	cluster fsm.ClusterID
	members map[uint64]bool // nil: all
	last    uint64
}

func (n *mesh) dial(self Peering, h transport.Handler) (Transport, error) {
	p := &port{
		mesh: n, self: self.RaftID, handler: h,
		in:      make(chan transport.Message, 4096),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
	}
	n.mu.Lock()
	n.ports[p.self] = p
	n.mu.Unlock()
	go p.receive()
	return p, nil
}

// isolate cuts a node off, or connects it again.
func (n *mesh) isolate(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = cut
}

func (n *mesh) to(from, to uint64) *port {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[from] || n.cut[to] {
		return nil
	}
	return n.ports[to]
}

func (p *port) receive() {
	defer close(p.closed)
	for {
		select {
		case <-p.closing:
			return
		case m := <-p.in:
			p.handler.Receive(m)
		}
	}
}

func (p *port) Send(msgs []transport.Message) {
	for _, m := range msgs {
		if m.From != p.self {
			panic("a node sent in the name of another")
		}
		to := p.mesh.to(p.self, m.To)
		if to == nil || (m.Form == nil && m.Claim == nil && m.ClaimReply == nil && (p.clusterID() == fsm.ClusterID{} || to.clusterID() != p.clusterID())) {
			p.handler.Unreachable(m.To)
			continue
		}
		if !p.hears(m.To) {
			continue
		}
		if !to.hears(p.self) {
			if to.dismisses(p.self) {
				p.handler.Dismissed(m.To)
			}
			continue
		}
		// What arrives is never the sender's memory.
		if m.Raft != nil {
			m.Raft = proto.Clone(m.Raft).(*raftpb.Message)
		}
		if m.Forward != nil {
			f := *m.Forward
			f.Command = append([]byte(nil), f.Command...)
			m.Forward = &f
		}
		if m.Image != nil {
			i := *m.Image
			i.Data = append([]byte(nil), i.Data...)
			m.Image = &i
		}
		select {
		case to.in <- m:
		default:
			p.handler.Unreachable(m.To)
		}
	}
}

func (p *port) clusterID() fsm.ClusterID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cluster
}

func (p *port) SetCluster(id fsm.ClusterID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cluster = id
}

func (p *port) SetMembers(members []transport.Peer, last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members, p.last = make(map[uint64]bool), last
	for _, m := range members {
		p.members[m.RaftID] = true
	}
}

// hears tells whether p listens and speaks to id.
func (p *port) hears(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members == nil || p.members[id]
}

// dismisses tells whether id, which p does not hear, has been a member.
func (p *port) dismisses(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return id <= p.last
}

func (p *port) Close() error {
	p.mesh.mu.Lock()
	if p.mesh.ports[p.self] == p {
		delete(p.mesh.ports, p.self)
	}
	p.mesh.mu.Unlock()
	close(p.closing)
	<-p.closed
	return nil
}

func TestMeshIsolates(t *testing.T) {
	n := newMesh()
	b1, b2 := newInbox(), newInbox()
	p1, err := n.dial(Peering{RaftID: 1}, handler{inbox: b1})
	require.NoError(t, err)
	p2, err := n.dial(Peering{RaftID: 2}, handler{inbox: b2})
	require.NoError(t, err)
	hello := []transport.Message{{From: 1, To: 2, Form: &transport.Form{}}}
	p1.Send(hello)
	<-b2.wake
	require.Len(t, b2.take(), 1)
	n.isolate(2, true)
	p1.Send(hello)
	<-b1.wake
	require.Equal(t, Unreachable{Peer: 2}, b1.take()[0].in)
	require.NoError(t, p1.Close())
	require.NoError(t, p2.Close())
	require.Empty(t, b2.take())
}
