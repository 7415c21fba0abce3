package fsm

import (
	"maps"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var genNamespacePath = rapid.SampledFrom([]string{"", "a/", "a/a/", "a/b/", "a-b/", "b/"})

// govern changes who may do what: mostly as somebody who may.
func (x *machine) govern(t *rapid.T) {
	cmd := Command{
		AcceptedAt: int64(rapid.IntRange(0, 100).Draw(t, "accepted at")),
		Principal:  rapid.SampledFrom(modelPrincipals).Draw(t, "principal"),
	}
	if rapid.IntRange(0, 3).Draw(t, "keyed") == 0 {
		cmd.Idempotency = genIdempotency.Draw(t, "idempotency")
	}
	path := genNamespacePath.Draw(t, "path")
	was := x.m.namespaces[path]
	op := Op{Kind: PutNamespace, Key: path}
	switch rapid.IntRange(0, 7).Draw(t, "op") {
	case 0:
		op.Kind = DeleteNamespace
	case 1:
		op = Op{Kind: Bootstrap, Value: []byte(rapid.SampledFrom(modelNames).Draw(t, "admin"))}
		cmd.Principal = Principal{}
	default:
		n := was.Namespace
		n.Bindings, n.Denied, n.Roles = slices.Clone(n.Bindings), slices.Clone(n.Denied), slices.Clone(n.Roles)
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			x.edit(t, &n, path == "")
		}
		op.Value = n.Encode()
	}
	if rapid.IntRange(0, 3).Draw(t, "compare") == 0 {
		cmp := Compare{Kind: NamespaceIs, Key: op.Key, Revision: x.m.namespaces[op.Key].Revision}
		if rapid.IntRange(0, 4).Draw(t, "off") == 0 {
			cmp.Revision++
		}
		cmd.Compares = append(cmd.Compares, cmp)
	}
	cmd.Ops = []Op{op}
	x.do(t, cmd)
}

// edit changes something of a namespace.
func (x *machine) edit(t *rapid.T, n *Namespace, root bool) {
	what := rapid.IntRange(0, 9).Draw(t, "what")
	subject := rapid.SampledFrom(modelNames).Draw(t, "subject")
	switch {
	case what == 0:
		n.KeepVersions = rapid.IntRange(0, 3).Draw(t, "keep versions")
	case what == 1:
		n.Owner = rapid.SampledFrom([]string{"", "me"}).Draw(t, "owner")
	case what == 2 && root:
		if i := slices.Index(n.Denied, subject); i >= 0 {
			n.Denied = slices.Delete(n.Denied, i, i+1)
		} else if rapid.IntRange(0, 3).Draw(t, "deny") == 0 {
			n.Denied = append(n.Denied, subject)
		}
	case what == 3 && root:
		n.Roles = slices.DeleteFunc(n.Roles, func(r Role) bool { return r.Name == "custom" })
		if v := rapid.SampledFrom([]Verbs{0, VerbWrite, VerbRead | VerbBind, VerbRollback | VerbDeleteTree}).Draw(t, "verbs"); v != 0 {
			n.Roles = append(n.Roles, Role{"custom", v})
		}
	case what <= 5 && len(n.Bindings) > 0:
		i := rapid.IntRange(0, len(n.Bindings)-1).Draw(t, "binding")
		n.Bindings = slices.Delete(n.Bindings, i, i+1)
	default:
		role := rapid.SampledFrom([]string{"viewer", "editor", "editor", "publisher", "admin", "custom"}).Draw(t, "role")
		n.Bindings = append(n.Bindings, Binding{role, []string{subject}})
	}
}

func (x *machine) report(t *rapid.T) {
	cmd := Command{}
	for range rapid.IntRange(1, MaxDenials).Draw(t, "denials") {
		cmd.Denials = append(cmd.Denials, Denial{
			Kind: DeniedRead, Principal: rapid.SampledFrom(modelNames).Draw(t, "principal"), Verbs: VerbRead,
			Path: genKey.Draw(t, "path"), Reason: "forbidden", Count: rapid.Uint64Range(1, 5).Draw(t, "count"),
		})
	}
	x.do(t, cmd)
}

// policy compares what everybody may do.
func (x *machine) policy(t *rapid.T) {
	h := x.any(t)
	p := h.v.Policy()
	require.Equal(t, required(h.m.namespaces), p.Required())
	for i := range modelPrincipals {
		g := p.Grants(&modelPrincipals[i])
		for _, path := range []string{"", "a", "a/", "a/b", "a/b/c", "a-b/x", genKey.Draw(t, "key")} {
			require.Equal(t, h.m.may(&modelPrincipals[i], path), g.Verbs(path), "%v at %q", modelPrincipals[i].String(), path)
		}
	}
}

// namespaces compares what they were at some revision, and all there are.
func (x *machine) namespaces(t *rapid.T) {
	h := x.any(t)
	want := slices.Sorted(maps.Keys(h.m.namespaces))
	var have []string
	for rec := range h.v.Policy().Namespaces("", "") {
		have = append(have, rec.Path)
	}
	require.Equal(t, want, have)
	rev := h.m.floor + Revision(rapid.Uint64Range(0, uint64(h.m.revision-h.m.floor)).Draw(t, "revision"))
	v, err := h.v.At(rev)
	require.NoError(t, err)
	defer v.Close()
	of := h.m.asPolicy(rev)
	path := genNamespacePath.Draw(t, "path")
	wantRec, exists := of[path]
	rec, found, err := v.Namespace(path)
	require.NoError(t, err)
	require.Equal(t, exists, found, "%q at revision %d of %d", path, rev, h.m.revision)
	if exists {
		require.Equal(t, string(wantRec.Encode()), string(rec.Encode()))
		wantRec.Namespace, rec.Namespace = Namespace{}, Namespace{}
		require.Equal(t, wantRec, rec)
	}
}

// audit compares what was done and denied, newest first.
func (x *machine) audit(t *rapid.T) {
	h := x.any(t)
	rows, next := len(h.m.denials), h.m.revision
	end := rapid.IntRange(0, 200).Draw(t, "end")
	at := h.v.AuditEnd()
	for i := 0; ; {
		done := true
		require.NoError(t, h.v.Audit(at, func(e AuditEntry, after AuditPosition) bool {
			at, done = after, false
			i++
			if e.Denied != nil {
				require.Positive(t, rows)
				require.Equal(t, h.m.denials[rows-1], *e.Denied)
				if next > h.m.floor {
					require.Equal(t, next, e.Denied.Revision)
				} else { // the changes from then are compacted
					require.LessOrEqual(t, e.Denied.Revision, next)
				}
				rows--
			} else {
				require.Equal(t, next, e.Change.Revision)
				require.Equal(t, h.m.changes[next-1].Ops, e.Change.Ops)
				next--
			}
			return i%7 != 0 // and on from there
		}))
		if done {
			require.Zero(t, rows)
			require.Equal(t, h.m.floor, next)
			return
		}
		if i > end {
			return
		}
	}
}
