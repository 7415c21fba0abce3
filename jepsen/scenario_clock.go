package jepsen

import (
	"context"
	"fmt"
	"time"
)

// Failpoints is the program of make failpoint-build, whose wall clock can be set.
const Failpoints = "failpoints"

func init() {
	// Certificates are good or not by the clock, and say so: the nodes do without.
	scenario(&Scenario{
		Name: "wall-clock", Number: 13, Needs: []Capability{Clocks}, Variant: Failpoints, Lost: true,
		Workloads: []string{"register", "bounded"},
		Ground: func(o *LocalOptions) {
			o.FailpointProgram, o.PlainText = true, true
			o.Program = o.Variants[Failpoints]
		},
		About:  "the nodes' wall clocks are an hour ahead, an hour behind, twice and half as fast, all differently, and jump while leadership changes: nothing that is replicated depends on them",
		Script: wallClock,
	})
}

func wallClock(ctx context.Context, s *Stage) {
	clocks := []Clock{{Offset: time.Hour, Rate: 1}, {Offset: -time.Hour, Rate: 1}, {Rate: 2}, {Offset: time.Hour, Rate: 0.5}}
	for round := range 4 {
		nodes := s.Members()
		for i, name := range nodes {
			c := clocks[(i+round)%len(clocks)]
			s.ok(s.SetClock(ctx, name, c))
		}
		right := s.begin(Fault{Text: fmt.Sprintf("clocks are wrong, by an hour or twice as fast (%d)", round), Nodes: nodes, Undo: func(ctx context.Context) error {
			for _, name := range nodes {
				if err := s.SetClock(ctx, name, Clock{}); err != nil {
					return err
				}
			}
			return nil
		}})
		leader := s.leader(ctx)
		s.writes(ctx, leader, 20)
		s.lasts(ctx, 2*electionTimeout)
		s.promised(s.leads(ctx, nodes...) == leader, "%s does not lead any more because clocks jumped", leader)
		up := s.killed(ctx, leader)
		s.writes(ctx, s.leader(ctx, s.others(leader)...), 20)
		up(ctx)
		s.ready(ctx)
		right(ctx)
	}
}
