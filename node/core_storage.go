package node

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// idleBeforeProof is how long the log must be quiet before what it holds is proven durable.
const idleBeforeProof = time.Second

// storing is the core's side of log and store: what was asked of them and is not done.
type storing struct {
	appendSeq uint64
	appends   []appending       // emitted, in order, not acknowledged
	written   *raftpb.HardState // the newest raft asked to write
	hardState *raftpb.HardState // written, if no Append has carried it yet
	full      bool
	appendAt  time.Duration // of the last Append
	unproven  bool          // something was appended since the last Prove
	proving   bool

	waiting      []*raftpb.Message // MsgStorageApply, not emitted: the overlay has no room
	applying     []applying        // emitted, in order, not acknowledged
	applyBytes   int               // of applying
	applied      uint64
	appliedTerm  uint64
	overlayBytes int

	durable  uint64
	flushing bool
	flushAt  time.Duration // when the last flush ended

	scrubbing bool
	scrubAt   time.Duration
}

// appending is an Append on its way to the disk.
type appending struct {
	seq     uint64
	entries []*raftpb.Entry
	// responses leave once it, and all before it, are durable.
	responses []*raftpb.Message
}

// applying is an Apply on its way through the store.
type applying struct {
	last, lastTerm uint64
	count          int
	bytes          int
	response       *raftpb.Message
}

func (s *storing) init(cfg Config, written *raftpb.HardState) {
	s.written = written
	s.applied, s.appliedTerm = uint64(cfg.State.Applied), cfg.State.Term
	s.durable = s.applied
	s.flushAt, s.appendAt, s.scrubAt = cfg.Now, cfg.Now, cfg.Now
}

// append takes a MsgStorageAppend.
func (c *Core) append(m *raftpb.Message) {
	must(m.GetSnapshot() == nil, "raft asked to install a snapshot")
	c.placeProposals(m.GetEntries())
	var hs *raftpb.HardState
	if m.Term != nil {
		hs = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	vote := hs != nil && (hs.GetTerm() != c.written.GetTerm() || hs.GetVote() != c.written.GetVote())
	if hs != nil {
		c.written, c.hardState = hs, hs
	}
	if len(m.GetEntries()) > 0 || vote {
		c.emitAppend(m.GetEntries(), true)
	}
	// Responses speak for everything appended before them; raft asks for no
	// durability of a commit index, so that alone waits for the next Append.
	if n := len(c.appends); n > 0 {
		c.appends[n-1].responses = append(c.appends[n-1].responses, m.GetResponses()...)
		return
	}
	c.respond(m.GetResponses())
}

func (c *Core) emitAppend(ents []*raftpb.Entry, sync bool) {
	c.appendSeq++
	c.appends = append(c.appends, appending{seq: c.appendSeq, entries: ents})
	c.emit(Append{Seq: c.appendSeq, Batch: wal.Batch{HardState: c.hardState, Entries: ents, Sync: sync}})
	c.hardState = nil
	c.appendAt, c.unproven = c.now, true
}

func (c *Core) appended(in Appended) {
	c.full = in.Full
	n := 0
	for n < len(c.appends) && c.appends[n].seq <= in.Seq {
		c.log.append(c.appends[n].entries)
		c.respond(c.appends[n].responses)
		c.appends[n] = appending{}
		n++
	}
	c.appends = c.appends[n:]
}

// respond delivers what raft wanted delivered after a storage write.
func (c *Core) respond(ms []*raftpb.Message) {
	for _, m := range ms {
		if m.GetTo() != c.cfg.ID {
			c.send(transport.Message{To: m.GetTo(), Raft: m})
			continue
		}
		if err := c.raft.Step(m); err != nil {
			panic(fmt.Sprintf("node: raft refused %v from itself: %v", m.GetType(), err))
		}
	}
}

func (c *Core) queueApply(m *raftpb.Message) { c.waiting = append(c.waiting, m) }

// startStorage emits what log and store have room for.
func (c *Core) startStorage() {
	for len(c.waiting) > 0 && c.room(c.waiting[0]) {
		m := c.waiting[0]
		c.waiting[0] = nil
		c.waiting = c.waiting[1:]
		c.emitApply(m)
	}
	old := c.overlayBytes > 0 && c.now-c.flushAt >= c.cfg.FlushInterval
	if !c.flushing && (old || c.overlayBytes >= c.cfg.FlushBytes || (len(c.waiting) > 0 && c.overlayBytes > 0)) {
		c.flushing = true
		c.emit(Flush{})
	}
}

// room says whether the overlay can take what m holds. An apply that is alone is
// always let in: the bound is at least twice the largest command.
func (c *Core) room(m *raftpb.Message) bool {
	used := c.overlayBytes + c.applyBytes
	return used == 0 || used+messageBytes(m) <= c.cfg.MaxOverlayBytes
}

func messageBytes(m *raftpb.Message) int {
	n := 0
	for _, e := range m.GetEntries() {
		n += entryBytes(e)
	}
	return n
}

func (c *Core) emitApply(m *raftpb.Message) {
	ents := make([]fsm.Entry, len(m.GetEntries()))
	for i, e := range m.GetEntries() {
		if e.GetType() != raftpb.EntryNormal {
			c.stop(fmt.Errorf("node: entry %d is a %v, which this version does not know: run the version that wrote it", e.GetIndex(), e.GetType()))
			return
		}
		ents[i] = fsm.Entry{Index: fsm.Index(e.GetIndex()), Term: e.GetTerm(), Data: e.GetData()}
	}
	last := ents[len(ents)-1]
	must(uint64(last.Index) <= c.commit, "apply of %d, committed is %d", last.Index, c.commit)
	a := applying{last: uint64(last.Index), lastTerm: last.Term, count: len(ents), bytes: messageBytes(m), response: m.GetResponses()[0]}
	c.applying = append(c.applying, a)
	c.applyBytes += a.bytes
	c.emit(Apply{Entries: ents})
}

func (c *Core) applyDone(in Applied) {
	must(len(c.applying) > 0, "applied without an Apply")
	a := c.applying[0]
	c.applying[0] = applying{}
	c.applying = c.applying[1:]
	must(len(in.Results) == a.count, "%d results for %d entries", len(in.Results), a.count)
	c.applyBytes -= a.bytes
	c.overlayBytes = in.OverlayBytes
	for _, r := range in.Results {
		must(uint64(r.Index) == c.applied+1, "applied %d after %d", r.Index, c.applied)
		must(r.Term >= c.appliedTerm, "applied term %d after %d", r.Term, c.appliedTerm)
		c.applied = uint64(r.Index)
		if r.Term > c.appliedTerm {
			c.appliedTerm = r.Term
			c.loseCopies()
		}
		c.proposalApplied(r)
	}
	must(c.applied == a.last && c.appliedTerm == a.lastTerm, "applied up to (%d, %d), want (%d, %d)", c.applied, c.appliedTerm, a.last, a.lastTerm)
	if err := c.raft.Step(a.response); err != nil {
		panic(fmt.Sprintf("node: raft refused %v from itself: %v", a.response.GetType(), err))
	}
	c.releaseReads()
}

func (c *Core) flushed(in Flushed) {
	must(c.flushing, "flushed without a Flush")
	must(uint64(in.Index) >= c.durable, "flushed index went back: %d after %d", in.Index, c.durable)
	c.flushing = false
	c.durable = uint64(in.Index)
	c.overlayBytes = in.OverlayBytes
	c.flushAt = c.now
}

func (c *Core) scrubbed(in Scrubbed) {
	c.scrubbing = false
	if in.Err != nil {
		c.stop(fmt.Errorf("node: the scrub found damage; nothing damaged was served; replace this node: %w", in.Err))
	}
}

func (c *Core) tickStorage() {
	// A full disk takes no appends that would tell when it has room again; proofs do.
	if (c.unproven || c.full) && !c.proving && len(c.appends) == 0 && c.now-c.appendAt >= idleBeforeProof {
		if c.hardState != nil {
			c.emitAppend(nil, false)
		}
		c.emit(Prove{})
		c.unproven, c.proving, c.appendAt = false, true, c.now
	}
	if c.cfg.ScrubInterval > 0 && !c.scrubbing && c.now-c.scrubAt >= c.cfg.ScrubInterval {
		c.scrubbing, c.scrubAt = true, c.now
		c.emit(Scrub{Budget: scrubStepBytes})
	}
}
