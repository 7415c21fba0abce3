package client

import (
	"context"
	"encoding/json"
	"net/http"
)

// Members are who takes part, and is to, by the replicated state.
type Members struct {
	Revision uint64 `json:"revision"`
	// ActiveVersion is the version of commands that the cluster uses.
	ActiveVersion int `json:"active_version"`
	// Changing: a change of the voters is under way, and two majorities must agree.
	Changing bool `json:"changing"`
	// Items are in order of name. While one member replaces another the two have one name.
	Items []Seated `json:"items"`
}

// Seated is a member by the replicated state.
type Seated struct {
	ID       string `json:"id"`
	RaftID   uint64 `json:"raft_id"`
	Address  string `json:"address"` // "": not known
	APIPort  int    `json:"api_port"`
	RaftPort int    `json:"raft_port"`
	Part
	// Seat is what its node joins by, if that did not yet.
	Seat string `json:"seat"`
}

// Members lists who takes part, and is to. Errors as of Get.
func (c *Client) Members(ctx context.Context, o ReadOptions) (Members, Meta, error) {
	var (
		out  Members
		meta Meta
	)
	r := &request{method: http.MethodGet, path: base + "/cluster/members", query: o.query().Encode(), reads: true, min: o.MinRevision}
	err := c.do(ctx, r, func(resp *http.Response) error {
		meta, out = metaOf(resp.Header), Members{}
		return readJSON(resp, &out)
	})
	return out, meta, err
}

// MemberSpec is a member to be: its name, and where it will listen.
type MemberSpec struct {
	ID       string `json:"id"`
	Address  string `json:"address,omitempty"` // a host name or an IP address
	APIPort  int    `json:"api_port,omitempty"`
	RaftPort int    `json:"raft_port,omitempty"`
}

// MemberOptions are remarks of an operation on members, as in WriteOptions.
type MemberOptions struct {
	Comment          string
	IdempotencyKey   string
	NoIdempotencyKey bool
}

// NewSeat is the seat of a member to be.
type NewSeat struct {
	ID     string `json:"id"`
	RaftID uint64 `json:"raft_id"`
	// Seat is what its node joins by, with an empty directory: confman serve --seat. It is no secret, and good for one.
	Seat     string `json:"seat"`
	Revision uint64 `json:"revision"`
	Changed  bool   `json:"changed"`
}

// AddMember makes a seat for a new member, which learns until it is promoted. Errors as of Put; IsConflict tells that
// there is one of that name.
func (c *Client) AddMember(ctx context.Context, m MemberSpec, o MemberOptions) (NewSeat, Meta, error) {
	var out NewSeat
	meta, err := c.onMembers(ctx, "/cluster/members", m, o, &out)
	return out, meta, err
}

// ReplaceMember makes a seat for who takes a member's place, under its name and another raft id: the way back of a node
// whose disk was lost. If m has no Address, it listens where the other one does. Errors as of Put; IsConflict tells
// that it is being replaced already, IsNotFound that there is none.
func (c *Client) ReplaceMember(ctx context.Context, m MemberSpec, o MemberOptions) (NewSeat, Meta, error) {
	var out NewSeat
	meta, err := c.onMembers(ctx, "/cluster/members/replace", m, o, &out)
	return out, meta, err
}

// MembersChanged is what an operation on members did: they are to be so. Members tells when they are.
type MembersChanged struct {
	IDs      []string `json:"ids"`
	Revision uint64   `json:"revision"`
	Changed  bool     `json:"changed"`
}

// PromoteMembers has learners become voters, each once it has caught up. Errors as of Put; IsNotFound tells that one is none.
func (c *Client) PromoteMembers(ctx context.Context, ids []string, o MemberOptions) (MembersChanged, Meta, error) {
	var out MembersChanged
	meta, err := c.onMembers(ctx, "/cluster/members/promote", map[string]any{"ids": ids}, o, &out)
	return out, meta, err
}

// RemoveMembers has members leave, all voters of them at once; of two of one name, the one that was to replace the other.
// evenFewer: also if less than three voters are left of three or more. Errors as of PromoteMembers; IsConflict tells that
// fewer could fail then than now.
func (c *Client) RemoveMembers(ctx context.Context, ids []string, evenFewer bool, o MemberOptions) (MembersChanged, Meta, error) {
	var out MembersChanged
	meta, err := c.onMembers(ctx, "/cluster/members/remove", map[string]any{"ids": ids, "even_fewer": evenFewer}, o, &out)
	return out, meta, err
}

// Finalized is the version of commands that the cluster uses.
type Finalized struct {
	ActiveVersion int    `json:"active_version"`
	Revision      uint64 `json:"revision"`
	Changed       bool   `json:"changed"`
}

// FinalizeUpgrade has the cluster use what the new release can; from then on it cannot go back to the one before. Errors
// as of Put; IsConflict tells that a member does not run it.
func (c *Client) FinalizeUpgrade(ctx context.Context, o MemberOptions) (Finalized, Meta, error) {
	var out Finalized
	meta, err := c.onMembers(ctx, "/cluster/finalize-upgrade", struct{}{}, o, &out)
	return out, meta, err
}

func (c *Client) onMembers(ctx context.Context, path string, body any, o MemberOptions, out any) (meta Meta, err error) {
	w := WriteOptions{Comment: o.Comment}
	r := &request{method: http.MethodPost, path: base + path, header: w.header()}
	if r.body, err = json.Marshal(body); err != nil {
		return meta, err
	}
	r.header["Content-Type"] = []string{TypeJSON}
	if err = r.once(o.IdempotencyKey, o.NoIdempotencyKey, false); err != nil {
		return meta, err
	}
	err = c.do(ctx, r, func(resp *http.Response) error {
		meta = metaOf(resp.Header)
		return readJSON(resp, out)
	})
	return meta, err
}
