package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Namespace says who may do what below a path, and how that is kept. What it grants holds for all
// that is below, in other namespaces too; nothing that it says takes away what one above grants.
type Namespace struct {
	Owner       string // whom to ask; for people
	Description string
	// Bindings are at most MaxBindings, at most one of each role.
	Bindings []Binding
	// KeepVersions is how many versions that are not current are kept of a key, unless a
	// namespace further down says another; 0: as the one above says, or the cluster.
	KeepVersions int
	// Roles are those that this cluster has beside the built-in ones. Of the root only.
	Roles []Role
	// Denied are subjects who may do nothing, anywhere, whatever they are bound to. Of the root only.
	Denied []string
}

// Binding gives a role to subjects.
type Binding struct {
	Role     string
	Subjects []string
}

// Role is a set of verbs with a name: a lower-case letter, then letters, digits and '-'.
type Role struct {
	Name  string
	Verbs Verbs
}

// NamespaceRecord is a namespace with where it is, and its last change.
type NamespaceRecord struct {
	Path string // a prefix: "" is the root, else it ends in "/"
	Namespace
	Revision       Revision
	CreateRevision Revision
	ModifiedAt     int64 // Unix nanoseconds; for display only
	ModifiedBy     string
}

// A namespace as Op.Value has it; texts, counts and numbers as in a command:
//
//	owner, description     text each
//	versions to keep       number
//	bindings               count, then for each, in the order of roles:
//	                          role       text
//	                          subjects   count, then a text each, in order
//	roles                  count, then for each, in the order of names:
//	                          name       text
//	                          verbs      number
//	denied                 count, then a text each, in order

// Encode returns n as Op.Value of PutNamespace takes it: sorted, and without what is there twice.
func (n *Namespace) Encode() []byte {
	n = n.sorted()
	b := appendText(nil, n.Owner)
	b = appendText(b, n.Description)
	b = binary.AppendUvarint(b, uint64(n.KeepVersions))
	b = binary.AppendUvarint(b, uint64(len(n.Bindings)))
	for i := range n.Bindings {
		b = appendText(b, n.Bindings[i].Role)
		b = appendTexts(b, n.Bindings[i].Subjects)
	}
	b = binary.AppendUvarint(b, uint64(len(n.Roles)))
	for i := range n.Roles {
		b = appendText(b, n.Roles[i].Name)
		b = binary.AppendUvarint(b, uint64(n.Roles[i].Verbs))
	}
	return appendTexts(b, n.Denied)
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, t := range texts {
		b = appendText(b, t)
	}
	return b
}

// sorted returns n in the one order that it is stored in. Bindings of one role are joined.
func (n *Namespace) sorted() *Namespace {
	out := *n
	out.Denied = sortedTexts(n.Denied)
	out.Roles = slices.Clone(n.Roles)
	slices.SortStableFunc(out.Roles, func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
	of := map[string][]string{}
	for _, b := range n.Bindings {
		of[b.Role] = append(of[b.Role], b.Subjects...)
	}
	out.Bindings = nil
	for role, subjects := range of {
		if len(subjects) > 0 {
			out.Bindings = append(out.Bindings, Binding{role, sortedTexts(subjects)})
		}
	}
	slices.SortFunc(out.Bindings, func(a, b Binding) int { return strings.Compare(a.Role, b.Role) })
	return &out
}

func sortedTexts(texts []string) []string {
	out := slices.Clone(texts)
	slices.Sort(out)
	return slices.Compact(out)
}

// DecodeNamespace reads what Encode wrote, of the namespace at path. Errors: *LimitError, or a
// text that says what is wrong.
func DecodeNamespace(path string, b []byte) (*Namespace, error) {
	if len(b) > MaxNamespaceBytes {
		return nil, &LimitError{What: "bytes of the namespace", Got: len(b), Max: MaxNamespaceBytes}
	}
	d := decoder{b: b}
	n := &Namespace{Owner: d.text(), Description: d.text()}
	keep := d.uvarint()
	n.KeepVersions = int(min(keep, MaxKeepVersions+1))
	if c := d.count(MaxBindings); c > 0 {
		n.Bindings = make([]Binding, c)
	}
	for i := range n.Bindings {
		n.Bindings[i] = Binding{d.text(), d.texts(MaxSubjects)}
	}
	if c := d.count(MaxCustomRoles); c > 0 {
		n.Roles = make([]Role, c)
	}
	for i := range n.Roles {
		n.Roles[i] = Role{d.text(), Verbs(min(d.uvarint(), uint64(allVerbs)+1))}
	}
	n.Denied = d.texts(MaxDenied)
	if d.err == "" && len(d.b) > 0 {
		d.fail(fmt.Sprintf("%d bytes follow it", len(d.b)))
	}
	if d.err != "" {
		return nil, fmt.Errorf("fsm: namespace %q: %s", path, d.err)
	}
	if err := n.Validate(path); err != nil {
		return nil, err
	}
	if !n.inOrder() {
		return nil, fmt.Errorf("fsm: namespace %q: is not in order", path)
	}
	return n, nil
}

func (d *decoder) texts(limit int) []string {
	c := d.count(limit)
	if c == 0 {
		return nil
	}
	texts := make([]string, c)
	for i := range texts {
		texts[i] = d.text()
	}
	return texts
}

// inOrder tells whether n is as sorted returns it.
func (n *Namespace) inOrder() bool {
	ascending := func(a, b string) bool { return a < b }
	for i := range n.Bindings {
		if len(n.Bindings[i].Subjects) == 0 || !eachPair(n.Bindings[i].Subjects, ascending) {
			return false
		}
	}
	return eachPair(n.Denied, ascending) &&
		eachPair(n.Bindings, func(a, b Binding) bool { return a.Role < b.Role }) &&
		eachPair(n.Roles, func(a, b Role) bool { return a.Name < b.Name })
}

func eachPair[T any](s []T, holds func(a, b T) bool) bool {
	for i := 1; i < len(s); i++ {
		if !holds(s[i-1], s[i]) {
			return false
		}
	}
	return true
}

// Validate reports what is wrong with n as the namespace at path, or nil. Whether its bindings are
// of roles that there are is decided when it is applied.
//
// Errors: *LimitError, or a text.
func (n *Namespace) Validate(path string) error {
	if err := checkText("owner", n.Owner, MaxOwnerBytes); err != nil {
		return err
	}
	if err := checkText("description", n.Description, MaxDescriptionBytes); err != nil {
		return err
	}
	if n.KeepVersions < 0 || n.KeepVersions > MaxKeepVersions {
		return &LimitError{What: "versions to keep", Got: n.KeepVersions, Max: MaxKeepVersions}
	}
	if path != "" && len(n.Roles)+len(n.Denied) > 0 {
		return errors.New("fsm: roles are defined, and subjects denied, in the root namespace only")
	}
	if c := len(n.Bindings); c > MaxBindings {
		return &LimitError{What: "bindings of the namespace", Got: c, Max: MaxBindings}
	}
	total := 0
	for i := range n.Bindings {
		b := &n.Bindings[i]
		if !validRoleName(b.Role) {
			return badRoleName(b.Role)
		}
		if total += len(b.Subjects); total > MaxSubjects {
			return &LimitError{What: "subjects of the namespace", Got: total, Max: MaxSubjects}
		}
		if err := validateSubjects(b.Subjects); err != nil {
			return err
		}
	}
	if c := len(n.Denied); c > MaxDenied {
		return &LimitError{What: "denied subjects", Got: c, Max: MaxDenied}
	}
	if err := validateSubjects(n.Denied); err != nil {
		return err
	}
	return n.validateRoles()
}

func (n *Namespace) validateRoles() error {
	if c := len(n.Roles); c > MaxCustomRoles {
		return &LimitError{What: "roles of the cluster", Got: c, Max: MaxCustomRoles}
	}
	seen := map[string]bool{}
	for _, r := range n.Roles {
		switch {
		case !validRoleName(r.Name):
			return badRoleName(r.Name)
		case slices.ContainsFunc(builtIn, func(b Role) bool { return b.Name == r.Name }):
			return fmt.Errorf("fsm: role %q is built in: choose another name", r.Name)
		case seen[r.Name]:
			return fmt.Errorf("fsm: role %q is defined twice", r.Name)
		case r.Verbs == 0 || r.Verbs&^allVerbs != 0:
			return fmt.Errorf("fsm: role %q has no verb, or one that there is not", r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}

func validateSubjects(subjects []string) error {
	for _, s := range subjects {
		if err := ValidateSubject(s); err != nil {
			return err
		}
	}
	return nil
}

func badRoleName(name string) error {
	return fmt.Errorf("fsm: role name %q: want a lower-case letter, then letters, digits and '-', at most %d", name, MaxRoleNameBytes)
}

func validRoleName(name string) bool {
	if name == "" || len(name) > MaxRoleNameBytes || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// admins tells whether somebody is bound to RoleAdmin, who is not denied everything.
func (n *Namespace) admins() bool {
	for i := range n.Bindings {
		if n.Bindings[i].Role != RoleAdmin {
			continue
		}
		for _, s := range n.Bindings[i].Subjects {
			if _, denied := slices.BinarySearch(n.Denied, s); !denied {
				return true
			}
		}
	}
	return false
}
