package node

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// names are the stages that a write passed, in the order that they began.
func (s *Stages) names() (out []Stage) {
	s.Each(func(stage Stage, _, _ time.Duration) { out = append(out, stage) })
	return out
}

// TestStages: each node that accepts a write tells where its time went, the leader or not.
func TestStages(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	leader := c.leader()
	for _, name := range []string{leader, c.follower()} {
		var s Stages
		began := time.Now()
		_, err := c.runners[name].Propose(WithStages(t.Context(), &s), put("by/"+name, "1"))
		require.NoError(t, err)
		want := []Stage{StageQueue, StageAppend, StageReplicate, StageApply}
		if name != leader {
			want = []Stage{StageQueue, StageForward, StageAppend, StageReplicate, StageApply}
		}
		assert.Equal(t, want, s.names())
		assert.NotZero(t, s.Index)
		assert.WithinRange(t, s.Accepted, began, time.Now())
		s.Each(func(stage Stage, from, to time.Duration) {
			assert.LessOrEqual(t, from, to, stage)
			assert.LessOrEqual(t, to, s.Answered, stage)
		})
		assert.LessOrEqual(t, s.Taken, s.Placed)
		assert.LessOrEqual(t, s.Placed, s.Committed)
	}
}

// TestStagesOfAWriteThatFails ends with what was seen; who goes away is told nothing.
func TestStagesOfAWriteThatFails(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	r := c.runners[c.leader()]
	c.mesh.isolate(r.Status().ID, true)
	var s Stages
	gone, leave := context.WithCancel(WithStages(t.Context(), &s))
	go leave()
	_, err := r.Propose(gone, put("a", "1"))
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, s)

	ctx, cancel := context.WithTimeout(WithStages(t.Context(), &s), 200*time.Millisecond)
	defer cancel()
	_, err = r.Propose(ctx, put("a", "2"))
	require.Error(t, err)
	assert.NotContains(t, s.names(), StageApply)
	assert.NotContains(t, s.names(), StageReplicate)
}

// step is a core's step as the loop shows it to timing.
type step struct {
	g  timing
	st Status
}

func newStep() *step {
	s := &step{st: Status{ID: 1, Incarnation: 3}}
	s.g.init()
	return s
}

func (s *step) commandOf(seq uint64) []byte {
	b, _ := put("k", "v").Encode()
	fsm.SetOrigin(b, fsm.Origin{Node: s.st.ID, Incarnation: s.st.Incarnation, Seq: seq})
	return b
}

func (s *step) propose(request, seq uint64) *timed {
	t := &timed{Stages: Stages{Accepted: time.Now()}}
	s.g.take(request, t)
	s.g.saw(&s.st, []Input{Propose{Request: request, Command: s.commandOf(seq)}}, nil)
	return t
}

func (s *step) append(seq, index uint64, commands ...[]byte) {
	var ents []*raftpb.Entry
	for i, b := range commands {
		at := index + uint64(i)
		ents = append(ents, &raftpb.Entry{Index: &at, Data: b})
	}
	s.g.saw(&s.st, nil, []Effect{Append{Seq: seq, Batch: wal.Batch{Entries: ents}}})
}

// TestStagesOfAnEntryThatIsOvertaken: what the next leader's entries displace is neither synced
// nor committed where it was.
func TestStagesOfAnEntryThatIsOvertaken(t *testing.T) {
	s := newStep()
	w := s.propose(7, 1)
	other := s.propose(8, 2)
	s.append(1, 10, []byte("x"), s.commandOf(1), s.commandOf(2))
	assert.Equal(t, uint64(11), w.Index)
	s.append(2, 11, []byte("y"))
	assert.Zero(t, w.Index)
	s.g.saw(&s.st, []Input{Appended{Seq: 2}}, nil)
	s.st.Commit = 11
	s.g.saw(&s.st, nil, nil)
	assert.Zero(t, w.Appended)
	assert.Zero(t, w.Committed)

	s.append(3, 12, s.commandOf(1), s.commandOf(1))
	assert.Equal(t, uint64(12), w.Index, "of two copies the first counts")
	s.g.saw(&s.st, []Input{Appended{Seq: 3}}, nil)
	s.st.Commit = 12
	s.g.saw(&s.st, nil, []Effect{ProposeReply{Request: 7}})
	assert.Equal(t, []Stage{StageQueue, StageAppend, StageReplicate, StageApply}, w.names())
	assert.Equal(t, []Stage{StageQueue}, other.names())

	answered := w.Stages
	s.append(4, 12, []byte("z"))
	assert.Equal(t, answered, w.Stages, "it is the caller's")
	s.g.saw(&s.st, nil, []Effect{ProposeReply{Request: 8, Err: &WriteError{}}, ProposeReply{Request: 9}})
	assert.Zero(t, s.g.open)
	assert.Empty(t, s.g.requests)
	assert.Empty(t, s.g.seqs)
	assert.Empty(t, s.g.committing)
}

// TestStagesOfAForward: the leader's word counts for this incarnation's writes, as does the entry.
func TestStagesOfAForward(t *testing.T) {
	s := newStep()
	w := s.propose(7, 1)
	s.g.saw(&s.st, nil, []Effect{Send{Message: transport.Message{Forward: &transport.Forward{Seq: 1}}}})
	assert.NotZero(t, w.Sent)
	reply := func(r transport.ForwardReply) {
		r.Seq = 1
		s.g.saw(&s.st, []Input{Receive{Message: transport.Message{ForwardReply: &r}}}, nil)
	}
	reply(transport.ForwardReply{Origin: 3, Verdict: transport.NotLeader})
	reply(transport.ForwardReply{Origin: 2, Verdict: transport.Accepted})
	assert.Zero(t, w.Placed)
	reply(transport.ForwardReply{Origin: 3, Verdict: transport.Accepted})
	assert.NotZero(t, w.Placed)
	assert.Equal(t, []Stage{StageQueue, StageForward}, w.names())
}

// TestCopies: a node tells what it did for the traced writes of others, once that is done.
func TestCopies(t *testing.T) {
	s := newStep()
	var told []Copied
	s.g.onCopy = func(c *Copied) { told = append(told, *c) }
	traced := func(node, seq uint64, flags byte) []byte {
		cmd := put("k", "v")
		cmd.Trace = fsm.Trace{ID: [16]byte{1}, Span: [8]byte{byte(seq)}, Flags: flags}
		b, err := cmd.Encode()
		require.NoError(t, err)
		fsm.SetOrigin(b, fsm.Origin{Node: node, Incarnation: s.st.Incarnation, Seq: seq})
		return b
	}
	s.append(1, 10, traced(2, 1, 1), traced(2, 2, 0), traced(s.st.ID, 3, 1), traced(2, 4, 1))
	s.append(2, 13, []byte("displaces 4"))
	assert.Empty(t, told)
	s.g.saw(&s.st, []Input{Appended{Seq: 2}}, nil)
	require.Len(t, told, 1, "not its own, not what is not sampled, not what was displaced")
	assert.Equal(t, uint64(10), told[0].Index)
	assert.Equal(t, fsm.Trace{ID: [16]byte{1}, Span: [8]byte{1}, Flags: 1}, told[0].Trace)
	assert.False(t, told[0].Appended.Before(told[0].Appending))
	assert.True(t, told[0].Committed.IsZero(), "a follower does not replicate")

	s.st.Role = Leader
	s.append(3, 14, traced(2, 5, 1))
	s.g.saw(&s.st, []Input{Appended{Seq: 3}}, nil)
	assert.Len(t, told, 1)
	s.st.Commit = 14
	s.g.saw(&s.st, nil, nil)
	require.Len(t, told, 2)
	assert.True(t, told[1].Led)
	assert.False(t, told[1].Committed.IsZero())
	assert.Empty(t, s.g.copies)

	for i := range uint64(maxCopies + 1) {
		s.append(4+i, 15+i, traced(2, 6+i, 1))
	}
	assert.Len(t, s.g.copies, maxCopies)
}

// TestNothingIsTimedUnasked: a write that nobody asked about costs no allocation here.
func TestNothingIsTimedUnasked(t *testing.T) {
	s := newStep()
	ins := []Input{Propose{Request: 1, Command: s.commandOf(1)}, Appended{Seq: 1}}
	effects := []Effect{ProposeReply{Request: 1}}
	assert.Zero(t, testing.AllocsPerRun(100, func() { s.g.saw(&s.st, ins, effects) }))
	assert.Empty(t, s.g.seqs)
}
