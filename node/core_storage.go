package node

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
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
	full      bool              // the log has no room
	low       bool              // the disk has less than its floor
	appendAt  time.Duration     // of the last Append
	unproven  bool              // something was appended since the last Prove
	proving   bool
	roomAt    time.Duration // when it was last looked for room on the disk

	waiting      []*raftpb.Message // MsgStorageApply, less what is applied of the first
	applying     int               // how many entries of them are with the store
	applied      uint64
	appliedTerm  uint64
	hash         [32]byte // the state's at applied
	overlayBytes int
	tight        bool // Applied.Tight, as it was last

	durable     uint64
	durableTerm uint64
	previous    uint64 // what the commit of the database before that held; bbolt may fall back to it
	flushing    bool
	flushAt     time.Duration // when the last flush ended
	flushRest   time.Duration // how long after it the next one is due
	flushWanted uint64        // FlushNow: the database is to hold this index
	truncating  bool

	// installing: the image takes the store's place. Until then, from the moment that
	// raft or a rebuild took it, nothing more is handed to the store.
	installing bool

	scrubbing bool
	scrubAt   time.Duration
}

// appending is an Append on its way to the disk.
type appending struct {
	seq      uint64
	snapshot *wal.Marker
	entries  []*raftpb.Entry
	// responses leave once it, and all before it, are durable, and the snapshot is installed.
	responses []*raftpb.Message
	at        time.Duration // when it was emitted
	done      bool          // durable; a snapshot before it is not installed yet
}

func (s *storing) init(cfg Config, log *tail) {
	s.written = log.hard
	s.flushAt, s.appendAt, s.scrubAt = cfg.Now, cfg.Now, cfg.Now
	s.flushRest = cfg.FlushInterval
	if cfg.Damaged == nil {
		s.restored(cfg.State)
	}
}

// restored takes what a store holds that was just opened.
func (s *storing) restored(state fsm.State) {
	s.applied, s.appliedTerm, s.hash = uint64(state.Applied), state.Term, state.Hash
	s.durable, s.durableTerm, s.previous = s.applied, s.appliedTerm, 0
	s.overlayBytes = 0
}

// append takes a MsgStorageAppend.
func (c *Core) append(m *raftpb.Message) {
	c.placeProposals(m.GetEntries())
	var hs *raftpb.HardState
	if m.Term != nil {
		hs = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	vote := hs != nil && (hs.GetTerm() != c.written.GetTerm() || hs.GetVote() != c.written.GetVote())
	if hs != nil {
		c.written, c.hardState = hs, hs
	}
	var snapshot *wal.Marker
	if s := m.GetSnapshot().GetMetadata(); s != nil {
		snapshot = &wal.Marker{Index: s.GetIndex(), Term: s.GetTerm(), Conf: s.GetConfState()}
		c.raftTookImage(snapshot)
	}
	if len(m.GetEntries()) > 0 || vote || snapshot != nil {
		c.emitAppend(wal.Batch{Snapshot: snapshot, Entries: m.GetEntries(), Sync: true})
	}
	// Responses speak for everything appended before them; raft asks for no
	// durability of a commit index, so that alone waits for the next Append.
	if n := len(c.appends); n > 0 {
		c.appends[n-1].responses = append(c.appends[n-1].responses, m.GetResponses()...)
		return
	}
	c.respond(m.GetResponses())
}

func (c *Core) emitAppend(b wal.Batch) {
	c.appendSeq++
	b.HardState = c.hardState
	c.appends = append(c.appends, appending{seq: c.appendSeq, at: c.now, snapshot: b.Snapshot, entries: b.Entries})
	c.emit(Append{Seq: c.appendSeq, Batch: b})
	c.hardState = nil
	c.appendAt, c.unproven = c.now, true
}

// noRoom tells whether no writes are taken. What raft needs is written all the same: entries of
// a leader, votes, proofs.
func (c *Core) noRoom() bool { return c.full || c.low }

func (c *Core) appended(in Appended) {
	if in.Full && !c.full {
		c.roomAt = c.now
	}
	c.full = in.Full
	for i := range c.appends {
		if c.appends[i].seq <= in.Seq {
			c.appends[i].done = true
		}
	}
	c.settleAppends()
}

// settleAppends tells raft of what is durable. What follows a snapshot waits until
// that is installed: raft takes the word of the log for all that is before it.
func (c *Core) settleAppends() {
	for len(c.appends) > 0 && c.appends[0].done && c.appends[0].snapshot == nil {
		a := c.appends[0]
		c.appends[0] = appending{}
		c.appends = c.appends[1:]
		c.log.append(a.entries)
		c.respond(a.responses)
	}
}

// respond delivers what raft wanted delivered after a storage write.
func (c *Core) respond(ms []*raftpb.Message) {
	for _, m := range ms {
		if m.GetTo() != c.cfg.ID {
			c.send(transport.Message{To: m.GetTo(), Raft: m})
			continue
		}
		c.stepSelf(m)
	}
}

func (c *Core) queueApply(m *raftpb.Message) { c.waiting = append(c.waiting, m) }

// answerApplies gives raft its own responses to the first n applies. It counts the bytes that it
// handed out, and hands out no more than MaxApplyBytes without a response.
func (c *Core) answerApplies(n int) {
	done := c.waiting[:n]
	c.waiting = c.waiting[n:]
	for i, m := range done {
		done[i] = nil
		c.stepSelf(m.GetResponses()[0])
	}
}

// startStorage emits what log and store have room for.
//
// One Apply is on its way at a time, and the store does as much of it as it has room for: what a
// command costs the overlay, which may be any multiple of its bytes, is known when it is applied.
func (c *Core) startStorage() {
	if c.lost || c.replacing() {
		if !c.swapping {
			c.startInstall()
		}
		return
	}
	full := false
	if c.applying == 0 && len(c.waiting) > 0 {
		if full = c.overlayBytes >= c.overlayShare(c.cfg.MaxOverlayBytes); full {
			c.cfg.mark("apply waits for room in the overlay")
		} else {
			c.emitApply()
		}
	}
	old := c.overlayBytes > 0 && c.now-c.flushAt >= c.flushRest
	many := c.applied-c.durable >= flushEntries // they may all have changed nothing
	// A member that has just come in takes an image only if that knows of it.
	conf := c.confIndex > c.durable && c.applied >= c.confIndex
	wanted := c.flushWanted > c.durable && c.applied > c.durable // a rebuilt store can be behind the wish
	c.startSwap()
	if !c.flushing && !c.swapping && (old || many || conf || wanted || c.overlayBytes >= c.flushBytes() || full) {
		c.flushing = true
		c.emit(Flush{})
	}
}

// flushBytes is the size of the overlay at which this node flushes. It is another one at each, since all apply the same: who flushes
// is slow for a while, and a quorum should not be at once.
func (c *Core) flushBytes() int {
	most := c.overlayShare(c.cfg.FlushBytes)
	return most - most/6*int(2-c.cfg.ID%3)
}

// overlayShare is what is left of n, a size of the overlay: while the disk has little room, or an image is sent, a part.
func (c *Core) overlayShare(n int) int {
	if c.tight || c.outgoing != nil {
		return max(n/tightShare, 1) // with 0 there would always be something to flush
	}
	return n
}

// emitApply has the store do what waits, up to the index at which the replicas' state hashes are to
// be compared. Raft bounds it by MaxApplyBytes.
func (c *Core) emitApply() {
	var ents []fsm.Entry
	c.confs = c.confs[:0]
	for _, m := range c.waiting {
		for _, e := range m.GetEntries() {
			if len(ents) > 0 && c.named == uint64(ents[len(ents)-1].Index) {
				break
			}
			ent := fsm.Entry{Index: fsm.Index(e.GetIndex()), Term: e.GetTerm(), Data: e.GetData()}
			if e.GetType() != raftpb.EntryNormal {
				step, cc, err := confChange(e)
				if err != nil {
					c.stop(err)
					return
				}
				ent.Data, ent.Conf = nil, step
				c.confs = append(c.confs, appliedConf{index: e.GetIndex(), change: cc})
			}
			ents = append(ents, ent)
		}
	}
	last := ents[len(ents)-1]
	must(uint64(last.Index) <= c.commit, "apply of %d, committed is %d", last.Index, c.commit)
	c.applying = len(ents)
	c.emit(Apply{Entries: ents})
}

func (c *Core) applyDone(in Applied) {
	if c.lost {
		return // of the store that is given up
	}
	n := len(in.Results)
	must(0 < n && n <= c.applying, "%d results for %d entries", n, c.applying)
	c.applying = 0
	c.overlayBytes, c.tight = in.OverlayBytes, in.Tight
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
	c.hash = in.State.Hash
	c.membershipApplied(&in.State)
	c.answerApplies(c.dropApplied())
	c.serveAgain()
	c.releaseReads()
	c.digestApplied()
}

// dropApplied takes what is applied from what waits, and returns how many messages that finishes.
func (c *Core) dropApplied() (done int) {
	for _, m := range c.waiting {
		ents := m.GetEntries()
		if last := ents[len(ents)-1]; last.GetIndex() <= c.applied {
			done++
			continue
		}
		if first := ents[0].GetIndex(); first <= c.applied {
			c.waiting[done] = &raftpb.Message{Entries: ents[c.applied+1-first:], Responses: m.GetResponses()}
		}
		break
	}
	return done
}

// stepSelf gives raft a message that it wrote for itself.
func (c *Core) stepSelf(m *raftpb.Message) {
	// A member that has left the configuration, and stays for its vote, is no peer of its own any more.
	if err := c.raft.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
		panic(fmt.Sprintf("node: raft refused %v from itself: %v", m.GetType(), err))
	}
}

func (c *Core) flushed(in Flushed) {
	if c.lost {
		return // of the store that is given up
	}
	must(c.flushing, "flushed without a Flush")
	must(uint64(in.Index) >= c.durable, "flushed index went back: %d after %d", in.Index, c.durable)
	c.flushing = false
	if uint64(in.Index) > c.durable { // else the database committed nothing, and may still fall back as far
		c.previous = c.durable
	}
	c.durable, c.durableTerm = uint64(in.Index), in.Term
	c.overlayBytes = in.OverlayBytes
	c.flushAt = c.now
	c.flushRest = min(max(flushRests*in.Took, c.cfg.FlushInterval), max(c.cfg.FlushInterval, maxFlushInterval))
	c.measure(in.Pages, in.Free-in.Written)
	c.truncate()
	c.offerImage()
}

// truncate gives up what no follower needs and no recovery: bbolt may fall back to
// its previous commit, so the log goes on from there at the latest (protocol.md §4). Raft, too, reads what it does not
// know to be applied: it hears of a part that it handed out only when all of it is.
func (c *Core) truncate() {
	if c.truncating || c.lost || c.replacing() {
		return
	}
	margin := min(uint64(max(c.cfg.CatchUpEntries, 0)), c.previous)
	index := min(max(c.previous-margin, c.log.sizes.enough()), c.previous, c.imageFloor(), c.raft.BasicStatus().Applied)
	if index < c.log.first {
		return
	}
	c.log.giveUp(index)
	c.truncating = true
	c.emit(Truncate{Index: index})
}

func (c *Core) scrubbed(in Scrubbed) {
	c.scrubbing = false
	if in.Err != nil {
		c.damaged(in.Err)
	}
}

func (c *Core) tickStorage() {
	quiet := c.unproven && c.now-c.appendAt >= idleBeforeProof
	// A log with room in its segment does not learn from appends that the disk has room for
	// another one; from a proof it does. Others' writes may never let it come to rest.
	look := c.full && c.now-c.roomAt >= idleBeforeProof
	if (quiet || look) && !c.proving && len(c.appends) == 0 {
		if c.hardState != nil {
			c.cfg.mark("hard state written alone before a proof")
			c.emitAppend(wal.Batch{})
		}
		c.emit(Prove{})
		c.unproven, c.proving, c.roomAt = false, true, c.now
	}
	if c.cfg.ScrubInterval > 0 && !c.scrubbing && !c.lost && !c.replacing() && c.now-c.scrubAt >= c.cfg.ScrubInterval {
		c.scrubbing, c.scrubAt = true, c.now
		c.emit(Scrub{Budget: scrubStepBytes})
	}
}
