package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func putNamespace(path string, n Namespace) Op {
	return Op{Kind: PutNamespace, Key: path, Value: n.Encode()}
}

func user(name string) Principal { return Principal{Kind: User, Issuer: "i", Object: name} }

// by returns ops as a command of a user.
func by(name string, ops ...Op) Command { return Command{Principal: user(name), Ops: ops} }

func bind(role string, names ...string) Binding {
	b := Binding{Role: role}
	for _, name := range names {
		b.Subjects = append(b.Subjects, "user:i/"+name)
	}
	return b
}

// governed is a store with an administrator, "root", an editor of a/, "ed", and an
// administrator of a/b/, "sub".
func governed(t *testing.T) *replica {
	r := newReplica(t)
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: Bootstrap, Value: []byte("user:i/root")}}}).Outcome)
	require.Equal(t, Applied, r.do(by("root", putNamespace("a/", Namespace{Bindings: []Binding{bind("editor", "ed")}}))).Outcome)
	require.Equal(t, Applied, r.do(by("root", putNamespace("a/b/", Namespace{Bindings: []Binding{bind("admin", "sub")}}))).Outcome)
	return r
}

// policy is the newest one.
func (r *replica) policy(t *testing.T) *Policy {
	t.Helper()
	v, err := r.s.View()
	require.NoError(t, err)
	defer v.Close()
	return v.Policy()
}

func TestSubjects(t *testing.T) {
	group := [16]byte{0x01, 0x23, 0xab, 0xcd, 15: 1}
	for _, c := range []struct {
		p    Principal
		want []string
	}{
		{Principal{}, nil},
		{Principal{Kind: User, Issuer: "entra", Tenant: "t", Object: "o", App: "client"}, []string{"user:entra/t/o"}},
		{Principal{Kind: User, Issuer: "corp", Object: "a/b%2F"}, []string{"user:corp/a%2Fb%252F"}},
		{
			Principal{Kind: ServicePrincipal, Issuer: "entra", Tenant: "t", Object: "o", App: "a", Roles: []string{"Config.Write"}, Groups: [][16]byte{group}},
			[]string{"app:entra/t/a", "group:entra/t/0123abcd-0000-0000-0000-000000000001", "role:entra/Config.Write"},
		},
		{Principal{Kind: Certificate, Object: "spiffe://x"}, []string{"cert:spiffe:%2F%2Fx"}},
	} {
		var got []string
		c.p.subjects(func(s string) { got = append(got, s) })
		assert.Equal(t, c.want, got)
		for _, s := range got {
			assert.NoError(t, ValidateSubject(s))
		}
	}
}

// No two principals of one kind are spelled alike, whatever their parts are.
func TestSubjectsAreUnique(t *testing.T) {
	part := rapid.SampledFrom([]string{"", "a", "b", "a/b", "/", "%", "%2F", "a%2Fb"})
	full := rapid.SampledFrom([]string{"a", "b", "a/b", "/", "%", "%2F", "a%2Fb"})
	rapid.Check(t, func(t *rapid.T) {
		var p [2]Principal
		for i := range p {
			p[i] = Principal{Kind: User, Issuer: full.Draw(t, "issuer"), Tenant: part.Draw(t, "tenant"), Object: full.Draw(t, "object")}
			require.NoError(t, ValidateSubject(p[i].String()))
		}
		same := p[0].Issuer == p[1].Issuer && p[0].Tenant == p[1].Tenant && p[0].Object == p[1].Object
		require.Equal(t, same, p[0].String() == p[1].String())
	})
}

func TestSubjectsRefused(t *testing.T) {
	for _, s := range []string{
		"", "anonymous", "user", "user:", "user:a", "user:a/", "user:a//b", "user:a/b/c/d", "robot:a/b", "User:a/b", "role:a", "role:a/b/c",
		"cert:", "cert:a/b", "user:a/%41", "user:a/b%2f", "group:a/b", "group:a/0123ABCD-0000-0000-0000-000000000001", "user:a/\x00",
		"user:a/\xff", "user:a/" + strings.Repeat("x", MaxSubjectBytes),
	} {
		assert.Error(t, ValidateSubject(s), "%q", s)
	}
}

func TestFirstAdministrator(t *testing.T) {
	r := newReplica(t)
	policy := func() *Policy { return r.policy(t) }
	require.False(t, policy().Required())
	require.Equal(t, Applied, r.do(Command{Ops: []Op{put("a", "1")}}).Outcome, "anybody may, as long as nobody administers")
	res := r.do(by("ed", put("a", "2")))
	require.Equal(t, Denied, res.Outcome, "who has a name needs a binding, always")
	require.Equal(t, Need{VerbWrite, "a"}, res.Missing)
	require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace("", Namespace{Bindings: []Binding{bind("viewer", "v")}})}}).Outcome)
	res = r.do(Command{Ops: []Op{putNamespace("", Namespace{Bindings: []Binding{bind("admin", "me")}})}})
	require.Equal(t, Denied, res.Outcome, "nobody without a name makes an administrator")
	require.Equal(t, Need{VerbBind, ""}, res.Missing)

	first := Command{Ops: []Op{{Kind: Bootstrap, Value: []byte("user:i/root")}}}
	require.Equal(t, Applied, r.do(first).Outcome)
	require.True(t, policy().Required())
	require.Equal(t, AdminExists, r.do(first).Outcome)
	require.Equal(t, Denied, r.do(Command{Ops: []Op{put("a", "3")}}).Outcome, "nobody without a name any more")
	require.Equal(t, Applied, r.do(by("root", put("a", "3"))).Outcome)
	viewer := user("v")
	g := policy().Grants(&viewer)
	require.True(t, g.Allow(VerbRead, "a"), "what was bound before stays")
	r.crash()
	require.True(t, policy().Required())
}

// The root namespace can be too large for one more subject, or one more role. That stops no node.
func TestNoRoomForTheFirstAdministrator(t *testing.T) {
	many := func(n, size int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("cert:%0*d", size, i))
		}
		return all
	}
	var roles []Role
	var bindings []Binding
	for i := range MaxCustomRoles {
		roles = append(roles, Role{fmt.Sprintf("r%d", i), VerbRead})
		bindings = append(bindings, Binding{roles[i].Name, []string{"cert:c"}})
	}
	const long = 1000
	for name, root := range map[string]Namespace{
		"subjects": {Bindings: []Binding{{"viewer", many(MaxSubjects, 3)}}},
		"bindings": {Bindings: bindings, Roles: roles},
		"bytes":    {Denied: many((MaxNamespaceBytes-512)/(long+7), long), Owner: strings.Repeat("x", 256), Description: strings.Repeat("x", 700)},
	} {
		r := newReplica(t)
		require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace("", root)}}).Outcome, name)
		first := Command{Ops: []Op{{Kind: Bootstrap, Value: []byte("user:i/" + strings.Repeat("x", long))}}}
		require.Equal(t, PolicyFull, r.do(first).Outcome, name)
		require.False(t, r.policy(t).Required(), name)
		require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace("", Namespace{})}}).Outcome, name)
		require.Equal(t, Applied, r.do(first).Outcome, name)
	}
}

// A command that no node would accept is refused, like others, by whoever asks before it is encoded.
func TestRefusedWhateverTheCommandIs(t *testing.T) {
	r := governed(t)
	ed := user("ed")
	cmd := Command{Ops: []Op{{Kind: PutNamespace, Key: "a/", Value: []byte("none")}}}
	require.Equal(t, Need{allVerbs &^ (VerbRead | VerbWrite), "a/"}, r.policy(t).Refused(&ed, &cmd))
}

func TestTheLastAdministratorStays(t *testing.T) {
	r := governed(t)
	root := func(n Namespace) Outcome { return r.do(by("root", putNamespace("", n))).Outcome }
	require.Equal(t, LastAdmin, root(Namespace{}))
	require.Equal(t, LastAdmin, root(Namespace{Bindings: []Binding{bind("admin", "root")}, Denied: []string{"user:i/root"}}))
	require.Equal(t, LastAdmin, r.do(by("root", Op{Kind: DeleteNamespace})).Outcome)
	require.Equal(t, Applied, root(Namespace{Bindings: []Binding{bind("admin", "root", "next")}}))
	require.Equal(t, Applied, root(Namespace{Bindings: []Binding{bind("admin", "next")}}), "one of two may go, also who does it")
	require.Equal(t, Denied, root(Namespace{Bindings: []Binding{bind("admin", "root")}}))
	require.Equal(t, Applied, r.do(by("next", Op{Kind: DeleteNamespace, Key: "a/"})).Outcome)
}

// Whoever is bound in many places may do what they would as one of few.
func TestManyGrants(t *testing.T) {
	p := newPolicy()
	roles := []string{"viewer", "editor", "publisher", "admin"}
	subjects := []string{"user:i/x", "role:i/r", "role:i/s"}
	var paths []string
	for _, first := range []string{"", "a/", "a-b/", "b/"} {
		for _, second := range []string{"", "a/", "a-b/", "c/", "c/d/", "d/"} {
			if first != "" || second == "" {
				paths = append(paths, first+second)
			}
		}
	}
	for i, path := range paths {
		n := Namespace{}
		for j, s := range subjects {
			if (i+j)%3 > 0 {
				n.Bindings = append(n.Bindings, Binding{roles[(i+2*j)%4], []string{s}})
			}
		}
		p = p.with(path, &NamespaceRecord{Path: path, Namespace: *n.sorted()})
	}
	who := Principal{Kind: User, Issuer: "i", Object: "x", Roles: []string{"r", "s"}}
	g := p.Grants(&who)
	require.Greater(t, len(g.at), fewGrants)
	for _, at := range append([]string{"a", "a-b", "a/x", "a/c/d", "a/c/d/e/f", "a-b/c/x", "b/x/", "c", "c/d/", "b-c/x"}, paths...) {
		var want Verbs
		for rec := range p.Namespaces("", "") {
			for _, b := range rec.Bindings {
				if strings.HasPrefix(at, rec.Path) {
					v, _ := p.root.role(b.Role)
					want |= v
				}
			}
		}
		require.Equal(t, want, g.Verbs(at), at)
		less := g.Without(VerbWrite)
		require.Equal(t, want&^VerbWrite, less.Verbs(at), at)
	}
}

// A list of namespaces goes on after any path, be that above the prefix, too.
func TestNamespacesAfter(t *testing.T) {
	r := governed(t)
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", []string{"", "a/", "a/b/"}},
		{"", "a/", []string{"a/b/"}},
		{"a/", "", []string{"a/", "a/b/"}},
		{"a/", "a/", []string{"a/b/"}},
		{"a/", "A/", []string{"a/", "a/b/"}},
		{"a/", "\x00", []string{"a/", "a/b/"}},
		{"a/", "b/", nil},
	} {
		var got []string
		for rec := range r.policy(t).Namespaces(c.prefix, c.after) {
			got = append(got, rec.Path)
		}
		require.Equal(t, c.want, got, "%q after %q", c.prefix, c.after)
	}
}

// What somebody gives to others, they have.
func TestNobodyRises(t *testing.T) {
	r := governed(t)
	for _, c := range []struct {
		name string
		cmd  Command
		want Need // zero: it is allowed
	}{
		{"an editor cannot grant", by("ed", putNamespace("a/x/", Namespace{Bindings: []Binding{bind("viewer", "friend")}})), Need{VerbBind, "a/x/"}},
		{"nor remove", by("ed", Op{Kind: DeleteNamespace, Key: "a/"}), Need{VerbBind, "a/"}},
		{"nor keep more", by("ed", putNamespace("a/x/", Namespace{KeepVersions: 5})), Need{VerbRetention, "a/x/"}},
		{"an administrator of a part is none above", by("sub", putNamespace("a/", Namespace{})), Need{VerbBind, "a/"}},
		{"nor beside", by("sub", put("a/c", "")), Need{VerbWrite, "a/c"}},
		{"but below", by("sub", putNamespace("a/b/c/", Namespace{Bindings: []Binding{bind("admin", "friend")}})), Need{}},
		{"and there", by("sub", put("a/b/c/d", "")), Need{}},
		{"who was bound there, too", by("friend", put("a/b/c/d", "1")), Need{}},
		{"and not above", by("friend", put("a/b/d", "1")), Need{VerbWrite, "a/b/d"}},
		{"roles are the root's", by("root", putNamespace("", Namespace{Bindings: []Binding{bind("admin", "root"), bind("binder", "b")}, Roles: []Role{{"binder", VerbBind}}})), Need{}},
		{"who may only bind gives nothing else", by("b", putNamespace("a/x/", Namespace{Bindings: []Binding{bind("editor", "b")}})), Need{VerbRead | VerbWrite, "a/x/"}},
		{"but bind", by("b", putNamespace("a/x/", Namespace{Bindings: []Binding{bind("binder", "c")}})), Need{}},
		{"and may take away", by("b", putNamespace("a/b/c/", Namespace{})), Need{}},
		{"who was taken it away cannot", by("friend", put("a/b/c/d", "2")), Need{VerbWrite, "a/b/c/d"}},
		{"nor widen a role of theirs", by("b", putNamespace("", Namespace{Bindings: []Binding{bind("admin", "root"), bind("binder", "b")}, Roles: []Role{{"binder", VerbBind | VerbWrite}}})), Need{VerbWrite, ""}},
	} {
		res := r.do(c.cmd)
		require.Equal(t, c.want, res.Missing, c.name)
		require.Equal(t, c.want.Verbs != 0, res.Outcome == Denied, "%s: %v", c.name, res.Outcome)
	}
}

func TestRolesThatAreBound(t *testing.T) {
	r := governed(t)
	root := func(roles ...Role) Outcome {
		return r.do(by("root", putNamespace("", Namespace{Bindings: []Binding{bind("admin", "root")}, Roles: roles}))).Outcome
	}
	custom := by("root", putNamespace("c/", Namespace{Bindings: []Binding{bind("deployer", "d")}}))
	require.Equal(t, UnknownRole, r.do(custom).Outcome)
	require.Equal(t, Applied, root(Role{"deployer", VerbWrite}))
	require.Equal(t, Applied, r.do(custom).Outcome)
	require.Equal(t, Applied, r.do(by("d", put("c/x", "1"))).Outcome)
	require.Equal(t, RoleInUse, root())
	require.Equal(t, Applied, root(Role{"deployer", VerbRead}))
	require.Equal(t, Denied, r.do(by("d", put("c/x", "2"))).Outcome, "the role is another one now")
	require.Equal(t, Applied, r.do(by("root", Op{Kind: DeleteNamespace, Key: "c/"})).Outcome)
	require.Equal(t, Applied, root())
}

// Who may only bind changes nothing of who is denied: that takes, or gives back, more than they have.
func TestWhoIsDenied(t *testing.T) {
	r := governed(t)
	root := func(name string, denied ...string) Result {
		return r.do(by(name, putNamespace("", Namespace{
			Bindings: []Binding{bind("admin", "root", "old"), bind("binder", "b")},
			Roles:    []Role{{"binder", VerbBind}}, Denied: denied,
		})))
	}
	require.Equal(t, Applied, root("root").Outcome)
	require.Equal(t, Need{allVerbs &^ VerbBind, ""}, root("b", "user:i/old").Missing)
	require.Equal(t, Applied, root("root", "user:i/old", "user:i/sub").Outcome)
	require.Equal(t, Need{allVerbs &^ VerbBind, ""}, root("b", "user:i/sub").Missing)
	require.Equal(t, Need{allVerbs &^ VerbBind, ""}, r.do(by("b", Op{Kind: DeleteNamespace})).Missing)
	require.Equal(t, Denied, r.do(by("old", put("x", ""))).Outcome)
	require.Equal(t, Applied, root("root").Outcome)
	require.Equal(t, Applied, r.do(by("old", put("x", ""))).Outcome)
}

// Whoever is denied may do nothing, under none of their names; nor may anybody through a client
// that is.
func TestDenied(t *testing.T) {
	group := "group:i/00000000-0000-0000-0000-000000000007"
	p := Principal{Kind: User, Issuer: "i", Object: "ed", App: "client", Roles: []string{"r"}, Groups: [][16]byte{{15: 7}}}
	for _, subject := range []string{"", "user:i/ed", "role:i/r", group, "app:i/client", "app:i/other"} {
		r := governed(t)
		n := Namespace{Bindings: []Binding{bind("admin", "root")}}
		if subject != "" {
			n.Denied = []string{subject}
		}
		require.Contains(t, []Outcome{Applied, Unchanged}, r.do(by("root", putNamespace("", n))).Outcome)
		res := r.do(Command{Principal: p, Ops: []Op{put("a/x", "1")}})
		require.Equal(t, subject == "" || subject == "app:i/other", res.Outcome == Applied, subject)
		g := r.policy(t).Grants(&p)
		require.Equal(t, res.Outcome == Denied, g.Denied(), subject)
	}
}

// Whom nobody can deny, since the name is too long for that, may do nothing as one of a group either.
func TestNamesThatAreTooLongToBeDenied(t *testing.T) {
	r := governed(t)
	group := Binding{"editor", []string{"group:i/00000000-0000-0000-0000-000000000007"}}
	require.Equal(t, Applied, r.do(by("root", putNamespace("g/", Namespace{Bindings: []Binding{group}}))).Outcome)
	for _, c := range []struct {
		object, app string
		want        Outcome
	}{
		{"x", "client", Applied},
		{strings.Repeat("/", MaxPrincipalBytes), "client", Denied},
		{"x", strings.Repeat("/", MaxPrincipalBytes), Denied},
	} {
		p := Principal{Kind: User, Issuer: "i", Object: c.object, App: c.app, Groups: [][16]byte{{15: 7}}}
		require.Equal(t, c.want, r.do(Command{Principal: p, Ops: []Op{put("g/x", c.object)}}).Outcome)
	}
}

// Whoever denies somebody may do everything, and goes on to: nobody is left out of the house by one
// change, by whatever name.
func TestNobodyDeniesThemselves(t *testing.T) {
	r := newReplica(t)
	boss := Principal{Kind: User, Issuer: "i", Object: "boss", App: "portal", Roles: []string{"Bosses"}, Groups: [][16]byte{{15: 7}}}
	admins := []Binding{{"admin", []string{"role:i/Bosses", "user:i/root"}}}
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: Bootstrap, Value: []byte("user:i/root")}}}).Outcome)
	require.Equal(t, Applied, r.do(by("root", putNamespace("", Namespace{Bindings: admins}))).Outcome)
	deny := func(who Principal, subject string) Outcome {
		n := Namespace{Bindings: admins, Denied: []string{subject}}
		return r.do(Command{Principal: who, Ops: []Op{putNamespace("", n)}}).Outcome
	}
	for _, subject := range []string{"user:i/boss", "role:i/Bosses", "group:i/00000000-0000-0000-0000-000000000007", "app:i/portal"} {
		require.Equal(t, SelfDenied, deny(boss, subject), subject)
	}
	require.Equal(t, Applied, deny(boss, "user:i/root"))
	require.Equal(t, Applied, deny(boss, "app:i/other"), "and back")
	require.Equal(t, Applied, deny(user("root"), "app:i/portal"), "another one may")
	require.Equal(t, Denied, deny(boss, "app:i/other"))
	require.Equal(t, Applied, r.do(by("root", putNamespace("", Namespace{Bindings: admins}))).Outcome)
}

// Both branches of a transaction must be allowed, and so must its conditions.
func TestTransactionsAreAllowedWhole(t *testing.T) {
	r := governed(t)
	root := Namespace{Bindings: []Binding{bind("admin", "root"), bind("writer", "w")}, Roles: []Role{{"writer", VerbWrite}}}
	require.Equal(t, Applied, r.do(by("root", putNamespace("", root))).Outcome)
	if1 := func(name string, cmp Compare, then, otherwise []Op) Command {
		return Command{Principal: user(name), Compares: []Compare{cmp}, Ops: then, Else: otherwise}
	}
	absent := func(key string) Compare { return Compare{Kind: KeyAbsent, Key: key} }
	for _, c := range []struct {
		name string
		cmd  Command
		want Need
	}{
		{"both branches", if1("ed", absent("a/x"), []Op{put("a/x", "1")}, []Op{put("a/y", "1")}), Need{}},
		{"the branch that is not done", if1("ed", absent("a/z"), []Op{put("a/z", "1")}, []Op{put("b", "1")}), Need{VerbWrite, "b"}},
		{"a condition elsewhere", if1("ed", absent("b"), []Op{put("a/z", "1")}, nil), Need{VerbRead, "b"}},
		{"who may write may ask whether it is there", if1("w", absent("b"), []Op{put("b", "1")}, nil), Need{}},
		{"but not what it is", if1("w", Compare{Kind: ValueIs, Key: "b", Value: []byte("1")}, []Op{put("b", "2")}, nil), Need{VerbRead, "b"}},
		{"a subtree takes more", by("ed", Op{Kind: DeleteTree, Key: "a/"}), Need{VerbDeleteTree, "a/"}},
		{"so does the past", by("ed", Op{Kind: Restore, Key: "a/x", Revision: 1}), Need{VerbRollback, "a/x"}},
	} {
		require.Equal(t, c.want, r.do(c.cmd).Missing, c.name)
	}
}

// What was done under an idempotency key was done, also for who may not do it any more; what was
// denied is not remembered.
func TestKeyedWritesAndPermissions(t *testing.T) {
	r := governed(t)
	cmd := by("ed", put("a/x", "1"))
	cmd.Idempotency = Idempotency{Key: "k"}
	first := r.do(cmd)
	require.Equal(t, Applied, first.Outcome)
	require.Equal(t, Applied, r.do(by("root", Op{Kind: DeleteNamespace, Key: "a/"})).Outcome)
	again := r.do(cmd)
	require.True(t, again.Replayed)
	require.Equal(t, first.Revision, again.Revision)
	cmd.Idempotency.Key = "other"
	require.Equal(t, Denied, r.do(cmd).Outcome)
	require.Equal(t, uint64(1), r.s.State().Answers)
	require.Equal(t, Applied, r.do(by("root", putNamespace("a/", Namespace{Bindings: []Binding{bind("editor", "ed")}}))).Outcome)
	res := r.do(cmd)
	require.Equal(t, Unchanged, res.Outcome)
	require.False(t, res.Replayed)
}

// A view decides by the newest policy that was applied when it was taken, whatever it shows, and
// goes on to.
func TestViewsAndTheirPolicy(t *testing.T) {
	r := governed(t)
	ed := user("ed")
	may := func(v *View) bool {
		g := v.Policy().Grants(&ed)
		return g.Allow(VerbWrite, "a/x")
	}
	before := r.view(t)
	require.Equal(t, Applied, r.do(by("root", Op{Kind: DeleteNamespace, Key: "a/"})).Outcome)
	after := r.view(t)
	past, err := after.At(3)
	require.NoError(t, err)
	defer past.Close()
	require.True(t, may(before))
	require.False(t, may(after))
	require.False(t, may(past), "the past is read with the permissions of now")
	_, found, err := past.Namespace("a/")
	require.NoError(t, err)
	require.True(t, found, "but it tells what they were")
	r.flush()
	require.False(t, may(r.view(t)))
}

func TestPolicyLimits(t *testing.T) {
	many := make([]string, MaxSubjects+1)
	for i := range many {
		many[i] = fmt.Sprintf("user:i/%d", i)
	}
	denied := make([]string, MaxDenied+1)
	for i := range denied {
		denied[i] = fmt.Sprintf("user:i/%d", i)
	}
	roles := make([]Role, MaxCustomRoles+1)
	for i := range roles {
		roles[i] = Role{fmt.Sprintf("r%d", i), VerbRead}
	}
	bindings := make([]Binding, MaxBindings+1)
	for i := range bindings {
		bindings[i] = bind(fmt.Sprintf("r%d", i), "x")
	}
	for _, c := range []struct {
		name, path string
		n          Namespace
		text       string // "": it is allowed
	}{
		{"nothing", "", Namespace{}, ""},
		{"subjects at the limit", "a/", Namespace{Bindings: []Binding{{"viewer", many[1:]}}}, ""},
		{"too many subjects", "a/", Namespace{Bindings: []Binding{{"viewer", many}}}, "subjects of the namespace: 513, at most 512"},
		{"too many bindings", "a/", Namespace{Bindings: bindings}, "bindings of the namespace: 65, at most 64"},
		{"too many roles", "", Namespace{Roles: roles}, "roles of the cluster: 65, at most 64"},
		{"too many denied", "", Namespace{Denied: denied}, "denied subjects: 1001, at most 1000"},
		{"owner", "a/", Namespace{Owner: strings.Repeat("x", MaxOwnerBytes+1)}, "owner: 257, at most 256"},
		{"description", "a/", Namespace{Description: "\xff"}, "description is not valid UTF-8"},
		{"versions", "a/", Namespace{KeepVersions: MaxKeepVersions + 1}, "versions to keep: 100001, at most 100000"},
		{"roles below", "a/", Namespace{Roles: roles[:1]}, "in the root namespace only"},
		{"denied below", "a/", Namespace{Denied: denied[:1]}, "in the root namespace only"},
		{"built-in role", "", Namespace{Roles: []Role{{"admin", VerbRead}}}, `role "admin" is built in`},
		{"role twice", "", Namespace{Roles: []Role{{"r", VerbRead}, {"r", VerbWrite}}}, `role "r" is defined twice`},
		{"role without verbs", "", Namespace{Roles: []Role{{"r", 0}}}, "has no verb"},
		{"role with others", "", Namespace{Roles: []Role{{"r", allVerbs + 1}}}, "has no verb, or one"},
		{"role name", "a/", Namespace{Bindings: []Binding{{"Admin", []string{"cert:c"}}}}, `role name "Admin"`},
		{"subject", "a/", Namespace{Bindings: []Binding{{"viewer", []string{"me"}}}}, `subject "me"`},
		{"path", "a", Namespace{}, "starts or ends with a slash"},
	} {
		_, err := (&Command{Ops: []Op{putNamespace(c.path, c.n)}}).Encode()
		if c.text == "" {
			require.NoError(t, err, c.name)
			continue
		}
		require.Error(t, err, c.name)
		require.ErrorContains(t, errors.Join(c.n.Validate(c.path), err), c.text, c.name)
	}
	n := Namespace{Bindings: []Binding{{"viewer", []string{"cert:b", "cert:a", "cert:a"}}, {"editor", nil}, {"viewer", []string{"cert:c"}}}}
	got, err := DecodeNamespace("a/", n.Encode())
	require.NoError(t, err)
	require.Equal(t, []Binding{{"viewer", []string{"cert:a", "cert:b", "cert:c"}}}, got.Bindings, "one form of all spellings")
	for _, cmd := range []Command{
		{Ops: []Op{putNamespace("a/", Namespace{}), put("b", "")}},
		{Ops: []Op{putNamespace("a/", Namespace{})}, Compares: []Compare{{Kind: KeyExists, Key: "a"}}},
		{Ops: []Op{putNamespace("a/", Namespace{})}, Compares: []Compare{{Kind: NamespaceIs, Key: "b/"}}},
		{Ops: []Op{put("a", "")}, Compares: []Compare{{Kind: NamespaceIs, Key: "a/"}}},
		{Ops: []Op{put("a", "")}, Else: []Op{putNamespace("a/", Namespace{})}, Compares: []Compare{{Kind: KeyExists, Key: "a"}}},
		{Denials: []Denial{{Kind: DeniedRead}}},
		{Denials: []Denial{{Count: 1}}},
		{Denials: make([]Denial, MaxDenials+1)},
		{Denials: []Denial{{Kind: DeniedRead, Count: 1}}, Comment: "and more"},
	} {
		_, err := cmd.Encode()
		assert.Error(t, err)
	}
}

// The longest prefix is one byte longer than the longest key; its past is found, too.
func TestLongestNamespace(t *testing.T) {
	r := newReplica(t)
	path := strings.Repeat("x", MaxKeyBytes) + "/"
	for keep := range 5 {
		require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace(path, Namespace{KeepVersions: keep + 1})}}).Outcome)
		r.flush()
	}
	r.crash()
	require.NoError(t, scrub(r.s))
	require.NoError(t, VerifyChain(t.Context(), r.view(t)))
	rec, found, err := r.at(t, 2).Namespace(path)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, 2, rec.KeepVersions)
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: DeleteNamespace, Key: path}}}).Outcome)
	require.Equal(t, Denied, r.do(by("nobody", Op{Kind: DeleteNamespace, Key: path})).Outcome)
	r.maintain(Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
	require.Equal(t, Revision(6), r.s.State().Floor)
	r.flush()
	require.NoError(t, scrub(r.s))
}

func TestPolicyFull(t *testing.T) {
	r := newReplica(t)
	n := Namespace{Description: strings.Repeat("x", MaxDescriptionBytes)}
	var cmds []Command
	fits := MaxPolicyBytes / len(n.Encode())
	for i := range fits + 1 {
		cmds = append(cmds, Command{Ops: []Op{putNamespace(fmt.Sprintf("n%d/", i), n)}})
	}
	for i, res := range r.doAll(cmds) {
		require.Equal(t, i == fits, res.Outcome == PolicyFull, i)
	}
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: DeleteNamespace, Key: "n0/"}}}).Outcome)
	require.Equal(t, Applied, r.do(Command{Ops: []Op{putNamespace("other/", n)}}).Outcome)
	r.flush()
	require.NoError(t, scrub(r.s))
	r.crash()
	require.Equal(t, fits, r.policy(t).Len())
}

// The ring forgets its oldest rows, and one caller who is refused over and over takes one.
func TestRingOfDenials(t *testing.T) {
	r := newReplica(t)
	for range 50 {
		require.Equal(t, Denied, r.do(by("nobody", put("a", "1"))).Outcome)
	}
	require.Equal(t, uint64(1), r.s.State().Denials)
	var cmds []Command
	for i := range MaxDenialRows/MaxDenials + 10 {
		cmd := Command{}
		for range MaxDenials {
			cmd.Denials = append(cmd.Denials, Denial{Kind: DeniedAccess, Reason: "expired", Path: fmt.Sprint(i), Count: 1})
		}
		cmds = append(cmds, cmd)
	}
	const half = MaxDenialRows / MaxDenials / 2
	r.doAll(cmds[:half])
	r.flush()
	r.doAll(cmds[half:])
	r.flush()
	require.Equal(t, uint64(MaxDenialRows), r.s.State().Denials)
	require.Zero(t, r.s.State().Revision)
	require.NoError(t, scrub(r.s))
	v := r.view(t)
	rows, oldest := 0, DenialRow{}
	require.NoError(t, v.Audit(v.AuditEnd(), func(e AuditEntry, _ AuditPosition) bool {
		rows++
		oldest = *e.Denied
		return true
	}))
	require.Equal(t, MaxDenialRows, rows)
	require.Equal(t, uint64(1+MaxDenials*10+1), oldest.Number)
}
