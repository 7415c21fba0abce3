package fsm

import (
	"iter"
	"slices"
	"strings"

	"github.com/tidwall/btree"
)

// Policy is who may do what, as of one state of the store. It never changes: a change makes
// another one, which shares what stayed the same. Safe for concurrent use.
//
// It is what bucket namespaces holds, in memory: a decision reads no page. Authorization is
// required as soon as an administrator is bound at the root, and from then on for ever, since the
// last one cannot be removed.
type Policy struct {
	namespaces *btree.BTreeG[*NamespaceRecord] // by path
	grants     *btree.BTreeG[grant]            // by subject and path
	root       *Namespace                      // that of path ""; never nil
	bytes      int                             // of all namespaces, as encoded
	keeping    int                             // namespaces that say how many versions are kept
}

// grant is the roles that a subject has from one namespace on.
type grant struct {
	subject, path string
	roles         []string
}

func newPolicy() *Policy {
	opts := btree.Options{NoLocks: true}
	return &Policy{
		namespaces: btree.NewBTreeGOptions(func(a, b *NamespaceRecord) bool { return a.Path < b.Path }, opts),
		grants: btree.NewBTreeGOptions(func(a, b grant) bool {
			return a.subject < b.subject || a.subject == b.subject && a.path < b.path
		}, opts),
		root: &Namespace{},
	}
}

// with is p after the namespace at path became rec; nil: it was removed.
func (p *Policy) with(path string, rec *NamespaceRecord) *Policy {
	next := *p
	next.namespaces, next.grants = p.namespaces.Copy(), p.grants.Copy()
	next.set(path, rec)
	return &next
}

// set is with, of a policy that nobody else has yet.
func (p *Policy) set(path string, rec *NamespaceRecord) {
	if old, found := p.namespaces.Delete(&NamespaceRecord{Path: path}); found {
		p.count(old, -1)
		for _, b := range old.Bindings {
			for _, s := range b.Subjects {
				p.grants.Delete(grant{subject: s, path: path})
			}
		}
	}
	if rec != nil {
		p.count(rec, 1)
		p.namespaces.Set(rec)
		of := map[string][]string{} // roles of each subject
		for _, b := range rec.Bindings {
			for _, s := range b.Subjects {
				of[s] = append(of[s], b.Role)
			}
		}
		for s, roles := range of {
			p.grants.Set(grant{s, path, roles})
		}
	}
	if path == "" {
		p.root = &Namespace{}
		if rec != nil {
			p.root = &rec.Namespace
		}
	}
}

func (p *Policy) count(rec *NamespaceRecord, by int) {
	p.bytes += by * len(rec.Encode())
	if rec.KeepVersions > 0 {
		p.keeping += by
	}
}

// Required tells whether authorization is: somebody administers the cluster. Until then an
// Anonymous principal may do everything, and all others only what they are bound to.
func (p *Policy) Required() bool { return p.root.admins() }

// Namespace returns the namespace at a path, a prefix. It is shared and must not be changed.
func (p *Policy) Namespace(path string) (*NamespaceRecord, bool) {
	return p.namespaces.Get(&NamespaceRecord{Path: path})
}

// Namespaces are those at and below a prefix, in the order of paths, those after after. They
// are shared and must not be changed.
func (p *Policy) Namespaces(prefix, after string) iter.Seq[*NamespaceRecord] {
	from := prefix
	if after != "" {
		from = max(prefix, after+"\x00")
	}
	return func(yield func(*NamespaceRecord) bool) {
		p.namespaces.Ascend(&NamespaceRecord{Path: from}, func(rec *NamespaceRecord) bool {
			return strings.HasPrefix(rec.Path, prefix) && yield(rec)
		})
	}
}

// Len is how many namespaces there are.
func (p *Policy) Len() int { return p.namespaces.Len() }

// role is what a role may do: nothing, if there is none of that name.
func (n *Namespace) role(name string) (Verbs, bool) {
	for i := range builtIn {
		if builtIn[i].Name == name {
			return builtIn[i].Verbs, true
		}
	}
	i, found := slices.BinarySearchFunc(n.Roles, name, func(r Role, name string) int { return strings.Compare(r.Name, name) })
	if !found {
		return 0, false
	}
	return n.Roles[i].Verbs, true
}

// Grants is what one principal may do, as of one Policy.
type Grants struct {
	all      bool
	denied   bool
	withheld Verbs
	at       []granted
}

type granted struct {
	path  string
	verbs Verbs
}

// Grants finds what who may do. It takes a look for each of its groups and roles.
func (p *Policy) Grants(who *Principal) Grants {
	if who.Kind == Anonymous {
		return Grants{all: !p.Required()}
	}
	if p.root.denies(who) {
		return Grants{denied: true}
	}
	var g Grants
	who.subjects(func(subject string) {
		p.grants.Ascend(grant{subject: subject}, func(to grant) bool {
			if to.subject != subject {
				return false
			}
			var verbs Verbs
			for _, name := range to.roles {
				v, _ := p.root.role(name)
				verbs |= v
			}
			g.at = append(g.at, granted{to.path, verbs})
			return true
		})
	})
	if len(g.at) > fewGrants {
		g.sort()
	}
	return g
}

// denies tells whether n denies who everything, under any of its names or as who acts through a client.
func (n *Namespace) denies(who *Principal) bool {
	denied := func(subject string) bool {
		_, found := slices.BinarySearch(n.Denied, subject)
		return found || len(subject) > MaxSubjectBytes // nobody could deny it, but bind its groups
	}
	if client := who.client(); client != "" && denied(client) {
		return true
	}
	found := false
	who.subjects(func(subject string) { found = found || denied(subject) })
	return found
}

// fewGrants is how many of them are faster gone through than searched.
const fewGrants = 16

// sort joins the grants of one path and brings them into the order of paths.
func (g *Grants) sort() {
	slices.SortFunc(g.at, func(a, b granted) int { return strings.Compare(a.path, b.path) })
	joined := g.at[:1]
	for _, to := range g.at[1:] {
		if last := &joined[len(joined)-1]; last.path == to.path {
			last.verbs |= to.verbs
		} else {
			joined = append(joined, to)
		}
	}
	g.at = joined
}

// Verbs is what may be done to a key, or to all below a prefix.
func (g *Grants) Verbs(path string) Verbs {
	if g.all {
		return allVerbs &^ g.withheld
	}
	return g.bound(path) &^ g.withheld
}

// bound is Verbs, whatever is withheld.
func (g *Grants) bound(path string) (have Verbs) {
	if len(g.at) > fewGrants { // a command asks for each of a thousand keys
		for end := 0; ; {
			i, found := slices.BinarySearchFunc(g.at, path[:end], func(at granted, path string) int { return strings.Compare(at.path, path) })
			if found {
				have |= g.at[i].verbs
			}
			next := strings.IndexByte(path[end:], '/')
			if next < 0 {
				return have
			}
			end += next + 1
		}
	}
	for i := range g.at {
		if strings.HasPrefix(path, g.at[i].path) {
			have |= g.at[i].verbs
		}
	}
	return have
}

// Without is g, but for verbs: a token, say, that its user did not give them to.
func (g Grants) Without(verbs Verbs) Grants {
	g.withheld |= verbs
	return g
}

// Allow tells whether all of verbs may be done to a key, or to all below a prefix.
func (g *Grants) Allow(verbs Verbs, path string) bool { return g.Verbs(path)&verbs == verbs }

// Denied tells whether the principal may do nothing at all, whatever it is bound to.
func (g *Grants) Denied() bool { return g.denied }

// keepVersions is how many versions that are not current are kept of key: what the namespace
// nearest to it says, else what the cluster does.
func (p *Policy) keepVersions(key string, cluster int) int {
	if p.keeping == 0 {
		return cluster
	}
	for at := len(key); ; {
		at = strings.LastIndexByte(key[:at], '/')
		if rec, found := p.Namespace(key[:at+1]); found && rec.KeepVersions > 0 {
			return rec.KeepVersions
		}
		if at < 0 {
			return cluster
		}
	}
}

// Need is something that a command asks for.
type Need struct {
	Verbs Verbs  // all of them
	Path  string // to a key, or to all below a prefix
}

// Refused is the first thing that who may not do of what cmd asks for: the verbs that it lacks,
// and on which path; zero if it may do all of it, in whichever branch. It is decided again where
// the command is applied, and what is decided there counts.
func (p *Policy) Refused(who *Principal, cmd *Command) Need { return p.RefusedTo(p.Grants(who), cmd) }

// RefusedTo is Refused of whoever has g, by p.
func (p *Policy) RefusedTo(g Grants, cmd *Command) Need {
	if g.all && p.enthrones(cmd) {
		return Need{VerbBind, ""}
	}
	if g.all && g.withheld == 0 {
		return Need{}
	}
	for i := range cmd.Compares {
		cmp := &cmd.Compares[i]
		have := g.Verbs(cmp.Key)
		switch cmp.Kind {
		case ValueIs: // what a key does not hold can be found out with many of them
			if have&VerbRead == 0 {
				return Need{VerbRead, cmp.Key}
			}
		case KeyExists, KeyAbsent, RevisionIs: // whoever may write a key may ask of it
			if have&(VerbRead|VerbWrite) == 0 {
				return Need{VerbRead, cmp.Key}
			}
		case NamespaceIs: // its operation needs more
		}
	}
	for _, ops := range [...][]Op{cmd.Ops, cmd.Else} {
		for i := range ops {
			if need := p.lacks(&g, &ops[i]); need.Verbs != 0 {
				return need
			}
		}
	}
	return Need{}
}

// lacks is what g lacks to do op.
func (p *Policy) lacks(g *Grants, op *Op) Need {
	have := g.Verbs(op.Key)
	need := Need{Path: op.Key}
	switch op.Kind {
	case Put:
		need.Verbs = VerbWrite
	case Delete:
		if need.Verbs = VerbWrite; have&VerbDeleteTree != 0 { // one by one as well as all at once
			need.Verbs = VerbDeleteTree
		}
	case DeleteTree:
		need.Verbs = VerbDeleteTree
	case Restore:
		need.Verbs = VerbRollback
	case PutNamespace, DeleteNamespace:
		need.Verbs = p.needsToChange(op)
	case AddMember, PromoteMember, RemoveMember, ReplaceMember, FinalizeUpgrade:
		have, need = g.Verbs(""), Need{Verbs: VerbCluster}
	case Bootstrap: // refused by what it does if it comes late
	case Restored: // of no command
	}
	need.Verbs &^= have
	return need
}

// enthrones tells whether cmd would have an anonymous caller name the first administrator.
// That takes who configures a node: see Bootstrap.
func (p *Policy) enthrones(cmd *Command) bool {
	for i := range cmd.Ops {
		if op := &cmd.Ops[i]; op.Kind == PutNamespace && op.Key == "" && !p.Required() {
			if n, err := DecodeNamespace("", op.Value); err == nil && n.admins() {
				return true
			}
		}
	}
	return false
}

// needsToChange is what it takes to do op, which puts or removes a namespace: VerbRetention for
// how much is kept, VerbBind for all else, and each verb that is given by it; all for who is denied.
func (p *Policy) needsToChange(op *Op) Verbs {
	before := &Namespace{}
	if rec, found := p.Namespace(op.Key); found {
		before = &rec.Namespace
	}
	after := &Namespace{}
	if op.Kind == PutNamespace {
		var err error
		if after, err = DecodeNamespace(op.Key, op.Value); err != nil {
			return allVerbs // Encode tells what is wrong with it
		}
	}
	var need Verbs
	if before.KeepVersions != after.KeepVersions {
		need = VerbRetention
	}
	rest := *after
	rest.KeepVersions = before.KeepVersions
	if need == 0 || string(rest.Encode()) != string(before.Encode()) {
		need |= VerbBind
	}
	if !slices.Equal(before.Denied, after.Denied) {
		need |= allVerbs // what somebody is bound to goes, or comes back, wherever that is
	}
	roles := p.root
	if op.Key == "" {
		roles = after
		for _, r := range after.Roles {
			if had, _ := before.role(r.Name); had != r.Verbs {
				need |= r.Verbs
			}
		}
	}
	for _, b := range after.Bindings {
		verbs, _ := roles.role(b.Role)
		for _, s := range b.Subjects {
			if !before.binds(b.Role, s) {
				need |= verbs
			}
		}
	}
	return need
}

// binds tells whether n gives a role to a subject.
func (n *Namespace) binds(role, subject string) bool {
	for i := range n.Bindings {
		if n.Bindings[i].Role == role {
			_, found := slices.BinarySearch(n.Bindings[i].Subjects, subject)
			return found
		}
	}
	return false
}
