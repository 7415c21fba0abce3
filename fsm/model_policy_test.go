package fsm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// modelSubjects are what a principal is, as the documentation spells it; no part of those in
// these tests needs an escape.
func modelSubjects(p *Principal) []string {
	in := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
	}
	var all []string
	switch p.Kind {
	case User:
		all = append(all, "user:"+in(p.Issuer, p.Tenant, p.Object))
	case ServicePrincipal:
		all = append(all, "app:"+in(p.Issuer, p.Tenant, p.App))
	case Certificate:
		all = append(all, "cert:"+p.Object)
	case Anonymous:
		return nil
	}
	for _, g := range p.Groups {
		id := fmt.Sprintf("%x-%x-%x-%x-%x", g[:4], g[4:6], g[6:8], g[8:10], g[10:])
		all = append(all, "group:"+in(p.Issuer, p.Tenant, id))
	}
	for _, r := range p.Roles {
		all = append(all, "role:"+in(p.Issuer, r))
	}
	return all
}

// required tells whether somebody who is not denied is bound to admin at the root of policy.
func required(policy map[string]NamespaceRecord) bool {
	root := policy[""]
	for _, b := range root.Bindings {
		for _, s := range b.Subjects {
			if b.Role == "admin" && !slices.Contains(root.Denied, s) {
				return true
			}
		}
	}
	return false
}

// roleOf is what a role may do.
func roleOf(policy map[string]NamespaceRecord, name string) (Verbs, bool) {
	all := map[string]Verbs{
		"viewer": VerbRead, "editor": VerbRead | VerbWrite, "admin": allVerbs,
		"publisher": VerbRead | VerbWrite | VerbRollback | VerbDeleteTree | VerbRetention,
	}
	root := policy[""]
	for _, r := range root.Roles {
		all[r.Name] = r.Verbs
	}
	v, known := all[name]
	return v, known
}

// deniedBy tells whether a list of subjects has p on it, or the application p acts through.
func deniedBy(list []string, p *Principal) bool {
	are := modelSubjects(p)
	if p.Kind == User && p.App != "" {
		client := *p
		client.Kind, client.Groups, client.Roles = ServicePrincipal, nil, nil
		are = append(are, modelSubjects(&client)[0])
	}
	return slices.ContainsFunc(are, func(s string) bool { return slices.Contains(list, s) })
}

// may is what p may do to path.
func (m *model) may(p *Principal, path string) (verbs Verbs) {
	if p.Kind == Anonymous {
		if required(m.namespaces) {
			return 0
		}
		return allVerbs
	}
	are := modelSubjects(p)
	if deniedBy(m.namespaces[""].Denied, p) {
		return 0
	}
	for prefix, n := range m.namespaces {
		for _, b := range n.Bindings {
			for _, s := range b.Subjects {
				if strings.HasPrefix(path, prefix) && slices.Contains(are, s) {
					v, _ := roleOf(m.namespaces, b.Role)
					verbs |= v
				}
			}
		}
	}
	return verbs
}

// missing is what cmd's principal lacks, first.
func (m *model) missing(cmd *Command) Need {
	p := &cmd.Principal
	if p.Kind == Anonymous && !required(m.namespaces) {
		// It may do everything, but name the first administrator.
		if len(cmd.Ops) == 1 && cmd.Ops[0].Kind == PutNamespace {
			if policy, _ := m.after(&cmd.Ops[0]); required(policy) {
				return Need{VerbBind, ""}
			}
		}
		return Need{}
	}
	for _, c := range cmd.Compares {
		have := m.may(p, c.Key)
		if c.Kind == ValueIs && have&VerbRead == 0 || c.Kind < ValueIs && have&(VerbRead|VerbWrite) == 0 {
			return Need{VerbRead, c.Key}
		}
	}
	for _, op := range slices.Concat(cmd.Ops, cmd.Else) {
		have := m.may(p, op.Key)
		need := map[OpKind]Verbs{Put: VerbWrite, Delete: VerbWrite, DeleteTree: VerbDeleteTree, Restore: VerbRollback}[op.Kind]
		if op.Kind == Delete && have&VerbDeleteTree != 0 {
			need = 0
		}
		if op.Kind == PutNamespace || op.Kind == DeleteNamespace {
			need = m.toChange(&op)
		}
		if need &^= have; need != 0 {
			return Need{need, op.Key}
		}
	}
	return Need{}
}

// after is the policy as op makes it.
func (m *model) after(op *Op) (policy map[string]NamespaceRecord, n Namespace) {
	policy = maps.Clone(m.namespaces)
	delete(policy, op.Key)
	if op.Kind == PutNamespace {
		decoded, _ := DecodeNamespace(op.Key, op.Value)
		n = *decoded
		policy[op.Key] = NamespaceRecord{Path: op.Key, Namespace: n}
	}
	return policy, n
}

func (m *model) toChange(op *Op) (need Verbs) {
	policy, now := m.after(op)
	was := m.namespaces[op.Key].Namespace
	if now.KeepVersions != was.KeepVersions {
		need = VerbRetention
	}
	now.KeepVersions = was.KeepVersions
	if need == 0 || string(now.Encode()) != string(was.Encode()) {
		need |= VerbBind
	}
	if !slices.Equal(was.Denied, now.Denied) {
		need = allVerbs
	}
	for _, b := range now.Bindings {
		for _, s := range b.Subjects {
			had := slices.ContainsFunc(was.Bindings, func(o Binding) bool { return o.Role == b.Role && slices.Contains(o.Subjects, s) })
			if !had {
				v, _ := roleOf(policy, b.Role)
				need |= v
			}
		}
	}
	for _, r := range now.Roles {
		if !slices.Contains(was.Roles, r) {
			need |= r.Verbs
		}
	}
	return need
}

func (m *model) namespace(cmd *Command) (res Result) {
	op := cmd.Ops[0]
	was, exists := m.namespaces[op.Key]
	for i, c := range cmd.Compares {
		if c.Revision != was.Revision {
			return Result{Outcome: CompareFailed, FailedCompare: i, Current: was.Revision}
		}
	}
	if op.Kind == Bootstrap {
		if required(m.namespaces) {
			return Result{Outcome: AdminExists}
		}
		n := was.Namespace
		n.Denied = slices.DeleteFunc(slices.Clone(n.Denied), func(s string) bool { return s == string(op.Value) })
		n.Bindings = append(slices.Clone(n.Bindings), Binding{"admin", []string{string(op.Value)}})
		op = Op{Kind: PutNamespace, Value: n.Encode()}
	}
	policy, now := m.after(&op)
	if required(m.namespaces) && !required(policy) {
		return Result{Outcome: LastAdmin}
	}
	if op.Key == "" && deniedBy(policy[""].Denied, &cmd.Principal) {
		return Result{Outcome: SelfDenied}
	}
	if op.Key == "" {
		for _, r := range m.namespaces[""].Roles {
			_, stays := roleOf(policy, r.Name)
			for path, n := range m.namespaces {
				if path != "" && !stays && slices.ContainsFunc(n.Bindings, func(b Binding) bool { return b.Role == r.Name }) {
					return Result{Outcome: RoleInUse}
				}
			}
		}
	}
	for _, b := range now.Bindings {
		if _, known := roleOf(policy, b.Role); !known {
			return Result{Outcome: UnknownRole}
		}
	}
	res = Result{Outcome: Unchanged, Ops: []OpResult{{Revision: was.Revision}}}
	put := op.Kind == PutNamespace
	if !put && !exists || put && exists && string(was.Encode()) == string(op.Value) {
		return res
	}
	m.was = append(m.was, maps.Clone(m.records))
	m.policies = append(m.policies, maps.Clone(m.namespaces))
	m.revision++
	m.at = max(m.at, cmd.AcceptedAt)
	m.changes = append(m.changes, Change{
		Revision: m.revision, At: m.at, Time: m.time, Ops: []ChangedKey{{op.Kind, op.Key, was.Revision}},
	})
	res = Result{Outcome: Applied, Ops: []OpResult{{Changed: true}}}
	delete(m.namespaces, op.Key)
	if put {
		rec := NamespaceRecord{
			Path: op.Key, Namespace: now, Revision: m.revision, CreateRevision: m.revision,
			ModifiedAt: m.at, ModifiedBy: cmd.Principal.String(),
		}
		if exists {
			rec.CreateRevision = was.CreateRevision
		}
		m.namespaces[op.Key] = rec
		res.Ops[0] = OpResult{Revision: m.revision, Created: !exists, Changed: true}
	}
	return res
}

// asPolicy is the policy as it was at a revision.
func (m *model) asPolicy(rev Revision) map[string]NamespaceRecord {
	if rev == m.revision {
		return m.namespaces
	}
	return m.policies[rev]
}

// keepVersions is how many versions are kept of key.
func (m *model) keepVersions(key string, cluster int) int {
	longest := -1
	for prefix, n := range m.namespaces {
		if n.KeepVersions > 0 && strings.HasPrefix(key, prefix) && len(prefix) > longest {
			longest, cluster = len(prefix), n.KeepVersions
		}
	}
	return cluster
}

func (m *model) deny(d Denial, node uint64) {
	m.denials = append(m.denials, DenialRow{
		Denial: d, Number: uint64(len(m.denials) + 1), Revision: m.revision, Time: m.time, Node: node,
	})
}

// refused records what was denied where it was applied.
func (m *model) refused(cmd *Command, missing Need) {
	d := Denial{
		Kind: DeniedWrite, Principal: cmd.Principal.String(), Verbs: missing.Verbs, Path: missing.Path, Reason: "forbidden",
		RequestID: cmd.RequestID, Source: cmd.Source, Count: 1, First: cmd.AcceptedAt, Last: cmd.AcceptedAt,
	}
	if n := len(m.denials); n > 0 {
		last := &m.denials[n-1]
		if last.Node == 0 && last.Revision == m.revision && last.Principal == d.Principal && last.Verbs == d.Verbs && last.Path == d.Path {
			last.Count++
			last.Last = max(last.Last, d.Last)
			return
		}
	}
	m.deny(d, 0)
}
