package jepsen

import (
	"context"
	"errors"
	"fmt"

	"github.com/confman/confman/client"
)

func init() {
	scenario(&Scenario{
		Name: "identity-forwarded", Number: 15, Lost: true, Workloads: []string{"auth"},
		About:  "somebody with a permission writes through each node, of which two forward it: in the record, the history and the audit, at all nodes, it is theirs, and no node's; who has none is refused by all",
		Script: identityForwarded,
	})
}

func identityForwarded(ctx context.Context, s *Stage) {
	var auth *authorized
	for _, load := range s.loads {
		if w, ok := load.(*authorized); ok {
			auth = w
		}
	}
	s.shown(auth != nil, "nobody says who callers are")
	as := func(user, node string) *client.Client {
		token, err := auth.issuer.token(user)
		s.ok(err)
		c, err := s.client(node, token)
		s.ok(err)
		return c
	}
	const writer, nobody, root = "script-writer", "script-nobody", "identity/"
	n := &client.Namespace{Owner: "jepsen"}
	n.Grant("editor", subject(writer))
	leader := s.leader(ctx)
	s.ok(insist(ctx, func(ctx context.Context) error {
		_, _, err := s.At(leader).PutNamespace(ctx, root, n, client.WriteOptions{})
		return err
	}))
	leader = s.leader(ctx)
	for _, node := range s.Members() {
		key := root + node
		before, _ := s.sample(ctx, node, `confman_node_proposal_stage_duration_seconds_count{stage="forward"}`)
		var wrote client.Meta
		s.until(ctx, fmt.Sprintf("%s acknowledges a write of %s", node, writer), func(ctx context.Context) (ok bool) {
			_, meta, err := as(writer, node).Put(ctx, key, []byte(node), textType, client.WriteOptions{})
			wrote = meta
			return err == nil
		})
		after, _ := s.sample(ctx, node, `confman_node_proposal_stage_duration_seconds_count{stage="forward"}`)
		s.shown(node == leader || after > before || s.leads(ctx) != leader, "%s did not forward the write", node)
		_, _, err := as(nobody, node).Put(ctx, key, []byte("x"), textType, client.WriteOptions{})
		s.promised(err != nil, "%s acknowledged a write of somebody without a permission", node)
		for _, at := range s.Members() {
			s.ok(insist(ctx, func(ctx context.Context) error { return s.theirs(ctx, at, key, wrote.Revision, subject(writer)) }))
		}
		s.Log("what %s wrote at %s is theirs at all nodes", writer, node)
	}
	s.ready(ctx)
}

// theirs is an error if a node does not answer; that a change of a key is somebody else's ends the script.
func (s *Stage) theirs(ctx context.Context, node, key string, revision uint64, who string) error {
	rec, _, err := s.At(node).Get(ctx, key, client.ReadOptions{Consistency: client.Linearizable})
	if err != nil {
		return err
	}
	s.promised(rec.ModifiedBy == who, "at %s %s was last modified by %q, and %q did", node, key, rec.ModifiedBy, who)
	fresh := client.ReadOptions{Consistency: client.Linearizable}
	found := false
	for e, err := range s.At(node).History(ctx, key, client.HistoryOptions{ReadOptions: fresh}) {
		if err != nil {
			return err
		}
		found = found || e.Revision == revision
		s.promised(e.ModifiedBy == who, "in the history of %s has %q changed %s, and %q did", node, e.ModifiedBy, key, who)
	}
	s.promised(found, "the history of %s does not have revision %d of %s", node, revision, key)
	found = false
	for row, err := range s.At(node).Audit(ctx, client.AuditOptions{ReadOptions: fresh, Path: key, Outcome: "applied"}) {
		if err != nil {
			return err
		}
		found = found || row.Revision == revision
		s.promised(row.Principal == who, "in the audit of %s has %q changed %s, and %q did", node, row.Principal, key, who)
	}
	if !found {
		return errors.New("jepsen: the audit does not have it")
	}
	return nil
}
