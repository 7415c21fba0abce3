package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// Event is what one write did to one key.
type Event struct {
	// Record is what was put; of a delete only its Path, Revision, ModifiedAt and
	// ModifiedBy are set.
	Record
	Deleted   bool
	Comment   string // why, as the writer said
	RequestID string
	Source    string // the address the write came from; "": not known
}

// eventJSON is what an event has beside its record, as the API spells it.
type eventJSON struct {
	Action    string `json:"action"`
	Comment   string `json:"comment,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Source    string `json:"source,omitempty"`
}

// UnmarshalJSON reads an event as the API spells it.
func (e *Event) UnmarshalJSON(text []byte) error {
	var j struct {
		recordJSON
		eventJSON
	}
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*e = Event{Deleted: j.Action == "delete", Comment: j.Comment, RequestID: j.RequestID, Source: j.Source}
	return e.from(&j.recordJSON)
}

// MarshalJSON spells the event as the API does.
func (e Event) MarshalJSON() ([]byte, error) {
	j := eventJSON{Action: "put", Comment: e.Comment, RequestID: e.RequestID, Source: e.Source}
	b := e.append(nil, false)
	if e.Deleted {
		j.Action = "delete"
		b = append(appendString([]byte(`{"path":`), e.Path), e.changed()...)
	}
	rest, err := json.Marshal(j)
	return append(append(b[:len(b)-1], ','), rest[1:]...), err
}

// changed is when and by whom, without what only a record has.
func (e *Event) changed() string {
	at, err := json.Marshal(e.ModifiedAt.UTC())
	if err != nil { // a year that no node's clock has
		at = []byte("null")
	}
	return `,"revision":` + strconv.FormatUint(e.Revision, 10) + `,"modified_at":` + string(at) +
		`,"modified_by":` + string(appendString(nil, e.ModifiedBy)) + "}"
}

// HistoryOptions says which events a history holds.
type HistoryOptions struct {
	ReadOptions
	// PageSize is how many are asked for at a time; zero: the node's choice.
	PageSize int
}

// History returns what happened to the key path, or below it if it ends in a slash or is
// the root "", newest first, up to o.Revision if that is set. The pages it asks for are all
// of one revision. After an error, which is a *KeyError, *RequestError or *Error, nothing
// follows.
func (c *Client) History(ctx context.Context, path string, o HistoryOptions) iter.Seq2[Event, error] {
	return pagesOf[Event](ctx, c, "/history", path, o.query(), &o.ReadOptions, o.PageSize)
}

// Difference is a key that is not what it was.
type Difference struct {
	Path string `json:"path"`
	// Action is added, changed or removed.
	Action string  `json:"action"`
	Before *Record `json:"before,omitempty"`
	After  *Record `json:"after,omitempty"`
}

// DiffOptions says what is compared.
type DiffOptions struct {
	ReadOptions // of the newer side; its Revision is To
	// From is the revision to compare with; zero is the empty store.
	From uint64
	// PageSize is how many are asked for at a time; zero: the node's choice.
	PageSize int
}

// Diff returns how the key path, or what is below it if it ends in a slash or is the root
// "", differs from what it was at revision o.From, in order of path. After an error, which
// is a *KeyError, *RequestError or *Error, nothing follows.
func (c *Client) Diff(ctx context.Context, path string, o DiffOptions) iter.Seq2[Difference, error] {
	q := o.query()
	if q.Has("revision") {
		q.Set("to", q.Get("revision"))
		q.Del("revision")
	}
	q.Set("from", strconv.FormatUint(o.From, 10))
	return pagesOf[Difference](ctx, c, "/diff", path, q, &o.ReadOptions, o.PageSize)
}

// pagesOf asks for page after page of a route that has revisions and no times.
func pagesOf[T any](ctx context.Context, c *Client, route, path string, q url.Values, o *ReadOptions, size int) iter.Seq2[T, error] {
	r := request{min: o.MinRevision}
	var err error
	if r.path, err = pathOrSubtree(route, path); err == nil {
		err = o.noTime()
	}
	if err != nil {
		return failed[T](err)
	}
	return pages[T](ctx, c, r, q, size)
}

// failed is a sequence of nothing but an error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

// pages sends r again and again, for page after page.
func pages[T any](ctx context.Context, c *Client, r request, q url.Values, size int) iter.Seq2[T, error] {
	r.method, r.reads = http.MethodGet, true
	if size != 0 {
		q.Set("limit", strconv.Itoa(size))
	}
	return func(yield func(T, error) bool) {
		var none T
		q.Del("cursor") // of an earlier walk
		for {
			var page struct {
				Items      []T    `json:"items"`
				NextCursor string `json:"next_cursor"`
			}
			r.query = q.Encode()
			err := c.do(ctx, &r, func(resp *http.Response) error {
				page.Items, page.NextCursor = nil, ""
				return readJSON(resp, &page)
			})
			if err != nil {
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			q.Set("cursor", page.NextCursor)
		}
	}
}

// pathOrSubtree is the escaped path of a key, or of a subtree if path ends in a slash or is empty.
func pathOrSubtree(route, path string) (string, error) {
	if isSubtree(path) {
		key, err := CheckPrefix(path)
		return subtreePath(route, key), err
	}
	return pathOf(route, path), CheckKey(path)
}
