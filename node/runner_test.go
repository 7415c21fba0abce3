package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/wal"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// trio is three runners and what is needed to start them again.
type trio struct {
	t       *testing.T
	mesh    *mesh
	names   []string
	configs map[string]RunnerConfig
	runners map[string]*Runner
}

var trioNames = []string{"node1", "node2", "node3"}

func newTrio(t *testing.T, names ...string) *trio {
	t.Helper()
	noLeaks(t)
	c := &trio{t: t, mesh: newMesh(), names: names, configs: make(map[string]RunnerConfig), runners: make(map[string]*Runner)}
	root := t.TempDir()
	tick := 10 * time.Millisecond
	if len(names) == 1 {
		tick = 2 * time.Millisecond // no vote can be split
	}
	for _, name := range names {
		c.configs[name] = RunnerConfig{
			// Small, so that elections and flushes happen within a test.
			Settings: Settings{TickInterval: tick, FlushInterval: 50 * time.Millisecond, Checks: true},
			Dir:      filepath.Join(root, name),
			Name:     name,
			Names:    names,
			Dial:     c.mesh.dial,
			Logger:   slog.New(slog.NewTextHandler(&testWriter{t: t}, nil)),

			logOptions: wal.Options{SegmentBytes: 64 << 10},
		}
	}
	t.Cleanup(func() {
		for _, r := range c.runners {
			_ = r.Close()
		}
	})
	return c
}

// start starts the named nodes, or all.
func (c *trio) start(names ...string) {
	c.t.Helper()
	if len(names) == 0 {
		names = c.names
	}
	for _, name := range names {
		r, err := Start(c.configs[name])
		require.NoError(c.t, err)
		c.runners[name] = r
	}
}

// ready waits until the nodes that run say that they are ready.
func (c *trio) ready() {
	c.t.Helper()
	for _, r := range c.runners {
		require.Eventually(c.t, func() bool { return r.Status().Ready }, patience, time.Millisecond)
	}
}

// leader waits for a leader and returns its name.
func (c *trio) leader() string {
	c.t.Helper()
	var leader string
	require.Eventually(c.t, func() bool {
		for name, r := range c.runners {
			if r.Status().Role == Leader {
				leader = name
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	return leader
}

// kill makes a node stop as if its process had died: nothing is flushed or proven.
func (c *trio) kill(name string) {
	c.t.Helper()
	r := c.runners[name]
	r.fail(errKilled)
	require.ErrorIs(c.t, r.Close(), errKilled)
	delete(c.runners, name)
}

var errKilled = errors.New("killed by the test")

func (c *trio) close(name string) {
	c.t.Helper()
	require.NoError(c.t, c.runners[name].Close())
	delete(c.runners, name)
}

// testWriter logs to the test while it runs.
type testWriter struct {
	t  *testing.T
	mu sync.Mutex
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// noLeaks checks, after everything else, that no goroutine of this package is left.
func noLeaks(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		ok := assert.Eventually(t, func() bool {
			left = ""
			buf := make([]byte, 1<<20)
			for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
				if strings.Contains(g, "node.(*Runner)") || strings.Contains(g, "node.(*port)") {
					left += g + "\n\n"
				}
			}
			return left == ""
		}, patience, 5*time.Millisecond)
		if !ok {
			t.Log("left running:\n" + left)
		}
	})
}

func put(key, value string) *fsm.Command {
	return &fsm.Command{
		RequestID:  "test",
		AcceptedAt: 1,
		Source:     netip.MustParseAddr("127.0.0.1"),
		Ops:        []fsm.Op{{Kind: fsm.Put, Key: key, Value: []byte(value), ContentType: "text/plain"}},
	}
}

func mustPut(t *testing.T, r *Runner, key, value string) {
	t.Helper()
	res, err := r.Propose(t.Context(), put(key, value))
	require.NoError(t, err)
	require.Equal(t, fsm.Applied, res.Outcome)
}

// get reads linearizably.
func get(t *testing.T, r *Runner, key string) (string, bool) {
	t.Helper()
	require.NoError(t, r.Linearize(t.Context()))
	v, fresh, err := r.View()
	require.NoError(t, err)
	defer v.Close()
	rec, ok, err := v.Get(key)
	require.NoError(t, err)
	age, proven := fresh.Age()
	require.True(t, !proven || age > 0)
	return string(rec.Value), ok
}

func mustGet(t *testing.T, r *Runner, key, want string) {
	t.Helper()
	got, ok := get(t, r, key)
	require.Truef(t, ok, "%s is absent", key)
	require.Equal(t, want, got)
}

// agree waits until all nodes that run are at one index with one hash.
func (c *trio) agree() {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		seen := make(map[string]bool)
		for _, r := range c.runners {
			s := r.Status().State
			seen[fmt.Sprintf("%d %x", s.Applied, s.Hash)] = true
		}
		return len(seen) == 1
	}, patience, time.Millisecond)
}

func TestThreeRunners(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()

	for _, name := range c.names {
		mustPut(t, c.runners[name], "by/"+name, "first")
		for _, other := range c.names {
			mustGet(t, c.runners[other], "by/"+name, "first")
		}
	}
	st := c.runners["node1"].Status()
	assert.True(t, st.Formed)
	assert.Empty(t, st.Waiting)
	assert.NotZero(t, st.Cluster)
	assert.Equal(t, fsm.Revision(3), st.State.Revision)
	for _, r := range c.runners {
		assert.Equal(t, st.Cluster, r.Status().Cluster)
	}

	// A follower goes in order and comes back: it lacks what was written meanwhile.
	leader := c.leader()
	follower := c.names[0]
	if follower == leader {
		follower = c.names[1]
	}
	before := c.runners[follower].Status()
	c.close(follower)
	mustPut(t, c.runners[leader], "meanwhile", "1")
	c.start(follower)
	assert.Equal(t, before.Incarnation+1, c.runners[follower].Status().Incarnation)
	assert.GreaterOrEqual(t, c.runners[follower].Status().Durable, before.Applied, "Close flushed")
	mustGet(t, c.runners[follower], "meanwhile", "1")
	mustPut(t, c.runners[follower], "again", "2")

	// The leader dies; the others go on, and it comes back with what its log holds.
	leader = c.leader()
	c.kill(leader)
	for name, r := range c.runners {
		mustPut(t, r, "without/"+name, "3")
	}
	c.start(leader)
	mustGet(t, c.runners[leader], "by/"+leader, "first")
	for name := range c.runners {
		if name != leader {
			mustGet(t, c.runners[leader], "without/"+name, "3")
		}
	}
	c.ready()
	c.agree()
}

// A write that was acknowledged outlives all nodes at once, though none flushed.
func TestAllKilled(t *testing.T) {
	c := newTrio(t, trioNames...)
	for name, cfg := range c.configs {
		cfg.FlushInterval = time.Hour
		c.configs[name] = cfg
	}
	c.start()
	c.ready()
	for i := range 50 {
		mustPut(t, c.runners[c.names[i%3]], fmt.Sprintf("key/%d", i), "value")
	}
	for _, name := range c.names {
		assert.Zero(t, c.runners[name].Status().Durable)
		c.kill(name)
	}
	c.start()
	for i := range 50 {
		mustGet(t, c.runners[c.names[(i+1)%3]], fmt.Sprintf("key/%d", i), "value")
	}
	c.agree()
}

func TestManyAtOnce(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	one := func(r *Runner, key string) error {
		if _, err := r.Propose(t.Context(), put(key, "x")); err != nil {
			return err
		}
		if err := r.Linearize(t.Context()); err != nil {
			return err
		}
		v, _, err := r.View()
		if err != nil {
			return err
		}
		defer v.Close()
		if _, ok, err := v.Get(key); err != nil || !ok {
			return fmt.Errorf("%s was acknowledged and is not there: %w", key, err)
		}
		return nil
	}
	errs := make(chan error, 16*20)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 20 {
				errs <- one(c.runners[c.names[w%3]], fmt.Sprintf("%d/%d", w, i))
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	c.agree()
	assert.Equal(t, fsm.Revision(16*20), c.runners["node1"].Status().State.Revision)
}

func TestBeforeItIsFormed(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start("node1", "node2")
	r := c.runners["node1"]
	_, err := r.Propose(t.Context(), put("a", "b"))
	var we *WriteError
	require.ErrorAs(t, err, &we)
	assert.Equal(t, NotApplied, we.Outcome)
	require.ErrorIs(t, err, ErrForming)
	require.ErrorIs(t, r.Linearize(t.Context()), ErrForming)
	_, _, err = r.View()
	require.ErrorIs(t, err, ErrForming)
	require.Eventually(t, func() bool {
		w := r.Status().Waiting
		return len(w) == 1 && strings.Contains(w[0], "node3")
	}, patience, time.Millisecond)
	assert.False(t, r.Status().Ready)
	assert.False(t, r.Status().Formed)

	// They may stop and start again before the last one comes.
	c.close("node1")
	c.kill("node2")
	_, err = r.Propose(t.Context(), put("a", "b"))
	require.ErrorIs(t, err, ErrStopped)
	c.start()
	c.ready()
	mustPut(t, c.runners["node3"], "a", "b")
	mustGet(t, c.runners["node1"], "a", "b")
}

// inTime is what the core answers to a write, or without one to Linearize, that has so much time.
// Unlike those who call with a context, it waits for the answer however long a starved machine takes.
func inTime(t *testing.T, r *Runner, d time.Duration, cmd *fsm.Command) error {
	t.Helper()
	w := newWaiter(cmd != nil)
	var b []byte
	if cmd != nil {
		var err error
		b, err = cmd.Encode()
		require.NoError(t, err)
	}
	require.NoError(t, r.inbox.request(w, b, bootTime()+d))
	return (<-w.answer).err
}

func TestWithoutQuorum(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	leader := c.leader()
	r := c.runners[leader]
	id := r.Status().ID
	mustPut(t, r, "a", "1")

	c.mesh.isolate(id, true)
	// The deadline's end comes from the core, which knows what it did with the write.
	var we *WriteError
	err := inTime(t, r, 200*time.Millisecond, put("a", "2"))
	require.ErrorAs(t, err, &we)
	require.ErrorIs(t, err, ErrNoQuorum)
	require.ErrorIs(t, inTime(t, r, 200*time.Millisecond, nil), ErrNoQuorum)

	// A caller that goes away hears nothing about its write.
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	_, err = r.Propose(ctx, put("a", "3"))
	require.ErrorAs(t, err, &we)
	require.ErrorIs(t, err, context.Canceled)
	_, err = r.Propose(ctx, put("a", "4"))
	require.ErrorAs(t, err, &we)
	assert.Equal(t, NotApplied, we.Outcome, "it was never proposed")
	require.ErrorIs(t, r.Linearize(ctx), context.Canceled)

	// It gives up leadership, and then knows that a write went nowhere.
	require.Eventually(t, func() bool { return r.Status().Leader == 0 }, patience, time.Millisecond)
	err = inTime(t, r, 100*time.Millisecond, put("a", "5"))
	require.ErrorAs(t, err, &we)
	require.ErrorIs(t, err, ErrNoQuorum)
	assert.Equal(t, NotApplied, we.Outcome)

	c.mesh.isolate(id, false)
	mustPut(t, r, "b", "1")
	c.agree()
	got, _ := get(t, r, "a")
	assert.NotContains(t, []string{"4", "5"}, got)
}

func TestSingleNode(t *testing.T) {
	c := newTrio(t, "only")
	c.start()
	c.ready()
	mustPut(t, c.runners["only"], "a", "1")
	c.kill("only")
	c.start()
	mustGet(t, c.runners["only"], "a", "1")
	c.close("only")
	c.start()
	st := c.runners["only"].Status()
	assert.Equal(t, st.Applied, st.Durable)
	mustGet(t, c.runners["only"], "a", "1")
}

// What Close interrupts is answered, once and truthfully.
func TestCloseAnswersEveryone(t *testing.T) {
	c := newTrio(t, trioNames...)
	c.start()
	c.ready()
	leader := c.leader()
	r := c.runners[leader]
	c.mesh.isolate(r.Status().ID, true)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			_, err := r.Propose(context.Background(), put(fmt.Sprintf("k%d", i), "v"))
			errs <- err
		}()
		go func() { errs <- r.Linearize(context.Background()) }()
	}
	require.Eventually(t, func() bool { st := r.Status(); return st.Proposals+st.Reads >= 16 || st.Leader == 0 }, patience, time.Millisecond)
	c.close(leader)
	for range 16 {
		err := <-errs
		var we *WriteError
		if errors.As(err, &we) {
			assert.Contains(t, []Outcome{Unknown, NotApplied}, we.Outcome)
		}
		require.ErrorIs(t, err, ErrStopped)
	}
	_, _, err := r.View()
	require.ErrorIs(t, err, ErrStopped)
	require.ErrorIs(t, r.Linearize(t.Context()), ErrStopped)
	require.NoError(t, r.Close(), "again")
}

// A failed write or sync of the log stops the node for good, whatever it was
// doing, and loses nothing that was acknowledged.
func TestLogFails(t *testing.T) {
	for _, op := range []string{"write", "sync"} {
		t.Run(op, func(t *testing.T) {
			c := newTrio(t, "only")
			var f faults
			cfg := c.configs["only"]
			healthy := cfg
			cfg.openFS = func(path string) wal.FS { return &faultyFS{FS: dirFS(path), faults: &f} }
			c.configs["only"] = cfg
			c.start()
			c.ready()
			r := c.runners["only"]
			mustPut(t, r, "before", "1")
			f.fail(op)
			_, err := r.Propose(t.Context(), put("during", "1"))
			var we *WriteError
			require.ErrorAs(t, err, &we)
			require.ErrorIs(t, err, ErrStopped)
			assert.Equal(t, Unknown, we.Outcome)
			<-r.Done()
			require.ErrorIs(t, r.Err(), errInjected)
			assert.Contains(t, r.Err().Error(), "writing the log")
			assert.Contains(t, r.Err().Error(), "see to the disk")
			require.ErrorIs(t, r.Close(), errInjected)

			c.configs["only"] = healthy
			c.start()
			mustGet(t, c.runners["only"], "before", "1")
			mustPut(t, c.runners["only"], "after", "1")
		})
	}
}

// A node that a fault stops at any step of forming its cluster starts again and forms it.
func TestFormingFails(t *testing.T) {
	for n := 1; ; n++ {
		c := newTrio(t, "only")
		f := failAt(n)
		cfg := c.configs["only"]
		cfg.openFS = func(path string) wal.FS { return &faultyFS{FS: dirFS(path), faults: f} }
		r, err := Start(cfg)
		if err == nil {
			require.Eventually(t, func() bool { return r.Status().Leader != 0 || r.stopping() }, patience, time.Millisecond)
			err = r.Close()
		}
		if err == nil {
			require.Greater(t, n, 10, "the faults hit nothing")
			return
		}
		require.ErrorIsf(t, err, errInjected, "operation %d", n)
		c.start()
		mustPut(t, waitFormed(t, c.runners["only"]), "a", "1")
		c.close("only")
	}
}

// A command of a version that the program does not know stops the node before it
// is applied, and again at each start, until a program that knows it is started.
func TestUnknownVersion(t *testing.T) {
	c := newTrio(t, "only")
	c.start()
	c.ready()
	r := c.runners["only"]
	mustPut(t, r, "before", "1")
	b, err := put("after", "1").Encode()
	require.NoError(t, err)
	b[0]++
	w := newWaiter(true)
	require.NoError(t, r.inbox.request(w, b, bootTime()+MaxWriteWait))
	a := <-w.answer
	require.ErrorIs(t, a.err, ErrStopped)
	for range 2 {
		<-r.Done()
		err := r.Close()
		require.ErrorIs(t, err, fsm.ErrUnknownVersion)
		require.ErrorContains(t, err, "start the release that the other members run")
		c.start()
		r = c.runners["only"]
	}
}

// A log that cannot be closed in order is an error of Close; nothing is lost.
func TestFaultDuringClose(t *testing.T) {
	c := newTrio(t, "only")
	cfg := c.configs["only"]
	healthy := cfg
	var f faults
	cfg.openFS = func(path string) wal.FS { return &faultyFS{FS: dirFS(path), faults: &f} }
	c.configs["only"] = cfg
	c.start()
	c.ready()
	mustPut(t, c.runners["only"], "a", "1")
	f.fail("sync")
	err := c.runners["only"].Close()
	require.ErrorIs(t, err, errInjected)
	require.ErrorContains(t, err, "while stopping")
	c.configs["only"] = healthy
	c.start()
	mustGet(t, c.runners["only"], "a", "1")
}

func TestDirectories(t *testing.T) {
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			t.Helper()
			for _, name := range names {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, name)))
			}
		}
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		cfg   func(*RunnerConfig)
		err   error  // of Start, or nil
		text  string // that err must contain; empty: Start succeeds
	}{
		"as it was":             {},
		"store is missing":      {spoil: remove(storeFile)},
		"log is missing":        {spoil: remove(logDir), err: ErrDiskLost, text: "log is missing"},
		"log and store missing": {spoil: remove(logDir, storeFile), err: ErrDiskLost, text: "log is missing"},
		"identity is missing":   {spoil: remove(identityFile), err: ErrDiskLost, text: "no identity"},
		"only the log is left":  {spoil: remove(identityFile, storeFile), err: ErrDiskLost, text: "holds log"},
		"identity is damaged": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), []byte("{}"), 0o600))
			},
			err: ErrIdentityDamaged, text: "must be replaced",
		},
		"of another node": {
			cfg: func(c *RunnerConfig) { c.Name, c.Names = "other", []string{"other"} }, text: "belongs to node only",
		},
		"of another cluster": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				fsys := dirFS(dir)
				id, err := LoadIdentity(fsys)
				require.NoError(t, err)
				id.Members = append(id.Members, fsm.Member{RaftID: 2, Name: "elsewhere"})
				require.NoError(t, StoreIdentity(fsys, id))
			},
			text: "elsewhere is not configured",
		},
		"store is damaged": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				require.NoError(t, os.Truncate(filepath.Join(dir, storeFile), 4096))
			},
			err: fsm.ErrDamaged, text: "move the file away",
		},
		"store is ahead of the log": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				require.NoError(t, os.RemoveAll(filepath.Join(dir, logDir)))
				d := dataDir{path: dir, openFS: dirFS}
				require.NoError(t, d.createLog(1))
			},
			err: ErrInconsistent, text: "must be replaced",
		},
		"log is damaged": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				segments, err := filepath.Glob(filepath.Join(dir, logDir, "*.log"))
				require.NoError(t, err)
				require.Len(t, segments, 1)
				b, err := os.ReadFile(segments[0])
				require.NoError(t, err)
				b[bytes.Index(b, []byte("text/plain"))] ^= 1
				require.NoError(t, os.WriteFile(segments[0], b, 0o600))
			},
			err: wal.ErrDamaged, text: "rejoin the cluster as a new member",
		},
		"store of another cluster": {
			spoil: func(t *testing.T, dir string) {
				t.Helper()
				require.NoError(t, os.Remove(filepath.Join(dir, storeFile)))
				require.NoError(t, fsm.Create(filepath.Join(dir, storeFile), fsm.Genesis{Cluster: fsm.ClusterID{9}, Members: []fsm.Member{{RaftID: 1, Name: "only"}}}, fsm.Options{}))
			},
			text: "state of cluster 09",
		},
		"configured to be more than the cluster": {
			cfg: func(c *RunnerConfig) { c.Names = []string{"new1", "new2", "only"} }, text: "new1 is no member",
		},
		"not a member of its own cluster": {
			cfg: func(c *RunnerConfig) { c.Names = []string{"someone"} }, text: "not among the configured members",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTrio(t, "only")
			w.start()
			mustPut(t, waitFormed(t, w.runners["only"]), "a", "1")
			w.close("only")
			cfg := w.configs["only"]
			if c.spoil != nil {
				c.spoil(t, cfg.Dir)
			}
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			r, err := Start(cfg)
			if c.text == "" {
				require.NoError(t, err)
				w.runners["only"] = r
				mustGet(t, r, "a", "1")
				return
			}
			require.ErrorContains(t, err, c.text)
			if c.err != nil {
				require.ErrorIs(t, err, c.err)
			}
			// Nothing is left locked.
			d, err := openDataDir(w.configs["only"].Dir, dirFS, wal.Options{})
			require.NoError(t, err)
			require.NoError(t, d.close())
		})
	}
}

func waitFormed(t *testing.T, r *Runner) *Runner {
	t.Helper()
	require.Eventually(t, func() bool { return r.Status().Formed }, patience, time.Millisecond)
	return r
}

func TestDialFails(t *testing.T) {
	c := newTrio(t, "only")
	cfg := c.configs["only"]
	cfg.Dial = func(Peering, transport.Handler) (Transport, error) { return nil, errInjected }
	_, err := Start(cfg)
	require.ErrorIs(t, err, errInjected)
	c.start()
	waitFormed(t, c.runners["only"])
	c.close("only")
	_, err = Start(cfg)
	require.ErrorIs(t, err, errInjected)
	c.start()
	mustPut(t, c.runners["only"], "a", "1")
}

const holdEnv = "CONFMAN_TEST_HOLD_DIRECTORY"

// TestMain runs the tests, or, as a child of TestLock, holds a directory's lock.
func TestMain(m *testing.M) {
	dir := os.Getenv(holdEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if _, err := openDataDir(dir, dirFS, wal.Options{}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("locked")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestLock(t *testing.T) {
	c := newTrio(t, "only")
	cfg := c.configs["only"]
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), holdEnv+"="+cfg.Dir)
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line := make([]byte, len("locked\n"))
	_, err = io.ReadFull(stdout, line)
	require.NoError(t, err)
	require.Equal(t, "locked\n", string(line))

	_, err = Start(cfg)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, cfg.Dir)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", child.Process.Pid))

	require.NoError(t, stdin.Close())
	require.NoError(t, child.Wait())
	c.start()
	// And within one process.
	_, err = Start(cfg)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", os.Getpid()))
	mustPut(t, waitFormed(t, c.runners["only"]), "a", "1")
}

func TestLogsLeaders(t *testing.T) {
	c := newTrio(t, "only")
	cfg := c.configs["only"]
	var mu sync.Mutex
	var buf bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return buf.Write(b)
	}), nil))
	c.configs["only"] = cfg
	c.start()
	c.ready()
	c.close("only")
	mu.Lock()
	defer mu.Unlock()
	assert.Regexp(t, `msg="the leader changed" node=only term=1 index=\d+ revision=0 role=leader leader=1\n`, buf.String())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// BenchmarkPropose is the price of a write with nothing but the disk in the way.
func BenchmarkPropose(b *testing.B) {
	for _, proposers := range []int{1, 64} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) {
			r, err := Start(RunnerConfig{Dir: b.TempDir(), Name: "only", Names: []string{"only"}, Dial: newMesh().dial})
			require.NoError(b, err)
			for !r.Status().Ready {
				runtime.Gosched()
			}
			work := make(chan int)
			var wg sync.WaitGroup
			for range proposers {
				wg.Go(func() {
					for i := range work {
						_, err := r.Propose(context.Background(), put(fmt.Sprintf("bench/%d", i%100_000), fmt.Sprint(i)))
						assert.NoError(b, err)
					}
				})
			}
			b.ResetTimer()
			for i := range b.N {
				work <- i
			}
			close(work)
			wg.Wait()
			b.StopTimer()
			require.NoError(b, r.Close())
		})
	}
}
