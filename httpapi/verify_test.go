package httpapi

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

const verifyPath = "/api/v1/history?verify=true"

// chain is the head of the chain as the store has it.
func (f *fixture) chain() string {
	c := f.node.store.State().Chain
	return hex.EncodeToString(c[:])
}

func TestVerify(t *testing.T) {
	f := newFixture(t)
	assert.JSONEq(t, fmt.Sprintf(`{"verified":true,"from_revision":0,"revision":0,"changes":0,"chain":%q}`, f.chain()), f.ok("GET", verifyPath, "").Body.String())
	for i := range 5 {
		f.node.put("a/b", fmt.Sprint(i))
	}
	want := fmt.Sprintf(`{"verified":true,"from_revision":0,"revision":5,"changes":5,"chain":%q}`, f.chain())
	w := f.ok("GET", verifyPath, "")
	assert.JSONEq(t, want, w.Body.String())
	assert.Equal(t, "5", w.Header().Get("Confman-Revision"))
	require.NoError(t, f.node.store.BeginFlush().Commit())
	assert.JSONEq(t, want, f.ok("GET", "/api/v1/history/a/?verify=true&consistency=linearizable", "").Body.String(), "the chain is one, whatever the path")
	f.node.maintain(fsm.Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
	f.node.put("a/b", "6")
	f.node.put("a/b", "7")
	f.node.maintain(fsm.Maintenance{KeepVersions: 1})
	assert.JSONEq(t, fmt.Sprintf(`{"verified":true,"from_revision":5,"revision":7,"changes":2,"chain":%q}`, f.chain()), f.ok("GET", verifyPath, "").Body.String())
	items, _ := f.pages("/api/v1/history/a/b?verify=false")
	assert.NotEmpty(t, items)
	require.True(t, f.exports.TryAcquire(MaxExports), "what is held is let go")
}

// TestVerifyFindsOneByte: one byte of a stored change, be it of the record of it or of the value
// that it put, and the first bad change is named, and the node told.
func TestVerifyFindsOneByte(t *testing.T) {
	for what, marker := range map[string]string{"comment": "needle-comment", "value": "needle-value"} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			for i := range 9 {
				value, comment := fmt.Sprint(i), "c"
				if i == 4 {
					value, comment = `"needle-value"`, "needle-comment"
				}
				f.ok("PUT", fmt.Sprintf("%s/k%d", config, i), value, "Confman-Comment: "+comment)
			}
			require.NoError(t, f.node.store.BeginFlush().Commit())
			b, err := os.ReadFile(f.node.path)
			require.NoError(t, err)
			at := bytes.LastIndex(b, []byte(marker))
			require.Positive(t, at)
			require.Equal(t, at, bytes.Index(b, []byte(marker)), "it is in the database once")
			file, err := os.OpenFile(f.node.path, os.O_RDWR, 0)
			require.NoError(t, err)
			_, err = file.WriteAt([]byte("N"), int64(at))
			require.NoError(t, err)
			require.NoError(t, file.Close())

			got := decoded(t, f.ok("GET", verifyPath, ""))
			require.Len(t, f.node.damage, 1)
			assert.Equal(t, false, got["verified"])
			assert.Equal(t, "5", fmt.Sprint(got["first_bad_revision"]))
			assert.Equal(t, "9", fmt.Sprint(got["revision"]))
			assert.Contains(t, got["reason"], "checksum")
			assert.NotContains(t, got["reason"], "fsm:")
			assert.NotContains(t, got, "chain")
		})
	}
}

// TestVerifyIsGivenUp: by who asked, and after its time.
func TestVerifyIsGivenUp(t *testing.T) {
	f := newFixture(t)
	f.node.put("a", "1")
	for want, ctx := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled":   context.WithCancel,
		"overloaded": func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, -1) },
	} {
		gone, cancel := ctx(t.Context())
		cancel()
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequestWithContext(gone, "GET", verifyPath, nil))
		assert.Equal(t, 503, w.Code)
		assert.Equal(t, "urn:confman:problem:"+want, decoded(t, w)["type"])
	}
	assert.Empty(t, f.node.damage)
}
