package sim

import (
	"crypto/sha256"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// model is the store as it should be: plain, slow where nobody minds, and
// written without a look at fsm's own code.
type model struct {
	revision fsm.Revision
	keys     map[string][]modelVersion
	origins  map[uint64]*modelOrigin
	changes  []modelChange // by revision - 1
	genesis  [32]byte      // the chain before the first of them
	latest   int64         // the time of the newest
	time     time.Duration // replicated
}

// modelVersion is a key from an index of the log on.
type modelVersion struct {
	index   fsm.Index
	rev     fsm.Revision // 0: there is no record
	value   string
	created fsm.Revision // by the put that made the key
	puts    uint64       // since then
}

// modelChange is one revision.
type modelChange struct {
	request string
	keys    []string // that it changed, in order
	at      int64    // its time: never before that of the change before it
	head    [32]byte // of the chain, with this change
}

type modelOrigin struct {
	incarnation uint64
	newest      uint64
	seen        map[uint64]first
}

// first is what became of a write the first time.
type first struct {
	outcome  fsm.Outcome
	revision fsm.Revision // of the store afterwards
}

// modelResult is what an entry does.
type modelResult struct {
	outcome  fsm.Outcome
	revision fsm.Revision   // of the store afterwards
	keys     []fsm.Revision // of each operation's key afterwards; applied and unchanged only
	removed  int            // keys, by operations on subtrees
	current  fsm.Revision   // of the key whose compare failed
	first    first          // repeated only; zero if it is not known any more
}

func newModel() model {
	return model{keys: map[string][]modelVersion{}, origins: map[uint64]*modelOrigin{}}
}

// apply does the entry at index.
func (m *model) apply(index fsm.Index, data []byte) modelResult {
	if len(data) == 0 {
		return modelResult{outcome: fsm.Empty, revision: m.revision}
	}
	cmd, err := fsm.Decode(data)
	if err != nil {
		return modelResult{outcome: fsm.Undecodable, revision: m.revision}
	}
	if cmd.Maintenance != nil {
		m.time += cmd.Maintenance.Elapsed
		return modelResult{outcome: fsm.Maintained, revision: m.revision}
	}
	if was, repeated := m.repeated(cmd.Origin); repeated {
		return modelResult{outcome: fsm.Repeated, revision: m.revision, first: was}
	}
	r := m.evaluate(index, cmd)
	m.origins[cmd.Origin.Node].seen[cmd.Origin.Seq] = first{r.outcome, r.revision}
	return r
}

// evaluate does a command that comes for the first time.
func (m *model) evaluate(index fsm.Index, cmd *fsm.Command) modelResult {
	for _, c := range cmd.Compares {
		now := m.at(c.Key, index).rev
		if holds := map[fsm.CompareKind]bool{
			fsm.KeyAbsent: now == 0, fsm.KeyExists: now != 0, fsm.RevisionIs: now == c.Revision,
		}[c.Kind]; !holds {
			return modelResult{outcome: fsm.CompareFailed, revision: m.revision, current: now}
		}
	}
	r := modelResult{outcome: fsm.Unchanged, revision: m.revision}
	var changed []*fsm.Op
	for i := range cmd.Ops {
		op := &cmd.Ops[i]
		if op.Kind == fsm.DeleteTree {
			for _, key := range m.below(op.Key, index) {
				m.keys[key] = append(m.keys[key], modelVersion{index: index})
				changed = append(changed, &fsm.Op{Kind: fsm.Delete, Key: key})
				r.removed++
			}
			r.keys = append(r.keys, 0)
			continue
		}
		now := m.at(op.Key, index)
		value := op.ContentType + "\n" + string(op.Value)
		if (op.Kind == fsm.Delete && now.rev == 0) || (op.Kind == fsm.Put && now.rev != 0 && now.value == value) {
			r.keys = append(r.keys, now.rev)
			continue
		}
		next := modelVersion{index: index}
		if op.Kind == fsm.Put {
			next.rev, next.value, next.created, next.puts = m.revision+1, value, m.revision+1, 1
			if now.rev != 0 {
				next.created, next.puts = now.created, now.puts+1
			}
		}
		m.keys[op.Key] = append(m.keys[op.Key], next)
		changed = append(changed, op)
		r.keys = append(r.keys, next.rev)
	}
	if len(changed) > 0 {
		m.change(cmd, changed)
		r.outcome, r.revision = fsm.Applied, m.revision
	}
	return r
}

// change makes the next revision of what cmd changed.
func (m *model) change(cmd *fsm.Command, changed []*fsm.Op) {
	before := m.head(m.revision)
	m.revision++
	m.latest = max(m.latest, cmd.AcceptedAt)
	c := modelChange{request: cmd.RequestID, at: m.latest}
	content := sha256.New()
	for _, op := range changed {
		c.keys = append(c.keys, op.Key)
		if op.Kind == fsm.Put {
			versions := m.keys[op.Key]
			hash := hashRecord(op, &versions[len(versions)-1], c.at)
			_, _ = content.Write(hash[:]) // a hash never fails
		}
	}
	c.head = nextHead(before, m.revision, c.at, int64(m.time), cmd, changed, [32]byte(content.Sum(nil)))
	m.changes = append(m.changes, c)
}

// repeated tells whether the proposal was applied before, or may have been, and what
// came of it, as far as that is remembered.
func (m *model) repeated(o fsm.Origin) (first, bool) {
	from := m.origins[o.Node]
	if from == nil || o.Incarnation > from.incarnation {
		from = &modelOrigin{incarnation: o.Incarnation, seen: map[uint64]first{}}
		m.origins[o.Node] = from
	}
	if o.Incarnation < from.incarnation || o.Seq+fsm.WindowSize <= from.newest {
		return first{}, true
	}
	if was, ok := from.seen[o.Seq]; ok {
		return was, true
	}
	from.newest = max(from.newest, o.Seq)
	return first{}, false
}

// at is the key after the entry at index was applied.
func (m *model) at(key string, index fsm.Index) modelVersion {
	vs := m.keys[key]
	if n := sort.Search(len(vs), func(i int) bool { return vs[i].index > index }); n > 0 {
		return vs[n-1]
	}
	return modelVersion{}
}

// below are the keys that start with prefix and have a record after the entry at index, in order.
func (m *model) below(prefix string, index fsm.Index) []string {
	var out []string
	for key := range m.keys {
		if strings.HasPrefix(key, prefix) && m.at(key, index).rev != 0 {
			out = append(out, key)
		}
	}
	slices.Sort(out)
	return out
}

// children are the names directly below prefix after after, at most limit, once the entry
// at index was applied.
func (m *model) children(prefix, after string, limit int, index fsm.Index) []string {
	names := map[string]bool{}
	for key := range m.keys {
		if rest, below := strings.CutPrefix(key, prefix); below && m.at(key, index).rev != 0 {
			if name, _, _ := strings.Cut(rest, "/"); name > after {
				names[name] = true
			}
		}
	}
	all := slices.Sorted(maps.Keys(names))
	return all[:min(limit, len(all))]
}

// records counts those that are there after the entry at index was applied.
func (m *model) records(index fsm.Index) int {
	n := 0
	for key := range m.keys {
		if m.at(key, index).rev != 0 {
			n++
		}
	}
	return n
}
