package node

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

func someIdentity() Identity {
	return Identity{
		Cluster:     fsm.ClusterID{1, 2, 3, 15: 0xff},
		Name:        "node2",
		RaftID:      2,
		Members:     []fsm.Member{{RaftID: 1, Name: "node1"}, {RaftID: 2, Name: "node2"}, {RaftID: 3, Name: "nöde3"}},
		Formed:      true,
		Incarnation: 1<<63 + 1,
	}
}

func TestIdentityComesBack(t *testing.T) {
	for name, id := range map[string]Identity{
		"member":  someIdentity(),
		"started": {Name: "node1", Incarnation: 1},
		"restored": {
			Cluster: fsm.ClusterID{7}, Name: "node1", RaftID: 1, Members: someIdentity().Members,
			Restored: &Restored{State: [32]byte{1}, Life: [16]byte{2}, Lives: [][16]byte{{2}, {3}, {4}}},
		},
		"nothing": {},
	} {
		t.Run(name, func(t *testing.T) {
			fsys := dirFS(t.TempDir())
			_, err := LoadIdentity(fsys)
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.NoError(t, StoreIdentity(fsys, Identity{Name: "before"}))
			require.NoError(t, StoreIdentity(fsys, id))
			got, err := LoadIdentity(fsys)
			require.NoError(t, err)
			assert.Equal(t, id, got)
		})
	}
}

// TestWhatAnIdentityIsWrittenAs: as every program since the first release reads it. They pass over members that they do not know.
func TestWhatAnIdentityIsWrittenAs(t *testing.T) {
	id := someIdentity()
	id.Version, id.Life = 1, fsm.Life{0xab, 15: 1}
	id.Current = &Membership{
		Members: []fsm.Member{{
			RaftID: 4, Name: "node4", Want: fsm.Learner, Replaces: 2, Life: fsm.Life{7}, Version: 1,
			MemberSpec: fsm.MemberSpec{Address: "10.0.1.13", APIPort: 5000, RaftPort: 5001},
		}},
		Conf: fsm.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{4}, VotersOutgoing: []uint64{3}, LearnersNext: []uint64{3}}, LastRaftID: 4,
	}
	assert.Equal(t, goldenIdentity, string(encodeIdentity(id)))
	got, err := decodeIdentity([]byte(goldenIdentity))
	require.NoError(t, err)
	assert.Equal(t, id, got)
	later := []byte(`{"cluster":"000102030405060708090a0b0c0d0e0f","name":"n","raft_id":1,"members":null,"formed":true,"incarnation":2,"to_come":[1]}`)
	_, err = decodeIdentity(append(identityHeader(later), later...))
	require.NoError(t, err)
}

const goldenIdentity = `confman-identity 1 crc32c=8473a1eb
{"cluster":"010203000000000000000000000000ff","name":"node2","raft_id":2,"members":[{"raft_id":1,"name":"node1"},{"raft_id":2,"name":"node2"},{"raft_id":3,"name":"nöde3"}],"formed":true,"incarnation":9223372036854775809,"version":1,"life":"ab000000000000000000000000000001","current":{"members":[{"raft_id":4,"name":"node4","address":"10.0.1.13","api_port":5000,"raft_port":5001,"want":2,"replaces":2,"life":"07000000000000000000000000000000","version":1}],"voters":[1,2],"learners":[4],"voters_outgoing":[3],"learners_next":[3],"last_raft_id":4}}`

// Any single damage to the file is noticed: a node that mistook its cluster, its
// raft id or whether it had voted could elect a second leader.
func TestIdentityDamage(t *testing.T) {
	good := encodeIdentity(someIdentity())
	refused := func(what string, at int, bad []byte) {
		_, err := decodeIdentity(bad)
		require.ErrorIsf(t, err, ErrIdentityDamaged, "%s at byte %d", what, at)
	}
	for i := range good {
		refused("cut", i, good[:i])
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			refused("flip", i, bad)
		}
	}
	refused("appended", len(good), append(bytes.Clone(good), ' '))

	dir := t.TempDir()
	for name, bad := range map[string][]byte{
		"empty":    nil,
		"cut":      good[:len(good)/2],
		"flipped":  append([]byte{good[0] ^ 1}, good[1:]...),
		"too long": make([]byte, maxIdentityBytes+1),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), bad, 0o600))
		_, err := LoadIdentity(dirFS(dir))
		require.ErrorIsf(t, err, ErrIdentityDamaged, "a file that is %s", name)
	}
}

// A crash in StoreIdentity leaves the old identity or the new one.
func TestIdentityStoreFails(t *testing.T) {
	dir := t.TempDir()
	base := dirFS(dir)
	before, after := Identity{Name: "node1", Incarnation: 1}, Identity{Name: "node1", Incarnation: 2}
	for n := 1; ; n++ {
		require.NoError(t, StoreIdentity(base, before))
		err := StoreIdentity(&faultyFS{FS: base, faults: failAt(n)}, after)
		got, loadErr := LoadIdentity(base)
		require.NoError(t, loadErr)
		if err == nil {
			require.Equal(t, after, got)
			require.Greater(t, n, 5, "the faults hit nothing")
			return
		}
		require.ErrorIs(t, err, errInjected)
		require.Contains(t, []Identity{before, after}, got, "fault at operation %d", n)
	}
}
