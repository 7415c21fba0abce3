package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// ExportTree returns the subtree below prefix, and the value at prefix itself, as
// one JSON document of one revision. The caller closes it. A Read error that wraps
// ErrBrokenOff says that the rest is missing.
func (c *Client) ExportTree(ctx context.Context, prefix string, o ReadOptions) (io.ReadCloser, Meta, error) {
	return c.export(ctx, prefix, "tree", o)
}

// ExportRecords is ExportTree as lines, one record each.
func (c *Client) ExportRecords(ctx context.Context, prefix string, o ReadOptions) (io.ReadCloser, Meta, error) {
	return c.export(ctx, prefix, "ndjson", o)
}

func (c *Client) export(ctx context.Context, prefix, format string, o ReadOptions) (io.ReadCloser, Meta, error) {
	key, err := CheckPrefix(prefix)
	if err != nil {
		return nil, Meta{}, err
	}
	q := o.query()
	q.Set("format", format)
	h, err := o.header()
	if err != nil {
		return nil, Meta{}, err
	}
	return c.open(ctx, &request{
		method: http.MethodGet, path: subtreePath("/export", key), query: q.Encode(), header: h, reads: true, min: o.MinRevision,
	})
}

// open sends r, and leaves the body of its answer to the caller, who closes it.
func (c *Client) open(ctx context.Context, r *request) (io.ReadCloser, Meta, error) {
	var (
		out  io.ReadCloser
		meta Meta
	)
	r.stream = true
	err := c.do(ctx, r, func(resp *http.Response) error {
		out, meta = resp.Body, metaOf(resp.Header)
		return nil
	})
	return out, meta, err
}

// Export returns the records of the subtree below prefix, and of prefix itself,
// in order of path and of one revision. After an error nothing follows: *KeyError,
// *RequestError, *Error, or one that wraps ErrBrokenOff or ErrAnswer.
func (c *Client) Export(ctx context.Context, prefix string, o ReadOptions) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		src, _, err := c.ExportRecords(ctx, prefix, o)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer src.Close()
		for line, err := range readLines(src) {
			var rec Record
			if err == nil {
				if err = json.Unmarshal(line.text, &rec); err != nil {
					err = fmt.Errorf("%w: %w", ErrAnswer, err)
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}
