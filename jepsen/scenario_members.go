package jepsen

import (
	"context"
	"fmt"
	"slices"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	scenario(&Scenario{
		Name: "members-under-partition", Number: 8, Needs: []Capability{Cuts, Spares}, Lost: true,
		About:  "a follower is cut off while two members are added and promoted; when it is back, the leader is cut off, and the two are removed by those that are left",
		Script: membersUnderPartition,
	})
	scenario(&Scenario{
		Name: "cut-leader-removed", Number: 8, Needs: []Capability{Cuts, Spares}, Lost: true,
		About:  "five members: the leader is cut off from the others, not from clients, and while it is, those remove it, by its name, with another one; when it is back it does not lead, and acknowledges nothing",
		Script: cutLeaderRemoved,
	})
	scenario(&Scenario{
		Name: "replace-under-partition", Number: 8, Needs: []Capability{Cuts, Spares, LostDisks}, Lost: true,
		About:  "five members: the directory of one is lost and it is replaced while another one is cut off",
		Ground: func(o *LocalOptions) { o.Nodes = 5 },
		Script: replaceUnderPartition,
	})
	scenario(&Scenario{
		Name: "leader-removed", Number: 8, Needs: []Capability{Spares}, Lost: true,
		About:  "two members are added and promoted, and the leader is removed with another one, under load; the removed ones stop, are started again, and are not let in",
		Script: leaderRemoved,
	})
	scenario(&Scenario{
		Name: "learner-promoted", Number: 8, Needs: []Capability{Spares}, Lost: true,
		About:  "learners are promoted while one of them is stopped, and the leader is killed while they are",
		Script: learnerPromoted,
	})
}

// added adds spares as learners, and waits until they serve.
func (s *Stage) added(ctx context.Context, spares ...string) {
	s.Log("adding %v", spares)
	s.ok(s.join(ctx, spares...))
}

// voting has learners be voters, and waits until they are.
func (s *Stage) voting(ctx context.Context, names ...string) {
	wait, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	err := s.promote(wait, names...)
	s.promised(err == nil, "%v do not become voters: %v", names, err)
	s.Log("%v vote", names)
}

// left has members leave, and waits until they have and have stopped.
func (s *Stage) left(ctx context.Context, names ...string) {
	wait, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	err := s.leave(wait, names...)
	s.promised(err == nil, "%v do not leave: %v", names, err)
	s.Log("%v left", names)
}

func membersUnderPartition(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	follower := s.others(leader)[0]
	spares := s.spares()[:2]
	heal := s.isolated(ctx, follower)
	s.added(ctx, spares...)
	s.ok(s.asks(ctx, spares, "voter"))
	s.becomes(ctx, leader, "voter", spares...)
	s.writes(ctx, spares[0], 10)
	heal(ctx)
	s.ready(ctx)
	// Five vote. The leader cannot reach the others, and those that are left let two of them go.
	leader = s.leader(ctx)
	others := s.others(leader)
	heal = s.isolated(ctx, leader)
	s.leader(ctx, others...)
	gone := slices.DeleteFunc(slices.Clone(spares), func(n string) bool { return n == leader })
	if len(gone) == 1 {
		gone = append(gone, without(others, spares)[0])
	}
	for _, name := range gone {
		_ = s.Excuse(name, "removed from its cluster")
	}
	s.SetMembers(without(s.Members(), gone))
	s.ok(s.asks(ctx, gone, "gone"))
	stay := without(others, gone)
	s.until(ctx, fmt.Sprintf("%v are members no more", gone), func(ctx context.Context) bool {
		is := s.membership(ctx, stay[0])
		return is != nil && is[gone[0]] == "" && is[gone[1]] == ""
	})
	s.writes(ctx, stay[0], 10)
	heal(ctx)
	for _, name := range gone {
		s.ok(s.bury(ctx, name))
	}
	s.ready(ctx)
}

func cutLeaderRemoved(ctx context.Context, s *Stage) {
	spares := s.spares()[:2]
	s.added(ctx, spares...)
	s.voting(ctx, spares...)
	old := s.leader(ctx)
	others := s.others(old)
	heal := s.isolated(ctx, old)
	next := s.leader(ctx, others...)
	gone := []string{old, without(others, []string{next})[0]}
	for _, name := range gone {
		_ = s.Excuse(name, "removed from its cluster")
	}
	stay := without(others, gone)
	s.SetMembers(stay) // so that nobody but these is asked to do it
	s.ok(s.asks(ctx, gone, "gone"))
	s.until(ctx, fmt.Sprintf("%v are members no more", gone), func(ctx context.Context) bool {
		is := s.membership(ctx, next)
		return is != nil && is[gone[0]] == "" && is[gone[1]] == ""
	})
	s.Log("%s, which led when it was cut off, is removed, and cut off still", old)
	s.writes(ctx, next, 10)
	op := s.put(ctx, old, s.newKey())
	s.promised(op.Outcome != linearizability.Applied, "%s acknowledged a write alone, after it was removed", old)
	heal(ctx)
	s.lasts(ctx, 2*electionTimeout)
	s.promised(s.leads(ctx, old) == "", "%s leads, and was removed", old)
	for _, name := range gone {
		s.ok(s.bury(ctx, name))
	}
	s.writes(ctx, s.leader(ctx), 10)
	s.ready(ctx)
}

// asks says what members are to be: "voter" or "gone".
func (s *Stage) asks(ctx context.Context, names []string, what string) error {
	args := []string{"cluster", "promote", "--wait=false"}
	if what == "gone" {
		args[1] = "remove"
	}
	wait, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	return insist(wait, func(ctx context.Context) error {
		var did client.MembersChanged
		return s.confman(ctx, &did, append(args, names...)...)
	})
}

// membership is what a node's state says each member is; nil: it does not answer.
func (s *Stage) membership(ctx context.Context, node string) map[string]string {
	list, _, err := s.At(node).Members(ctx, client.ReadOptions{Consistency: client.Linearizable})
	if err != nil {
		return nil
	}
	is := map[string]string{}
	for i := range list.Items {
		is[list.Items[i].ID] = list.Items[i].Membership
	}
	return is
}

// becomes waits until members are something, as a node's state says.
func (s *Stage) becomes(ctx context.Context, node, what string, names ...string) {
	s.until(ctx, fmt.Sprintf("%v: %s", names, what), func(ctx context.Context) bool {
		is := s.membership(ctx, node)
		for _, name := range names {
			if is[name] != what {
				return false
			}
		}
		return true
	})
}

func replaceUnderPartition(ctx context.Context, s *Stage) {
	leader := s.leader(ctx)
	lost, cutOff := s.others(leader)[0], s.others(leader)[1]
	heal := s.isolated(ctx, cutOff)
	s.ok(s.KillNode(ctx, lost))
	what, err := s.Damage(ctx, lost, Damage{Kind: LoseDirectory})
	s.ok(err)
	s.Log("%s is down, and lost %s", lost, what)
	wait, cancel := context.WithTimeout(ctx, 2*stepTime)
	defer cancel()
	err = s.ReplaceNode(wait, lost)
	s.promised(err == nil, "%s cannot be replaced: %v", lost, err)
	s.writes(ctx, lost, 10)
	heal(ctx)
	s.ready(ctx)
}

func leaderRemoved(ctx context.Context, s *Stage) {
	spares := s.spares()[:2]
	s.added(ctx, spares...)
	s.voting(ctx, spares...)
	leader := s.leader(ctx)
	gone := []string{leader, s.others(append(spares, leader)...)[0]}
	if slices.Contains(spares, leader) {
		gone = s.others(spares...)[:1]
		gone = append(gone, leader)
	}
	s.left(ctx, gone...)
	stay := s.Members()
	s.shown(len(stay) == 3, "%v are left", stay)
	s.writes(ctx, s.leader(ctx), 20)
	for _, name := range gone {
		before := s.last(name)
		_ = s.Excuse(name, "removed from its cluster")
		s.ok(s.StartNode(ctx, name))
		s.until(ctx, name+", which was removed, stops again", func(context.Context) bool {
			l := s.last(name)
			return l != before && l.isOver()
		})
	}
	s.writes(ctx, s.leader(ctx), 20)
	s.ready(ctx)
}

func learnerPromoted(ctx context.Context, s *Stage) {
	spares := s.spares()[:2]
	s.added(ctx, spares...)
	leader := s.leader(ctx)
	goOn := s.stopped(ctx, spares[0])
	s.writes(ctx, leader, 50)
	s.ok(s.asks(ctx, spares, "voter"))
	up := s.killed(ctx, leader)
	next := s.leader(ctx, s.others(append([]string{leader}, spares...)...)...)
	s.writes(ctx, next, 10)
	up(ctx)
	goOn(ctx)
	s.becomes(ctx, next, "voter", spares...)
	s.ready(ctx)
	s.writes(ctx, spares[0], 10)
	s.writes(ctx, spares[1], 10)
}
