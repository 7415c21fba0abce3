package fsm

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestExpands: what may change more than its bytes say is seen wherever it is in a command, and
// nothing that is cut short is taken for more than it is.
func TestExpands(t *testing.T) {
	full := Command{
		Origin: Origin{1, 2, 3}, RequestID: "r", Comment: "c",
		Principal:   Principal{Kind: User, Issuer: "i", Tenant: "t", Object: "o", Roles: []string{"a", "b"}, Groups: [][16]byte{{7}, {8}}},
		Idempotency: Idempotency{Key: "k", Request: [32]byte{9}},
		Compares: []Compare{
			{Kind: KeyExists, Key: "a"}, {Kind: RevisionIs, Key: "b", Revision: 9}, {Kind: ValueIs, Key: "c", Value: []byte("v")},
		},
		Ops:  []Op{put("a", "1"), {Kind: Delete, Key: "b"}},
		Else: []Op{put("c", "2")},
	}
	with := func(change func(c *Command)) Command {
		c := full
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		cmd  Command
		want bool
	}{
		"puts and deletes": {full, false},
		"one put":          {Command{Origin: Origin{1, 1, 1}, Ops: []Op{put("a", "1")}}, false},
		"a subtree":        {with(func(c *Command) { c.Ops = []Op{put("a", "1"), {Kind: DeleteTree, Key: "t/"}} }), true},
		"a restore":        {with(func(c *Command) { c.Ops = []Op{{Kind: Restore, Key: "t", Revision: 1}} }), true},
		"in the else":      {with(func(c *Command) { c.Else = []Op{{Kind: Restore, Revision: 1}} }), true},
		"maintenance":      {Command{Maintenance: &Maintenance{Elapsed: 1}}, true},
	} {
		b := encode(t, c.cmd)
		assert.Equal(t, c.want, Expands(b), name)
		for n := range len(b) {
			require.False(t, Expands(b[:n]) && !c.want, "%s, cut at %d", name, n)
		}
	}
	assert.False(t, Expands(nil))
}
