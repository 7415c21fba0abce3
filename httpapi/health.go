package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/confman/confman/node"
)

// live answers whether the process works at all: a node that has stopped should
// be started again.
func (c *call) live() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	select {
	case <-c.api.Node.Done():
		return problemf(kindStopping, "the node has stopped; its log says why")
	default:
	}
	c.buf = append(c.buf, `{"status":"live"}`+"\n"...)
	c.sendHealth()
	return nil
}

// ready answers whether the node should get requests, and if not, why.
func (c *call) ready() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	if reasons := c.notReady(); len(reasons) > 0 {
		return problemf(kindNotReady, "%s", strings.Join(reasons, "; ")).with("reasons", reasons)
	}
	c.buf = append(c.buf, `{"status":"ready"}`+"\n"...)
	c.sendHealth()
	return nil
}

func (c *call) notReady() []string {
	var reasons []string
	select {
	case <-c.api.Node.Done():
		return []string{"the node has stopped"}
	default:
	}
	if c.api.draining.Load() {
		reasons = append(reasons, "the node is shutting down")
	}
	if c.api.Node.Draining() {
		reasons = append(reasons, "the node drains: confman cluster drain "+c.api.Name+" --off ends that")
	}
	s := c.api.Node.Status()
	bound := min(node.ReadyAge, c.api.MaxStaleness)
	switch {
	case s.Ready && s.Staleness <= bound, len(reasons) > 0 && s.Fresh && s.Staleness <= bound:
	case s.Joining:
		reasons = append(reasons, "the node is joining the cluster: "+strings.Join(s.Waiting, ", "))
	case !s.Formed && len(s.Waiting) > 0:
		reasons = append(reasons, "the cluster is not formed yet: waiting for "+strings.Join(s.Waiting, ", "))
	case !s.Formed:
		reasons = append(reasons, "the cluster is not formed yet")
	case s.Damage != nil:
		reasons = append(reasons, "the node's database comes from another node, and is not here yet")
	case s.Leader == 0:
		reasons = append(reasons, "no leader is known")
	case s.Fresh:
		reasons = append(reasons, fmt.Sprintf("a quorum last confirmed this node's state %v ago, more than %v", s.Staleness, bound))
	default:
		reasons = append(reasons, "no quorum has confirmed this node's state yet")
	}
	return reasons
}

func (c *call) sendHealth() {
	c.w.Header()["Cache-Control"] = noStoreHeader
	s := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standingOf(&s), &s)
}
