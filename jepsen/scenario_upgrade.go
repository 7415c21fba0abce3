package jepsen

import (
	"context"
	"fmt"

	"github.com/confman/confman/client"
)

// Older is the program of the release before, as far as versions of commands and of the wire are concerned.
const Older = "older"

func init() {
	scenario(&Scenario{
		Name: "rolling-upgrade", Number: 16, Needs: []Capability{Programs}, Lost: true, Variant: Older,
		Ground: func(o *LocalOptions) { keepNoLog(o); o.Program, o.Variants["newer"] = o.Variants[Older], o.Program },
		About:  "from the release before to this one, node by node, under load, back, and forward again; a node of the old one takes the database of the new one in between; then it is finalized",
		Script: rollingUpgrade,
	})
}

func rollingUpgrade(ctx context.Context, s *Stage) {
	take := func(name, program string) {
		s.ok(s.StopNode(ctx, name))
		s.ok(s.Ground.(programmer).Use(name, program))
		s.ok(s.StartNode(ctx, name))
		s.ready(ctx)
		for _, n := range s.Members() {
			s.writes(ctx, n, 5)
		}
	}
	nodes := s.Members()
	s.Log("forward")
	for _, name := range nodes {
		take(name, "newer")
	}
	s.Log("back")
	for _, name := range nodes {
		take(name, "")
	}
	s.Log("forward, with a database in between")
	take(nodes[0], "newer")
	take(nodes[1], "newer")
	s.imageFor(ctx, nodes[2], nil)
	s.ready(ctx)
	before, err := s.Standing(ctx, nodes[2])
	s.ok(err)
	take(nodes[2], "newer")
	now, err := s.Standing(ctx, nodes[2])
	s.ok(err)
	s.Log("the old program knows commands of version %d, the new one of %d", before.CommandVersion, now.CommandVersion)
	s.shown(before.CommandVersion < now.CommandVersion && before.ActiveVersion < now.CommandVersion, "there is nothing to upgrade: commands are of version %d and %d, of which %d is in use",
		before.CommandVersion, now.CommandVersion, before.ActiveVersion)
	s.until(ctx, "the upgrade is finalized", func(ctx context.Context) bool {
		_, _, err := s.At(nodes[0]).FinalizeUpgrade(ctx, client.MemberOptions{})
		return err == nil
	})
	for _, name := range nodes {
		s.until(ctx, fmt.Sprintf("%s uses the new version", name), func(ctx context.Context) bool {
			st, err := s.Standing(ctx, name)
			return err == nil && st.ActiveVersion == st.CommandVersion
		})
		s.writes(ctx, name, 5)
	}
}
