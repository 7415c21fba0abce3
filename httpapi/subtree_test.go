package httpapi

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// fill puts n keys below prefix.
func (f *fixture) fill(prefix string, n int) {
	f.tb.Helper()
	for i := 0; i < n; i += fsm.MaxTxnOps {
		var cmd fsm.Command
		for k := i; k < min(n, i+fsm.MaxTxnOps); k++ {
			cmd.Ops = append(cmd.Ops, put(fmt.Sprintf("%s%06d", prefix, k), []byte("1"), typeJSON))
		}
		_, err := f.node.Propose(f.tb.Context(), &cmd)
		require.NoError(f.tb, err)
	}
}

// keys are those below a subtree.
func (f *fixture) keys(prefix string) []string {
	f.tb.Helper()
	v, err := f.node.store.View()
	require.NoError(f.tb, err)
	defer v.Close()
	var out []string
	require.NoError(f.tb, v.Scan(prefix, afterPrefix(prefix), func(rec fsm.Record) bool {
		out = append(out, rec.Key)
		return true
	}))
	return out
}

func TestDeleteTree(t *testing.T) {
	f := newFixture(t)
	for _, key := range []string{"a", "a/1", "a/2/3", "a-b", "b"} {
		f.ok("PUT", config+"/"+key, "1")
	}
	w := f.ok("DELETE", config+"/a/?recursive=true", "", "Confman-Comment: gone")
	assert.JSONEq(t, `{"path":"a/","revision":6,"removed":2,"transactions":1}`, w.Body.String())
	assert.Equal(t, "6", w.Header().Get("Confman-Revision"))
	assert.Equal(t, []string{"a", "a-b", "b"}, f.keys(""))
	last := f.node.commands[len(f.node.commands)-1]
	assert.Equal(t, "gone", last.Comment)
	assert.Equal(t, []fsm.Op{{Kind: fsm.DeleteTree, Key: "a/"}}, last.Ops)

	w = f.ok("DELETE", config+"/?recursive=true", "")
	assert.JSONEq(t, `{"path":"/","revision":7,"removed":3,"transactions":1}`, w.Body.String())
	assert.Empty(t, f.keys(""))
}

// What is too much for one transaction goes in several; what is beside it stays.
func TestDeleteTreeInChunks(t *testing.T) {
	f := newFixture(t)
	const n = deletePage + 5
	f.fill("big/", n)
	f.ok("PUT", config+"/big", "1")
	f.ok("PUT", config+"/bigger", "1")
	w := f.ok("DELETE", config+"/big/?recursive=true&chunked=true", "")
	got := decoded(t, w)
	assert.Equal(t, fmt.Sprint(n), fmt.Sprint(got["removed"]))
	assert.Equal(t, fmt.Sprint((n+fsm.MaxTxnOps-1)/fsm.MaxTxnOps), fmt.Sprint(got["transactions"]))
	assert.Equal(t, w.Header().Get("Confman-Revision"), fmt.Sprint(got["revision"]))
	assert.Equal(t, []string{"big", "bigger"}, f.keys(""))
	assert.Equal(t, 1, f.node.linearized, "the first page alone has to be fresh")
}

// One that fails half-way says how far it came, and what became of the rest.
func TestDeleteTreeInChunksFails(t *testing.T) {
	f := newFixture(t)
	f.fill("big/", 10*fsm.MaxTxnOps)
	before := f.node.proposals
	f.node.proposeErr = func(n int, _ *fsm.Command) error {
		if n == before+10 {
			return &node.WriteError{Outcome: node.Unknown, Err: node.ErrNoQuorum}
		}
		return nil
	}
	w := f.do("DELETE", config+"/big/?recursive=true&chunked=true", "")
	got := decoded(t, w)
	assert.Equal(t, 503, w.Code)
	assert.Equal(t, "unknown", got["outcome"])
	assert.Equal(t, fmt.Sprint(9*fsm.MaxTxnOps), fmt.Sprint(got["applied_records"]))
	assert.Len(t, f.keys("big/"), fsm.MaxTxnOps)
}

// TestDeleteTreeInChunksBySomebody: whether the caller may is asked for each page, while transactions of
// the one before are under way. That those look at the call too is for the race detector.
func TestDeleteTreeInChunksBySomebody(t *testing.T) {
	f := newFixture(t)
	f.fill("a/", deletePage+fsm.MaxTxnOps)
	guarded(f)
	f.bind("a/", fsm.RolePublisher, "pub")
	last := deletePage / fsm.MaxTxnOps // of the transactions that the first page fills
	key := func(n int) string { return fmt.Sprintf("a/%06d", n*fsm.MaxTxnOps) }
	read := make(chan struct{})
	f.node.during = func(cmd *fsm.Command) {
		switch cmd.Ops[0].Key {
		case key(last - 1):
			<-read
		case key(last): // it has keys of the second page
			close(read)
		}
	}
	f.ok("DELETE", config+"/a/?recursive=true&chunked=true", "", as("pub"))
	assert.Empty(t, f.keys("a/"))
}
