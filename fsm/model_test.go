package fsm

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"
)

// model is the store as a reader of the documentation would write it: maps, and
// copies of them.
type model struct {
	records  map[string]Record
	past     map[string][]pastRecord // of each key what is held of its past, oldest first
	changes  []Change                // only Revision, At, Time, Ops; of all revisions, held or not
	was      []map[string]Record     // the records of each past revision, held or not
	revision Revision
	at       int64

	time        time.Duration
	floor       Revision
	trimmed     Revision
	trimmedKeys int
	answers     map[string]remembered // by principal and idempotency key

	namespaces map[string]NamespaceRecord
	policies   []map[string]NamespaceRecord // of each past revision, held or not
	denials    []DenialRow                  // all there ever were
}

// pastRecord is a superseded record, or the mark in the place of some.
type pastRecord struct {
	rev, ended Revision
	mark       bool
}

// remembered is the answer to a command with an idempotency key.
type remembered struct {
	request [32]byte
	result  Result
	expires time.Duration
}

func newModel() *model {
	return &model{
		records: map[string]Record{}, past: map[string][]pastRecord{}, answers: map[string]remembered{},
		namespaces: map[string]NamespaceRecord{},
	}
}

func (m *model) clone() *model {
	c := *m
	c.records, c.past, c.answers = maps.Clone(m.records), maps.Clone(m.past), maps.Clone(m.answers)
	c.changes, c.was = slices.Clip(m.changes), slices.Clip(m.was)
	c.namespaces, c.policies, c.denials = maps.Clone(m.namespaces), slices.Clip(m.policies), slices.Clone(m.denials)
	return &c
}

// apply does what a command that was not applied before does.
func (m *model) apply(cmd *Command) Result {
	if cmd.Maintenance != nil {
		return m.maintain(cmd.Maintenance)
	}
	if len(cmd.Denials) > 0 {
		for _, d := range cmd.Denials {
			m.deny(d, 1) // the test's only origin
		}
		return Result{Outcome: Recorded, Revision: m.revision}
	}
	idem := &cmd.Idempotency
	id := cmd.Principal.String() + idem.Key
	if known, ok := m.answers[id]; ok && idem.Key != "" {
		if known.request != idem.Request {
			return Result{Outcome: KeyReused, Revision: m.revision}
		}
		known.result.Replayed = true
		return known.result
	}
	if missing := m.missing(cmd); missing.Verbs != 0 {
		m.refused(cmd, missing)
		return Result{Outcome: Denied, Missing: missing, Revision: m.revision}
	}
	res := m.transact(cmd)
	res.Revision = m.revision
	if idem.Key != "" && (!idem.OnlyIfDone || res.Outcome != CompareFailed) {
		m.answers[id] = remembered{idem.Request, res, m.time + IdempotencyRetention}
	}
	return res
}

func (m *model) transact(cmd *Command) (res Result) {
	ops := cmd.Ops
	if len(ops) == 1 && ops[0].Kind.isNamespace() {
		return m.namespace(cmd)
	}
	for i := range cmd.Compares {
		if m.holds(&cmd.Compares[i]) {
			continue
		}
		res.FailedCompare, res.Current = i, m.records[cmd.Compares[i].Key].Revision
		if len(cmd.Else) == 0 {
			res.Outcome = CompareFailed
			return res
		}
		ops, res.Else = cmd.Else, true
		break
	}
	for i := range ops {
		if outcome, floor := m.refuses(&ops[i]); outcome != 0 {
			return Result{Outcome: outcome, Floor: floor}
		}
	}
	w := &modelWrite{m: m, before: maps.Clone(m.records), by: cmd.Principal.String(), at: max(m.at, cmd.AcceptedAt)}
	for i := range ops {
		res.Ops = append(res.Ops, w.do(&ops[i]))
	}
	res.Outcome = Unchanged
	if len(w.changed) > 0 {
		res.Outcome = Applied
		m.revision++
		m.at = w.at
		m.was = append(m.was, w.before)
		m.policies = append(m.policies, maps.Clone(m.namespaces))
		m.changes = append(m.changes, Change{Revision: m.revision, At: w.at, Time: m.time, Ops: w.changed})
	}
	return res
}

func (m *model) holds(c *Compare) bool {
	rec, exists := m.records[c.Key]
	return map[CompareKind]bool{
		KeyExists: exists, KeyAbsent: !exists, RevisionIs: exists && rec.Revision == c.Revision,
		ValueIs: exists && bytes.Equal(rec.Value, c.Value),
	}[c.Kind]
}

// refuses tells why op cannot be done at all; 0 if it can.
func (m *model) refuses(op *Op) (outcome Outcome, floor Revision) {
	lo, hi := op.bounds()
	switch {
	case op.Kind == DeleteTree && len(m.scan(lo, hi)) > MaxTreeKeys:
		return TreeTooLarge, 0
	case op.Kind != Restore:
		return 0, 0
	case op.Revision > m.revision:
		return FutureRevision, 0
	case op.Revision < m.floor:
		return Compacted, m.floor
	}
	if _, floor := m.compactedIn(op.Revision, lo, hi); floor != 0 {
		return Compacted, floor
	}
	return 0, 0
}

// bounds are where the keys lie that op is about.
func (op *Op) bounds() (lo, hi string) {
	if op.isTree() {
		return op.Key, after(op.Key)
	}
	return op.Key, op.Key + "\x00"
}

// modelWrite is a transaction under way.
type modelWrite struct {
	m       *model
	before  map[string]Record
	by      string
	at      int64
	changed []ChangedKey
}

func (w *modelWrite) do(op *Op) (r OpResult) {
	m := w.m
	lo, hi := op.bounds()
	_, exists := m.records[op.Key]
	switch op.Kind {
	case Put:
		r.Changed = w.put(op.Key, op.Value, op.ContentType)
		r.Created = !exists
		r.Revision = m.records[op.Key].Revision
		return r
	case Delete:
		return OpResult{Changed: w.remove(op.Key)}
	case DeleteTree:
		for _, rec := range m.scan(lo, hi) {
			w.remove(rec.Key)
			r.Removed++
		}
	case Restore:
		was := m.as(op.Revision)
		for _, key := range slices.Sorted(maps.Keys(union(m.records, was.records))) {
			rec, there := was.records[key]
			switch {
			case key < lo || hi != "" && key >= hi:
			case there && w.put(key, rec.Value, rec.ContentType):
				r.Restored++
			case !there && w.remove(key):
				r.Removed++
			}
		}
		if !op.isTree() {
			r.Revision = m.records[op.Key].Revision
			r.Created = r.Restored > 0 && !exists
		}
	case PutNamespace, DeleteNamespace, Bootstrap, AddMember, PromoteMember, RemoveMember, ReplaceMember, FinalizeUpgrade, Restored: // see namespace
	}
	r.Changed = r.Removed+r.Restored > 0
	return r
}

// put stores a value, unless it is there already.
func (w *modelWrite) put(key string, value []byte, contentType string) bool {
	old, exists := w.m.records[key]
	if exists && bytes.Equal(old.Value, value) && old.ContentType == contentType {
		return false
	}
	next := w.m.revision + 1
	rec := Record{
		Key: key, Value: value, ContentType: contentType, Revision: next, CreateRevision: next, Version: 1,
		ModifiedAt: w.at, ModifiedBy: w.by,
	}
	if exists {
		rec.CreateRevision, rec.Version = old.CreateRevision, old.Version+1
		w.end(key)
	}
	w.m.records[key] = rec
	w.changed = append(w.changed, ChangedKey{Put, key, old.Revision})
	return true
}

func (w *modelWrite) remove(key string) bool {
	old, exists := w.m.records[key]
	if !exists {
		return false
	}
	w.end(key)
	delete(w.m.records, key)
	w.changed = append(w.changed, ChangedKey{Delete, key, old.Revision})
	return true
}

// end makes the record of key one of the past.
func (w *modelWrite) end(key string) {
	old := pastRecord{rev: w.m.records[key].Revision, ended: w.m.revision + 1}
	w.m.past[key] = append(slices.Clip(w.m.past[key]), old)
}

func (m *model) maintain(mt *Maintenance) Result {
	m.time += mt.Elapsed
	maps.DeleteFunc(m.answers, func(_ string, a remembered) bool { return a.expires <= m.time })
	behind := false
	if mt.KeepFor > 0 {
		behind = m.sweep(m.time - mt.KeepFor)
	}
	keeps := func(n NamespaceRecord) bool { return n.KeepVersions > 0 }
	if mt.KeepVersions > 0 || slices.ContainsFunc(slices.Collect(maps.Values(m.namespaces)), keeps) {
		behind = m.trim(mt.KeepVersions) || behind
	}
	return Result{Outcome: Maintained, Revision: m.revision, Busy: behind || len(m.answers) > 0, Behind: behind}
}

// sweep raises the floor over changes, and lets go of what they ended.
func (m *model) sweep(until time.Duration) (more bool) {
	room := MaxMaintenance
	for room > 0 && m.floor < m.revision && m.changes[m.floor].Time <= until {
		ch := &m.changes[m.floor]
		m.floor++
		for _, op := range ch.Ops {
			if op.Kind == PutNamespace || op.Kind == DeleteNamespace {
				continue
			}
			m.keep(op.Key, slices.DeleteFunc(slices.Clone(m.past[op.Key]), func(p pastRecord) bool { return p.ended <= m.floor }))
		}
		room -= 1 + len(ch.Ops)
	}
	return room <= 0
}

func (m *model) keep(key string, past []pastRecord) {
	m.past[key] = past
	if len(past) == 0 {
		delete(m.past, key)
	}
}

// trim leaves keep records of the past of each key that a change changed that was not looked at.
// In this model no key has more than MaxMaintenance too many.
func (m *model) trim(keep int) (more bool) {
	if m.trimmed < m.floor {
		m.trimmed, m.trimmedKeys = m.floor, 0
	}
	room, done := MaxMaintenance, map[string]bool{}
	for room > 0 && m.trimmed < m.revision {
		ops := m.changes[m.trimmed].Ops
		for room--; m.trimmedKeys < len(ops); m.trimmedKeys++ {
			if room <= 0 {
				return true
			}
			room--
			key := ops[m.trimmedKeys].Key
			if k := ops[m.trimmedKeys].Kind; done[key] || k == PutNamespace || k == DeleteNamespace {
				continue
			}
			done[key] = true
			keep := m.keepVersions(key, keep)
			if keep == 0 {
				continue
			}
			past := m.past[key]
			surplus := max(0, len(past)-keep)
			room -= surplus + (len(past)-surplus)/keptForOne
			if surplus > 0 {
				mark := pastRecord{rev: past[0].rev, ended: past[surplus-1].ended, mark: true}
				m.keep(key, append([]pastRecord{mark}, past[surplus:]...))
			}
		}
		m.trimmed, m.trimmedKeys = m.trimmed+1, 0
	}
	return room <= 0
}

// compacted is from which revision on key can be read again, if it cannot at revision at; else 0.
func (m *model) compacted(key string, at Revision) Revision {
	for _, p := range m.past[key] {
		if p.mark && p.rev <= at && at < p.ended {
			return p.ended
		}
	}
	return 0
}

// compactedIn is the first key in [lo, hi) that cannot be read at revision at, and from when on it
// can; 0 if all can.
func (m *model) compactedIn(at Revision, lo, hi string) (first string, floor Revision) {
	for key := range m.past {
		if f := m.compacted(key, at); f != 0 && key >= lo && (hi == "" || key < hi) && (floor == 0 || key < first) {
			first, floor = key, f
		}
	}
	return first, floor
}

// heldFrom is from when on every key can be read.
func (m *model) heldFrom() (from Revision) {
	for _, past := range m.past {
		for _, p := range past {
			if p.mark {
				from = max(from, p.ended)
			}
		}
	}
	return from
}

// held tells whether the record that key got at a revision still is.
func (m *model) held(key string, rev Revision) bool {
	return m.records[key].Revision == rev ||
		slices.ContainsFunc(m.past[key], func(p pastRecord) bool { return p.rev == rev && !p.mark })
}

// as is the model as it was at a revision.
func (m *model) as(rev Revision) *model {
	if rev == m.revision {
		return m
	}
	return &model{records: m.was[rev], revision: rev}
}

func union(a, b map[string]Record) map[string]Record {
	all := map[string]Record{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
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
