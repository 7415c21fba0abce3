package httpapi

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at is an Accept-Datetime header, some time after the fixture's first now.
func (f *fixture) at(start time.Time, after time.Duration) string {
	return "Accept-Datetime: " + start.Add(after).UTC().Format(http.TimeFormat)
}

func TestAcceptDatetime(t *testing.T) {
	f := newFixture(t)
	start := f.now
	for i, body := range []string{"1", "2", "3"} {
		f.now = start.Add(time.Duration(i)*time.Minute + 700*time.Millisecond)
		f.ok("PUT", config+"/a/b", body)
	}
	f.ok("PUT", config+"/a/c", "4")

	for after, want := range map[time.Duration]string{
		0: "1", time.Minute - time.Second: "1", time.Minute: "2", time.Hour: "3",
	} {
		w := f.ok("GET", config+"/a/b", "", f.at(start, after), "Accept: text/plain")
		assert.Equal(t, want, w.Body.String(), after)
		assert.Equal(t, "Accept, Accept-Datetime, Accept-Encoding", w.Header().Get("Vary"))
	}

	w := f.ok("GET", config+"/a/b", "", f.at(start, 90*time.Second))
	assert.Equal(t, "2", w.Header().Get("Confman-Revision"))
	assert.Equal(t, "Fri, 23 Jan 2026 10:01:00 GMT", w.Header().Get("Memento-Datetime"))
	assert.Equal(t, config+"/a/b?revision=2", w.Header().Get("Content-Location"))
	assert.Equal(t, "<"+config+`/a/b>; rel="original timegate"`, w.Header().Get("Link"))
	same := f.ok("GET", w.Header().Get("Content-Location"), "")
	assert.Equal(t, w.Body.String(), same.Body.String())
	assert.Empty(t, same.Header().Get("Memento-Datetime"), "it was not asked for a time")
	again := f.ok("GET", config+"/a/b", "", "Accept-Datetime: "+w.Header().Get("Memento-Datetime"))
	assert.Equal(t, w.Body.String(), again.Body.String(), "what an answer says can be asked for")
	unchanged := f.do("GET", config+"/a/b", "", f.at(start, time.Minute), `If-None-Match: "2"`)
	assert.Equal(t, http.StatusNotModified, unchanged.Code)
	assert.Equal(t, "Fri, 23 Jan 2026 10:01:00 GMT", unchanged.Header().Get("Memento-Datetime"))

	w = f.ok("GET", "/api/v1/export/a?format=tree", "", f.at(start, time.Minute))
	assert.JSONEq(t, `{"b":2}`, w.Body.String())
	assert.Equal(t, "Fri, 23 Jan 2026 10:01:00 GMT", w.Header().Get("Memento-Datetime"))
	assert.Equal(t, "/api/v1/export/a?format=tree&revision=2", w.Header().Get("Content-Location"))

	w = f.ok("GET", config+"/", "", f.at(start, -time.Hour))
	assert.JSONEq(t, `{"revision":0,"items":[]}`, w.Body.String(), "the store was empty")
	assert.Empty(t, w.Header().Get("Memento-Datetime"))
}

// TestAcceptDatetimeWalk: a walk shows one state, though it is written to in the second that
// was asked for, and though the client sends the header again with each cursor.
func TestAcceptDatetimeWalk(t *testing.T) {
	f := newFixture(t)
	start := f.now
	f.ok("PUT", config+"/a/b", "1")
	f.ok("PUT", config+"/a/c", "2")
	w := f.ok("GET", config+"/a/?recursive=true&limit=1", "", f.at(start, 0))
	assert.Equal(t, "Accept, Accept-Datetime, Accept-Encoding", w.Header().Get("Vary"))
	first := decoded(t, w)
	f.ok("PUT", config+"/a/d", "3")
	next, ok := first["next_cursor"].(string)
	require.True(t, ok)
	w = f.ok("GET", config+"/a/?recursive=true&limit=10&cursor="+next, "", f.at(start, 0))
	assert.Equal(t, "Fri, 23 Jan 2026 10:00:00 GMT", w.Header().Get("Memento-Datetime"))
	rest := decoded(t, w)
	assert.Equal(t, first["revision"], rest["revision"])
	assert.Len(t, rest["items"], 1)
}
