package node

import (
	"errors"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/transport"
)

// TestCoreRandom runs clusters of cores under every interleaving that a seed
// draws: messages lost, repeated and reordered, disks and stores that lag, and
// crashes that lose what was not durable, logs that are truncated, stores that turn out
// to be damaged. Whatever happens:
//
//   - all apply the same entries, and a term has at most one leader;
//   - a write answered applied was applied; one answered not applied never is;
//   - a linearizable read comes from an index at or above that of every write
//     acknowledged, on any node, before it was asked;
//   - a node that claims freshness at t has applied every write acknowledged before t;
//   - when the faults end, everything in flight is answered, and every node has a
//     sound store that agrees.
func TestCoreRandom(t *testing.T) {
	outcomes := map[string]int{}
	seeds := uint64(200)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		randomRun(t, seed, outcomes)
	}
	t.Logf("outcomes: %v", outcomes)
	for _, o := range []string{"applied", "not_applied", "unknown", "read", "read refused", "damaged", "installed"} {
		require.Positive(t, outcomes[o], "no run had the outcome %q: %v", o, outcomes)
	}
}

func randomRun(t *testing.T, seed uint64, outcomes map[string]int) {
	seedRaft(t, seed)
	r := mathrand.New(mathrand.NewPCG(seed, 2))
	n := 1 + 2*r.IntN(3)
	s := newStage(t, n, true)
	s.settings.TailBytes = 1 + r.IntN(2)*r.IntN(2000)
	s.settings.MaxMessageBytes = uint64(1 + r.IntN(2)*1000)
	s.settings.FlushBytes = 1 + r.IntN(1000)
	s.settings.CatchUpEntries = []int{-1, 1, 10, 1000}[r.IntN(4)]
	s.settings.DigestInterval = time.Second
	damages := r.IntN(2)                                       // per cent of the actions
	kills, losses, repeats := r.IntN(3), r.IntN(4), r.IntN(12) // per cent of the actions
	for _, a := range s.nodes {
		s.start(a)
	}

	type asked struct {
		node        uint64
		incarnation uint64
		index       fsm.Index // acknowledged by anybody before
		done        bool
	}
	reads, writes := map[uint64]*asked{}, map[uint64]*asked{}
	refused := map[fsm.Origin]bool{}
	origins := map[uint64]fsm.Origin{}
	leaders := map[uint64]uint64{}
	var acked fsm.Index
	var ackedAt []fsm.Index // by real time in ticks of all
	clock := 0              // steps so far
	nowOf := map[uint64]map[time.Duration]int{}
	for _, a := range s.nodes {
		nowOf[a.id] = map[time.Duration]int{0: 0}
	}
	next := uint64(0)
	s.watch = func(a *actor, e Effect) {
		switch e := e.(type) {
		case Install:
			outcomes["installed"]++
		case ProposeReply:
			w := writes[e.Request]
			require.False(t, w.done, "seed %d: request %d was answered twice", seed, e.Request)
			w.done = true
			if e.Err == nil {
				outcomes["applied"]++
				require.Equal(t, fsm.Applied, e.Result.Outcome)
				acked = max(acked, e.Result.Index)
				return
			}
			outcomes[e.Err.Outcome.String()]++
			// One refused at once has no sequence number: the next proposal gets it.
			if o, ok := origins[e.Request]; ok && e.Err.Outcome == NotApplied && a.core.nextSeq > o.Seq {
				refused[o] = true
			}
		case ReadReply:
			rd := reads[e.Request]
			require.False(t, rd.done, "seed %d: read %d was answered twice", seed, e.Request)
			rd.done = true
			if e.Err != nil {
				outcomes["read refused"]++
				return
			}
			outcomes["read"]++
			require.GreaterOrEqual(t, e.Index, rd.index, "seed %d: node %d answers a read from index %d, %d was acknowledged before it was asked", seed, a.id, e.Index, rd.index)
			require.GreaterOrEqual(t, a.state.Applied, e.Index, "seed %d: node %d answers a read before it applied its index", seed, a.id)
		case Stop:
			require.NoError(t, e.Err, "seed %d", seed)
		default:
		}
	}
	tick := func(a *actor) {
		if a.down {
			return
		}
		a.now += 50 * time.Millisecond
		nowOf[a.id][a.now] = clock
		s.linger(a)
		s.step(a, Tick{Now: a.now})
	}
	check := func() {
		clock++
		ackedAt = append(ackedAt, acked)
		for _, a := range s.nodes {
			if a.down {
				continue
			}
			st := a.core.Status()
			if st.Role == Leader {
				if l, ok := leaders[st.Term]; ok {
					require.Equal(t, l, a.id, "seed %d: term %d has two leaders", seed, st.Term)
				}
				leaders[st.Term] = a.id
			}
			if at, ok := nowOf[a.id][st.FreshAt]; st.Fresh && ok && at > 0 {
				require.GreaterOrEqual(t, fsm.Index(st.Applied), ackedAt[at-1], "seed %d: node %d claims to be fresh as of step %d", seed, a.id, at)
			}
		}
	}
	act := func(faults bool) {
		a := s.nodes[r.IntN(n)]
		switch k := r.IntN(100); {
		case faults && k < kills:
			s.kill(a)
		case faults && n > 1 && k < kills+damages && !a.down && !slices.ContainsFunc(s.nodes, func(a *actor) bool { return a.damaged != nil }):
			a.damaged = errors.New("a record's checksum does not match")
			s.step(a, Damaged{Err: a.damaged})
			outcomes["damaged"]++
		case a.down && k < 12:
			a.now += time.Second
			s.start(a)
		case k < 18:
			tick(a)
		case k < 24:
			s.disk(a)
		case k < 28:
			s.apply(a)
		case k < 30:
			s.handle(a)
			s.linger(a)
		case k < 33:
			if a.down {
				break
			}
			next++
			writes[next] = &asked{node: a.id, incarnation: a.incarnation}
			if faults {
				origins[next] = fsm.Origin{Node: a.id, Incarnation: a.incarnation, Seq: a.core.nextSeq}
			}
			s.step(a, Propose{Request: next, Command: s.command(), Deadline: a.now + time.Duration(r.IntN(4000))*time.Millisecond})
		case k < 36:
			if a.down {
				break
			}
			next++
			reads[next] = &asked{node: a.id, incarnation: a.incarnation, index: acked}
			s.step(a, ReadIndex{Request: next, Deadline: a.now + time.Duration(r.IntN(4000))*time.Millisecond})
		case len(s.wire) == 0:
		case faults && k < 36+losses:
			i := r.IntN(len(s.wire))
			s.wire = slices.Delete(s.wire, i, i+1)
		case faults && k < 36+losses+repeats:
			s.wire = append(s.wire, s.wire[r.IntN(len(s.wire))])
		case faults && k < 37+losses+repeats && a.core.Status().Role == Leader:
			s.step(a, TransferLeadership{Peer: uint64(1 + r.IntN(n))})
		default:
			i := r.IntN(min(len(s.wire), 8))
			m := s.wire[i]
			s.wire = slices.Delete(s.wire, i, i+1)
			s.receive(m)
		}
		if len(s.wire) > 500 {
			s.wire = slices.Delete(s.wire, 0, 250)
		}
		check()
	}
	for range 3000 {
		act(true)
	}
	for _, a := range s.nodes {
		if a.down {
			s.start(a)
		}
	}
	for range 200 { // ten seconds: every deadline passes
		for _, a := range s.nodes {
			tick(a)
		}
		s.deliver(func(transport.Message) bool { return true })
		s.run()
		check()
	}
	for _, a := range s.nodes {
		require.Equal(t, s.nodes[0].state.Applied, a.state.Applied, "seed %d: nodes did not converge", seed)
		st := a.core.Status()
		require.Zero(t, st.Proposals+st.Reads, "seed %d: node %d did not answer everything", seed, a.id)
	}
	for o := range refused {
		require.NotContains(t, s.first, o, "seed %d: a write answered not_applied was applied", seed)
	}
	for _, all := range []map[uint64]*asked{reads, writes} {
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if w := all[k]; !w.done {
				require.NotEqual(t, s.nodes[w.node-1].incarnation, w.incarnation, "seed %d: request %d was never answered", seed, k)
			}
		}
	}
}
