package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// gathered is a leader whose log is at work on one write while two others have come.
func gathered(t *testing.T, patience time.Duration) (s *stage, a *actor, told map[uint64]int, entries *[]int) {
	seedRaft(t, 1)
	s = newStage(t, 3, false)
	a = s.nodes[0]
	s.elect(a)
	s.run()
	told, entries = map[uint64]int{}, new([]int)
	s.watch = func(by *actor, e Effect) {
		switch e := e.(type) {
		case Append:
			if by == a && len(e.Batch.Entries) > 0 {
				*entries = append(*entries, len(e.Batch.Entries))
			}
		case ProposeReply:
			told[e.Request]++
		default:
		}
	}
	for request := uint64(1); request <= 3; request++ {
		s.step(a, Propose{Request: request, Command: s.command(), Deadline: a.now + patience})
	}
	require.Equal(t, []int{1}, *entries, "two wait for the first")
	return s, a, told, entries
}

// What comes while the leader's log is at work is one append.
func TestWritesGather(t *testing.T) {
	s, _, told, entries := gathered(t, time.Minute)
	s.run()
	assert.Equal(t, []int{1, 2}, *entries)
	assert.Equal(t, map[uint64]int{1: 1, 2: 1, 3: 1}, told)
}

// A disk that takes longer than a tick is not waited for.
func TestWritesGatherForATick(t *testing.T) {
	s, a, told, entries := gathered(t, time.Minute)
	s.tick(a, 1)
	assert.Equal(t, []int{1, 2}, *entries)
	s.run()
	assert.Equal(t, map[uint64]int{1: 1, 2: 1, 3: 1}, told)
}

// A write whose time is up while it gathers is answered once, whatever raft says of the batch then.
func TestAWriteGivenUpWhileItGathered(t *testing.T) {
	_, a, told, _ := gathered(t, time.Nanosecond)
	c := a.core
	waits := []batched{c.batch[0], c.batch[1]}
	a.core.now += time.Millisecond
	c.tickProposals()
	held := c.proposalBytes
	replies := len(c.out)
	for i := range waits {
		c.tell(&waits[i], transport.ForwardReply{Verdict: transport.Overloaded})
	}
	assert.Len(t, c.out, replies, "nobody is told again")
	assert.Equal(t, held, c.proposalBytes)
	assert.Empty(t, told)
}

// behind is a leader whose log is at rest with a write that is not committed, while another one has come.
func behind(t *testing.T) (s *stage, a *actor, told map[uint64]int, entries *[]int) {
	s, a, told, entries = gathered(t, time.Minute)
	s.linger(a)
	s.disk(a)
	require.Equal(t, []int{1, 2}, *entries)
	s.disk(a)
	s.step(a, Propose{Request: 4, Command: s.command(), Deadline: a.now + time.Minute})
	require.Equal(t, []int{1, 2}, *entries, "it waits until those are committed")
	return s, a, told, entries
}

// What gathered is refused if there is no room for it any more by the time that raft would get it.
func TestWhatGatheredNeedsRoom(t *testing.T) {
	s, a, told, entries := gathered(t, time.Minute)
	s.step(a, DiskLow{Low: true})
	require.Len(t, a.core.batch, 2)
	s.run()
	assert.Equal(t, []int{1}, *entries)
	assert.Equal(t, map[uint64]int{1: 1, 2: 1, 3: 1}, told)
	assert.Equal(t, 2, strings.Count(s.out.String(), ErrStorageFull.Error()), s.out.String())
	assert.Zero(t, a.core.batchBytes)
}

// What comes while others are not committed is one append, although the leader's log is at rest.
func TestWritesGatherBehindOthers(t *testing.T) {
	s, a, told, entries := behind(t)
	s.step(a, Propose{Request: 5, Command: s.command(), Deadline: a.now + time.Minute})
	s.run()
	assert.Equal(t, []int{1, 2, 2}, *entries)
	assert.Equal(t, map[uint64]int{1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, told)
	require.True(t, a.lingers)
	s.linger(a)
	assert.Equal(t, []int{1, 2, 2}, *entries, "nothing waits any more")
}

// The moment of a batch that has gone is not that of the next one.
func TestAMomentIsOfItsBatch(t *testing.T) {
	s, a, _, entries := behind(t)
	s.run()
	require.Equal(t, []int{1, 2, 1}, *entries)
	propose := func(request uint64) {
		s.step(a, Propose{Request: request, Command: s.command(), Deadline: a.now + time.Minute})
	}
	propose(5)
	s.disk(a)
	propose(6)
	require.Equal(t, []int{1, 2, 1, 1}, *entries)
	s.linger(a) // of the write that came before
	assert.Equal(t, []int{1, 2, 1, 1}, *entries)
	require.True(t, a.lingers, "it has a moment of its own")
	s.linger(a)
	assert.Equal(t, []int{1, 2, 1, 1, 1}, *entries)
	assert.False(t, a.lingers, "nothing waits")
}

// Others that are far away are not waited for longer than a moment.
func TestWritesGatherForAMoment(t *testing.T) {
	s, a, told, entries := behind(t)
	s.linger(a)
	assert.Equal(t, []int{1, 2, 1}, *entries)
	assert.Empty(t, told, "nothing is committed")
	s.disk(a)
	s.step(a, Propose{Request: 5, Command: s.command(), Deadline: a.now + time.Minute})
	assert.Equal(t, []int{1, 2, 1}, *entries, "the next one waits for a moment of its own")
	s.linger(a)
	assert.Equal(t, []int{1, 2, 1, 1}, *entries)
}

// What gathered at a leader that gives up leading for an image is refused, for certain: who forwarded it asks elsewhere at once.
func TestWhatGatheredIsRefusedForAnImage(t *testing.T) {
	s, a, _, entries := gathered(t, time.Minute)
	c := a.core
	forward := &transport.Forward{Addressee: a.incarnation, Incarnation: 1, Seq: 1, Attempt: 1, Command: s.command()}
	fsm.SetOrigin(forward.Command, fsm.Origin{Node: 2, Incarnation: 1, Seq: 1})
	s.step(a, Receive{transport.Message{From: 2, To: 1, Forward: forward}})
	require.Len(t, c.batch, 3)
	s.step(a, Damaged{Err: errors.New("a record's checksum does not match")})
	require.Len(t, c.batch, 3)
	require.Equal(t, Leader, c.role, "it has not handed over yet")
	c.incoming = &incoming{phase: imageVerified, index: c.commit}
	c.out = c.out[:0]
	c.decideImage()
	require.True(t, c.frozen())
	assert.Empty(t, c.batch)
	var told []transport.ForwardReply
	for _, e := range c.out {
		if send, ok := e.(Send); ok && send.Message.ForwardReply != nil {
			told = append(told, *send.Message.ForwardReply)
		}
	}
	require.Len(t, told, 1)
	assert.Equal(t, transport.NotLeader, told[0].Verdict)
	s.tick(a, 1)
	assert.Equal(t, []int{1}, *entries, "none of it went to the log")
}
