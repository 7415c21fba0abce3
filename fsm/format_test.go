package fsm

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// formatRule is what a test says that finds a format changed.
const formatRule = "what is written while version 1 of commands is in use is not what it was: programs that know no more could not read it, " +
	"and no cluster could be upgraded node by node, or go back. Write it otherwise from the next version of commands on only (doc.go, Versions)"

// TestWhatVersion1Writes: all records of all buckets, as commands of version 1 have made them.
func TestWhatVersion1Writes(t *testing.T) {
	g := testGenesis
	g.Version = 1
	r := newReplicaOf(t, g)
	apply := func(cmd Command) Result {
		if cmd.Maintenance == nil && cmd.Report == nil {
			r.seq++
			cmd.Origin = Origin{Node: 1, Incarnation: 1, Seq: r.seq}
		}
		b, err := cmd.EncodeAs(1)
		require.NoError(t, err)
		return r.apply(b)
	}
	for _, cmd := range []Command{
		{AcceptedAt: 5, RequestID: "r1", Comment: "why", Ops: []Op{put("a/b", "1"), put("a/c", "2")}, Idempotency: Idempotency{Key: "k", Request: [32]byte{9}}},
		{AcceptedAt: 6, Ops: []Op{put("a/b", "3"), {Kind: Delete, Key: "a/c"}}},
		memberOp(AddMember, "node4"), goldenBootstrap, goldenDenials,
		{Maintenance: &Maintenance{Elapsed: 7}},
		{Report: &Report{RaftID: 4, Life: Life{7}, Version: 1}},
	} {
		apply(cmd)
	}
	require.Equal(t, Revision(4), r.s.State().Revision)
	require.Zero(t, r.s.state.undecodable)
	r.flush()
	var got bytes.Buffer
	require.NoError(t, r.s.db.View(func(tx *bbolt.Tx) error {
		for in := current; in <= metadata; in++ {
			fmt.Fprintf(&got, "%v\n", in)
			err := tx.Bucket([]byte(in.String())).ForEach(func(k, v []byte) error {
				_, err := fmt.Fprintf(&got, "  %q %x\n", k, v)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	const path = "testdata/store_v1.txt"
	if *rewrite {
		require.NoError(t, os.WriteFile(path, got.Bytes(), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got.String(), formatRule)
}
