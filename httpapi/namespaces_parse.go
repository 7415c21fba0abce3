package httpapi

import (
	"errors"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// namespaceReader reads a namespace strictly, as a transaction is read.
type namespaceReader struct {
	scanner
	n fsm.Namespace
}

// parseNamespace reads the body that is to become the namespace at a prefix.
func parseNamespace(text []byte, prefix string) (*fsm.Namespace, *syntaxError) {
	r := namespaceReader{scanner: scanner{b: text}}
	if fault := r.begin(); fault != nil {
		return nil, fault
	}
	start := r.i
	fault := r.object("a namespace, which is an object", func(name string, at int) *syntaxError {
		switch name {
		case "roles", "denied":
			if prefix != "" {
				return r.fault(at, "member %q is of the root namespace only", name)
			}
		case "path", "revision", "create_revision", "modified_at", "modified_by":
			return r.fault(at, "member %q is not for writing: leave it out", name)
		}
		return r.member(name, at)
	})
	if fault == nil {
		fault = r.end()
	}
	if fault == nil {
		fault = r.valid(start, &r.n) // the sums
	}
	return &r.n, fault
}

func (r *namespaceReader) member(name string, at int) (fault *syntaxError) {
	value := r.i
	switch name {
	case "owner":
		r.n.Owner, fault = r.text()
	case "description":
		r.n.Description, fault = r.text()
	case "bindings":
		return r.list("a list of bindings", r.binding)
	case "settings":
		return r.object("settings, which are an object", r.setting)
	case "roles":
		return r.object("roles, which are an object", r.role)
	case "denied":
		r.n.Denied, fault = r.subjects()
	default:
		return r.fault(at, "member %q is not one of a namespace: owner, description, bindings, settings, roles, denied", name)
	}
	if fault != nil {
		return fault
	}
	return r.valid(value, &fsm.Namespace{Owner: r.n.Owner, Description: r.n.Description})
}

// valid is what is wrong with n, a part of the root namespace, if anything.
func (r *namespaceReader) valid(at int, n *fsm.Namespace) *syntaxError {
	err := n.Validate("")
	if err == nil {
		return nil
	}
	fault := r.fault(at, "%s", strings.TrimPrefix(err.Error(), "fsm: "))
	var limit *fsm.LimitError
	if errors.As(err, &limit) {
		return tooMany(fault, int64(limit.Max))
	}
	return fault
}

func tooMany(fault *syntaxError, limit int64) *syntaxError {
	fault.kind, fault.limit = kindTooLarge, limit
	return fault
}

func (r *namespaceReader) list(want string, one func() *syntaxError) *syntaxError {
	if fault := r.expect('[', want); fault != nil {
		return fault
	}
	return r.members(']', one)
}

func (r *namespaceReader) binding() *syntaxError {
	start := r.i
	var (
		b        fsm.Binding
		subjects int // where they begin
	)
	fault := r.object("a binding, which is an object", func(name string, at int) (fault *syntaxError) {
		switch name {
		case "role":
			b.Role, fault = r.text()
		case "subjects":
			subjects = r.i
			b.Subjects, fault = r.subjects()
		default:
			return r.fault(at, "member %q is not one of a binding: role, subjects", name)
		}
		return fault
	})
	switch {
	case fault != nil:
		return fault
	case b.Role == "":
		return r.fault(start, "binding has no role")
	case subjects == 0:
		return r.fault(start, "binding of %q has no subjects", b.Role)
	}
	if len(r.n.Bindings) == fsm.MaxBindings {
		return tooMany(r.fault(start, "there are more than %d bindings", fsm.MaxBindings), fsm.MaxBindings)
	}
	for i := range r.n.Bindings {
		if r.n.Bindings[i].Role == b.Role {
			return r.fault(start, "role %q has two bindings: write its subjects into one", b.Role)
		}
	}
	r.n.Bindings = append(r.n.Bindings, b)
	return r.valid(start, &fsm.Namespace{Bindings: []fsm.Binding{b}})
}

// subjects reads a list of subjects.
func (r *namespaceReader) subjects() (all []string, fault *syntaxError) {
	fault = r.list("a list of subjects", func() *syntaxError {
		at := r.i
		s, fault := r.text()
		if fault != nil {
			return fault
		}
		all = append(all, s)
		return r.valid(at, &fsm.Namespace{Denied: []string{s}})
	})
	return all, fault
}

func (r *namespaceReader) setting(name string, at int) *syntaxError {
	if name != "keep_versions" {
		return r.fault(at, "member %q is not one of settings: keep_versions", name)
	}
	start := r.i
	if c := r.peek(); c != '-' && (c < '0' || c > '9') {
		return r.unexpected("a number")
	}
	if fault := r.skipNumber(); fault != nil {
		return fault
	}
	n, err := strconv.Atoi(string(r.b[start:r.i]))
	if err != nil || n < 1 {
		return r.fault(start, "keep_versions is %s, want a whole number from 1 to %d; left out, what is said above this namespace applies",
			short(string(r.b[start:r.i])), fsm.MaxKeepVersions)
	}
	r.n.KeepVersions = n
	return r.valid(start, &fsm.Namespace{KeepVersions: n})
}

func (r *namespaceReader) role(name string, at int) *syntaxError {
	if len(r.n.Roles) == fsm.MaxCustomRoles {
		return tooMany(r.fault(at, "there are more than %d roles", fsm.MaxCustomRoles), fsm.MaxCustomRoles)
	}
	role := fsm.Role{Name: name}
	fault := r.list("a list of verbs", func() *syntaxError {
		at := r.i
		text, fault := r.text()
		if fault != nil {
			return fault
		}
		verb, ok := fsm.ParseVerb(text)
		if !ok {
			return r.fault(at, "%q is no verb: want %s", text, verbs)
		}
		role.Verbs |= verb
		return nil
	})
	if fault != nil {
		return fault
	}
	r.n.Roles = append(r.n.Roles, role)
	return r.valid(at, &fsm.Namespace{Roles: []fsm.Role{role}})
}

// verbs are all that there are.
var verbs = func() string {
	all := fsm.BuiltInRoles()
	return all[len(all)-1].Verbs.String()
}()
