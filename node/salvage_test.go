package node

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// A new cluster is made of what one node had, while the others are lost.
func TestSalvage(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	name := c.names[1]
	_, err := c.runners[name].Propose(t.Context(), put("a", "1"))
	require.NoError(t, err)
	dir := c.configs[name].Dir
	_, err = Salvage(dir, time.Unix(1_800_000_000, 0))
	require.ErrorIs(t, err, ErrLocked)
	for _, name := range c.names {
		c.close(name)
	}

	b, err := Salvage(dir, time.Unix(1_800_000_000, 0))
	require.NoError(t, err)
	assert.Equal(t, name, b.Info.Node)
	var file bytes.Buffer
	require.NoError(t, fsm.WriteBackup(&file, b.Image, b.Info, nil))
	b.Close()

	for _, name := range c.names {
		require.NoError(t, os.RemoveAll(c.configs[name].Dir))
	}
	c.restore(file.Bytes(), nil)
	c.start()
	c.ready()
	c.leader()
	v, _, err := c.runners[name].View()
	require.NoError(t, err)
	defer v.Close()
	rec, found, err := v.Get("a")
	require.NoError(t, err)
	require.True(t, found)
	assert.Equal(t, "1", string(rec.Value))
}

func TestSalvageOfNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := Salvage(filepath.Join(dir, "none"), time.Time{})
	require.ErrorIs(t, err, ErrNoNode)
	assert.NoDirExists(t, filepath.Join(dir, "none"))
	for _, name := range []string{restoringFile, identityFile, storeFile} {
		_, err = Salvage(dir, time.Time{})
		require.ErrorIs(t, err, ErrNoNode)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
	_, err = Salvage(dir, time.Time{})
	require.ErrorIs(t, err, ErrNoNode)
	require.NoError(t, os.Remove(filepath.Join(dir, restoringFile)))
	_, err = Salvage(dir, time.Time{})
	require.ErrorIs(t, err, ErrIdentityDamaged)
}
