package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// namespaceTarget is the namespace that a request's path names, with or without a slash at its end.
func (c *call) namespaceTarget() (target, error) {
	t, err := parseTarget(c.r.URL, c.param)
	t.subtree = true
	return t, err
}

// getNamespace answers GET of /namespaces: one namespace, or a page of those at and below a path.
func (c *call) getNamespace() error {
	t, err := c.namespaceTarget()
	if err != nil {
		return err
	}
	q, err := parseQuery(c.r.URL.RawQuery, namespaceParams)
	if err != nil {
		return err
	}
	f, err := q.freshness(c.api.MaxStaleness)
	if err != nil {
		return err
	}
	recursive, err := q.flag("recursive")
	if err != nil {
		return err
	}
	scope := "namespaces " + t.String()
	newest := f
	l, err := q.paging(scope, &newest)
	if err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	c.need(fsm.VerbRead, t.prefix())
	if recursive {
		if f.past {
			return invalidParameter("revision", "contradicts recursive=true, which is of the newest namespaces")
		}
		if l.resumed { // no page is older than the one before
			f.min = max(f.min, newest.at)
		}
		return c.listNamespaces(t, f, l, scope)
	}
	for _, name := range [...]string{"limit", "cursor"} {
		if _, ok := q.get(name); ok {
			return invalidParameter(name, "is of a list of namespaces: it takes recursive=true")
		}
	}
	return c.oneNamespace(t, f)
}

func (c *call) oneNamespace(t target, f freshness) error {
	var (
		rec   fsm.NamespaceRecord
		found bool
	)
	st, err := c.read(f, func(v *fsm.View) (err error) {
		rec, found, err = v.Namespace(t.prefix())
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		return &readError{st, noNamespace(t)}
	}
	status := c.api.Node.Status()
	a := answer{status: http.StatusOK, contentType: jsonHeader, etag: rec.Revision}
	c.w.Header()["Cache-Control"] = noCacheHeader
	if k, ok := listed(c.r.Header["If-None-Match"], rec.Revision, true); ok {
		a.status, a.contentType, a.coding = http.StatusNotModified, nil, k
	} else {
		c.buf = append(appendNamespace(c.buf, &rec), '\n')
	}
	c.send(a, st, &status)
	return nil
}

// listNamespaces answers with a page of the namespaces at and below t. Unlike other listings its
// pages are each of the newest state: the policy of now is in memory, that of then is not.
func (c *call) listNamespaces(t target, f freshness, l paging, scope string) error {
	after := l.after
	switch {
	case !l.resumed:
	case after == "/": // the root: the first of all, whatever the others begin with
		after = "\x00"
	case !strings.HasPrefix(after, t.prefix()):
		return problemf(kindInvalidCursor, "cursor is not one that this API gave out")
	}
	var (
		items []byte
		last  string
		more  bool
		shown fsm.Revision
	)
	st, err := c.read(f, func(v *fsm.View) error { // it may be called again
		count := 0
		shown, more = v.Revision(), false
		items = beginPage(c.buf[:0], shown)
		for rec := range v.Policy().Namespaces(t.prefix(), after) {
			if more = count == l.limit || len(items) >= MaxPageBytes; more {
				return nil
			}
			if count++; count > 1 {
				items = append(items, ',')
			}
			items, last = appendNamespace(items, rec), rec.Path
		}
		return nil
	})
	if err != nil {
		return err
	}
	next := ""
	if more {
		next = cursor{revision: shown, last: rootNamed(last)}.encode(scope)
	}
	return c.sendPage(items, next, st)
}

// appendNamespace appends a namespace as people read and write it, with what is known of its changes.
func appendNamespace(b []byte, rec *fsm.NamespaceRecord) []byte {
	b = append(b, `{"path":`...)
	b = appendString(b, rootNamed(rec.Path))
	b = append(b, `,"owner":`...)
	b = appendString(b, rec.Owner)
	b = append(b, `,"description":`...)
	b = appendString(b, rec.Description)
	b = append(b, `,"bindings":[`...)
	for i := range rec.Bindings {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"role":`...)
		b = appendString(b, rec.Bindings[i].Role)
		b = append(b, `,"subjects":`...)
		b = append(appendStrings(b, rec.Bindings[i].Subjects), '}')
	}
	b = append(b, `],"settings":{`...)
	if rec.KeepVersions > 0 {
		b = append(b, `"keep_versions":`...)
		b = strconv.AppendInt(b, int64(rec.KeepVersions), 10)
	}
	b = append(b, '}')
	if rec.Path == "" {
		b = append(b, `,"roles":{`...)
		for i := range rec.Roles {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, rec.Roles[i].Name), ':')
			b = appendStrings(b, rec.Roles[i].Verbs.Names())
		}
		b = append(b, `},"denied":`...)
		b = appendStrings(b, rec.Denied)
	}
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, uint64(rec.Revision), 10)
	b = append(b, `,"create_revision":`...)
	b = strconv.AppendUint(b, uint64(rec.CreateRevision), 10)
	b = append(b, `,"modified_at":`...)
	b = appendTime(b, rec.ModifiedAt)
	b = append(b, `,"modified_by":`...)
	return append(appendString(b, rec.ModifiedBy), '}')
}

// rootNamed is a prefix as answers, and the command line, spell it: the root is "/".
func rootNamed(prefix string) string {
	if prefix == "" {
		return "/"
	}
	return prefix
}

// putNamespace answers PUT of /namespaces: the body becomes the namespace.
func (c *call) putNamespace() error {
	t, cond, err := c.namespaceWrite()
	if err != nil {
		return err
	}
	b := c.body(MaxNamespaceBodyBytes)
	defer b.release()
	cmd, text, err := c.jsonDocument(b, MaxNamespaceBodyBytes)
	if err != nil {
		return err
	}
	n, fault := parseNamespace(text, t.prefix())
	if fault != nil {
		return fault.problem(text, "")
	}
	c.once(cmd, text)
	cmd.Compares = cond
	cmd.Ops = []fsm.Op{{Kind: fsm.PutNamespace, Key: t.prefix(), Value: n.Encode()}}
	c.proposed = true
	res, err := c.changeNamespace(cmd, n)
	if err != nil {
		return err
	}
	op := res.Ops[0]
	a := answer{status: http.StatusOK, contentType: jsonHeader, etag: op.Revision}
	if op.Created {
		a.status = http.StatusCreated
	}
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, t.String())
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(op.Revision), 10)
	c.buf = append(c.buf, `,"created":`...)
	c.buf = strconv.AppendBool(c.buf, op.Created)
	c.sendWritten(a, op, res.Revision)
	return nil
}

// deleteNamespace answers DELETE of /namespaces: the namespace goes, with all that it grants. The
// keys below it stay.
func (c *call) deleteNamespace() error {
	t, cond, err := c.namespaceWrite()
	if err != nil {
		return err
	}
	cmd, err := c.command()
	if err != nil {
		return err
	}
	c.once(cmd, nil)
	cmd.Compares = cond
	cmd.Ops = []fsm.Op{{Kind: fsm.DeleteNamespace, Key: t.prefix()}}
	c.proposed = true
	res, err := c.changeNamespace(cmd, &fsm.Namespace{})
	if err != nil {
		return err
	}
	if !res.Ops[0].Changed {
		return &readError{c.standingAt(res.Revision), noNamespace(t)}
	}
	c.buf = append(c.buf, `{"path":`...)
	c.buf = appendString(c.buf, t.String())
	c.buf = append(c.buf, `,"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(res.Revision), 10)
	c.sendWritten(answer{status: http.StatusOK, contentType: jsonHeader}, res.Ops[0], res.Revision)
	return nil
}

// namespaceWrite is what each write of a namespace begins with: which one, and on what condition.
// What it takes depends on what is changed, and so is decided of the command.
func (c *call) namespaceWrite() (target, []fsm.Compare, error) {
	t, err := c.namespaceTarget()
	if err != nil {
		return t, nil, err
	}
	if _, err = parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return t, nil, err
	}
	cond, err := writeCondition(c.r.Header)
	if err != nil {
		return t, nil, err
	}
	c.need(asProposed, t.prefix())
	is := fsm.Compare{Kind: fsm.NamespaceIs, Key: t.prefix(), Revision: cond.revision}
	switch cond.kind {
	case fsm.RevisionIs, fsm.KeyAbsent: // of which the revision is 0
		return t, []fsm.Compare{is}, nil
	case fsm.KeyExists:
		return t, nil, invalidCondition("If-Match is *, a namespace takes one etag")
	default: // there is none
		return t, nil, nil
	}
}

// changeNamespace is propose of a command that makes n, which is empty if it removes it, a
// namespace. What it must not be done for is told with names.
func (c *call) changeNamespace(cmd *fsm.Command, n *fsm.Namespace) (fsm.Result, error) {
	res, err := c.propose(cmd)
	if err != nil {
		return res, c.namedRole(err, cmd.Ops[0].Key, n)
	}
	if res.Outcome == fsm.CompareFailed {
		p := problemf(kindCompareFailed, "namespace %q was last changed at revision %d", rootNamed(cmd.Ops[0].Key), res.Current)
		if res.Current == 0 {
			p.detail = "there is no namespace " + quote(rootNamed(cmd.Ops[0].Key))
		}
		err = &readError{c.standingAt(res.Revision), p.with("current_revision", uint64(res.Current))}
	}
	return res, err
}

func noNamespace(t target) *problem {
	return problemf(kindNotFound, "there is no namespace %q: what those above it say applies", t)
}

// policyRefusal is the problem that an outcome of a command that changes a namespace is, nil if it is none.
func policyRefusal(o fsm.Outcome) *problem {
	switch o {
	case fsm.LastAdmin:
		return problemf(kindLastAdmin, "somebody who is not denied must stay bound to role %q in the root namespace", fsm.RoleAdmin)
	case fsm.SelfDenied:
		return problemf(kindSelfDenied, "what is to be denied is you, one of your groups or roles, or the application that you sign in with: "+
			"nobody denies themselves, so that somebody is left who can end it")
	case fsm.UnknownRole:
		return problemf(kindUnknownRole, "a role is bound that is neither built in nor defined in the root namespace")
	case fsm.RoleInUse:
		return problemf(kindRoleInUse, "a role is bound in another namespace: take it from there first")
	case fsm.PolicyFull:
		return problemf(kindPolicyFull, "the cluster has %d namespaces, or %d bytes of them, the most it takes", fsm.MaxNamespaces, fsm.MaxPolicyBytes).
			with("limit", fsm.MaxNamespaces)
	default:
		return nil
	}
}

// namedRole makes err, if it is that n is not right as the namespace at path because of a role, say
// which one it is, as far as this node can still see that.
func (c *call) namedRole(err error, path string, n *fsm.Namespace) error {
	var (
		re *readError
		p  *problem
	)
	if !errors.As(err, &re) || !errors.As(err, &p) || p.name != kindUnknownRole.name && p.name != kindRoleInUse.name {
		return err
	}
	v, _, failed := c.look(time.Time{})
	if failed != nil {
		return err
	}
	defer v.Close()
	detail := roleInUse(v.Policy(), n)
	if p.name == kindUnknownRole.name {
		detail = unknownRole(v.Policy(), path, n)
	}
	if detail == "" {
		return err
	}
	return &readError{re.standing, problemf(p.kind, "%s", detail)}
}

// unknownRole names a role that n binds and that there is not; "" if there is none.
func unknownRole(policy *fsm.Policy, path string, n *fsm.Namespace) string {
	roles := n
	if path != "" {
		roles = rootOf(policy)
	}
	for _, b := range n.Bindings {
		if !defines(roles, b.Role) {
			return fmt.Sprintf("there is no role %q: it is neither built in nor defined in the root namespace", b.Role)
		}
	}
	return ""
}

// roleInUse names a role that would be gone with root as the root namespace, and is bound below; ""
// if there is none.
func roleInUse(policy *fsm.Policy, root *fsm.Namespace) string {
	for rec := range policy.Namespaces("", "") {
		for _, b := range rec.Bindings {
			if rec.Path != "" && !defines(root, b.Role) {
				return fmt.Sprintf("role %q is bound in namespace %q: take it from there first", b.Role, rec.Path)
			}
		}
	}
	return ""
}

func rootOf(policy *fsm.Policy) *fsm.Namespace {
	rec, found := policy.Namespace("")
	if !found {
		return &fsm.Namespace{}
	}
	return &rec.Namespace
}

// defines tells whether there is a role with root as the root namespace.
func defines(root *fsm.Namespace, role string) bool {
	of := func(r fsm.Role) bool { return r.Name == role }
	return slices.ContainsFunc(fsm.BuiltInRoles(), of) || slices.ContainsFunc(root.Roles, of)
}
