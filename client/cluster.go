package client

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
)

// Cluster is the cluster as one node sees it.
type Cluster struct {
	Node         string   `json:"node"`
	Role         string   `json:"role"`
	Leader       string   `json:"leader"`
	Term         uint64   `json:"term"`
	Revision     uint64   `json:"revision"`
	AppliedIndex uint64   `json:"applied_index"`
	CommitIndex  uint64   `json:"commit_index"`
	StateHash    string   `json:"state_hash"`
	Staleness    *float64 `json:"staleness"` // seconds; nil: not known
	// Release is the program's version; "": not known.
	Release string `json:"release"`
	// CommandVersion is the newest version of commands that the node's program knows, ActiveVersion what the
	// cluster uses.
	CommandVersion int    `json:"command_version"`
	ActiveVersion  int    `json:"active_version"`
	Uptime         uint64 `json:"uptime"` // seconds
	StoreBytes     int64  `json:"store_bytes"`
	LogBytes       int64  `json:"log_bytes"`
	Draining       bool   `json:"draining"`
	// Ready tells whether the node should get requests; its /health/ready says why not.
	Ready   bool     `json:"ready"`
	Members []Member `json:"members"`
}

// Member is a node as another one sees it.
type Member struct {
	ID        string `json:"id"`
	RaftID    uint64 `json:"raft_id"`
	Address   string `json:"address"`
	APIPort   int    `json:"api_port"`
	RaftPort  int    `json:"raft_port"`
	Role      string `json:"role"`
	Reachable *bool  `json:"reachable"` // nil: not known
	Part
	// What the leader knows of the others, and of nobody else: up to where they have the log, how many committed
	// entries they lack, and whether a learner could become a voter.
	MatchIndex *uint64 `json:"match_index"`
	Lag        *uint64 `json:"lag"`
	CaughtUp   *bool   `json:"caught_up"`
}

// Part is what part a member takes, and is to take.
type Part struct {
	// Membership is voter, learner, leaving (its vote counts until the change that is under way has ended) or
	// seat (it takes no part yet); Wanted is voter, learner or gone.
	Membership string `json:"membership"`
	Wanted     string `json:"wanted"`
	// Replaces is the raft id of the member that leaves when this one becomes a voter; nil: none.
	Replaces *uint64 `json:"replaces"`
	// CommandVersion is the newest version of commands that its program knows.
	CommandVersion int `json:"command_version"`
}

// Settled tells whether the member is what it is to be.
func (p *Part) Settled() bool { return p.Membership == p.Wanted && p.Replaces == nil }

// Cluster asks one endpoint, once: what another would say is another view.
func (c *Client) Cluster(ctx context.Context, address string) (Cluster, error) {
	var view Cluster
	u, err := parseEndpoint(address)
	if err != nil {
		return view, err
	}
	r := &request{method: http.MethodGet, path: base + "/cluster", timeout: c.opts.AttemptTimeout}
	f := c.attempt(ctx, &endpoint{url: u}, r, func(resp *http.Response) error { return readJSON(resp, &view) })
	if f != nil {
		return view, &Error{Endpoint: u, Attempts: 1, Err: f.err}
	}
	return view, nil
}

// Drained is what a node says that drains, or does not any more.
type Drained struct {
	Node     string `json:"node"`
	Draining bool   `json:"draining"`
	// Leads: it is the leader still, since no other one took over in time; it goes on trying.
	Leads  bool   `json:"leads"`
	Leader string `json:"leader"`
}

// Drain has the node at an endpoint be ready no more, and lead no more if another one can; or, with on false, be as
// before. It is asked once. Errors: *Error.
func (c *Client) Drain(ctx context.Context, address string, on bool) (Drained, error) {
	var out Drained
	u, err := parseEndpoint(address)
	if err != nil {
		return out, err
	}
	r := &request{
		method: http.MethodPost, path: base + "/cluster/drain", timeout: c.opts.AttemptTimeout,
		header: http.Header{"Content-Type": {TypeJSON}}, body: strconv.AppendBool([]byte(`{"on":`), on),
	}
	r.body = append(r.body, '}')
	f := c.attempt(ctx, &endpoint{url: u}, r, func(resp *http.Response) error { return readJSON(resp, &out) })
	if f != nil {
		return out, &Error{Endpoint: u, Attempts: 1, Outcome: f.outcome, Err: f.err}
	}
	return out, nil
}

// TransferLeadership has the leader hand over to the voter called to, or, if that is "", to the one that is best able to. It
// returns who leads then. The leader must be among the endpoints. Errors: *Error; IsNotFound tells that there is no
// such voter.
func (c *Client) TransferLeadership(ctx context.Context, to string) (leader string, err error) {
	body, err := json.Marshal(map[string]string{"to": to})
	if err != nil {
		return "", err
	}
	r := &request{method: http.MethodPost, path: base + "/cluster/transfer-leadership", header: http.Header{"Content-Type": {TypeJSON}}, body: body}
	var out struct {
		Leader string `json:"leader"`
	}
	err = c.do(ctx, r, func(resp *http.Response) error { return readJSON(resp, &out) })
	return out.Leader, err
}
