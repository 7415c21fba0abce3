package sim

import (
	"slices"
	"sort"
	"strings"

	"github.com/confman/confman/fsm"
)

// modelPolicy is who may do what, as the documentation has it: all namespaces, and nothing that
// was made of them. It is not changed once it is made.
type modelPolicy map[string]*modelSpace

// modelSpace is a namespace with its last change.
type modelSpace struct {
	fsm.Namespace
	value   string // as it was put
	rev     fsm.Revision
	created fsm.Revision
	puts    uint64
	at      int64
	by      string
}

// modelPolicyFrom is the policy from an index of the log on.
type modelPolicyFrom struct {
	index fsm.Index
	made  fsm.Revision
	path  string // the namespace that became another
	modelPolicy
}

// policies are all there ever were, oldest first.
type policies []modelPolicyFrom

// at is the policy after the entry at index.
func (p policies) at(index fsm.Index) modelPolicy {
	if n := sort.Search(len(p), func(i int) bool { return p[i].index > index }); n > 0 {
		return p[n-1].modelPolicy
	}
	return nil
}

// asOf is the policy at a revision.
func (p policies) asOf(rev fsm.Revision) modelPolicy {
	if n := sort.Search(len(p), func(i int) bool { return p[i].made > rev }); n > 0 {
		return p[n-1].modelPolicy
	}
	return nil
}

// between are the policies that were in force at some index from from to to.
func (p policies) between(from, to fsm.Index) []modelPolicy {
	out := []modelPolicy{p.at(from)}
	for i := range p {
		if p[i].index > from && p[i].index <= to {
			out = append(out, p[i].modelPolicy)
		}
	}
	return out
}

// everyVerb is all that can be done.
const everyVerb = fsm.VerbRead | fsm.VerbWrite | fsm.VerbRollback | fsm.VerbDeleteTree | fsm.VerbRetention |
	fsm.VerbBind | fsm.VerbCluster | fsm.VerbAudit

// administrator is the role that is meant where there must be one.
const administrator = "admin"

var standingRoles = map[string]fsm.Verbs{
	"viewer":      fsm.VerbRead,
	"editor":      fsm.VerbRead | fsm.VerbWrite,
	"publisher":   fsm.VerbRead | fsm.VerbWrite | fsm.VerbRollback | fsm.VerbDeleteTree | fsm.VerbRetention,
	administrator: everyVerb,
}

// space is the namespace at path; an empty one if there is none.
func (p modelPolicy) space(path string) *modelSpace {
	if s := p[path]; s != nil {
		return s
	}
	return &modelSpace{}
}

// roleOf is what a role may do where the root namespace is n.
func roleOf(n *fsm.Namespace, name string) (fsm.Verbs, bool) {
	if v, ok := standingRoles[name]; ok {
		return v, true
	}
	for _, r := range n.Roles {
		if r.Name == name {
			return r.Verbs, true
		}
	}
	return 0, false
}

// ruled: somebody administers the cluster where the root namespace is n.
func ruled(n *fsm.Namespace) bool {
	for _, b := range n.Bindings {
		for _, s := range b.Subjects {
			if b.Role == administrator && !slices.Contains(n.Denied, s) {
				return true
			}
		}
	}
	return false
}

// required: authorization is.
func (p modelPolicy) required() bool { return ruled(&p.space("").Namespace) }

// may is what somebody may do to a key, or to all below a prefix.
func (p modelPolicy) may(who *fsm.Principal, path string) fsm.Verbs {
	if who.Kind == fsm.Anonymous {
		if p.required() {
			return 0
		}
		return everyVerb
	}
	names, top := namesOfPrincipal(who), p.space("")
	if denies(&top.Namespace, who) {
		return 0
	}
	var out fsm.Verbs
	for at, s := range p {
		if !strings.HasPrefix(path, at) {
			continue
		}
		for _, b := range s.Bindings {
			if slices.ContainsFunc(b.Subjects, func(s string) bool { return slices.Contains(names, s) }) {
				verbs, _ := roleOf(&top.Namespace, b.Role)
				out |= verbs
			}
		}
	}
	return out
}

// denies tells whether n denies who everything: under a name of theirs, or through whom they act.
func denies(n *fsm.Namespace, who *fsm.Principal) bool {
	return slices.ContainsFunc(append([]string{throughWhom(who)}, namesOfPrincipal(who)...), func(s string) bool {
		return slices.Contains(n.Denied, s)
	})
}

// refused is the first thing that a command asks for and its principal may not do.
func (p modelPolicy) refused(cmd *fsm.Command) fsm.Need {
	who := &cmd.Principal
	for i := range cmd.Compares {
		c := &cmd.Compares[i]
		have := p.may(who, c.Key)
		switch {
		case c.Kind == fsm.NamespaceIs:
		case c.Kind == fsm.ValueIs && have&fsm.VerbRead == 0, have&(fsm.VerbRead|fsm.VerbWrite) == 0:
			return fsm.Need{Verbs: fsm.VerbRead, Path: c.Key}
		}
	}
	for _, op := range slices.Concat(cmd.Ops, cmd.Else) {
		path := op.Key
		if slices.Contains(memberRules, op.Kind) {
			path = "" // members are of the whole cluster
		}
		have := p.may(who, path)
		if lacks := p.asks(&op, have) &^ have; lacks != 0 {
			return fsm.Need{Verbs: lacks, Path: path}
		}
		// Nobody becomes the first administrator by asking.
		if who.Kind == fsm.Anonymous && op.Kind == fsm.PutNamespace && op.Key == "" && !p.required() && ruled(asNamespace(&op)) {
			return fsm.Need{Verbs: fsm.VerbBind}
		}
	}
	return fsm.Need{}
}

// asks is what it takes to do op where have may be done.
func (p modelPolicy) asks(op *fsm.Op, have fsm.Verbs) fsm.Verbs {
	switch op.Kind {
	case fsm.Put:
		return fsm.VerbWrite
	case fsm.Delete:
		if have&fsm.VerbDeleteTree != 0 {
			return 0
		}
		return fsm.VerbWrite
	case fsm.DeleteTree:
		return fsm.VerbDeleteTree
	case fsm.Restore:
		return fsm.VerbRollback
	case fsm.PutNamespace, fsm.DeleteNamespace:
		return p.asksToRule(op)
	case fsm.Bootstrap: // refused by what it does if it comes late
	default:
		return fsm.VerbCluster
	}
	return 0
}

// asNamespace is the namespace that op leaves.
func asNamespace(op *fsm.Op) *fsm.Namespace {
	if op.Kind != fsm.PutNamespace {
		return &fsm.Namespace{}
	}
	n, err := fsm.DecodeNamespace(op.Key, op.Value)
	if err != nil {
		panic("sim: a namespace was decoded before, and now: " + err.Error())
	}
	return n
}

// asksToRule is what it takes to put or to remove a namespace: to keep more or less is retention,
// all else is to bind; whoever gives a verb must
// have it, and whoever denies somebody nothing more must have all.
func (p modelPolicy) asksToRule(op *fsm.Op) fsm.Verbs {
	before, after := &p.space(op.Key).Namespace, asNamespace(op)
	var out fsm.Verbs
	keeps := before.KeepVersions != after.KeepVersions
	if keeps {
		out |= fsm.VerbRetention
	}
	same := *after
	same.KeepVersions = before.KeepVersions
	if !keeps || string(same.Encode()) != string(before.Encode()) {
		out |= fsm.VerbBind
	}
	if !slices.Equal(before.Denied, after.Denied) {
		out |= everyVerb // what somebody is bound to goes, or comes back
	}
	top := &p.space("").Namespace
	if op.Key == "" {
		top = after
		for _, r := range after.Roles {
			if had, _ := roleOf(before, r.Name); had != r.Verbs {
				out |= r.Verbs
			}
		}
	}
	for _, b := range after.Bindings {
		for _, s := range b.Subjects {
			if !bound(before, b.Role, s) {
				verbs, _ := roleOf(top, b.Role)
				out |= verbs
			}
		}
	}
	return out
}

// bound tells whether n gives a role to a subject.
func bound(n *fsm.Namespace, role, subject string) bool {
	return slices.ContainsFunc(n.Bindings, func(b fsm.Binding) bool { return b.Role == role && slices.Contains(b.Subjects, subject) })
}

// rule does a command that changes a namespace.
func (m *model) rule(index fsm.Index, cmd *fsm.Command) (r modelResult) {
	p, op := m.policy(), cmd.Ops[0]
	now := p.space(op.Key)
	for i := range cmd.Compares {
		if cmd.Compares[i].Revision != now.rev {
			return modelResult{outcome: fsm.CompareFailed, failed: i, current: now.rev}
		}
	}
	if op.Kind == fsm.Bootstrap {
		if p.required() {
			return modelResult{outcome: fsm.AdminExists}
		}
		first, subject := now.Namespace, string(op.Value)
		first.Bindings = append(slices.Clone(first.Bindings), fsm.Binding{Role: administrator, Subjects: []string{subject}})
		first.Denied = slices.DeleteFunc(slices.Clone(first.Denied), func(s string) bool { return s == subject })
		op = fsm.Op{Kind: fsm.PutNamespace, Value: first.Encode()}
	}
	after := asNamespace(&op)
	if r.outcome = p.forbids(op.Key, after, &cmd.Principal); r.outcome != 0 {
		return r
	}
	r.outcome, r.ops = fsm.Unchanged, []fsm.OpResult{{Revision: now.rev}}
	if op.Kind == fsm.DeleteNamespace && now.rev == 0 || op.Kind == fsm.PutNamespace && now.rev != 0 && now.value == string(op.Value) {
		return r
	}
	r.outcome, r.ops[0] = fsm.Applied, fsm.OpResult{Changed: true}
	if op.Kind == fsm.PutNamespace {
		r.ops[0].Revision, r.ops[0].Created = m.revision+1, now.rev == 0
	}
	m.ruled(index, cmd, &op, after, now)
	return r
}

// forbids is why who must not make the namespace at path what after is; 0: nothing. There are never
// too many of them in a world.
func (p modelPolicy) forbids(path string, after *fsm.Namespace, who *fsm.Principal) fsm.Outcome {
	top := &p.space("").Namespace
	if path == "" {
		if p.required() && !ruled(after) {
			return fsm.LastAdmin
		}
		if denies(after, who) {
			return fsm.SelfDenied
		}
		for at, s := range p {
			for _, b := range s.Bindings {
				_, was := roleOf(top, b.Role)
				if _, is := roleOf(after, b.Role); at != "" && was && !is {
					return fsm.RoleInUse
				}
			}
		}
		top = after
	}
	for _, b := range after.Bindings {
		if _, known := roleOf(top, b.Role); !known {
			return fsm.UnknownRole
		}
	}
	return 0
}

// ruled makes the next revision: the namespace of op becomes after.
func (m *model) ruled(index fsm.Index, cmd *fsm.Command, op *fsm.Op, after *fsm.Namespace, now *modelSpace) {
	c := m.next(cmd, []modelOp{{kind: op.Kind, key: op.Key, old: now.rev}})
	next := modelPolicy{}
	for path, s := range m.policy() {
		if path != op.Key {
			next[path] = s
		}
	}
	var content []byte
	if op.Kind == fsm.PutNamespace {
		s := &modelSpace{
			Namespace: *after, value: string(op.Value),
			rev: m.revision, created: m.revision, puts: 1, at: c.at, by: namesOfPrincipal(&cmd.Principal)[0],
		}
		if now.rev != 0 {
			s.created, s.puts = now.created, now.puts+1
		}
		next[op.Key] = s
		hash := hashRecord(chainNamespaces, "n"+op.Key, "", s.value, &modelVersion{rev: s.rev, created: s.created, puts: s.puts}, c.at, &cmd.Principal)
		content = hash[:]
	}
	m.policies = append(m.policies, modelPolicyFrom{index: index, made: m.revision, path: op.Key, modelPolicy: next})
	m.log(c, cmd, content)
}

// policy is the newest.
func (m *model) policy() modelPolicy {
	if n := len(m.policies); n > 0 {
		return m.policies[n-1].modelPolicy
	}
	return nil
}

// keeps is how many versions that are over are kept of a key: as the namespace nearest to it says,
// else as the command does; 0: all.
func (p modelPolicy) keeps(key string, otherwise int) int {
	nearest, keep := -1, otherwise
	for path, s := range p {
		if s.KeepVersions > 0 && strings.HasPrefix(key, path) && len(path) > nearest {
			nearest, keep = len(path), s.KeepVersions
		}
	}
	return keep
}

// keeping: some namespace says how many versions are kept.
func (p modelPolicy) keeping() bool {
	for _, s := range p {
		if s.KeepVersions > 0 {
			return true
		}
	}
	return false
}
