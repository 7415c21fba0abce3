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
	revision    fsm.Revision
	keys        map[string][]modelVersion
	origins     map[uint64]*modelOrigin
	changes     []modelChange // see place
	genesis     [32]byte      // the chain before the first of them
	latest      int64         // the time of the newest
	time        time.Duration // replicated
	answers     modelAnswers
	policies    policies
	memberships memberships
	ring        modelRing
	skip        fsm.Gap // what a restore skipped; zero: there was none
	compacted
}

// modelState is what the model says of a store's state, beside its records.
type modelState struct {
	revision, floor fsm.Revision
	time            time.Duration
	answers         int
	ring            ringState
}

func (m *model) state() modelState {
	return modelState{revision: m.revision, floor: m.floor, time: m.time, answers: len(m.answers.of), ring: m.ring.state()}
}

// modelVersion is a key from an index of the log on.
type modelVersion struct {
	index   fsm.Index
	made    fsm.Revision // by which it became so
	rev     fsm.Revision // 0: there is no record
	value   string       // content type, newline, value
	created fsm.Revision // by the put that made the key
	puts    uint64       // since then
}

// modelChange is one revision.
type modelChange struct {
	request string
	ops     []modelOp     // in order
	at      int64         // its time: never before that of the change before it
	time    time.Duration // replicated
	head    [32]byte      // of the chain, with this change
}

// modelOp is what a change did to one key, or to a namespace.
type modelOp struct {
	kind fsm.OpKind
	key  string
	old  fsm.Revision // of what there was before
}

// ofNamespace tells whether it is of a namespace, or of no key at all.
func (o *modelOp) ofNamespace() bool {
	return o.kind == fsm.PutNamespace || o.kind == fsm.DeleteNamespace || o.kind == fsm.Restored
}

// ofKey tells whether it is of a key, and not of a namespace or of members.
func (o *modelOp) ofKey() bool { return !o.ofNamespace() && !slices.Contains(memberRules, o.kind) }

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
	revision fsm.Revision   // of the store afterwards; replayed, after the first time
	ops      []fsm.OpResult // of each operation; applied and unchanged only
	instead  bool           // the else branch was done
	failed   int            // which compare did not hold
	current  fsm.Revision   // of its key
	floor    fsm.Revision   // compacted only
	replayed bool           // it is what became of an equal command before
	busy     bool           // maintained only
	behind   bool           // maintained only
	missing  fsm.Need       // denied only
	cmd      *fsm.Command   // that was done; nil: none, or an earlier one
	first    first          // repeated only; zero if it is not known any more
}

func newModel() model {
	return model{
		keys: map[string][]modelVersion{}, origins: map[uint64]*modelOrigin{},
		answers: newAnswers(), compacted: newCompacted(),
	}
}

// apply does the entry at index.
func (m *model) apply(index fsm.Index, data []byte, conf *fsm.ConfChange) modelResult {
	if conf != nil {
		return m.reconfigured(index, conf)
	}
	if len(data) == 0 {
		return modelResult{outcome: fsm.Empty, revision: m.revision}
	}
	cmd, err := fsm.Decode(data)
	if err != nil {
		return modelResult{outcome: fsm.Undecodable, revision: m.revision}
	}
	if cmd.Maintenance != nil {
		return m.maintain(index, cmd.Maintenance)
	}
	if cmd.Report != nil {
		return m.reportedBy(index, cmd.Report)
	}
	if was, repeated := m.repeated(cmd.Origin); repeated {
		return modelResult{outcome: fsm.Repeated, revision: m.revision, first: was}
	}
	if len(cmd.Denials) > 0 {
		m.reported(cmd)
		m.origins[cmd.Origin.Node].seen[cmd.Origin.Seq] = first{fsm.Recorded, m.revision}
		return modelResult{outcome: fsm.Recorded, revision: m.revision}
	}
	r, known := m.answers.recall(cmd)
	if !known {
		r = m.decide(index, cmd)
	}
	if !r.replayed {
		r.revision = m.revision
	}
	if !known && r.outcome != fsm.Denied {
		m.answers.remember(cmd, r, m.time)
	}
	r.cmd = cmd
	m.origins[cmd.Origin.Node].seen[cmd.Origin.Seq] = first{r.outcome, r.revision}
	return r
}

// decide does a command that comes for the first time, if its principal may.
func (m *model) decide(index fsm.Index, cmd *fsm.Command) modelResult {
	if need := m.policy().refused(cmd); need.Verbs != 0 {
		m.refusedHere(cmd, need)
		return modelResult{outcome: fsm.Denied, missing: need}
	}
	if len(cmd.Ops) == 1 && slices.Contains([]fsm.OpKind{fsm.PutNamespace, fsm.DeleteNamespace, fsm.Bootstrap}, cmd.Ops[0].Kind) {
		return m.rule(index, cmd)
	}
	if len(cmd.Ops) == 1 && slices.Contains(memberRules, cmd.Ops[0].Kind) {
		return m.ofMembers(index, cmd)
	}
	return m.evaluate(index, cmd)
}

// evaluate does a command on keys.
func (m *model) evaluate(index fsm.Index, cmd *fsm.Command) (r modelResult) {
	ops := cmd.Ops
	for i := range cmd.Compares {
		c := &cmd.Compares[i]
		now := m.at(c.Key, index)
		if now.meets(c) {
			continue
		}
		r.failed, r.current = i, now.rev
		if len(cmd.Else) == 0 {
			r.outcome = fsm.CompareFailed
			return r
		}
		ops, r.instead = cmd.Else, true
		break
	}
	var changed []*fsm.Op
	for i := range ops {
		does, result, refused := m.does(&ops[i], index)
		if refused.outcome != 0 {
			return refused // whatever the operations before it would have done
		}
		changed = append(changed, does...)
		r.ops = append(r.ops, result)
	}
	if r.outcome = fsm.Unchanged; len(changed) > 0 {
		r.outcome = fsm.Applied
		m.change(index, cmd, changed)
	}
	return r
}

// meets tells whether a condition on a key holds.
func (v *modelVersion) meets(c *fsm.Compare) bool {
	switch c.Kind {
	case fsm.KeyAbsent:
		return v.rev == 0
	case fsm.KeyExists:
		return v.rev != 0
	case fsm.RevisionIs:
		return v.rev == c.Revision && v.rev != 0
	case fsm.ValueIs:
		_, value, _ := strings.Cut(v.value, "\n")
		return v.rev != 0 && value == string(c.Value)
	case fsm.NamespaceIs: // of a namespace, not of a key
	}
	return false
}

// does is what an operation changes: puts and deletes of keys, and what the store says of it.
func (m *model) does(op *fsm.Op, index fsm.Index) (changed []*fsm.Op, r fsm.OpResult, refused modelResult) {
	now := m.at(op.Key, index)
	switch op.Kind {
	case fsm.Put:
		if now.rev == 0 || now.value != op.ContentType+"\n"+string(op.Value) {
			return []*fsm.Op{op}, fsm.OpResult{Revision: m.revision + 1, Created: now.rev == 0, Changed: true}, refused
		}
	case fsm.Delete:
		if now.rev != 0 {
			return []*fsm.Op{op}, fsm.OpResult{Changed: true}, refused
		}
	case fsm.DeleteTree:
		for _, key := range m.below(op.Key, index) {
			changed = append(changed, &fsm.Op{Kind: fsm.Delete, Key: key})
		}
		return changed, fsm.OpResult{Changed: len(changed) > 0, Removed: len(changed)}, refused
	case fsm.Restore:
		if changed, refused = m.restore(op, index); refused.outcome != 0 {
			return nil, r, refused
		}
		r.Changed = len(changed) > 0
		for _, c := range changed {
			if c.Kind == fsm.Put {
				r.Restored++
			} else {
				r.Removed++
			}
		}
		single := op.Key != "" && !strings.HasSuffix(op.Key, "/")
		switch {
		case single && r.Restored > 0:
			r.Revision, r.Created = m.revision+1, now.rev == 0
		case single && !r.Changed:
			r.Revision = now.rev
		}
		return changed, r, refused
	default: // see rule, and ofMembers
	}
	return nil, fsm.OpResult{Revision: now.rev}, refused
}

// change makes the next revision of what cmd changed.
func (m *model) change(index fsm.Index, cmd *fsm.Command, changed []*fsm.Op) {
	var ops []modelOp
	for _, op := range changed {
		ops = append(ops, modelOp{kind: op.Kind, key: op.Key, old: m.at(op.Key, index).rev})
	}
	c := m.next(cmd, ops)
	var content []byte
	for _, op := range changed {
		now := m.at(op.Key, index)
		next := modelVersion{index: index, made: m.revision}
		if op.Kind == fsm.Put {
			next.rev, next.value, next.created, next.puts = m.revision, op.ContentType+"\n"+string(op.Value), m.revision, 1
			if now.rev != 0 {
				next.created, next.puts = now.created, now.puts+1
			}
			hash := hashRecord(chainCurrent, op.Key, op.ContentType, string(op.Value), &next, c.at, &cmd.Principal)
			content = append(content, hash[:]...)
		}
		if now.rev != 0 {
			m.over(op.Key, now.rev, m.revision)
		}
		m.keys[op.Key] = append(m.keys[op.Key], next)
	}
	m.log(c, cmd, content)
}

// next begins the next revision.
func (m *model) next(cmd *fsm.Command, ops []modelOp) modelChange {
	m.revision++
	m.latest = max(m.latest, cmd.AcceptedAt)
	return modelChange{request: cmd.RequestID, ops: ops, at: m.latest, time: m.time}
}

// log ends it; content is the hashes of what was put.
func (m *model) log(c modelChange, cmd *fsm.Command, content []byte) {
	c.head = nextHead(m.head(m.before(m.revision)), m.revision, &c, cmd, sha256.Sum256(content))
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

// asOf is the key at a revision.
func (m *model) asOf(key string, rev fsm.Revision) modelVersion {
	vs := m.keys[key]
	if n := sort.Search(len(vs), func(i int) bool { return vs[i].made > rev }); n > 0 {
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

// records counts those that are there after the entry at index was applied, before key end;
// "": all.
func (m *model) records(index fsm.Index, end string) int {
	n := 0
	for key := range m.keys {
		if (end == "" || key < end) && m.at(key, index).rev != 0 {
			n++
		}
	}
	return n
}
