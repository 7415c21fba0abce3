package httpapi

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// restoredAt1 makes the node one of a cluster that was restored at revision 1.
func restoredAt1(f *fixture) {
	f.tb.Helper()
	n := f.node
	opts := fsm.Options{MmapBytes: 1 << 30, NoSync: true}
	require.NoError(f.tb, n.store.BeginFlush().Commit())
	image, err := n.store.OpenImage()
	require.NoError(f.tb, err)
	var b bytes.Buffer
	require.NoError(f.tb, fsm.WriteBackup(&b, image, image.Backup("node1", f.now), nil))
	image.Close()
	dir := f.tb.TempDir()
	_, err = fsm.UnpackBackup(f.tb.Context(), &b, filepath.Join(dir, "image"), opts, nil)
	require.NoError(f.tb, err)
	src, err := fsm.Open(filepath.Join(dir, "image"), opts)
	require.NoError(f.tb, err)
	at := fsm.Revision(1)
	_, err = src.RestoreTo(f.tb.Context(), filepath.Join(dir, "store"), fsm.Restoration{
		Cluster: fsm.ClusterID{2}, Members: []fsm.Member{{RaftID: 1, Name: "node1"}, {RaftID: 2, Name: "node2"}, {RaftID: 3, Name: "node3"}},
		At: &at, Time: f.now.UnixNano(), Comment: "restored from a backup",
	}, opts)
	require.NoError(f.tb, err)
	require.NoError(f.tb, src.Close())
	require.NoError(f.tb, n.store.Close()) // the fixture closes the one that is there at its end
	n.store, err = fsm.Open(filepath.Join(dir, "store"), opts)
	require.NoError(f.tb, err)
	n.hub = node.NewWatches(node.WatchLimits{})
	n.index = n.store.State().Applied
}

// Who walks through revisions walks over the gap that a restore left, each in its way.
func TestRestoredCluster(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		f.ok("PUT", config+"/a", fmt.Sprint(i))
	}
	restoredAt1(f)
	begin := fsm.Revision(3 + fsm.RestoreGap)
	w := f.ok("GET", config+"/a", "")
	assert.Equal(t, fmt.Sprint(uint64(begin)), w.Header().Get("Confman-Revision"))
	assert.Equal(t, `"1"`, w.Header().Get("Etag"), "the key is what it was, and says since when")
	assert.Equal(t, 412, f.do("PUT", config+"/a", "9", `If-Match: "3"`).Code)
	f.ok("PUT", config+"/a", "9", `If-Match: "1"`)
	f.ok("GET", config+"/a?min_revision=1", "")
	f.ok("GET", config+"/a?revision=1", "")
	assert.Equal(t, 409, f.do("GET", config+"/a?min_revision=2", "").Code)

	revisions := func(target, in string) (out []string) {
		for _, item := range decoded(t, f.ok("GET", target, ""))[in].([]any) {
			out = append(out, fmt.Sprint(item.(map[string]any)["revision"]))
		}
		return out
	}
	put := fmt.Sprint(uint64(begin + 1))
	assert.Equal(t, []string{put, "1"}, revisions("/api/v1/history/", "items"))
	assert.Equal(t, []string{put, "1"}, revisions("/api/v1/history/a", "items"))
	assert.Equal(t, []string{put, fmt.Sprint(uint64(begin)), "1"}, revisions("/api/v1/audit", "items"))
	assert.Contains(t, f.ok("GET", "/api/v1/audit?action=restored", "").Body.String(), `"comment":"restored from a backup"`)
	assert.Equal(t, []string{"1"}, revisions("/api/v1/watch/?from_revision=0&wait=0s", "changes"), "so far it looked")
	assert.Equal(t, []string{put}, revisions("/api/v1/watch/?from_revision=1&wait=0s", "changes"))
	assert.Equal(t, []string{put}, revisions(fmt.Sprintf("/api/v1/watch/?from_revision=%d&wait=0s", begin), "changes"))
	assert.Contains(t, f.ok("GET", "/api/v1/history/?verify=true", "").Body.String(), `"verified":true,"from_revision":0,"revision":`+put+`,"changes":3,`)
	assert.Contains(t, f.ok("GET", "/api/v1/diff/?from=1", "").Body.String(), `"path":"a"`)
}

// A page of before the restore goes on where there is something.
func TestPagesOfARestoredCluster(t *testing.T) {
	f := newFixture(t)
	for i := range 3 {
		f.ok("PUT", fmt.Sprintf("%s/k%d", config, i), "1")
	}
	restoredAt1(f)
	w := f.ok("GET", "/api/v1/history/?cursor="+cursor{revision: 3 + fsm.RestoreGap, last: "2.0"}.encode("history /"), "")
	assert.Contains(t, w.Body.String(), `"path":"k0"`)
}
