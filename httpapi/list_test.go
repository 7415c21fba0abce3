package httpapi

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/confman/confman/fsm"
)

// listed is a listing as clients decode it.
type listedPage struct {
	Revision   int
	NextCursor string `json:"next_cursor"`
	Items      []struct {
		Path    string
		Value   json.RawMessage
		Subtree bool
	}
}

func (f *fixture) list(target string) listedPage {
	f.tb.Helper()
	var l listedPage
	w := f.ok("GET", target, "")
	require.NoError(f.tb, json.Unmarshal(w.Body.Bytes(), &l), w.Body)
	return l
}

// walk follows the cursors; it shows items as path, "=value" and "/" for a subtree.
func (f *fixture) walk(target string) (items []string, pages int) {
	f.tb.Helper()
	next := target
	for {
		l := f.list(next)
		pages++
		for _, it := range l.Items {
			s := it.Path
			if it.Value != nil {
				s += "=" + string(it.Value)
			}
			if it.Subtree {
				s += "/"
			}
			items = append(items, s)
		}
		if l.NextCursor == "" {
			return items, pages
		}
		next = target + "&cursor=" + url.QueryEscape(l.NextCursor)
	}
}

func TestListing(t *testing.T) {
	f := newFixture(t)
	for i, key := range []string{"a", "a/b", "a/b/c", "a/b-c", "a/d/e/f", "a-x", "ab", "z/1"} {
		f.ok("PUT", config+"/"+key, fmt.Sprint(i))
	}
	cases := []struct {
		name, target string
		want         []string
		pages        int
	}{
		{"root", "/?limit=100", []string{"a=0/", "a-x=5", "ab=6", "z/"}, 1},
		{"bare root", "?limit=100", []string{"a=0/", "a-x=5", "ab=6", "z/"}, 1},
		{"root, page by page", "/?limit=1", []string{"a=0/", "a-x=5", "ab=6", "z/"}, 4},
		{"children", "/a/?limit=2", []string{"a/b=1/", "a/b-c=3", "a/d/"}, 2},
		{"exactly one page", "/a/?limit=3", []string{"a/b=1/", "a/b-c=3", "a/d/"}, 1},
		{"recursive", "/a/?recursive=true", []string{"a/b=1", "a/b-c=3", "a/b/c=2", "a/d/e/f=4"}, 1},
		{"recursive, page by page", "/a/?recursive=true&limit=1", []string{"a/b=1", "a/b-c=3", "a/b/c=2", "a/d/e/f=4"}, 4},
		{"all", "/?recursive=true&limit=3", []string{"a=0", "a-x=5", "a/b=1", "a/b-c=3", "a/b/c=2", "a/d/e/f=4", "ab=6", "z/1=7"}, 3},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			items, pages := f.walk(config + tc.target)
			assert.Equal(t, tc.want, items)
			assert.Equal(t, tc.pages, pages)
		})
	}
}

func TestListingOfAnEmptyStore(t *testing.T) {
	f := newFixture(t)
	assert.JSONEq(t, `{"revision":0,"items":[]}`, f.ok("GET", config+"/", "").Body.String())
}

// TestWalkShowsOneRevision: all pages of a walk are of one revision, whatever is written
// between them.
func TestWalkShowsOneRevision(t *testing.T) {
	for _, query := range []string{"?limit=2", "?limit=2&recursive=true"} {
		f := newFixture(t)
		for _, key := range []string{"a/1", "a/2", "a/3", "a/4"} {
			f.ok("PUT", config+"/"+key, "0")
		}
		first := f.list(config + "/a/" + query)
		f.ok("DELETE", config+"/a/2", "") // the last one listed
		f.ok("PUT", config+"/a/0", "0")
		f.ok("PUT", config+"/a/3", "1")
		f.ok("DELETE", config+"/a/4", "")
		f.ok("PUT", config+"/a/5", "0")
		second := f.list(config + "/a/" + query + "&cursor=" + first.NextCursor)
		assert.Equal(t, first.Revision, second.Revision)
		require.Len(t, second.Items, 2)
		assert.Equal(t, "a/3", second.Items[0].Path)
		assert.Equal(t, "0", string(second.Items[0].Value))
		assert.Equal(t, "a/4", second.Items[1].Path)
		assert.Empty(t, second.NextCursor)
		items, _ := f.walk(config + "/a/" + query)
		want := []string{"a/0=0", "a/1=0", "a/3=1", "a/5=0"}
		assert.Equal(t, want, items)
	}
}

func TestReadAtARevision(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a/b", "1")   // revision 1
	f.ok("PUT", config+"/a/b", "2")   // 2
	f.ok("PUT", config+"/a/c", "3")   // 3
	f.ok("DELETE", config+"/a/b", "") // 4
	f.ok("PUT", config+"/a/b", "5")   // 5
	for _, tc := range []struct {
		target, want string
	}{
		{"/a/b?revision=1", "1"},
		{"/a/b?revision=2", "2"},
		{"/a/b?revision=3", "2"},
		{"/a/b?revision=5", "5"},
		{"/a/b?revision=5&consistency=linearizable", "5"},
	} {
		w := f.ok("GET", config+tc.target, "", "Accept: text/plain")
		assert.Equal(t, tc.want, w.Body.String(), tc.target)
	}
	w := f.ok("GET", config+"/a/b?revision=3", "")
	assert.Equal(t, "3", w.Header().Get("Confman-Revision"), "the answer was made from that revision")
	assert.Equal(t, `"2"`, w.Header().Get("ETag"))
	assert.Equal(t, 404, f.do("GET", config+"/a/b?revision=0", "").Code)
	assert.Equal(t, 404, f.do("GET", config+"/a/b?revision=4", "").Code)
	assert.Equal(t, 304, f.do("GET", config+"/a/b?revision=3", "", `If-None-Match: "2"`).Code)
	for target, want := range map[string][]string{
		"/?revision=0":                  nil,
		"/a/?revision=1":                {"a/b=1"},
		"/a/?revision=3":                {"a/b=2", "a/c=3"},
		"/a/?revision=4&recursive=true": {"a/c=3"},
		"/a/?revision=5&recursive=true": {"a/b=5", "a/c=3"},
	} {
		items, _ := f.walk(config + target)
		assert.Equal(t, want, items, target)
	}
	assert.JSONEq(t, `{"a":{"b":2,"c":3}}`, f.ok("GET", "/api/v1/export/?revision=3", "").Body.String())
}

// TestRevisionAhead: a node that is behind asks the quorum before it says that a revision
// is not there yet.
func TestRevisionAhead(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	f.node.linearize = func() { f.node.put("a", "2") }
	assert.Equal(t, "2", f.ok("GET", config+"/a?revision=2", "", "Accept: text/plain").Body.String())
	f.node.linearize = nil
	w := f.do("GET", config+"/a?revision=3", "")
	assert.Equal(t, 400, w.Code)
	assert.Equal(t, "urn:confman:problem:future-revision", decoded(t, w)["type"])
	assert.Equal(t, 2, f.node.linearized)
	assert.Equal(t, 400, f.do("GET", config+"/a?revision=3&consistency=local", "").Code)
	assert.Equal(t, 2, f.node.linearized, "a local read asks nobody")
	cursor := cursor{revision: 9, last: "a"}.encode("children /")
	assert.Equal(t, 400, f.do("GET", config+"/?cursor="+cursor, "").Code)
}

func TestPageBytes(t *testing.T) {
	f := newFixture(t)
	value := `"` + strings.Repeat("x", 1<<20-2) + `"`
	for i := range 10 {
		f.ok("PUT", fmt.Sprintf("%s/a/%d", config, i), value)
	}
	for _, target := range []string{"/a/?limit=100", "/a/?recursive=true"} {
		w := f.ok("GET", config+target, "")
		assert.Less(t, w.Body.Len(), MaxPageBytes+2<<20)
		items, pages := f.walk(config + target)
		assert.Len(t, items, 10)
		assert.Equal(t, 2, pages)
	}
}

func TestCursors(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		scope := rapid.StringMatching(`(keys|children) [a-z]{1,3}(/[a-z]{1,3}){0,2}/`).Draw(rt, "scope")
		last := rapid.StringMatching(`[a-zä/]{1,9}`).Draw(rt, "last")
		at := fsm.Revision(rapid.Uint64().Draw(rt, "revision"))
		c := cursor{at, last}.encode(scope)
		got, err := parseCursor(c, scope)
		require.NoError(rt, err)
		require.Equal(rt, cursor{at, last}, got)
		_, err = parseCursor(c, "other "+scope)
		require.Error(rt, err)
		_, err = parseCursor(c, scope+"x")
		require.Error(rt, err)
		i := rapid.IntRange(0, len(c)-1).Draw(rt, "at")
		broken := c[:i] + map[bool]string{true: "A", false: "B"}[c[i] == 'B'] + c[i+1:]
		if broken != c {
			_, err = parseCursor(broken, scope)
			require.Error(rt, err, "one character of a cursor was changed")
		}
	})
}

// TestMinRevision: a read waits until the node has what the client saw elsewhere.
func TestMinRevision(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", "1")
	for _, target := range []string{"/config/a?", "/config/?", "/export/?", "/history/a?", "/diff/a?from=0&"} {
		f.node.arrives = func(rev fsm.Revision) {
			for f.node.store.State().Revision < rev {
				f.node.put("a", fmt.Sprint(f.node.store.State().Revision+1))
			}
		}
		seen := f.node.store.State().Revision
		for _, min := range []fsm.Revision{0, seen, seen + 3} {
			w := f.ok("GET", fmt.Sprintf("/api/v1%smin_revision=%d", target, min), "")
			assert.Equal(t, fmt.Sprint(max(seen, min)), w.Header().Get("Confman-Revision"), target)
		}
		f.node.arrives = nil
		w := f.do("GET", "/api/v1"+target+"min_revision=1000&consistency=local", "")
		assert.Equal(t, 503, w.Code, target)
		assert.Equal(t, "urn:confman:problem:behind", decoded(t, w)["type"], target)
	}
}
