package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// unpacked is the store that a backup holds.
func unpacked(t *testing.T, b *Backup) *fsm.Store {
	t.Helper()
	var file bytes.Buffer
	require.NoError(t, fsm.WriteBackup(&file, b.Image, b.Info, nil))
	path := filepath.Join(t.TempDir(), "image")
	got, err := fsm.UnpackBackup(t.Context(), &file, path, fsm.Options{}, nil)
	require.NoError(t, err)
	require.Equal(t, b.Info, got.BackupInfo)
	s, err := fsm.Open(path, fsm.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// A backup of any node holds what was acknowledged by any other before it was asked for.
func TestBackupHoldsWhatWasAcknowledged(t *testing.T) {
	c := newTrio(t, trioNames...)
	for name, cfg := range c.configs {
		cfg.FlushInterval = time.Hour // nothing is in the database by chance
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	for i, name := range c.names {
		key := fmt.Sprintf("key/%d", i)
		res, err := c.runners[name].Propose(t.Context(), put(key, "v"))
		require.NoError(t, err)
		b, err := c.runners[c.names[(i+1)%3]].Backup(t.Context())
		require.NoError(t, err)
		assert.GreaterOrEqual(t, b.Info.Revision, res.Revision)
		assert.Equal(t, c.names[(i+1)%3], b.Info.Node)
		v, err := unpacked(t, b).View()
		require.NoError(t, err)
		_, ok, err := v.Get(key)
		v.Close()
		require.NoError(t, err)
		require.True(t, ok, "acknowledged by %s", name)
		b.Close()
	}
}

func TestOneBackupAtATime(t *testing.T) {
	c := newTrio(t, "node1")
	c.start()
	c.ready()
	r := c.runners["node1"]
	b, err := r.Backup(t.Context())
	require.NoError(t, err)
	_, err = r.Backup(t.Context())
	require.ErrorIs(t, err, ErrBackupUnderWay)
	b.Close()
	b.Close()
	require.ErrorIs(t, fsm.WriteBackup(io.Discard, b.Image, b.Info, nil), fsm.ErrClosed)

	next, err := r.Backup(t.Context())
	require.NoError(t, err)
	_, err = r.Backup(t.Context())
	require.ErrorIs(t, err, ErrBackupUnderWay, "the end of one is not the end of another")
	assert.WithinRange(t, next.Until, time.Now(), time.Now().Add(2*backupSlack))
	next.Close()
}

// A backup needs a quorum: what a minority holds may lack what was acknowledged.
func TestBackupWithoutAQuorum(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	c.kill("node1")
	c.kill("node2")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := c.runners["node3"].Backup(ctx)
	require.Error(t, err)
	_, err = c.runners["node3"].Backup(ctx)
	require.NotErrorIs(t, err, ErrBackupUnderWay, "the one before gave its place up")
	c.close("node3")
	_, err = (&Runner{stop: make(chan struct{})}).Backup(t.Context())
	require.ErrorIs(t, err, ErrForming)
}
