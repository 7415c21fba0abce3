package node

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// newcomer is the fourth node of a stage of three: its log is from the first index on, and its store is to come.
func (s *stage) newcomer() *actor {
	a := &actor{id: 4, log: &memLog{}, state: s.nodes[0].state, damaged: errNewMember}
	a.state.Members = append(a.state.Members[:3:3], fsm.Member{RaftID: 4, Want: fsm.Learner, Life: fsm.Life{1}, Version: fsm.Version})
	a.state.LastRaftID = 4
	for i := range uint64(5) {
		a.log.entries = append(a.log.entries, &raftpb.Entry{Index: new(i + 1), Term: new(uint64(1))})
	}
	a.hard = &raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(5))}
	s.nodes = append(s.nodes, a)
	s.start(a)
	return a
}

// TestANewMemberTakesNoImageFromBeforeItsTime: whoever it asks may be so far behind, or have flushed so long ago, that its
// store does not know of the new member. Installed, it would say that this one was removed, for ever.
func TestANewMemberTakesNoImageFromBeforeItsTime(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.newcomer()
	before := s.nodes[0].state
	before.Applied, before.Term = 3, 1
	a.core.incoming = &incoming{from: 2, incarnation: 1, transfer: 1, index: 3, phase: imageVerifying}
	s.step(a, ImageVerified{State: before})
	require.NotContains(t, s.out.String(), "installs")
	require.Contains(t, s.out.String(), "4 to 2: image 1 refused from 0 on\n")
	require.NoError(t, a.core.err)

	s.wire, s.out = nil, strings.Builder{}
	s.tick(a, 50)
	require.Contains(t, s.out.String(), "4 to 1: asks for an image", "it asks on")
	after := a.state
	after.Applied, after.Term = 4, 1
	a.core.incoming, a.image = &incoming{from: 1, incarnation: 1, transfer: 1, index: 4, phase: imageVerifying}, &after
	s.step(a, ImageVerified{State: after})
	s.apply(a)
	require.Contains(t, s.out.String(), "4 installs 4\n")
	require.NoError(t, a.core.err)
}

// TestAnImageThatDoesNotKnowWhoAsksIsNotSent: neither before the members have changed here, nor before the store
// has that.
func TestAnImageThatDoesNotKnowWhoAsksIsNotSent(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.nodes[0]
	a.core.durable = 3
	ask := func() (opened bool) {
		for _, e := range a.core.Step(Receive{transport.Message{From: 4, To: 1, ImageRequest: &transport.ImageRequest{}}}) {
			if _, ok := e.(OpenImage); ok {
				opened = true
			}
		}
		return opened
	}
	assert.False(t, ask())
	a.core.conf.Learners, a.core.confIndex = []uint64{4}, 5
	a.core.cfg.Checks = false // raft knows nothing of it
	assert.False(t, ask())
	a.core.durable = 5
	assert.True(t, ask())
}

// TestWhoLeftSaysWhatIsCommitted: the last leader had sent the one that left more than its own disk took, and with its memory
// it lost that the step was committed. It needs the vote of the one that left, and does not get it.
func TestWhoLeftSaysWhatIsCommitted(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 2, false)
	left, gone := s.nodes[0], s.nodes[1]
	for i, a := range s.nodes {
		for i := range uint64(5 + i) {
			a.log.entries = append(a.log.entries, &raftpb.Entry{Index: new(i + 1), Term: new(uint64(1))})
		}
		a.log.entries[4].Type, a.log.entries[4].Data = raftpb.EntryConfChangeV2.Enum(), encodeConf(&fsm.ConfChange{Leave: true}, false)
		a.state.Conf = fsm.ConfState{Voters: []uint64{1}, VotersOutgoing: []uint64{1, 2}}
		a.state.Members[1].Want = fsm.Gone
		a.state.Applied, a.state.Term = 4, 1
		a.hard = &raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(4))}
	}
	gone.state.Conf.VotersOutgoing, gone.state.Applied, gone.hard.Commit = nil, 5, new(uint64(5))
	s.start(left)
	s.start(gone)
	s.watch = func(a *actor, _ Effect) {
		assert.NotEqual(t, gone.id, a.core.leader, "who says what is committed is not taken for the leader")
	}
	for range 20 * 10 {
		s.tick(left, 1)
		s.tick(gone, 1)
		s.run()
	}
	assert.Equal(t, Leader, left.core.Status().Role)
	assert.Equal(t, fsm.ConfState{Voters: []uint64{1}}, left.core.conf)
}

// TestAWordOnWhatIsCommittedOfAnotherLog teaches nothing: the entry here is another one, or not here.
func TestAWordOnWhatIsCommittedOfAnotherLog(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.nodes[0]
	for i := range uint64(5) {
		a.log.entries = append(a.log.entries, &raftpb.Entry{Index: new(i + 1), Term: new(uint64(2))})
	}
	a.hard = &raftpb.HardState{Term: new(uint64(2)), Commit: new(uint64(1))}
	s.start(a)
	welcome := func(life fsm.Life, commit, term uint64) {
		s.step(a, Receive{transport.Message{From: 2, To: 1, ClaimReply: &transport.ClaimReply{
			Life: life, Verdict: transport.ClaimWelcome, Last: 3, Commit: commit, CommitTerm: term,
		}}})
	}
	welcome(fsm.Life{1}, 4, 1)
	welcome(fsm.Life{1}, 6, 2)
	welcome(fsm.Life{2}, 4, 2)
	assert.EqualValues(t, 1, a.core.commit)
	welcome(fsm.Life{1}, 4, 2)
	assert.EqualValues(t, 4, a.core.commit)
	assert.Zero(t, a.core.leader)
}

// TestAnImageBringsAnotherConfiguration: from the moment that raft took the image until it is installed.
func TestAnImageBringsAnotherConfiguration(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.newcomer()
	after := a.state
	after.Applied, after.Term = 9, 1
	after.Conf.Learners = []uint64{4}
	a.core.incoming, a.image = &incoming{from: 1, incarnation: 1, transfer: 1, term: 1, index: 9, phase: imageVerifying}, &after
	s.step(a, ImageVerified{State: after})
	s.tick(a, 1)
	s.run()
	require.Contains(t, s.out.String(), "4 installs 9\n")
}

// TestAStepIsAppliedBesideAnImage: raft took the image while the store was at work on a step of the configuration that is
// in the image. Raft is further than that by then.
func TestAStepIsAppliedBesideAnImage(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.nodes[2]
	for i := range uint64(5) {
		a.log.entries = append(a.log.entries, &raftpb.Entry{Index: new(i + 1), Term: new(uint64(1))})
	}
	a.log.entries[4].Type, a.log.entries[4].Data = raftpb.EntryConfChangeV2.Enum(), encodeConf(&fsm.ConfChange{Learners: []uint64{4}}, true)
	a.hard = &raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(5))}
	s.start(a)
	s.step(a)
	require.Len(t, a.applies, 1)

	at5 := a.state
	at5.Applied, at5.Term, at5.Conf.Learners, at5.LastRaftID = 5, 1, []uint64{4}, 4
	at5.Members = append(at5.Members[:3:3], fsm.Member{RaftID: 4, Want: fsm.Voter, Life: fsm.Life{1}, Version: fsm.Version})
	at9 := at5
	at9.Applied, at9.Conf = 9, fsm.ConfState{Voters: []uint64{1, 2, 3, 4}, VotersOutgoing: []uint64{1, 2, 3}}
	a.core.incoming, a.image = &incoming{from: 1, incarnation: 1, transfer: 1, term: 1, index: 9, phase: imageVerifying}, &at9
	s.step(a, ImageVerified{State: at9})

	a.applies = nil
	results := []fsm.Result{{Outcome: fsm.Empty}, {Outcome: fsm.Empty}, {Outcome: fsm.Empty}, {Outcome: fsm.Empty}, {Outcome: fsm.ConfChanged, Conf: &at5.Conf}}
	for i := range results {
		results[i].Index, results[i].Term = fsm.Index(i+1), 1
	}
	s.step(a, Applied{Results: results, State: at5})
	s.disk(a)
	s.apply(a)
	require.Contains(t, s.out.String(), "3 installs 9\n")
	require.Equal(t, at9.Conf, a.core.conf)
	s.tick(a, 1)
}

// TestNodesThatAllDrainDoNotPassLeadershipAround: somebody must lead, and writes go on.
func TestNodesThatAllDrainDoNotPassLeadershipAround(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	s.elect(s.nodes[0])
	for _, a := range s.nodes {
		s.step(a, Drain{On: true})
	}
	terms := s.nodes[0].core.Status().Term
	for range 60 * 20 {
		for _, a := range s.nodes {
			s.tick(a, 1)
		}
		s.run()
	}
	assert.Less(t, s.nodes[0].core.Status().Term-terms, uint64(20), "in a minute")

	for _, a := range s.nodes[1:] {
		s.step(a, Drain{})
	}
	for range 60 * 20 {
		for _, a := range s.nodes {
			s.tick(a, 1)
		}
		s.run()
	}
	assert.Equal(t, Follower, s.nodes[0].core.Status().Role, "it is still to lead no more")
}

// TestLeadershipComesToWhoDoesNotDrain, also if several do.
func TestLeadershipComesToWhoDoesNotDrain(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	s.elect(s.nodes[0])
	s.step(s.nodes[1], Drain{On: true})
	s.step(s.nodes[0], Drain{On: true})
	for range 3 * 20 {
		for _, a := range s.nodes {
			s.tick(a, 1)
		}
		s.run()
	}
	assert.Equal(t, Leader, s.nodes[2].core.Status().Role, "within three seconds")
}

// TestAReceiverThatStartedAgainSaysSo: the sender goes back to what the process before it had on its disk, and would for as long as
// a transfer may stand still.
func TestAReceiverThatStartedAgainSaysSo(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 3, false)
	a := s.nodes[1]
	piece := func(offset uint64) {
		m := &transport.Image{Incarnation: 1, Transfer: 7, Term: 5, Index: 100, Size: 3000, Offset: offset, Data: make([]byte, 1000)}
		m.Sum = imageSum(m)
		s.step(a, Receive{transport.Message{From: 1, To: 2, Image: m}})
	}
	repeat := int(a.core.imageRepeat()/a.core.cfg.TickInterval) + 1
	piece(2000)
	s.tick(a, repeat)
	piece(2000)
	require.NotContains(t, s.out.String(), "refused", "the first one may have been lost")
	s.tick(a, repeat)
	piece(2000)
	require.Contains(t, s.out.String(), "2 to 1: image 7 refused from 0 on\n")
	require.Nil(t, a.core.incoming)
}
