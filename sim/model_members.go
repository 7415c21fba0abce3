package sim

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/confman/confman/fsm"
)

// modelMembers is who takes part, as the documentation of fsm's operations on members has it. Its slices are
// never changed once they are made.
type modelMembers struct {
	list    []fsm.Member // ascending by raft id
	conf    modelConf
	last    uint64 // the newest raft id that was ever given
	version uint8  // of commands, that the cluster uses
}

// modelConf is what Raft's quorums are made of. In the way from one set of voters to another both must agree.
type modelConf struct{ voters, learners, outgoing []uint64 }

// modelMembersFrom is who takes part from an index of the log on.
type modelMembersFrom struct {
	index fsm.Index
	made  fsm.Revision // of the store then
	modelMembers
}

// memberships are all there ever were, oldest first: the first is that of the formation.
type memberships []modelMembersFrom

// position is which of them was in force after the entry at index.
func (p memberships) position(index fsm.Index) int {
	return max(0, sort.Search(len(p), func(i int) bool { return p[i].index > index })-1)
}

// at is who takes part after the entry at index.
func (p memberships) at(index fsm.Index) *modelMembers { return &p[p.position(index)].modelMembers }

// asOf is who took part when the store came to a revision.
func (p memberships) asOf(rev fsm.Revision) *modelMembers {
	n := sort.Search(len(p), func(i int) bool { return p[i].made >= rev })
	return &p[min(n, len(p)-1)].modelMembers
}

// formed begins with the members of the formation.
func (m *model) formed(cluster fsm.ClusterID, members []fsm.Member, version uint8) {
	first := modelMembers{version: version}
	for _, x := range members {
		first.list = append(first.list, fsm.Member{RaftID: x.RaftID, Name: x.Name, Want: fsm.Voter, Life: fsm.Life(cluster), Version: version})
		first.conf.voters = append(first.conf.voters, x.RaftID)
		first.last = max(first.last, x.RaftID)
	}
	m.memberships = memberships{{modelMembers: first}}
}

// members is the newest.
func (m *model) members() *modelMembers {
	if n := len(m.memberships); n > 0 {
		return &m.memberships[n-1].modelMembers
	}
	return &modelMembers{}
}

// become makes next who takes part from index on.
func (m *model) become(index fsm.Index, next *modelMembers) {
	m.memberships = append(m.memberships, modelMembersFrom{index: index, made: m.revision, modelMembers: *next})
}

// has tells whether a raft id is in any part of c.
func (c *modelConf) has(id uint64) bool {
	return slices.Contains(c.voters, id) || slices.Contains(c.learners, id) || slices.Contains(c.outgoing, id)
}

// sets are those of which each must have a majority.
func (c *modelConf) sets() [][]uint64 {
	if len(c.outgoing) == 0 {
		return [][]uint64{c.voters}
	}
	return [][]uint64{c.voters, c.outgoing}
}

// quorate tells whether those for which has holds are a majority wherever one is needed.
func (c *modelConf) quorate(has func(id uint64) bool) bool {
	return !slices.ContainsFunc(c.sets(), func(set []uint64) bool { return !majorityOf(set, has) })
}

func majorityOf(set []uint64, has func(id uint64) bool) bool {
	n := 0
	for _, id := range set {
		if has(id) {
			n++
		}
	}
	return n > len(set)/2
}

// member is the one with a raft id, nil if there is none.
func (m *modelMembers) member(id uint64) *fsm.Member {
	for i := range m.list {
		if m.list[i].RaftID == id {
			return &m.list[i]
		}
	}
	return nil
}

// memberRules are the operations on members.
var memberRules = []fsm.OpKind{fsm.AddMember, fsm.PromoteMember, fsm.RemoveMember, fsm.ReplaceMember, fsm.FinalizeUpgrade}

// ofMembers does a command on members.
func (m *model) ofMembers(index fsm.Index, cmd *fsm.Command) modelResult {
	op := &cmd.Ops[0]
	now := m.members()
	next, refusal := now.after(op)
	if refusal != 0 {
		return modelResult{outcome: refusal}
	}
	if next.version == now.version && slices.Equal(next.list, now.list) {
		return modelResult{outcome: fsm.Unchanged, ops: make([]fsm.OpResult, 1)}
	}
	c := m.next(cmd, []modelOp{{kind: op.Kind, key: op.Key}})
	m.log(c, cmd, nil)
	m.become(index, next)
	return modelResult{outcome: fsm.Applied, ops: []fsm.OpResult{{Changed: true}}}
}

// after is m once an operation was applied, or why it is not.
func (m *modelMembers) after(op *fsm.Op) (*modelMembers, fsm.Outcome) {
	next := *m
	next.list = slices.Clone(m.list)
	// newest is the member of a name that an operation means: of one that is replaced and the one that
	// takes its place, that.
	newest := func(name string) *fsm.Member {
		for i := len(next.list) - 1; i >= 0; i-- {
			if x := &next.list[i]; x.Name == name && x.Want != fsm.Gone {
				return x
			}
		}
		return nil
	}
	seat := func(want fsm.MemberRole, replaces uint64) {
		spec, err := fsm.DecodeMemberSpec(op.Value)
		if err != nil {
			panic("sim: where a member listens was decoded before, and now: " + err.Error())
		}
		next.last++
		next.list = append(next.list, fsm.Member{RaftID: next.last, Name: op.Key, MemberSpec: spec, Want: want, Replaces: replaces, Version: 1})
	}
	switch op.Kind {
	case fsm.AddMember:
		if slices.ContainsFunc(next.list, func(x fsm.Member) bool { return x.Name == op.Key }) {
			return nil, fsm.MemberExists
		}
		seat(fsm.Learner, 0)
	case fsm.PromoteMember, fsm.RemoveMember:
		before := next.voters()
		for _, name := range strings.Split(op.Key, ",") {
			x := newest(name)
			if x == nil {
				return nil, fsm.UnknownMember
			}
			x.Want = fsm.Voter
			if op.Kind == fsm.RemoveMember {
				x.Want = fsm.Gone
			}
		}
		if n := next.voters(); op.Kind == fsm.RemoveMember && (n == 0 || n < 3 && before >= 3 && string(op.Value) != fsm.EvenFewer) {
			return nil, fsm.FewerFailures
		}
	case fsm.ReplaceMember:
		old := newest(op.Key)
		if old == nil {
			return nil, fsm.UnknownMember
		}
		for i := range next.list {
			if x := &next.list[i]; x.Name == op.Key && x.Want != fsm.Gone && x != old {
				return nil, fsm.MemberPending
			}
		}
		want, replaces := old.Want, old.RaftID
		if !slices.Contains(next.conf.voters, old.RaftID) {
			old.Want, replaces = fsm.Gone, 0
		}
		seat(want, replaces)
	case fsm.FinalizeUpgrade:
		if op.Value[0] == next.version {
			break
		}
		behind := func(x fsm.Member) bool { return x.Want != fsm.Gone && x.Version < op.Value[0] }
		if op.Value[0] != next.version+1 || op.Value[0] > fsm.Version || slices.ContainsFunc(next.list, behind) {
			return nil, fsm.VersionUnknown
		}
		next.version = op.Value[0]
	default:
		panic(fmt.Sprintf("sim: operation %d is not of members", op.Kind))
	}
	next.forget()
	return &next, 0
}

// voters is how many there are to be in the end.
func (m *modelMembers) voters() int {
	n := 0
	for i := range m.list {
		if x := &m.list[i]; x.Want == fsm.Voter && x.Replaces == 0 {
			n++
		}
	}
	return n
}

// forget drops those who were to go and never came.
func (m *modelMembers) forget() {
	m.list = slices.DeleteFunc(m.list, func(x fsm.Member) bool { return x.Want == fsm.Gone && x.Life == fsm.Life{} })
}

// reportedBy takes a member's word on itself: the first life has the seat. What is said of one that was to go, and whose
// vote nobody needs any more, has it forgotten.
func (m *model) reportedBy(index fsm.Index, r *fsm.Report) modelResult {
	next := *m.members()
	next.list = slices.Clone(next.list)
	if x := next.member(r.RaftID); x != nil && x.Want == fsm.Gone && !next.conf.has(x.RaftID) {
		next.list = slices.DeleteFunc(next.list, func(m fsm.Member) bool { return m.RaftID == r.RaftID })
		m.become(index, &next)
	} else if x != nil && (x.Life == fsm.Life{} || x.Life == r.Life) && (x.Life != r.Life || x.Version != r.Version) {
		x.Life, x.Version = r.Life, r.Version
		m.become(index, &next)
	}
	return modelResult{outcome: fsm.Reported, revision: m.revision}
}

// reconfigured takes a step of Raft's configuration, or does not.
func (m *model) reconfigured(index fsm.Index, ch *fsm.ConfChange) modelResult {
	next, ok := m.members().step(ch)
	if !ok {
		return modelResult{outcome: fsm.ConfRefused, revision: m.revision}
	}
	m.become(index, next)
	return modelResult{outcome: fsm.ConfChanged, revision: m.revision}
}

// step is m after a step of the configuration; false if it leads nowhere. It is one learner that comes or goes,
// the way into two sets of voters, or out of it; and towards what members are to be.
func (m *modelMembers) step(ch *fsm.ConfChange) (*modelMembers, bool) {
	next := *m
	next.list = slices.Clone(m.list)
	c := m.conf
	what := [3]int{len(ch.Voters), len(ch.Learners), len(ch.Removed)}
	wants := func(id uint64, role fsm.MemberRole) bool { x := m.member(id); return x != nil && x.Want == role }
	switch joint := len(c.outgoing) > 0; {
	case ch.Leave:
		if !joint || what != [3]int{} {
			return nil, false
		}
		next.conf = modelConf{voters: c.voters, learners: c.learners}
		next.forget()
		return &next, true
	case joint:
		return nil, false
	case what == [3]int{0, 1, 0}:
		id := ch.Learners[0]
		if x := m.member(id); x == nil || x.Want == fsm.Gone || x.Life == (fsm.Life{}) || c.has(id) {
			return nil, false
		}
		next.conf.learners = ascending(append(slices.Clone(c.learners), id))
		return &next, true
	case what == [3]int{0, 0, 1} && slices.Contains(c.learners, ch.Removed[0]):
		if !wants(ch.Removed[0], fsm.Gone) {
			return nil, false
		}
		next.conf.learners = lessThose(c.learners, ch.Removed)
		next.forget()
		return &next, true
	case what[1] != 0 || what[0]+what[2] == 0:
		return nil, false
	}
	var replaced []uint64
	for _, id := range ch.Voters {
		if !wants(id, fsm.Voter) || !slices.Contains(c.learners, id) {
			return nil, false
		}
		x := next.member(id)
		if x.Replaces != 0 {
			replaced = append(replaced, x.Replaces)
		}
		x.Replaces = 0
	}
	for _, id := range ch.Removed {
		if !slices.Contains(c.voters, id) || !wants(id, fsm.Gone) && !slices.Contains(replaced, id) {
			return nil, false
		}
		next.member(id).Want = fsm.Gone
	}
	for _, id := range replaced {
		if slices.Contains(c.voters, id) && !slices.Contains(ch.Removed, id) {
			return nil, false // one would be added, and none goes
		}
	}
	next.conf = modelConf{
		voters: ascending(append(lessThose(c.voters, ch.Removed), ch.Voters...)), learners: lessThose(c.learners, ch.Voters), outgoing: c.voters,
	}
	return &next, len(next.conf.voters) > 0
}

func ascending(ids []uint64) []uint64 {
	slices.Sort(ids)
	return ids
}

func lessThose(ids, gone []uint64) []uint64 {
	return slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return slices.Contains(gone, id) })
}

// pending says what members are to be and are not; nothing: all is as it is wanted. Of a seat that nobody came
// for nothing is to be expected.
func (m *modelMembers) pending() string {
	if len(m.conf.outgoing) > 0 {
		return fmt.Sprintf("the voters %v and %v must both agree", m.conf.voters, m.conf.outgoing)
	}
	for i := range m.list {
		x := &m.list[i]
		role := ""
		switch {
		case x.Want == fsm.Gone:
			role = "gone"
		case x.Life == fsm.Life{}:
		case x.Want == fsm.Voter && !slices.Contains(m.conf.voters, x.RaftID):
			role = "a voter"
		case x.Want == fsm.Learner && !slices.Contains(m.conf.learners, x.RaftID):
			role = "a learner"
		}
		if role != "" {
			return fmt.Sprintf("member %d, %s, is to be %s, and is not", x.RaftID, x.Name, role)
		}
	}
	return ""
}

// is holds what a store says of its membership against the model.
func (m *modelMembers) is(s *fsm.State) error {
	c := &s.Conf
	switch {
	case !slices.Equal(s.Members, m.list):
		return fmt.Errorf("has the members %+v, want %+v", s.Members, m.list)
	case !slices.Equal(c.Voters, m.conf.voters) || !slices.Equal(c.Learners, m.conf.learners) || !slices.Equal(c.VotersOutgoing, m.conf.outgoing) || len(c.LearnersNext) > 0 || c.AutoLeave:
		return fmt.Errorf("has the configuration %+v, want %+v", *c, m.conf)
	case s.LastRaftID != m.last:
		return fmt.Errorf("has given raft ids up to %d, want %d", s.LastRaftID, m.last)
	case s.Version != m.version:
		return fmt.Errorf("is at version %d, want %d", s.Version, m.version)
	}
	return nil
}
