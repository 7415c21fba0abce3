package jepsen

import (
	"context"
	"fmt"
	"time"

	"github.com/confman/confman/client"
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
		About:  "the nodes' wall clocks are an hour ahead, an hour behind, twice and half as fast, all differently, and jump while leadership changes: what is written has their times, and nothing else that is replicated depends on them",
		Script: wallClock,
	})
}

func wallClock(ctx context.Context, s *Stage) {
	clocks := []Clock{{Offset: time.Hour, Rate: 1}, {Offset: -time.Hour, Rate: 1}, {Rate: 2}, {Offset: time.Hour, Rate: 0.5}}
	hours := 0 // rounds in which a clock was seen to be wrong
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
		if wrong := s.wrongTime(ctx, nodes); wrong > 0 {
			hours++
			s.Log("a write has a time that is %v ahead", wrong.Round(time.Second))
		}
		leader := s.leader(ctx)
		s.writes(ctx, leader, 20)
		s.lasts(ctx, 2*electionTimeout)
		if now := s.leader(ctx); now != leader { // nothing promises that it does not change, on a busy machine
			s.Log("%s leads, after %s", now, leader)
			leader = now
		}
		up := s.killed(ctx, leader)
		s.writes(ctx, s.leader(ctx, s.others(leader)...), 20)
		up(ctx)
		s.ready(ctx)
		right(ctx)
	}
	s.shown(hours > 0, "no node wrote the time of a clock that is an hour ahead")
}

// wrongTime is by how much the time is ahead that a write has, at a node whose clock is; 0: none has such a time, as none is before the one of
// the write before.
func (s *Stage) wrongTime(ctx context.Context, nodes []string) time.Duration {
	for _, name := range nodes {
		op := s.put(ctx, name, s.newKey())
		if !done(op) {
			continue
		}
		rec, _, err := s.At(name).Get(ctx, op.Key, client.ReadOptions{Consistency: client.Linearizable})
		if ahead := time.Until(rec.ModifiedAt); err == nil && ahead > time.Hour*9/10 {
			return ahead
		}
	}
	return 0
}
