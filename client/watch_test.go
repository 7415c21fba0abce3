package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// streamer is a node that answers each watch with the next of its scripts, and then holds
// the stream open if that does not say otherwise.
type streamer struct {
	*httptest.Server
	mu      sync.Mutex
	scripts []string
	asked   []string // the queries
}

// hangs at a script's end leaves the stream open, in silence.
const hangs = "(hangs)"

func newStreamer(t *testing.T, scripts ...string) *streamer {
	t.Helper()
	s := &streamer{scripts: scripts}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path+" "+r.URL.Query().Get("from_revision"))
		script := `refuse {"type":"urn:confman:problem:stopping","status":503,"retryable":true}`
		if len(s.scripts) > 0 {
			script, s.scripts = s.scripts[0], s.scripts[1:]
		}
		s.mu.Unlock()
		if text, ok := strings.CutPrefix(script, "refuse "); ok {
			var p Problem
			assert.NoError(t, json.Unmarshal([]byte(text), &p))
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(p.Status)
			_, _ = w.Write([]byte(text))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		script, hang := strings.CutSuffix(script, hangs)
		_, _ = w.Write([]byte(script))
		w.(http.Flusher).Flush()
		if hang {
			<-r.Context().Done()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func bookmark(rev int) string { return fmt.Sprintf(": heartbeat\nid: %d\n\n", rev) }

func change(rev int, events string) string {
	return fmt.Sprintf("id: %d\nevent: change\ndata: {\"revision\":%d,\"modified_at\":\"2026-01-23T10:00:00Z\",\"modified_by\":\"me\",\"comment\":\"<why>\",\"request_id\":\"r\",\"events\":[%s]}\n\n", rev, rev, events)
}

func put(key string, rev int) string {
	return fmt.Sprintf(`{"path":%q,"value":%d,"content_type":"application/json","revision":%d,"create_revision":1,"version":1,"modified_at":"2026-01-23T10:00:00Z","modified_by":"me","action":"put"}`, key, rev, rev)
}

func watchClient(t *testing.T, servers ...*streamer) *Client {
	t.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.URL)
	}
	c, err := New(Options{Endpoints: urls, MinBackoff: time.Millisecond, MaxBackoff: 2 * time.Millisecond})
	require.NoError(t, err)
	return c.Session()
}

// revisions takes n changes, or all up to an error.
func revisions(c *Client, ctx context.Context, path string, o WatchOptions, n int) (revs []uint64, err error) { //nolint:revive // the client is what is tested
	for ch, err := range c.Watch(ctx, path, o) {
		if err != nil {
			return revs, err
		}
		revs = append(revs, ch.Revision)
		if len(revs) == n {
			break
		}
	}
	return revs, nil
}

// TestWatchGoesOn: however a stream ends, the next begins where it was: at its last event, or
// at its last bookmark.
func TestWatchGoesOn(t *testing.T) {
	a := newStreamer(t,
		bookmark(5)+change(7, put("a", 7))+bookmark(9), // ends without a word
		bookmark(9)+change(12, put("a", 12))+"event: error\ndata: {\"type\":\"urn:confman:problem:stopping\",\"status\":503,\"retryable\":true}\n\n",
		"id: 13\nevent: change\ndata: {\"revision\":13", // half an event
		change(13, put("a", 13)+`,{"path":"b","action":"delete"}`)+": a comment\n\nevent: of tomorrow\ndata: x\n\n",
		`refuse {"type":"urn:confman:problem:rebuilding","status":503,"retryable":true}`,
		"id: 14\r\nevent: change\r\ndata: {\"revision\":14,\r\ndata: \"events\":[]}\r\n\r\n",
	)
	c := watchClient(t, a)
	revs, err := revisions(c, t.Context(), "teams/", WatchOptions{}, 4)
	require.NoError(t, err)
	assert.Equal(t, []uint64{7, 12, 13, 14}, revs)
	assert.Equal(t, []string{
		"/api/v1/watch/teams/ ", "/api/v1/watch/teams/ 9", "/api/v1/watch/teams/ 12", "/api/v1/watch/teams/ 12",
		"/api/v1/watch/teams/ 13", "/api/v1/watch/teams/ 13",
	}, a.asked)
	assert.Equal(t, uint64(14), c.SeenRevision())
}

// TestWatchElsewhere: a node that is silent, or goes, is left for another.
func TestWatchElsewhere(t *testing.T) {
	a := newStreamer(t, bookmark(3)+change(4, put("a", 4))+hangs)
	b := newStreamer(t, bookmark(4)+change(5, put("a", 5))+hangs)
	c := watchClient(t, a, b)
	began := time.Now()
	revs, err := revisions(c, t.Context(), "a", WatchOptions{From: 3, Heartbeat: 20 * time.Millisecond}, 2)
	require.NoError(t, err)
	assert.Equal(t, []uint64{4, 5}, revs)
	assert.Less(t, time.Since(began), 10*time.Second)
	assert.Equal(t, []string{"/api/v1/watch/a 3"}, a.asked)
	assert.Equal(t, []string{"/api/v1/watch/a 4"}, b.asked)
}

func TestWatchEnds(t *testing.T) {
	compacted := `{"type":"urn:confman:problem:compacted","status":410,"oldest_revision":40}`
	for _, script := range []string{"refuse " + compacted, bookmark(1) + "event: error\ndata: " + compacted + "\n\n"} {
		_, err := revisions(watchClient(t, newStreamer(t, script)), t.Context(), "", WatchOptions{FromStart: true, From: 7}, 1)
		oldest, ok := IsCompacted(err)
		require.True(t, ok, err)
		assert.Equal(t, uint64(40), oldest)
	}
	a := newStreamer(t, `refuse {"type":"urn:confman:problem:invalid-parameter","status":400}`)
	_, err := revisions(watchClient(t, a), t.Context(), "", WatchOptions{FromStart: true, From: 7}, 1)
	var p *Problem
	require.ErrorAs(t, err, &p)
	assert.Equal(t, []string{"/api/v1/watch/ 0"}, a.asked)

	for _, script := range []string{
		"id: 8\nevent: change\ndata: nothing\n\n", "id: 8\nevent: change\ndata: {\"revision\":9}\n\n", "event: error\ndata: -\n\n",
		"event: change\ndata: {\"revision\":9,\"events\":[1]}\n\n",
	} {
		_, err = revisions(watchClient(t, newStreamer(t, script)), t.Context(), "", WatchOptions{}, 1)
		require.ErrorIs(t, err, ErrAnswer, script)
	}
	var bad *KeyError
	_, err = revisions(watchClient(t, a), t.Context(), "a//b", WatchOptions{}, 1)
	require.ErrorAs(t, err, &bad)

	ctx, cancel := context.WithCancel(t.Context())
	for ch, err := range watchClient(t, newStreamer(t, change(3, put("a", 3))+hangs)).Watch(ctx, "a", WatchOptions{}) {
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			break
		}
		assert.Equal(t, uint64(3), ch.Revision)
		cancel()
	}
	cancel()
}

// TestChange: a change is written as it was read.
func TestChange(t *testing.T) {
	text := strings.Split(change(13, put("a", 13)+`,{"path":"b","action":"delete"}`), "data: ")[1]
	var ch Change
	require.NoError(t, json.Unmarshal([]byte(text), &ch))
	assert.Len(t, ch.Events, 2)
	for _, e := range ch.Events {
		assert.Equal(t, uint64(13), e.Revision)
		assert.Equal(t, "<why>", e.Comment)
		assert.Equal(t, "me", e.ModifiedBy)
	}
	assert.True(t, ch.Events[1].Deleted)
	assert.Equal(t, "13", string(ch.Events[0].Value))
	again, err := ch.MarshalJSON()
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(text), string(again))
}

// FuzzBlocks: whatever a stream holds, it is blocks or an error.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte(bookmark(3) + change(4, put("a", 4))))
	f.Fuzz(func(_ *testing.T, b []byte) {
		w := &watch{c: &Client{}, yield: func(Change, error) bool { return true }, query: map[string][]string{}}
		for blk, err := range readBlocks(strings.NewReader(string(b))) {
			if err == nil {
				err = w.take(&blk)
			}
			if err != nil {
				return
			}
		}
	})
}

// TestWatchLargestChange: a rollback gives back 32 MiB, which may be texts of quotes and line
// breaks: one event that cannot be read ends a watch for good.
func TestWatchLargestChange(t *testing.T) {
	const escaped = 2 * 32 << 20
	text := io.MultiReader(strings.NewReader("id: 1\nevent: change\ndata: "), io.LimitReader(quotes{}, escaped+1<<20), strings.NewReader("\n\n"))
	n := 0
	for b, err := range readBlocks(text) {
		require.NoError(t, err)
		assert.Len(t, b.data, escaped+1<<20)
		n++
	}
	assert.Equal(t, 1, n)
}

// quotes are no end of them, as JSON has them.
type quotes struct{}

func (quotes) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = `\"`[i%2]
	}
	return len(p), nil
}
