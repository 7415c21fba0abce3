package jepsen

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "restore-beside-old", Number: 19, Needs: []Capability{Beside, Damages}, Alone: true, Blind: true,
		About:  "a cluster is restored from a backup on two of its three nodes, and the third is started with what it had: neither takes the other for one of its own; when it is restored, too, they serve, all has at each the value of the backup, and their states are the same",
		Script: restoreBesideOld,
	})
}

func restoreBesideOld(ctx context.Context, s *Stage) {
	nodes := s.Members()
	old, fresh := nodes[0], nodes[1:]
	key := s.newKey()
	last := s.put(ctx, old, key)
	s.shown(done(last), "%s does not write", old)
	s.writes(ctx, old, 50)
	backedUp := s.acknowledged()
	s.shown(backedUp[key] == last.Value && len(backedUp) > 50, "%d keys are to be backed up", len(backedUp))
	dir, err := os.MkdirTemp("", "jepsen-backup-")
	s.ok(err)
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "all.backup")
	_, err = s.Ground.Confman(ctx, "backup", "--out", file)
	s.ok(err)

	for _, name := range nodes {
		s.ok(s.StopNode(ctx, name))
	}
	var id [16]byte
	_, err = rand.Read(id[:])
	s.ok(err)
	line := []string{"restore", "--from", file, "--cluster-id", hex.EncodeToString(id[:]), "--at", time.Now().UTC().Format(time.RFC3339), "--by", "a scenario"}
	restore := func(name string) {
		_, err := s.Damage(ctx, name, Damage{Kind: LoseDirectory})
		s.ok(err)
		_, err = s.Ground.(commander).Command(ctx, name, line...)
		s.ok(err)
		s.Log("%s was restored", name)
	}
	for _, name := range fresh {
		restore(name)
	}
	// A cluster that was restored forms when all of its nodes are there; the old one is not of it, and says so.
	revoke := s.Excuse(old, "another cluster", "cluster")
	for _, name := range nodes {
		s.ok(s.StartNode(ctx, name))
	}
	s.lasts(ctx, 4*electionTimeout)
	s.SetMembers(fresh)
	s.promised(s.leads(ctx, old) == "", "%s leads, of the old cluster, with nodes of the new one", old)
	op := s.put(ctx, old, s.newKey())
	s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write of the old cluster", old)
	said, err := s.Run.logOf(ctx, old)
	s.ok(err)
	s.Log("%s has said: %s", old, lastLine(said))
	for _, name := range fresh {
		s.promised(s.Ground.Runs(name), "%s does not run: %s", name, s.last(name).words)
		st, err := s.Standing(ctx, name)
		s.promised(err != nil || st.Role != "leader", "%s leads a cluster of three without the third", name)
	}
	// It goes, and a node of the new cluster takes its machine.
	if s.Ground.Runs(old) {
		s.ok(s.StopNode(ctx, old))
	}
	restore(old)
	revoke()
	s.SetMembers(nodes)
	s.ok(s.StartNode(ctx, old))
	s.ready(ctx)
	for _, name := range nodes {
		for key, value := range backedUp {
			rec, _, err := s.At(name).Get(ctx, key, client.ReadOptions{Consistency: client.Linearizable})
			s.promised(err == nil && string(rec.Value) == value, "%s was backed up as %q, and %s has %q, %v", key, value, name, rec.Value, err)
		}
	}
	s.Log("all %d keys that were backed up are at all nodes as they were", len(backedUp))
	for _, name := range nodes {
		s.writes(ctx, name, 10)
	}
	var states []linearizability.Event
	s.until(ctx, "all nodes say what their states are, at one index", func(ctx context.Context) bool {
		states, err = s.sayAll(ctx)
		return err == nil
	})
	for _, e := range states {
		s.promised(e.Digest == states[0].Digest, "at index %d the state of %s is %s, and that of %s is %s", e.Index, states[0].Node, states[0].Digest, e.Node, e.Digest)
	}
	s.Log("at index %d all are in the same state", states[0].Index)
}

// acknowledged are the keys that the script wrote, and their values. Each is written once.
func (s *Stage) acknowledged() map[string]string {
	h, _ := s.Recorder.History()
	values := map[string]string{}
	for i := range h.Ops {
		if op := &h.Ops[i]; op.Kind == linearizability.Put && op.Outcome == linearizability.Applied && s.keys[op.Key] {
			values[op.Key] = op.Value
		}
	}
	return values
}

func lastLine(log []byte) string {
	end := len(log)
	for end > 0 && log[end-1] == '\n' {
		end--
	}
	from := end
	for from > 0 && log[from-1] != '\n' {
		from--
	}
	return string(log[from:end])
}
