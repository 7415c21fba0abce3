package node

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// proposing is the core's side of writes: proposals this node accepted, and
// those of other nodes that it leads.
//
// A proposal is told NotApplied only when no copy of it can be applied any more:
// each copy was refused by the one incarnation that could have accepted it, or
// was lost (see loseCopies). Everything else is Unknown (protocol.md §1).
type proposing struct {
	// ring holds the proposals in flight at Seq % maxProposals; all of them are in
	// [oldestSeq, nextSeq), which is never longer than the store's window.
	ring               []*proposal
	oldestSeq, nextSeq uint64
	proposalBytes      int
	undispatched       int // of ring, those with wait set

	incarnations map[uint64]uint64  // of peers, as their replies told
	origins      map[uint64]*origin // whose Forwards came here

	batch      []batched // to be handed to raft
	batchBytes int
	placing    []batched // handed to raft, not yet seen in the log
	placed     uint64    // index of the newest command that raft took
	batchSeq   uint64    // of the batch that gathers, from 1 on
	lingerOf   uint64    // the batch that a Linger is under way for; 0: none is
	lingered   bool      // it is over, and the batch waits for no others any more
}

// proposal is one write that this node accepted.
type proposal struct {
	request  uint64
	seq      uint64
	data     []byte
	deadline time.Duration
	attempts uint32
	copies   []proposalCopy // those that may still be applied
	wait     bool           // for a leader to send it to
	sentAt   time.Duration
}

// proposalCopy is one way in which a proposal may come to be applied.
type proposalCopy struct {
	attempt uint32
	to      uint64
	// addressee is the incarnation that may accept it; zero: none may.
	addressee uint64
	// term and index are where the leader appended it, as far as is known.
	term, index uint64
}

// origin is what a node remembers of another one's Forwards: the newest attempt
// of each sequence number, so that the network's repeats are not acted on.
type origin struct {
	incarnation uint64
	ring        []seen
}

type seen struct {
	seq     uint64
	attempt uint32
}

// batched is a command on its way into raft, with whom to tell where it landed, if anybody.
type batched struct {
	data    []byte
	from    uint64             // of forward
	forward *transport.Forward // another node's
	local   *proposal          // this node's
	attempt uint32
	conf    bool // a step of the configuration: raft's entry, not a command
	report  bool // a member's word on itself
}

// tell says what became of b: it is refused, or has a place.
func (c *Core) tell(b *batched, r transport.ForwardReply) {
	switch {
	case b.forward != nil:
		c.replyForward(b.from, b.forward, r)
	case b.conf:
		c.stepping = r.Verdict == transport.Accepted // the next tick takes it again
	case b.report:
		c.reporting = r.Verdict == transport.Accepted // it is said again
	case b.local == nil:
		c.proposed = r.Verdict == transport.Accepted // maintenance: the next tick makes another
	case c.inFlight(b.local.seq) != b.local: // it was given up while it gathered with others
	case r.Verdict != transport.Accepted:
		c.copyRefused(b.local, b.attempt, r.Verdict)
	default:
		if n := b.local.find(b.attempt); n >= 0 {
			b.local.copies[n].term, b.local.copies[n].index = r.Term, r.Index
		}
	}
}

func (p *proposing) init() {
	p.ring = make([]*proposal, maxProposals)
	p.oldestSeq, p.nextSeq, p.batchSeq = 1, 1, 1
	p.incarnations = make(map[uint64]uint64)
	p.origins = make(map[uint64]*origin)
}

func (c *Core) propose(in Propose) {
	switch {
	case c.why != nil:
		c.refuse(in.Request, ErrRebuilding)
		return
	case c.nextSeq-c.oldestSeq >= uint64(c.cfg.MaxProposals), c.proposalBytes > 0 && c.proposalBytes+len(in.Command) > MaxProposalBytes:
		c.cfg.mark("write refused: too many in flight")
		c.refuse(in.Request, ErrOverloaded)
		return
	case c.noRoom():
		c.cfg.mark("write refused: disk full")
		c.refuse(in.Request, ErrStorageFull)
		return
	case c.leaderless():
		c.cfg.mark("write refused: no leader for long")
		c.refuse(in.Request, ErrNoQuorum)
		return
	}
	p := &proposal{request: in.Request, seq: c.nextSeq, data: in.Command, deadline: in.Deadline, wait: true}
	fsm.SetOrigin(p.data, fsm.Origin{Node: c.cfg.ID, Incarnation: c.cfg.Incarnation, Seq: p.seq})
	c.ring[p.seq%maxProposals] = p
	c.nextSeq++
	c.proposalBytes += len(p.data)
	c.undispatched++
}

func (c *Core) refuse(request uint64, err error) {
	c.emit(ProposeReply{Request: request, Err: &WriteError{Outcome: NotApplied, Leader: c.leader, Err: err}})
}

// dispatchProposals sends a copy of each proposal that waits for one to the
// leader, or to raft if this node leads, and hands raft its batch.
func (c *Core) dispatchProposals() {
	if c.undispatched > 0 && c.leader != 0 {
		for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
			if p := c.inFlight(seq); p != nil && p.wait {
				c.dispatch(p)
			}
		}
	}
	if !c.gathering() {
		c.proposeBatch()
	}
}

func (c *Core) dispatch(p *proposal) {
	p.wait = false
	c.undispatched--
	if p.attempts == MaxAttempts {
		c.cfg.mark("write is out of attempts")
		return
	}
	p.attempts++
	p.sentAt = c.now
	if c.leader == c.cfg.ID {
		p.copies = append(p.copies, proposalCopy{attempt: p.attempts, to: c.leader, addressee: c.cfg.Incarnation})
		c.enqueue(batched{data: p.data, local: p, attempt: p.attempts})
		return
	}
	addressee := c.incarnations[c.leader]
	p.copies = append(p.copies, proposalCopy{attempt: p.attempts, to: c.leader, addressee: addressee})
	c.send(transport.Message{To: c.leader, Forward: &transport.Forward{
		Addressee:   addressee,
		Incarnation: c.cfg.Incarnation,
		Seq:         p.seq,
		Attempt:     p.attempts,
		Command:     p.data,
	}})
}

// enqueue adds to the batch of commands. It only collects: of what else the step brings raft may hear before it is handed the
// batch, but not between that and saying where it put it.
func (c *Core) enqueue(b batched) {
	c.batch = append(c.batch, b)
	c.batchBytes += len(b.data)
}

// gathering tells whether the batch waits for more, so that what comes meanwhile shares an append, a message to each follower and
// a sync: while the append before it is on its way to this leader's disk, but for no longer than a tick, since a quorum may not need
// that disk; and while others before it are not committed, for a moment.
func (c *Core) gathering() bool {
	if c.role != Leader || c.batchBytes >= maxProposeBatchBytes/2 {
		return false
	}
	return len(c.appends) > 0 && c.appends[0].at == c.now || c.behindOthers()
}

func (c *Core) behindOthers() bool { return c.placed > c.commit && !c.lingered }

// startLinger sees to it that the batch does not wait for others without an end.
func (c *Core) startLinger() {
	if len(c.batch) > 0 && c.behindOthers() && c.lingerOf == 0 {
		c.lingerOf = c.batchSeq
		c.emit(Linger{})
	}
}

// lingerOver ends the wait of the batch that it was for, if that has not gone.
func (c *Core) lingerOver() {
	c.lingered = c.lingerOf == c.batchSeq && len(c.batch) > 0
	c.lingerOf = 0
}

// proposeBatch hands the batch to raft, in parts that become one append to each follower.
func (c *Core) proposeBatch() {
	if c.noRoom() {
		c.refuseWrites()
	}
	rest := c.batch
	for len(rest) > 0 {
		n, bytes := 1, len(rest[0].data)
		for n < len(rest) && bytes+len(rest[n].data) <= maxProposeBatchBytes {
			bytes += len(rest[n].data)
			n++
		}
		c.proposePart(rest[:n])
		rest = rest[n:]
	}
	c.emptyBatch()
}

func (c *Core) emptyBatch() {
	clear(c.batch)
	c.batch, c.batchBytes = c.batch[:0], 0
	c.batchSeq++
	c.lingered = false
}

// refuseWrites refuses the writes of the batch, which gathered while there was room for them.
func (c *Core) refuseWrites() {
	c.batch = slices.DeleteFunc(c.batch, func(b batched) bool {
		write := b.local != nil || b.forward != nil
		if write {
			c.tell(&b, transport.ForwardReply{Verdict: transport.StorageFull})
		}
		return write
	})
}

// refuseBatch is for a leader that gives up what it leads with: what gathered was handed to nobody.
func (c *Core) refuseBatch() {
	c.refusePart(c.batch, transport.NotLeader)
	c.emptyBatch()
}

// proposePart hands raft what it takes or refuses together. What it does not take was never
// appended, so every copy in it can be refused for certain.
func (c *Core) proposePart(part []batched) {
	ents := make([]*raftpb.Entry, len(part))
	for i, b := range part {
		ents[i] = &raftpb.Entry{Data: b.data}
		if b.conf {
			ents[i].Type = raftpb.EntryConfChangeV2.Enum()
		}
	}
	err := c.raft.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: &c.cfg.ID, Entries: ents})
	if err == nil {
		c.placing = append(c.placing, part...)
		return
	}
	verdict := transport.Overloaded
	// In the same step raft may have heard of another leader, before it says so.
	if b := c.raft.BasicStatus(); b.RaftState != raft.StateLeader || b.LeadTransferee != 0 {
		verdict = transport.NotLeader
	}
	c.cfg.mark("raft refuses a batch of writes")
	c.refusePart(part, verdict)
}

func (c *Core) refusePart(part []batched, verdict transport.Verdict) {
	for i := range part {
		c.tell(&part[i], transport.ForwardReply{Verdict: verdict})
	}
}

// placeProposals sees where raft put what proposeBatch handed to it: nothing
// happens to raft between the two, so those are the last entries it appends.
func (c *Core) placeProposals(ents []*raftpb.Entry) {
	must(len(ents) >= len(c.placing), "%d commands were proposed, raft appends %d entries", len(c.placing), len(ents))
	for i := range c.placing {
		b, e := &c.placing[i], ents[len(ents)-len(c.placing)+i]
		if b.conf && len(b.data) > 0 && e.GetType() == raftpb.EntryNormal {
			c.cfg.mark("raft refuses a step of the configuration")
			c.tell(b, transport.ForwardReply{Verdict: transport.Overloaded})
			continue
		}
		must(bytes.Equal(e.GetData(), b.data), "raft appends another command at %d than was proposed", e.GetIndex())
		c.tell(b, transport.ForwardReply{Verdict: transport.Accepted, Term: e.GetTerm(), Index: e.GetIndex()})
	}
	if len(c.placing) > 0 {
		c.placed = ents[len(ents)-1].GetIndex()
	}
	clear(c.placing)
	c.placing = c.placing[:0]
}

// forwarded takes another node's proposal.
func (c *Core) forwarded(from uint64, f *transport.Forward) {
	if f.Addressee != c.cfg.Incarnation {
		c.cfg.mark("forward refused: for another incarnation")
		c.replyForward(from, f, transport.ForwardReply{Verdict: transport.NotAddressed})
		return
	}
	if !c.firstSeen(from, f) {
		c.cfg.mark("forward seen before")
		return
	}
	o, ok := fsm.OriginOf(f.Command)
	if !ok || o != (fsm.Origin{Node: from, Incarnation: f.Incarnation, Seq: f.Seq}) {
		return // damaged on the way; the sender will send again
	}
	switch {
	case c.role != Leader:
		c.cfg.mark("forward refused: not the leader")
		c.replyForward(from, f, transport.ForwardReply{Verdict: transport.NotLeader})
	case c.noRoom():
		c.cfg.mark("forward refused: disk full")
		c.replyForward(from, f, transport.ForwardReply{Verdict: transport.StorageFull})
	default:
		c.enqueue(batched{data: f.Command, from: from, forward: f})
	}
}

// firstSeen reports whether this attempt was not seen before, and remembers it. An
// attempt too old to tell counts as seen: silence is always safe.
func (c *Core) firstSeen(from uint64, f *transport.Forward) bool {
	o := c.origins[from]
	if o == nil {
		o = &origin{ring: make([]seen, maxProposals)}
		c.origins[from] = o
	}
	if f.Incarnation < o.incarnation {
		return false
	}
	if f.Incarnation > o.incarnation {
		o.incarnation = f.Incarnation
		clear(o.ring)
	}
	s := &o.ring[f.Seq%maxProposals]
	if s.seq > f.Seq || (s.seq == f.Seq && s.attempt >= f.Attempt) {
		return false
	}
	*s = seen{seq: f.Seq, attempt: f.Attempt}
	return true
}

func (c *Core) replyForward(to uint64, f *transport.Forward, r transport.ForwardReply) {
	r.Incarnation = c.cfg.Incarnation
	r.Origin, r.Seq, r.Attempt = f.Incarnation, f.Seq, f.Attempt
	c.send(transport.Message{To: to, ForwardReply: &r})
}

// forwardReply takes the leader's word on a copy. It counts only for the copy it
// names, and only from the node that the copy was sent to.
func (c *Core) forwardReply(from uint64, r *transport.ForwardReply) {
	if r.Origin != c.cfg.Incarnation {
		return
	}
	if r.Incarnation > c.incarnations[from] {
		c.incarnations[from] = r.Incarnation
	}
	p := c.inFlight(r.Seq)
	if p == nil {
		return
	}
	n := p.find(r.Attempt)
	if n < 0 || p.copies[n].to != from {
		return
	}
	if r.Verdict == transport.Accepted {
		if r.Term < c.appliedTerm {
			c.copyLost(p, n)
			return
		}
		p.copies[n].term, p.copies[n].index = r.Term, r.Index
		return
	}
	c.copyRefused(p, r.Attempt, r.Verdict)
}

// copyRefused forgets a copy that nobody will ever append.
func (c *Core) copyRefused(p *proposal, attempt uint32, v transport.Verdict) {
	n := p.find(attempt)
	if n < 0 {
		return
	}
	if v == transport.NotAddressed {
		// A newer incarnation speaks. It cannot know what the one before did with a
		// copy that was for it: that copy stays possible.
		if p.copies[n].addressee == 0 {
			p.copies = slices.Delete(p.copies, n, n+1)
		} else {
			c.cfg.mark("copy stays possible: refused by a later incarnation")
		}
		c.redispatch(p)
		return
	}
	p.copies = slices.Delete(p.copies, n, n+1)
	if len(p.copies) > 0 {
		return
	}
	switch v {
	case transport.Overloaded:
		c.finish(p, ProposeReply{Err: &WriteError{Outcome: NotApplied, Leader: c.leader, Err: ErrOverloaded}})
	case transport.StorageFull:
		c.finish(p, ProposeReply{Err: &WriteError{Outcome: NotApplied, Leader: c.leader, Err: ErrStorageFull}})
	default:
		// Not the leader: the next leader, or the resend interval, brings the next copy.
	}
}

func (c *Core) redispatch(p *proposal) {
	if !p.wait {
		p.wait = true
		c.undispatched++
	}
}

// loseCopies forgets the copies that were appended in an earlier term than what
// was applied just now: terms in a log never fall, and a leader's log holds
// everything committed before its term, so their places were given to others.
func (c *Core) loseCopies() {
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		p := c.inFlight(seq)
		if p == nil {
			continue
		}
		for n := len(p.copies) - 1; n >= 0; n-- {
			if t := p.copies[n].term; t != 0 && t < c.appliedTerm {
				c.copyLost(p, n)
			}
		}
	}
}

func (c *Core) copyLost(p *proposal, n int) {
	c.cfg.mark("copy lost with its term")
	p.copies = slices.Delete(p.copies, n, n+1)
	if len(p.copies) == 0 {
		c.redispatch(p)
	}
}

// leaderChanged sends every proposal without a known place in the log to the new
// leader at once. One with a place waits to see it applied or lost.
func (c *Core) leaderChanged() {
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		if p := c.inFlight(seq); p != nil && !p.placed() {
			c.redispatch(p)
		}
	}
}

func (c *Core) tickProposals() {
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		p := c.inFlight(seq)
		switch {
		case p == nil:
		case c.now >= p.deadline:
			c.giveUp(p, ErrNoQuorum)
		case !p.placed() && c.now-p.sentAt >= c.cfg.ResendInterval:
			c.redispatch(p)
		}
	}
}

// giveUp answers a proposal of which nobody will hear here any more: unknown, if a
// copy of it may still be applied somewhere.
func (c *Core) giveUp(p *proposal, err error) {
	outcome := Unknown
	if len(p.copies) == 0 {
		outcome = NotApplied
	}
	c.finish(p, ProposeReply{Err: &WriteError{Outcome: outcome, Leader: c.leader, Err: err}})
}

// overtaken gives up the proposals that may be among the entries which an image
// stands for: this node will not see them applied.
func (c *Core) overtaken() {
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		if p := c.inFlight(seq); p != nil && len(p.copies) > 0 {
			c.giveUp(p, ErrOvertaken)
		}
	}
}

// proposalApplied answers the proposal that an applied entry was, if it was one of this node's.
func (c *Core) proposalApplied(r fsm.Result) {
	switch r.Outcome {
	case fsm.Maintained:
		c.maintained(r)
		return
	case fsm.Reported:
		c.reporting, c.claimAt = false, c.now
		return
	case fsm.ConfChanged, fsm.ConfRefused:
		c.confApplied(r)
		return
	default: // of a command that somebody may wait for
	}
	if r.Origin.Node != c.cfg.ID || r.Origin.Incarnation != c.cfg.Incarnation {
		return
	}
	p := c.inFlight(r.Origin.Seq)
	if p == nil {
		return
	}
	switch r.Outcome {
	case fsm.Applied, fsm.Unchanged, fsm.CompareFailed, fsm.TreeTooLarge, fsm.Compacted, fsm.FutureRevision,
		fsm.KeyReused, fsm.AnswersFull,
		fsm.Denied, fsm.AdminExists, fsm.LastAdmin, fsm.UnknownRole, fsm.RoleInUse, fsm.PolicyFull, fsm.Recorded, fsm.SelfDenied,
		fsm.MemberExists, fsm.UnknownMember, fsm.MemberPending, fsm.MembersFull, fsm.FewerFailures, fsm.VersionUnknown:
		c.finish(p, ProposeReply{Result: r})
	case fsm.Undecodable:
		c.finish(p, ProposeReply{Err: &WriteError{Outcome: NotApplied, Leader: c.leader, Err: ErrUndecodable}})
	case fsm.Repeated:
		// The first time answers its proposal, so what is repeated is not in flight,
		// unless the store forgot it: then nobody can say.
		c.cfg.mark("write repeated, and its first time forgotten")
		c.finish(p, ProposeReply{Err: &WriteError{Outcome: Unknown, Leader: c.leader, Err: ErrRepeated}})
	default:
		panic(fmt.Sprintf("node: a command of this node was applied with outcome %d", r.Outcome))
	}
}

func (c *Core) finish(p *proposal, r ProposeReply) {
	r.Request = p.request
	c.emit(r)
	if p.wait {
		c.undispatched--
	}
	c.proposalBytes -= len(p.data)
	c.ring[p.seq%maxProposals] = nil
	for c.oldestSeq < c.nextSeq && c.ring[c.oldestSeq%maxProposals] == nil {
		c.oldestSeq++
	}
}

func (c *Core) inFlight(seq uint64) *proposal {
	if seq < c.oldestSeq || seq >= c.nextSeq {
		return nil
	}
	return c.ring[seq%maxProposals]
}

// find returns the position of the copy made by attempt, or -1.
func (p *proposal) find(attempt uint32) int {
	return slices.IndexFunc(p.copies, func(k proposalCopy) bool { return k.attempt == attempt })
}

// placed tells whether a copy is known to be in a leader's log.
func (p *proposal) placed() bool {
	return slices.ContainsFunc(p.copies, func(k proposalCopy) bool { return k.index != 0 })
}

func (c *Core) checkProposals() {
	bytes, waiting := 0, 0
	for seq := c.oldestSeq; seq < c.nextSeq; seq++ {
		if p := c.inFlight(seq); p != nil {
			must(p.seq == seq, "proposal %d stands at %d", p.seq, seq)
			bytes += len(p.data)
			if p.wait {
				waiting++
			}
		}
	}
	must(bytes == c.proposalBytes && waiting == c.undispatched, "proposals hold %d bytes and %d wait; counted %d and %d", bytes, waiting, c.proposalBytes, c.undispatched)
	must((len(c.batch) == 0 || c.gathering()) && len(c.placing) == 0, "%d commands are not handed to raft, %d not placed", len(c.batch), len(c.placing))
	must(len(c.batch) == 0 || !c.behindOthers() || c.lingerOf != 0, "%d commands wait for others without an end", len(c.batch))
}
