package fsm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var newCluster = Restoration{
	Cluster: ClusterID{9, 9}, Members: []Member{{RaftID: 1, Name: "alpha"}, {RaftID: 2, Name: "beta"}},
	Time: 50, Comment: "restored for a test",
}

// restored is what a new cluster begins with that is made of r's newest state, or that of a revision.
func restored(t require.TestingT, r *replica, to Restoration) (*Store, error) {
	dir, err := os.MkdirTemp(filepath.Dir(r.path), "restored")
	require.NoError(t, err)
	image := filepath.Join(dir, "image")
	require.NoError(t, r.s.BeginFlush().Commit())
	_, err = UnpackBackup(context.Background(), bytes.NewReader(backup(t, r.s)), image, testOptions, nil)
	require.NoError(t, err)
	src, err := Open(image, testOptions)
	require.NoError(t, err)
	defer func() { require.NoError(t, src.Close()) }()
	path := filepath.Join(dir, "db")
	st, err := src.RestoreTo(context.Background(), path, to, testOptions)
	if err != nil {
		require.NoFileExists(t, path)
		require.NoFileExists(t, path+".new")
		return nil, err
	}
	s, err := Open(path, testOptions)
	require.NoError(t, err)
	require.Equal(t, st, s.State())
	return s, nil
}

// restore makes a new cluster of what there is at some revision, and compares all that was up to there.
func (x *machine) restore(t *rapid.T) {
	if x.flush != nil {
		return
	}
	to := newCluster
	at := x.m.revision
	if rapid.Bool().Draw(t, "of the past") {
		at = Revision(rapid.Uint64Range(uint64(max(x.m.floor, 1)-1), uint64(x.m.revision)).Draw(t, "at"))
		to.At = &at
	}
	s, err := restored(t, x.r, to)
	if at < x.m.floor {
		require.Equal(t, x.m.floor, floorOf(err))
		return
	}
	if _, floor := x.m.compactedIn(at, "", ""); floor != 0 {
		require.Equal(t, x.m.heldFrom(), floorOf(err))
		return
	}
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	now := x.newest(t)
	defer now.v.Close()
	v, err := s.View()
	require.NoError(t, err)
	defer v.Close()
	st := s.State()
	require.Equal(t, to.Cluster, st.Cluster)
	require.Equal(t, x.m.revision+RestoreGap, st.Revision)
	require.Equal(t, []Gap{{From: at, To: st.Revision}}, st.Gaps)
	require.Equal(t, now.v.State().Applied, st.Applied)
	require.NoError(t, VerifyChain(context.Background(), v))
	require.NoError(t, scrub(s))
	// The newest is what was at that revision, and so is each revision before.
	heldView{v, x.m, at}.requireScan(t, "", "")
	for rev := x.m.floor; rev <= at; rev++ {
		past, err := v.At(rev)
		require.NoError(t, err)
		heldView{past, x.m, rev}.requireScan(t, "", "")
		past.Close()
	}
	for _, rev := range []Revision{at + 1, st.Revision - 1} {
		_, err := v.At(rev)
		require.Equal(t, st.Revision, floorOf(err))
	}
	then, err := now.v.At(at)
	require.NoError(t, err)
	defer then.Close()
	for _, key := range []string{"a", "a/b", "a-b", genKey.Draw(t, "key")} {
		require.Equal(t, keyEvents(t, then, key), keyEvents(t, v, key), key)
	}
	require.Equal(t, changesUpTo(t, now.v, at), changesUpTo(t, v, at))
	for _, path := range []string{"", "a/", "a/b/", "b/"} {
		want, found, err := then.Namespace(path)
		require.NoError(t, err)
		got, there, err := v.Namespace(path)
		require.NoError(t, err)
		require.Equal(t, found, there, path)
		require.Equal(t, want, got, path)
	}
	for _, p := range modelPrincipals {
		for _, key := range []string{"k1", "k2", "k3"} {
			i := Idempotency{Key: key, Request: [32]byte{0}}
			want, known, err := now.v.Answer(&p, &i)
			require.NoError(t, err)
			got, here, err := v.Answer(&p, &i)
			require.NoError(t, err)
			switch {
			case here:
				require.Equal(t, want, got)
				require.LessOrEqual(t, got.Revision, at, "an answer to what is lost is lost")
			case known && want.Replayed:
				require.Greater(t, want.Revision, at, "an answer to what is kept is kept")
			case known && to.At == nil:
				require.Fail(t, "an answer is gone")
			}
		}
	}
}

func keyEvents(t require.TestingT, v *View, key string) (out []event) {
	require.NoError(t, v.KeyHistory(key, v.Revision(), func(rev Revision, e Event) bool {
		out = append(out, kept(rev, e))
		return true
	}))
	return out
}

func changesUpTo(t require.TestingT, v *View, to Revision) (out []Change) {
	if floor := v.State().Floor; floor < to {
		require.NoError(t, v.Changes(floor+1, to, func(ch Change) bool { out = append(out, ch); return true }))
	}
	return out
}

// A restored cluster goes on: from a revision nobody ever saw, with what was and without what was lost.
func TestLifeAfterARestore(t *testing.T) {
	r := newReplica(t)
	for i := range 5 {
		r.do(Command{AcceptedAt: int64(10 + i), Ops: []Op{put("a", fmt.Sprint(i)), put(fmt.Sprintf("k%d", i), "v")}})
	}
	r.do(Command{AcceptedAt: 20, Ops: []Op{del("a")}})
	at := Revision(4)
	to := newCluster
	to.At = &at
	s, err := restored(t, r, to)
	require.NoError(t, err)
	next := &replica{t: t, s: s, log: make([]Entry, s.State().Applied)}
	t.Cleanup(func() { assert.NoError(t, next.s.Close()) })
	begin := Revision(6 + RestoreGap)
	require.Equal(t, begin, s.State().Revision)

	rec, found := next.get("a")
	require.True(t, found, "what was deleted later comes back")
	assert.Equal(t, "3", string(rec.Value))
	_, found = next.get("k4")
	assert.False(t, found)
	assert.Equal(t, []uint64{1, 2}, s.State().Conf.Voters)
	assert.Equal(t, uint64(2), s.State().LastRaftID)

	// Sequence numbers of the old members mean nothing to the new ones.
	res := next.put("a", "new")
	assert.Equal(t, Applied, res.Outcome)
	assert.Equal(t, begin+1, res.Revision)
	// A condition of the lost part does not hold.
	lost := next.do(Command{Compares: []Compare{{Kind: RevisionIs, Key: "a", Revision: 5}}, Ops: []Op{put("a", "x")}})
	assert.Equal(t, CompareFailed, lost.Outcome)
	// To go back to there neither: nobody knows what was.
	back := next.do(Command{Ops: []Op{{Kind: Restore, Key: "", Revision: 5}}})
	assert.Equal(t, Compacted, back.Outcome)
	assert.Equal(t, begin, back.Floor)
	back = next.do(Command{Ops: []Op{{Kind: Restore, Key: "", Revision: 2}}})
	assert.Equal(t, Applied, back.Outcome, "but what is held can be brought back")
	next.flush()

	v, err := next.s.View()
	require.NoError(t, err)
	defer v.Close()
	st := v.State()
	_, err = v.Change(5)
	assert.Equal(t, begin, floorOf(err))
	ch, err := v.Change(begin)
	require.NoError(t, err)
	assert.Equal(t, []ChangedKey{{Kind: Restored, Old: 4}}, ch.Ops)
	assert.Equal(t, "restored for a test", ch.Comment)
	assert.Equal(t, int64(50), ch.At)
	require.NoError(t, v.Events(&ch, "", func(Event) bool { assert.Fail(t, "a restore is of no key"); return false }))

	var seen []Revision
	require.NoError(t, v.Changes(3, begin+1, func(ch Change) bool { seen = append(seen, ch.Revision); return true }))
	assert.Equal(t, []Revision{3, 4, begin, begin + 1}, seen)
	seen = nil
	require.NoError(t, v.Changes(5, begin-1, func(ch Change) bool { seen = append(seen, ch.Revision); return true }))
	assert.Empty(t, seen)
	require.NoError(t, v.Audit(AuditPosition{Change: begin - 7}, func(e AuditEntry, p AuditPosition) bool {
		seen = append(seen, e.Change.Revision, p.Change)
		return len(seen) < 4
	}))
	assert.Equal(t, []Revision{4, 3, 3, 2}, seen, "a place that was shown before the restore")
	seen = nil
	require.NoError(t, v.Audit(v.AuditEnd(), func(e AuditEntry, _ AuditPosition) bool {
		seen = append(seen, e.Change.Revision)
		return true
	}))
	assert.Equal(t, []Revision{begin + 2, begin + 1, begin, 4, 3, 2, 1}, seen)
	for moment, want := range map[int64]Revision{9: 0, 10: 1, 13: 4, 14: 4, 49: 4, 50: begin + 2} {
		got, err := v.RevisionAt(time.Unix(0, moment))
		require.NoError(t, err)
		assert.Equal(t, want, got, moment)
	}
	assert.Equal(t, uint64(7), st.Between(0, st.Revision))
	require.NoError(t, VerifyChain(t.Context(), v))
	require.NoError(t, scrub(next.s))
}

// History that is compacted goes over the gap, by age and by count, in memory and in the database.
func TestCompactionOverAGap(t *testing.T) {
	for _, keep := range []Maintenance{{Elapsed: time.Hour, KeepFor: time.Minute}, {Elapsed: time.Hour, KeepVersions: 1}} {
		r := newReplica(t)
		for i := range 5 {
			r.put("a", fmt.Sprint(i))
		}
		s, err := restored(t, r, newCluster)
		require.NoError(t, err)
		next := &replica{t: t, s: s, log: make([]Entry, s.State().Applied)}
		t.Cleanup(func() { assert.NoError(t, next.s.Close()) })
		next.put("a", "new")
		next.put("a", "newer")
		next.flush()
		res := next.apply(encode(t, Command{Maintenance: &keep}))
		assert.False(t, res.Behind, "nothing is left to be done")
		require.NoError(t, scrub(next.s))
		next.flush()
		require.NoError(t, scrub(next.s))
		v, err := next.s.View()
		require.NoError(t, err)
		require.NoError(t, VerifyChain(t.Context(), v))
		if keep.KeepFor > 0 {
			assert.Equal(t, s.State().Revision, s.State().Floor)
		} else {
			assert.Len(t, keyEvents(t, v, "a"), 2, "the newest, and one before")
		}
		v.Close()
	}
}

// What is restored can be restored again: the gaps stay, and the chain holds over each.
func TestRestoreOfARestore(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.put("a", "2")
	first, err := restored(t, r, newCluster)
	require.NoError(t, err)
	mid := &replica{t: t, s: first, log: make([]Entry, first.State().Applied), path: r.path}
	t.Cleanup(func() { assert.NoError(t, mid.s.Close()) })
	mid.put("a", "3")
	for _, c := range []struct {
		at   Revision
		gaps []Gap
	}{
		{3 + RestoreGap, []Gap{{2, 2 + RestoreGap}, {3 + RestoreGap, 3 + 2*RestoreGap}}},
		{2 + RestoreGap, []Gap{{2, 2 + RestoreGap}, {2 + RestoreGap, 3 + 2*RestoreGap}}},
		{2, []Gap{{2, 3 + 2*RestoreGap}}},
		{1, []Gap{{1, 3 + 2*RestoreGap}}},
	} {
		to := newCluster
		to.Cluster, to.At = ClusterID{8}, &c.at
		again, err := restored(t, mid, to)
		require.NoError(t, err)
		assert.Equal(t, c.gaps, again.State().Gaps)
		v, err := again.View()
		require.NoError(t, err)
		require.NoError(t, VerifyChain(t.Context(), v))
		v.Close()
		require.NoError(t, scrub(again))
		require.NoError(t, again.Close())
	}
	lost := Revision(7)
	to := newCluster
	to.At = &lost
	_, err = restored(t, mid, to)
	assert.Equal(t, Revision(2+RestoreGap), floorOf(err), "a revision of a gap is none to go back to")
}

// Whoever restores the same file in the same way has the same state, and nobody else.
func TestRestoreIsTheSameEverywhere(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.put("b", "2")
	hash := func(change func(*Restoration)) [32]byte {
		to := newCluster
		change(&to)
		s, err := restored(t, r, to)
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		return s.State().Hash
	}
	same := hash(func(*Restoration) {})
	assert.Equal(t, same, hash(func(*Restoration) {}))
	at := Revision(1)
	for name, change := range map[string]func(*Restoration){
		"cluster": func(to *Restoration) { to.Cluster[0]++ },
		"members": func(to *Restoration) { to.Members = to.Members[:1] },
		"at":      func(to *Restoration) { to.At = &at },
		"time":    func(to *Restoration) { to.Time++ },
		"comment": func(to *Restoration) { to.Comment += "." },
	} {
		assert.NotEqual(t, same, hash(change), name)
	}
	bad := newCluster
	bad.Members = []Member{{RaftID: 2, Name: "x"}}
	_, err := restored(t, r, bad)
	require.ErrorContains(t, err, "raft id 2")
	future := Revision(3)
	bad = newCluster
	bad.At = &future
	_, err = restored(t, r, bad)
	require.ErrorIs(t, err, ErrFuture)
}

// A gap that the chain does not tell of is no gap: what is missing was taken away.
func TestGapThatIsNoRestore(t *testing.T) {
	ch := Change{Revision: 9, Ops: []ChangedKey{{Kind: Put, Key: "a"}}}
	value := encodeChange(&ch, [32]byte{1})
	_, err := follow(5, 9, [32]byte{1}, &ch, value)
	require.ErrorContains(t, err, "no restore")
	ch.Ops = []ChangedKey{{Kind: Restored, Old: 4}}
	value = encodeChange(&ch, [32]byte{1})
	_, err = follow(5, 9, [32]byte{1}, &ch, value)
	require.ErrorContains(t, err, "no restore", "of another revision")
	_, err = follow(4, 9, [32]byte{1}, &ch, value)
	require.NoError(t, err)
}

// To go back to before some gaps leaves room for one, however many there were.
func TestRestoreToBeforeManyRestores(t *testing.T) {
	r := newReplica(t)
	r.put("a", "1")
	r.flush()
	l := r.s.state
	for i := range Revision(MaxGaps) {
		l.gaps = append(l.gaps, Gap{From: 1 + i*RestoreGap, To: 1 + (i+1)*RestoreGap})
	}
	at := func(rev Revision) *restoring { return &restoring{l: l, to: &newCluster, at: rev} }
	require.NoError(t, at(1).makeRoom())
	require.NoError(t, at(l.gaps[MaxGaps-1].From).makeRoom())
	require.ErrorContains(t, at(l.gaps[MaxGaps-1].To).makeRoom(), "64 restores")
}

// What is refused since versions are missing says from when on none is: of no key, not of the first only.
func TestRestoreToWhereVersionsAreMissing(t *testing.T) {
	r := newReplica(t)
	for i := range 4 {
		r.put("a", fmt.Sprint(i))
		r.put("b", fmt.Sprint(i))
	}
	r.apply(encode(t, Command{Maintenance: &Maintenance{KeepVersions: 1}}))
	at := Revision(2)
	to := newCluster
	to.At = &at
	_, err := restored(t, r, to)
	require.NotZero(t, floorOf(err))
	at = floorOf(err)
	s, err := restored(t, r, to)
	require.NoError(t, err, "it said that this revision can be restored")
	require.NoError(t, s.Close())
	at--
	_, err = restored(t, r, to)
	require.Error(t, err)
}
