package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// WriteOptions are conditions and remarks of a write. IfRevision, IfAbsent and
// IfPresent exclude each other.
type WriteOptions struct {
	// IfRevision demands that the key's last change was at that revision; zero: no demand.
	IfRevision uint64
	// IfAbsent demands that the key has no value, IfPresent that it has one.
	IfAbsent, IfPresent bool
	// Comment says why; it goes into the change log.
	Comment string
	// IdempotencyKey names the write: writes of the same request under one name are applied
	// once within 10 minutes, whoever sends them, and each gets the first one's answer
	// (Meta.Replayed). "": it gets a random one, so that all attempts of this call count as
	// one. See CheckIdempotencyKey.
	IdempotencyKey string
	// NoIdempotencyKey sends none: a write whose outcome is unknown is then not sent again.
	NoIdempotencyKey bool
}

func (o *WriteOptions) header() http.Header {
	h := http.Header{}
	switch {
	case o.IfRevision != 0:
		h["If-Match"] = []string{`"` + strconv.FormatUint(o.IfRevision, 10) + `"`}
	case o.IfAbsent:
		h["If-None-Match"] = []string{"*"}
	case o.IfPresent:
		h["If-Match"] = []string{"*"}
	}
	if o.Comment != "" {
		h["Confman-Comment"] = []string{o.Comment}
	}
	return h
}

// Written is what a write did.
type Written struct {
	Path string `json:"path"`
	// ContentType is the type under which a value was put.
	ContentType string `json:"content_type,omitempty"`
	// Revision is that of the key's last change.
	Revision uint64 `json:"revision"`
	// Created: there was no value; Changed: what is stored is not what was.
	Created bool `json:"created"`
	Changed bool `json:"changed"`
}

// Put stores value at key. With contentType "" the node takes it as JSON if it
// parses, else as text if it is UTF-8, else as octets. Errors: *KeyError, *RequestError,
// *Error; IsConflict tells whether a condition did not hold.
func (c *Client) Put(ctx context.Context, key string, value []byte, contentType string, o WriteOptions) (Written, Meta, error) {
	h := o.header()
	if contentType != "" {
		h["Content-Type"] = []string{contentType}
	}
	if value == nil {
		value = []byte{}
	}
	return c.write(ctx, &request{method: http.MethodPut, header: h, body: value}, key, o)
}

// PatchType is how a patch is written.
type PatchType string

// The types of patch.
const (
	// MergePatch is a JSON Merge Patch (RFC 7396): members that replace those of the same
	// name, null for those to remove.
	MergePatch PatchType = "application/merge-patch+json"
	// JSONPatch is a JSON Patch (RFC 6902): a list of operations.
	JSONPatch PatchType = "application/json-patch+json"
)

// Patch changes the JSON value at key in part. The node evaluates the patch on the newest
// value, again if others change it meanwhile. Errors as of Put; IsNotFound tells whether
// there is no value.
func (c *Client) Patch(ctx context.Context, key string, patch []byte, t PatchType, o WriteOptions) (Written, Meta, error) {
	h := o.header()
	h["Content-Type"] = []string{string(t)}
	if patch == nil {
		patch = []byte{}
	}
	return c.write(ctx, &request{method: http.MethodPatch, header: h, body: patch}, key, o)
}

// Delete takes key's value away. Errors as of Put; IsNotFound tells whether there was none.
func (c *Client) Delete(ctx context.Context, key string, o WriteOptions) (Written, Meta, error) {
	return c.write(ctx, &request{method: http.MethodDelete, header: o.header()}, key, o)
}

// DeleteTreeOptions are remarks of the removal of a subtree.
type DeleteTreeOptions struct {
	// Chunked allows several transactions, for subtrees that are too large for one
	// (10,000 keys or 32 MiB): others see parts of the subtree meanwhile, and a key that comes to be
	// while that goes on may stay.
	Chunked bool
	// The rest is as in WriteOptions. What is chunked has no idempotency key.
	Comment          string
	IdempotencyKey   string
	NoIdempotencyKey bool
}

// Removed is what the removal of a subtree did.
type Removed struct {
	Path string `json:"path"`
	// Revision is that of the removal, or of its last transaction.
	Revision uint64 `json:"revision"`
	// Removed counts the keys, Transactions what it took.
	Removed      int `json:"removed"`
	Transactions int `json:"transactions"`
}

// DeleteTree removes every key below prefix, which ends in "/", or is "" or "/" for all keys. Errors as of
// Put; IsNotFound tells whether there was none.
func (c *Client) DeleteTree(ctx context.Context, prefix string, o DeleteTreeOptions) (Removed, Meta, error) {
	var (
		out  Removed
		meta Meta
	)
	key, err := CheckPrefix(prefix)
	if err != nil {
		return out, meta, err
	}
	q := url.Values{"recursive": {"true"}}
	if o.Chunked {
		q.Set("chunked", "true")
	}
	w := WriteOptions{Comment: o.Comment}
	r := &request{method: http.MethodDelete, path: subtreePath("/config", key), query: q.Encode(), header: w.header()}
	if o.Chunked {
		r.timeout = ChunkedTimeout
	}
	if err := r.once(o.IdempotencyKey, o.NoIdempotencyKey, o.Chunked); err != nil {
		return out, meta, err
	}
	err = c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &out)
	})
	return out, meta, err
}

func (c *Client) write(ctx context.Context, r *request, key string, o WriteOptions) (Written, Meta, error) {
	var (
		w    Written
		meta Meta
	)
	if err := CheckKey(key); err != nil {
		return w, meta, err
	}
	if err := r.once(o.IdempotencyKey, o.NoIdempotencyKey, false); err != nil {
		return w, meta, err
	}
	r.path = pathOf("/config", key)
	err := c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &w)
	})
	return w, meta, err
}
