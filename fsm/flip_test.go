package fsm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// flipped is a small database with what it must answer: a tree of two levels, a
// value over several pages, superseded records and marks in the place of some, a change log
// that begins at a floor, answers to idempotency keys, windows, and freed pages whose old
// records have good checksums.
type flipped struct {
	path  string
	image []byte
	// states are what the last two commits hold, by applied index: when the newer
	// meta page is damaged, the older commit is the database.
	states map[Index]*model
	log    []Entry
}

// flipOptions map little: the test opens the database some ten thousand times.
var flipOptions = Options{NoSync: true, MmapBytes: 1 << 20}

func newFlipped(t *testing.T) *flipped {
	t.Helper()
	f := &flipped{path: filepath.Join(memoryDir(t), "db"), states: map[Index]*model{}}
	require.NoError(t, Create(f.path, testGenesis, flipOptions))
	r := &replica{t: t, path: f.path}
	r.open()
	m := newModel()
	do := func(cmd Command) {
		r.doAll([]Command{cmd})
		m.apply(&cmd)
	}
	for round := range 2 {
		var ops []Op
		for i := range 20 {
			if i%4 == round || round == 0 {
				ops = append(ops, put(fmt.Sprintf("some/key/%02d", i), strings.Repeat("v", 150)+fmt.Sprint(round)))
			}
		}
		do(Command{Ops: ops, Comment: "round", Idempotency: Idempotency{Key: fmt.Sprint(round)}})
		if round == 0 {
			do(Command{Ops: []Op{put("some/large", strings.Repeat("large", 820)), del("some/key/07")}})
			do(Command{Maintenance: &Maintenance{Elapsed: IdempotencyRetention - 1}})
			do(Command{Ops: []Op{put("some/key/01", "twice"), put("some/key/05", "twice")}})
			do(Command{Ops: []Op{putNamespace("", flipRoot)}})
			do(Command{Ops: []Op{putNamespace("some/", Namespace{Owner: "first"})}})
			do(Command{Ops: []Op{put("x", "")}, Principal: Principal{Kind: User, Issuer: "i", Object: "stranger"}})
		} else {
			do(Command{Ops: []Op{putNamespace("some/", Namespace{Bindings: []Binding{{"viewer", []string{"cert:c"}}}})}})
			do(Command{Denials: []Denial{{Kind: DeniedRead, Verbs: VerbRead, Path: "some/", Count: 2, Reason: "forbidden"}}})
			do(Command{Ops: []Op{put("some/key/01", "thrice"), put("some/key/05", "thrice")}})
			do(Command{Ops: []Op{put("some/key/09", "since"), del("some/key/17")}, Idempotency: Idempotency{Key: "last"}})
			do(Command{Maintenance: &Maintenance{Elapsed: 1, KeepFor: time.Minute, KeepVersions: 1}})
		}
		r.flush()
		f.states[r.s.State().Applied] = m.clone()
	}
	require.Equal(t, Revision(2), m.floor)
	require.Len(t, m.denials, 2)
	require.Len(t, m.answers, 2)
	require.NotZero(t, m.compacted("some/key/01", 2))
	f.log = r.log
	require.NoError(t, scrub(r.s))
	require.NoError(t, r.s.Close())
	var err error
	f.image, err = os.ReadFile(f.path)
	require.NoError(t, err)
	return f
}

// flipRoot denies somebody: it would be missed.
var flipRoot = Namespace{
	Bindings: []Binding{{"editor", []string{"user:i/editor"}}},
	Denied:   []string{"user:i/denied"},
}

// spans cuts the database into what is flipped at a time: single bytes where
// something is written in a page in use, and 64 at once where nothing reads:
// in free pages and behind the last byte of the others.
func (f *flipped) spans(t *testing.T) (out [][2]int) {
	t.Helper()
	const idle = 64
	s, err := Open(f.path, flipOptions)
	require.NoError(t, err)
	p := s.base.pages
	for at := 0; at < len(f.image); at += pageBytes {
		page := f.image[at:min(at+pageBytes, len(f.image))]
		written := 0
		if id := uint64(at / pageBytes); id < p.meta.pages && !p.isFree(id) {
			written = len(bytes.TrimRight(page, "\x00"))
			written = min((written+2*idle-1)/idle*idle, len(page))
		}
		for i := range written {
			out = append(out, [2]int{at + i, at + i + 1})
		}
		for i := written; i < len(page); i += idle {
			out = append(out, [2]int{at + i, at + min(i+idle, len(page))})
		}
	}
	require.NoError(t, s.Close())
	return out
}

// eachByte flips each span of the database, or one in stride, in turn, and calls
// check with the file so. The bits flipped vary, so that each is hit somewhere in
// each structure.
func (f *flipped) eachByte(t *testing.T, first, stride int, check func()) {
	t.Helper()
	f.eachByteAfter(t, first, stride, func() {}, check)
}

// eachByteAfter is eachByte, with before called each time while the file is still whole.
func (f *flipped) eachByteAfter(t *testing.T, first, stride int, before, check func()) {
	t.Helper()
	spans := f.spans(t)
	file, err := os.OpenFile(f.path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	for i := first; i < len(spans); i += stride {
		from, to := spans[i][0], spans[i][1]
		mask := []byte{1 << (from % 8), 0xff, 1 << (from / 8 % 8)}[from%3]
		bad := bytes.Clone(f.image[from:to])
		for i := range bad {
			bad[i] ^= mask
		}
		before()
		_, err := file.WriteAt(bad, int64(from))
		require.NoError(t, err)
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("bytes from %d to %d of page %d flipped with %02x", from%pageBytes, (to-1)%pageBytes, from/pageBytes, mask)
				}
			}()
			check()
		}()
		require.NoError(t, file.Truncate(int64(len(f.image))))
		_, err = file.WriteAt(f.image, 0)
		require.NoError(t, err)
	}
}

// For each flipped byte: every read answers rightly, refuses, or reports an
// absence that the next scrub names. No wrong value, no crash.
func TestEachByteFlippedThenRead(t *testing.T) {
	t.Parallel()
	for first, half := range []string{"even", "odd"} {
		t.Run(half, func(t *testing.T) {
			t.Parallel()
			f := newFlipped(t)
			var seen flipCounts
			f.eachByte(t, first, 2, func() { f.readFlipped(t, &seen) })
			t.Logf("of %d bytes: %+v", len(f.image), seen)
			assert.Positive(t, seen.refusedOpens, "opens refused")
			assert.Positive(t, seen.refusedReads, "reads refused")
			assert.Positive(t, seen.absences, "absences that the scrub named")
			assert.Positive(t, seen.older, "opened at the commit before")
		})
	}
}

// flipCounts says how the database answered.
type flipCounts struct{ refusedOpens, refusedReads, absences, older, right int }

func (f *flipped) readFlipped(t *testing.T, seen *flipCounts) {
	t.Helper()
	s, err := Open(f.path, flipOptions)
	if err != nil {
		require.ErrorIs(t, err, ErrDamaged)
		seen.refusedOpens++
		return
	}
	st := s.State()
	want, known := f.states[st.Applied]
	require.True(t, known, "applied index %d was never committed", st.Applied)
	if int(st.Applied) < len(f.log) {
		seen.older++
	}
	refused, absent := readAll(t, s, want)
	scrubbed := scrub(s)
	if scrubbed != nil {
		require.ErrorIs(t, scrubbed, ErrDamaged)
	}
	switch {
	case absent > 0:
		seen.absences++
		require.Error(t, scrubbed, "the scrub must name the absence")
	case refused > 0:
		seen.refusedReads++
		require.Error(t, scrubbed, "the scrub must find what a read found")
	default:
		seen.right++
	}
	require.NoError(t, s.Close())
}

// readAll reads everything in every way and fails on a wrong answer.
func readAll(t *testing.T, s *Store, m *model) (refused, absent int) {
	t.Helper()
	want := m.records
	v, err := s.View()
	require.NoError(t, err)
	defer v.Close()
	answer := func(err error) bool {
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			refused++
		}
		return err == nil
	}
	for key, rec := range want {
		got, found, err := v.Get(key)
		switch {
		case !answer(err):
		case !found:
			absent++
		case !same(rec, got):
			t.Fatalf("got %v, want %v", got, rec)
		}
	}
	for _, key := range []string{"", "some", "some/key/07", "some/key/99", "zzz"} {
		_, found, err := v.Get(key)
		if answer(err) {
			require.False(t, found, key)
		}
	}
	scanned := 0
	err = v.Scan("", "", func(r Record) bool {
		if !same(want[r.Key], r) {
			t.Fatalf("scanned %v, want %v", r, want[r.Key])
		}
		scanned++
		return true
	})
	if answer(err) && scanned < len(want) {
		absent++
	}
	names, err := v.Children("some/", "", 1000)
	if answer(err) && len(names) != 2 {
		absent++
	}
	if err := VerifyChain(context.Background(), v); err != nil {
		require.ErrorIs(t, err, ErrDamaged)
		refused++
	}
	for _, key := range []string{"0", "1", "last"} {
		got, found, err := v.Answer(&Principal{}, &Idempotency{Key: key})
		if known, there := m.answers["anonymous"+key]; answer(err) && found {
			known.result.Replayed = true
			require.True(t, there, key)
			require.Equal(t, known.result, got)
		} else if err == nil && there {
			absent++
		}
	}
	for _, p := range []Principal{{}, {Kind: User, Issuer: "i", Object: "editor"}, {Kind: User, Issuer: "i", Object: "denied"}, {Kind: Certificate, Object: "c"}} {
		g := v.Policy().Grants(&p)
		require.Equal(t, m.may(&p, "some/key"), g.Verbs("some/key"), "a policy is right, or the store does not open")
	}
	for rev := m.floor; rev < m.revision; rev++ {
		if was, there := m.asPolicy(rev)["some/"]; there {
			refusedThen, absentThen := readNamespace(t, v, rev, &was)
			refused, absent = refused+refusedThen, absent+absentThen
		}
	}
	rows := len(m.denials)
	err = v.Audit(v.AuditEnd(), func(e AuditEntry, _ AuditPosition) bool {
		if e.Denied != nil {
			require.Equal(t, m.denials[e.Denied.Number-1], *e.Denied)
			rows--
		}
		return true
	})
	if answer(err) && rows > 0 {
		absent++
	}
	for rev := m.floor; rev < m.revision; rev++ {
		pastRefused, pastAbsent := readPast(t, v, m, rev)
		refused, absent = refused+pastRefused, absent+pastAbsent
	}
	return refused, absent
}

// readNamespace reads what "some/" was at revision rev.
func readNamespace(t *testing.T, v *View, rev Revision, want *NamespaceRecord) (refused, absent int) {
	t.Helper()
	past, err := v.At(rev)
	require.NoError(t, err)
	defer past.Close()
	got, found, err := past.Namespace("some/")
	switch {
	case err != nil:
		require.ErrorIs(t, err, ErrDamaged)
		return 1, 0
	case !found:
		return 0, 1
	}
	require.Equal(t, string(want.Encode()), string(got.Encode()))
	return 0, 0
}

// readPast is readAll of a past revision.
func readPast(t *testing.T, v *View, m *model, rev Revision) (refused, absent int) {
	t.Helper()
	past, err := v.At(rev)
	require.NoError(t, err)
	defer past.Close()
	was := m.as(rev).records
	for _, key := range []string{"some/key/01", "some/key/04", "some/key/07", "some/key/09", "some/key/17", "some/large"} {
		got, found, err := past.Get(key)
		want, there := was[key]
		switch floor := m.compacted(key, rev); {
		case floorOf(err) != 0:
			require.Equal(t, floor, floorOf(err), key)
		case err != nil:
			require.ErrorIs(t, err, ErrDamaged)
			refused++
		case found:
			require.Zero(t, floor, key)
			require.True(t, there && same(want, got), "%s was %v at %d, not %v", key, want, rev, got)
		case floor != 0 || there:
			absent++
		}
	}
	return refused, absent
}

// same compares two records, an empty value being equal to none.
func same(a, b Record) bool {
	equal := bytes.Equal(a.Value, b.Value)
	a.Value, b.Value = nil, nil
	return equal && reflect.DeepEqual(a, b)
}

// For flipped bytes, writes, a compaction and a flush on top of it: the node may refuse
// and stop, but what it answers then, and after it opens again, is right.
func TestBytesFlippedThenWritten(t *testing.T) {
	t.Parallel()
	f := newFlipped(t)
	var stopped, flushed int
	f.eachByte(t, 0, 7, func() {
		s, err := Open(f.path, flipOptions)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		want := f.states[s.State().Applied].records
		ents := slices.Clone(f.log[s.State().Applied:])
		ops := []Op{put("some/key/07", "new"), put("some/key/08", "new"), del("some/key/14"), put("a", "first")}
		last := len(f.log)
		ents = append(ents, f.more(t, ops)...)
		_, err = s.Apply(ents)
		if err == nil {
			err = s.BeginFlush().Commit()
		}
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			stopped++
		} else {
			flushed++
			want = f.states[Index(last)].records
			checkWritten(t, s, want, ops)
		}
		require.NoError(t, s.Close())
		s, err = Open(f.path, flipOptions)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		if int(s.State().Applied) <= last {
			want, ops = f.states[s.State().Applied].records, nil
		}
		checkWritten(t, s, want, ops)
		require.NoError(t, s.Close())
	})
	t.Logf("%d bytes: %d stopped, %d flushed", len(f.image), stopped, flushed)
	assert.Positive(t, stopped)
	assert.Positive(t, flushed)
}

// more are ops, and a compaction, behind the log.
func (f *flipped) more(t *testing.T, ops []Op) []Entry {
	t.Helper()
	last := len(f.log)
	cmd := Command{Origin: Origin{1, 1, uint64(last + 1)}, Ops: ops}
	sweep := Command{Maintenance: &Maintenance{Elapsed: IdempotencyRetention, KeepFor: 1, KeepVersions: 1}}
	return []Entry{
		{Index: Index(last + 1), Term: 1, Data: encode(t, cmd)},
		{Index: Index(last + 2), Term: 1, Data: encode(t, sweep)},
	}
}

// For bytes that are flipped when all of the database was read and a flush is due, which does not
// look at all of its keys again: the node may refuse and stop, but nothing wrong is answered then.
func TestBytesFlippedOnceRead(t *testing.T) {
	t.Parallel()
	f := newFlipped(t)
	ops := []Op{put("some/key/07", "new"), put("some/key/08", "new"), del("some/key/14"), put("a", "first")}
	want := f.states[Index(len(f.log))].records
	var s *Store
	var stopped, flushed int
	f.eachByteAfter(t, 0, 7, func() {
		var err error
		s, err = Open(f.path, flipOptions)
		require.NoError(t, err)
		require.NoError(t, scrub(s))
		_, err = s.Apply(f.more(t, ops))
		require.NoError(t, err)
	}, func() {
		if err := s.BeginFlush().Commit(); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			stopped++
		} else {
			flushed++
			checkWritten(t, s, want, ops)
		}
		require.NoError(t, s.Close())
		s, err := Open(f.path, flipOptions)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		defer func() { require.NoError(t, s.Close()) }()
		switch applied := s.State().Applied; {
		case int(applied) > len(f.log):
			checkWritten(t, s, want, ops)
		default:
			checkWritten(t, s, f.states[applied].records, nil)
		}
	})
	t.Logf("%d bytes: %d stopped, %d flushed", len(f.image), stopped, flushed)
	assert.Positive(t, stopped)
	assert.Positive(t, flushed)
}

// checkWritten fails if s answers anything but want with ops on top; where it
// reports an absence, its scrub must fail.
func checkWritten(t *testing.T, s *Store, want map[string]Record, ops []Op) {
	t.Helper()
	value := map[string]string{}
	for key, rec := range want {
		value[key] = string(rec.Value)
	}
	for _, op := range ops {
		value[op.Key] = string(op.Value)
		if op.Kind == Delete {
			delete(value, op.Key)
		}
	}
	v, err := s.View()
	require.NoError(t, err)
	defer v.Close()
	absent := 0
	for key, want := range value {
		rec, found, err := v.Get(key)
		switch {
		case err != nil:
			require.ErrorIs(t, err, ErrDamaged)
		case !found:
			absent++
		case want != string(rec.Value):
			t.Fatalf("%s is %q, want %q", key, rec.Value, want)
		}
	}
	scanned := 0
	err = v.Scan("", "", func(r Record) bool {
		if want, exists := value[r.Key]; !exists || want != string(r.Value) {
			t.Fatalf("%s is %q, want %q (exists: %v)", r.Key, r.Value, want, exists)
		}
		scanned++
		return true
	})
	if err != nil {
		require.ErrorIs(t, err, ErrDamaged)
	} else if scanned != len(value) {
		absent++
	}
	if err := scrub(s); absent > 0 || err != nil {
		require.ErrorIs(t, err, ErrDamaged, "%d absent", absent)
	}
}

// A later flush, which does not go over the use of all pages any more, stops at what is damaged in order: also where a
// pointer is to a page that there is not.
func TestBytesFlippedBeforeALaterFlush(t *testing.T) {
	t.Parallel()
	f := newFlipped(t)
	ops := []Op{put("some/key/07", "new"), put("some/key/08", "new"), del("some/key/14"), put("a", "first")}
	var s *Store
	stopped := 0
	f.eachByteAfter(t, 0, 7, func() {
		var err error
		s, err = Open(f.path, flipOptions)
		require.NoError(t, err)
		s.verified = true
		_, err = s.Apply(f.more(t, ops))
		require.NoError(t, err)
	}, func() {
		if err := s.BeginFlush().Commit(); err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			stopped++
		}
		require.NoError(t, s.Close())
	})
	assert.Positive(t, stopped)
}
