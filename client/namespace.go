package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"time"
)

// Namespace says who may do what below a path, and how that is kept. What it grants holds for all that
// is below, in other namespaces too; nothing that it says takes away what one above grants.
type Namespace struct {
	// Path is where it begins: it ends in a slash, and is "/" for the root.
	Path string `json:"path,omitempty"`
	// Owner is whom to ask; like Description for people.
	Owner       string            `json:"owner"`
	Description string            `json:"description"`
	Bindings    []Binding         `json:"bindings"`
	Settings    NamespaceSettings `json:"settings"`
	// Roles are those that this cluster has beside viewer, editor, publisher and admin, each a set
	// of verbs. Of the root only.
	Roles map[string][]string `json:"roles,omitempty"`
	// Denied may do nothing, whatever they are bound to. Of the root only.
	Denied []string `json:"denied,omitempty"`
	// What follows is not for writing.
	Revision       uint64    `json:"revision,omitempty"`
	CreateRevision uint64    `json:"create_revision,omitempty"`
	ModifiedAt     time.Time `json:"modified_at,omitzero"`
	ModifiedBy     string    `json:"modified_by,omitempty"`
}

// Binding gives a role to subjects, such as user:issuer/tenant/id. A namespace has one of each role.
type Binding struct {
	Role     string   `json:"role"`
	Subjects []string `json:"subjects"`
}

// NamespaceSettings is how what is below a namespace is kept.
type NamespaceSettings struct {
	// KeepVersions is how many former versions of a key are kept; 0: as the namespace above says,
	// or the cluster.
	KeepVersions int `json:"keep_versions,omitempty"`
}

// Grant binds a subject to a role. It tells whether it was not yet.
func (n *Namespace) Grant(role, subject string) bool {
	i := slices.IndexFunc(n.Bindings, func(b Binding) bool { return b.Role == role })
	if i < 0 {
		n.Bindings = append(n.Bindings, Binding{Role: role})
		i = len(n.Bindings) - 1
	}
	b := &n.Bindings[i]
	if slices.Contains(b.Subjects, subject) {
		return false
	}
	b.Subjects = append(b.Subjects, subject)
	return true
}

// Revoke takes a role from a subject. It tells whether it had it.
func (n *Namespace) Revoke(role, subject string) bool {
	i := slices.IndexFunc(n.Bindings, func(b Binding) bool { return b.Role == role })
	if i < 0 || !slices.Contains(n.Bindings[i].Subjects, subject) {
		return false
	}
	b := &n.Bindings[i]
	b.Subjects = slices.DeleteFunc(b.Subjects, func(s string) bool { return s == subject })
	if len(b.Subjects) == 0 {
		n.Bindings = slices.Delete(n.Bindings, i, i+1)
	}
	return true
}

// Deny puts a subject on the list of those who may do nothing, which is the root's. It tells whether it was
// not there yet.
func (n *Namespace) Deny(subject string) bool {
	if slices.Contains(n.Denied, subject) {
		return false
	}
	n.Denied = append(n.Denied, subject)
	return true
}

// Allow takes a subject from that list. It tells whether it was there.
func (n *Namespace) Allow(subject string) bool {
	before := len(n.Denied)
	n.Denied = slices.DeleteFunc(n.Denied, func(s string) bool { return s == subject })
	return len(n.Denied) < before
}

// body is the namespace as it is written.
func (n *Namespace) body() ([]byte, error) {
	w := Namespace{Owner: n.Owner, Description: n.Description, Settings: n.Settings, Roles: n.Roles, Denied: n.Denied}
	w.Bindings = slices.Clone(n.Bindings)
	if w.Bindings == nil {
		w.Bindings = []Binding{}
	}
	for i := range w.Bindings {
		if w.Bindings[i].Subjects == nil {
			w.Bindings[i].Subjects = []string{}
		}
	}
	return json.Marshal(&w)
}

// Namespace returns the namespace at path, with or without a slash at its end; "" or "/" is the root.
// IsNotFound tells whether there is none, so that those above it say all. Errors as of Get.
func (c *Client) Namespace(ctx context.Context, path string, o ReadOptions) (Namespace, Meta, error) {
	var (
		n    Namespace
		meta Meta
	)
	key, err := CheckPrefix(path)
	if err == nil {
		err = o.noTime()
	}
	if err != nil {
		return n, meta, err
	}
	r := &request{method: http.MethodGet, path: subtreePath("/namespaces", key), query: o.query().Encode(), reads: true, min: o.MinRevision}
	err = c.do(ctx, r, func(resp *http.Response) error {
		meta, n = metaOf(resp.Header), Namespace{}
		return readJSON(resp, &n)
	})
	return n, meta, err
}

// NamespacesOptions says how a list of namespaces is asked for. It is of the newest state, and so has no
// Revision or At.
type NamespacesOptions struct {
	ReadOptions
	// PageSize is how many are asked for at a time; zero: the node's choice.
	PageSize int
}

// Namespaces returns the namespaces at and below prefix, in order of path. Each page is of the state
// when it was asked for. After an error, which is a *KeyError, *RequestError or *Error, nothing follows.
func (c *Client) Namespaces(ctx context.Context, prefix string, o NamespacesOptions) iter.Seq2[Namespace, error] {
	key, err := CheckPrefix(prefix)
	if err == nil {
		err = o.newest()
	}
	if err != nil {
		return failed[Namespace](err)
	}
	q := o.query()
	q.Set("recursive", "true")
	return pages[Namespace](ctx, c, request{path: subtreePath("/namespaces", key), min: o.MinRevision}, q, o.PageSize)
}

// PutNamespace makes n, as far as it is for writing, the namespace at path. The conditions of o are of the
// namespace; IfPresent is not taken. Errors as of Put; IsConflict also tells that the last administrator
// would go, or a role that is in use.
func (c *Client) PutNamespace(ctx context.Context, path string, n *Namespace, o WriteOptions) (Written, Meta, error) {
	body, err := n.body()
	if err != nil {
		return Written{}, Meta{}, err
	}
	return c.writeNamespace(ctx, &request{method: http.MethodPut, body: body}, path, o)
}

// DeleteNamespace removes the namespace at path, with all that it grants. The keys below it stay. Errors as
// of PutNamespace; IsNotFound tells whether there was none.
func (c *Client) DeleteNamespace(ctx context.Context, path string, o WriteOptions) (Written, Meta, error) {
	return c.writeNamespace(ctx, &request{method: http.MethodDelete}, path, o)
}

func (c *Client) writeNamespace(ctx context.Context, r *request, path string, o WriteOptions) (Written, Meta, error) {
	var (
		w    Written
		meta Meta
	)
	key, err := CheckPrefix(path)
	switch {
	case err != nil:
		return w, meta, err
	case o.IfPresent:
		return w, meta, &RequestError{"IfPresent is of keys: name the namespace's revision"}
	}
	r.path, r.header = subtreePath("/namespaces", key), o.header()
	if r.body != nil {
		r.header["Content-Type"] = []string{TypeJSON}
	}
	if err := r.once(o.IdempotencyKey, o.NoIdempotencyKey, false); err != nil {
		return w, meta, err
	}
	err = c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &w)
	})
	return w, meta, err
}

// EditNamespace reads the namespace at path, or begins an empty one, has edit change it, and writes it, unless
// edit says that it changed nothing. If others change it meanwhile, it does that again, at most
// MaxNamespaceEdits times in all. An error of edit ends it. Errors as of PutNamespace.
func (c *Client) EditNamespace(ctx context.Context, path, comment string, edit func(*Namespace) (changed bool, err error)) (Written, Meta, error) {
	for attempt := 1; ; attempt++ {
		n, meta, err := c.Namespace(ctx, path, ReadOptions{Consistency: Linearizable})
		if err != nil && !IsNotFound(err) {
			return Written{}, meta, err
		}
		was := Written{Path: n.Path, Revision: n.Revision}
		changed, err := edit(&n)
		if err != nil || !changed {
			return was, meta, err
		}
		w, meta, err := c.PutNamespace(ctx, path, &n, WriteOptions{IfRevision: n.Revision, IfAbsent: n.Revision == 0, Comment: comment})
		// An unknown outcome is not a conflict, even if a later attempt met one.
		again := hasStatus(err, http.StatusPreconditionFailed) && OutcomeOf(err) == NotApplied
		if !again || attempt == MaxNamespaceEdits {
			return w, meta, err
		}
	}
}
