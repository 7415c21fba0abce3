package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// manyGathered is a leader whose log holds many writes that are not committed, while one more has come.
func manyGathered(t *testing.T, many int) (s *stage, a *actor, told map[uint64]int, entries *[]int) {
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
	propose := func(requests ...uint64) {
		var ins []Input
		for _, request := range requests {
			ins = append(ins, Propose{Request: request, Command: s.command(), Deadline: a.now + time.Minute})
		}
		s.step(a, ins...)
	}
	var first []uint64
	for n := range many {
		first = append(first, uint64(n+1))
	}
	propose(first...)
	s.disk(a)
	propose(uint64(many + 1))
	return s, a, told, entries
}

// While many writes are not committed what comes is one append, although the leader's log is at rest.
func TestWritesGatherBehindMany(t *testing.T) {
	s, _, told, entries := manyGathered(t, gatherBehind)
	require.Equal(t, []int{gatherBehind}, *entries, "one waits for them")
	s.run()
	assert.Equal(t, []int{gatherBehind, 1}, *entries)
	assert.Len(t, told, gatherBehind+1)
}

// Others that are further away than a tick are not waited for.
func TestWritesGatherBehindManyForATick(t *testing.T) {
	s, a, _, entries := manyGathered(t, gatherBehind)
	s.tick(a, 1)
	assert.Equal(t, []int{gatherBehind, 1}, *entries)
}

// Where few are under way each is sent at once: several appends are on their way at a time.
func TestFewWritesDoNotGather(t *testing.T) {
	_, _, told, entries := manyGathered(t, gatherBehind-1)
	assert.Equal(t, []int{gatherBehind - 1, 1}, *entries)
	assert.Empty(t, told)
}
