package node

import (
	"encoding/binary"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
)

// reading is the core's side of linearizable reads and of freshness (Ongaro,
// "Consensus: Bridging Theory and Practice" (2014), §6.4).
//
// A round is one ReadIndex under a context of its own, never used twice. Every
// read that waits joins the next round; a round that is confirmed speaks for
// all before it, since its index was taken later. So a round whose answer is late is not
// given up when the next one asks again: only when there is no room.
type reading struct {
	reads   []pendingRead // without a round
	joined  []pendingRead // in a round, rounds ascending
	rounds  []readRound   // outstanding, counters ascending
	counter uint64

	confirmedIndex uint64 // never decreases: a greater index is right for any read
	settled        []settledRead
	proofs         []freshProof

	fresh   bool
	freshAt time.Duration
	probeAt time.Duration // when a round was last issued
}

type pendingRead struct {
	request  uint64
	deadline time.Duration
	round    uint64
}

type readRound struct {
	counter uint64
	// issuedAt is the last tick at or before the round was issued: what was
	// acknowledged before it is at or below the index that comes back.
	issuedAt time.Duration
}

// settledRead waits for index to be applied; the indexes of a queue ascend.
type settledRead struct {
	pendingRead
	index uint64
}

type freshProof struct {
	index uint64
	at    time.Duration
}

const readContextBytes = 24

func (c *Core) read(in ReadIndex) {
	if c.why != nil {
		c.emit(ReadReply{Request: in.Request, Err: ErrRebuilding})
		return
	}
	if c.waitingReads() >= MaxReads {
		c.emit(ReadReply{Request: in.Request, Err: ErrOverloaded})
		return
	}
	if c.leaderless() {
		c.cfg.mark("read refused: no leader for long")
		c.emit(ReadReply{Request: in.Request, Err: ErrNoQuorum})
		return
	}
	c.reads = append(c.reads, pendingRead{request: in.Request, deadline: in.Deadline})
}

func (c *Core) waitingReads() int { return len(c.reads) + len(c.joined) + len(c.settled) }

// issueReads starts a round for the reads that wait for one, as a probe of freshness, or
// because the answer of the one before is late.
func (c *Core) issueReads() {
	late := len(c.rounds) > 0 && c.now-c.probeAt > c.readPatience()
	probe := len(c.rounds) == 0 && c.now-c.probeAt >= c.cfg.ProbeInterval
	if c.why != nil || c.leader == 0 || (len(c.reads) == 0 && !probe && !late) {
		return
	}
	if len(c.rounds) >= c.cfg.MaxReadRounds && !late {
		c.cfg.mark("read round waits for room")
		return
	}
	// A leader that has committed nothing in its term does not know how far its
	// predecessors' commits went. Raft waits for it but on a single voter; here all do.
	if c.role == Leader && c.appliedTerm != c.term {
		c.cfg.mark("read round waits for an entry of its leader's term")
		return
	}
	if len(c.rounds) >= c.cfg.MaxReadRounds {
		c.cfg.mark("read round given up")
		c.rounds = append(c.rounds[:0], c.rounds[1:]...)
	}
	c.counter++
	ctx := make([]byte, 0, readContextBytes)
	ctx = binary.BigEndian.AppendUint64(ctx, c.cfg.ID)
	ctx = binary.BigEndian.AppendUint64(ctx, c.cfg.Incarnation)
	ctx = binary.BigEndian.AppendUint64(ctx, c.counter)
	for _, r := range c.reads {
		r.round = c.counter
		c.joined = append(c.joined, r)
	}
	c.reads = c.reads[:0]
	c.rounds = append(c.rounds, readRound{counter: c.counter, issuedAt: c.now})
	c.probeAt = c.now
	c.raft.ReadIndex(ctx)
}

// cannotTell tells whether a peer asks for an index that this node does not know yet: a leader that has committed nothing
// in its term. Raft has such questions wait, but for a single voter: that would answer what it remembers of its commits,
// which may be less than it told clients before it started again. Who asked will ask again.
func (c *Core) cannotTell(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgReadIndex && c.alone() && c.appliedTerm != c.raft.BasicStatus().GetTerm()
}

// confirmed takes raft's word that a quorum stood behind a round's index.
func (c *Core) confirmed(rs raft.ReadState) {
	ctx := rs.RequestCtx
	if len(ctx) != readContextBytes || binary.BigEndian.Uint64(ctx) != c.cfg.ID || binary.BigEndian.Uint64(ctx[8:]) != c.cfg.Incarnation {
		return
	}
	counter := binary.BigEndian.Uint64(ctx[16:])
	n := 0
	for n < len(c.rounds) && c.rounds[n].counter < counter {
		n++
	}
	if n == len(c.rounds) || c.rounds[n].counter != counter {
		c.cfg.mark("read round confirmed too late")
		return // given up, or confirmed before
	}
	issuedAt := c.rounds[n].issuedAt
	c.rounds = append(c.rounds[:0], c.rounds[n+1:]...)
	c.confirmedIndex = max(c.confirmedIndex, rs.Index)
	if n := len(c.proofs); n > 0 && (c.proofs[n-1].index == c.confirmedIndex || n == maxProofs) {
		if c.proofs[n-1].index != c.confirmedIndex {
			c.cfg.mark("proof of freshness merged: too many")
		}
		c.proofs[n-1] = freshProof{index: c.confirmedIndex, at: issuedAt}
	} else {
		c.proofs = append(c.proofs, freshProof{index: c.confirmedIndex, at: issuedAt})
	}
	n = 0
	for n < len(c.joined) && c.joined[n].round <= counter {
		c.settled = append(c.settled, settledRead{pendingRead: c.joined[n], index: c.confirmedIndex})
		n++
	}
	c.joined = append(c.joined[:0], c.joined[n:]...)
	c.releaseReads()
}

// releaseReads answers the reads, and takes the proofs, whose index is applied.
func (c *Core) releaseReads() {
	n := 0
	for n < len(c.settled) && c.settled[n].index <= c.applied {
		c.emit(ReadReply{Request: c.settled[n].request, Index: fsm.Index(c.applied)})
		n++
	}
	c.settled = append(c.settled[:0], c.settled[n:]...)
	n = 0
	for n < len(c.proofs) && c.proofs[n].index <= c.applied {
		c.fresh, c.freshAt = true, max(c.freshAt, c.proofs[n].at)
		n++
	}
	c.proofs = append(c.proofs[:0], c.proofs[n:]...)
}

// restartReads asks again, under new contexts, what was asked of an old leader.
func (c *Core) restartReads() {
	c.rounds = c.rounds[:0]
	c.reads = append(c.joined, c.reads...)
	c.joined = nil
}

// readPatience is when a round's question or answer is taken for lost, and asked again. The
// answer still counts when it comes: a link may be slower than this.
func (c *Core) readPatience() time.Duration {
	return time.Duration(c.cfg.ElectionTicks) * c.cfg.TickInterval / 2
}

// tickReads expires reads.
func (c *Core) tickReads() {
	c.reads = c.expireReads(c.reads)
	c.joined = c.expireReads(c.joined)
	kept := c.settled[:0]
	for _, r := range c.settled {
		if c.now >= r.deadline {
			c.emit(ReadReply{Request: r.request, Err: ErrNoQuorum})
			continue
		}
		kept = append(kept, r)
	}
	c.settled = kept
}

// refuseReads answers all reads and forgets what was proven: the store is given up.
func (c *Core) refuseReads() {
	for _, r := range c.reads {
		c.emit(ReadReply{Request: r.request, Err: ErrRebuilding})
	}
	for _, r := range c.joined {
		c.emit(ReadReply{Request: r.request, Err: ErrRebuilding})
	}
	for _, r := range c.settled {
		c.emit(ReadReply{Request: r.request, Err: ErrRebuilding})
	}
	c.reads, c.joined, c.settled = nil, nil, nil
	c.rounds, c.proofs, c.fresh = c.rounds[:0], nil, false
}

func (c *Core) expireReads(reads []pendingRead) []pendingRead {
	kept := reads[:0]
	for _, r := range reads {
		if c.now >= r.deadline {
			c.emit(ReadReply{Request: r.request, Err: ErrNoQuorum})
			continue
		}
		kept = append(kept, r)
	}
	return kept
}
