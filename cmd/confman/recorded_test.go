package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/linearizability"
)

const (
	// recordedClients ask, each one thing at a time, and not more often than every recordedPause: what is judged is
	// that all of it is right, not how much there is.
	recordedClients = 4
	recordedPause   = 10 * time.Millisecond
	// After so many operations the clients go on to other keys, of which there are so many: each key is asked often
	// enough to show a fault, and seldom enough to be judged quickly.
	recordedSpell = 400
	recordedKeys  = 8
	// judgeBudget bounds the time for one key.
	judgeBudget = 30 * time.Second
)

// chronicle has clients write and read at all nodes of a fleet, and nodes say how they are, and remembers it all.
type chronicle struct {
	f     *fleet
	start time.Time
	ids   atomic.Uint64
	// acknowledged counts the writes that were.
	acknowledged atomic.Int64
	stop         chan struct{}
	group        sync.WaitGroup

	mu     sync.Mutex
	ops    []linearizability.Op
	events []linearizability.Event
}

// record begins to record.
func (f *fleet) record() *chronicle {
	r := &chronicle{f: f, start: time.Now(), stop: make(chan struct{})}
	for c := range recordedClients {
		random := rand.New(rand.NewPCG(uint64(c), 1))
		known := map[string]uint64{}
		r.every(func() { r.one(c, random, known) })
	}
	r.every(r.look)
	f.tb.Cleanup(r.end)
	return r
}

// every does something again and again until the end.
func (r *chronicle) every(do func()) {
	r.group.Go(func() {
		tick := time.NewTicker(recordedPause)
		defer tick.Stop()
		for {
			select {
			case <-r.stop:
				return
			case <-tick.C:
				do()
			}
		}
	})
}

// end waits until nothing is in flight. A second one does nothing.
func (r *chronicle) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.group.Wait()
}

func (r *chronicle) now() int64 { return int64(time.Since(r.start)) }

func keyOf(spell, n uint64) string { return fmt.Sprintf("recorded/%d/%d", spell, n) }

// one is one operation of a client. known are the revisions of keys that it has seen.
func (r *chronicle) one(client int, random *rand.Rand, known map[string]uint64) {
	id := r.ids.Add(1)
	key := keyOf(id/recordedSpell, random.Uint64N(recordedKeys))
	op := linearizability.Op{ID: id, Client: client, Kind: linearizability.Read, Key: key}
	switch random.IntN(5) {
	case 0, 1:
		op.Kind, op.Value = linearizability.Put, fmt.Sprintf("v%d", id)
	case 2:
		op.Kind, op.Value, op.IfRevision = linearizability.Put, fmt.Sprintf("v%d", id), known[key]
	}
	r.do(r.f.nodes[random.IntN(len(r.f.nodes))], &op)
	if op.KeyRevision != 0 {
		known[key] = op.KeyRevision
	}
}

// do has a node do an operation, and remembers what it said.
func (r *chronicle) do(p *proc, op *linearizability.Op) {
	op.Node, op.Call = p.name, r.now()
	if op.Kind == linearizability.Read {
		r.read(p, op)
	} else {
		r.write(p, op)
	}
	if op.Return = r.now(); op.Outcome == linearizability.Unknown {
		op.Return = linearizability.Never
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, *op)
}

func (r *chronicle) read(p *proc, op *linearizability.Op) {
	a, err := r.f.send(http.MethodGet, p.url()+configPath+op.Key+"?consistency=linearizable", "", "Accept", "text/plain")
	op.Outcome = linearizability.ReadFailed
	if err != nil || a.status != http.StatusOK && a.status != http.StatusNotFound {
		return
	}
	op.Outcome, op.Revision = linearizability.ReadDone, a.revision("Confman-Revision")
	if a.status == http.StatusOK {
		op.Found, op.Got, op.KeyRevision = true, a.body, a.revision("ETag")
	}
}

func (r *chronicle) write(p *proc, op *linearizability.Op) {
	headers := []string{"Content-Type", "text/plain"}
	if op.IfRevision != 0 {
		headers = append(headers, "If-Match", fmt.Sprintf("%q", strconv.FormatUint(op.IfRevision, 10)))
	}
	a, err := r.f.send(http.MethodPut, p.url()+configPath+op.Key, op.Value, headers...)
	op.Outcome = linearizability.Unknown
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		op.Outcome = linearizability.NotApplied // nobody was there
	case err != nil:
	case a.status == http.StatusOK, a.status == http.StatusCreated:
		op.Outcome, op.Revision, op.KeyRevision = linearizability.Applied, a.revision("Confman-Revision"), a.revision("ETag")
		r.acknowledged.Add(1)
	default:
		var t trouble
		if json.Unmarshal([]byte(a.body), &t) == nil && t.Outcome == string(linearizability.NotApplied) {
			op.Outcome = linearizability.NotApplied
		}
	}
}

// revision is the revision that a header says, 0 if none.
func (a reply) revision(header string) uint64 {
	n, _ := strconv.ParseUint(strings.Trim(a.header.Get(header), `"`), 10, 64) // 0 is none
	return n
}

// look has each node say how far it is, what its state is then, and whether it leads.
func (r *chronicle) look() {
	for _, p := range r.f.nodes {
		s, ok := r.f.standing(p)
		if !ok || s.StateHash == "" || s.AppliedIndex == 0 {
			continue
		}
		r.mu.Lock()
		e := linearizability.Event{At: r.now(), Kind: linearizability.AppliedEntry, Node: p.name, Index: s.AppliedIndex, Digest: s.StateHash}
		r.events = append(r.events, e)
		if s.Role == "leader" {
			r.events = append(r.events, linearizability.Event{At: e.At, Kind: linearizability.Leads, Node: p.name, Term: s.Term})
		}
		r.mu.Unlock()
	}
}

// writesOn waits until so many more writes were acknowledged.
func (r *chronicle) writesOn(writes int64) {
	r.f.tb.Helper()
	from := r.acknowledged.Load()
	r.f.until(readyWait, "more writes are acknowledged", func() bool { return r.acknowledged.Load() >= from+writes })
}

// judge ends the recording, reads every key at every node, and has all judges say what they think of it.
func (r *chronicle) judge(tb testing.TB) {
	tb.Helper()
	r.end()
	for spell := range r.ids.Load()/recordedSpell + 1 {
		for n := range uint64(recordedKeys) {
			for _, p := range r.f.nodes {
				op := linearizability.Op{ID: r.ids.Add(1), Client: recordedClients, Kind: linearizability.Read, Key: keyOf(spell, n)}
				r.do(p, &op)
				require.Equal(tb, linearizability.ReadDone, op.Outcome, "%s at %s", op.Key, p.name)
			}
		}
	}
	count := map[linearizability.Outcome]int{}
	for i := range r.ops {
		count[r.ops[i].Outcome]++
	}
	shared := map[uint64]map[string]bool{}
	for _, e := range r.events {
		if e.Kind == linearizability.AppliedEntry {
			if shared[e.Index] == nil {
				shared[e.Index] = map[string]bool{}
			}
			shared[e.Index][e.Node] = true
		}
	}
	compared := 0
	for _, nodes := range shared {
		if len(nodes) > 1 {
			compared++
		}
	}
	tb.Logf("what became of the operations: %v; states compared at %d indexes", count, compared)
	verdict := linearizability.Check(&linearizability.History{Ops: r.ops, Events: r.events}, judgeBudget)
	for i := range verdict {
		tb.Log(verdict[i].String())
	}
	require.NoError(tb, verdict.Err())
	require.NotZero(tb, compared, "no two nodes were seen at one index")
	// A history in which hardly anything was answered shows nothing.
	require.Greater(tb, count[linearizability.Applied], 10*count[linearizability.Unknown])

	// The judges look at what they are given: an answer of the past is found.
	bad := slices.Clone(r.ops)
	i := slices.IndexFunc(bad, func(o linearizability.Op) bool { return o.Client == recordedClients && o.Found })
	require.GreaterOrEqual(tb, i, 0)
	bad[i].Got = "v0"
	require.ErrorIs(tb, linearizability.Check(&linearizability.History{Ops: bad}, judgeBudget).Err(), linearizability.ErrViolation)
}
