package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// addMember answers POST /cluster/members: a seat is made for a new member, which learns until it is promoted.
func (c *call) addMember() error {
	return c.changeMembers(func(b *memberBody) fsm.Op {
		return fsm.Op{Kind: fsm.AddMember, Key: b.ids[0], Value: b.spec.Encode()}
	}, 4, "id", "address", "api_port", "raft_port")
}

// replaceMember answers POST /cluster/members/replace: a seat is made for who takes a member's place, under another
// raft id. It listens where the other one does, unless the body says otherwise.
func (c *call) replaceMember() error {
	return c.changeMembers(func(b *memberBody) fsm.Op {
		if b.spec.Address == "" {
			members := c.api.Node.Status().State.Members
			if i := slices.IndexFunc(members, func(m fsm.Member) bool { return m.Name == b.ids[0] }); i >= 0 {
				b.spec = members[i].MemberSpec
			}
			if b.spec.Address == "" {
				b.spec = c.api.configured(b.ids[0])
			}
		}
		return fsm.Op{Kind: fsm.ReplaceMember, Key: b.ids[0], Value: b.spec.Encode()}
	}, 1, "id", "address", "api_port", "raft_port")
}

// promoteMembers answers POST /cluster/members/promote: learners become voters, each once it has caught up.
func (c *call) promoteMembers() error {
	return c.changeMembers(func(b *memberBody) fsm.Op {
		return fsm.Op{Kind: fsm.PromoteMember, Key: strings.Join(b.ids, ",")}
	}, 1, "ids")
}

// removeMembers answers POST /cluster/members/remove: members leave, all voters of them at once.
func (c *call) removeMembers() error {
	return c.changeMembers(func(b *memberBody) fsm.Op {
		op := fsm.Op{Kind: fsm.RemoveMember, Key: strings.Join(b.ids, ",")}
		if b.evenFewer {
			op.Value = []byte(fsm.EvenFewer)
		}
		return op
	}, 1, "ids", "even_fewer")
}

// finalizeUpgrade answers POST /cluster/finalize-upgrade: the cluster begins to use the next version of commands. Before,
// it can go back to the release before; afterwards not.
func (c *call) finalizeUpgrade() error {
	return c.changeMembers(func(b *memberBody) fsm.Op {
		if b.version == 0 {
			s := c.api.Node.Status().State
			b.version = nextVersion(&s)
		}
		return fsm.Op{Kind: fsm.FinalizeUpgrade, Value: []byte{b.version}}
	}, 0, "version")
}

// nextVersion is what an upgrade is finalized to: the version after that in use, or that one if no program is known to know
// more. Others may know more than this one: then it is not "done already", but refused, with the members that are too old.
func nextVersion(s *fsm.State) uint8 {
	newest := uint8(fsm.Version)
	for i := range s.Members {
		newest = max(newest, s.Members[i].Version)
	}
	return min(max(s.Version, fsm.MinVersion)+1, newest)
}

// changeMembers has the operation that is made of the body done. What the members are to be is then in the
// state; the leader takes Raft's configuration there by and by.
func (c *call) changeMembers(operation func(*memberBody) fsm.Op, required int, known ...string) error {
	if _, err := parseQuery(c.r.URL.RawQuery, noParams); err != nil {
		return err
	}
	body := c.body(MaxMemberBodyBytes)
	defer body.release()
	cmd, text, err := c.document(body, MaxMemberBodyBytes)
	if err != nil {
		return err
	}
	b, fault := parseMembers(text, required, known...)
	if fault != nil {
		return fault.problem(text, "")
	}
	c.need(fsm.VerbCluster, "")
	c.once(cmd, text)
	cmd.Ops = []fsm.Op{operation(b)}
	c.proposed = true
	res, err := c.propose(cmd)
	if err != nil {
		return c.membersNamed(err, b)
	}
	return c.changedMembers(b, &cmd.Ops[0], res)
}

// changedMembers answers an operation that was done.
func (c *call) changedMembers(b *memberBody, op *fsm.Op, res fsm.Result) error {
	c.buf = append(c.buf, `{"revision":`...)
	c.buf = strconv.AppendUint(c.buf, uint64(res.Revision), 10)
	switch op.Kind {
	case fsm.AddMember, fsm.ReplaceMember:
		// The newest of that name: of a request that was made again it may have come to its seat meanwhile.
		s := c.api.Node.Status().State
		i := lastIndex(s.Members, func(m fsm.Member) bool { return m.Name == op.Key })
		if i < 0 {
			return &readError{c.standingAt(res.Revision), problemf(kindUnknownMember, "member %s was added, and has been removed since", op.Key)}
		}
		m := s.Members[i]
		c.buf = append(c.buf, `,"id":`...)
		c.buf = appendString(c.buf, m.Name)
		c.buf = append(c.buf, `,"raft_id":`...)
		c.buf = strconv.AppendUint(c.buf, m.RaftID, 10)
		c.buf = append(c.buf, `,"seat":`...)
		c.buf = appendString(c.buf, c.api.seat(&m, &s))
	case fsm.FinalizeUpgrade:
		c.buf = append(c.buf, `,"active_version":`...)
		c.buf = strconv.AppendUint(c.buf, uint64(b.version), 10)
	default:
		c.buf = append(c.buf, `,"ids":`...)
		c.buf = appendStrings(c.buf, b.ids)
	}
	c.sendWritten(answer{status: http.StatusOK, contentType: jsonHeader}, res.Ops[0], res.Revision)
	return nil
}

func lastIndex[T any](list []T, is func(T) bool) int {
	for i, v := range slices.Backward(list) {
		if is(v) {
			return i
		}
	}
	return -1
}

// memberRefusal is the problem that an outcome of an operation on members is, nil if it is none.
func memberRefusal(o fsm.Outcome) *problem {
	switch o {
	case fsm.MemberExists:
		return problemf(kindMemberExists, "there is a member of that name already, or one that is still leaving; "+
			"a node that lost its disk is replaced: confman cluster replace")
	case fsm.UnknownMember:
		return problemf(kindUnknownMember, "there is no such member: confman cluster shows those that there are")
	case fsm.MemberPending:
		return problemf(kindMemberPending, "the member is being replaced already: start the new one with the seat that was given out (confman cluster seat), "+
			"or call it off (confman cluster remove)")
	case fsm.MembersFull:
		return problemf(kindMembersFull, "the cluster has %d members, the most it takes, those who leave included; or it ever had %d", fsm.MaxMembers, fsm.MaxRaftIDs).
			with("limit", fsm.MaxMembers)
	case fsm.FewerFailures:
		return problemf(kindFewerFailures, "fewer than three voters would be left, of which none may fail: add and promote others first; "+
			"with even_fewer it is done all the same, unless nobody would be left")
	case fsm.VersionUnknown:
		return problemf(kindVersionUnknown, "not every member's program knows the version, or it is not the one after that in use: "+
			"run the new release on all of them first; confman cluster shows what they know")
	default:
		return nil
	}
}

// membersNamed makes err, if it is that a member cannot be what it is to be, say which one, as far as
// this node can see that.
func (c *call) membersNamed(err error, b *memberBody) error {
	p, status := problemOf(err), c.api.Node.Status()
	s := &status.State
	var names []string
	switch p.name {
	case kindMemberExists.name, kindMemberPending.name:
		names = b.ids
	case kindUnknownMember.name:
		for _, id := range b.ids {
			if !slices.ContainsFunc(s.Members, func(m fsm.Member) bool { return m.Name == id && m.Want != fsm.Gone }) {
				names = append(names, id)
			}
		}
	case kindVersionUnknown.name:
		for _, m := range s.Members {
			if m.Want != fsm.Gone && m.Version < b.version {
				names = append(names, m.Name)
			}
		}
	default:
		return err
	}
	if len(names) == 0 {
		return err
	}
	p.detail = fmt.Sprintf("%s: %s", strings.Join(names, ", "), p.detail)
	return &readError{standingFor(err, &status), p}
}
