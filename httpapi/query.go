package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/confman/confman/fsm"
)

// The query parameters of each route.
var (
	noParams     = []string{}
	keyParams    = []string{"consistency", "max_staleness", "min_revision", "revision"}
	listParams   = []string{"consistency", "max_staleness", "min_revision", "revision", "recursive", "limit", "cursor", "format"}
	exportParams = []string{"consistency", "max_staleness", "min_revision", "revision", "format"}
	importParams = []string{"escape", "file"}
	treeParams   = []string{"recursive", "chunked"}
	chunkParams  = []string{"chunked"}

	historyParams = []string{"consistency", "max_staleness", "min_revision", "revision", "limit", "cursor", "verify"}
	watchParams   = []string{"from_revision", "heartbeat", "wait"}
	diffParams    = []string{"consistency", "max_staleness", "min_revision", "from", "to", "limit", "cursor"}

	namespaceParams = []string{"consistency", "max_staleness", "min_revision", "revision", "recursive", "limit", "cursor"}
	auditParams     = []string{"consistency", "max_staleness", "min_revision", "principal", "path", "action", "outcome", "since", "until", "limit", "cursor"}
	memberParams    = []string{"consistency", "max_staleness", "min_revision"}
	whoParams       = []string{"consistency", "max_staleness", "min_revision"}
)

// maxParams is how many parameters a route has at most.
const maxParams = 11

// query holds a request's parameters by their position in the route's list.
type query struct {
	names  []string
	values [maxParams]string
	set    [maxParams]bool
}

// parseQuery reads a query string strictly: a parameter that the route does not
// know, or one given twice, is an error, so that a misspelt one is never ignored.
func parseQuery(raw string, names []string) (query, error) {
	q := query{names: names}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		if strings.Contains(pair, ";") { // once a separator; net/url refuses it too
			return query{}, invalidParameter(name, "or its value holds a semicolon: write it as %3B")
		}
		name, err := url.QueryUnescape(name)
		if err != nil {
			return query{}, invalidParameter(name, "name is not escaped rightly")
		}
		i := slices.Index(names, name)
		if i < 0 {
			return query{}, invalidParameter(name, "is not known here; known are: "+knownNames(names))
		}
		if q.set[i] {
			return query{}, invalidParameter(name, "is given twice")
		}
		q.set[i] = true
		if q.values[i], err = url.QueryUnescape(value); err != nil {
			return query{}, invalidParameter(name, "value is not escaped rightly")
		}
	}
	return q, nil
}

func knownNames(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func (q *query) get(name string) (string, bool) {
	i := slices.Index(q.names, name)
	if i < 0 {
		return "", false
	}
	return q.values[i], q.set[i]
}

// consistency is what a read asks for.
type consistency uint8

const (
	bounded consistency = iota
	linearizable
	local
)

// freshness is a read's consistency with, for bounded, the bound; and which revision
// it reads, or waits for.
type freshness struct {
	consistency  consistency
	maxStaleness time.Duration
	past         bool // it reads revision at, not the newest
	at           fsm.Revision
	min          fsm.Revision // it waits until that is applied here
	// dated: it reads, unless past, what was there at moment, and the answer tells of when it is.
	dated  bool
	moment time.Time
}

// freshness reads consistency, max_staleness, min_revision and revision; def is the bound if none is named.
func (q *query) freshness(def time.Duration) (freshness, error) {
	f := freshness{maxStaleness: def}
	var err error
	if f.at, f.past, err = q.revision("revision"); err != nil {
		return f, err
	}
	if f.min, _, err = q.revision("min_revision"); err != nil {
		return f, err
	}
	if v, ok := q.get("consistency"); ok {
		switch v {
		case "bounded":
		case "linearizable":
			f.consistency = linearizable
		case "local":
			f.consistency = local
		default:
			return f, invalidParameter("consistency", "is "+strconv.Quote(v)+", want linearizable, bounded or local")
		}
	}
	v, ok := q.get("max_staleness")
	if !ok {
		return f, nil
	}
	if f.consistency != bounded {
		return f, invalidParameter("max_staleness", "contradicts consistency: only a bounded read has a bound")
	}
	d, err := parseSeconds(v)
	if err != nil || d <= 0 || d > MaxMaxStaleness {
		return f, invalidParameter("max_staleness", fmt.Sprintf(
			"is %q, want seconds (2.5) or a duration (500ms) above 0 and at most %v", v, MaxMaxStaleness))
	}
	f.maxStaleness = d
	return f, nil
}

// revision reads a parameter that names a revision; false if it is not given, or not known here.
func (q *query) revision(name string) (fsm.Revision, bool, error) {
	v, ok := q.get(name)
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, false, invalidParameter(name, "is "+strconv.Quote(v)+", want a number: a revision")
	}
	return fsm.Revision(n), true, nil
}

// duration reads a parameter that is a time from least to most; false if it is not given.
func (q *query) duration(name string, least, most time.Duration) (time.Duration, bool, error) {
	v, ok := q.get(name)
	if !ok {
		return 0, false, nil
	}
	d, err := parseSeconds(v)
	if err != nil || d < least || d > most {
		return 0, false, invalidParameter(name, fmt.Sprintf(
			"is %q, want seconds (2.5) or a duration (500ms) from %v to %v", v, least, most))
	}
	return d, true, nil
}

// flag reads a parameter that is true or false, which it is if it is not given.
func (q *query) flag(name string) (bool, error) {
	v, ok := q.get(name)
	if ok && v != "true" && v != "false" {
		return false, invalidParameter(name, "is "+strconv.Quote(v)+", want true or false")
	}
	return v == "true", nil
}

// parseSeconds reads a duration as Go spells it, or a plain number of seconds.
func parseSeconds(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return d, nil
	}
	return time.ParseDuration(s + "s")
}

// listing is what a listing asks for.
type listing struct {
	recursive bool
	tree      bool // nested in one document
	paging
}

// scope names a listing of t in its cursors.
func (l *listing) scope(t target) string {
	if l.recursive {
		return "keys " + t.String()
	}
	return "children " + t.String()
}

// listing reads what is asked for. A cursor says which revision f reads.
func (q *query) listing(t target, f *freshness) (listing, error) {
	var l listing
	var err error
	if l.recursive, err = q.flag("recursive"); err != nil {
		return l, err
	}
	if l.tree, err = q.tree(l.recursive); err != nil {
		return l, err
	}
	l.paging, err = q.paging(l.scope(t), f)
	return l, err
}

// tree reads format of a listing.
func (q *query) tree(recursive bool) (bool, error) {
	v, ok := q.get("format")
	switch {
	case !ok:
		return false, nil
	case v != "tree":
		return false, invalidParameter("format", "is "+quote(v)+", want tree")
	case !recursive:
		return false, invalidParameter("format", "is tree, which takes recursive=true: it shows all that is below")
	}
	for _, name := range [...]string{"limit", "cursor"} {
		if _, ok := q.get(name); ok {
			return false, invalidParameter(name, "contradicts format=tree, which has no pages")
		}
	}
	return true, nil
}

// paging is what a route that gives out pages asks for beside what it shows.
type paging struct {
	limit   int
	after   string // where the page before ended; "" for the first page
	resumed bool
}

// paging reads limit and cursor of a query over scope. A cursor says which revision f reads.
func (q *query) paging(scope string, f *freshness) (paging, error) {
	p := paging{limit: DefaultPage}
	if v, ok := q.get("limit"); ok {
		n, err := strconv.ParseUint(v, 10, 32) // which takes no sign, as of revisions
		if err != nil || n < 1 || n > MaxPage {
			return p, invalidParameter("limit", fmt.Sprintf("is %q, want a number from 1 to %d", v, MaxPage))
		}
		p.limit = int(n)
	}
	if v, ok := q.get("cursor"); ok {
		c, err := parseCursor(v, scope)
		if err != nil {
			return p, err
		}
		if f.past && f.at != c.revision {
			name := "revision"
			if _, ok := q.get("to"); ok { // of a diff
				name = "to"
			}
			return p, invalidParameter(name, fmt.Sprintf("contradicts cursor, which is of revision %d: leave it out", c.revision))
		}
		p.after, p.resumed = c.last, true
		f.past, f.at = true, c.revision
	}
	return p, nil
}
