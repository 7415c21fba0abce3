package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Consistency is what a read asks for; "" leaves it to the node, which takes bounded.
type Consistency string

// The consistencies.
const (
	// Linearizable: the answer holds every write acknowledged before the request.
	Linearizable Consistency = "linearizable"
	// Bounded: the answer is at most MaxStaleness old.
	Bounded Consistency = "bounded"
	// Local: the answer is what the node has.
	Local Consistency = "local"
)

// ReadOptions says how fresh an answer must be, or of which revision.
type ReadOptions struct {
	Consistency Consistency
	// MaxStaleness is the bound of a bounded read; zero: the node's.
	MaxStaleness time.Duration
	// MinRevision waits until the node has applied that revision, such as that of a write;
	// zero: it does not wait. See Client.Session.
	MinRevision uint64
	// Revision reads what was there at that revision; zero: what is there now.
	Revision uint64
	// At reads what was there at that time, to the second: of a value, a listing or an export.
	// The times of changes are those of the nodes' clocks; see also Meta.AsOf.
	At time.Time
}

// header asks for a time (RFC 7089).
func (o *ReadOptions) header() (http.Header, error) {
	switch {
	case o.At.IsZero():
		return nil, nil
	case o.Revision != 0:
		return nil, &RequestError{"Revision and At contradict each other: give one"}
	}
	return http.Header{"Accept-Datetime": {o.At.UTC().Format(http.TimeFormat)}}, nil
}

// noTime refuses a time where only revisions are.
func (o *ReadOptions) noTime() error {
	if !o.At.IsZero() {
		return &RequestError{"At is of a value, a listing or an export: give a Revision"}
	}
	return nil
}

// newest refuses a past where there is none.
func (o *ReadOptions) newest() error {
	if o.Revision != 0 || !o.At.IsZero() {
		return &RequestError{"Revision and At are not of this request: it is of the newest state"}
	}
	return nil
}

func (o ReadOptions) query() url.Values {
	q := url.Values{}
	if o.Consistency != "" {
		q.Set("consistency", string(o.Consistency))
	}
	if o.MaxStaleness != 0 {
		q.Set("max_staleness", o.MaxStaleness.String())
	}
	if o.Revision != 0 {
		q.Set("revision", strconv.FormatUint(o.Revision, 10))
	}
	return q
}

// Get returns the record of key. IsNotFound tells whether an error says that it
// has none, IsCompacted that it asks for the past too long ago. Errors: *KeyError,
// *RequestError, *Error.
func (c *Client) Get(ctx context.Context, key string, o ReadOptions) (Record, Meta, error) {
	var (
		rec  Record
		meta Meta
	)
	if err := CheckKey(key); err != nil {
		return rec, meta, err
	}
	h, err := o.header()
	if err != nil {
		return rec, meta, err
	}
	r := &request{method: http.MethodGet, path: pathOf("/config", key), query: o.query().Encode(), header: h, reads: true, min: o.MinRevision}
	err = c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &rec)
	})
	return rec, meta, err
}

// Item is one of a listing: a key, a subtree, or both at once.
type Item struct {
	Record
	// HasValue: there is a value at the path, Subtree: there are keys below it.
	HasValue, Subtree bool
}

// UnmarshalJSON reads an item as the API spells it.
func (i *Item) UnmarshalJSON(text []byte) error {
	var j struct {
		recordJSON
		Subtree bool `json:"subtree"`
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*i = Item{HasValue: j.Value != nil, Subtree: j.Subtree}
	return i.from(&j.recordJSON)
}

// MarshalJSON spells the item as the API does.
func (i Item) MarshalJSON() ([]byte, error) {
	var b []byte
	if i.HasValue {
		b = i.append(nil, false)
		b = b[:len(b)-1]
	} else {
		b = appendString([]byte(`{"path":`), i.Path)
	}
	if i.Subtree {
		b = append(b, `,"subtree":true`...)
	}
	return append(b, '}'), nil
}

// ListOptions says what a listing holds.
type ListOptions struct {
	ReadOptions
	// Recursive lists all keys below, else what is directly below.
	Recursive bool
	// PageSize is how many are asked for at a time; zero: the node's choice.
	PageSize int
}

// List returns what is below prefix, in order of path, asking for page after
// page: all of them are of one revision, whatever is written meanwhile. After an error,
// which is a *KeyError, *RequestError or *Error, nothing follows.
func (c *Client) List(ctx context.Context, prefix string, o ListOptions) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		key, err := CheckPrefix(prefix)
		if err != nil {
			yield(Item{}, err)
			return
		}
		q := o.query()
		if o.Recursive {
			q.Set("recursive", "true")
		}
		h, err := o.header()
		if err != nil {
			yield(Item{}, err)
			return
		}
		r := request{path: subtreePath("/config", key), header: h, min: o.MinRevision}
		pages[Item](ctx, c, r, q, o.PageSize)(yield)
	}
}

// subtreePath is the escaped path of a subtree.
func subtreePath(route, key string) string {
	if key == "" {
		return base + route + "/"
	}
	return pathOf(route, key) + "/"
}
