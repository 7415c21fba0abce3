package sim

import (
	"sort"

	"github.com/confman/confman/fsm"
)

// model is the store as it should be: plain, slow where nobody minds, and
// written without a look at fsm's own code.
type model struct {
	revision fsm.Revision
	keys     map[string][]modelVersion
	origins  map[uint64]*modelOrigin
	changes  []modelChange // by revision - 1
}

// modelVersion is a key from an index of the log on.
type modelVersion struct {
	index fsm.Index
	rev   fsm.Revision // 0: there is no record
	value string
}

// modelChange is one revision.
type modelChange struct {
	request string
	keys    []string // that it changed, in order
}

type modelOrigin struct {
	incarnation uint64
	newest      uint64
	seen        map[uint64]bool
}

// modelResult is what an entry does.
type modelResult struct {
	outcome  fsm.Outcome
	revision fsm.Revision   // of the store afterwards
	keys     []fsm.Revision // of each operation's key afterwards; applied and unchanged only
	current  fsm.Revision   // of the key whose compare failed
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
	if m.repeated(cmd.Origin) {
		return modelResult{outcome: fsm.Repeated, revision: m.revision}
	}
	for _, c := range cmd.Compares {
		now := m.at(c.Key, index).rev
		if holds := map[fsm.CompareKind]bool{
			fsm.KeyAbsent: now == 0, fsm.KeyExists: now != 0, fsm.RevisionIs: now == c.Revision,
		}[c.Kind]; !holds {
			return modelResult{outcome: fsm.CompareFailed, revision: m.revision, current: now}
		}
	}
	r := modelResult{outcome: fsm.Unchanged, revision: m.revision}
	var changed []string
	for i := range cmd.Ops {
		op := &cmd.Ops[i]
		now := m.at(op.Key, index)
		value := op.ContentType + "\n" + string(op.Value)
		if (op.Kind == fsm.Delete && now.rev == 0) || (op.Kind == fsm.Put && now.rev != 0 && now.value == value) {
			r.keys = append(r.keys, now.rev)
			continue
		}
		next := modelVersion{index: index}
		if op.Kind == fsm.Put {
			next.rev, next.value = m.revision+1, value
		}
		m.keys[op.Key] = append(m.keys[op.Key], next)
		changed = append(changed, op.Key)
		r.keys = append(r.keys, next.rev)
	}
	if len(changed) > 0 {
		m.revision++
		m.changes = append(m.changes, modelChange{request: cmd.RequestID, keys: changed})
		r.outcome, r.revision = fsm.Applied, m.revision
	}
	return r
}

// repeated tells whether the proposal was applied before, or may have been.
func (m *model) repeated(o fsm.Origin) bool {
	from := m.origins[o.Node]
	if from == nil || o.Incarnation > from.incarnation {
		from = &modelOrigin{incarnation: o.Incarnation, seen: map[uint64]bool{}}
		m.origins[o.Node] = from
	}
	if o.Incarnation < from.incarnation || from.seen[o.Seq] || o.Seq+fsm.WindowSize <= from.newest {
		return true
	}
	from.seen[o.Seq] = true
	from.newest = max(from.newest, o.Seq)
	return false
}

// at is the key after the entry at index was applied.
func (m *model) at(key string, index fsm.Index) modelVersion {
	vs := m.keys[key]
	if n := sort.Search(len(vs), func(i int) bool { return vs[i].index > index }); n > 0 {
		return vs[n-1]
	}
	return modelVersion{}
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
