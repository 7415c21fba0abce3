package node

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/confman/confman/fsm"
)

// packer is a core alone, and of what it asks for what has to do with its database.
type packer struct {
	t *testing.T
	*Core
}

func newPacker(t *testing.T) packer {
	seedRaft(t, 1)
	s := newStage(t, 1, true)
	s.settings.RepackBytes, s.settings.RepackPause = 100*fsm.PageBytes, time.Minute
	s.settings.ScrubInterval = -1
	s.start(s.nodes[0])
	return packer{t, s.nodes[0].core}
}

func (p packer) step(ins ...Input) (asked []Effect) {
	p.t.Helper()
	for _, e := range p.Step(ins...) {
		switch e := e.(type) {
		case Flush, Repack, Swap:
			asked = append(asked, e)
		case Stop:
			require.NoError(p.t, e.Err)
		default: // of raft
		}
	}
	return asked
}

// after lets time pass.
func (p packer) after(d time.Duration) []Effect {
	p.t.Helper()
	return p.step(Tick{Now: p.now + d})
}

// flush has the core see how much of the database is free.
func (p packer) flush(pages, free int) {
	p.t.Helper()
	p.overlayBytes = p.cfg.FlushBytes
	require.Equal(p.t, []Effect{Flush{}}, p.step())
	require.Empty(p.t, p.step(Flushed{Index: fsm.Index(p.applied), Pages: pages, Free: free}))
}

// What each flush takes of the free pages, and leaves as others, is none that could be given back.
func TestNoRepackOfWhatFlushesUse(t *testing.T) {
	p := newPacker(t)
	p.overlayBytes = p.cfg.FlushBytes
	require.Equal(t, []Effect{Flush{}}, p.step())
	require.Empty(t, p.step(Flushed{Index: fsm.Index(p.applied), Pages: 10_000, Free: 6_000, Written: 5_000}))
	require.Empty(t, p.after(time.Second))
}

// A node whose disk has little room, or that sends an image, flushes little at a time.
func TestFlushesAreSmallWhereThereIsOtherWork(t *testing.T) {
	p := newPacker(t)
	for _, c := range []struct {
		tight bool
		out   *outgoing
		want  []Effect
	}{{}, {tight: true, want: []Effect{Flush{}}}, {out: &outgoing{startedAt: p.now, progressAt: p.now}, want: []Effect{Flush{}}}} {
		p.overlayBytes, p.tight, p.outgoing = p.cfg.FlushBytes/tightShare, c.tight, c.out
		require.Equal(t, c.want, p.step(), "%v", c)
		if c.want != nil {
			require.Empty(t, p.step(Flushed{Index: fsm.Index(p.applied), Pages: 100}), "nothing is left to flush")
		}
	}
	p.tight, p.outgoing, p.cfg.FlushBytes = true, nil, 1
	require.Empty(t, p.step(), "nothing is there to flush")
	p.overlayBytes, p.cfg.FlushBytes, p.waiting = p.cfg.MaxOverlayBytes/tightShare, p.cfg.MaxOverlayBytes, []*raftpb.Message{{}}
	require.Equal(t, []Effect{Flush{}}, p.step(), "what waits to be applied waits for it")
}

// The store says with what it applied whether the disk is tight.
func TestTightDisk(t *testing.T) {
	s := newStage(t, 1, true)
	s.start(s.nodes[0])
	c := s.nodes[0].core
	for _, tight := range []bool{true, false} {
		c.applying = 1
		c.applyDone(Applied{Results: []fsm.Result{{Index: fsm.Index(c.applied + 1), Term: c.appliedTerm}}, Tight: tight})
		require.Equal(t, tight, c.tight)
	}
	r := &Runner{}
	for free, want := range map[int64]bool{-1: true, tightRoom - 1: true, tightRoom: false} {
		r.room.free.Store(free)
		require.Equal(t, want, r.tight(), "%d", free)
	}
}

var aStep = []Effect{Repack{Budget: 1 << 20}}

func TestRepackWhenMostIsFree(t *testing.T) {
	p := newPacker(t)
	for _, c := range []struct{ pages, free int }{{0, 0}, {99, 99}, {100, 50}, {1000, 499}} {
		p.flush(c.pages, c.free)
		assert.Empty(t, p.after(time.Second), "%v", c)
	}
	p.flush(100, 51)
	require.Equal(t, aStep, p.after(time.Second))
	require.Empty(t, p.after(time.Second), "one at a time")
	require.Empty(t, p.step(Repacked{}))
	require.Equal(t, aStep, p.after(time.Second))

	// A flush under way comes first, and the next one waits for the swap.
	p.overlayBytes = p.cfg.FlushBytes
	require.Equal(t, []Effect{Flush{}}, p.step())
	require.Empty(t, p.step(Repacked{Done: true}))
	require.Equal(t, []Effect{Swap{}}, p.step(Flushed{Index: fsm.Index(p.applied), OverlayBytes: p.cfg.FlushBytes, Pages: 100, Free: 60}))
	require.Empty(t, p.after(time.Second))
	require.Equal(t, []Effect{Flush{}}, p.step(Swapped{Pages: 100, Free: 60}))
	require.Empty(t, p.step(Flushed{Index: fsm.Index(p.applied), Pages: 100, Free: 60}))
	require.Empty(t, p.after(time.Second), "not so soon again")
	require.Equal(t, aStep, p.after(time.Minute))
}

func TestRepackThatFails(t *testing.T) {
	p := newPacker(t)
	p.flush(100, 60)
	require.Equal(t, aStep, p.after(time.Second))
	require.Empty(t, p.step(Repacked{Err: errors.New("no room")}))
	require.Empty(t, p.after(time.Hour), "nothing is known of the database by now")
	p.flush(100, 60)
	require.Equal(t, aStep, p.after(time.Second))
}

// While an image is on its way a copy waits, and goes on afterwards.
func TestRepackWaitsForImages(t *testing.T) {
	p := newPacker(t)
	p.flush(100, 60)
	p.outgoing = &outgoing{startedAt: p.now, progressAt: p.now}
	require.Empty(t, p.after(time.Millisecond))
	p.outgoing = nil
	require.Equal(t, aStep, p.after(time.Millisecond))
	p.outgoing = &outgoing{startedAt: p.now, progressAt: p.now}
	require.Empty(t, p.step(Repacked{Done: true}))
	p.outgoing = nil
	require.Equal(t, []Effect{Swap{}}, p.step())
}

// What is still said of a store that was given up is not taken for word of the next one.
func TestRepackOfAStoreThatIsGivenUp(t *testing.T) {
	p := newPacker(t)
	p.flush(100, 60)
	require.Equal(t, aStep, p.after(time.Second))
	p.abandonRepack() // its answer is still to come
	p.flush(100, 60)
	require.Empty(t, p.after(time.Minute))
	require.Empty(t, p.step(Repacked{Done: true}))
	require.Equal(t, aStep, p.after(time.Second))
	require.Empty(t, p.step(Swapped{}), "nobody asked")
	require.Empty(t, p.step(Repacked{}))
	require.Equal(t, aStep, p.after(time.Second))
}
