package node

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// Stage is a part of a write's way through the node that accepted it.
type Stage string

// The stages. Replicate and append overlap: the leader sends an entry while it writes it.
const (
	// StageQueue: until the node's loop took the write.
	StageQueue Stage = "queue"
	// StageForward: until a place in the log of the leader, which is another node, is known.
	StageForward Stage = "forward"
	// StageAppend: until this node's own log has it, synced.
	StageAppend Stage = "append"
	// StageReplicate: from its place in the leader's log until this node knows that a quorum has it.
	StageReplicate Stage = "replicate"
	// StageApply: from then on, until this node's store has it.
	StageApply Stage = "apply"
)

// Stages is when a write passed what it passes, as the node that accepted it saw it: each counted
// from Accepted, and 0 if it did not pass there or the node did not see it.
type Stages struct {
	Accepted time.Time
	// Taken is when the loop took it.
	Taken time.Duration
	// Sent is when it was first sent to the leader; 0 if this node led.
	Sent time.Duration
	// Placed is when a place in the leader's log was known: the leader said so, or sent the entry.
	Placed time.Duration
	// Appending is when the entry was handed to this node's log, Appended when it was synced there.
	Appending, Appended time.Duration
	// Committed is when this node knew that it is committed.
	Committed time.Duration
	// Answered is when it was applied here, or given up.
	Answered time.Duration
	// Index is its place in the log as this node has it; 0 if it has none.
	Index uint64
}

// Each calls f for each stage that the write passed to its end, with when it began and ended.
func (s *Stages) Each(f func(stage Stage, from, to time.Duration)) {
	pass := func(stage Stage, from, to time.Duration) {
		if to > 0 {
			f(stage, min(from, to), to)
		}
	}
	pass(StageQueue, 0, s.Taken)
	if s.Sent > 0 {
		pass(StageForward, s.Sent, s.Placed)
	}
	pass(StageAppend, s.Appending, s.Appended)
	pass(StageReplicate, s.Placed, s.Committed)
	if s.Committed > 0 {
		pass(StageApply, max(s.Committed, s.Appended), s.Answered)
	}
}

// Copied is what a node did for a traced write that another one had accepted, or an earlier life of
// this one.
type Copied struct {
	Trace fsm.Trace
	Index uint64
	// Led: this node led, and had the write replicated.
	Led bool
	// Appending is when the entry was handed to this node's log, Appended when it was synced there.
	Appending, Appended time.Time
	// Committed is when this node, if it led, knew that it is committed.
	Committed time.Time
}

type stagesKey struct{}

// WithStages has Propose tell in s how the write went, if it is answered before ctx ends.
func WithStages(ctx context.Context, s *Stages) context.Context {
	return context.WithValue(ctx, stagesKey{}, s)
}

// timed is a write whose stages somebody wants to know. The loop's until it is answered.
type timed struct {
	Stages
	seq    uint64
	append uint64 // the Append that has its entry; 0: none
	done   bool   // answered: Stages are the caller's
}

// passed stamps what was not passed before.
func (t *timed) passed(at *time.Duration, now time.Time) {
	if *at == 0 && !t.done {
		*at = max(now.Sub(t.Accepted), 1)
	}
}

// timing is the loop's side of stages. It sees what goes into the core and comes out of it, and
// does nothing while there is nobody to do it for.
type timing struct {
	open     int // writes that are timed and not answered
	requests map[uint64]*timed
	seqs     map[uint64]*timed
	// Entries of timed writes, in the order of the log: those not synced, those not committed.
	appending, committing []timedEntry

	onCopy func(*Copied) // nil: nobody asks
	copies []copied      // in the order of the log
}

// copied is a Copied on its way.
type copied struct {
	Copied
	append uint64
}

type timedEntry struct {
	*timed
	append, index uint64
}

func (g *timing) init() {
	g.requests, g.seqs = make(map[uint64]*timed), make(map[uint64]*timed)
}

// maxCopies bounds the copies that are timed at once: of a leader that is cut off, nothing is
// committed any more. Those beyond are not told of.
const maxCopies = 1024

// take begins to time a request that the core is about to be given.
func (g *timing) take(request uint64, t *timed) {
	g.open++
	g.requests[request] = t
	t.passed(&t.Taken, time.Now())
}

// saw takes what one step of the core, whose status is st, took and asked for.
func (g *timing) saw(st *Status, ins []Input, effects []Effect) {
	if g.open == 0 && g.onCopy == nil {
		return
	}
	now := time.Now()
	for _, in := range ins {
		switch in := in.(type) {
		case Propose:
			if t, o := g.requests[in.Request], originOf(in.Command); t != nil && o.Node != 0 {
				t.seq = o.Seq
				g.seqs[o.Seq] = t
			}
		case Receive:
			if r := in.Message.ForwardReply; r != nil && r.Verdict == transport.Accepted && r.Origin == st.Incarnation {
				if t := g.seqs[r.Seq]; t != nil {
					t.passed(&t.Placed, now)
				}
			}
		case Appended:
			g.appended(in.Seq, now)
		default: // moves no write on by itself
		}
	}
	for _, e := range effects {
		switch e := e.(type) {
		case Send:
			if f := e.Message.Forward; f != nil {
				if t := g.seqs[f.Seq]; t != nil {
					t.passed(&t.Sent, now)
				}
			}
		case Append:
			g.append(st, e, now)
		case ProposeReply:
			g.answered(st, e.Request, now)
		default:
		}
	}
	g.committed(st.Commit, now)
	g.tellCopies(st.Commit, now)
}

func originOf(command []byte) fsm.Origin {
	o, _ := fsm.OriginOf(command) // a command that has none is of node 0
	return o
}

// append sees entries on their way to the log: what was there from the first of them on is gone.
func (g *timing) append(st *Status, e Append, now time.Time) {
	ents := e.Batch.Entries
	if len(ents) == 0 {
		return
	}
	for n := len(g.committing) - 1; n >= 0 && g.committing[n].index >= ents[0].GetIndex(); n-- {
		if t := g.committing[n].timed; !t.done {
			t.append, t.Index, t.Appending, t.Appended = 0, 0, 0, 0
		}
		g.committing = g.committing[:n]
	}
	for n := len(g.copies) - 1; n >= 0 && g.copies[n].Index >= ents[0].GetIndex(); n-- {
		g.copies = g.copies[:n]
	}
	for _, ent := range ents {
		o := originOf(ent.GetData())
		if o.Node != st.ID || o.Incarnation != st.Incarnation {
			if g.onCopy != nil {
				g.copy(st, e.Seq, ent, now)
			}
			continue
		}
		t := g.seqs[o.Seq]
		if t == nil || t.append != 0 { // of two copies the first is applied
			continue
		}
		t.append, t.Index = e.Seq, ent.GetIndex()
		t.passed(&t.Placed, now)
		t.passed(&t.Appending, now)
		at := timedEntry{timed: t, append: e.Seq, index: t.Index}
		g.appending, g.committing = append(g.appending, at), append(g.committing, at)
	}
}

// copy begins to time an entry of another node's.
func (g *timing) copy(st *Status, seq uint64, ent *raftpb.Entry, now time.Time) {
	if trace, ok := fsm.SampledTraceOf(ent.GetData()); ok && len(g.copies) < maxCopies {
		g.copies = append(g.copies, copied{append: seq, Copied: Copied{Trace: trace, Index: ent.GetIndex(), Led: st.Role == Leader, Appending: now}})
	}
}

// tellCopies tells of the entries of other nodes of which all is known.
func (g *timing) tellCopies(commit uint64, now time.Time) {
	kept := g.copies[:0]
	for _, c := range g.copies {
		if c.Led && c.Committed.IsZero() && c.Index <= commit {
			c.Committed = now
		}
		if c.Appended.IsZero() || c.Led && c.Committed.IsZero() {
			kept = append(kept, c)
			continue
		}
		g.onCopy(&c.Copied)
	}
	g.copies = kept
}

func (g *timing) appended(seq uint64, now time.Time) {
	for i := range g.copies {
		if c := &g.copies[i]; c.append <= seq && c.Appended.IsZero() {
			c.Appended = now
		}
	}
	n := 0
	for ; n < len(g.appending) && g.appending[n].append <= seq; n++ {
		if at := g.appending[n]; at.timed.append == at.append {
			at.passed(&at.Appended, now)
		}
	}
	g.appending = slices.Delete(g.appending, 0, n)
}

func (g *timing) committed(commit uint64, now time.Time) {
	n := 0
	for ; n < len(g.committing) && g.committing[n].index <= commit; n++ {
		g.committing[n].passed(&g.committing[n].Committed, now)
	}
	g.committing = slices.Delete(g.committing, 0, n)
}

// answered ends the timing of a request, if it was timed: from then on it is the caller's.
func (g *timing) answered(st *Status, request uint64, now time.Time) {
	t := g.requests[request]
	if t == nil {
		return
	}
	g.committed(st.Commit, now) // it may be known only since this step
	t.passed(&t.Answered, now)
	t.done = true
	delete(g.requests, request)
	delete(g.seqs, t.seq)
	if g.open--; g.open == 0 {
		clear(g.appending)
		clear(g.committing)
		g.appending, g.committing = g.appending[:0], g.committing[:0]
	}
}
