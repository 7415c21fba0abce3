package jepsen

import (
	"context"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "old-leader-isolated", Number: 1, Needs: []Capability{Cuts}, Lost: true,
		About:  "the leader is cut off from the others, and not from its clients, which go on to ask it for reads, compare-and-sets and a watch; another one leads and acknowledges",
		Script: oldLeaderIsolated,
	})
	scenario(&Scenario{
		Name: "leader-stopped", Number: 2, Lost: true,
		About:  "the leader's process is stopped for longer than two election timeouts, another one leads and acknowledges, and the old one goes on with reads waiting in its queue",
		Script: leaderStopped,
	})
	scenario(&Scenario{
		Name: "slow-disk-leader", Number: 2, Needs: []Capability{DiskFaults}, Lost: true,
		About:  "each sync of the leader's disk takes three seconds more",
		Script: slowDiskLeader,
	})
}

// electionTimeout is the least time without a leader after which a node asks for votes, as of the product's defaults.
const electionTimeout = 500 * time.Millisecond

// oldClients ask a leader that is cut off: each waits until it gives up, and asks again.
const oldClients = 12

func oldLeaderIsolated(ctx context.Context, s *Stage) {
	old := s.leader(ctx)
	others := s.others(old)
	key := s.newKey()
	first := s.put(ctx, old, key)
	s.shown(first.Outcome == linearizability.Applied, "the leader does not write")
	watch := s.watch(ctx, 0, old)
	s.reaches(ctx, watch, first.Revision)

	heal := s.isolated(ctx, old)
	// From before the others have elected until after they have written, clients ask the old leader.
	asked := make(chan []*linearizability.Op, oldClients)
	asking, enough := context.WithCancel(ctx)
	defer enough()
	for range oldClients {
		s.aside(func() {
			var ops []*linearizability.Op
			for asking.Err() == nil {
				ops = append(ops, s.read(asking, old, key), s.compareAndSet(asking, old, key, first.KeyRevision))
			}
			asked <- ops
		})
	}
	s.broughtAbout(ctx, "another one leads", func(ctx context.Context) bool { return s.leads(ctx, others...) != "" })
	next := s.leader(ctx, others...)
	written := s.put(ctx, next, key)
	s.writes(ctx, next, 20)
	s.promised(written.Outcome == linearizability.Applied, "%s leads a majority, and does not write", next)
	s.lasts(ctx, 2*electionTimeout)
	enough()
	reads, sets := 0, 0
	for range oldClients {
		for _, op := range <-asked {
			switch op.Kind {
			case linearizability.Read:
				reads++
				s.promised(op.Outcome != linearizability.ReadDone || op.Call < written.Return || op.Revision >= written.Revision,
					"%s read what was there before the write of another leader", old)
			default:
				sets++
			}
		}
	}
	s.Log("the old leader was asked for %d reads and %d compare-and-sets", reads, sets)
	s.shown(reads >= 4 && sets >= 4, "the old leader was asked for %d reads and %d compare-and-sets only", reads, sets)
	s.promised(!watch.has(written.Revision), "the watch at %s has what it cannot know of", old)

	heal(ctx)
	s.reaches(ctx, watch, written.Revision)
	s.ready(ctx)
	_ = s.closed(watch)
}

// compareAndSet asks for a put that demands that the key was last changed at a revision.
func (s *Stage) compareAndSet(ctx context.Context, node, key string, revision uint64) *linearizability.Op {
	id := s.Recorder.ID()
	op := &linearizability.Op{ID: id, Client: scriptClient + int(id), Node: node, Kind: linearizability.Put, Key: key, Value: scriptValue(id), IfRevision: revision}
	s.Do(ctx, op)
	return op
}

func leaderStopped(ctx context.Context, s *Stage) {
	old := s.leader(ctx)
	others := s.others(old)
	key := s.newKey()
	s.shown(s.put(ctx, old, key).Outcome == linearizability.Applied, "the leader does not write")

	began := time.Now()
	goOn := s.stopped(ctx, old)
	s.broughtAbout(ctx, "another one leads", func(ctx context.Context) bool { return s.leads(ctx, others...) != "" })
	next := s.leader(ctx, others...)
	var last *linearizability.Op
	for range 20 {
		last = s.put(ctx, next, key)
		s.promised(last.Outcome == linearizability.Applied, "%s leads a majority, and does not write", next)
	}
	queued := s.queue(ctx, 8, func(ctx context.Context) *linearizability.Op { return s.read(ctx, old, key) })
	s.lasts(ctx, 2*electionTimeout)
	s.shown(time.Since(began) > 2*electionTimeout, "it was stopped for %v only", time.Since(began))
	goOn(ctx)

	answered := 0
	for _, op := range queued() {
		if op.Outcome == linearizability.ReadDone {
			answered++
			s.promised(op.Revision >= last.Revision, "%s answered a read, asked while it was stopped, from before revision %d, which was acknowledged then", old, last.Revision)
		}
	}
	s.shown(answered > 0, "no read that was waiting was answered")
	s.Log("%d of 8 reads that waited were answered", answered)
	s.ready(ctx)
}

// queue asks n times at once, beside the script; wait returns what came of it all.
func (s *Stage) queue(ctx context.Context, n int, ask func(context.Context) *linearizability.Op) (wait func() []*linearizability.Op) {
	ops := make([]*linearizability.Op, n)
	var all sync.WaitGroup
	all.Add(n)
	for i := range n {
		s.aside(func() {
			defer all.Done()
			ops[i] = ask(ctx)
		})
	}
	return func() []*linearizability.Op {
		all.Wait()
		return ops
	}
}

func slowDiskLeader(ctx context.Context, s *Stage) {
	old := s.leader(ctx)
	before, _ := s.metric(ctx, old, "confman_wal_sync_duration_seconds_sum")
	s.ok(s.SetDisk(ctx, old, DiskState{SyncDelay: 3 * time.Second}))
	sound := s.begin(Fault{Text: "each sync of " + old + "'s disk takes 3 s more", Nodes: []string{old}, Undo: func(ctx context.Context) error {
		return s.SetDisk(ctx, old, DiskState{})
	}})
	key := s.newKey()
	reads := s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op { return s.read(ctx, old, s.mine("scenario/slow")) })
	puts := s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op { return s.put(ctx, old, key) })
	for _, name := range s.others(old) {
		s.writes(ctx, name, 3)
	}
	s.lasts(ctx, 6*time.Second)
	reads()
	slow := 0
	for _, op := range puts() {
		if op.Outcome != linearizability.Applied || op.Return-op.Call > int64(time.Second) {
			slow++
		}
	}
	took, ok := s.metric(ctx, old, "confman_wal_sync_duration_seconds_sum")
	took -= before
	s.shown(ok && took >= 3, "the syncs of %s took %.1f s in all", old, took)
	s.Log("syncs took %.1f s in all; %d of 4 writes at the leader waited for them or were not answered", took, slow)
	sound(ctx)
	s.ready(ctx)
}
