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
		About:  "each sync of the leader's disk takes two seconds more; writes at the other nodes are acknowledged meanwhile, whether it goes on to lead, with their syncs, or another one does, and reads that wait at it then are answered late, and none with what was there before them",
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
	s.ok(s.SetDisk(ctx, old, DiskState{SyncDelay: 2 * time.Second}))
	sound := s.begin(Fault{Text: "each sync of " + old + "'s disk takes 2 s more", Nodes: []string{old}, Undo: func(ctx context.Context) error {
		return s.SetDisk(ctx, old, DiskState{})
	}})
	puts := s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op { return s.put(ctx, old, s.newKey()) })
	for round := 0; s.readsThatWait(ctx, old) == 0; round++ { // they may have waited too long
		s.shown(round < 4, "no read that waited was answered")
	}
	slow := 0
	for _, op := range puts() {
		if op.Outcome != linearizability.Applied || op.Return-op.Call > int64(time.Second) {
			slow++
		}
	}
	took, ok := s.metric(ctx, old, "confman_wal_sync_duration_seconds_sum")
	took -= before
	s.shown(ok && took >= 2, "the syncs of %s took %.1f s in all", old, took)
	s.Log("syncs took %.1f s in all; %d of 4 writes at the leader waited for them or were not answered", took, slow)
	s.Log("now %s leads", s.leader(ctx))
	sound(ctx)
	s.ready(ctx)
}

// readsThatWait has writes be acknowledged by others than a node whose disk is slow, and after each reads come to wait at that one: none may be
// answered with what was there before the write. It returns how many were answered.
func (s *Stage) readsThatWait(ctx context.Context, slow string) (answered int) {
	key, others := s.newKey(), s.others(slow)
	var written []*linearizability.Op
	var waiting []func() []*linearizability.Op
	for i := range 6 {
		var w *linearizability.Op
		s.until(ctx, "a write is acknowledged elsewhere", func(ctx context.Context) bool {
			w = s.put(ctx, others[i%len(others)], key)
			return done(w)
		})
		written = append(written, w)
		waiting = append(waiting, s.queue(ctx, 2, func(ctx context.Context) *linearizability.Op {
			op := &linearizability.Op{ID: s.Recorder.ID(), Kind: linearizability.Read, Node: slow, Key: key}
			op.Client = scriptClient + int(op.ID)
			s.Ask(ctx, s.impatient(slow, stepTime), op, nil) // for longer than syncs take
			return op
		}))
	}
	longest := time.Duration(0)
	for i, wait := range waiting {
		for _, op := range wait() {
			if op.Outcome != linearizability.ReadDone {
				continue
			}
			answered, longest = answered+1, max(longest, time.Duration(op.Return-op.Call))
			s.promised(op.Revision >= written[i].Revision, "%s, whose disk is slow, read what was there before revision %d, which was acknowledged before it was asked", slow, written[i].Revision)
		}
	}
	s.Log("%d of %d reads that waited at %s were answered, after %.1f s at most, and none with what was old", answered, 2*len(waiting), slow, longest.Seconds())
	return answered
}
