package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// about are the lines with a text.
func (l *lines) about(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// bootstrapped starts a trio with a subject for each node, and returns what each says of it.
func bootstrapped(t *testing.T, subjects ...string) (*trio, map[string]*lines) {
	t.Helper()
	c := newTrio(t, trioNames...)
	said := make(map[string]*lines)
	for i, name := range c.names {
		said[name] = &lines{}
		cfg := c.configs[name]
		cfg.Bootstrap = subjects[i]
		cfg.Logger = slog.New(slog.NewTextHandler(said[name], nil))
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	return c, said
}

// wait waits for a line of a node, and for no second one.
func (l *lines) wait(t *testing.T, want string) string {
	t.Helper()
	require.Eventually(t, func() bool { return len(l.about("Auth.Bootstrap")) > 0 }, patience, time.Millisecond)
	got := l.about("Auth.Bootstrap")
	require.Len(t, got, 1)
	require.Contains(t, got[0], want)
	return got[0]
}

func TestBootstrapBindsTheFirstAdministratorOnce(t *testing.T) {
	c, said := bootstrapped(t, alice, alice, "")
	said["node1"].wait(t, alice)
	said["node2"].wait(t, alice)
	r := c.runners["node3"]
	require.NoError(t, r.Linearize(t.Context()))
	v, _, err := r.View()
	require.NoError(t, err)
	assert.Equal(t, []string{alice}, adminsOf(v.Policy()))
	assert.Equal(t, fsm.Revision(1), v.Revision(), "one change, however many nodes ask for it")
	ch, err := v.Change(1)
	v.Close()
	require.NoError(t, err)
	assert.Regexp(t, "^Auth.Bootstrap in the configuration of node node[12]$", ch.Comment)
	assert.NotZero(t, ch.At)
	assert.Empty(t, said["node3"].about("Auth.Bootstrap"))

	// Whoever administers it already stays the only one.
	c.close("node3")
	cfg := c.configs["node3"]
	cfg.Bootstrap = bob
	c.configs["node3"] = cfg
	c.start("node3")
	line := said["node3"].wait(t, "level=WARN")
	assert.Contains(t, line, alice)
	assert.Contains(t, line, bob)
	c.close("node2")
	said["node2"].mu.Lock()
	said["node2"].buf.Reset()
	said["node2"].mu.Unlock()
	c.start("node2")
	said["node2"].wait(t, "has no effect")
	c.agree()
	assert.Equal(t, fsm.Revision(1), c.runners["node2"].Status().State.Revision)
}

// TestBootstrapRace: of two subjects one wins, and who named the other is told of both.
func TestBootstrapRace(t *testing.T) {
	c, said := bootstrapped(t, alice, bob, "")
	winner, loser := "node1", "node2"
	require.Eventually(t, func() bool {
		return len(said[winner].about("Auth.Bootstrap")) > 0 && len(said[loser].about("Auth.Bootstrap")) > 0
	}, patience, time.Millisecond)
	if len(said[winner].about("level=WARN")) > 0 {
		winner, loser = loser, winner
	}
	said[winner].wait(t, "level=INFO")
	line := said[loser].wait(t, "level=WARN")
	assert.Contains(t, line, alice)
	assert.Contains(t, line, bob)
	v, _, err := c.runners[loser].View()
	require.NoError(t, err)
	admins := adminsOf(v.Policy())
	v.Close()
	assert.Equal(t, []string{c.configs[winner].Bootstrap}, admins)
}

func TestBootstrapStopsWithItsNode(t *testing.T) {
	c := newTrio(t, trioNames...)
	for _, name := range c.names {
		cfg := c.configs[name]
		cfg.Bootstrap = alice
		c.configs[name] = cfg
	}
	c.start("node1") // alone it forms no cluster
	c.close("node1") // noLeaks sees whether it waits on
}

func TestBootstrapMustBeASubject(t *testing.T) {
	c := newTrio(t, "node1")
	cfg := c.configs["node1"]
	cfg.Bootstrap = "alice"
	_, err := Start(cfg)
	require.ErrorContains(t, err, `Bootstrap: fsm: subject "alice": `)
}

// flaky is a node whose cluster has troubles; a real store is behind it.
type flaky struct {
	*watched
	linearize []error // of the calls to come; then none
	propose   []error
	lost      bool // the last of propose was applied though nobody heard
	asked     []time.Time
}

func (f *flaky) View() (*fsm.View, Freshness, error) {
	v, err := f.store.View()
	return v, Freshness{}, err
}

func (f *flaky) Linearize(context.Context) error {
	f.asked = append(f.asked, time.Now())
	if len(f.linearize) == 0 {
		return nil
	}
	err := f.linearize[0]
	f.linearize = f.linearize[1:]
	return err
}

func (f *flaky) Propose(_ context.Context, cmd *fsm.Command) (fsm.Result, error) {
	if len(f.propose) == 0 {
		return f.applied(cmd), nil
	}
	err := f.propose[0]
	if f.propose = f.propose[1:]; f.lost && len(f.propose) == 0 {
		f.applied(cmd)
	}
	return fsm.Result{}, err
}

// TestBootstrapTriesAgain: through whatever comes, with pauses that grow while the cluster does
// not work, and do not while it is not formed.
func TestBootstrapTriesAgain(t *testing.T) {
	unknown := &WriteError{Outcome: Unknown, Err: context.DeadlineExceeded}
	for name, c := range map[string]struct {
		node  *flaky
		after []time.Duration // when it asks, since the start
		want  string
	}{
		"forming": {
			&flaky{linearize: []error{ErrForming, ErrForming, ErrForming}},
			[]time.Duration{0, 100, 200, 300, 300},
			"has its first administrator",
		},
		"no quorum, long": {
			&flaky{linearize: []error{ErrNoQuorum, ErrNoQuorum, ErrNoQuorum, ErrNoQuorum, ErrNoQuorum, ErrNoQuorum, ErrNoQuorum}},
			[]time.Duration{0, 200, 600, 1400, 3000, 6200, 11200, 16200, 16200},
			"has its first administrator",
		},
		"not applied": {
			&flaky{propose: []error{&WriteError{Outcome: NotApplied, Err: ErrNoQuorum}}},
			[]time.Duration{0, 200, 200},
			"has its first administrator",
		},
		"applied, and nobody heard": {
			&flaky{propose: []error{unknown}, lost: true},
			[]time.Duration{0, 200},
			"has its first administrator",
		},
		"stopped": {&flaky{linearize: []error{ErrStopped}}, []time.Duration{0}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				c.node.watched = newWatched(t, dir, WatchLimits{})
				defer c.node.close()
				said := &lines{}
				b := &bootstrap{node: c.node, name: "node1", subject: alice, stop: make(chan struct{}), now: time.Now, log: slog.New(slog.NewTextHandler(said, nil))}
				start := time.Now()
				b.run()
				var after []time.Duration
				for _, at := range c.node.asked {
					after = append(after, at.Sub(start)/time.Millisecond)
				}
				assert.Equal(t, c.after, after)
				got := said.about("Auth.Bootstrap")
				if c.want == "" {
					assert.Empty(t, got)
					return
				}
				require.Len(t, got, 1)
				assert.Contains(t, got[0], c.want)
			})
		})
	}
}

// TestBootstrapIsToldOnceThatItDoesNotWork, and ends when the node is to stop.
func TestBootstrapIsToldOnceThatItDoesNotWork(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		node := &full{&flaky{watched: newWatched(t, dir, WatchLimits{})}}
		defer node.close()
		stop, said := make(chan struct{}), &lines{}
		time.AfterFunc(time.Minute, func() { close(stop) })
		(&bootstrap{node: node, name: "node1", subject: alice, stop: stop, now: time.Now, log: slog.New(slog.NewTextHandler(said, nil))}).run()
		got := said.about("Auth.Bootstrap")
		require.Len(t, got, 1)
		assert.Contains(t, got[0], "cannot be bound")
		assert.Contains(t, got[0], fsm.PolicyFull.String())
		assert.Greater(t, len(node.asked), 10)
	})
}

// full is a node whose policy has no room.
type full struct{ *flaky }

func (f *full) Propose(context.Context, *fsm.Command) (fsm.Result, error) {
	return fsm.Result{Outcome: fsm.PolicyFull}, nil
}
