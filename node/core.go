package node

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// Core is one replica's decisions. It has no goroutine, clock, randomness or I/O
// (but the bounded reads of LogReader), so the same inputs give the same effects.
// Not safe for concurrent use.
type Core struct {
	cfg  Config
	raft *raft.RawNode
	log  *tail
	now  time.Duration
	out  []Effect
	err  error // why the core stopped

	role   Role
	leader uint64
	lostAt time.Duration // when the last leader was lost, if none is known
	term   uint64
	commit uint64

	proposing
	reading
	storing
	imaging
	rebuilding
	repacking
	digesting
	maintaining
	membership
	succeeding

	heard     map[uint64]time.Duration // when each peer was last heard
	peers     []uint64                 // the other members that there are, ascending
	reachable []uint64
}

// NewCore starts a core from what log and store hold. It fails if they contradict
// each other: that is damage, and the node must not start.
func NewCore(cfg Config) (*Core, error) {
	cfg.Settings = cfg.withDefaults()
	must(cfg.ID != 0 && cfg.Incarnation != 0, "id %d, incarnation %d: both start at 1", cfg.ID, cfg.Incarnation)
	def(&cfg.Version, fsm.Version)
	def(&cfg.Life, fsm.Life(cfg.State.Cluster))
	if cfg.State.Version > cfg.Version {
		return nil, newerThan(cfg.Version, cfg.State.Version)
	}
	must(cfg.MaxProposals <= maxProposals, "%d proposals in flight are more than the store's window of %d", cfg.MaxProposals, maxProposals)
	log, err := newTail(cfg)
	if err != nil {
		return nil, err
	}
	applied := uint64(cfg.State.Applied)
	if cfg.Damaged != nil {
		applied = log.first - 1 // raft hands out what follows, and the store gets none of it
	}
	rn, err := newRawNode(cfg, log, applied)
	if err != nil {
		return nil, err
	}
	c := &Core{
		cfg:    cfg,
		raft:   rn,
		log:    log,
		now:    cfg.Now,
		lostAt: cfg.Now,
		term:   log.hard.GetTerm(),
		commit: log.hard.GetCommit(),
		heard:  make(map[uint64]time.Duration),
	}
	c.proposing.init()
	c.storing.init(cfg, log)
	c.digests = make(map[uint64]transport.Digest)
	c.adopt(&cfg.State)
	if !c.isMember(cfg.ID) {
		return nil, ErrRemoved
	}
	c.namedAt, c.askAt = cfg.Now, cfg.Now
	c.why, c.lost = cfg.Damaged, cfg.Damaged != nil
	if c.lost && len(c.peers) == 0 {
		return nil, fmt.Errorf("node: there is no other member to rebuild the store from: %w", cfg.Damaged)
	}
	c.offerImage()
	if c.alone() {
		// Nobody else can lead: there is no election to wait out.
		if err := rn.Campaign(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// newRawNode makes raft over a log, from what was applied of it.
func newRawNode(cfg Config, log *tail, applied uint64) (*raft.RawNode, error) {
	return raft.NewRawNode(&raft.Config{
		ID:                        cfg.ID,
		ElectionTick:              cfg.ElectionTicks,
		HeartbeatTick:             cfg.HeartbeatTicks,
		Storage:                   log,
		Applied:                   applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             cfg.MaxMessageBytes,
		MaxCommittedSizePerReady:  cfg.MaxApplyBytes,
		MaxUncommittedEntriesSize: MaxProposalBytes,
		MaxInflightMsgs:           maxInflightMessages,
		MaxInflightBytes:          max(maxInflightBytes, cfg.MaxMessageBytes),
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    silent{},
	})
}

// Step takes inputs in order, to their end, and returns what must be done about
// them, in order. Inputs that are taken together share one round of Raft. The
// slice is valid until the next Step; after a Stop effect there are no more.
func (c *Core) Step(ins ...Input) (effects []Effect) {
	if c.err != nil {
		return nil
	}
	c.out = c.out[:0]
	defer func() {
		// raft panics on an error of its storage: that is an effect of a disk, not a
		// bug, and ends the node in order. Everything else is a bug.
		if p := recover(); p != nil {
			read, ok := p.(logReadError)
			if !ok {
				panic(p)
			}
			c.cfg.mark("stopped by an error of a read of the log")
			c.stop(read.err)
		}
		effects = c.out
	}()
	for _, in := range ins {
		c.take(in)
	}
	c.settle()
	return c.out
}

func (c *Core) take(in Input) {
	switch in := in.(type) {
	case Tick:
		c.tick(in)
	case Receive:
		c.receive(in.Message)
	case Propose:
		c.propose(in)
	case ReadIndex:
		c.read(in)
	case Appended:
		c.appended(in)
	case Applied:
		c.applyDone(in)
	case Flushed:
		c.flushed(in)
	case FlushNow:
		c.flushWanted = c.applied
	case Proved:
		c.proving, c.full = false, in.Full
	case DiskLow:
		c.low = in.Low
	case Scrubbed:
		c.scrubbed(in)
	case Truncated:
		c.truncating, c.full = false, in.Full
	case ImageOpened:
		c.imageOpened(in)
	case ImageRead:
		c.imageRead(in)
	case ImageWritten:
		c.imageWritten(in)
	case ImageVerified:
		c.imageVerified(in)
	case Lingered:
		c.lingerOver()
	case Repacked:
		c.repacked(in)
	case Swapped:
		c.swapped(in)
	case Installed:
		c.installed(in)
	case Damaged:
		c.damaged(in.Err)
	case Unreachable:
		c.raft.ReportUnreachable(in.Peer)
	case Gone:
		c.gone(in.Peer)
	case TransferLeadership:
		c.handAt = 0
		c.handOver(func(id uint64) bool { return in.Peer == 0 || id == in.Peer })
	case Drain:
		c.drain(in.On)
	case Dismissed:
		c.stop(fmt.Errorf("%w (a member says so: raft id %d)", ErrRemoved, in.Peer))
	default:
		panic(fmt.Sprintf("node: unhandled input %T", in))
	}
}

func (c *Core) tick(in Tick) {
	must(in.Now >= c.now, "time went back: %v after %v", in.Now, c.now)
	c.now = in.Now
	if !c.frozen() {
		c.raft.Tick()
	}
	c.tickProposals()
	c.tickReads()
	c.tickStorage()
	c.tickImages()
	c.tickRebuild()
	c.tickRepack()
	c.tickDigest()
	c.tickMaintenance()
	c.tickMembers()
	c.tickGone()
	c.reachable = c.reachable[:0]
	for _, id := range c.peers {
		if c.role == Follower && id != c.leader {
			continue // it is heard now and then (digests, images), which says nothing of the time between
		}
		if c.hearsNow(id) {
			c.reachable = append(c.reachable, id)
		}
	}
}

// receive takes a message from a peer. What is not for this node, not from a
// member, or not to be sent between nodes, is ignored: raft resends what matters.
func (c *Core) receive(m transport.Message) {
	if m.To != c.cfg.ID || !c.hears(m.From) {
		return
	}
	c.heard[m.From] = c.now
	switch {
	case m.Raft != nil:
		if m.Raft.GetFrom() != m.From || m.Raft.GetTo() != m.To || !betweenNodes(m.Raft.GetType()) || c.frozen() || c.cannotTell(m.Raft) {
			return
		}
		// The only errors are about peers that raft does not know.
		_ = c.raft.Step(m.Raft)
	case m.Forward != nil:
		c.forwarded(m.From, m.Forward)
	case m.ForwardReply != nil:
		c.forwardReply(m.From, m.ForwardReply)
	case m.Image != nil:
		c.imagePiece(m.From, m.Image)
	case m.ImageReply != nil:
		c.imageReply(m.From, m.ImageReply)
	case m.ImageRequest != nil:
		c.imageRequested(m.From, m.ImageRequest)
	case m.Digest != nil:
		c.digestHeard(m.From, m.Digest)
	case m.Claim != nil:
		c.claimed(m.From, m.Claim)
	case m.ClaimReply != nil:
		c.welcomed(m.From, m.ClaimReply)
	}
}

// betweenNodes tells the messages that raft sends to peers as this node uses it:
// no proposals (only the leader proposes), no snapshots (images have messages of
// their own) and nothing meant for the node itself.
func betweenNodes(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp,
		raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgReadIndex, raftpb.MsgReadIndexResp, raftpb.MsgTimeoutNow:
		return true
	default:
		return false
	}
}

// settle lets raft say what follows from the inputs, until it has nothing more
// to say, and then starts what storage has room for.
func (c *Core) settle() {
	for c.err == nil {
		c.dispatchProposals()
		c.issueReads()
		if !c.raft.HasReady() {
			break
		}
		c.ready(c.raft.Ready())
	}
	if c.err == nil {
		c.decideImage()
		c.startLinger()
		c.startStorage()
	}
	if c.cfg.Checks && c.err == nil {
		c.check()
	}
}

func (c *Core) ready(rd raft.Ready) {
	if rd.SoftState != nil {
		c.changeLeader(rd.Lead, roleOf(rd.RaftState))
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		must(rd.HardState.GetTerm() >= c.term, "term went back: %d after %d", rd.HardState.GetTerm(), c.term)
		must(rd.HardState.GetCommit() >= c.commit, "commit went back: %d after %d", rd.HardState.GetCommit(), c.commit)
		c.term, c.commit = rd.HardState.GetTerm(), rd.HardState.GetCommit()
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			c.append(m)
		case raft.LocalApplyThread:
			c.queueApply(m)
		default:
			if m.GetType() == raftpb.MsgSnap {
				c.sendSnapshot(m)
				continue
			}
			c.send(transport.Message{To: m.GetTo(), Raft: m})
		}
	}
	for _, rs := range rd.ReadStates {
		c.confirmed(rs)
	}
}

func (c *Core) changeLeader(leader uint64, role Role) {
	if role == c.role && leader == c.leader {
		return
	}
	if c.leader != 0 && leader == 0 {
		c.lostAt = c.now
	}
	if role == Leader && c.role != Leader {
		c.leaderMaintains()
		c.leads()
	}
	c.role, c.leader = role, leader
	if leader != 0 {
		c.standAt = 0
	}
	c.leaderChanged()
	c.restartReads()
}

// leaderless tells whether no leader has been known for so many elections that a
// new request would most likely wait in vain: a minority says so at once.
func (c *Core) leaderless() bool {
	return c.leader == 0 && c.now-c.lostAt >= leaderlessElections*time.Duration(c.cfg.ElectionTicks)*c.cfg.TickInterval
}

func roleOf(s raft.StateType) Role {
	switch s {
	case raft.StateLeader:
		return Leader
	case raft.StateCandidate:
		return Candidate
	case raft.StatePreCandidate:
		return PreCandidate
	default:
		return Follower
	}
}

func (c *Core) send(m transport.Message) {
	m.From = c.cfg.ID
	c.emit(Send{Message: m})
}

func (c *Core) emit(e Effect) {
	if c.err == nil {
		c.out = append(c.out, e)
	}
}

func (c *Core) stop(err error) {
	c.emit(Stop{Err: err})
	c.err = err
}

// Status returns the core's view of itself. Its slice is valid until the next Step.
func (c *Core) Status() Status {
	return Status{
		ID:          c.cfg.ID,
		Incarnation: c.cfg.Incarnation,
		Role:        c.role,
		Leader:      c.leader,
		Term:        c.term,
		Commit:      c.commit,
		Applied:     c.applied,
		Durable:     c.durable,
		FreshAt:     c.freshAt,
		Fresh:       c.fresh,
		Reachable:   c.reachable,
		StorageFull: c.noRoom(),
		FirstIndex:  c.log.first,
		Damage:      c.why,
		Disputed:    c.disputed(),
		Proposals:   int(c.nextSeq - c.oldestSeq),
		Reads:       c.waitingReads(),
		Draining:    c.draining,
	}
}

// check is what Config.Checks turns on.
func (c *Core) check() {
	b := c.raft.BasicStatus()
	must(b.GetTerm() == c.term, "term is %d, raft says %d", c.term, b.GetTerm())
	must(b.GetCommit() == c.commit, "commit is %d, raft says %d", c.commit, b.GetCommit())
	must(c.log.first <= b.Applied+1, "the log begins at %d, and raft knows up to %d to be applied", c.log.first, b.Applied)
	must(c.role != Leader || c.leader == c.cfg.ID, "leads, and holds %d for the leader", c.leader)
	c.checkProposals()
	c.checkMembers()
	c.log.check()
}

// must stops the program on a bug of ours: going on could answer wrongly.
func must(ok bool, format string, args ...any) {
	if !ok {
		panic("node: " + fmt.Sprintf(format, args...))
	}
}

// silent is raft's logger: the core does not log. A driver that records inputs
// and effects has the whole story.
type silent struct{}

func (silent) Debug(...any)            {}
func (silent) Debugf(string, ...any)   {}
func (silent) Info(...any)             {}
func (silent) Infof(string, ...any)    {}
func (silent) Warning(...any)          {}
func (silent) Warningf(string, ...any) {}
func (silent) Error(...any)            {}
func (silent) Errorf(string, ...any)   {}
func (silent) Fatal(v ...any)          { panic("raft: " + fmt.Sprint(v...)) }
func (silent) Fatalf(f string, v ...any) {
	panic("raft: " + fmt.Sprintf(f, v...))
}
func (silent) Panic(v ...any) { panic("raft: " + fmt.Sprint(v...)) }
func (silent) Panicf(f string, v ...any) {
	panic("raft: " + fmt.Sprintf(f, v...))
}

// ErrInconsistent means that log and store contradict each other.
var ErrInconsistent = errors.New("log and store contradict each other")

// confStateOf is the membership as raft takes it.
func confStateOf(s fsm.ConfState) *raftpb.ConfState {
	return &raftpb.ConfState{
		Voters:         s.Voters,
		Learners:       s.Learners,
		VotersOutgoing: s.VotersOutgoing,
		LearnersNext:   s.LearnersNext,
		AutoLeave:      &s.AutoLeave,
	}
}
