package fsm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func memberOp(kind OpKind, key string) Command {
	op := Op{Kind: kind, Key: key}
	if kind == AddMember || kind == ReplaceMember {
		op.Value = (&MemberSpec{Address: "10.0.0.9", APIPort: 5000, RaftPort: 5001}).Encode()
	}
	return Command{Ops: []Op{op}}
}

// step takes the next step of the configuration, with every learner caught up.
func (r *replica) step() Result {
	r.t.Helper()
	st := r.s.State()
	return r.reconfigure(st.NextConf(func(uint64) bool { return true }))
}

func (r *replica) reconfigure(ch *ConfChange) Result {
	r.t.Helper()
	r.log = append(r.log, Entry{Index: Index(len(r.log) + 1), Term: 1, Conf: ch})
	res, err := r.s.Apply(r.log[len(r.log)-1:])
	require.NoError(r.t, err)
	return res[0]
}

func (r *replica) report(id uint64, life byte, version uint8) {
	r.t.Helper()
	require.Equal(r.t, Reported, r.apply(encode(r.t, Command{Report: &Report{RaftID: id, Life: Life{life}, Version: version}})).Outcome)
}

func (r *replica) member(name string) Member {
	r.t.Helper()
	for _, m := range slices.Backward(r.s.State().Members) {
		if m.Name == name {
			return m
		}
	}
	return Member{}
}

func TestMemberIsAddedPromotedAndRemoved(t *testing.T) {
	r := newReplica(t)
	res := r.do(memberOp(AddMember, "node4"))
	require.Equal(t, Applied, res.Outcome)
	assert.Equal(t, Revision(1), res.Revision)
	want := Member{RaftID: 4, Name: "node4", MemberSpec: MemberSpec{Address: "10.0.0.9", APIPort: 5000, RaftPort: 5001}, Want: Learner, Version: MinVersion}
	assert.Equal(t, want, r.member("node4"))
	st := r.s.State()
	assert.Nil(t, st.NextConf(func(uint64) bool { return true }), "nobody came for the seat")
	assert.Equal(t, ConfRefused, r.reconfigure(&ConfChange{Learners: []uint64{4}}).Outcome)

	r.report(4, 7, Version)
	r.report(4, 8, MinVersion)
	assert.Equal(t, Life{7}, r.member("node4").Life, "a seat is for one directory")
	assert.Equal(t, uint8(Version), r.member("node4").Version)
	res = r.step()
	require.Equal(t, ConfChanged, res.Outcome)
	assert.Equal(t, []uint64{4}, res.Conf.Learners)
	st = r.s.State()
	assert.Nil(t, st.NextConf(func(uint64) bool { return true }), "it is to be no more")

	require.Equal(t, Applied, r.do(memberOp(PromoteMember, "node4")).Outcome)
	assert.Equal(t, Unchanged, r.do(memberOp(PromoteMember, "node4")).Outcome)
	st = r.s.State()
	assert.Nil(t, st.NextConf(func(uint64) bool { return false }), "it has not caught up")
	res = r.step()
	assert.Equal(t, ConfState{Voters: []uint64{1, 2, 3, 4}, VotersOutgoing: []uint64{1, 2, 3}}, confOf(res))
	res = r.step()
	assert.Equal(t, ConfState{Voters: []uint64{1, 2, 3, 4}}, confOf(res))

	assert.Equal(t, FewerFailures, r.do(memberOp(RemoveMember, "node1,node4")).Outcome)
	require.Equal(t, Applied, r.do(memberOp(RemoveMember, "node1")).Outcome)
	res = r.step()
	assert.Equal(t, ConfState{Voters: []uint64{2, 3, 4}, VotersOutgoing: []uint64{1, 2, 3, 4}}, confOf(res))
	assert.NotZero(t, r.member("node1").RaftID, "its vote counts still")
	r.step()
	assert.Equal(t, uint64(1), r.member("node1").RaftID, "one that is left may need its vote, and not know")
	assert.Equal(t, MemberExists, r.do(memberOp(AddMember, "node1")).Outcome)
	r.report(1, 1, Version)
	assert.Zero(t, r.member("node1").RaftID)
	require.Equal(t, Applied, r.do(memberOp(AddMember, "node1")).Outcome)
	assert.Equal(t, uint64(5), r.member("node1").RaftID, "never a raft id again")
	r.flush()
	before := r.s.State()
	r.crash()
	assert.Equal(t, before.Members, r.s.State().Members)
	assert.Equal(t, before.Hash, r.s.State().Hash)
}

// confOf is the configuration that r says; the zero value if it says none.
func confOf(r Result) ConfState {
	if r.Conf == nil {
		return ConfState{}
	}
	c := *r.Conf
	if len(c.Learners) == 0 {
		c.Learners = nil
	}
	return c
}

func TestMemberIsReplaced(t *testing.T) {
	r := newReplica(t)
	require.Equal(t, Applied, r.do(memberOp(ReplaceMember, "node2")).Outcome)
	assert.Equal(t, MemberPending, r.do(memberOp(ReplaceMember, "node2")).Outcome)
	assert.Equal(t, MemberExists, r.do(memberOp(AddMember, "node2")).Outcome)
	assert.Equal(t, UnknownMember, r.do(memberOp(ReplaceMember, "node9")).Outcome)
	assert.Equal(t, uint64(2), r.member("node2").Replaces)
	r.report(4, 1, Version)
	r.step()
	assert.Equal(t, ConfRefused, r.reconfigure(&ConfChange{Voters: []uint64{4}}).Outcome, "there would be four voters")
	assert.Equal(t, ConfRefused, r.reconfigure(&ConfChange{Removed: []uint64{2}}).Outcome, "there would be two")
	res := r.step()
	assert.Equal(t, ConfState{Voters: []uint64{1, 3, 4}, VotersOutgoing: []uint64{1, 2, 3}}, confOf(res))
	assert.Equal(t, ConfRefused, r.reconfigure(&ConfChange{Voters: []uint64{2}}).Outcome)
	r.step()
	r.report(2, 2, Version)
	assert.Equal(t, uint64(4), r.member("node2").RaftID)
	assert.Zero(t, r.member("node2").Replaces)
	assert.Len(t, r.s.State().Members, 3)

	require.Equal(t, Applied, r.do(memberOp(ReplaceMember, "node3")).Outcome)
	require.Equal(t, Applied, r.do(memberOp(RemoveMember, "node3")).Outcome, "the replacement is called off")
	assert.Equal(t, uint64(3), r.member("node3").RaftID)
	require.Equal(t, Applied, r.do(memberOp(ReplaceMember, "node3")).Outcome)
	assert.Equal(t, uint64(6), r.member("node3").RaftID)
}

// TestAVoterStaysUntilAnotherTakesItsPlace: what the operators want has enough voters; but one of them did not come, and
// one has not caught up.
func TestAVoterStaysUntilAnotherTakesItsPlace(t *testing.T) {
	r := newReplica(t)
	require.Equal(t, Applied, r.do(memberOp(AddMember, "node4")).Outcome)
	require.Equal(t, Applied, r.do(memberOp(AddMember, "node5")).Outcome)
	require.Equal(t, Applied, r.do(memberOp(PromoteMember, "node4,node5")).Outcome)
	require.Equal(t, Applied, r.do(memberOp(RemoveMember, "node1,node2")).Outcome)
	next := func(ready bool) *ConfChange {
		st := r.s.State()
		return st.NextConf(func(uint64) bool { return ready })
	}
	assert.Nil(t, next(true), "nobody came")
	r.report(5, 1, Version)
	r.step()
	assert.Nil(t, next(false), "it has not caught up")
	assert.Equal(t, &ConfChange{Voters: []uint64{5}, Removed: []uint64{1}}, next(true), "one for one")
	r.step()
	r.step()
	assert.Nil(t, next(true), "the other one is still to come")
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: RemoveMember, Key: "node4", Value: []byte(EvenFewer)}}}).Outcome)
	assert.Equal(t, &ConfChange{Removed: []uint64{2}}, next(true), "two are what is wanted")
}

func TestMembersAreRefused(t *testing.T) {
	r := newReplica(t)
	assert.Equal(t, UnknownMember, r.do(memberOp(RemoveMember, "node7")).Outcome)
	assert.Equal(t, UnknownMember, r.do(memberOp(PromoteMember, "node7")).Outcome)
	assert.Equal(t, FewerFailures, r.do(memberOp(RemoveMember, "node1")).Outcome)
	all := memberOp(RemoveMember, "node1,node2,node3")
	all.Ops[0].Value = []byte(EvenFewer)
	assert.Equal(t, FewerFailures, r.do(all).Outcome, "nobody would be left")
	fewer := memberOp(RemoveMember, "node1")
	fewer.Ops[0].Value = []byte(EvenFewer)
	require.Equal(t, Applied, r.do(fewer).Outcome)
	for i := range MaxMembers - 3 {
		require.Equal(t, Applied, r.do(memberOp(AddMember, fmt.Sprintf("m%d", i))).Outcome)
	}
	assert.Equal(t, MembersFull, r.do(memberOp(AddMember, "more")).Outcome)
	for _, cmd := range []Command{
		memberOp(AddMember, "a,b"), memberOp(AddMember, "a b"), memberOp(AddMember, ""), memberOp(AddMember, strings.Repeat("a", MaxMemberNameBytes+1)),
		memberOp(RemoveMember, "a,a"),
		{Ops: []Op{{Kind: AddMember, Key: "a", Value: (&MemberSpec{Address: "h"}).Encode()}}},
		{Ops: []Op{{Kind: FinalizeUpgrade, Value: []byte{1, 2}}}},
		{Ops: []Op{{Kind: PromoteMember, Key: "a", Value: []byte("x")}}},
		{Ops: []Op{{Kind: RemoveMember, Key: "a", Value: []byte("x")}}},
		{Ops: []Op{put("a", "1"), {Kind: PromoteMember, Key: "a"}}},
		{Report: &Report{RaftID: 1, Life: Life{1}}},
		{Report: &Report{RaftID: 1, Life: Life{1}, Version: 1}, Comment: "and more"},
	} {
		_, err := cmd.Encode()
		assert.Error(t, err, "%+v", cmd.Ops)
	}
}

func TestUpgradeIsFinalizedWhenAllMembersKnowTheVersion(t *testing.T) {
	g := testGenesis
	g.Version = MinVersion
	r := newReplicaOf(t, g)
	finalize := Command{Ops: []Op{{Kind: FinalizeUpgrade, Value: []byte{Version}}}}
	for id := range uint64(3) {
		assert.Equal(t, VersionUnknown, r.do(finalize).Outcome)
		r.apply(encode(t, Command{Report: &Report{RaftID: id + 1, Life: Life(g.Cluster), Version: Version}}))
	}
	require.Equal(t, Applied, r.do(memberOp(AddMember, "node4")).Outcome)
	assert.Equal(t, VersionUnknown, r.do(finalize).Outcome, "one has not said")
	r.report(4, 1, Version)
	require.Equal(t, Applied, r.do(finalize).Outcome)
	assert.Equal(t, uint8(Version), r.s.State().Version)
	assert.Equal(t, Unchanged, r.do(finalize).Outcome)
	assert.Equal(t, VersionUnknown, r.do(Command{Ops: []Op{{Kind: FinalizeUpgrade, Value: []byte{Version + 1}}}}).Outcome)
	assert.Equal(t, VersionUnknown, r.do(Command{Ops: []Op{{Kind: FinalizeUpgrade, Value: []byte{MinVersion}}}}).Outcome, "there is no way back")
}

// TestWhetherAnUpgradeIsFinalizedSaysTheStateAlone: a program that took the place of a newer one, of which the state does
// not know yet, stops where the others go over, and goes no other way than they do.
func TestWhetherAnUpgradeIsFinalizedSaysTheStateAlone(t *testing.T) {
	g := testGenesis
	g.Version = MinVersion
	r := newReplicaOf(t, g)
	older := testOptions
	older.MaxVersion = MinVersion
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, Create(path, g, older))
	old, err := Open(path, older)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, old.Close()) })
	follow := func() error {
		_, err := old.Apply(r.log[old.State().Applied:])
		return err
	}
	finalize := Command{Ops: []Op{{Kind: FinalizeUpgrade, Value: []byte{MinVersion + 1}}}}
	finalize.Origin = Origin{Node: 1, Incarnation: 1, Seq: 1}
	b, err := finalize.EncodeAs(MinVersion)
	require.NoError(t, err)
	assert.Equal(t, VersionUnknown, r.apply(b).Outcome)
	require.NoError(t, follow())
	require.Equal(t, r.s.State().Hash, old.State().Hash, "a refusal is the same for both")
	for id := range uint64(3) {
		r.apply(encode(t, Command{Report: &Report{RaftID: id + 1, Life: Life(g.Cluster), Version: MinVersion + 1}}))
	}
	require.NoError(t, follow())
	before := old.State()
	finalize.Origin.Seq++
	b, err = finalize.EncodeAs(MinVersion)
	require.NoError(t, err)
	require.Equal(t, Applied, r.apply(b).Outcome)
	err = follow()
	require.ErrorIs(t, err, ErrUnknownVersion)
	require.ErrorContains(t, err, "the cluster goes over to version 2 of commands, newest known is 1")
	require.Equal(t, before, old.State(), "it stops before it applies that")
}

// TestADatabaseOfAnotherLayoutIsNotDamaged: who finds one would else throw it away, or think that who sent it is damaged.
func TestADatabaseOfAnotherLayoutIsNotDamaged(t *testing.T) {
	r := newReplica(t)
	b := bytes.Clone(r.s.state.encode())
	b[checksumBytes] = layoutVersion + 1
	_, err := decodeLogical(b)
	require.ErrorIs(t, err, ErrDamaged, "but a flipped bit is damage")
	seal(metadata, metaKey, b)
	_, err = decodeLogical(b)
	require.ErrorIs(t, err, ErrUnknownVersion)
	require.NotErrorIs(t, err, ErrDamaged)
}

func TestChangeOfMembersTakesTheVerbOfTheCluster(t *testing.T) {
	r := newReplica(t)
	bob := Principal{Kind: User, Issuer: "i", Object: "bob"}
	ann := Principal{Kind: User, Issuer: "i", Object: "ann"}
	root := Namespace{Roles: []Role{{"operator", VerbCluster}}, Bindings: []Binding{
		{RoleAdmin, []string{ann.String()}}, {"operator", []string{bob.String()}},
	}}
	require.Equal(t, Applied, r.do(Command{Ops: []Op{{Kind: Bootstrap, Value: []byte(ann.String())}}}).Outcome)
	add := memberOp(AddMember, "node4")
	add.Principal = bob
	res := r.do(add)
	assert.Equal(t, Denied, res.Outcome)
	assert.Equal(t, Need{Verbs: VerbCluster}, res.Missing)
	require.Equal(t, Applied, r.do(Command{Principal: ann, Ops: []Op{{Kind: PutNamespace, Value: root.Encode()}}}).Outcome)
	assert.Equal(t, Applied, r.do(add).Outcome)

	v, err := r.s.View()
	require.NoError(t, err)
	defer v.Close()
	ch, err := v.Change(3)
	require.NoError(t, err)
	assert.Equal(t, []ChangedKey{{Kind: AddMember, Key: "node4"}}, ch.Ops)
	require.NoError(t, v.Events(&ch, "", func(e Event) bool { t.Error("a member is no key", e); return false }))
	require.NoError(t, VerifyChain(t.Context(), v))
}

// What the operators want and when nodes come for their seats is drawn; each step is that of a leader, or of one that
// knows less. The configuration follows, one change of a quorum at a time.
func TestMembershipIsSafe(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		r := &replica{t: t, path: filepath.Join(dir, "db")}
		require.NoError(t, Create(r.path, testGenesis, testOptions))
		r.open()
		defer func() {
			require.NoError(t, r.s.Close())
			require.NoError(t, os.Remove(r.path))
		}()
		names := rapid.SampledFrom([]string{"node1", "node2", "node3", "node4", "node5", "node6"})
		steps := []*ConfChange{}
		t.Repeat(map[string]func(*rapid.T){
			"add":     func(t *rapid.T) { r.do(memberOp(AddMember, names.Draw(t, "name"))) },
			"promote": func(t *rapid.T) { r.do(memberOp(PromoteMember, names.Draw(t, "name"))) },
			"remove": func(t *rapid.T) {
				r.do(memberOp(RemoveMember, strings.Join(rapid.SliceOfNDistinct(names, 1, 3, rapid.ID[string]).Draw(t, "names"), ",")))
			},
			"replace": func(t *rapid.T) { r.do(memberOp(ReplaceMember, names.Draw(t, "name"))) },
			"claim": func(*rapid.T) {
				for _, m := range r.s.State().Members {
					r.report(m.RaftID, byte(m.RaftID), Version)
				}
			},
			"step": func(t *rapid.T) {
				st := r.s.State()
				late := rapid.Uint64Range(1, 9).Draw(t, "late")
				if ch := st.NextConf(func(id uint64) bool { return id != late }); ch != nil {
					steps = append(steps, ch)
					r.reconfigure(ch)
				}
			},
			"stale step": func(t *rapid.T) {
				if len(steps) > 0 {
					r.reconfigure(rapid.SampledFrom(steps).Draw(t, "step"))
				}
			},
			"flush": func(*rapid.T) { r.flush(); r.crash() },
			"": func(t *rapid.T) {
				st := r.s.State()
				require.NotEmpty(t, st.Conf.Voters)
				wanted := 0
				for i, m := range st.Members {
					require.False(t, i > 0 && st.Members[i-1].RaftID >= m.RaftID)
					require.LessOrEqual(t, m.RaftID, st.LastRaftID)
					if m.Want == Voter && m.Replaces == 0 {
						wanted++
					}
				}
				require.GreaterOrEqual(t, wanted, 3, "nobody allowed fewer")
				if !st.Conf.Joint() {
					require.GreaterOrEqual(t, len(st.Conf.Voters), 3)
				}
				for _, id := range slices.Concat(st.Conf.Voters, st.Conf.Learners, st.Conf.VotersOutgoing) {
					require.True(t, slices.ContainsFunc(st.Members, func(m Member) bool { return m.RaftID == id && m.Life != Life{} }), "%d has no seat", id)
				}
			},
		})
		for _, m := range r.s.State().Members {
			r.report(m.RaftID, byte(m.RaftID), Version) // who did not come may be waited for
		}
		for range 3 * MaxMembers {
			r.step2()
		}
		st := r.s.State()
		for _, m := range st.Members {
			if m.Life != (Life{}) && m.Replaces == 0 {
				require.Equal(t, m.Want == Voter, slices.Contains(st.Conf.Voters, m.RaftID), "%s: what is wanted comes to be", m.Name)
			}
		}
	})
}

// step2 is step, if there is one to take.
func (r *replica) step2() {
	st := r.s.State()
	if ch := st.NextConf(func(uint64) bool { return true }); ch != nil {
		require.Equal(r.t, ConfChanged, r.reconfigure(ch).Outcome, "%+v", ch)
	}
}
