package wal

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/raft/v3/raftpb"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// TestWhatIsWritten: a log as every program since the first release reads and writes it. One that wrote it otherwise could
// not be started beside them, nor they after it.
func TestWhatIsWritten(t *testing.T) {
	dir := t.TempDir()
	opts := testOptions
	opts.Nonce = 0x1122334455667788
	require.NoError(t, Create(DirFS(dir), opts))
	l, _, err := Open(DirFS(dir), opts)
	require.NoError(t, err)
	step := entry(3, 2, "step")
	step.Type = raftpb.EntryConfChangeV2.Enum()
	for _, b := range []Batch{
		{HardState: hard(1, 2, 0), Entries: entries(1, 2, 1, 10), Sync: true},
		{HardState: hard(2, 0, 2), Entries: []*raftpb.Entry{step}, Sync: true},
		{Snapshot: &Marker{Index: 9, Term: 3}, Sync: true},
	} {
		require.NoError(t, l.Append(b))
	}
	require.NoError(t, l.Close())
	b, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	require.NoError(t, err)
	const path = "testdata/segment_v1.hex"
	got := hex.Dump(bytes.TrimRight(b, "\x00"))
	if *rewrite {
		require.NoError(t, os.MkdirAll("testdata", 0o750))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
