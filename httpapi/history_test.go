package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// pages follows the cursors of a route and returns the items of all pages.
func (f *fixture) pages(target string) (items []map[string]any, pages int) {
	f.tb.Helper()
	for next := target; ; pages++ {
		var page struct {
			Revision   int
			Items      []map[string]any
			NextCursor string `json:"next_cursor"`
		}
		w := f.ok("GET", next, "")
		require.NoError(f.tb, json.Unmarshal(w.Body.Bytes(), &page), w.Body)
		items = append(items, page.Items...)
		if page.NextCursor == "" {
			return items, pages + 1
		}
		next = target + "&cursor=" + url.QueryEscape(page.NextCursor)
	}
}

// short shows events as revision, path, action and value.
func shortEvents(items []map[string]any) []string {
	var out []string
	for _, it := range items {
		s := fmt.Sprint(it["revision"], " ", it["action"], " ", it["path"])
		if it["action"] == "put" {
			s += fmt.Sprint("=", it["value"])
		}
		out = append(out, s)
	}
	return out
}

// TestDiffFromAhead: a revision that is not here yet may be known to a quorum.
func TestDiffFromAhead(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	f.node.linearize = func() { f.node.put("a", "2") }
	w := f.ok("GET", "/api/v1/diff/?from=2", "")
	assert.Equal(t, "2", w.Header().Get("Confman-Revision"))
	assert.Equal(t, "urn:confman:problem:future-revision", decoded(t, f.do("GET", "/api/v1/diff/?from=3&consistency=local", ""))["type"])
	assert.Equal(t, 1, f.node.linearized)
}

func TestHistory(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a/b", "1", "Confman-Comment: why not")
	f.ok("PUT", config+"/a/c", "2")
	f.ok("PUT", config+"/a/b", "3")
	f.ok("DELETE", config+"/a/b", "")
	f.ok("PUT", config+"/z", "5")
	f.ok("PUT", config+"/a/b", "6")
	f.ok("POST", "/api/v1/import/a", `{"b":7,"c":8,"d":9}`)
	all := []string{
		"7 put a/b=7", "7 put a/c=8", "7 put a/d=9", "6 put a/b=6", "5 put z=5", "4 delete a/b", "3 put a/b=3", "2 put a/c=2", "1 put a/b=1",
	}
	of := func(prefix string) (out []string) {
		for _, s := range all {
			if strings.HasPrefix(strings.Fields(s)[2], prefix) {
				out = append(out, s)
			}
		}
		return out
	}
	const history = "/api/v1/history"
	for target, want := range map[string][]string{
		"/a/b?limit=100":          of("a/b="),
		"/":                       all,
		"/a/?limit=100":           of("a/"),
		"?limit=4":                all,
		"/a/c?limit=1":            of("a/c"),
		"/a/b?revision=3&limit=9": {"3 put a/b=3", "1 put a/b=1"},
		"/a/b?revision=4&limit=9": {"4 delete a/b", "3 put a/b=3", "1 put a/b=1"},
		"/a/?revision=2&limit=9":  {"2 put a/c=2", "1 put a/b=1"},
	} {
		if target == "/a/b?limit=100" {
			want = []string{"7 put a/b=7", "6 put a/b=6", "4 delete a/b", "3 put a/b=3", "1 put a/b=1"}
		}
		items, _ := f.pages(history + target)
		assert.Equal(t, want, shortEvents(items), target)
	}
	for limit := 1; limit <= len(all); limit++ {
		items, pages := f.pages(fmt.Sprintf("%s/?limit=%d", history, limit))
		assert.Equal(t, all, shortEvents(items), "limit %d", limit)
		assert.Equal(t, (len(all)+limit-1)/limit, pages, "limit %d", limit)
	}
	items, _ := f.pages(history + "/a/b")
	first := items[len(items)-1]
	assert.Equal(t, "why not", first["comment"])
	assert.Equal(t, "test-1", first["request_id"])
	assert.Equal(t, "192.0.2.1", first["source"])
	assert.Equal(t, "anonymous", first["modified_by"])
	assert.Equal(t, "anonymous", items[2]["modified_by"], "a delete tells who did it too")
	assert.NotContains(t, items[2], "value")
	assert.Equal(t, 404, f.do("GET", history+"/no", "").Code)
	assert.Equal(t, 404, f.do("GET", history+"/no/", "").Code)
}

// TestHistoryIsStable: a walk through a history shows one revision, whatever is written.
func TestHistoryIsStable(t *testing.T) {
	f := newFixture(t)
	for i := range 5 {
		f.ok("PUT", config+"/a/b", fmt.Sprint(i))
	}
	for _, target := range []string{"/api/v1/history/a/b?limit=2", "/api/v1/history/a/?limit=2"} {
		var page listedPage
		require.NoError(t, json.Unmarshal(f.ok("GET", target, "").Body.Bytes(), &page))
		f.node.put("a/b", `"later"`)
		assert.Len(t, page.Items, 2)
		second := f.list(target + "&cursor=" + page.NextCursor)
		assert.Equal(t, page.Revision, second.Revision)
		assert.Len(t, second.Items, 2)
	}
}

// TestHistoryScansInPieces: a page of a subtree's history ends after so many changes.
func TestHistoryScansInPieces(t *testing.T) {
	f := newFixture(t)
	f.node.put("a/b", "1")
	for i := range MaxHistoryScan + 5 {
		f.node.put("z", fmt.Sprint(i))
	}
	items, pages := f.pages("/api/v1/history/a/?limit=10")
	assert.Equal(t, []string{"1 put a/b=1"}, shortEvents(items))
	assert.Equal(t, 2, pages)
}

// TestHistoryEndsAtTheFloor: below it a key's record is still told, without who changed it and
// why, and of a subtree nothing; of what a key has too many versions of, the change alone.
func TestHistoryEndsAtTheFloor(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a/b", "1", "Confman-Comment: old")
	f.ok("PUT", config+"/a/c", "1")
	f.ok("PUT", config+"/a/c", "2")
	f.node.maintain(fsm.Maintenance{Elapsed: time.Hour, KeepFor: time.Minute})
	require.Equal(t, fsm.Revision(3), f.node.store.State().Floor)
	f.ok("PUT", config+"/x", "4", "Confman-Comment: new")
	f.ok("PUT", config+"/x", "5")
	f.ok("PUT", config+"/x", "6")
	f.node.maintain(fsm.Maintenance{KeepVersions: 1})

	const history = "/api/v1/history"
	items, _ := f.pages(history + "/a/b?limit=1")
	assert.Equal(t, []string{"1 put a/b=1"}, shortEvents(items))
	assert.Equal(t, "anonymous", items[0]["modified_by"])
	assert.Equal(t, "2026-01-23T10:00:00Z", items[0]["modified_at"])
	for _, member := range []string{"comment", "request_id", "source"} {
		assert.NotContains(t, items[0], member)
	}
	items, _ = f.pages(history + "/a/c?limit=1")
	assert.Equal(t, []string{"3 put a/c=2"}, shortEvents(items))
	items, _ = f.pages(history + "/x?limit=1")
	assert.Equal(t, []string{"6 put x=6", "5 put x=5"}, shortEvents(items))

	items, _ = f.pages(history + "/?limit=1")
	assert.Equal(t, []string{"6 put x=6", "5 put x=5", "4 put x=<nil>"}, shortEvents(items))
	last := items[2]
	assert.Equal(t, true, last["compacted"])
	assert.Equal(t, "new", last["comment"])
	assert.Equal(t, "test-1", last["request_id"])
	assert.Equal(t, "anonymous", last["modified_by"])
	items, _ = f.pages(history + "/a/?limit=1")
	assert.Empty(t, items, "its changes are compacted, but it is there")
}

func TestDiff(t *testing.T) {
	f := newFixture(t)
	f.ok("POST", "/api/v1/import/a", `{"b":1,"c":2,"d":3}`) // revision 1
	f.ok("PUT", config+"/a/b", "4")
	f.ok("DELETE", config+"/a/c", "")
	f.ok("PUT", config+"/a/e", "5")
	f.ok("PUT", config+"/z", "6")
	f.ok("PUT", config+"/a/b", "1") // revision 6: as it was, by another write
	show := func(items []map[string]any) []string {
		var out []string
		side := func(v any) string {
			if v == nil {
				return "-"
			}
			m := v.(map[string]any)
			return fmt.Sprintf("%v@%v", m["value"], m["revision"])
		}
		for _, it := range items {
			out = append(out, fmt.Sprintf("%v %v %s %s", it["path"], it["action"], side(it["before"]), side(it["after"])))
		}
		return out
	}
	const diff = "/api/v1/diff"
	now := []string{"a/b changed 1@1 1@6", "a/c removed 2@1 -", "a/e added - 5@4"}
	for target, want := range map[string][]string{
		"/a/?from=1":          now,
		"/a/?from=1&to=6":     now,
		"/a/?from=1&limit=1":  now,
		"/a/?from=1&to=3":     {"a/b changed 1@1 4@2", "a/c removed 2@1 -"},
		"/a/b?from=1&to=3":    {"a/b changed 1@1 4@2"},
		"/a/d?from=1":         nil,
		"/?from=4":            {"a/b changed 4@2 1@6", "z added - 6@5"},
		"?from=6":             nil,
		"/a/?from=0&to=1":     {"a/b added - 1@1", "a/c added - 2@1", "a/d added - 3@1"},
		"/no/?from=0&limit=1": nil,
	} {
		items, _ := f.pages(diff + target)
		assert.Equal(t, want, show(items), target)
	}
	_, pages := f.pages(diff + "/a/?from=1&limit=1")
	assert.Equal(t, 3, pages)
}
