package fsm

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is the store as a reader of the documentation would write it: maps, and
// copies of them.
type model struct {
	records  map[string]Record
	past     map[string]Revision // superseded key -> the revision that ended it
	changes  []Change            // only Revision, At, Ops
	was      []map[string]Record // the records of each past revision
	revision Revision
	at       int64
}

func newModel() *model {
	return &model{records: map[string]Record{}, past: map[string]Revision{}}
}

func (m *model) clone() *model {
	c := *m
	c.records, c.past, c.changes = maps.Clone(m.records), maps.Clone(m.past), slices.Clone(m.changes)
	c.was = slices.Clone(m.was)
	return &c
}

// apply does what a command that was not applied before does.
func (m *model) apply(cmd *Command) Result {
	res := Result{Origin: cmd.Origin, Revision: m.revision}
	for i, c := range cmd.Compares {
		rec, exists := m.records[c.Key]
		holds := map[CompareKind]bool{
			KeyExists: exists, KeyAbsent: !exists, RevisionIs: exists && rec.Revision == c.Revision,
		}[c.Kind]
		if !holds {
			res.Outcome, res.FailedCompare, res.Current = CompareFailed, i, rec.Revision
			return res
		}
	}
	before := maps.Clone(m.records)
	next := m.revision + 1
	at := max(m.at, cmd.AcceptedAt)
	var changed []ChangedKey
	res.Ops = []OpResult{}
	var tree int
	for _, op := range cmd.Ops {
		if op.Kind == DeleteTree {
			tree += len(m.scan(op.Key, after(op.Key)))
		}
	}
	if tree > MaxTreeKeys {
		res.Outcome, res.Ops = TreeTooLarge, nil
		return res
	}
	for _, op := range cmd.Ops {
		if op.Kind == DeleteTree {
			gone := m.scan(op.Key, after(op.Key))
			for _, rec := range gone {
				changed = append(changed, ChangedKey{Delete, rec.Key})
				m.past[supersededKey(rec.Key, rec.Revision)] = next
				delete(m.records, rec.Key)
			}
			res.Ops = append(res.Ops, OpResult{Changed: len(gone) > 0, Removed: len(gone)})
			continue
		}
		old, exists := m.records[op.Key]
		r := OpResult{Revision: old.Revision}
		equal := exists && bytes.Equal(old.Value, op.Value) && old.ContentType == op.ContentType
		if op.Kind == Put && !equal || op.Kind == Delete && exists {
			changed = append(changed, ChangedKey{op.Kind, op.Key})
			r.Changed = true
			if exists {
				m.past[supersededKey(op.Key, old.Revision)] = next
				delete(m.records, op.Key)
			}
			r.Revision = 0
			if op.Kind == Put {
				r.Revision, r.Created = next, !exists
				rec := Record{
					Key: op.Key, Value: op.Value, ContentType: op.ContentType,
					Revision: next, CreateRevision: next, Version: 1,
					ModifiedAt: at, ModifiedBy: cmd.Principal.String(),
				}
				if exists {
					rec.CreateRevision, rec.Version = old.CreateRevision, old.Version+1
				}
				m.records[op.Key] = rec
			}
		}
		res.Ops = append(res.Ops, r)
	}
	res.Outcome = Unchanged
	if len(changed) > 0 {
		res.Outcome = Applied
		m.revision, m.at = next, at
		m.was = append(m.was, before)
		m.changes = append(m.changes, Change{Revision: next, At: at, Ops: changed})
	}
	res.Revision = m.revision
	return res
}

// after is the least text that is greater than all that start with prefix.
func after(prefix string) string {
	if prefix == "" {
		return ""
	}
	return strings.TrimSuffix(prefix, "/") + "0"
}

// scan returns the records in [lo, hi).
func (m *model) scan(lo, hi string) []Record {
	var out []Record
	for _, key := range slices.Sorted(maps.Keys(m.records)) {
		if key >= lo && (hi == "" || key < hi) {
			out = append(out, m.records[key])
		}
	}
	return out
}

// children lists what is directly below prefix.
func (m *model) children(prefix, after string, limit int) []Child {
	byName := map[string]*Child{}
	for key := range m.records {
		rest, below := strings.CutPrefix(key, prefix)
		if !below {
			continue
		}
		name, _, subtree := strings.Cut(rest, "/")
		if name <= after {
			continue
		}
		c := byName[name]
		if c == nil {
			c = &Child{Name: name}
			byName[name] = c
		}
		if subtree {
			c.Subtree = true
		} else {
			rec := m.records[key]
			c.Record = &rec
		}
	}
	var out []Child
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if len(out) < limit {
			out = append(out, *byName[name])
		}
	}
	return out
}

// genKey draws from few keys, with names on both sides of '/' in byte order.
var genKey = rapid.Custom(func(t *rapid.T) string {
	names := []string{"a", "a-b", "a.b", "a0", "b", "a-", "ü"}
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 3).Draw(t, "key"), "/")
})

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

type heldView struct {
	v *View
	m *model
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
			"begin flush": x.beginFlush,
			"commit":      x.commit,
			"crash":       x.crash,
			"hold view":   x.holdView,
			"close views": func(*rapid.T) { x.closeViews() },
			"hold image":  x.holdImage,
			"read image":  x.readImage,
			"past":        x.past,
			"history":     x.history,
			"diff":        x.diff,
			"times":       x.times,
			"scan":        x.scan,
			"children":    x.children,
			"scrub":       x.scrub,
			"":            x.check,
		})
	})
}

func (x *machine) command(t *rapid.T) Command {
	cmd := Command{
		AcceptedAt: int64(rapid.IntRange(0, 100).Draw(t, "accepted at")),
		Comment:    rapid.SampledFrom([]string{"", "why"}).Draw(t, "comment"),
	}
	if rapid.Bool().Draw(t, "user") {
		cmd.Principal = Principal{Kind: User, Tenant: "t", Object: "o"}
	}
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		c := Compare{
			Kind: rapid.SampledFrom([]CompareKind{KeyExists, KeyAbsent, RevisionIs}).Draw(t, "compare"),
			Key:  genKey.Draw(t, "key"),
		}
		if c.Kind == RevisionIs {
			c.Revision = x.m.records[c.Key].Revision + Revision(rapid.IntRange(0, 9).Draw(t, "off")/9)
		}
		cmd.Compares = append(cmd.Compares, c)
	}
	for _, key := range rapid.SliceOfNDistinct(genKey, 0, 4, rapid.ID[string]).Draw(t, "keys") {
		op := del(key)
		if rapid.IntRange(0, 2).Draw(t, "put") > 0 {
			op = Op{Kind: Put, Key: key, Value: genValue.Draw(t, "value"), ContentType: "text/plain"}
		}
		cmd.Ops = append(cmd.Ops, op)
	}
	if rapid.IntRange(0, 3).Draw(t, "tree") == 0 {
		prefix := ""
		if rapid.IntRange(0, 5).Draw(t, "root") > 0 {
			prefix = genKey.Draw(t, "subtree") + "/"
		}
		cmd.Ops = slices.DeleteFunc(cmd.Ops, func(op Op) bool { return strings.HasPrefix(op.Key, prefix) })
		at := rapid.IntRange(0, len(cmd.Ops)).Draw(t, "at")
		cmd.Ops = slices.Insert(cmd.Ops, at, Op{Kind: DeleteTree, Key: prefix})
	}
	return cmd
}

func (x *machine) do(t *rapid.T, cmd Command) {
	res := x.r.do(cmd)
	want := x.m.apply(&cmd)
	want.Index, want.Term, want.Origin = res.Index, res.Term, res.Origin
	if res.Ops == nil {
		res.Ops = []OpResult{}
	}
	if want.Outcome == CompareFailed {
		want.Ops = []OpResult{}
	}
	require.Equal(t, want, res)
	x.lazy.do(cmd)
	require.Equal(t, x.lazy.s.State(), x.r.s.State(), "a replica that never flushes differs")
}

func (x *machine) write(t *rapid.T) { x.do(t, x.command(t)) }

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
		x.views = append(x.views, heldView{v, x.m.clone()})
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
	rev := Revision(rapid.Uint64Range(0, uint64(h.m.revision)).Draw(t, "revision"))
	v, err := h.v.At(rev)
	require.NoError(t, err)
	require.Equal(t, rev, v.Revision())
	require.Equal(t, h.v.State(), v.State())
	return heldView{v, h.m.as(rev)}, v.Close
}

// past reads all there was at some revision, key by key.
func (x *machine) past(t *rapid.T) {
	h, done := x.anyPast(t)
	defer done()
	var all []Record
	require.NoError(t, h.v.Scan("", "", func(r Record) bool {
		r.Value = bytes.Clone(r.Value)
		all = append(all, r)
		return true
	}))
	requireRecords(t, h.m.scan("", ""), all)
	for _, key := range append(slices.Collect(maps.Keys(x.m.records)), genKey.Draw(t, "key")) {
		rec, found, err := h.v.Get(key)
		require.NoError(t, err)
		want, exists := h.m.records[key]
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
	lo, hi := bound.Draw(t, "lo"), bound.Draw(t, "hi")
	var got []Record
	require.NoError(t, h.v.Scan(lo, hi, func(r Record) bool {
		r.Value = bytes.Clone(r.Value)
		got = append(got, r)
		return true
	}))
	requireRecords(t, h.m.scan(lo, hi), got)
}

func (x *machine) children(t *rapid.T) {
	h, done := x.anyPast(t)
	defer done()
	prefix := rapid.OneOf(rapid.Just(""), rapid.Custom(func(t *rapid.T) string { return genKey.Draw(t, "prefix") + "/" })).Draw(t, "prefix")
	after := rapid.SampledFrom([]string{"", "a", "a-", "a-b", "zz"}).Draw(t, "after")
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	got, err := h.v.Children(prefix, after, limit)
	require.NoError(t, err)
	want := h.m.children(prefix, after, limit)
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

func (x *machine) scrub(t *rapid.T) { require.NoError(t, scrub(x.r.s)) }

// check compares all there is with the model after each step.
func (x *machine) check(t *rapid.T) {
	v, err := x.r.s.View()
	require.NoError(t, err)
	defer v.Close()
	require.Equal(t, x.m.revision, v.State().Revision)
	require.Equal(t, uint64(len(x.m.records)), v.State().Records)
	var got []Record
	require.NoError(t, v.Scan("", "", func(r Record) bool {
		r.Value = bytes.Clone(r.Value)
		got = append(got, r)
		return true
	}))
	requireRecords(t, x.m.scan("", ""), got)
	for _, want := range got {
		rec, found, err := v.Get(want.Key)
		require.NoError(t, err)
		require.True(t, found)
		requireRecords(t, []Record{want}, []Record{rec})
	}
	require.NoError(t, VerifyChain(t.Context(), v))
	i := 0
	require.NoError(t, v.Changes(1, v.State().Revision, func(ch Change) bool {
		require.Equal(t, x.m.changes[i].Revision, ch.Revision)
		require.Equal(t, x.m.changes[i].At, ch.At)
		require.Equal(t, x.m.changes[i].Ops, ch.Ops)
		i++
		return true
	}))
	require.Len(t, x.m.changes, i)
	past := map[string]Revision{}
	m := v.merge(superseded)
	defer m.release()
	ok, err := m.seek("")
	for ; ok && err == nil; ok, err = m.next() {
		past[m.key] = body(m.value[checksumBytes:]).revision() // the ending revision lies where a body has its own
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
