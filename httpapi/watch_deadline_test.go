package httpapi

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/confman/confman/node"
)

// timed is an answer that knows by when each part of it must be sent.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
	writes   []time.Time
}

func (w *timed) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }
func (w *timed) SetReadDeadline(time.Time) error    { return nil }

func (w *timed) Write(b []byte) (int, error) {
	w.writes = append(w.writes, w.deadline)
	return w.ResponseRecorder.Write(b)
}

// TestWatchRefusalsHaveADeadline: a watch may be open for ever; to be told that it is not does
// not take so long.
func TestWatchRefusalsHaveADeadline(t *testing.T) {
	for name, refuse := range map[string]func(f *fixture) (query string, status int){
		"no such revision": func(*fixture) (string, int) { return "?from_revision=7", 400 },
		"no quorum": func(f *fixture) (string, int) {
			f.node.linearizeErr = node.ErrNoQuorum
			return "?from_revision=7", 503
		},
		"rebuilding": func(f *fixture) (string, int) { f.node.viewErr = node.ErrRebuilding; return "?from_revision=0", 503 },
		"stopping":   func(f *fixture) (string, int) { close(f.node.done); return "?wait=1s", 503 },
		"long-poll":  func(*fixture) (string, int) { return "?wait=0s", 200 },
		"compacted":  func(f *fixture) (string, int) { compactedTo2(f); return "?from_revision=0", 410 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			query, status := refuse(f)
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			f.ServeHTTP(w, httptest.NewRequest("GET", watch+"/"+query, nil))
			assert.Equal(t, status, w.Code, w.Body)
			assert.Equal(t, []time.Time{f.now.Add(TransferTimeout)}, w.writes)
		})
	}
}
