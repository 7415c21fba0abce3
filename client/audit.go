package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// AuditRow is a change, or something that was denied.
type AuditRow struct {
	// Time is by the clock of the node that accepted the change, or denied it. Those of changes never
	// go back, but all nodes have the rows in the same order whatever their clocks say.
	Time time.Time `json:"time"`
	// ClusterTime is how many seconds had passed for the cluster since it was formed, which no clock
	// that is set can change.
	ClusterTime float64 `json:"cluster_time"`
	// Outcome is applied or denied.
	Outcome string `json:"outcome"`
	// Revision is that of the change; or the one that the store had when it was told of what was denied.
	Revision uint64 `json:"revision"`
	// Principal is who; "": not known. Comment is why, as they said.
	Principal string `json:"principal,omitempty"`
	Comment   string `json:"comment,omitempty"`
	RequestID string `json:"request_id,omitempty"`
	Source    string `json:"source,omitempty"`
	// Changes are what was done, of what was asked for.
	Changes []AuditChange `json:"changes,omitempty"`

	// The rest is of what was denied: denied-read, denied-write or denied-access; which verbs were
	// lacking where; why.
	Action string   `json:"action,omitempty"`
	Verbs  []string `json:"verbs,omitempty"`
	Path   string   `json:"path,omitempty"`
	Reason string   `json:"reason,omitempty"`
	// Count is how many times, from First to Last; what is said of the request is of the first.
	Count uint64    `json:"count,omitempty"`
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Node denied it; "": it was denied where it would have been applied.
	Node string `json:"node,omitempty"`
}

// AuditChange is what a change did to one key or namespace.
type AuditChange struct {
	Path string `json:"path"`
	// Action is put, delete, namespace-put, namespace-delete or restored; or member-add, member-promote, member-remove,
	// member-replace or upgrade-finalize.
	Action string `json:"action"`
	// Members are those that an operation was on, with commas.
	Members string `json:"members,omitempty"`
	// OldRevision is that of what was there before, Revision of what is there since; 0: nothing.
	OldRevision uint64 `json:"old_revision"`
	Revision    uint64 `json:"revision"`
}

// AuditOptions says which rows an audit holds; the zero value of a field leaves none out.
type AuditOptions struct {
	// ReadOptions have no Revision or At here: see Since and Until.
	ReadOptions
	// Principal is who, as in user:issuer/tenant/id, or anonymous.
	Principal string
	// Path is a key or, with a slash at its end, all that is below it. What else a change did is left out.
	Path string
	// Action is one of AuditRow.Action and AuditChange.Action, Outcome one of AuditRow.Outcome.
	Action, Outcome string
	Since, Until    time.Time
	// PageSize is how many are asked for at a time; zero: the node's choice.
	PageSize int
}

func (o *AuditOptions) values() (url.Values, error) {
	if err := o.newest(); err != nil {
		return nil, err
	}
	if _, err := pathOrSubtree("", o.Path); err != nil {
		return nil, err
	}
	q := o.query()
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("principal", o.Principal)
	set("path", o.Path)
	set("action", o.Action)
	set("outcome", o.Outcome)
	for name, t := range map[string]time.Time{"since": o.Since, "until": o.Until} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return q, nil
}

// Audit returns who did what, and what was denied to whom, newest first. After an error, which is a *KeyError,
// *RequestError or *Error, nothing follows.
func (c *Client) Audit(ctx context.Context, o AuditOptions) iter.Seq2[AuditRow, error] {
	q, err := o.values()
	if err != nil {
		return failed[AuditRow](err)
	}
	return pages[AuditRow](ctx, c, request{path: base + "/audit", min: o.MinRevision}, q, o.PageSize)
}

// ExportAudit returns the same as lines, one row each, of one state. The caller closes it. A Read error that
// wraps ErrBrokenOff says that the rest is missing.
func (c *Client) ExportAudit(ctx context.Context, o AuditOptions) (io.ReadCloser, Meta, error) {
	q, err := o.values()
	if err != nil {
		return nil, Meta{}, err
	}
	return c.open(ctx, &request{
		method: http.MethodGet, path: base + "/audit", query: q.Encode(), header: http.Header{"Accept": {"application/x-ndjson"}},
		reads: true, min: o.MinRevision,
	})
}
