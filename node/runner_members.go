package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// takeSeat makes an empty directory that of the member that the seat was made for. It is made durable by the caller,
// before the seat is claimed.
func (r *Runner) takeSeat(id *Identity) error {
	s := r.cfg.Seat
	switch {
	case s == nil:
		return nil
	case s.Name != r.cfg.Name:
		return fmt.Errorf("node: the seat is for node %s, and this is %s: compare --seat and Cluster.NodeId", s.Name, r.cfg.Name)
	case id.RaftID == s.RaftID && id.Cluster == s.Cluster:
		return nil // it has sat down before
	case id.Name != "":
		return fmt.Errorf("node: %s is in use already (cluster %x, raft id %d): a seat takes an empty directory", r.cfg.Dir, id.Cluster, id.RaftID)
	}
	m := s.Membership
	*id = Identity{Cluster: s.Cluster, RaftID: s.RaftID, Life: drawLife(), Current: &m}
	return nil
}

// outdated ends a node whose seat another directory had before.
func (r *Runner) outdated() {
	if r.member.Load() == nil {
		r.fail(fmt.Errorf("node: joining the cluster: the seat of %s is that of another data directory, which has spoken since: %w", r.cfg.Name, ErrDiskLost))
	}
}

func drawLife() (l fsm.Life) {
	_, err := rand.Read(l[:])
	must(err == nil, "no randomness: %v", err)
	return l
}

// keepMembership makes who takes part durable beside the store, before the core hears of a change. The apply worker's.
func (r *Runner) keepMembership(m *member, s *fsm.State) error {
	if len(s.Members) > 0 && m.seen == &s.Members[0] && equalConf(&m.seenConf, &s.Conf) {
		return nil // most batches: each change of the members makes others
	}
	if len(s.Members) > 0 {
		m.seen, m.seenConf = &s.Members[0], s.Conf
	}
	if !m.kept.Take(s) {
		return nil
	}
	r.fault("before-identity")
	if err := r.dir.storeIdentity(m.kept); err != nil {
		return fmt.Errorf("node: keeping the members: %w: see to the disk (space, health), then start the node again", err)
	}
	r.fault("after-identity")
	return nil
}

func membershipOf(s fsm.State) Membership {
	return Membership{Members: s.Members, Conf: s.Conf, LastRaftID: s.LastRaftID}
}

// peersOf is the others of a membership as the wire knows them.
func (r *Runner) peersOf(m *Membership, self uint64) []transport.Peer {
	var peers []transport.Peer
	for i := range m.Members {
		if x := &m.Members[i]; x.RaftID != self {
			peers = append(peers, transport.Peer{RaftID: x.RaftID, Name: x.Name, Address: r.resolve(x)})
		}
	}
	return peers
}

func (r *Runner) resolve(m *fsm.Member) string {
	if m.Address != "" {
		return m.RaftAddress()
	}
	return r.find(m.Name)
}

// find is where a member listens of whom the state does not say it; "" if nobody does.
func (r *Runner) find(name string) string {
	if r.cfg.Resolve != nil {
		if at := r.cfg.Resolve(name); at != "" {
			return at
		}
	}
	m := fsm.Member{MemberSpec: r.Place(name)}
	if m.Address == "" {
		return ""
	}
	return m.RaftAddress()
}

// Place is where a member listens of whom neither the state nor the configuration may say it, as this node's seat
// did; zero if it is not known.
func (r *Runner) Place(name string) fsm.MemberSpec { return r.places.place(name) }

// reconfigured has the wire hear those who are members now.
func (r *Runner) reconfigured(m *member, e Reconfigure) {
	r.fault("reconfigured")
	now := Membership{Members: e.Members, Conf: e.Conf, LastRaftID: e.LastRaftID}
	if text := describeMembers(&now); text != r.loop.members {
		r.loop.members = text
		r.log.Info("the members changed", slog.String("members", text))
	}
	peers := r.peersOf(&now, m.core.cfg.ID)
	for _, p := range e.Introduced {
		if p.Address == "" {
			p.Address = r.find(p.Name)
		}
		peers = append(peers, p)
	}
	r.wire.SetMembers(peers, e.LastRaftID)
}

// describeMembers is a membership as a line of the log has it.
func describeMembers(m *Membership) string {
	var parts []string
	for i := range m.Members {
		x := &m.Members[i]
		role := "seat"
		switch {
		case slices.Contains(m.Conf.Voters, x.RaftID):
			role = "voter"
		case slices.Contains(m.Conf.VotersOutgoing, x.RaftID):
			role = "leaving voter"
		case m.Conf.Has(x.RaftID):
			role = "learner"
		}
		parts = append(parts, fmt.Sprintf("%s (raft id %d, %s)", x.Name, x.RaftID, role))
	}
	return strings.Join(parts, ", ")
}

// Drain has the node lead no more, if another one can, and not be ready: clients should go elsewhere, and
// are answered as before. It returns once another node leads, or this one does not and hears nobody
// who could; ctx bounds the wait, and the node drains on. The other way is Undrain. Errors: ErrForming, ErrStopped, ctx's.
func (r *Runner) Drain(ctx context.Context) error {
	r.drained.Store(true)
	return r.leadNoMore(ctx, Drain{On: true})
}

// Undrain ends Drain.
func (r *Runner) Undrain() {
	r.drained.Store(false)
	r.inbox.report(Drain{})
}

// Draining tells whether the node drains.
func (r *Runner) Draining() bool { return r.drained.Load() }

// TransferLeadership has the voter called name lead, or, if that is "", the one that is best able to. Only a leader can
// hand over. It returns once this node leads no more; ctx bounds the wait. Errors: ErrForming, ErrStopped,
// ErrNotLeader; ErrNoSuchVoter; ctx's.
func (r *Runner) TransferLeadership(ctx context.Context, name string) error {
	st := r.status.Load()
	m := r.member.Load()
	if m == nil || st == nil {
		return r.notYet()
	}
	if st.Role != Leader {
		return ErrNotLeader
	}
	var to uint64
	if name != "" {
		s := m.state()
		i := slices.IndexFunc(s.Members, func(x fsm.Member) bool { return x.Name == name && slices.Contains(s.Conf.Voters, x.RaftID) })
		switch {
		case i < 0:
			return fmt.Errorf("%w: %s", ErrNoSuchVoter, name)
		case s.Members[i].RaftID == st.ID:
			return nil
		}
		to = s.Members[i].RaftID
	}
	return r.leadNoMore(ctx, TransferLeadership{Peer: to})
}

func (r *Runner) leadNoMore(ctx context.Context, in Input) error {
	m := r.member.Load()
	if m == nil {
		return r.notYet()
	}
	r.inbox.report(in)
	again := time.NewTicker(handOverAgain)
	defer again.Stop()
	for {
		changed := r.changed.next() // before the look, so that nothing comes between
		st := r.status.Load()
		voters := m.state().Conf.Voters
		switch {
		case st.Role != Leader && st.Leader != 0, len(voters) == 1 && voters[0] == st.ID:
			return nil
		case st.Role != Leader && len(st.Reachable) == 0:
			return nil // nobody is there who could lead
		}
		select {
		case <-changed:
		case <-again.C:
			r.inbox.report(in) // whoever is to lead may have been out of reach
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stop:
			return ErrStopped
		}
	}
}
