package client

import (
	"context"
	"net/http"
)

// Verification is what a node found when it computed the chain of its history again.
type Verification struct {
	// Verified: every change from FromRevision to Revision is what was written then.
	Verified     bool   `json:"verified"`
	FromRevision uint64 `json:"from_revision"`
	Revision     uint64 `json:"revision"`
	// Changes counts them, Chain is the hash over all of them: it is the same on each node.
	Changes uint64 `json:"changes,omitempty"`
	Chain   string `json:"chain,omitempty"`
	// FirstBadRevision is the first change that is not what was written, and Reason what is
	// wrong with it, if not Verified.
	FirstBadRevision uint64 `json:"first_bad_revision,omitempty"`
	Reason           string `json:"reason,omitempty"`
}

// VerifyHistory has a node compute the hash chain of all changes that it holds again;
// Meta.Node says which: each has a history of its own. A history that is not what was
// written is not an error: see Verification.Verified. Errors: *Error.
func (c *Client) VerifyHistory(ctx context.Context) (Verification, Meta, error) {
	var (
		v    Verification
		meta Meta
	)
	r := &request{method: http.MethodGet, path: base + "/history/", query: "verify=true", timeout: VerifyTimeout}
	err := c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &v)
	})
	return v, meta, err
}
