package node

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// change proposes an operation on members until it is answered.
func (c *trio) change(kind fsm.OpKind, key string) fsm.Result {
	c.t.Helper()
	op := fsm.Op{Kind: kind, Key: key}
	if kind == fsm.AddMember || kind == fsm.ReplaceMember {
		op.Value = (&fsm.MemberSpec{Address: "10.0.0.9", APIPort: 5000, RaftPort: 5001}).Encode()
	}
	var res fsm.Result
	require.Eventually(c.t, func() bool {
		ctx, cancel := context.WithTimeout(c.t.Context(), patience)
		defer cancel()
		var err error
		res, err = c.runners[c.leader()].Propose(ctx, &fsm.Command{AcceptedAt: 1, Ops: []fsm.Op{op}})
		return err == nil
	}, patience, time.Millisecond)
	return res
}

// sit starts a node with an empty directory on the newest seat of its name.
func (c *trio) sit(name, dir string) error {
	c.t.Helper()
	s := c.runners[c.leader()].Status().State
	i := len(s.Members) - 1
	for s.Members[i].Name != name {
		i--
	}
	cfg := c.configs["node1"]
	cfg.Name, cfg.Names, cfg.Dir = name, []string{name}, dir
	cfg.Seat = &Seat{Cluster: s.Cluster, RaftID: s.Members[i].RaftID, Name: name, Membership: membershipOf(s)}
	text := cfg.Seat.String()
	seat, err := ParseSeat(text[:20] + "\n " + text[20:])
	require.NoError(c.t, err)
	require.Equal(c.t, cfg.Seat, seat)
	c.configs[name] = cfg
	r, err := Start(cfg)
	if err == nil {
		c.runners[name] = r
	}
	return err
}

// voters waits until these are, and nobody else.
func (c *trio) voters(want ...uint64) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		for _, r := range c.runners {
			if conf := r.Status().State.Conf; !slices.Equal(conf.Voters, want) || conf.Joint() {
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond)
}

// removed waits until a node has stopped because it was removed.
func (c *trio) removed(name string) {
	c.t.Helper()
	select {
	case <-c.runners[name].Done():
	case <-time.After(patience):
		require.Fail(c.t, "it goes on", name)
	}
	require.ErrorIs(c.t, c.runners[name].Close(), ErrRemoved)
	delete(c.runners, name)
}

func TestMembersComeAndGo(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	mustPut(t, c.runners["node1"], "a", "1")
	root := filepath.Dir(c.configs["node1"].Dir)

	require.Equal(t, fsm.Applied, c.change(fsm.AddMember, "node4").Outcome)
	require.Equal(t, fsm.Applied, c.change(fsm.AddMember, "node5").Outcome)
	require.NoError(t, c.sit("node4", filepath.Join(root, "node4")))
	require.NoError(t, c.sit("node5", filepath.Join(root, "node5")))
	require.Equal(t, fsm.Applied, c.change(fsm.PromoteMember, "node4,node5").Outcome)
	c.voters(1, 2, 3, 4, 5)
	c.ready()
	mustPut(t, c.runners["node5"], "b", "2")

	require.Equal(t, fsm.FewerFailures, c.change(fsm.RemoveMember, "node2,node3,node4").Outcome)
	leader := c.leader()
	other := "node4"
	if leader == other {
		other = "node5"
	}
	require.Equal(t, fsm.Applied, c.change(fsm.RemoveMember, leader+","+other).Outcome)
	c.removed(leader)
	c.removed(other)
	mustPut(t, c.runners[c.leader()], "c", "3")
	r, err := Start(c.configs[leader])
	if err == nil { // its state need not say so
		c.runners[leader] = r
		c.removed(leader)
	} else {
		require.ErrorIs(t, err, ErrRemoved)
	}
	for name, r := range c.runners {
		for key, value := range map[string]string{"a": "1", "b": "2", "c": "3"} {
			require.NoError(t, r.Linearize(t.Context()), name)
			mustGet(t, r, key, value)
		}
	}
}

func TestLostDiskIsReplaced(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	mustPut(t, c.runners["node1"], "a", "1")
	c.kill("node2")
	root := filepath.Dir(c.configs["node1"].Dir)
	require.Equal(t, fsm.Applied, c.change(fsm.ReplaceMember, "node2").Outcome)
	require.NoError(t, c.sit("node2", filepath.Join(root, "another")))
	c.voters(1, 3, 4)
	mustPut(t, c.runners["node2"], "b", "2")
	mustGet(t, c.runners["node2"], "a", "1")

	cfg := c.configs["node2"]
	c.close("node2")
	c.start("node2") // the seat is no matter any more
	c.ready()
	c.close("node2")
	cfg.Dir = filepath.Join(root, "emptied")
	r, err := Start(cfg)
	require.NoError(t, err)
	select {
	case <-r.Done():
	case <-time.After(patience):
		require.Fail(t, "a seat was given twice")
	}
	require.ErrorIs(t, r.Close(), ErrDiskLost)
}

// Who was away while all others were replaced hears who they are from one that it knows.
func TestWhoLagsHearsOfNewMembers(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	c.kill("node1")
	root := filepath.Dir(c.configs["node2"].Dir)
	for i := range 2 {
		name := fmt.Sprintf("node%d", 4+i)
		require.Equal(t, fsm.Applied, c.change(fsm.AddMember, name).Outcome)
		require.NoError(t, c.sit(name, filepath.Join(root, name)))
	}
	require.Equal(t, fsm.Applied, c.change(fsm.PromoteMember, "node4,node5").Outcome)
	c.voters(1, 2, 3, 4, 5)
	for leader := c.leader(); leader != "node4"; leader = c.leader() {
		if err := c.runners[leader].TransferLeadership(t.Context(), "node4"); err != nil {
			require.ErrorIs(t, err, ErrNotLeader)
		}
	}
	c.start("node1")
	require.Eventually(t, func() bool { return c.runners["node1"].Status().Leader != 0 }, patience, time.Millisecond)
	assert.NotEmpty(t, c.leader())
}

// All drain: leadership is handed on once, and not round and round.
func TestAllDrain(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	for _, r := range c.runners {
		go func() { _ = r.Drain(t.Context()) }()
	}
	for _, r := range c.runners {
		require.Eventually(t, r.Draining, patience, time.Millisecond)
	}
	term := c.runners["node1"].Status().Term
	for i := range 20 {
		mustPut(t, c.runners["node1"], "a", fmt.Sprint(i))
	}
	require.Eventually(t, func() bool {
		s := c.runners[c.leader()].Status()
		return s.Draining
	}, patience, time.Millisecond)
	assert.Less(t, c.runners["node1"].Status().Term, term+10)
	for _, r := range c.runners {
		assert.False(t, r.Status().Ready)
		r.Undrain()
	}
	c.ready()
}

// TestSeatThatWasCalledOff: who comes for it hears so, and does not wait for ever.
func TestSeatThatWasCalledOff(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	require.Equal(t, fsm.Applied, c.change(fsm.AddMember, "node4").Outcome)
	require.NoError(t, c.sit("node4", filepath.Join(filepath.Dir(c.configs["node1"].Dir), "node4")))
	cfg := c.configs["node4"]
	c.close("node4")
	require.Equal(t, fsm.Applied, c.change(fsm.RemoveMember, "node4").Outcome)
	cfg.Dir += "again"
	r, err := Start(cfg)
	require.NoError(t, err)
	c.runners["node4"] = r
	c.removed("node4")
}
