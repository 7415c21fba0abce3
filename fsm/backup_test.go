package fsm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var backupTime = time.Date(2026, 1, 23, 10, 0, 0, 0, time.UTC)

// backup makes a backup of what s has flushed.
func backup(t require.TestingT, s *Store) []byte {
	i := openImage(t, s)
	defer i.Close()
	var b bytes.Buffer
	require.NoError(t, WriteBackup(&b, i, i.Backup("node1", backupTime), nil))
	return b.Bytes()
}

// readBackup reads all of a backup's image.
func readBackup(b []byte) (BackupInfo, []byte, error) {
	r, err := OpenBackup(bytes.NewReader(b))
	if err != nil {
		return BackupInfo{}, nil, err
	}
	defer r.Close()
	image, err := io.ReadAll(r)
	return r.Info(), image, err
}

// What a backup gives back is the image, byte for byte, with what it is of.
func TestBackupHoldsTheImage(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(r *replica)
	}{
		{"small", func(r *replica) { r.put("a", "1") }},
		{"of several chunks", func(r *replica) {
			random := make([]byte, 900<<10) // which does not compress
			_, _ = rand.NewChaCha8([32]byte{1}).Read(random)
			for _, key := range []string{"a", "b", "c"} {
				r.put(key, string(random))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReplica(t)
			c.write(r)
			r.flush()
			i := openImage(t, r.s)
			defer i.Close()
			var (
				b    bytes.Buffer
				told []int64
			)
			require.NoError(t, WriteBackup(&b, i, i.Backup("node1", backupTime), func(done int64) error {
				told = append(told, done)
				return nil
			}))
			require.Equal(t, i.Size(), told[len(told)-1])

			path := filepath.Join(t.TempDir(), "image")
			got, err := UnpackBackup(t.Context(), iotest.HalfReader(&b), path, testOptions, nil)
			require.NoError(t, err)
			require.Equal(t, r.s.State(), got.State)
			require.Equal(t, BackupInfo{
				Cluster: testGenesis.Cluster, Revision: got.State.Revision, Index: got.State.Applied, Term: got.State.Term,
				StateHash: got.State.Hash, Chain: got.State.Chain, Size: i.Size(), Node: "node1", At: backupTime,
			}, got.BackupInfo)
			image, err := os.ReadFile(path)
			require.NoError(t, err)
			require.True(t, bytes.Equal(readImage(t, i), image))
		})
	}
}

// No byte of a backup can be another one, be missing at the end, or follow it.
func TestBackupRefusesAnyDamage(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	whole := backup(t, r.s)
	_, _, err := readBackup(whole)
	require.NoError(t, err)
	refused := func(b []byte) bool {
		_, _, err := readBackup(b)
		return errors.Is(err, ErrBackupDamaged) || errors.Is(err, ErrNoBackup)
	}
	for at := range whole {
		for _, flip := range []byte{1, 0x20, 0x80, 0xff} {
			whole[at] ^= flip
			require.Truef(t, refused(whole), "byte %d of %d, flipped by %x", at, len(whole), flip)
			whole[at] ^= flip
		}
		require.Truef(t, refused(whole[:at]), "cut after %d of %d bytes", at, len(whole))
	}
	require.True(t, refused(append(bytes.Clone(whole), 0)), "a byte follows")
	require.True(t, refused(append(bytes.Clone(whole), whole...)), "another one follows")
}

// A backup whose sums are right, but not those of the image in it, is refused: somebody made it so.
func TestBackupOfADamagedImage(t *testing.T) {
	r := newReplica(t)
	r.put("some/key", "some value")
	r.flush()
	i := openImage(t, r.s)
	defer i.Close()
	good := i.Backup("node1", backupTime)
	for _, c := range []struct {
		name   string
		damage func(b *BackupInfo)
	}{
		{"revision", func(b *BackupInfo) { b.Revision++ }},
		{"index", func(b *BackupInfo) { b.Index++ }},
		{"term", func(b *BackupInfo) { b.Term++ }},
		{"cluster", func(b *BackupInfo) { b.Cluster[0]++ }},
		{"state hash", func(b *BackupInfo) { b.StateHash[0]++ }},
		{"chain", func(b *BackupInfo) { b.Chain[0]++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := good
			c.damage(&info)
			var b bytes.Buffer
			require.NoError(t, WriteBackup(&b, i, info, nil))
			path := filepath.Join(t.TempDir(), "image")
			_, err := UnpackBackup(t.Context(), &b, path, testOptions, nil)
			require.ErrorIs(t, err, ErrBackupDamaged)
			require.NoFileExists(t, path)
		})
	}
	t.Run("record", func(t *testing.T) {
		image := readImage(t, i)
		at := bytes.Index(image, []byte("some value"))
		require.Positive(t, at)
		image[at]++
		path := filepath.Join(t.TempDir(), "image")
		_, err := UnpackBackup(t.Context(), bytes.NewReader(packed(t, image, good)), path, testOptions, nil)
		require.ErrorIs(t, err, ErrBackupDamaged)
		require.ErrorIs(t, err, ErrDamaged)
		require.NoFileExists(t, path)
	})
}

// packed is a backup of an image that may be anything.
func packed(t *testing.T, image []byte, info BackupInfo) []byte {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.WriteFile(path, image, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	// Without free pages, and with the metas as they are, an Image reads the file as it is.
	i := &Image{base: &base{of: newDatabase(f), pages: &pages{mem: image}}}
	i.base.refs.Store(2)
	copy(i.metas[:], image)
	var b bytes.Buffer
	require.NoError(t, WriteBackup(&b, i, info, nil))
	return b.Bytes()
}

// What a newer program wrote is not damaged: this one says that it does not know it, and makes nothing of it.
func TestBackupOfANewerProgram(t *testing.T) {
	g := testGenesis
	g.Version = Version + 1
	dir := t.TempDir()
	require.NoError(t, Create(filepath.Join(dir, "db"), g, testOptions))
	s, err := Open(filepath.Join(dir, "db"), testOptions)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	path := filepath.Join(dir, "image")
	_, err = UnpackBackup(t.Context(), bytes.NewReader(backup(t, s)), path, testOptions, nil)
	require.ErrorIs(t, err, ErrUnknownVersion)
	require.NotErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "a newer release")
	require.NoFileExists(t, path)
}

func TestBackupEndsWhereItMust(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	i := openImage(t, r.s)
	defer i.Close()
	stop := errors.New("enough")
	err := WriteBackup(io.Discard, i, i.Backup("node1", backupTime), func(int64) error { return stop })
	require.ErrorIs(t, err, stop)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "image")
	_, err = UnpackBackup(ctx, bytes.NewReader(backup(t, r.s)), path, testOptions, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, path)

	i.Close()
	require.ErrorIs(t, WriteBackup(io.Discard, i, i.Backup("node1", backupTime), nil), ErrClosed, "its time was up")
}

func FuzzReadBackup(f *testing.F) {
	r := &replica{t: f, path: f.TempDir() + "/db"}
	require.NoError(f, Create(r.path, testGenesis, testOptions))
	r.open()
	r.put("a", "1")
	r.flush()
	whole := backup(f, r.s)
	require.NoError(f, r.s.Close())
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(backupMagic + "{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, image, err := readBackup(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrBackupDamaged) || errors.Is(err, ErrNoBackup), err)
			return
		}
		require.Len(t, image, int(info.Size))
		sum := sha256.Sum256(b[:len(b)-32])
		assert.Equal(t, sum[:], b[len(b)-32:])
	})
}
