package node

import (
	"io/fs"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// newStoreRunner is a runner of which only the directory and the store are there.
func newStoreRunner(t *testing.T, index uint64) (*Runner, *member) {
	t.Helper()
	r := &Runner{dir: &dataDir{path: t.TempDir(), openFS: dirFS}, log: slog.New(slog.DiscardHandler), stop: make(chan struct{})}
	r.inbox.init()
	m := &member{identity: Identity{Cluster: tableGenesis.Cluster}}
	require.NoError(t, os.WriteFile(r.dir.join(storeFile), storeFileAt(t, index), 0o600))
	s, err := fsm.Open(r.dir.join(storeFile), fsm.Options{})
	require.NoError(t, err)
	m.store.Store(s)
	r.member.Store(m)
	t.Cleanup(func() {
		require.NoError(t, m.store.Load().Close())
		m.retired.Wait()
	})
	return r, m
}

func TestImageWorkerReads(t *testing.T) {
	r, m := newStoreRunner(t, 20)
	var w imageWork
	opened := w.openImage(m, OpenImage{Transfer: 7}).(ImageOpened)
	require.NoError(t, opened.Err)
	assert.Equal(t, fsm.Index(20), opened.State.Applied)

	path := r.dir.join("copy")
	var b []byte
	for uint64(len(b)) < opened.Size {
		n := min(4000, opened.Size-uint64(len(b)))
		in := w.read(ReadImage{Transfer: 7, Offset: uint64(len(b)), Bytes: int(n)}).(ImageRead)
		require.NoError(t, in.Err)
		require.Len(t, in.Data, int(n))
		b = append(b, in.Data...)
	}
	require.NoError(t, os.WriteFile(path, b, 0o600))
	state, err := fsm.VerifyImage(path, fsm.Options{})
	require.NoError(t, err)
	assert.Equal(t, opened.State, state)

	require.Error(t, w.read(ReadImage{Transfer: 7, Offset: opened.Size, Bytes: 1}).(ImageRead).Err, "past the end")
	require.ErrorIs(t, w.read(ReadImage{Transfer: 6, Bytes: 1}).(ImageRead).Err, fs.ErrClosed, "another transfer")
	// A new image takes the place of one that was not closed, which would hold Close up.
	require.NoError(t, w.openImage(m, OpenImage{Transfer: 8}).(ImageOpened).Err)
	require.ErrorIs(t, w.read(ReadImage{Transfer: 7, Bytes: 1}).(ImageRead).Err, fs.ErrClosed)
	w.close()
	require.ErrorIs(t, w.read(ReadImage{Transfer: 8, Bytes: 1}).(ImageRead).Err, fs.ErrClosed)
	require.ErrorIs(t, w.openImage(&member{}, OpenImage{Transfer: 9}).(ImageOpened).Err, ErrRebuilding)
}

func TestImageWorkerVerifies(t *testing.T) {
	good := storeFileAt(t, 20)
	flipped := append([]byte(nil), good...)
	for i := range flipped {
		flipped[i] ^= 1
	}
	for name, c := range map[string]struct {
		image   []byte
		index   uint64
		cluster fsm.ClusterID
		text    string // of the error; empty: the image is good
	}{
		"good":              {good, 20, tableGenesis.Cluster, ""},
		"damaged":           {flipped, 20, tableGenesis.Cluster, "damaged"},
		"cut short":         {good[:2*4096], 20, tableGenesis.Cluster, "damaged"},
		"another cluster":   {good, 20, fsm.ClusterID{2}, "this node is of 02"},
		"not what was said": {good, 21, tableGenesis.Cluster, "holds index 20, its sender said 21"},
	} {
		t.Run(name, func(t *testing.T) {
			r, m := newStoreRunner(t, 5)
			m.identity.Cluster = c.cluster
			var w imageWork
			// What came in before, of a longer image, leaves no trace.
			require.NoError(t, w.write(r.dir, WriteImage{Data: make([]byte, len(c.image)+4096)}))
			half := len(c.image) / 2
			require.NoError(t, w.write(r.dir, WriteImage{Data: c.image[:half]}))
			require.NoError(t, w.write(r.dir, WriteImage{Offset: uint64(half), Data: c.image[half:]}))
			state, err := w.verify(r, m, c.index)
			_, again := w.verify(r, m, c.index)
			require.ErrorIs(t, again, fs.ErrClosed, "there is nothing more to verify")
			if c.text != "" {
				require.ErrorContains(t, err, c.text)
				assert.NoFileExists(t, r.dir.join(imageFile(c.index)), "it could be installed")
			} else {
				require.NoError(t, err)
				assert.Equal(t, fsm.Index(20), state.Applied)
				got, err := os.ReadFile(r.dir.join(imageFile(20)))
				require.NoError(t, err)
				assert.Equal(t, good, got)
			}
			require.NoError(t, w.drop(r.dir))
			assert.NoFileExists(t, r.dir.join(incomingFile))
			assert.NoFileExists(t, r.dir.join(imageFile(c.index)))
			assert.FileExists(t, r.dir.join(storeFile))
		})
	}
}

// A disk that takes no image is an answer to the sender, not a fault of the node.
func TestImageWorkerCannotWrite(t *testing.T) {
	r, _ := newStoreRunner(t, 5)
	require.NoError(t, os.Mkdir(r.dir.join(incomingFile), 0o700))
	var w imageWork
	require.Error(t, w.write(r.dir, WriteImage{Data: []byte("x")}))
	require.ErrorIs(t, w.write(r.dir, WriteImage{Offset: 1, Data: []byte("x")}), fs.ErrClosed)
	require.NoError(t, w.drop(r.dir))
	require.NoError(t, w.write(r.dir, WriteImage{Data: []byte("x")}), "there is room again")
	require.NoError(t, w.drop(r.dir))
}

// Whoever reads from the store that an image replaces goes on; it is closed after them.
func TestInstallKeepsViewsOfTheOldStore(t *testing.T) {
	r, m := newStoreRunner(t, 5)
	require.NoError(t, os.WriteFile(r.dir.join(imageFile(20)), storeFileAt(t, 20), 0o600))
	replaced := m.store.Load()
	old, err := replaced.View()
	require.NoError(t, err)
	m.broken.Store(true)

	require.NoError(t, r.install(m, 20))
	items := r.inbox.take()
	require.Len(t, items, 1)
	assert.Equal(t, fsm.Index(20), items[0].in.(Installed).State.Applied)
	assert.False(t, m.broken.Load())
	assert.Equal(t, fsm.Index(5), old.State().Applied)
	assert.Equal(t, fsm.Index(20), m.store.Load().State().Applied)
	assert.NoFileExists(t, r.dir.join(imageFile(20)))
	old.Close()
	m.retired.Wait()
	_, err = replaced.View()
	require.ErrorIs(t, err, fsm.ErrClosed)

	require.ErrorIs(t, r.install(m, 21), fs.ErrNotExist, "there is no such image")
}

// The core hears once of a store's damage, and again of that of the next store.
func TestDamageIsToldOnce(t *testing.T) {
	r, m := newStoreRunner(t, 5)
	view, err := m.store.Load().View()
	require.NoError(t, err)
	for range 3 {
		r.StoreDamaged(view, fsm.ErrDamaged)
	}
	require.Equal(t, Damaged{Err: fsm.ErrDamaged}, r.inbox.take()[0].in)
	require.Empty(t, r.inbox.take())
	require.NoError(t, os.WriteFile(r.dir.join(imageFile(20)), storeFileAt(t, 20), 0o600))
	require.NoError(t, r.install(m, 20))
	// A reader of the store before has nothing to say of this one.
	r.StoreDamaged(view, fsm.ErrDamaged)
	view.Close()
	view, err = m.store.Load().View()
	require.NoError(t, err)
	defer view.Close()
	r.StoreDamaged(view, fsm.ErrDamaged)
	items := r.inbox.take()
	require.Len(t, items, 2)
	assert.IsType(t, Installed{}, items[0].in)
	assert.IsType(t, Damaged{}, items[1].in)
}
