package jepsen

import (
	"context"

	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "watch-across-leaders", Number: 10, Lost: true,
		About:  "watches, at one node each and at whichever is well, while leadership is handed over, the leader is killed, and all nodes are restarted one after the other",
		Script: watchAcrossLeaders,
	})
	scenario(&Scenario{
		Name: "watch-across-compaction", Number: 10, Lost: true, Compacts: true,
		Ground: func(o *LocalOptions) { o.Set("History", "KeepVersions", 1) },
		About:  "the history is compacted while watches follow it: they miss nothing, or are told that they did",
		Script: watchAcrossCompaction,
	})
}

func watchAcrossLeaders(ctx context.Context, s *Stage) {
	var watches []*stream
	for _, name := range s.Members() {
		watches = append(watches, s.watch(ctx, 0, name))
	}
	watches = append(watches, s.watch(ctx, 0, s.Members()...))
	key := s.newKey()
	all := func() {
		var last *linearizability.Op
		s.until(ctx, "a write is acknowledged", func(ctx context.Context) bool {
			last = s.put(ctx, s.leader(ctx), key)
			return done(last)
		})
		for _, w := range watches {
			s.reaches(ctx, w, last.Revision)
		}
	}
	all()
	leader := s.leader(ctx)
	to := s.others(leader)[0]
	handed, err := s.At(leader).TransferLeadership(ctx, to)
	s.shown(err == nil && handed == to, "leadership was not handed to %s: %v", to, err)
	all()
	up := s.killed(ctx, to)
	s.writes(ctx, s.leader(ctx, s.others(to)...), 20)
	up(ctx)
	s.ready(ctx)
	all()
	for _, name := range s.Members() {
		up := s.killed(ctx, name)
		s.writes(ctx, s.others(name)[0], 5)
		up(ctx)
		s.ready(ctx)
	}
	all()
	for _, w := range watches {
		s.promised(s.closed(w) == nil, "the watch at %s ended by itself", w.w.Node)
	}
}

func watchAcrossCompaction(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	late := s.others(leader)[0]
	key := s.newKey()
	first := s.put(ctx, leader, key)
	s.shown(done(first), "the leader does not write")
	near, far := s.watch(ctx, 0, leader), s.watch(ctx, 0, late)
	s.reaches(ctx, near, first.Revision)
	s.reaches(ctx, far, first.Revision)
	goOn := s.stopped(ctx, late)
	for range 300 {
		s.put(ctx, leader, key)
	}
	s.broughtAbout(ctx, "the history is compacted", func(ctx context.Context) bool {
		return s.compacted(ctx, leader, key, first.Revision)
	})
	goOn(ctx)
	last := s.put(ctx, leader, key)
	s.promised(done(last), "the leader does not write")
	s.reaches(ctx, near, last.Revision)
	s.until(ctx, "the watch at "+late+" delivers all, or says that it cannot", func(context.Context) bool { return far.has(last.Revision) || far.ended() })
	_ = s.closed(near)
	if err := s.closed(far); err != nil {
		s.Log("the watch at %s ended: %v", late, err)
	}
	// A new one cannot have it all, and says so.
	again := s.watch(ctx, first.Revision, late)
	s.until(ctx, "a watch of what was compacted ends, or delivers all there was", func(context.Context) bool { return again.ended() || again.has(last.Revision) })
	_ = s.closed(again)
}
