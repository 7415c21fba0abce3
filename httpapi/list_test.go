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

// TestCursorIsStable: what comes and goes between pages shifts nothing else.
func TestCursorIsStable(t *testing.T) {
	f := newFixture(t)
	for _, key := range []string{"a/1", "a/2", "a/3"} {
		f.ok("PUT", config+"/"+key, "0")
	}
	first := f.list(config + "/a/?limit=2")
	f.ok("DELETE", config+"/a/2", "") // the last one listed
	f.ok("PUT", config+"/a/0", "0")
	second := f.list(config + "/a/?cursor=" + first.NextCursor)
	require.Len(t, second.Items, 1)
	assert.Equal(t, "a/3", second.Items[0].Path)
	f.ok("DELETE", config+"/a/3", "")
	third := f.list(config + "/a/?limit=7&cursor=" + first.NextCursor)
	assert.Empty(t, third.Items, "the end of a walk is an empty page, not an error")
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
		tg := target{key: rapid.StringMatching(`([a-z]{1,3}(/[a-z]{1,3}){0,2})?`).Draw(rt, "key"), subtree: true}
		recursive := rapid.Bool().Draw(rt, "recursive")
		last := tg.prefix() + rapid.StringMatching(`[a-zä/]{1,9}`).Draw(rt, "last")
		c := makeCursor(tg, recursive, last)
		got, err := parseCursor(c, tg, recursive)
		require.NoError(rt, err)
		require.Equal(rt, last, got)
		_, err = parseCursor(c, tg, !recursive)
		require.Error(rt, err)
		_, err = parseCursor(c, target{key: tg.key + "x", subtree: true}, recursive)
		require.Error(rt, err)
		i := rapid.IntRange(0, len(c)-1).Draw(rt, "at")
		broken := c[:i] + map[bool]string{true: "A", false: "B"}[c[i] == 'B'] + c[i+1:]
		if broken != c {
			_, err = parseCursor(broken, tg, recursive)
			require.Error(rt, err, "one character of a cursor was changed")
		}
	})
}
