package fsm

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testGenesis = Genesis{
	Cluster: ClusterID{1, 2, 3},
	Members: []Member{{RaftID: 1, Name: "node1"}, {RaftID: 2, Name: "node2"}, {RaftID: 3, Name: "node3"}},
}

// testOptions are those of a store in memory-backed storage.
var testOptions = Options{NoSync: true, MmapBytes: 64 << 20}

// replica is a store with the log that it applied.
type replica struct {
	t interface {
		require.TestingT
		Helper()
	}
	path string
	s    *Store
	log  []Entry
	seq  uint64
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	return newReplicaOf(t, testGenesis)
}

func newReplicaOf(t *testing.T, g Genesis) *replica {
	t.Helper()
	r := &replica{t: t, path: filepath.Join(t.TempDir(), "db")}
	require.NoError(t, Create(r.path, g, testOptions))
	r.open()
	t.Cleanup(func() {
		if r.s != nil {
			assert.NoError(t, r.s.Close())
		}
	})
	return r
}

func (r *replica) open() {
	r.t.Helper()
	s, err := Open(r.path, testOptions)
	require.NoError(r.t, err)
	r.s = s
}

// crash closes the store without flushing, opens it, and applies the log from
// where it stands.
func (r *replica) crash() {
	r.t.Helper()
	require.NoError(r.t, r.s.Close())
	r.open()
	rest := r.log[r.s.State().Applied:]
	_, err := r.s.Apply(rest)
	require.NoError(r.t, err)
}

func (r *replica) flush() {
	r.t.Helper()
	require.NoError(r.t, r.s.BeginFlush().Commit())
}

// do applies cmd under the next sequence number of node 1.
func (r *replica) do(cmd Command) Result {
	r.t.Helper()
	r.seq++
	cmd.Origin = Origin{Node: 1, Incarnation: 1, Seq: r.seq}
	return r.apply(encode(r.t, cmd))
}

// doAll applies cmds in one Apply.
func (r *replica) doAll(cmds []Command) []Result {
	r.t.Helper()
	before := len(r.log)
	for _, cmd := range cmds {
		if cmd.Maintenance == nil {
			r.seq++
			cmd.Origin = Origin{Node: 1, Incarnation: 1, Seq: r.seq}
		}
		r.log = append(r.log, Entry{Index: Index(len(r.log) + 1), Term: 1, Data: encode(r.t, cmd)})
	}
	res, err := r.s.Apply(r.log[before:])
	require.NoError(r.t, err)
	require.Len(r.t, res, len(cmds))
	return res
}

// apply applies one entry's data.
func (r *replica) apply(data []byte) Result {
	r.t.Helper()
	e := Entry{Index: Index(len(r.log) + 1), Term: 1, Data: data}
	r.log = append(r.log, e)
	res, err := r.s.Apply([]Entry{e})
	require.NoError(r.t, err)
	require.Len(r.t, res, 1)
	return res[0]
}

func encode(t require.TestingT, cmd Command) []byte {
	b, err := cmd.Encode()
	require.NoError(t, err)
	return b
}

func put(key, value string) Op {
	return Op{Kind: Put, Key: key, Value: []byte(value), ContentType: "text/plain"}
}

func del(key string) Op { return Op{Kind: Delete, Key: key} }

func (r *replica) put(key, value string) Result {
	r.t.Helper()
	return r.do(Command{Ops: []Op{put(key, value)}})
}

// get reads key from a view of its own.
func (r *replica) get(key string) (Record, bool) {
	r.t.Helper()
	v, err := r.s.View()
	require.NoError(r.t, err)
	defer v.Close()
	rec, found, err := v.Get(key)
	require.NoError(r.t, err)
	return rec, found
}

// scrub runs one whole pass.
func scrub(s *Store) error {
	for {
		if done, err := s.Scrub(1 << 20); done || err != nil {
			return err
		}
	}
}

func TestCreateRefusesAnExistingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, Create(path, testGenesis, testOptions))
	require.ErrorIs(t, Create(path, testGenesis, testOptions), fs.ErrExist)
}

func TestCreateClearsWhatACrashLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.WriteFile(path+".new", []byte("half a database"), 0o600))
	_, err := Open(path, testOptions)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, Create(path, testGenesis, Options{MmapBytes: 1 << 20}))
	s, err := Open(path, testOptions)
	require.NoError(t, err)
	require.NoError(t, s.Close())
}

func TestOpenOfALockedFile(t *testing.T) {
	r := newReplica(t)
	_, err := Open(r.path, testOptions)
	require.ErrorIs(t, err, ErrLocked)
}

func TestGenesisState(t *testing.T) {
	st := newReplica(t).s.State()
	assert.Equal(t, testGenesis.Cluster, st.Cluster)
	for i, m := range st.Members {
		assert.Equal(t, Member{
			RaftID: uint64(i + 1), Name: testGenesis.Members[i].Name, Want: Voter, Life: Life(testGenesis.Cluster), Version: Version,
		}, m)
	}
	assert.Equal(t, uint64(3), st.LastRaftID)
	assert.Equal(t, uint8(Version), st.Version)
	assert.Equal(t, []uint64{1, 2, 3}, st.Conf.Voters)
	assert.Zero(t, st.Applied)
	assert.Zero(t, st.Revision)
}

// A put, an equal put, a new value, a delete and a put after it: revisions,
// versions and what the results say.
func TestLifeOfAKey(t *testing.T) {
	r := newReplica(t)
	steps := []struct {
		name   string
		op     Op
		want   Outcome
		rev    Revision
		result OpResult
	}{
		{"created", put("a/b", "1"), Applied, 1, OpResult{Revision: 1, Created: true, Changed: true}},
		{"equal", put("a/b", "1"), Unchanged, 1, OpResult{Revision: 1}},
		{"changed", put("a/b", "2"), Applied, 2, OpResult{Revision: 2, Changed: true}},
		{"other type", Op{Kind: Put, Key: "a/b", Value: []byte("2")}, Applied, 3, OpResult{Revision: 3, Changed: true}},
		{"deleted", del("a/b"), Applied, 4, OpResult{Changed: true}},
		{"absent", del("a/b"), Unchanged, 4, OpResult{}},
		{"created again", put("a/b", "1"), Applied, 5, OpResult{Revision: 5, Created: true, Changed: true}},
	}
	for _, step := range steps {
		res := r.do(Command{Ops: []Op{step.op}})
		require.Equal(t, step.want, res.Outcome, step.name)
		require.Equal(t, step.rev, res.Revision, step.name)
		require.Equal(t, []OpResult{step.result}, res.Ops, step.name)
	}
	rec, found := r.get("a/b")
	require.True(t, found)
	assert.Equal(t, Record{
		Key: "a/b", Value: []byte("1"), ContentType: "text/plain",
		Revision: 5, CreateRevision: 5, Version: 1, ModifiedBy: "anonymous",
	}, rec)
}

func TestReopenHoldsWhatWasFlushed(t *testing.T) {
	r := newReplica(t)
	for i := range 100 {
		r.put(fmt.Sprintf("k/%d", i), "v")
	}
	r.flush()
	flushed := r.s.State()
	r.put("k/lost", "v")
	require.NoError(t, r.s.Close())
	r.open()
	assert.Equal(t, flushed, r.s.State())
	_, found := r.get("k/lost")
	assert.False(t, found)
	rec, found := r.get("k/42")
	assert.True(t, found)
	assert.Equal(t, "v", string(rec.Value))
	require.NoError(t, scrub(r.s))
}

func TestFlushSaysWhereItEnds(t *testing.T) {
	r := newReplica(t)
	entry := func(i Index, term uint64) []Entry {
		cmd := Command{Origin: Origin{1, 1, uint64(i)}, Ops: []Op{put("a", fmt.Sprint(i))}}
		return []Entry{{Index: i, Term: term, Data: encode(t, cmd)}}
	}
	_, err := r.s.Apply(entry(1, 7))
	require.NoError(t, err)
	f := r.s.BeginFlush()
	_, err = r.s.Apply(entry(2, 9))
	require.NoError(t, err)
	assert.Equal(t, Index(1), f.Applied())
	assert.Equal(t, uint64(7), f.Term())
	require.NoError(t, f.Commit())
	i := openImage(t, r.s)
	defer i.Close()
	assert.Equal(t, Index(1), i.State().Applied)
	assert.Equal(t, uint64(7), i.State().Term)
}
