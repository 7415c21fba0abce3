package client

import (
	"context"
	"net/http"
	"strconv"
)

// RollbackOptions are remarks of a rollback.
type RollbackOptions struct {
	// Chunked allows several transactions, for subtrees that are too large for one (10,000
	// keys or 32 MiB): others see parts of it meanwhile.
	Chunked bool
	// The rest is as in WriteOptions. What is chunked has no idempotency key.
	Comment          string
	IdempotencyKey   string
	NoIdempotencyKey bool
}

// RolledBack is what a rollback did.
type RolledBack struct {
	Path       string `json:"path"`
	ToRevision uint64 `json:"to_revision"`
	// Revision is that of the rollback, or of its last transaction.
	Revision uint64 `json:"revision"`
	// Restored counts the keys that have their value of then again, Removed those that had none.
	Restored int `json:"restored"`
	Removed  int `json:"removed"`
	// Changed: something was not as it was then.
	Changed      bool `json:"changed"`
	Transactions int  `json:"transactions"`
}

// Rollback makes the key path, or what is below it if it ends in a slash or is the root "",
// what it was at a revision. That is a change like others: what was there meanwhile stays in
// the history. IsCompacted tells whether the revision is too long ago. Errors as of Put.
func (c *Client) Rollback(ctx context.Context, path string, toRevision uint64, o RollbackOptions) (RolledBack, Meta, error) {
	var (
		out  RolledBack
		meta Meta
	)
	target, err := pathOrSubtree("/rollback", path)
	if err != nil {
		return out, meta, err
	}
	w := WriteOptions{Comment: o.Comment}
	r := &request{method: http.MethodPost, path: target, header: w.header()}
	r.body = append(strconv.AppendUint([]byte(`{"to_revision":`), toRevision, 10), '}')
	r.header["Content-Type"] = []string{TypeJSON}
	if o.Chunked {
		r.query, r.timeout = "chunked=true", ChunkedTimeout
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
