package grpctransport

import (
	"context"
	"crypto/x509"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/transport"
)

// membership is whom a node hears and speaks to, at one moment: it is never changed, another takes
// its place.
type membership struct {
	self  uint64
	peers map[uint64]*peer // not self
	last  uint64           // the newest raft id that was ever given; 0: not known
}

// left tells whether a raft id was a member's and is none now.
func (m *membership) left(id uint64) bool {
	return id != 0 && id <= m.last && id != m.self && m.peers[id] == nil
}

// someLeft tells whether there is any such.
func (m *membership) someLeft() bool {
	known := uint64(0)
	for id := range m.peers {
		if id <= m.last {
			known++
		}
	}
	if m.self <= m.last {
		known++
	}
	return m.last > known
}

// named tells whether a certificate is that of another member.
func (m *membership) named(cert *x509.Certificate) bool {
	for _, p := range m.peers {
		if namesNode(cert, p.name) {
			return true
		}
	}
	return false
}

// SetMembers says who the members are from now on, this node among them or not. It connects to
// those that are new and again to those whose address changed; those that are not listed are
// disconnected and forgotten, and nothing more is taken from them than the message that is
// with the handler already. last is the newest raft id that was ever given: who comes with one
// up to it, and is not listed, hears that it was removed (Handler.Dismissed). What is ended is
// not waited for.
func (t *Transport) SetMembers(list []transport.Peer, last uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx.Err() != nil {
		return // closed
	}
	was := t.members.Load()
	next := &membership{self: t.cfg.RaftID, peers: make(map[uint64]*peer), last: last}
	var added []*peer
	for _, m := range list {
		if m.RaftID == t.cfg.RaftID || next.peers[m.RaftID] != nil {
			continue
		}
		p := was.peers[m.RaftID]
		if p == nil || p.name != m.Name {
			p = newPeer(t, m.RaftID, m.Name, m.Address)
			added = append(added, p)
		}
		p.move(m.Address)
		next.peers[m.RaftID] = p
	}
	t.members.Store(next)
	for id, p := range was.peers {
		if next.peers[id] == p {
			continue
		}
		p.end()
		delete(t.incarnations, id)
		if in := t.incoming[id]; in != nil {
			in.cancel(status.Errorf(codes.PermissionDenied, "raft id %d is not a member any more", id))
			delete(t.incoming, id)
		}
	}
	for _, p := range added {
		t.running.Go(p.run)
	}
}

// peer is that of a member, nil if there is none of that id.
func (t *Transport) peer(id uint64) *peer { return t.members.Load().peers[id] }

// name is how messages call a node.
func (t *Transport) name(id uint64) string {
	if p := t.peer(id); p != nil && p.name != "" {
		return p.name
	}
	if n, ok := t.cfg.Names[id]; ok {
		return n
	}
	return fmt.Sprintf("raft id %d", id)
}

// member is the peer that a stream is of. It refuses who is none; with words for those
// who have been one, so that they stop.
func (t *Transport) member(ctx context.Context, h hello, chain []*x509.Certificate) (*peer, error) {
	m, self, cluster := t.members.Load(), t.name(t.cfg.RaftID), t.clusterID()
	// Or it has an empty directory, and a raft id from before.
	ours := cluster != (clusterID{}) && (h.cluster == cluster.String() || h.cluster == (clusterID{}).String())
	if ours && m.left(h.from) {
		return nil, dismiss(ctx, h.from, self)
	}
	// Its stream was let in for the sake of the words above.
	if chain != nil && !m.named(chain[0]) {
		return nil, status.Error(codes.PermissionDenied, t.stranger(chain[0]).Error())
	}
	if other := m.peers[h.to]; ours && h.to != t.cfg.RaftID && other != nil && other.name == self {
		return nil, status.Errorf(codes.Unavailable, "the stream is for raft id %d, and at %s is raft id %d, which takes its place", h.to, t.listener.Addr(), t.cfg.RaftID)
	}
	places := fmt.Sprintf("(its cluster: %s, that of %s: %s)", h.cluster, self, cluster)
	if h.to != t.cfg.RaftID {
		return nil, status.Errorf(codes.FailedPrecondition, "the stream is for raft id %d, this node is %d, %s, at %s %s: compare the addresses in Cluster.Nodes", h.to, t.cfg.RaftID, self, t.listener.Addr(), places)
	}
	p := m.peers[h.from]
	if p == nil {
		return nil, status.Errorf(codes.PermissionDenied, "raft id %d is not a member that %s (raft id %d, at %s) knows %s: compare Cluster.Nodes of both", h.from, self, t.cfg.RaftID, t.listener.Addr(), places)
	}
	return p, nil
}
