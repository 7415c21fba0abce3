package httpapi

import (
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

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
	if leader := leaderName(&s, s.Leader); leader != "" {
		b = appendString(b, leader)
	} else {
		b = append(b, "null"...)
	}
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
	b = append(b, `,"members":[`...)
	for i, m := range c.api.members(&s) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendMember(b, m)
	}
	c.buf = append(b, ']', '}', '\n')
	c.w.Header()["Cache-Control"] = noStoreHeader
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, standingOf(&s), &s)
	return nil
}

func roleOf(s *node.NodeStatus) string {
	if !s.Formed {
		return "forming"
	}
	return s.Role.String()
}

// peer is a member as this node sees it.
type peer struct {
	Member
	raftID    uint64
	role      string // "" if this node cannot know
	reachable *bool  // nil if this node cannot know
}

// members are those of the replicated state or, before there is one, the
// configured ones; in order of name.
func (a *api) members(s *node.NodeStatus) []peer {
	var peers []peer
	for _, m := range s.State.Members {
		p := peer{Member: Member{Name: m.Name}, raftID: m.RaftID}
		if i := slices.IndexFunc(a.Members, func(c Member) bool { return c.Name == m.Name }); i >= 0 {
			p.Member = a.Members[i]
		}
		peers = append(peers, a.seen(p, s))
	}
	if !s.Formed {
		peers = nil
		for _, m := range a.Members {
			p := peer{Member: m, role: "forming"}
			reachable := !slices.Contains(s.Waiting, m.Name)
			p.reachable = &reachable
			peers = append(peers, p)
		}
	}
	slices.SortFunc(peers, func(p, q peer) int { return strings.Compare(p.Name, q.Name) })
	return peers
}

// seen fills in what this node knows of a member. A leader hears all, a follower
// its leader only: of the others it knows nothing.
func (a *api) seen(p peer, s *node.NodeStatus) peer {
	known, reachable := true, slices.Contains(s.Reachable, p.raftID)
	switch {
	case p.raftID == s.ID:
		p.role, reachable = s.Role.String(), true
	case p.raftID == s.Leader:
		p.role = node.Leader.String()
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
	return p
}

func appendMember(b []byte, p peer) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, p.Name)
	b = append(b, `,"raft_id":`...)
	b = strconv.AppendUint(b, p.raftID, 10)
	b = append(b, `,"address":`...)
	b = appendString(b, p.Address)
	b = append(b, `,"api_port":`...)
	b = strconv.AppendInt(b, int64(p.APIPort), 10)
	b = append(b, `,"raft_port":`...)
	b = strconv.AppendInt(b, int64(p.RaftPort), 10)
	b = append(b, `,"role":`...)
	if p.role == "" {
		b = append(b, "null"...)
	} else {
		b = appendString(b, p.role)
	}
	b = append(b, `,"reachable":`...)
	if p.reachable == nil {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendBool(b, *p.reachable)
	}
	return append(b, '}')
}
