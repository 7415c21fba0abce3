package httpapi

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

func TestBackup(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	w := f.ok("GET", "/api/v1/cluster/backup", "")
	assert.Equal(t, "1", w.Header().Get("Confman-Revision"))
	assert.Equal(t, `attachment; filename="confman-01000000-1.backup"`, w.Header().Get("Content-Disposition"))
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	b, err := fsm.UnpackBackup(t.Context(), w.Body, filepath.Join(t.TempDir(), "image"), fsm.Options{NoSync: true}, nil)
	require.NoError(t, err)
	assert.Equal(t, f.node.store.State(), b.State)
	assert.Contains(t, f.log.String(), `msg="a backup is sent" request_id=test-1 principal=anonymous`)
	assert.Contains(t, f.log.String(), `msg="the backup was sent"`)
}

func TestBackupUnderWay(t *testing.T) {
	f := newFixture(t)
	f.node.backupErr = fmt.Errorf("here: %w", node.ErrBackupUnderWay)
	w := f.do("GET", "/api/v1/cluster/backup", "")
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, kindOverloaded.name, kindOf(w))
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
}

// To run the cluster, or to read, is not enough: a backup holds all values, and what the audit tells.
func TestBackupTakesAllThatIsInIt(t *testing.T) {
	f := newFixture(t)
	guarded(f)
	f.change(&fsm.Command{Ops: []fsm.Op{{Kind: fsm.PutNamespace, Value: (&fsm.Namespace{
		Roles: []fsm.Role{{Name: "operator", Verbs: fsm.VerbCluster}, {Name: "reader", Verbs: fsm.VerbCluster | fsm.VerbRead}},
		Bindings: []fsm.Binding{
			{Role: fsm.RoleAdmin, Subjects: []string{user("root")}},
			{Role: "operator", Subjects: []string{user("op")}},
			{Role: "reader", Subjects: []string{user("reader")}},
		},
	}).Encode()}}})
	for who, missing := range map[string]string{"op": "read, audit", "reader": "audit"} {
		w := f.do("GET", "/api/v1/cluster/backup", "", as(who))
		assert.Equal(t, http.StatusForbidden, w.Code)
		assert.Contains(t, w.Body.String(), missing, who)
	}
	f.ok("GET", "/api/v1/cluster/backup", "", as("root"))
}

// Who may not have it any more does not get the rest.
func TestBackupBreaksOff(t *testing.T) {
	f := newFixture(t)
	for i := range 4 { // more than a chunk
		random := make([]byte, fsm.MaxValueBytes)
		_, _ = rand.Read(random)
		f.ok("PUT", fmt.Sprintf("%s/k%d", config, i), string(random), "Content-Type: application/octet-stream")
	}
	views := 0
	f.api.Node = countingViews{f.node, &views}
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { f.do("GET", "/api/v1/cluster/backup", "") })
	assert.Contains(t, f.log.String(), "the backup broke off")
	assert.NotContains(t, f.log.String(), "was sent")
}

// countingViews gives no view after the second.
type countingViews struct {
	*fakeNode
	n *int
}

func (c countingViews) View() (*fsm.View, node.Freshness, error) {
	if *c.n++; *c.n > 2 {
		return nil, node.Freshness{}, node.ErrRebuilding
	}
	return c.fakeNode.View()
}
