package fsm

import "strings"

// Verbs is a set of what somebody may do to what is below a path.
type Verbs uint16

// What a role may consist of. The spelling is that of ParseVerb.
const (
	// VerbRead: values, listings, history, watches, and the namespace itself.
	VerbRead Verbs = 1 << iota
	// VerbWrite: put and delete keys, one by one.
	VerbWrite
	// VerbRollback: make a key or a subtree what it was.
	VerbRollback
	// VerbDeleteTree: delete subtrees.
	VerbDeleteTree
	// VerbRetention: change how many versions of keys are kept.
	VerbRetention
	// VerbBind: change who may do what; to give a verb one must have it.
	VerbBind
	// VerbCluster: operate the cluster. It means something at the root only.
	VerbCluster
	// VerbAudit: read who did what, and what was refused.
	VerbAudit

	allVerbs Verbs = 1<<iota - 1
)

var verbNames = [...]string{"read", "write", "rollback", "delete-tree", "retention", "bind", "cluster", "audit"}

// The roles that are always there. Who is bound to RoleAdmin at the root administers the cluster.
const (
	RoleViewer    = "viewer"
	RoleEditor    = "editor"
	RolePublisher = "publisher"
	RoleAdmin     = "admin"
)

// builtIn are the roles that are always there, in the order of what they may do.
var builtIn = []Role{
	{RoleViewer, VerbRead},
	{RoleEditor, VerbRead | VerbWrite},
	{RolePublisher, VerbRead | VerbWrite | VerbRollback | VerbDeleteTree | VerbRetention},
	{RoleAdmin, allVerbs},
}

// BuiltInRoles returns the roles that are always there, the least first.
func BuiltInRoles() []Role { return append([]Role(nil), builtIn...) }

// ParseVerb reads one verb; false if there is none of that name.
func ParseVerb(name string) (Verbs, bool) {
	for i := range verbNames {
		if verbNames[i] == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// Names are the verbs of v, in a fixed order.
func (v Verbs) Names() []string {
	var names []string
	for i := range verbNames {
		if v&(1<<i) != 0 {
			names = append(names, verbNames[i])
		}
	}
	return names
}

// String is the verbs of v, with commas; "none".
func (v Verbs) String() string {
	if v == 0 {
		return "none"
	}
	return strings.Join(v.Names(), ", ")
}
