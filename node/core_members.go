package node

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// ErrRemoved means that this node is not a member of its cluster any more.
var ErrRemoved = errors.New("this node was removed from its cluster: its data directory is of no use any more; to take part again it needs an empty one and a seat (confman cluster add or replace)")

// ErrNewerCluster means that the cluster uses a version of commands that this program does not know.
var ErrNewerCluster = errors.New("the cluster was upgraded to a version that this program does not know: start the release that the other members run")

// membership is the core's side of who takes part. The state says what the members are to be
// (fsm.Member.Want); the leader takes Raft's configuration there, one step at a time, each of which is an entry
// of the log and counts from where it is applied (Ongaro, thesis, §4.3). No step is on its way
// while another one is not applied. A step that is lost is taken again by whoever leads then.
type membership struct {
	members    []fsm.Member // ascending; shared with the state
	conf       fsm.ConfState
	lastRaftID uint64
	version    uint8

	confIndex uint64 // of the last step that was applied
	stepping  bool   // a step is on its way
	stepAt    time.Duration
	confs     []appliedConf // of the Apply that is under way

	claimAt time.Duration
	// introduced are members that came after all that is applied here: one of them may lead by now.
	introduced []transport.Peer
	reporting  bool // a Report is on its way
	reportAt   time.Duration

	draining  bool
	drainAt   time.Duration // when a leader that drains hands over
	drainWait time.Duration // how long the next time that it comes to lead: others may drain, too
	handAt    time.Duration // when a leader may try again to hand over
	handedTo  uint64        // to whom it did last
	leaving   time.Duration // since when this leader could leave if another one led; 0: not
}

// appliedConf is an entry that is a step of the configuration, as raft knows it.
type appliedConf struct {
	index  uint64
	change *raftpb.ConfChangeV2
}

// adopt takes the membership of a state that was applied.
func (c *Core) adopt(s *fsm.State) {
	c.members, c.conf, c.lastRaftID, c.version = s.Members, s.Conf, max(s.LastRaftID, c.cfg.ID), s.Version
	c.peers = c.peers[:0]
	for i := range c.members {
		// Of a seat that nobody came for there is nobody to talk to.
		if m := &c.members[i]; m.RaftID != c.cfg.ID && m.Life != (fsm.Life{}) {
			c.peers = append(c.peers, m.RaftID)
		}
	}
	gone := func(id uint64) bool { return !c.isMember(id) && id <= c.lastRaftID }
	maps.DeleteFunc(c.heard, func(id uint64, _ time.Duration) bool { return gone(id) })
	maps.DeleteFunc(c.incarnations, func(id, _ uint64) bool { return gone(id) })
	maps.DeleteFunc(c.origins, func(id uint64, _ *origin) bool { return gone(id) })
	maps.DeleteFunc(c.digests, func(id uint64, _ transport.Digest) bool { return gone(id) })
	if c.outgoing != nil && gone(c.outgoing.to) {
		c.endImage(false)
	}
}

// membershipApplied sees a state that was applied; it tells the driver what became of the membership.
func (c *Core) membershipApplied(s *fsm.State) {
	if c.version == s.Version && slices.Equal(c.members, s.Members) && equalConf(&c.conf, &s.Conf) {
		return
	}
	if s.Version > c.cfg.Version {
		c.stop(c.newer(s))
		return
	}
	c.adopt(s)
	c.introduced = slices.DeleteFunc(c.introduced, func(p transport.Peer) bool { return p.RaftID <= c.lastRaftID })
	c.reconfigure()
	if !c.isMember(c.cfg.ID) {
		c.stop(ErrRemoved)
	}
}

func (c *Core) reconfigure() {
	c.emit(Reconfigure{Members: c.members, Conf: c.conf, LastRaftID: c.lastRaftID, Introduced: slices.Clone(c.introduced)})
}

// newer is why a node stops whose program does not know what the cluster uses.
func (c *Core) newer(s *fsm.State) error { return newerThan(c.cfg.Version, s.Version) }

func newerThan(known, used uint8) error {
	return fmt.Errorf("node: the cluster uses version %d of commands, this program knows up to %d: %w", used, known, ErrNewerCluster)
}

func (c *Core) member(id uint64) *fsm.Member {
	i := slices.IndexFunc(c.members, func(m fsm.Member) bool { return m.RaftID == id })
	if i < 0 {
		return nil
	}
	return &c.members[i]
}

func (c *Core) isMember(id uint64) bool { return c.member(id) != nil }

// hears tells whether messages of a node count. One that this node does not know yet may lead already;
// one that was removed has no say.
func (c *Core) hears(id uint64) bool {
	return id != c.cfg.ID && (c.isMember(id) || id > c.lastRaftID)
}

// alone tells whether no other vote counts.
func (c *Core) alone() bool {
	return len(c.conf.Voters) == 1 && c.conf.Voters[0] == c.cfg.ID && !c.conf.Joint()
}

// confChange reads an entry that is a step of the configuration. ErrNewerCluster if it is one that this
// program does not know.
func confChange(e *raftpb.Entry) (*fsm.ConfChange, *raftpb.ConfChangeV2, error) {
	cc := &raftpb.ConfChangeV2{}
	if e.GetType() != raftpb.EntryConfChangeV2 {
		return nil, nil, fmt.Errorf("node: entry %d is a %v: %w", e.GetIndex(), e.GetType(), ErrNewerCluster)
	}
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, nil, fmt.Errorf("node: entry %d is no step of the configuration: %w", e.GetIndex(), err)
	}
	if len(cc.GetChanges()) == 0 {
		return &fsm.ConfChange{Leave: true}, cc, nil
	}
	ch := &fsm.ConfChange{}
	for _, s := range cc.GetChanges() {
		switch s.GetType() {
		case raftpb.ConfChangeAddNode:
			ch.Voters = append(ch.Voters, s.GetNodeId())
		case raftpb.ConfChangeAddLearnerNode:
			ch.Learners = append(ch.Learners, s.GetNodeId())
		case raftpb.ConfChangeRemoveNode:
			ch.Removed = append(ch.Removed, s.GetNodeId())
		default:
			return nil, nil, fmt.Errorf("node: entry %d changes the configuration by %v: %w", e.GetIndex(), s.GetType(), ErrNewerCluster)
		}
	}
	return ch, cc, nil
}

// encodeConf is a step as raft's entries have it. What changes a quorum goes through two sets of voters.
func encodeConf(ch *fsm.ConfChange, learners bool) []byte {
	cc := &raftpb.ConfChangeV2{}
	add := func(t raftpb.ConfChangeType, ids []uint64) {
		for _, id := range ids {
			cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: t.Enum(), NodeId: &id})
		}
	}
	add(raftpb.ConfChangeAddNode, ch.Voters)
	add(raftpb.ConfChangeAddLearnerNode, ch.Learners)
	add(raftpb.ConfChangeRemoveNode, ch.Removed)
	if !ch.Leave && !learners {
		cc.Transition = raftpb.ConfChangeTransitionJointExplicit.Enum()
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(cc)
	must(err == nil, "a step of the configuration does not encode: %v", err)
	return b
}

// confApplied tells raft of a step that the store has taken, or not.
func (c *Core) confApplied(r fsm.Result) {
	i := slices.IndexFunc(c.confs, func(a appliedConf) bool { return a.index == uint64(r.Index) })
	must(i >= 0, "a step of the configuration was applied at %d that is none", r.Index)
	c.stepping, c.leaving = false, 0
	if r.Outcome == fsm.ConfRefused {
		c.cfg.mark("step of the configuration refused")
		return
	}
	if c.replacing() {
		return // raft goes by the image already, which is newer
	}
	c.confIndex = uint64(r.Index)
	got := c.raft.ApplyConfChange(c.confs[i].change)
	want := r.Conf
	must(slices.Equal(got.GetVoters(), want.Voters) && slices.Equal(got.GetLearners(), want.Learners) &&
		slices.Equal(got.GetVotersOutgoing(), want.VotersOutgoing) && slices.Equal(got.GetLearnersNext(), want.LearnersNext) && !got.GetAutoLeave(),
		"raft's configuration is %v, the store's %+v", got, want)
	c.log.conf = confStateOf(*want)
	c.offerImage()
}

// tickMembers has a leader take the next step towards what the members are to be.
func (c *Core) tickMembers() {
	c.tickClaim()
	c.tickHandOver()
	if c.stepping && c.now-c.stepAt >= leaderlessElections*c.election() {
		c.stepping = false // lost on its way into the log
	}
	if c.role != Leader || c.appliedTerm != c.term || c.why != nil || c.full || c.stepping || c.raft.BasicStatus().LeadTransferee != 0 {
		return
	}
	c.forgetMember()
	s := fsm.State{Members: c.members, Conf: c.conf}
	step := s.NextConf(c.caughtUp)
	if step == nil || !c.bearable(step) {
		return
	}
	if slices.Contains(step.Removed, c.cfg.ID) && c.leaveInOrder(step) {
		return
	}
	learners := len(step.Learners) > 0 || len(step.Removed) == 1 && slices.Contains(c.conf.Learners, step.Removed[0])
	c.stepping, c.stepAt = true, c.now
	c.enqueue(batched{data: encodeConf(step, learners), conf: true})
}

// forgetMember ends the membership of one that has left the configuration. Until then it is heard, and votes:
// a member that is left and does not know yet that this was committed needs that vote. What this leader sends from now on
// tells them.
func (c *Core) forgetMember() {
	for i := range c.members {
		if m := &c.members[i]; c.hasLeft(m) {
			c.report(m.RaftID, m.Life, m.Version)
			return
		}
	}
}

// hasLeft tells whether a member is one only until forgetMember.
func (c *Core) hasLeft(m *fsm.Member) bool { return m.Want == fsm.Gone && !c.conf.Has(m.RaftID) }

// caughtUp tells whether a learner is so near that a quorum would not wait for it.
func (c *Core) caughtUp(id uint64) bool {
	p, ok := c.raft.Status().Progress[id]
	return ok && c.hearsNow(id) && p.State == tracker.StateReplicate && p.Match+promoteLag >= c.commit
}

// hearsNow tells whether a peer was heard within an election timeout.
func (c *Core) hearsNow(id uint64) bool {
	at, ok := c.heard[id]
	return id == c.cfg.ID || ok && c.now-at <= c.election()
}

// bearable tells whether the quorums that a step leads into are there.
func (c *Core) bearable(step *fsm.ConfChange) bool {
	next := slices.DeleteFunc(slices.Concat(c.conf.Voters, step.Voters), func(id uint64) bool { return slices.Contains(step.Removed, id) })
	live := 0
	for _, id := range next {
		if c.hearsNow(id) {
			live++
		}
	}
	return live > len(next)/2
}

// leaveInOrder tells whether a leader that is to be removed waits for another one to lead, so that nobody
// has to wait for an election. If nobody takes over in time it removes itself.
func (c *Core) leaveInOrder(step *fsm.ConfChange) bool {
	if c.leaving == 0 {
		c.leaving = c.now
	}
	if c.now-c.leaving >= leaveElections*c.election() {
		c.cfg.mark("leader removes itself")
		return false
	}
	c.handOver(func(id uint64) bool { return !slices.Contains(step.Removed, id) })
	return true
}

// tickHandOver has a leader that drains hand over, again and again until somebody takes over.
func (c *Core) tickHandOver() {
	if c.draining && c.role == Leader && c.now >= c.drainAt {
		c.handOver(func(uint64) bool { return true })
	}
}

// drain begins or ends that this node hands over whenever it leads.
func (c *Core) drain(on bool) {
	if on != c.draining {
		c.drainWait = 0
	}
	c.draining, c.drainAt, c.handAt = on, 0, 0
	c.tickHandOver()
}

// leads begins this node's time as the leader. If it drains and has handed over before, nobody may be there who does not
// drain: it bears with leading for longer each time.
func (c *Core) leads() {
	c.stepping, c.reporting, c.leaving, c.handAt = false, false, 0, 0
	c.placed = 0 // what it placed before, another leader may have replaced
	if c.draining {
		c.drainAt = c.now + c.drainWait
		c.drainWait = min(max(2*c.drainWait, 2*c.election()), maxDrainElections*c.election())
	}
}

// handOver asks the voter that has most of the log, of those that may, to lead: another one than the last time, if there
// is one, since that one has given leadership back.
func (c *Core) handOver(may func(id uint64) bool) {
	if c.role != Leader || c.now < c.handAt {
		return
	}
	to := c.mostAdvanced(func(id uint64) bool { return may(id) && id != c.handedTo })
	if to == 0 {
		to = c.mostAdvanced(may)
	}
	if to != 0 {
		c.handAt, c.handedTo = c.now+2*c.election(), to
		c.raft.TransferLeader(to)
	}
}

func (c *Core) election() time.Duration {
	return time.Duration(c.cfg.ElectionTicks) * c.cfg.TickInterval
}

// tickClaim tells the leader what this node is, until the state says so.
func (c *Core) tickClaim() {
	m := c.member(c.cfg.ID)
	if c.leader == 0 && c.now-c.lostAt >= 2*c.election() && c.now >= c.claimAt {
		// Whoever leads may be somebody of whom this node has not heard yet.
		c.claimAt = c.now + claimInterval
		for _, p := range c.peers {
			c.send(transport.Message{To: p, Claim: &transport.Claim{Life: c.cfg.Life, Version: c.cfg.Version}})
		}
		return
	}
	if m == nil || c.leader == 0 || m.Life == c.cfg.Life && m.Version == c.cfg.Version || c.now < c.claimAt {
		return
	}
	c.claimAt = c.now + claimInterval
	if c.leader == c.cfg.ID {
		c.report(c.cfg.ID, c.cfg.Life, c.cfg.Version)
		return
	}
	c.send(transport.Message{To: c.leader, Claim: &transport.Claim{Life: c.cfg.Life, Version: c.cfg.Version}})
}

// claimed takes a node's word on itself. Only what is applied is an answer.
func (c *Core) claimed(from uint64, claim *transport.Claim) {
	m := c.member(from)
	if m != nil && c.hasLeft(m) {
		return // what is reported of it next is the last
	}
	if claim.Life == (fsm.Life{}) {
		// Its program cannot say what it is, but so old is it.
		if m != nil && m.Version != claim.Version {
			c.report(from, m.Life, claim.Version)
		}
		return
	}
	verdict := transport.ClaimGone
	switch {
	case c.why != nil:
		return
	case m == nil && from > c.lastRaftID:
		return // its seat is not here yet
	case m == nil:
	case m.Life == fsm.Life{} || m.Life == claim.Life && m.Version != claim.Version:
		c.report(from, claim.Life, claim.Version)
		if m.Life == (fsm.Life{}) {
			return
		}
		verdict = transport.ClaimWelcome
	case m.Life == claim.Life:
		verdict = transport.ClaimWelcome
	default:
		c.cfg.mark("seat is taken")
		verdict = transport.ClaimTaken
	}
	r := &transport.ClaimReply{Life: claim.Life, Verdict: verdict}
	if verdict == transport.ClaimWelcome {
		r.Last = c.lastRaftID
		if r.Commit = min(c.commit, c.log.last); r.Commit > 0 {
			r.CommitTerm, _ = c.log.Term(r.Commit)
		}
		for i := range c.members {
			r.Members = append(r.Members, transport.Peer{RaftID: c.members[i].RaftID, Name: c.members[i].Name, Address: c.members[i].RaftAddress()})
		}
	}
	c.send(transport.Message{To: from, ClaimReply: r})
}

// welcomed takes the word of a member on what is committed and on who came since.
func (c *Core) welcomed(from uint64, r *transport.ClaimReply) {
	if r.Verdict != transport.ClaimWelcome || r.Life != c.cfg.Life {
		return
	}
	c.learnCommit(from, r.Commit, r.CommitTerm)
	if r.Last <= c.lastRaftID {
		return
	}
	newcomers := slices.DeleteFunc(slices.Clone(r.Members), func(p transport.Peer) bool { return p.RaftID <= c.lastRaftID })
	if slices.Equal(newcomers, c.introduced) || len(newcomers) > fsm.MaxMembers {
		return
	}
	c.cfg.mark("members introduced that are not here yet")
	c.introduced = newcomers
	c.reconfigure()
}

// learnCommit has raft know that an entry is committed, if this log has it and no leader is there to say so. Without that,
// a step that ends two sets of voters could be known to nobody but one whom it took out of the quorum. Those that are left
// would go by both sets, and need the vote of that one, which refuses it if the last leader had sent it more than
// them; and it cannot be elected itself. What is committed stays so, whoever says it (Log Matching: Ongaro, thesis,
// §3.6.3), but raft hears it from a leader only: so one is made up, and forgotten before anybody sees it.
func (c *Core) learnCommit(from, index, term uint64) {
	if c.leader != 0 || index <= c.commit || index > c.log.last || c.frozen() || c.replacing() {
		return
	}
	if own, err := c.log.Term(index); err != nil || own != term {
		return
	}
	c.cfg.mark("commit learned without a leader")
	// The only errors are about peers that raft does not know.
	_ = c.raft.Step(&raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: &c.cfg.ID, From: &from, Term: new(c.raft.BasicStatus().GetTerm()),
		Index: &index, LogTerm: &term, Commit: &index,
	})
	_ = c.raft.ForgetLeader()
}

// report puts a member's word on itself into the log, if this node leads.
func (c *Core) report(id uint64, life fsm.Life, version uint8) {
	if c.role != Leader || c.appliedTerm != c.term || c.full || c.reporting && c.now-c.reportAt < claimInterval || version < fsm.MinVersion || life == (fsm.Life{}) {
		return
	}
	cmd := fsm.Command{Report: &fsm.Report{RaftID: id, Life: life, Version: version}}
	data, err := cmd.Encode()
	must(err == nil, "a report does not encode: %v", err)
	c.reporting, c.reportAt = true, c.now
	c.enqueue(batched{data: data, report: true})
}

// checkMembers is part of what Settings.Checks turns on.
func (c *Core) checkMembers() {
	if c.replacing() {
		return // raft goes by the image already
	}
	conf := c.raft.Status().Config
	must(len(conf.Voters[0]) == len(c.conf.Voters) && len(conf.Voters[1]) == len(c.conf.VotersOutgoing) && len(conf.Learners) == len(c.conf.Learners),
		"raft's configuration is %v, the state's %+v", conf, c.conf)
}
