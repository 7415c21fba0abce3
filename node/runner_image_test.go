package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/wal"
)

// shortLogs makes the nodes of a cluster write small segments, flush at once and keep
// no more of the log than they must.
func (c *trio) shortLogs() {
	for name, cfg := range c.configs {
		cfg.logOptions = wal.Options{SegmentBytes: 4 << 10}
		cfg.FlushBytes, cfg.FlushInterval = 1, time.Millisecond
		cfg.CatchUpEntries, cfg.ScrubInterval = -1, 20*time.Millisecond
		c.configs[name] = cfg
	}
}

func (c *trio) fill(r *Runner, from, n int) {
	c.t.Helper()
	for i := range n {
		mustPut(c.t, r, fmt.Sprintf("key%04d", from+i), strings.Repeat("v", 200))
	}
}

// TestFollowerTakesAnImage: one that was down while the log went on without it gets
// the leader's database, and from there the log.
func TestFollowerTakesAnImage(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.shortLogs()
	c.start()
	c.ready()
	leader := c.leader()
	late := c.names[(slices.Index(c.names, leader)+1)%3]
	c.fill(c.runners[leader], 0, 10)
	c.agree()
	was := c.runners[late].Status().Applied
	c.close(late)
	c.fill(c.runners[leader], 10, 300)
	require.Eventually(t, func() bool { return c.runners[leader].Status().FirstIndex > was+1 }, patience, time.Millisecond,
		"the log is not truncated")
	c.start(late)
	c.ready()
	c.agree()
	mustGet(t, c.runners[late], "key0000", strings.Repeat("v", 200))
	mustGet(t, c.runners[late], "key0309", strings.Repeat("v", 200))
	// It stands on its own feet: a start needs nobody's image.
	c.close(late)
	c.start(late)
	c.ready()
	c.agree()
	left, err := filepath.Glob(filepath.Join(c.configs[late].Dir, imagePrefix+"*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestDamagedStoreIsRebuilt: whatever becomes of a database, while its node is down or
// up, another member's takes its place.
func TestDamagedStoreIsRebuilt(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.shortLogs()
	c.start()
	c.ready()
	leader := c.leader()
	victim := c.names[(slices.Index(c.names, leader)+1)%3]
	c.fill(c.runners[leader], 0, 300)
	c.agree()
	path := filepath.Join(c.configs[victim].Dir, storeFile)
	for what, harm := range map[string]func(){
		"both meta pages": func() { overwrite(t, path, []int64{24, 4096 + 24}) },
		"the file":        func() { require.NoError(t, os.Remove(path)) },
		"all records":     func() { overwriteAll(t, path, []byte(strings.Repeat("v", 200))) },
	} {
		c.close(victim)
		harm()
		c.start(victim)
		// The scrub finds what the start does not, unless a reader does first.
		r := c.runners[victim]
		require.Eventually(t, func() bool {
			view, _, err := r.View()
			if err != nil {
				return false
			}
			defer view.Close()
			rec, found, err := view.Get("key0123")
			if errors.Is(err, fsm.ErrDamaged) {
				r.StoreDamaged(err)
			}
			return err == nil && found && string(rec.Value) == strings.Repeat("v", 200)
		}, patience, time.Millisecond, what)
		c.ready()
		c.agree()
		assert.NoError(t, r.Status().Damage, what)
	}

	// A view from before stays what it was while the store under it is replaced.
	r := c.runners[victim]
	view, _, err := r.View()
	require.NoError(t, err)
	old := r.member.Load().store.Load()
	r.StoreDamaged(fmt.Errorf("%w: a reader met it", fsm.ErrDamaged))
	require.Eventually(t, func() bool { return r.member.Load().store.Load() != old && r.Status().Damage == nil }, patience, time.Millisecond)
	rec, found, err := view.Get("key0123")
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, strings.Repeat("v", 200), string(rec.Value))
	view.Close()
	c.ready()
	c.agree()
}

func TestRebuildingServesNothing(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.shortLogs()
	c.start()
	c.ready()
	victim := c.names[0]
	c.fill(c.runners[c.leader()], 0, 50)
	c.agree()
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, true) // nobody sends an image now
	}
	r := c.runners[victim]
	r.StoreDamaged(fsm.ErrDamaged)
	require.Eventually(t, func() bool { return r.Status().Damage != nil }, patience, time.Millisecond)
	_, _, err := r.View()
	require.ErrorIs(t, err, ErrRebuilding)
	require.ErrorIs(t, r.Linearize(t.Context()), ErrRebuilding)
	_, err = r.Propose(t.Context(), put("a", "b"))
	var we *WriteError
	require.ErrorAs(t, err, &we)
	assert.Equal(t, NotApplied, we.Outcome)
	require.ErrorIs(t, we, ErrRebuilding)
	assert.False(t, r.Status().Ready)
	for _, id := range []uint64{1, 2, 3} {
		c.mesh.isolate(id, false)
	}
	c.ready()
	c.agree()
}

func overwrite(t *testing.T, path string, at []int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	for _, pos := range at {
		_, err := f.WriteAt([]byte{0xff, 0xff, 0xff}, pos)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

func overwriteAll(t *testing.T, path string, text []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), string(text))
	other := []byte(strings.Repeat("w", len(text)))
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(b), string(text), string(other))), 0o600))
}

// storeAt makes a database with n entries applied, and returns its path.
func storeAt(t *testing.T, dir, name string, n int) {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, fsm.Create(path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{Name: "a", RaftID: 1}}}, fsm.Options{}))
	s, err := fsm.Open(path, fsm.Options{})
	require.NoError(t, err)
	for i := range n {
		cmd := put(fmt.Sprintf("k%d", i), "v")
		data, err := cmd.Encode()
		require.NoError(t, err)
		fsm.SetOrigin(data, fsm.Origin{Node: 1, Incarnation: 1, Seq: uint64(i + 1)})
		_, err = s.Apply([]fsm.Entry{{Index: fsm.Index(i + 1), Term: 1, Data: data}})
		require.NoError(t, err)
	}
	require.NoError(t, s.BeginFlush().Commit())
	require.NoError(t, s.Close())
}

// TestOpenStore: what a start makes of every combination of what a crash, or a bad
// disk, can leave.
func TestOpenStore(t *testing.T) {
	const markerIndex = 7
	stores := map[string]func(t *testing.T, dir string){
		"missing": func(*testing.T, string) {},
		"below":   func(t *testing.T, dir string) { storeAt(t, dir, storeFile, 3) },
		"at":      func(t *testing.T, dir string) { storeAt(t, dir, storeFile, 7) },
		"above":   func(t *testing.T, dir string) { storeAt(t, dir, storeFile, 9) },
		"damaged": func(t *testing.T, dir string) {
			storeAt(t, dir, storeFile, 9)
			overwrite(t, filepath.Join(dir, storeFile), []int64{24, 4096 + 24})
		},
	}
	images := map[string]func(t *testing.T, dir string){
		"none":     func(*testing.T, string) {},
		"marker's": func(t *testing.T, dir string) { storeAt(t, dir, imageFile(markerIndex), 7) },
		"another":  func(t *testing.T, dir string) { storeAt(t, dir, imageFile(5), 5) },
		"unfinished": func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, incomingFile), []byte("half"), 0o600))
		},
	}
	for storeName, makeStore := range stores {
		for imageName, makeImage := range images {
			for _, marked := range []bool{false, true} {
				for _, first := range []uint64{1, markerIndex + 1, 10} {
					if marked && first <= markerIndex {
						continue // a marker takes the place of all before it
					}
					t.Run(fmt.Sprintf("store %s, image %s, marked %v, log from %d", storeName, imageName, marked, first), func(t *testing.T) {
						dir := t.TempDir()
						makeStore(t, dir)
						makeImage(t, dir)
						var marker *wal.Marker
						if marked {
							marker = &wal.Marker{Index: markerIndex, Term: 1}
						}
						want := map[string]int{"missing": -1, "below": 3, "at": 7, "above": 9, "damaged": -1}[storeName]
						if marked && imageName == "marker's" && want < markerIndex && first == markerIndex+1 {
							want = markerIndex
						}
						if want >= 0 && uint64(want)+1 < first {
							want = -1
						}
						if want < 0 && storeName == "missing" && first == 1 {
							want = 0 // made anew: the log fills it
						}
						d := &dataDir{path: dir}
						// Twice: what the first start did not change stays so.
						for range 2 {
							s, damaged, err := d.openStore(fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{Name: "a", RaftID: 1}}}, fsm.Options{}, first, marker)
							require.NoError(t, err)
							if want < 0 {
								require.ErrorIs(t, damaged, fsm.ErrDamaged)
								require.Nil(t, s)
							} else {
								require.NoError(t, damaged)
								assert.Equal(t, fsm.Index(want), s.State().Applied)
								require.NoError(t, s.Close())
							}
						}
						entries, err := os.ReadDir(dir)
						require.NoError(t, err)
						for _, e := range entries {
							assert.Equal(t, storeFile, e.Name(), "it is left")
						}
					})
				}
			}
		}
	}
}

// TestImageWorker: what comes in is worth something only when it is whole, of this
// cluster and of the index that was said.
func TestImageWorker(t *testing.T) {
	dir := t.TempDir()
	storeAt(t, dir, "theirs", 7)
	image, err := os.ReadFile(filepath.Join(dir, "theirs"))
	require.NoError(t, err)
	r := &Runner{dir: &dataDir{path: dir}}
	m := &member{identity: Identity{Cluster: fsm.ClusterID{1}}}
	write := func(w *imageWork, b []byte) {
		half := len(b) / 2
		require.NoError(t, w.write(r.dir, WriteImage{Data: b[:half]}))
		require.NoError(t, w.write(r.dir, WriteImage{Offset: uint64(half), Data: b[half:]}))
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(dir, name))
		require.True(t, err == nil || errors.Is(err, fs.ErrNotExist))
		return err == nil
	}
	var w imageWork
	_, err = w.verify(r, m, 7)
	require.ErrorIs(t, err, fs.ErrClosed, "nothing came in")
	require.ErrorIs(t, w.write(r.dir, WriteImage{Offset: 5, Data: []byte("x")}), fs.ErrClosed, "it has no beginning")

	damaged := slices.Clone(image)
	damaged[len(damaged)-100] ^= 1
	for i := range damaged {
		if i > 4096*3 && damaged[i] != 0 {
			damaged[i] ^= 1
			break
		}
	}
	write(&w, damaged)
	_, err = w.verify(r, m, 7)
	require.ErrorIs(t, err, fsm.ErrDamaged)
	assert.False(t, exists(imageFile(7)))

	write(&w, image)
	_, err = w.verify(r, m, 8)
	require.ErrorContains(t, err, "its sender said 8")
	write(&w, image)
	_, err = w.verify(r, &member{identity: Identity{Cluster: fsm.ClusterID{2}}}, 7)
	require.ErrorContains(t, err, "this node is of")

	write(&w, damaged)
	write(&w, image) // another one begins: the first is gone
	state, err := w.verify(r, m, 7)
	require.NoError(t, err)
	assert.Equal(t, fsm.Index(7), state.Applied)
	assert.True(t, exists(imageFile(7)))
	assert.False(t, exists(incomingFile))
	require.NoError(t, w.drop(r.dir))
	assert.False(t, exists(imageFile(7)))
	assert.True(t, exists("theirs"))

	in := w.openImage(m, OpenImage{Transfer: 1})
	require.ErrorIs(t, in.(ImageOpened).Err, ErrRebuilding, "there is no store")
	store, err := fsm.Open(filepath.Join(dir, "theirs"), fsm.Options{})
	require.NoError(t, err)
	m.store.Store(store)
	in = w.openImage(m, OpenImage{Transfer: 2})
	opened := in.(ImageOpened)
	require.NoError(t, opened.Err)
	assert.Equal(t, fsm.Index(7), opened.State.Applied)
	got := w.read(ReadImage{Transfer: 2, Bytes: 100}).(ImageRead)
	require.NoError(t, got.Err)
	assert.Len(t, got.Data, 100)
	require.Error(t, w.read(ReadImage{Transfer: 1, Bytes: 100}).(ImageRead).Err, "it is another transfer's")
	w.close()
	require.ErrorIs(t, w.read(ReadImage{Transfer: 2, Bytes: 100}).(ImageRead).Err, fs.ErrClosed)
	require.NoError(t, store.Close())
}
