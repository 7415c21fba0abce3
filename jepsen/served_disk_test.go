package jepsen

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestServedDisk: a disk that is a directory says why, is damaged, and does not pretend to fail. TestE2ESSH has one that does.
func TestServedDisk(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	require.NoError(t, os.Mkdir(data, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(data, dataStore), []byte("content"), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- ServeDisk(ctx, dir, data, 1, "as asked for") }()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, diskSocket))
		return err == nil
	}, 10*time.Second, time.Millisecond)
	tell := func(order diskOrder) (diskAnswer, error) {
		text, err := json.Marshal(order)
		require.NoError(t, err)
		var out bytes.Buffer
		if err := TellDisk(t.Context(), dir, bytes.NewReader(text), &out); err != nil {
			return diskAnswer{}, err
		}
		var answer diskAnswer
		return answer, json.Unmarshal(out.Bytes(), &answer)
	}
	answer, err := tell(diskOrder{Do: "nothing"})
	require.NoError(t, err)
	assert.Equal(t, "as asked for", answer.Plain)
	for _, refused := range []diskOrder{{Do: "be", State: DiskState{SyncError: true}}, {Do: "lose power"}, {Do: "sing"}, {Do: "be damaged"}} {
		_, err = tell(refused)
		require.ErrorContains(t, err, "the disk: ", refused.Do)
	}
	for _, accepted := range []diskOrder{{Do: "be"}, {Do: "be ready"}, {Do: "count"}} {
		_, err = tell(accepted)
		require.NoError(t, err, accepted.Do)
	}
	answer, err = tell(diskOrder{Do: "be damaged", Damage: Damage{Kind: LoseDatabase}})
	require.NoError(t, err)
	assert.Equal(t, "removed store.db", answer.Did)
	assert.NoFileExists(t, filepath.Join(data, dataStore))
	notes, err := os.ReadFile(filepath.Join(dir, diskNotes))
	require.NoError(t, err)
	assert.Equal(t, "damaged: removed store.db\n", string(notes))
	cancel()
	require.NoError(t, <-served)
}
