package httpapi

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/confman/confman/node"
)

func TestCluster(t *testing.T) {
	cases := []struct {
		name  string
		setup func(*fixture)
	}{
		{"leader", func(*fixture) {}},
		{"follower", func(f *fixture) {
			f.node.status.Role, f.node.status.Leader, f.node.status.Reachable = node.Follower, 2, []uint64{2}
		}},
		{"candidate", func(f *fixture) {
			quorumless(f)
			f.node.status.Role, f.node.status.Reachable = node.Candidate, nil
		}},
		{"forming", func(f *fixture) {
			forming(f)
			f.node.status.Waiting = []string{"node3"}
			f.Members = f.Members[:3:3]
		}},
		{"a member without an address", func(f *fixture) { f.Members = f.Members[:2] }},
	}
	var all []byte
	for _, tc := range cases {
		f := newFixture(t)
		f.ok("PUT", config+"/a", "1")
		tc.setup(f)
		w := f.ok("GET", "/api/v1/cluster", "")
		all = append(all, "=== "+tc.name+"\n"...)
		// What the hash is, is package fsm's to say.
		hash := f.node.store.State().Hash
		shown := bytes.ReplaceAll(show(w), []byte(hex.EncodeToString(hash[:])), []byte("(the store's hash)"))
		all = append(append(all, shown...), '\n')
	}
	golden(t, "cluster.golden", all)
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	f.requests.Store(MaxRequests) // overloaded, but alive and ready
	assert.JSONEq(t, `{"status":"live"}`, f.ok("GET", "/health/live", "").Body.String())
	assert.JSONEq(t, `{"status":"ready"}`, f.ok("GET", "/health/ready", "").Body.String())
	forming(f)
	f.ok("GET", "/health/live", "")
}
