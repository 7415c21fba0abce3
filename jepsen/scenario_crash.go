package jepsen

import (
	"context"

	"github.com/confman/confman/linearizability"
)

func init() {
	for _, of := range []struct {
		name, who string
		many      func(nodes int) int
	}{
		{"one", "one node", func(int) int { return 1 }},
		{"majority", "a majority of the nodes", func(n int) int { return n/2 + 1 }},
		{"all", "all nodes", func(n int) int { return n }},
	} {
		scenario(&Scenario{
			Name: "kill-" + of.name, Number: 4, Lost: true,
			About:  of.who + " killed while clients write, three times, the leader among them",
			Script: func(ctx context.Context, s *Stage) { crash(ctx, s, of.many(len(s.Members())), s.killed, nil) },
		})
		scenario(&Scenario{
			Name: "power-loss-" + of.name, Number: 4, Needs: []Capability{PowerLoss}, Lost: true,
			About:  of.who + " without power while clients write, three times and until a disk has lost something, the leader among them: what was not synced is gone",
			Script: func(ctx context.Context, s *Stage) { crash(ctx, s, of.many(len(s.Members())), s.powerless, s.forgot()) },
		})
	}
	scenario(&Scenario{
		Name: "power-loss-in-partition", Number: 5, Needs: []Capability{Cuts, PowerLoss}, Lost: true,
		About:  "a follower is cut off, and then one of the majority loses its power: nobody can acknowledge until one of them is back",
		Script: func(ctx context.Context, s *Stage) { crashInPartition(ctx, s, s.powerless) },
	})
	scenario(&Scenario{
		Name: "kill-in-partition", Number: 5, Needs: []Capability{Cuts}, Lost: true,
		About:  "a follower is cut off, and then one of the majority is killed: nobody can acknowledge until one of them is back; for where power cannot be lost",
		Script: func(ctx context.Context, s *Stage) { crashInPartition(ctx, s, s.killed) },
	})
	scenario(&Scenario{
		Name: "single-node", Number: 20, Lost: true,
		Ground: func(o *LocalOptions) { o.Nodes = 1 },
		About:  "a cluster of one node, which is killed three times while clients write: what it acknowledged is there",
		Script: func(ctx context.Context, s *Stage) { crash(ctx, s, 1, s.killed, nil) },
	})
	scenario(&Scenario{
		Name: "single-node-power", Number: 20, Needs: []Capability{PowerLoss}, Lost: true,
		Ground: func(o *LocalOptions) { o.Nodes = 1 },
		About:  "a cluster of one node, which loses its power while clients write, three times and until its disk has lost something: acknowledged means synced",
		Script: func(ctx context.Context, s *Stage) { crash(ctx, s, 1, s.powerless, s.forgot()) },
	})
}

// Of how often nodes go down: what they lose with their power is a matter of chance.
const (
	leastCrashes = 3
	mostCrashes  = 12
)

// crash has the leader and as many nodes in all as it is told go down at once, with writes under way, and come back; lost tells whether anything was, if
// it is to be.
func crash(ctx context.Context, s *Stage, many int, down func(context.Context, ...string) func(context.Context), lost func() bool) {
	for n := 0; n < leastCrashes || lost != nil && !lost(); n++ {
		s.shown(n < mostCrashes, "power was lost %d times, and nothing with it", n)
		leader := s.leader(ctx)
		who := append([]string{leader}, s.others(leader)...)[:many]
		left := s.others(who...)
		s.writes(ctx, leader, 20)
		// More writes are under way while they go down.
		writing, enough := context.WithCancel(ctx)
		key := s.newKey()
		under := s.queue(ctx, 3, func(context.Context) (last *linearizability.Op) {
			for writing.Err() == nil {
				last = s.put(ctx, leader, key)
				if last.Outcome != linearizability.Applied {
					return last
				}
			}
			return last
		})
		up := down(ctx, who...)
		enough()
		under()
		switch {
		case len(left) > len(who):
			s.writes(ctx, left[0], 10)
		case len(left) > 0:
			op := s.put(ctx, left[0], s.newKey())
			s.promised(op.Outcome != linearizability.Applied, "%v acknowledged a write while %v were down", left, who)
		}
		up(ctx)
		s.ready(ctx)
	}
}

func crashInPartition(ctx context.Context, s *Stage, down func(context.Context, ...string) func(context.Context)) {
	leader := s.leader(ctx)
	others := s.others(leader)
	cutOff, left := others[0], others[1]
	heal := s.isolated(ctx, cutOff)
	s.writes(ctx, leader, 20)
	up := down(ctx, leader)
	op := s.put(ctx, left, s.newKey())
	s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write alone", left)
	up(ctx)
	s.writes(ctx, left, 20)
	next := s.leader(ctx, leader, left)
	// The other one of the two that have it all is gone when the third comes back, which has not.
	up = down(ctx, s.others(cutOff, next)[0])
	heal(ctx)
	s.writes(ctx, cutOff, 10)
	up(ctx)
	s.ready(ctx)
}
