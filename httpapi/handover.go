package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// transferLeadership answers POST /cluster/transfer-leadership: the leader hands over, to whom the body names or to
// who is best able to. Only the leader can; another node names it.
func (c *call) transferLeadership() error {
	b, err := c.maintenance(0, "to")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), HandOverWait)
	defer cancel()
	c.proposed = true
	err = c.api.Node.TransferLeadership(ctx, b.to)
	s := c.api.Node.Status()
	switch {
	case errors.Is(err, node.ErrNotLeader):
		p := problemf(kindNotLeader, "only the leader can hand over, and this node does not lead: ask %s", leaderOr(&s, "the one that does"))
		p.leader = s.Leader
		return p
	case errors.Is(err, node.ErrNoSuchVoter):
		return problemf(kindUnknownMember, "%s is no voter: only one that votes can lead; confman cluster shows those that there are", b.to)
	case errors.Is(err, context.DeadlineExceeded):
		p := problemf(kindNotHandedOver, "no other voter took over within %v: none may be there, or be up to date", HandOverWait)
		p.outcome = node.Unknown
		return p
	case err != nil:
		return err
	}
	c.api.Logger.Info("leadership was handed over, as somebody asked", slog.String("request_id", c.id),
		slog.String("principal", c.who.principal.String()), slog.String("leader", leaderName(&s, s.Leader)))
	c.buf = append(c.buf, `{"leader":`...)
	c.buf = appendNullable(c.buf, leaderName(&s, s.Leader))
	c.buf = append(c.buf, '}', '\n')
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standingOf(&s), &s)
	return nil
}

// drain answers POST /cluster/drain: this node is ready no more, and leads no more if another one can; or is again.
func (c *call) drain() error {
	b, err := c.maintenance(1, "on")
	if err != nil {
		return err
	}
	c.proposed = true
	if b.on {
		ctx, cancel := context.WithTimeout(c.r.Context(), HandOverWait)
		defer cancel()
		// That nobody takes over in time is an answer: it drains on.
		if err := c.api.Node.Drain(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	} else {
		c.api.Node.Undrain()
	}
	c.api.Logger.Info("draining was turned on or off, as somebody asked", slog.String("request_id", c.id),
		slog.String("principal", c.who.principal.String()), slog.Bool("draining", b.on))
	s := c.api.Node.Status()
	c.buf = append(c.buf, `{"node":`...)
	c.buf = appendString(c.buf, c.api.Name)
	c.buf = append(c.buf, `,"draining":`...)
	c.buf = strconv.AppendBool(c.buf, c.api.Node.Draining())
	c.buf = append(c.buf, `,"leads":`...)
	c.buf = strconv.AppendBool(c.buf, s.Role == node.Leader)
	c.buf = append(c.buf, `,"leader":`...)
	c.buf = appendNullable(c.buf, leaderName(&s, s.Leader))
	c.buf = append(c.buf, '}', '\n')
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standingOf(&s), &s)
	return nil
}

// maintenance is what requests that change nothing in the state begin with: their body, and whether the caller
// may make them.
func (c *call) maintenance(required int, known ...string) (*memberBody, error) {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return nil, err
	}
	body := c.body(MaxMemberBodyBytes)
	defer body.release()
	_, text, err := c.document(body, MaxMemberBodyBytes)
	if err != nil {
		return nil, err
	}
	b, fault := parseMembers(text, required, known...)
	if fault != nil {
		return nil, fault.problem(text, "")
	}
	c.need(fsm.VerbCluster, "")
	return b, c.mayPropose(nil)
}

func leaderOr(s *node.NodeStatus, nobody string) string {
	if name := leaderName(s, s.Leader); name != "" {
		return name
	}
	return nobody
}

// appendNullable appends a string, or null of an empty one.
func appendNullable(b []byte, s string) []byte {
	if s == "" {
		return append(b, "null"...)
	}
	return appendString(b, s)
}
