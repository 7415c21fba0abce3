package fsm

import (
	"runtime/debug"
	"slices"
	"strings"
)

// Buckets namespaces and former are to namespaces what current and superseded are to keys; the
// values of their records are those of Namespace.Encode. In namespaces a mark stands before the
// path, since bbolt takes no empty key. The records of namespaces add up to its tally whenever the
// store is opened: one that seems never to have been could let in who was kept out.
const namespaceMark = "n"

// namespace evaluates a command that changes one, as evaluate does for keys.
func (a *applier) namespace(cmd *Command) (r Result, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	r.Origin = cmd.Origin
	op := &cmd.Ops[0]
	policy := a.s.policy
	rec, found := policy.Namespace(op.Key)
	for i := range cmd.Compares {
		var at Revision
		if found {
			at = rec.Revision
		}
		if cmd.Compares[i].Revision != at {
			r.Outcome, r.FailedCompare, r.Current = CompareFailed, i, at
			return r, nil
		}
	}
	if op.Kind == Bootstrap {
		op = policy.bootstrap(string(op.Value))
	}
	if r.Outcome = policy.refuses(op, &cmd.Principal); r.Outcome != 0 {
		return r, nil
	}
	// Bucket and policy are the same, but what changes is counted as it is stored.
	c := pendingChange{op: op}
	if c.oldValue, c.oldDelta, err = a.stored(namespaces, namespaceMark+op.Key); err != nil {
		return Result{}, err
	}
	if found != (c.oldValue != nil) {
		return Result{}, damaged("namespace %q: is not what it was when the store was opened", op.Key)
	}
	r.Outcome = Unchanged
	r.Ops = make([]OpResult, 1)
	a.changed = a.changed[:0]
	if found {
		if c.old, err = checkBody(op.Key, c.oldValue[checksumBytes:]); err != nil {
			return Result{}, err
		}
		r.Ops[0].Revision = rec.Revision
	}
	if op.Kind == DeleteNamespace && !found || op.Kind == PutNamespace && found && string(c.old.value()) == string(op.Value) {
		return r, nil
	}
	a.changed = append(a.changed, c)
	r.Outcome = Applied
	r.Ops[0] = OpResult{Changed: true}
	if op.Kind == PutNamespace {
		r.Ops[0].Revision, r.Ops[0].Created = a.s.state.revision+1, !found
	}
	return r, nil
}

// bootstrap is the operation that makes subject an administrator; one without a value, if there is one.
func (p *Policy) bootstrap(subject string) *Op {
	if p.Required() {
		return &Op{Kind: Bootstrap}
	}
	root := *p.root
	root.Bindings = append(slices.Clip(root.Bindings), Binding{RoleAdmin, []string{subject}})
	root.Denied = slices.DeleteFunc(slices.Clone(root.Denied), func(s string) bool { return s == subject })
	return &Op{Kind: PutNamespace, Value: root.Encode()}
}

// refuses is why op, which puts or removes a namespace, must not be done by anybody; 0: nothing.
func (p *Policy) refuses(op *Op, who *Principal) Outcome {
	after := &Namespace{}
	if op.Kind == Bootstrap {
		return AdminExists
	}
	if op.Kind == PutNamespace {
		var err error
		if after, err = DecodeNamespace(op.Key, op.Value); err != nil {
			return PolicyFull // of a Bootstrap: what a client puts was checked by Decode
		}
		size, number := p.bytes+len(op.Value), p.namespaces.Len()
		if before, found := p.Namespace(op.Key); found {
			size -= len(before.Encode())
		} else {
			number++
		}
		if size > MaxPolicyBytes || number > MaxNamespaces {
			return PolicyFull
		}
	}
	root := p.root
	if op.Key == "" {
		root = after
		if p.Required() && !after.admins() {
			return LastAdmin
		}
		// Whoever changes the list may do everything. As long as it does not catch them, too, somebody
		// is left who can change it back: of others it is not known by which groups they come.
		if after.denies(who) {
			return SelfDenied
		}
		if p.misses(after) {
			return RoleInUse
		}
	}
	for _, b := range after.Bindings {
		if _, known := root.role(b.Role); !known {
			return UnknownRole
		}
	}
	return 0
}

// misses tells whether a role is bound anywhere below the root that goes with what the root becomes.
func (p *Policy) misses(after *Namespace) bool {
	goes := func(r Role) bool { _, stays := after.role(r.Name); return !stays }
	if !slices.ContainsFunc(p.root.Roles, goes) {
		return false
	}
	for rec := range p.Namespaces("", "") {
		if rec.Path != "" && slices.ContainsFunc(rec.Bindings, func(b Binding) bool { return goes(Role{Name: b.Role}) }) {
			return true
		}
	}
	return false
}

// changeNamespace puts the effect of an operation on a namespace into the overlay, as change does.
func (a *applier) changeNamespace(c *pendingChange, by string) {
	st := &a.s.state
	path := c.op.Key
	now := write{in: namespaces, key: namespaceMark + path, old: c.oldValue, delta: c.oldDelta}
	if c.old != nil {
		key := supersededKey(path, c.old.revision())
		a.put(&write{in: former, key: key, value: encodeEnded(former, key, st.revision, c.old)})
	}
	if c.op.Kind != PutNamespace {
		a.put(&now)
		a.s.policy = a.s.policy.with(path, nil)
		return
	}
	rec := Record{
		Key: path, Value: c.op.Value,
		Revision: st.revision, CreateRevision: st.revision, Version: 1,
		ModifiedAt: st.acceptedAt, ModifiedBy: by,
	}
	if c.old != nil {
		rec.CreateRevision, rec.Version = c.old.created(), c.old.version()+1
	}
	now.value = encodeRecord(namespaces, now.key, &rec)
	come := a.put(&now)
	a.content = come.sum.append(a.content)
	ns, err := namespaceRecord(path, now.value[checksumBytes:])
	must(err == nil, "namespace %q does not decode any more: %v", path, err)
	a.s.policy = a.s.policy.with(path, ns)
}

// namespaceRecord decodes a namespace as stored. It keeps no part of b.
func namespaceRecord(path string, b []byte) (*NamespaceRecord, error) {
	rec, err := checkBody(path, b)
	if err != nil {
		return nil, err
	}
	n, err := DecodeNamespace(path, rec.value())
	if err != nil {
		return nil, damaged("namespace %q: %v", path, err)
	}
	return &NamespaceRecord{
		Path: path, Namespace: *n,
		Revision: rec.revision(), CreateRevision: rec.created(),
		ModifiedAt: rec.modifiedAt(), ModifiedBy: string(rec.modifiedBy()),
	}, nil
}

// namespaceBodyAt returns what the namespace at path became at revision rev, which the change log
// says it did.
func (v *View) namespaceBodyAt(path string, rev Revision) (body, error) {
	m := v.merge(namespaces)
	defer m.release()
	key := namespaceMark + path
	ok, err := m.seekIn(key, key+"\x00")
	if err != nil {
		return nil, err
	}
	if ok {
		if b, err := checkBody(path, m.value[checksumBytes:]); err != nil || b.revision() == rev {
			return b, err
		}
	}
	was := v.merge(former)
	defer was.release()
	key = supersededKey(path, rev)
	if ok, err = was.seekIn(key, key+"\x00"); err != nil {
		return nil, err
	}
	if !ok {
		return nil, chainError(rev, "namespace %q that it stored is missing", path)
	}
	if _, err := endOf(path, was.value); err != nil {
		return nil, err
	}
	return checkBody(path, was.value[checksumBytes+endedBytes:])
}

// policy reads all namespaces, which must add up to want.
func (b *base) policy(want tally) (p *Policy, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	p = newPolicy()
	var (
		got     tally
		scratch []byte
	)
	c := cursor{t: &b.namespaces, strict: true}
	ok, err := c.seek(nil)
	for ; ok && err == nil; ok, err = c.next() {
		key := string(c.key)
		path, found := strings.CutPrefix(key, namespaceMark)
		if !found {
			return nil, damaged("bucket %s: key %q is of no namespace", namespaces, key)
		}
		value, err := unseal(namespaces, key, c.val)
		if err != nil {
			return nil, err
		}
		rec, err := namespaceRecord(path, value)
		if err != nil {
			return nil, err
		}
		got.add(recordTally(&scratch, namespaces, key, c.val))
		p.set(path, rec)
	}
	if err == nil && got != want {
		err = damaged("bucket %s: its %d records do not add up to the tally of %d", namespaces, got.count, want.count)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Policy is who may do what, as applied when the view was taken, also of a view of the past.
func (v *View) Policy() *Policy { return v.p.policy }

// Namespace returns the namespace at a path, a prefix, at the revision that the view shows; false
// if there was none. ErrDamaged.
func (v *View) Namespace(path string) (NamespaceRecord, bool, error) {
	if rec, found := v.p.policy.Namespace(path); found && rec.Revision <= v.Revision() {
		return *rec, true, nil
	}
	if !v.past {
		return NamespaceRecord{}, false, nil
	}
	m := v.merge(former)
	defer m.release()
	ok, err := m.seekIn(supersededKey(path, v.at), pastOf(path))
	if err != nil || !ok {
		return NamespaceRecord{}, false, err
	}
	b, err := endedAfter(path, m.value, v.at)
	if err != nil || b == nil {
		return NamespaceRecord{}, false, err
	}
	rec, err := namespaceRecord(path, b)
	if err != nil {
		return NamespaceRecord{}, false, err
	}
	return *rec, true, nil
}
