package node

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

var tableGenesis = fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{RaftID: 1, Name: "only"}}}

// storeFileAt makes a store that holds index.
func storeFileAt(t *testing.T, index uint64) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), storeFile)
	require.NoError(t, fsm.Create(path, tableGenesis, fsm.Options{}))
	s, err := fsm.Open(path, fsm.Options{})
	require.NoError(t, err)
	var entries []fsm.Entry
	for i := range index {
		entries = append(entries, fsm.Entry{Index: fsm.Index(i + 1), Term: 1})
	}
	if len(entries) > 0 {
		_, err = s.Apply(entries)
		require.NoError(t, err)
		require.NoError(t, s.BeginFlush().Commit())
	}
	require.NoError(t, s.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// wantStore is what openStore must make of a directory.
type wantStore struct {
	damaged bool
	index   uint64
}

// TestOpenStore goes through every combination of what a crash, a rotten disk or an
// operator can leave. The marker is at 20; a store too old for the log is at 5.
func TestOpenStore(t *testing.T) {
	const markerAt = 20
	good := make(map[uint64][]byte)
	for _, index := range []uint64{5, 15, markerAt, 25} {
		good[index] = storeFileAt(t, index)
	}
	const missing, damaged = uint64(0), uint64(1) // in place of the index of a store
	stores := map[string]uint64{"missing": missing, "damaged": damaged, "old": 5, "below": 15, "at": markerAt, "above": 25}
	images := map[string]string{"none": "", "of the marker": imageFile(markerAt), "of another index": imageFile(25), "half come in": incomingFile}

	for storeName, store := range stores {
		for imageName, image := range images {
			for _, marked := range []bool{false, true} {
				for _, first := range []uint64{1, 11, markerAt + 1} {
					t.Run(fmt.Sprintf("store %s, image %s, marker %v, log from %d", storeName, imageName, marked, first), func(t *testing.T) {
						d := &dataDir{path: t.TempDir(), openFS: dirFS}
						write := func(name string, b []byte) { require.NoError(t, os.WriteFile(d.join(name), b, 0o600)) }
						switch store {
						case missing:
						case damaged:
							write(storeFile, make([]byte, 4096))
						default:
							write(storeFile, good[store])
						}
						switch image {
						case "":
						case imageFile(markerAt):
							write(image, good[markerAt])
						default:
							write(image, good[25])
						}
						var marker *wal.Marker
						if marked {
							marker = &wal.Marker{Index: markerAt, Term: 1}
						}

						// The rule, in the words of openStore's contract.
						var want wantStore
						completes := marked && image == imageFile(markerAt) && store < markerAt
						switch {
						case completes:
							want.index = markerAt
						case store == damaged, store == missing && first > 1, store != missing && store+1 < first:
							want.damaged = true
						default:
							want.index = store
						}
						// Once more, as after another crash right behind it.
						for range 2 {
							s, why, err := d.openStore(&tableGenesis, fsm.Options{}, first, marker)
							require.NoError(t, err)
							if want.damaged {
								require.ErrorIs(t, why, fsm.ErrDamaged)
								require.Nil(t, s)
							} else {
								require.NoError(t, why)
								require.NotNil(t, s)
								assert.Equal(t, want.index, uint64(s.State().Applied))
								require.NoError(t, s.Close())
							}
							var names []string
							entries, err := os.ReadDir(d.path)
							require.NoError(t, err)
							for _, e := range entries {
								names = append(names, e.Name())
							}
							if want.damaged && store == missing {
								assert.Empty(t, names)
							} else {
								assert.Equal(t, []string{storeFile}, names)
							}
						}
					})
				}
			}
		}
	}
}

// An image that cannot take its name must not be thrown away: the log counts on it.
func TestOpenStoreKeepsAnImageItCouldNotInstall(t *testing.T) {
	d := &dataDir{path: t.TempDir(), openFS: dirFS}
	require.NoError(t, os.WriteFile(d.join(imageFile(20)), storeFileAt(t, 20), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(d.join(storeFile), "in the way"), 0o700))
	_, _, err := d.openStore(&tableGenesis, fsm.Options{}, 21, &wal.Marker{Index: 20, Term: 1})
	require.Error(t, err)
	assert.FileExists(t, d.join(imageFile(20)))

	require.NoError(t, os.RemoveAll(d.join(storeFile)))
	s, why, err := d.openStore(&tableGenesis, fsm.Options{}, 21, &wal.Marker{Index: 20, Term: 1})
	require.NoError(t, err)
	require.NoError(t, why)
	assert.Equal(t, fsm.Index(20), s.State().Applied)
	require.NoError(t, s.Close())
}
