package node

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/confman/confman/fsm"
)

// watched is a store with a hub, and a plain list of all that happened to it.
type watched struct {
	t     require.TestingT
	path  string
	store *fsm.Store
	hub   *Watches
	index fsm.Index
	log   [][]fsm.ChangedKey // by revision - 1
}

func newWatched(t require.TestingT, dir string, l WatchLimits) *watched {
	s := &watched{t: t, path: filepath.Join(dir, "store"), hub: NewWatches(l)}
	require.NoError(t, fsm.Create(s.path, fsm.Genesis{Cluster: fsm.ClusterID{1}, Members: []fsm.Member{{RaftID: 1, Name: "n"}}}, watchedOptions))
	s.open()
	return s
}

var watchedOptions = fsm.Options{MmapBytes: 64 << 20, NoSync: true}

func (s *watched) open() {
	var err error
	s.store, err = fsm.Open(s.path, watchedOptions)
	require.NoError(s.t, err)
}

func (s *watched) close() { require.NoError(s.t, s.store.Close()) }

func (s *watched) apply(ops ...fsm.Op) { s.applied(&fsm.Command{Ops: ops}) }

func (s *watched) applied(cmd *fsm.Command) fsm.Result {
	data, err := cmd.Encode()
	require.NoError(s.t, err)
	s.index++
	fsm.SetOrigin(data, fsm.Origin{Node: 1, Incarnation: 1, Seq: uint64(s.index)})
	before := s.store.State().Revision
	results, err := s.store.Apply([]fsm.Entry{{Index: s.index, Term: 1, Data: data}})
	require.NoError(s.t, err)
	if s.store.State().Revision == before {
		return results[0]
	}
	v := s.view()
	defer v.Close()
	ch, err := v.Change(before + 1)
	require.NoError(s.t, err)
	s.log = append(s.log, ch.Ops)
	return results[0]
}

func (s *watched) put(key string) {
	s.apply(fsm.Op{Kind: fsm.Put, Key: key, Value: fmt.Appendf(nil, "%d", s.index), ContentType: "text/plain"})
}

// changeNamespace changes a namespace.
func (s *watched) changeNamespace(t require.TestingT, path string) {
	before := s.store.State().Revision
	s.apply(fsm.Op{Kind: fsm.PutNamespace, Key: path, Value: (&fsm.Namespace{Description: fmt.Sprint(s.index)}).Encode()})
	require.Equal(t, before+1, s.store.State().Revision)
}

func (s *watched) view() *fsm.View {
	v, err := s.store.View()
	require.NoError(s.t, err)
	return v
}

func (s *watched) advance() {
	v := s.view()
	defer v.Close()
	require.NoError(s.t, s.hub.Advance(v))
}

// changesOf is what a watcher of path must be given in (from, to].
func (s *watched) changesOf(path string, from, to fsm.Revision) (out []string) {
	for i, ops := range s.log {
		rev := fsm.Revision(i + 1)
		if rev <= from || rev > to {
			continue
		}
		for _, op := range ops {
			if op.IsNamespace() {
				continue
			}
			if op.Key == path || (path == "" || strings.HasSuffix(path, "/")) && strings.HasPrefix(op.Key, path) {
				out = append(out, fmt.Sprintf("%d %v %s", rev, op.Kind == fsm.Delete, op.Key))
			}
		}
	}
	return out
}

// stream is a watcher with what it was given.
type stream struct {
	*Watcher
	s       *watched
	path    string
	from    fsm.Revision
	got     []string
	through fsm.Revision
}

func (s *watched) watch(path string, from fsm.Revision) *stream {
	w, err := s.hub.Watch(path, from)
	require.NoError(s.t, err)
	return &stream{Watcher: w, s: s, path: path, from: from, through: from}
}

// take takes once from v, and holds what came against the list.
func (st *stream) take(v *fsm.View) {
	batch, through, err := st.Take(v)
	require.NoError(st.s.t, err)
	assert.LessOrEqual(st.s.t, len(batch), st.hub.limits.Changes)
	for _, ch := range batch {
		for _, e := range ch.Events {
			assert.Equal(st.s.t, e.Deleted, e.Record.Value == nil)
			if !e.Deleted {
				assert.Equal(st.s.t, ch.Revision, e.Record.Revision)
			}
			st.got = append(st.got, fmt.Sprintf("%d %v %s", ch.Revision, e.Deleted, e.Key))
		}
	}
	st.moved(through)
}

// moved: the position is that of all that was given, and did not go back.
func (st *stream) moved(through fsm.Revision) {
	require.GreaterOrEqual(st.s.t, through, st.through)
	st.through = through
	require.Equal(st.s.t, st.s.changesOf(st.path, st.from, through), st.got, "from %d through %d", st.from, through)
}

// woken takes while there may be something.
func (st *stream) woken() {
	for range 10_000 {
		select {
		case <-st.Woken():
			v := st.s.view()
			st.take(v)
			v.Close()
		default:
			return
		}
	}
	require.Fail(st.s.t, "the watcher is woken for ever")
}

var watchPaths = []string{"", "a/", "a", "a/b", "a/b/", "b/", "b/c/d", "ab/", "c"}

var watchKeys = []string{"a", "a/b", "a/b/c", "a/b/d", "a/c", "ab/c", "b/c/d", "b/c/e", "c", "d"}

// TestWatches: whatever is written, watched and taken, and whoever is slow, each watcher is
// given what a plain list of all changes has for it.
func TestWatches(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		small := rapid.IntRange(1, 4)
		s := newWatched(t, mkdir(t, dir, n), WatchLimits{
			Pending: small.Draw(t, "pending"), Gap: rapid.IntRange(1, 8).Draw(t, "gap"), Changes: small.Draw(t, "changes"),
			Bytes: rapid.SampledFrom([]int{1, 500, 64 << 10}).Draw(t, "bytes"), Scan: small.Draw(t, "scan"),
		})
		var old *fsm.View
		defer func() {
			if old != nil {
				old.Close()
			}
			s.close()
		}()
		var streams []*stream
		some := func(t *rapid.T) *stream {
			if len(streams) == 0 {
				t.Skip("nobody watches")
			}
			return rapid.SampledFrom(streams).Draw(t, "watcher")
		}
		key := rapid.SampledFrom(watchKeys)
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				var ops []fsm.Op
				for _, k := range rapid.SliceOfNDistinct(key, 1, 4, rapid.ID).Draw(t, "keys") {
					op := fsm.Op{Kind: fsm.Delete, Key: k}
					if rapid.Bool().Draw(t, "put") {
						op = fsm.Op{Kind: fsm.Put, Key: k, Value: fmt.Appendf(nil, "%d", s.index), ContentType: "text/plain"}
					}
					ops = append(ops, op)
				}
				s.apply(ops...)
			},
			"remove": func(t *rapid.T) {
				s.apply(fsm.Op{Kind: fsm.DeleteTree, Key: rapid.SampledFrom([]string{"a/", "b/", "ab/"}).Draw(t, "subtree")})
			},
			"change a namespace": func(t *rapid.T) {
				s.changeNamespace(t, rapid.SampledFrom([]string{"", "a/", "b/c/"}).Draw(t, "namespace"))
				s.advance()
				for _, st := range streams {
					require.NotEmpty(t, st.wake, "nobody tells it that it may not be allowed any more")
				}
			},
			"flush": func(*rapid.T) { require.NoError(t, s.store.BeginFlush().Commit()) },
			"advance": func(*rapid.T) {
				s.advance()
			},
			"watch": func(t *rapid.T) {
				from := fsm.Revision(rapid.IntRange(0, len(s.log)).Draw(t, "from"))
				streams = append(streams, s.watch(rapid.SampledFrom(watchPaths).Draw(t, "path"), from))
			},
			"take": func(t *rapid.T) {
				st, v := some(t), s.view()
				defer v.Close()
				st.take(v)
			},
			"keep a view": func(*rapid.T) {
				if old != nil {
					old.Close()
				}
				old = s.view()
			},
			"take from an old view": func(t *rapid.T) {
				if st := some(t); old != nil {
					st.take(old)
				}
			},
			"take, and then again": func(t *rapid.T) {
				st, v := some(t), s.view()
				defer v.Close()
				before := st.Through()
				st.moved(before)
				_, _, err := st.Take(v)
				require.NoError(t, err)
				st.Again(before)
				st.moved(st.Through())
			},
			"look": func(t *rapid.T) { st := some(t); st.moved(st.Through()) },
			"woken": func(t *rapid.T) {
				some(t).woken()
			},
			"close": func(t *rapid.T) {
				st := some(t)
				st.Close()
				st.Close()
				streams = slices.DeleteFunc(streams, func(o *stream) bool { return o == st })
				require.Equal(t, len(streams), s.hub.Len())
			},
			"resume": func(t *rapid.T) {
				st := some(t)
				st.Close()
				w, err := s.hub.Watch(st.path, st.through)
				require.NoError(t, err)
				st.Watcher = w
			},
		})
		s.advance()
		for _, st := range streams {
			st.woken()
			require.Equal(t, fsm.Revision(len(s.log)), max(st.through, st.Through()), "a watcher is not woken for all there is")
			st.moved(st.Through())
			require.Empty(t, st.pending)
			require.Zero(t, st.scan)
		}
	})
}

func mkdir(t require.TestingT, dir string, n int) string {
	d := filepath.Join(dir, strconv.Itoa(n))
	require.NoError(t, os.Mkdir(d, 0o700))
	return d
}

// TestWatchElsewhereCostsNothing: a change is matched against the watchers on its path.
func TestWatchElsewhereCostsNothing(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	defer s.close()
	mine := s.watch("mine/", 0)
	for i := range MaxWatchers - 1 {
		s.watch(fmt.Sprintf("other/%d/", i), 0)
	}
	_, err := s.hub.Watch("one/more", 0)
	require.ErrorIs(t, err, ErrTooManyWatchers)
	s.put("mine/a")
	s.advance()
	told := 0
	for _, w := range s.hub.all {
		told += len(w.pending) + len(w.wake)
	}
	assert.Equal(t, 2, told, "one revision, one signal")
	mine.woken()
	assert.Equal(t, []string{"1 false mine/a"}, mine.got)
	mine.Close()
	_, err = s.hub.Watch("one/more", 0)
	require.NoError(t, err)
}

// TestWatchSlow: who takes nothing for long has a list of bounded length, and all changes
// in the end.
func TestWatchSlow(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{Pending: 3, Gap: 5})
	defer s.close()
	st := s.watch("a/", 0)
	for range 50 {
		s.put("a/b")
		s.put("z")
		s.advance()
		require.LessOrEqual(t, len(st.pending), 3)
	}
	assert.Zero(t, st.Through())
	for range 50 {
		s.put("a/c") // an image, or a restart: too much to look at
	}
	s.advance()
	st.woken()
	assert.Equal(t, fsm.Revision(150), st.through)
	assert.Len(t, st.got, 100)
}

// TestWatchGivesWholeTransactions: however little one Take may give.
func TestWatchGivesWholeTransactions(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{Bytes: 1})
	defer s.close()
	st := s.watch("a/", 0)
	var ops []fsm.Op
	for i := range 100 {
		ops = append(ops, fsm.Op{Kind: fsm.Put, Key: fmt.Sprintf("a/%03d", i), Value: make([]byte, 1000)})
	}
	s.apply(ops...)
	s.put("a/b")
	s.advance()
	v := s.view()
	defer v.Close()
	batch, through, err := st.Take(v)
	require.NoError(t, err)
	require.Len(t, batch, 1)
	assert.Len(t, batch[0].Events, 100)
	assert.Equal(t, fsm.Revision(1), through)
}

// TestWatchStoreGoesBack: a store that a peer's took the place of may be behind. Nothing is
// given twice, and nothing is missing.
func TestWatchStoreGoesBack(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	defer s.close()
	st, late := s.watch("a/", 0), s.watch("a/", 0)
	s.put("a/1")
	old := s.view()
	defer old.Close()
	s.put("a/2")
	s.advance()
	st.woken()
	require.NoError(t, s.hub.Advance(old))
	<-late.Woken()
	late.take(old)
	assert.Equal(t, fsm.Revision(1), late.through, "the second is not there any more")
	late.take(old)
	assert.Len(t, late.got, 1)
	select {
	case <-late.Woken():
		t.Error("there is nothing to take until the store has caught up")
	default:
	}
	assert.Equal(t, fsm.Revision(2), st.Through(), "a position does not go back")
	s.put("a/3")
	s.advance()
	late.woken()
	st.woken()
	assert.Equal(t, fsm.Revision(3), late.through)
	assert.Equal(t, fsm.Revision(3), st.through)
}

// TestWatchOvertakesAView: who has a view in hand when more is applied is woken for a newer one.
func TestWatchOvertakesAView(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	defer s.close()
	s.put("a/1")
	v := s.view()
	defer v.Close()
	s.put("a/2")
	s.advance() // nobody watches yet
	mate := s.watch("a/", 2)
	st := s.watch("a/", 0)
	s.advance()
	<-st.Woken()
	st.take(v)
	assert.Equal(t, fsm.Revision(1), st.through)
	assert.Equal(t, fsm.Revision(2), mate.Through())
	st.woken()
	assert.Equal(t, fsm.Revision(2), st.through)
}

func TestWatchEnds(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	defer s.close()
	st := s.watch("a/", 0)
	s.put("a/1")
	s.advance()
	s.hub.End()
	<-st.Woken()
	v := s.view()
	defer v.Close()
	_, _, err := st.Take(v)
	require.ErrorIs(t, err, ErrRebuilding)
	st.Close()
	s.put("a/2")
	again := s.watch("a/", st.through)
	s.advance()
	again.woken()
	assert.Len(t, again.got, 2)
	assert.Zero(t, st.Through())
}

// TestWatchMeetsDamage: what the view says of the change log comes to who reads it, after
// what could still be read.
func TestWatchMeetsDamage(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	st := s.watch("", 0)
	s.put("a/good")
	s.put("a/evil")
	require.NoError(t, s.store.BeginFlush().Commit())
	s.close()
	file, err := os.ReadFile(s.path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.path, bytes.ReplaceAll(file, []byte("a/evil"), []byte("a/evim")), 0o600))
	s.open()
	defer s.close()
	v := s.view()
	defer v.Close()
	require.ErrorIs(t, s.hub.Advance(v), fsm.ErrDamaged)
	<-st.Woken()
	st.take(v)
	assert.Equal(t, []string{"1 false a/good"}, st.got)
	<-st.Woken()
	_, through, err := st.Take(v)
	require.ErrorIs(t, err, fsm.ErrDamaged)
	assert.Equal(t, fsm.Revision(1), through)
}

// TestWatchMeetsWhatIsCompacted: what a watcher has yet to be given may go meanwhile, by age or
// because its key has too many versions. Then it is told from where on there is all; what it
// was owed is neither left out nor given without its value.
func TestWatchMeetsWhatIsCompacted(t *testing.T) {
	for name, maintenance := range map[string]fsm.Maintenance{
		"by count": {KeepVersions: 2},
		"by age":   {Elapsed: time.Hour, KeepFor: time.Minute},
	} {
		for _, pending := range []int{1, 64} { // from the store, and from its list
			t.Run(fmt.Sprintf("%s, %d pending", name, pending), func(t *testing.T) {
				s := newWatched(t, t.TempDir(), WatchLimits{Pending: pending})
				defer s.close()
				s.put("a/first")
				st := s.watch("a/", 0)
				for range 5 {
					s.put("a/b")
				}
				s.advance()
				s.maintain(maintenance)
				v := s.view()
				defer v.Close()
				var gone *fsm.CompactedError
				for range 2 { // it stays so
					batch, through, err := st.Take(v)
					if len(batch) > 0 {
						require.Equal(t, "by count", name)
						require.Len(t, batch, 1, "revision 1 is all that is held of what comes before")
						require.Equal(t, fsm.Revision(1), through)
						batch, through, err = st.Take(v)
					}
					require.Empty(t, batch)
					require.ErrorAs(t, err, &gone)
					require.Less(t, through, gone.Floor)
				}
				// Whoever goes on from there misses nothing more.
				next := s.watch("a/", gone.Floor)
				defer next.Close()
				batch, _, err := next.Take(v)
				require.NoError(t, err)
				for _, ch := range batch {
					for _, e := range ch.Events {
						require.NotEmpty(t, e.Record.Value)
					}
				}
			})
		}
	}
}

// maintain lets the store compact its history.
func (s *watched) maintain(m fsm.Maintenance) {
	data, err := (&fsm.Command{Maintenance: &m}).Encode()
	require.NoError(s.t, err)
	s.index++
	_, err = s.store.Apply([]fsm.Entry{{Index: s.index, Term: 1, Data: data}})
	require.NoError(s.t, err)
}

// TestWatchToldOncePerChange: however many of a change's keys are below what is watched, whoever
// is told of others meanwhile does not wait for each of them.
func TestWatchToldOncePerChange(t *testing.T) {
	var keys []fsm.ChangedKey
	for _, key := range []string{"a/b/1", "a/b/1/x", "a/b/10", "a/b/2", "a/c/1", "z"} {
		keys = append(keys, fsm.ChangedKey{Kind: fsm.Delete, Key: key})
	}
	told := make(map[string]int)
	steps(keys, func(path string) { told[path]++ })
	want := map[string]int{"": 1, "a/": 1, "a/b/": 1, "a/b/1/": 1, "a/c/": 1}
	for _, k := range keys {
		want[k.Key] = 1
	}
	assert.Equal(t, want, told)
}

// TestWatchIsWokenByNamespaces: a change of a namespace is nobody's event, not even of who watches
// the subtree of that name, but everybody may have lost the permission to watch by it.
func TestWatchIsWokenByNamespaces(t *testing.T) {
	for _, gap := range []int{1, 1000} { // told by revision, and sent to the store
		t.Run(fmt.Sprintf("gap %d", gap), func(t *testing.T) {
			s := newWatched(t, t.TempDir(), WatchLimits{Gap: gap})
			defer s.close()
			below, key, all, ahead := s.watch("a/", 0), s.watch("z", 0), s.watch("", 0), s.watch("a/", 50)
			streams := []*stream{below, key, all, ahead}
			s.changeNamespace(t, "a/")
			s.apply(fsm.Op{Kind: fsm.DeleteNamespace, Key: "a/"})
			s.changeNamespace(t, "")
			s.advance()
			for _, st := range streams {
				<-st.Woken()
				v := s.view()
				st.take(v)
				v.Close()
				st.woken()
				assert.Empty(t, st.got)
				assert.Equal(t, max(st.from, 3), st.Through(), "nothing keeps the position back")
			}
			s.put("a/b")
			s.advance()
			below.woken()
			all.woken()
			assert.Equal(t, []string{"4 false a/b"}, below.got)
			assert.Equal(t, below.got, all.got)
			if gap > 1 {
				assert.Empty(t, key.wake)
			}
		})
	}
}

// TestWatchersAreNotToldOfNamespaces, but their position moves on.
func TestWatchersAreNotToldOfNamespaces(t *testing.T) {
	s := newWatched(t, t.TempDir(), WatchLimits{})
	defer s.close()
	behind := s.watch("", 0)
	defer behind.Close()
	s.put("teams/a")
	s.apply(fsm.Op{Kind: fsm.PutNamespace, Key: "teams/", Value: (&fsm.Namespace{Owner: "ann"}).Encode()})
	s.advance() // nobody was told of the first two: they are looked for in the store
	woken := []*stream{s.watch("", 2), s.watch("teams/", 2)}
	for _, st := range woken {
		defer st.Close()
	}
	s.apply(fsm.Op{Kind: fsm.DeleteNamespace, Key: "teams/"})
	s.advance()
	v := s.view()
	defer v.Close()
	for _, st := range append(woken, behind) {
		batch, through, err := st.Take(v)
		require.NoError(t, err)
		for _, ch := range batch {
			assert.Equal(t, fsm.Revision(1), ch.Revision)
		}
		assert.Equal(t, fsm.Revision(3), through)
	}
}
