package fsm

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// genKey draws from few keys, with names on both sides of '/' in byte order.
var genKey = rapid.Custom(func(t *rapid.T) string {
	names := []string{"a", "a-b", "a.b", "a0", "b", "a-", "ü"}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(t, "key"), "/")
})

// genHotKey draws mostly from very few, which so get many versions.
var genHotKey = rapid.OneOf(rapid.SampledFrom([]string{"a", "a/b", "a-b"}), genKey)

var genValue = rapid.Custom(func(t *rapid.T) []byte {
	if rapid.IntRange(0, 30).Draw(t, "large") == 0 {
		return bytes.Repeat([]byte("large "), rapid.IntRange(500, 4000).Draw(t, "length"))
	}
	return []byte(rapid.SampledFrom([]string{"", "1", "2", "true"}).Draw(t, "value"))
})

// machine is a store beside its model, and a second replica that never flushes.
type machine struct {
	r     *replica
	m     *model
	lazy  *replica
	flush *Flush
	views []heldView
	image *Image // nil when none is held
}

// heldView is a view with the model as it was when it was taken.
type heldView struct {
	v   *View
	m   *model
	rev Revision // that v shows
}

func TestStoreAgainstModel(t *testing.T) {
	dir := memoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		sub, err := os.MkdirTemp(dir, "run") //nolint:usetesting // rapid's T has no directory, and each run needs its own
		require.NoError(t, err)
		defer func() { require.NoError(t, os.RemoveAll(sub)) }()
		open := func(name string) *replica {
			r := &replica{t: t, path: filepath.Join(sub, name)}
			require.NoError(t, Create(r.path, testGenesis, testOptions))
			r.open()
			return r
		}
		x := &machine{r: open("db"), lazy: open("lazy"), m: newModel()}
		defer func() {
			x.closeViews()
			x.closeImage()
			require.NoError(t, x.r.s.Close())
			require.NoError(t, x.lazy.s.Close())
		}()
		t.Repeat(map[string]func(*rapid.T){
			"write":       x.write,
			"write again": x.write,
			"write more":  x.writeMany,
			"churn":       x.churn,
			"churn again": x.churn,
			"write batch": x.writeBatch,
			"govern":      x.govern,
			"govern more": x.govern,
			"report":      x.report,
			"maintain":    x.maintain,
			"begin flush": x.beginFlush,
			"commit":      x.commit,
			"crash":       x.crash,
			"hold view":   x.holdView,
			"close views": func(*rapid.T) { x.closeViews() },
			"hold image":  x.holdImage,
			"read image":  x.readImage,
			"restore":     x.restore,
			"read":        x.read,
			"scrub":       x.scrub,
			"":            x.check,
		})
	})
}

// read compares what the store answers in one of its ways.
func (x *machine) read(t *rapid.T) {
	for range 3 {
		ways := []func(*rapid.T){x.past, x.history, x.diff, x.times, x.scan, x.children, x.answer, x.allOfPast, x.policy, x.namespaces, x.audit}
		ways[rapid.IntRange(0, len(ways)-1).Draw(t, "way")](t)
	}
}

func (x *machine) command(t *rapid.T) Command {
	cmd := Command{
		AcceptedAt: int64(rapid.IntRange(0, 100).Draw(t, "accepted at")),
		Comment:    rapid.SampledFrom([]string{"", "why"}).Draw(t, "comment"),
		Principal:  rapid.SampledFrom(modelPrincipals).Draw(t, "principal"),
	}
	if rapid.IntRange(0, 2).Draw(t, "keyed") == 0 {
		cmd.Idempotency = genIdempotency.Draw(t, "idempotency")
	}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		c := Compare{
			Kind: rapid.SampledFrom([]CompareKind{KeyExists, KeyAbsent, RevisionIs, ValueIs}).Draw(t, "compare"),
			Key:  genHotKey.Draw(t, "key"),
		}
		rec := x.m.records[c.Key]
		switch off := rapid.IntRange(0, 9).Draw(t, "off") == 9; {
		case c.Kind == RevisionIs && off:
			c.Revision = rec.Revision + 1
		case c.Kind == RevisionIs:
			c.Revision = rec.Revision
		case c.Kind == ValueIs && off:
			c.Value = genValue.Draw(t, "value")
		case c.Kind == ValueIs:
			c.Value = rec.Value
		}
		cmd.Compares = append(cmd.Compares, c)
	}
	cmd.Ops = x.ops(t)
	if len(cmd.Compares) > 0 && rapid.Bool().Draw(t, "else") {
		cmd.Else = x.ops(t)
	}
	return cmd
}

var modelPrincipals = []Principal{
	{},
	{Kind: User, Issuer: "i", Tenant: "t", Object: "o"},
	{Kind: User, Issuer: "i", Tenant: "t", Object: "o", Roles: []string{"role"}},
	{Kind: User, Issuer: "i", Object: "other", App: "app", Groups: [][16]byte{{1, 2}, {3}}},
	{Kind: ServicePrincipal, Issuer: "i", Tenant: "t", App: "app", Object: "o", Groups: [][16]byte{{3}}},
	{Kind: Certificate, Object: "machine"},
}

// modelNames are subjects that are some of modelPrincipals, and others.
var modelNames = []string{
	"user:i/t/o", "user:i/other", "app:i/t/app", "app:i/app", "cert:machine", "role:i/role",
	"group:i/00000000-0000-0000-0000-000000000000", "group:i/01020000-0000-0000-0000-000000000000",
	"group:i/t/03000000-0000-0000-0000-000000000000", "user:i/nobody",
}

var genIdempotency = rapid.Custom(func(t *rapid.T) Idempotency {
	return Idempotency{
		Key:        rapid.SampledFrom([]string{"k1", "k2", "k3"}).Draw(t, "idempotency key"),
		Request:    [32]byte{byte(rapid.IntRange(1, 6).Draw(t, "request") / 6)},
		OnlyIfDone: rapid.Bool().Draw(t, "only if done"),
	}
})

// ops draws the operations of one branch.
func (x *machine) ops(t *rapid.T) (ops []Op) {
	for _, key := range rapid.SliceOfNDistinct(genHotKey, 0, 4, rapid.ID[string]).Draw(t, "keys") {
		op := del(key)
		switch rapid.IntRange(0, 6).Draw(t, "op") {
		case 0, 1:
		case 2:
			op = Op{Kind: Restore, Key: key, Revision: x.anyRevision(t)}
		default:
			op = Op{Kind: Put, Key: key, Value: genValue.Draw(t, "value"), ContentType: "text/plain"}
		}
		ops = append(ops, op)
	}
	tree := Op{Kind: DeleteTree}
	switch rapid.IntRange(0, 7).Draw(t, "tree") {
	case 0:
	case 1:
		tree = Op{Kind: Restore, Revision: x.anyRevision(t)}
	default:
		return ops
	}
	if rapid.IntRange(0, 5).Draw(t, "root") > 0 {
		tree.Key = genKey.Draw(t, "subtree") + "/"
	}
	ops = slices.DeleteFunc(ops, func(op Op) bool { return strings.HasPrefix(op.Key, tree.Key) })
	return slices.Insert(ops, rapid.IntRange(0, len(ops)).Draw(t, "at"), tree)
}

// anyRevision is one to restore: mostly one that is held, sometimes one below the floor or in the
// future.
func (x *machine) anyRevision(t *rapid.T) Revision {
	lo, hi := x.m.floor, x.m.revision
	if rapid.IntRange(0, 9).Draw(t, "out of bounds") == 0 {
		lo, hi = 0, hi+2
	}
	return Revision(rapid.Uint64Range(uint64(lo), uint64(hi)).Draw(t, "revision"))
}

// do applies commands in one Apply, and by the lazy replica each in its own.
func (x *machine) do(t *rapid.T, cmds ...Command) {
	for i, res := range x.r.doAll(cmds) {
		want := x.m.apply(&cmds[i])
		want.Index, want.Term, want.Origin = res.Index, res.Term, res.Origin
		want.Ops = slices.Clip(want.Ops)
		if len(res.Ops) == 0 && len(want.Ops) == 0 {
			res.Ops, want.Ops = nil, nil
		}
		require.Equal(t, want, res)
		require.Equal(t, cmds[i].Maintenance == nil, !res.Origin.incomplete())
		x.lazy.doAll(cmds[i : i+1])
	}
	require.Equal(t, x.lazy.s.State(), x.r.s.State(), "a replica that never flushes differs")
}

func (x *machine) write(t *rapid.T) { x.do(t, x.command(t)) }

func (x *machine) writeBatch(t *rapid.T) {
	var cmds []Command
	for range rapid.IntRange(2, 6).Draw(t, "commands") {
		if rapid.IntRange(0, 3).Draw(t, "maintain") == 0 {
			cmds = append(cmds, maintenance(t))
		} else {
			cmds = append(cmds, x.command(t))
		}
	}
	x.do(t, cmds...)
}

func maintenance(t *rapid.T) Command {
	times := func(label string, of ...time.Duration) time.Duration { return rapid.SampledFrom(of).Draw(t, label) }
	return Command{Maintenance: &Maintenance{
		Elapsed:      times("elapsed", 0, 1, time.Minute, IdempotencyRetention-1, IdempotencyRetention),
		KeepFor:      times("keep for", 0, 0, time.Minute, time.Hour, 8*time.Hour, math.MaxInt64),
		KeepVersions: rapid.SampledFrom([]int{0, 1, 1, 2, 5, math.MaxInt}).Draw(t, "keep versions"),
	}}
}

func (x *machine) maintain(t *rapid.T) { x.do(t, maintenance(t)) }

// churn gives keys a past: a few keys written and deleted, many times, in one Apply.
func (x *machine) churn(t *rapid.T) {
	keys := rapid.SliceOfNDistinct(genHotKey, 1, 2, rapid.ID[string]).Draw(t, "keys")
	var cmds []Command
	for i := range rapid.IntRange(4, 12).Draw(t, "times") {
		op := put(keys[i%len(keys)], strings.Repeat("v", i))
		if i%5 == 4 {
			op = del(op.Key)
		}
		cmds = append(cmds, Command{Ops: []Op{op}})
	}
	x.do(t, cmds...)
}

// writeMany makes trees of several pages.
func (x *machine) writeMany(t *rapid.T) {
	base := genKey.Draw(t, "base")
	cmd := Command{}
	for i := range rapid.IntRange(1, 300).Draw(t, "n") {
		cmd.Ops = append(cmd.Ops, put(base+"/"+strings.Repeat("x", i%7)+string(rune('a'+i%20))+string(rune('0'+i/20)), "v"))
	}
	seen := map[string]bool{}
	cmd.Ops = slices.DeleteFunc(cmd.Ops, func(op Op) bool {
		twice := seen[op.Key]
		seen[op.Key] = true
		return twice
	})
	x.do(t, cmd)
	if rapid.Bool().Draw(t, "delete") {
		for i := range cmd.Ops {
			cmd.Ops[i] = del(cmd.Ops[i].Key)
		}
		x.do(t, cmd)
	}
}

func (x *machine) beginFlush(*rapid.T) {
	if x.flush == nil {
		x.flush = x.r.s.BeginFlush()
	}
}

func (x *machine) commit(t *rapid.T) {
	if x.flush != nil {
		require.NoError(t, x.flush.Commit())
		x.flush = nil
		x.scrub(t)
	}
}

func (x *machine) crash(t *rapid.T) {
	x.closeViews()
	x.closeImage()
	x.flush = nil
	before := x.r.s.State()
	x.r.crash()
	require.Equal(t, before, x.r.s.State(), "after the log was replayed")
}

func (x *machine) holdView(t *rapid.T) {
	if len(x.views) < 4 {
		v, err := x.r.s.View()
		require.NoError(t, err)
		x.views = append(x.views, heldView{v, x.m.clone(), x.m.revision})
	}
}

func (x *machine) closeViews() {
	for _, h := range x.views {
		h.v.Close()
	}
	x.views = nil
}

func (x *machine) holdImage(t *rapid.T) {
	if x.image == nil {
		x.image = openImage(t, x.r.s)
	}
}

// readImage opens what the image gives as a database, which must come to the
// same state from the entries after it.
func (x *machine) readImage(t *rapid.T) {
	x.holdImage(t)
	st := x.image.State()
	s := requireImage(t, x.r.path+".image", readImage(t, x.image), st)
	defer func() { require.NoError(t, s.Close()) }()
	_, err := s.Apply(x.r.log[st.Applied:])
	require.NoError(t, err)
	require.Equal(t, x.r.s.State(), s.State())
	x.closeImage()
}

func (x *machine) closeImage() {
	if x.image != nil {
		x.image.Close()
		x.image = nil
	}
}

// any returns one of the held views, or a new one.
func (x *machine) any(t *rapid.T) heldView {
	x.holdView(t)
	return rapid.SampledFrom(x.views).Draw(t, "view")
}

// anyPast returns a view of any revision that a held view has, which closes it.
func (x *machine) anyPast(t *rapid.T) (heldView, func()) {
	h := x.any(t)
	rev := Revision(rapid.Uint64Range(uint64(h.m.floor), uint64(h.m.revision)).Draw(t, "revision"))
	past := h.at(t, rev)
	return past, past.v.Close
}

// at returns a view of a past revision that is held.
func (h heldView) at(t *rapid.T, rev Revision) heldView {
	v, err := h.v.At(rev)
	require.NoError(t, err)
	require.Equal(t, rev, v.Revision())
	require.Equal(t, h.v.State(), v.State())
	return heldView{v, h.m, rev}
}

// allOfPast reads all there was at each revision, and what is not held any more.
func (x *machine) allOfPast(t *rapid.T) {
	h := x.any(t)
	for rev := range h.m.revision + 1 {
		if rev < h.m.floor {
			_, err := h.v.At(rev)
			require.Equal(t, h.m.floor, floorOf(err))
			continue
		}
		func() {
			past := h.at(t, rev)
			defer past.v.Close()
			past.requireScan(t, "", "")
		}()
	}
	_, err := h.v.At(h.m.revision + 1)
	require.ErrorIs(t, err, ErrFuture)
}

// past reads all there was at some revision, key by key.
func (x *machine) past(t *rapid.T) {
	h, done := x.anyPast(t)
	defer done()
	was := h.m.as(h.rev)
	keys := slices.Collect(maps.Keys(x.m.past))
	keys = slices.AppendSeq(keys, maps.Keys(x.m.records))
	for _, key := range append(keys, genKey.Draw(t, "key")) {
		rec, found, err := h.v.Get(key)
		if floor := h.m.compacted(key, h.rev); floor != 0 {
			require.Equal(t, floor, floorOf(err), key)
			continue
		}
		require.NoError(t, err)
		want, exists := was.records[key]
		require.Equal(t, exists, found, key)
		if found {
			requireRecords(t, []Record{want}, []Record{rec})
		}
	}
}

func (x *machine) scan(t *rapid.T) {
	h, done := x.anyPast(t)
	defer done()
	bound := rapid.OneOf(rapid.Just(""), genKey, rapid.Custom(func(t *rapid.T) string { return genKey.Draw(t, "behind") + "\x00" }))
	h.requireScan(t, bound.Draw(t, "lo"), bound.Draw(t, "hi"))
}

// requireScan compares the records in [lo, hi): all of them, or those before the first that is not
// held any more.
func (h heldView) requireScan(t *rapid.T, lo, hi string) {
	var got []Record
	err := h.v.Scan(lo, hi, func(r Record) bool {
		r.Value = bytes.Clone(r.Value)
		got = append(got, r)
		return true
	})
	want := h.m.as(h.rev).scan(lo, hi)
	first, floor := h.m.compactedIn(h.rev, lo, hi)
	if floor == 0 {
		require.NoError(t, err)
	} else {
		require.Equal(t, floor, floorOf(err), first)
		want = slices.DeleteFunc(want, func(r Record) bool { return r.Key >= first })
	}
	requireRecords(t, want, got)
}

func (x *machine) children(t *rapid.T) {
	h, done := x.anyPast(t)
	defer done()
	prefix := rapid.OneOf(rapid.Just(""), rapid.Custom(func(t *rapid.T) string { return genKey.Draw(t, "prefix") + "/" })).Draw(t, "prefix")
	behind := rapid.SampledFrom([]string{"", "a", "a-", "a-b", "zz"}).Draw(t, "after")
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	got, err := h.v.Children(prefix, behind, limit)
	if _, floor := h.m.compactedIn(h.rev, prefix, after(prefix)); floor != 0 && err != nil {
		require.NotZero(t, floorOf(err)) // one of those below prefix is not held
		return
	}
	require.NoError(t, err)
	want := h.m.as(h.rev).children(prefix, behind, limit)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].Name, got[i].Name)
		require.Equal(t, want[i].Subtree, got[i].Subtree, want[i].Name)
		require.Equal(t, want[i].Record != nil, got[i].Record != nil, want[i].Name)
		if want[i].Record != nil {
			requireRecords(t, []Record{*want[i].Record}, []Record{*got[i].Record})
		}
	}
}

// answer looks for what is remembered.
func (x *machine) answer(t *rapid.T) {
	h := x.any(t)
	for range 4 {
		p := rapid.SampledFrom(modelPrincipals).Draw(t, "principal")
		i := genIdempotency.Draw(t, "idempotency")
		got, known, err := h.v.Answer(&p, &i)
		require.NoError(t, err)
		want, there := h.m.answers[p.String()+i.Key]
		require.Equal(t, there, known)
		switch {
		case !there:
		case want.request != i.Request:
			require.Equal(t, Result{Outcome: KeyReused}, got)
		default:
			want.result.Replayed = true
			if len(got.Ops) == 0 && len(want.result.Ops) == 0 {
				got.Ops, want.result.Ops = nil, nil
			}
			require.Equal(t, want.result, got)
		}
	}
}

func (x *machine) scrub(t *rapid.T) { require.NoError(t, scrub(x.r.s)) }

// check compares all there is with the model after each step.
func (x *machine) check(t *rapid.T) {
	h := x.newest(t)
	defer h.v.Close()
	st := h.v.State()
	require.Equal(t, x.m.revision, st.Revision)
	require.Equal(t, uint64(len(x.m.records)), st.Records)
	require.Equal(t, x.m.time, st.Time)
	require.Equal(t, x.m.floor, st.Floor)
	if st.Floor > 0 {
		require.Equal(t, x.m.changes[st.Floor-1].At, st.FloorAt)
	}
	require.Equal(t, uint64(len(x.m.answers)), st.Answers)
	require.Equal(t, x.m.trimmed, x.r.s.state.trimmed)
	require.Equal(t, uint64(x.m.trimmedKeys), x.r.s.state.trimmedKeys)
	h.requireScan(t, "", "")
	for key, want := range x.m.records {
		rec, found, err := h.v.Get(key)
		require.NoError(t, err)
		require.True(t, found)
		requireRecords(t, []Record{want}, []Record{rec})
	}
	require.NoError(t, VerifyChain(t.Context(), h.v))
	if x.m.floor > 0 {
		err := h.v.Changes(x.m.floor, st.Revision, func(Change) bool { return true })
		require.Equal(t, x.m.floor, floorOf(err))
		_, err = h.v.Change(x.m.floor)
		require.Equal(t, x.m.floor, floorOf(err))
	}
	got := []Change{}
	require.NoError(t, h.v.Changes(x.m.floor+1, st.Revision, func(ch Change) bool {
		got = append(got, Change{Revision: ch.Revision, At: ch.At, Time: ch.Time, Ops: ch.Ops})
		return true
	}))
	require.Equal(t, append([]Change{}, x.m.changes[x.m.floor:]...), got)
	x.requirePast(t, h.v)
}

// requirePast compares all of bucket superseded.
func (x *machine) requirePast(t *rapid.T, v *View) {
	past := map[string][]pastRecord{}
	m := v.merge(superseded)
	defer m.release()
	ok, err := m.seek("")
	for ; ok && err == nil; ok, err = m.next() {
		key := m.key[:len(m.key)-pastBytes]
		ended, err := endOf(key, m.value)
		require.NoError(t, err)
		rev := Revision(^binary.BigEndian.Uint64([]byte(m.key[len(key)+1:])))
		past[key] = append([]pastRecord{{rev, ended, isTrimmed(m.value)}}, past[key]...)
	}
	require.NoError(t, err)
	require.Equal(t, x.m.past, past)
}

// requireRecords is require.Equal, but for the difference between no value and an
// empty one.
func requireRecords(t require.TestingT, want, got []Record) {
	require.Len(t, got, len(want))
	for i := range want {
		w, g := want[i], got[i]
		require.True(t, bytes.Equal(w.Value, g.Value), "value of %s", w.Key)
		w.Value, g.Value = nil, nil
		require.Equal(t, w, g)
	}
}

// memoryDir is a directory in memory-backed storage, if there is any.
func memoryDir(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	if info, err := os.Stat(shm); err != nil || !info.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "confman-fsm-") //nolint:usetesting // t.TempDir may be on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}
