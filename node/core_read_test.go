package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// TestReadsShareRounds: reads that arrive together are one question to the quorum, at a follower as
// at the leader. With as many questions under way as may be, all that come later wait for one.
func TestReadsShareRounds(t *testing.T) {
	for name, id := range map[string]uint64{"leader": 1, "follower": 2} {
		t.Run(name, func(t *testing.T) {
			seedRaft(t, 1)
			s := newStage(t, 3, false)
			s.elect(s.nodes[0])
			s.run()
			a := s.nodes[id-1]
			answered := 0
			rounds := map[string]bool{} // by their contexts
			asked := func(m *raftpb.Message) {
				switch {
				case m.GetType() == raftpb.MsgReadIndex:
					rounds[string(m.GetEntries()[0].GetData())] = true
				case m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0:
					rounds[string(m.GetContext())] = true
				}
			}
			s.watch = func(at *actor, e Effect) {
				if r, ok := e.(ReadReply); ok {
					require.NoError(t, r.Err)
					answered++
				}
				if sent, ok := e.(Send); ok && at == a {
					asked(sent.Message.Raft)
				}
			}
			ask := func(n int) {
				var reads []Input
				for range n {
					reads = append(reads, ReadIndex{Request: 1, Deadline: a.now + time.Minute})
				}
				s.step(a, reads...)
			}
			ask(100)
			assert.Len(t, rounds, 1)
			s.run()
			assert.Equal(t, 100, answered)

			most := s.settings.withDefaults().MaxReadRounds
			for range most + 50 { // none of them is answered meanwhile
				ask(1)
			}
			assert.Len(t, rounds, 1+most)
			s.run()
			assert.Len(t, rounds, 2+most)
			assert.Equal(t, 100+most+50, answered)
		})
	}
}

// TestTheOnlyVoterDoesNotKnowWhatItCommitted: it starts again and leads, and knows of no more that is committed than was
// durable as such. What it answered before holds all the same: a learner that reads must not hear of less.
func TestTheOnlyVoterDoesNotKnowWhatItCommitted(t *testing.T) {
	seedRaft(t, 1)
	s := newStage(t, 2, false)
	for _, a := range s.nodes {
		a.state.Conf = fsm.ConfState{Voters: []uint64{1}, Learners: []uint64{2}}
		a.flushed = a.state
		s.start(a)
	}
	voter, learner := s.nodes[0], s.nodes[1]
	s.run()
	s.tick(voter, 1)
	s.run()
	require.Equal(t, Leader, voter.core.Status().Role)
	s.cut = learner.id
	s.step(voter, Propose{Request: 1, Command: s.command(), Deadline: voter.now + time.Minute})
	s.run()
	require.Contains(t, s.out.String(), "1 reply 1: applied at index 2\n")

	s.kill(voter)
	s.cut, s.wire = 0, nil
	s.start(voter)
	s.step(voter)
	require.Len(t, voter.appends, 1)
	vote := voter.appends[0].(Append)
	voter.appends = nil
	voter.log.append(vote.Batch)
	s.step(voter, Appended{Seq: vote.Seq})
	require.Equal(t, Leader, voter.core.Status().Role)
	require.Less(t, voter.core.Status().Commit, uint64(2))
	passes := func() {
		for range 20 { // whatever is said; but the disk of the voter takes its time
			s.deliver(func(transport.Message) bool { return true })
			s.disk(learner)
			s.apply(learner)
		}
	}
	passes()
	require.Equal(t, voter.id, learner.core.Status().Leader)
	s.step(learner, ReadIndex{Request: 2, Deadline: learner.now + time.Minute})
	passes()
	require.NotContains(t, s.out.String(), "2 read 2")
	for range 10 {
		s.run()
		s.tick(voter, 1)
		s.tick(learner, 1)
	}
	require.Contains(t, s.out.String(), "2 read 2: at index ", "it asks again")
}
