package httpapi

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// cluster answers GET /cluster: the cluster as this node sees it, never what
// another one would say.
func (c *call) cluster() error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	c.need(fsm.VerbRead, "")
	if err := c.peek(); err != nil {
		return err
	}
	s := c.api.Node.Status()
	b := append(c.buf, `{"node":`...)
	b = appendString(b, c.api.Name)
	b = append(b, `,"role":`...)
	b = appendString(b, roleOf(&s))
	b = append(b, `,"leader":`...)
	b = appendNullable(b, leaderName(&s, s.Leader))
	b = append(b, `,"term":`...)
	b = strconv.AppendUint(b, s.Term, 10)
	b = append(b, `,"revision":`...)
	b = strconv.AppendUint(b, uint64(s.State.Revision), 10)
	// The index and the hash are of one instant: equal indices must have equal hashes.
	b = append(b, `,"applied_index":`...)
	b = strconv.AppendUint(b, uint64(s.State.Applied), 10)
	b = append(b, `,"commit_index":`...)
	b = strconv.AppendUint(b, s.Commit, 10)
	b = append(b, `,"state_hash":"`...)
	b = hex.AppendEncode(b, s.State.Hash[:])
	b = append(b, `","staleness":`...)
	if st := standingOf(&s); st.fresh {
		b = appendStaleness(b, st)
	} else {
		b = append(b, "null"...)
	}
	b = c.appendSelf(b, &s)
	b = append(b, `,"members":[`...)
	for i, m := range c.api.members(&s) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(b, &m, &s)
	}
	c.buf = append(b, ']', '}', '\n')
	c.w.Header()["Cache-Control"] = noStoreHeader
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standingOf(&s), &s)
	return nil
}

// appendSelf appends what the node says of itself alone.
func (c *call) appendSelf(b []byte, s *node.NodeStatus) []byte {
	sizes := c.api.Node.Measures()
	b = append(b, `,"release":`...)
	b = appendNullable(b, c.api.Release)
	b = append(b, `,"command_version":`...)
	b = strconv.AppendUint(b, fsm.Version, 10)
	b = append(b, `,"active_version":`...)
	b = strconv.AppendUint(b, uint64(max(s.State.Version, fsm.MinVersion)), 10)
	b = append(b, `,"uptime":`...)
	b = strconv.AppendInt(b, int64(c.api.Now().Sub(c.api.started).Seconds()), 10)
	b = append(b, `,"store_bytes":`...)
	b = strconv.AppendInt(b, sizes.FileBytes, 10)
	b = append(b, `,"log_bytes":`...)
	b = strconv.AppendInt(b, sizes.LogBytes, 10)
	b = append(b, `,"draining":`...)
	b = strconv.AppendBool(b, c.api.Node.Draining() || c.api.draining.Load())
	b = append(b, `,"ready":`...)
	return strconv.AppendBool(b, len(c.notReady()) == 0)
}

func roleOf(s *node.NodeStatus) string {
	switch {
	case s.Joining:
		return "joining"
	case !s.Formed:
		return roleForming
	}
	return s.Role.String()
}

const roleForming = "forming"

// peer is a member as this node sees it.
type peer struct {
	fsm.Member
	role      string         // "" if this node cannot know
	reachable *bool          // nil if this node cannot know
	progress  *node.Progress // nil if this node does not lead, or is it
}

// members are those of the replicated state or, before there is one, the
// configured ones; in order of name.
func (a *api) members(s *node.NodeStatus) []peer {
	var peers []peer
	if s.Formed {
		for _, m := range a.addressed(s.State.Members) {
			peers = append(peers, a.seen(peer{Member: m}, s))
		}
		return peers
	}
	var all []fsm.Member
	for _, m := range a.Members {
		all = append(all, fsm.Member{Name: m.Name})
	}
	for _, m := range a.addressed(all) {
		p := peer{Member: m, role: roleForming}
		if !s.Joining { // or it is others that it waits for
			reachable := !slices.Contains(s.Waiting, m.Name)
			p.reachable = &reachable
		}
		peers = append(peers, p)
	}
	return peers
}

// seen fills in what this node knows of a member. A leader hears all, a follower
// its leader only: of the others it knows nothing.
func (a *api) seen(p peer, s *node.NodeStatus) peer {
	known, reachable := true, slices.Contains(s.Reachable, p.RaftID)
	switch {
	case p.RaftID == s.ID:
		p.role, reachable = s.Role.String(), true
	case p.RaftID == s.Leader:
		p.role = node.Leader.String()
	case p.Life == (fsm.Life{}):
		known = false // nobody is there
	case s.Role == node.Leader:
		p.role = node.Follower.String()
	default:
		known = reachable
		if s.Leader != 0 {
			p.role = node.Follower.String()
		}
	}
	if known {
		p.reachable = &reachable
	}
	if i := slices.IndexFunc(s.Progress, func(x node.Progress) bool { return x.RaftID == p.RaftID }); i >= 0 {
		p.progress = &s.Progress[i]
	}
	return p
}

func appendMember(b []byte, p *peer, s *node.NodeStatus) []byte {
	b = appendMemberState(append(b, '{'), &p.Member, &s.State)
	b = append(b, `,"role":`...)
	b = appendNullable(b, p.role)
	b = append(b, `,"reachable":`...)
	if p.reachable == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendBool(b, *p.reachable)
	}
	if p.progress == nil {
		return append(b, `,"match_index":null,"lag":null,"caught_up":null}`...)
	}
	b = append(b, `,"match_index":`...)
	b = strconv.AppendUint(b, p.progress.Match, 10)
	b = append(b, `,"lag":`...)
	b = strconv.AppendUint(b, max(s.Commit, p.progress.Match)-p.progress.Match, 10)
	b = append(b, `,"caught_up":`...)
	return append(strconv.AppendBool(b, p.progress.CaughtUp), '}')
}
