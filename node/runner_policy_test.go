package node

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const alice, bob = "user:local/alice", "user:local/bob"

// TestWhoMayDoWhatIsAnswered: whatever becomes of a command that is about, or meets, who may do
// what, its proposer is told.
func TestWhoMayDoWhatIsAnswered(t *testing.T) {
	c := newTrio(t, "node1")
	c.start()
	c.ready()
	r := c.runners["node1"]
	root := func(role string, roles ...fsm.Role) *fsm.Command {
		n := &fsm.Namespace{Roles: roles, Bindings: []fsm.Binding{{Role: role, Subjects: []string{alice}}}}
		return &fsm.Command{AcceptedAt: 1, Ops: []fsm.Op{{Kind: fsm.PutNamespace, Value: n.Encode()}}}
	}
	by := func(who string, cmd *fsm.Command) *fsm.Command {
		cmd.Principal = fsm.Principal{Kind: fsm.User, Issuer: "local", Object: who}
		return cmd
	}
	first := func() *fsm.Command {
		return &fsm.Command{AcceptedAt: 1, Ops: []fsm.Op{{Kind: fsm.Bootstrap, Value: []byte(alice)}}}
	}
	custom := fsm.Role{Name: "custom", Verbs: fsm.VerbRead}
	uses := (&fsm.Namespace{Bindings: []fsm.Binding{{Role: "custom", Subjects: []string{bob}}}}).Encode()
	denial := fsm.Denial{Kind: fsm.DeniedRead, Principal: bob, Verbs: fsm.VerbRead, Path: "a", Count: 1}
	for _, step := range []struct {
		name string
		cmd  *fsm.Command
		want fsm.Outcome
	}{
		{"first administrator", first(), fsm.Applied},
		{"second time", first(), fsm.AdminExists},
		{"nobody's write", put("a", "1"), fsm.Denied},
		{"write of who may not", by("bob", put("a", "1")), fsm.Denied},
		{"last administrator", by("alice", root(fsm.RoleViewer)), fsm.LastAdmin},
		{"no such role", by("alice", &fsm.Command{AcceptedAt: 1, Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: "a/", Value: uses}}}), fsm.UnknownRole},
		{"role", by("alice", root(fsm.RoleAdmin, custom)), fsm.Applied},
		{"role is used", by("alice", &fsm.Command{AcceptedAt: 1, Ops: []fsm.Op{{Kind: fsm.PutNamespace, Key: "a/", Value: uses}}}), fsm.Applied},
		{"role in use", by("alice", root(fsm.RoleAdmin)), fsm.RoleInUse},
		{"write of who may", by("alice", put("a", "1")), fsm.Applied},
		{"what the node refused", &fsm.Command{AcceptedAt: 1, Denials: []fsm.Denial{denial}}, fsm.Recorded},
	} {
		res, err := r.Propose(t.Context(), step.cmd)
		require.NoError(t, err, step.name)
		assert.Equal(t, step.want, res.Outcome, step.name)
	}
}
