package sim

import (
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
	"github.com/confman/confman/transport"
)

// built is a world in which nothing has happened yet.
func built(t *testing.T, nodes int) *World {
	t.Helper()
	o := Options{Seed: 1, Nodes: nodes, Mix: Calm}
	w := &World{opts: o, setup: newSetup(o), trace: newTrace(), dir: t.TempDir()}
	w.build()
	return w
}

// sees lists, for each node, the nodes that it reaches, as digits.
func sees(w *World) []string {
	var out []string
	for a := range w.nodes {
		s := ""
		for b := range w.nodes {
			if a != b && w.net.links[a][b].blocked == 0 {
				s += string(rune('1' + b))
			}
		}
		out = append(out, s)
	}
	return out
}

func TestBridge(t *testing.T) {
	for _, nodes := range []int{3, 5} {
		w := built(t, nodes)
		g := newGenerator(1, "test")
		for range 20 {
			links := w.nemesis.bridge(g)
			block(links, 1)
			var both, half int
			for _, s := range sees(w) {
				switch len(s) {
				case nodes - 1:
					both++
				case nodes / 2: // the rest of its half, and the bridge
					half++
				}
			}
			assert.Equal(t, 1, both, "one node sees all")
			assert.Equal(t, nodes-1, half, "the others see their half and the bridge")
			block(links, -1)
		}
	}
	assert.Empty(t, built(t, 1).nemesis.bridge(newGenerator(1, "test")))
}

func TestRing(t *testing.T) {
	w := built(t, 5)
	block(w.nemesis.ring(newGenerator(1, "test")), 1)
	views := map[string]bool{}
	for i, s := range sees(w) {
		assert.Len(t, s, 2, "two neighbours")
		view := []byte(s + string(rune('1'+i)))
		slices.Sort(view)
		views[string(view)] = true
	}
	assert.Len(t, views, 5, "each node sees a majority of its own")
	assert.Empty(t, built(t, 3).nemesis.ring(newGenerator(1, "test")))
}

// TestFlap: the links are down and up in turns, and up in the end, however it ends.
func TestFlap(t *testing.T) {
	for _, cutAt := range []int{0, 1, 2} { // cut short while they are down, and while they are up
		w := built(t, 3)
		w.queue = queue{}
		links := w.nemesis.around(w.nodes[0], true, true)
		require.True(t, w.nemesis.flap(newGenerator(5, "test"), links))
		turns, last := 1, 1
		require.Equal(t, last, links[0].blocked)
		for len(w.queue.heap) > 0 {
			if turns == cutAt {
				w.nemesis.end()
				break
			}
			e := w.queue.pop()
			took := time.Duration(e.at - w.now)
			assert.GreaterOrEqual(t, took, minFlap)
			assert.LessOrEqual(t, took, maxFlap)
			w.now = e.at
			w.nemesis.heal(e.n)
			if links[0].blocked != last {
				last = links[0].blocked
				turns++
			}
		}
		assert.GreaterOrEqual(t, turns, max(1, cutAt))
		for _, l := range links {
			assert.Zero(t, l.blocked)
		}
	}
}

// sendHello sends a message that nobody acts on.
func sendHello(w *World, from, to uint64) {
	w.net.send(w.nodes[from-1], transport.Message{From: from, To: to, Form: &transport.Form{Kind: transport.FormReply}})
}

func TestLinkQueue(t *testing.T) {
	w := built(t, 3)
	l := w.net.link(1, 2)
	l.short++
	for range shortQueue + 3 {
		sendHello(w, 1, 2)
	}
	sendHello(w, 1, 3)
	assert.Equal(t, shortQueue, l.inflight)
	assert.Equal(t, uint64(3), w.judge.fired[faultQueues.String()])
	assert.Equal(t, 1, w.net.link(1, 3).inflight, "another link has room of its own")
	w.run(int64(400 * time.Millisecond))
	assert.Zero(t, l.inflight, "what arrived makes room")
	l.short--
	for range shortQueue + 1 {
		sendHello(w, 1, 2)
	}
	assert.Equal(t, shortQueue+1, l.inflight)
}

func TestReset(t *testing.T) {
	w := built(t, 3)
	w.queue = queue{}
	w.nodes[0].up = true
	l := w.net.link(1, 2)
	sendHello(w, 1, 2)
	sendHello(w, 1, 2)
	assert.Equal(t, 2, w.net.reset(w.nodes[0], w.nodes[1]))
	assert.Zero(t, l.inflight)
	sendHello(w, 1, 2)
	told := 0
	for _, m := range w.queue.heap {
		e := w.queue.events[m.event]
		if e.kind == evUnreachable {
			told++
			assert.Equal(t, uint64(2), e.n)
		} else {
			w.net.deliver(e.mail)
		}
	}
	assert.Equal(t, 1, told, "the sender is told once")
	assert.Equal(t, uint64(2), w.judge.fired["message lost in a reset"])
	assert.Zero(t, l.inflight, "the one after the reset arrived, and it alone counted")
	assert.Zero(t, w.net.reset(w.nodes[0], w.nodes[1]), "nothing is on its way")
}

// TestFlipStore: one bit of an image's data, and nothing of anything else.
func TestFlip(t *testing.T) {
	w := built(t, 3)
	w.net.setup.flip = 1
	l := w.net.link(1, 2)
	m := transport.Message{From: 1, To: 2, Image: &transport.Image{Offset: 7, Data: make([]byte, 100)}}
	w.net.flip(l, &m)
	ones := 0
	for _, b := range m.Image.Data {
		ones += bits.OnesCount8(b)
	}
	assert.Equal(t, 1, ones)
	assert.Equal(t, uint64(7), m.Image.Offset)
	for _, other := range []transport.Message{{Form: &transport.Form{}}, {Image: &transport.Image{}}} {
		w.net.flip(l, &other)
	}
	assert.Equal(t, uint64(1), w.judge.fired[imageFlipped])
	w.net.setup.flip = 0
	w.net.flip(l, &m)
	assert.Equal(t, uint64(1), w.judge.fired[imageFlipped])
}

// TestAtlas: whatever is asked for, a majority is whole.
func TestAtlas(t *testing.T) {
	for _, nodes := range []int{1, 3, 5} {
		for seed := range uint64(50) {
			w := built(t, nodes)
			a, g := newAtlas(nodes), newGenerator(seed, "atlas")
			lost := map[uint64]bool{}
			logLost, some := false, false
			for range 20 {
				r := w.nodes[g.IntN(nodes)]
				switch g.IntN(3) {
				case 0:
					if a.loseLog(r) {
						require.False(t, logLost, "a second log was lost")
						logLost, some, lost[r.id] = true, true, true
					}
				case 1:
					if a.loseStore(r) {
						some, lost[r.id] = true, true
					}
				default:
					a.regained(r)
					lost[r.id] = a.logs[r.id-1]
				}
				damaged := 0
				for _, peer := range w.nodes {
					if lost[peer.id] {
						damaged++
					}
				}
				require.Less(t, damaged, nodes/2+1, "%d of %d nodes are damaged", damaged, nodes)
			}
			assert.Equal(t, nodes > 1, some, "seed %d: something is damaged where it can be", seed)
		}
	}
}

// TestClockChanges: a clock never goes back, and tells for each reading when it was,
// through changes of its rate.
func TestClockChanges(t *testing.T) {
	g := newGenerator(7, "clock")
	c := clock{base: time.Hour, since: 1000, ppm: 200}
	now := c.since
	type reading struct {
		at   int64
		read time.Duration
	}
	var all []reading
	for i := range 400 {
		now += g.Int64N(int64(2 * time.Second))
		if i%7 == 6 {
			before := c.at(now)
			c.change(now, g.Int64N(200_001)-100_000)
			assert.Equal(t, before, c.at(now), "no jump")
		}
		all = append(all, reading{now, c.at(now)})
	}
	for i, r := range all {
		if i > 0 {
			require.GreaterOrEqual(t, r.read, all[i-1].read)
		}
		require.InDelta(t, r.at, c.world(r.read), 2, "reading %d", i)
		require.LessOrEqual(t, c.world(r.read), r.at, "reading %d: an instant must not come out later than it was", i)
	}
}

// TestLogRots: damage to a closed segment takes one node out, and the rest is
// live and right without it.
func TestLogRots(t *testing.T) {
	for seed := uint64(1); seed <= plantedSeeds; seed++ {
		o := Options{Seed: seed, Time: 3 * time.Minute, Mix: Uniform} // more than rotGap
		result, err := Run(o)
		require.NoError(t, err)
		if result.Fired["log damaged: the node is out"] > 0 {
			assert.Equal(t, uint64(1), result.Fired["log damaged: the node is out"])
			assert.Equal(t, uint64(1), result.Fired["log rots"])
			return
		}
	}
	t.Fatalf("no node was out in %d seeds", plantedSeeds)
}

// TestFlipStore: one bit of the first meta page or the second, or of what a record holds.
func TestFlipStore(t *testing.T) {
	w := &World{}
	w.judge.model.changes = []modelChange{{request: "op-closing"}}
	meta, record := 0, 0
	for seed := range uint64(20) {
		path := filepath.Join(t.TempDir(), "file")
		was := make([]byte, 3*pageBytes)
		copy(was[2*pageBytes+100:], "op-closing, and again op-closing")
		require.NoError(t, os.WriteFile(path, was, 0o600))
		require.NoError(t, (&nemesis{w: w}).flip(newGenerator(seed, "flip"), path))
		is, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Len(t, is, len(was))
		var at []int
		for i := range is {
			if is[i] != was[i] {
				assert.Equal(t, 1, bits.OnesCount8(is[i]^was[i]))
				at = append(at, i)
			}
		}
		if len(at) == 1 && at[0] < 2*pageBytes {
			assert.Less(t, at[0]%pageBytes, metaBytes)
			meta++
			continue
		}
		assert.Equal(t, []int{2*pageBytes + 100, 2*pageBytes + 122}, at)
		record++
	}
	assert.Positive(t, meta)
	assert.Positive(t, record)
}

// TestWithout: what did not happen in a run can be left out without a trace in its
// history, and what is left out does not happen.
func TestWithout(t *testing.T) {
	// Those do something before they are counted, or without being counted.
	lurking := []string{"short write", "disk error", "read error", "link queue full", "crash loop", "flapping links", "client crash"}
	for seed := uint64(1); seed <= 4; seed++ {
		o := Options{Seed: seed, Time: traceTime, Nodes: 3}
		whole, err := Run(o)
		require.NoError(t, err)
		var fired string
		for _, name := range Faults() {
			switch {
			case whole.Fired[name] > 0:
				fired = name
			case !slices.Contains(lurking, name):
				o.Without = append(o.Without, name)
			}
		}
		require.NotEmpty(t, o.Without)
		same, err := Run(o)
		require.NoError(t, err)
		assert.Equal(t, whole.History, same.History, "seed %d without %q", seed, o.Without)

		o.Without = []string{fired}
		less, err := Run(o)
		require.NoError(t, err)
		assert.Zero(t, less.Fired[fired], fired)
		assert.NotEqual(t, whole.Trace, less.Trace)
	}
}

// TestFewerClients: those that are left do what they did, as long as nothing comes between.
func TestFewerClients(t *testing.T) {
	o := Options{Seed: 5, Time: 10 * time.Second, Nodes: 3, Mix: Calm}
	all, err := Run(o)
	require.NoError(t, err)
	o.Clients = 1
	one, err := Run(o)
	require.NoError(t, err)
	first := func(h linearizability.History) linearizability.Op {
		for _, op := range h.Ops {
			if op.Client == 0 {
				return op
			}
		}
		t.Fatal("client 0 did nothing")
		return linearizability.Op{}
	}
	a, b := first(all.History), first(one.History)
	assert.Equal(t, []any{a.Call, a.Kind, a.Key, a.Node}, []any{b.Call, b.Kind, b.Key, b.Node})
	for _, op := range one.History.Ops {
		closing := op.Call >= int64(o.Time)
		assert.True(t, closing || op.Client == 0 || op.Client >= loneClient, "%v", &op)
	}
}

// TestNarrowedReplay: a smaller world replays as one, and unknown names are refused.
func TestNarrowedReplay(t *testing.T) {
	o := Options{Seed: 3, Without: []string{"kill", "slow disks"}, Clients: 2}
	assert.Equal(t, "go run ./cmd/sim run --seed 3 --time 1m --without 'kill,slow disks' --clients 2", o.Replay())
	require.NoError(t, o.Validate())
	require.ErrorContains(t, Options{Without: []string{"meteor"}}.Validate(), "meteor")
	require.Error(t, Options{Clients: -1}.Validate())
	for _, name := range Faults() {
		assert.NotContains(t, name, ",")
		assert.NotContains(t, name, "'")
		s := newSetup(Options{Seed: 1, Mix: Uniform, Without: Faults()})
		assert.Zero(t, s.faults, name)
		assert.Zero(t, s.tender, name)
	}
}

// TestBatchesAreWhole: a reader of several keys must see one write.
func TestBatchesAreWhole(t *testing.T) {
	w := built(t, 1)
	step := linearizability.Step{Kind: linearizability.Read, Key: "a", Found: true, Got: "v1", KeyRevision: 3}
	w.clients.whole(w.nodes[0], []linearizability.Step{step, step})
	require.NoError(t, w.err)
	other := step
	other.Key, other.Got, other.KeyRevision = "b", "v2", 4
	w.clients.whole(w.nodes[0], []linearizability.Step{step, other})
	require.ErrorContains(t, w.err, "half a transaction")
}
