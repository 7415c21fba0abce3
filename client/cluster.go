package client

import (
	"context"
	"net/http"
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
	Members      []Member `json:"members"`
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
}

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
