package jepsen

import (
	"context"
	"fmt"
	"time"

	"github.com/confman/confman/linearizability"
)

func init() {
	five := func(o *LocalOptions) { o.Nodes = 5 }
	scenario(&Scenario{
		Name: "partition-one-way", Number: 3, Needs: []Capability{Cuts}, Lost: true,
		About:  "the leader is not heard by the others, and hears them; then the others are not heard by it, and hear it; then the same with a follower",
		Script: partitionOneWay,
	})
	scenario(&Scenario{
		Name: "partition-ring", Number: 3, Needs: []Capability{Cuts}, Lost: true, Ground: five,
		About:  "each of five nodes reaches its two neighbours only: every two majorities overlap, and no node sees all",
		Script: partitionRing,
	})
	scenario(&Scenario{
		Name: "partition-bridge", Number: 3, Needs: []Capability{Cuts}, Lost: true, Ground: five,
		About:  "two halves of two nodes each reach each other only over the fifth",
		Script: partitionBridge,
	})
	scenario(&Scenario{
		Name: "partition-flapping", Number: 3, Needs: []Capability{Cuts}, Lost: true,
		About:  "the leader's links break and heal every 50 to 500 ms",
		Script: partitionFlapping,
	})
}

// toward are the links of each of some to each of others, one way.
func toward(some, others []string) (links []Link) {
	for _, a := range some {
		for _, b := range others {
			links = append(links, Link{From: a, To: b})
		}
	}
	return links
}

func partitionOneWay(ctx context.Context, s *Stage) {
	for _, follower := range []bool{false, true} {
		for _, mute := range []bool{true, false} {
			leader := s.leader(ctx)
			who := leader
			if follower {
				who = s.others(leader)[0]
			}
			others := s.others(who)
			text, links := who+" hears nobody, and is heard", toward(others, []string{who})
			if mute {
				text, links = who+" is not heard, and hears", toward([]string{who}, others)
			}
			// Whoever is cut off one way cannot reach a majority and back.
			heal := s.cut(ctx, text, []string{who}, links)
			s.writes(ctx, others[0], 10)
			s.writes(ctx, others[1], 10)
			ops := s.queue(ctx, 4, func(ctx context.Context) *linearizability.Op { return s.put(ctx, who, s.newKey()) })()
			for _, op := range ops {
				s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write that no majority can have confirmed to it", who)
			}
			heal(ctx)
			s.ready(ctx)
		}
	}
}

func partitionRing(ctx context.Context, s *Stage) {
	for range 2 {
		nodes := s.Members()
		s.Rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		var links []Link
		for i, a := range nodes {
			for _, far := range []int{2, 3} {
				links = append(links, Link{From: a, To: nodes[(i+far)%len(nodes)]})
			}
		}
		heal := s.cut(ctx, fmt.Sprintf("a ring of %v", nodes), nil, links)
		s.insistently(ctx, nodes, 20)
		heal(ctx)
		s.ready(ctx)
	}
}

func partitionBridge(ctx context.Context, s *Stage) {
	for range 2 {
		nodes := s.Members()
		s.Rng.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		a, b := nodes[:2], nodes[2:4]
		heal := s.cut(ctx, fmt.Sprintf("%v and %v reach each other over %s only", a, b, nodes[4]), nil, s.between(a, b))
		s.insistently(ctx, nodes, 20)
		heal(ctx)
		s.ready(ctx)
	}
}

// insistently has n writes acknowledged by whichever of nodes can: with no more than that some of them reach a majority.
func (s *Stage) insistently(ctx context.Context, nodes []string, n int) {
	did := 0
	s.until(ctx, fmt.Sprintf("%d writes are acknowledged by any of %v", n, nodes), func(ctx context.Context) bool {
		for _, op := range s.queue(ctx, len(nodes), s.each(nodes))() {
			if op.Outcome == linearizability.Applied {
				did++
			}
		}
		return did >= n
	})
}

// each puts something new at one of nodes, and at the next one when it is called again. Safe for concurrent use.
func (s *Stage) each(nodes []string) func(context.Context) *linearizability.Op {
	return func(ctx context.Context) *linearizability.Op {
		return s.put(ctx, nodes[int(s.Recorder.ID())%len(nodes)], s.newKey())
	}
}

func partitionFlapping(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	others := s.others(leader)
	before, err := s.Standing(ctx, leader)
	s.ok(err)
	const times = 25
	felt := s.hitOn(s.between([]string{leader}, others), isCut)
	for range times {
		restore, err := s.BreakLinks(ctx, broken(s.between([]string{leader}, others)))
		s.ok(err)
		heal := s.begin(Fault{Text: leader + "'s links are broken", Links: s.between([]string{leader}, others), Undo: restore})
		s.lasts(ctx, between(s.Rng, 50*time.Millisecond, 500*time.Millisecond))
		heal(ctx)
		s.lasts(ctx, between(s.Rng, 50*time.Millisecond, 500*time.Millisecond))
	}
	s.shown(felt == nil || felt(), "nothing was sent on links that were broken")
	s.ready(ctx)
	after, err := s.Standing(ctx, leader)
	s.ok(err)
	s.Log("the term went from %d to %d in %d flaps", before.Term, after.Term, times)
	for _, name := range s.Members() {
		s.writes(ctx, name, 5)
	}
}

// broken are links that are cut.
func broken(links []Link) map[Link]Condition {
	cut := map[Link]Condition{}
	for _, l := range links {
		cut[l] = Condition{Cut: true}
	}
	return cut
}
