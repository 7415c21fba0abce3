package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/node"
)

// What a member is for Raft, as answers spell it.
const (
	memberVoter   = "voter"
	memberLearner = "learner"
	memberLeaving = "leaving" // its vote counts until the change that is under way has ended
	memberSeat    = "seat"    // nobody came for it yet
)

// membershipOf is what a member is for Raft.
func membershipOf(m *fsm.Member, conf *fsm.ConfState) string {
	switch {
	case slices.Contains(conf.Voters, m.RaftID):
		return memberVoter
	case conf.Votes(m.RaftID):
		return memberLeaving
	case conf.Has(m.RaftID):
		return memberLearner
	}
	return memberSeat
}

// listMembers answers GET /cluster/members: who takes part, and is to, by the replicated state. Unlike GET
// /cluster it is a read like others, with a proof of how fresh it is.
func (c *call) listMembers() error {
	q, err := parseQuery(c.r.URL.RawQuery, memberParams)
	if err != nil {
		return err
	}
	f, err := q.freshness(c.api.MaxStaleness)
	if err != nil {
		return err
	}
	if accepted(c.r, typeJSON) < 0 {
		return notAcceptable(typeJSON)
	}
	c.need(fsm.VerbRead, "")
	var s fsm.State
	st, err := c.read(f, func(v *fsm.View) error {
		s = v.State()
		return nil
	})
	if err != nil {
		return err
	}
	b := append(c.buf, `{"revision":`...)
	b = strconv.AppendUint(b, uint64(s.Revision), 10)
	b = append(b, `,"active_version":`...)
	b = strconv.AppendUint(b, uint64(max(s.Version, fsm.MinVersion)), 10)
	b = append(b, `,"changing":`...)
	b = strconv.AppendBool(b, s.Conf.Joint())
	b = append(b, `,"items":[`...)
	for i, m := range c.api.addressed(s.Members) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = append(appendMemberState(b, &m, &s), `,"seat":`...)
		if m.Life == (fsm.Life{}) {
			b = appendString(b, c.api.seat(&m, &s))
		} else {
			b = append(b, "null"...)
		}
		b = append(b, '}')
	}
	c.buf = append(b, ']', '}', '\n')
	c.w.Header()["Cache-Control"] = noStoreHeader
	status := c.api.Node.Status()
	c.send(answer{status: http.StatusOK, contentType: jsonHeader}, st, &status)
	return nil
}

// appendMemberState appends what the replicated state says of a member, without the braces.
func appendMemberState(b []byte, m *fsm.Member, s *fsm.State) []byte {
	b = append(b, `"id":`...)
	b = appendString(b, m.Name)
	b = append(b, `,"raft_id":`...)
	b = strconv.AppendUint(b, m.RaftID, 10)
	b = append(b, `,"address":`...)
	b = appendString(b, m.Address)
	b = append(b, `,"api_port":`...)
	b = strconv.AppendUint(b, uint64(m.APIPort), 10)
	b = append(b, `,"raft_port":`...)
	b = strconv.AppendUint(b, uint64(m.RaftPort), 10)
	b = append(b, `,"membership":`...)
	b = appendString(b, membershipOf(m, &s.Conf))
	b = append(b, `,"wanted":`...)
	b = appendString(b, m.Want.String())
	b = append(b, `,"replaces":`...)
	if m.Replaces == 0 {
		b = append(b, "null"...)
	} else {
		b = strconv.AppendUint(b, m.Replaces, 10)
	}
	b = append(b, `,"command_version":`...)
	return strconv.AppendUint(b, uint64(max(m.Version, fsm.MinVersion)), 10)
}

// addressed are members in order of name, then of raft id, each with where it listens: as the state says, else as this
// node's configuration does.
func (a *api) addressed(members []fsm.Member) []fsm.Member {
	out := slices.Clone(members)
	for i := range out {
		if out[i].Address == "" {
			out[i].MemberSpec = a.configured(out[i].Name)
		}
	}
	slices.SortStableFunc(out, func(x, y fsm.Member) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// configured is where a member listens by this node's configuration, or its seat; zero if none says it.
func (a *api) configured(name string) fsm.MemberSpec {
	i := slices.IndexFunc(a.Members, func(m Member) bool { return m.Name == name })
	if i < 0 {
		return a.Node.Place(name)
	}
	m := &a.Members[i]
	return fsm.MemberSpec{Address: m.Address, APIPort: uint16(m.APIPort), RaftPort: uint16(m.RaftPort)}
}

// seat is the text that the member's node joins by.
func (a *api) seat(m *fsm.Member, s *fsm.State) string {
	seat := node.Seat{Cluster: s.Cluster, RaftID: m.RaftID, Name: m.Name, Membership: node.Membership{
		Members: slices.Clone(s.Members), Conf: s.Conf, LastRaftID: s.LastRaftID,
	}}
	for i := range seat.Membership.Members {
		if x := &seat.Membership.Members[i]; x.Address == "" {
			x.MemberSpec = a.configured(x.Name)
		}
	}
	return seat.String()
}
