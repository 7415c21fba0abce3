package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The query parameters of each route.
var (
	noParams     = []string{}
	keyParams    = []string{"consistency", "max_staleness"}
	listParams   = []string{"consistency", "max_staleness", "recursive", "limit", "cursor"}
	exportParams = []string{"consistency", "max_staleness", "format"}
	importParams = []string{"escape", "file"}
)

// query holds a request's parameters by their position in the route's list.
type query struct {
	names  []string
	values [5]string
	set    [5]bool
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
	return q.values[i], q.set[i]
}

// consistency is what a read asks for.
type consistency uint8

const (
	bounded consistency = iota
	linearizable
	local
)

// freshness is a read's consistency with, for bounded, the bound.
type freshness struct {
	consistency  consistency
	maxStaleness time.Duration
}

// freshness reads consistency and max_staleness; def is the bound if none is named.
func (q *query) freshness(def time.Duration) (freshness, error) {
	f := freshness{maxStaleness: def}
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
	limit     int
	after     string // the last key, or name, of the page before; "" for the first page
	resumed   bool
}

func (q *query) listing(t target) (listing, error) {
	l := listing{limit: DefaultPage}
	if v, ok := q.get("recursive"); ok {
		switch v {
		case "true":
			l.recursive = true
		case "false":
		default:
			return l, invalidParameter("recursive", "is "+strconv.Quote(v)+", want true or false")
		}
	}
	if v, ok := q.get("limit"); ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > MaxPage {
			return l, invalidParameter("limit", fmt.Sprintf("is %q, want a number from 1 to %d", v, MaxPage))
		}
		l.limit = n
	}
	if v, ok := q.get("cursor"); ok {
		after, err := parseCursor(v, t, l.recursive)
		if err != nil {
			return l, err
		}
		l.after, l.resumed = after, true
	}
	return l, nil
}
