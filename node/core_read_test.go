package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
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
