package client

import (
	"context"
	"net/http"
)

// WhoAmI is who the caller is to the cluster, and what it may do.
type WhoAmI struct {
	// Principal is the caller as it is bound, and denied.
	Principal string `json:"principal"`
	// Kind is anonymous, user, app or certificate.
	Kind string `json:"kind"`
	// Roles and Groups are those that the token names, as they are bound.
	Roles  []string `json:"roles"`
	Groups []string `json:"groups"`
	Grants []Grant  `json:"grants"`
	// Denied: it may do nothing, whatever it is bound to.
	Denied bool `json:"denied"`
	// AuthorizationRequired: somebody administers the cluster; else anonymous callers may do everything.
	AuthorizationRequired bool `json:"authorization_required"`
}

// Grant is what may be done to all that is below a path; "/" is everything.
type Grant struct {
	Path  string   `json:"path"`
	Verbs []string `json:"verbs"`
}

// WhoAmI asks who the caller is, and what it may do where. It takes no permission. Errors: *RequestError,
// *Error.
func (c *Client) WhoAmI(ctx context.Context, o ReadOptions) (WhoAmI, Meta, error) {
	var (
		who  WhoAmI
		meta Meta
	)
	if err := o.newest(); err != nil {
		return who, meta, err
	}
	r := &request{method: http.MethodGet, path: base + "/whoami", query: o.query().Encode(), reads: true, min: o.MinRevision}
	err := c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, &who)
	})
	return who, meta, err
}
