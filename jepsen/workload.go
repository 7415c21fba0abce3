package jepsen

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// Workload is what clients ask for in a run. Its keys are below its own name, so that several can be at work at a time.
//
// It may also be a Thinner, a Ruler, a Renamer, a Configurer, an Identifier or a Hoster.
type Workload interface {
	// Prepare writes what the clients need to find, before any fault.
	Prepare(ctx context.Context, r *Run) error
	// Step is one thing that one client does; it returns soon after ctx has ended. A client does one thing at a time.
	Step(ctx context.Context, c *Caller)
	// Settle is called when all faults are over and all clients have stopped: it reads everything back, at every node.
	Settle(ctx context.Context, r *Run) error
	// Judge says what is wrong beyond what the judges of histories see; h is all that was recorded until now. It may be called while
	// clients are at work.
	Judge(h *linearizability.History) error
}

// Thinner is a workload that says why what it had of each kind of operation is too little to prove anything.
type Thinner interface {
	Thin(h *linearizability.History) error
}

// Ruler is a workload whose values obey a rule that a judge of histories knows.
type Ruler interface {
	Rules() []linearizability.Workload
}

// Renamer is a workload whose keys in the store are not those of its operations in the history.
type Renamer interface {
	// HistoryKey is the history's key for one of the store; "": it is of no operation.
	HistoryKey(key string) string
}

// Configurer is a workload that needs nodes which are configured in some way.
type Configurer interface {
	// Configure is called once, before the ground is made. It returns sections of the nodes' configuration.
	Configure() (map[string]any, error)
}

// Identifier is a workload in whose runs callers must say who they are. It is called once Configure was.
type Identifier interface {
	// Identity is whom the run's clients are: somebody who may do everything.
	Identity() (client.TokenSource, error)
}

// Hoster is a workload that has the harness serve something to the nodes.
type Hoster interface {
	// Host is called before nodes are started.
	Host(ctx context.Context, r *Run) error
}

// Sections makes the workloads of o, and returns the sections of the nodes' configuration that they need: the ground is made
// with them.
func (o *Options) Sections() (map[string]any, error) {
	loads, err := o.withDefaults().made()
	if err != nil {
		return nil, err
	}
	sections := map[string]any{}
	for _, w := range loads {
		c, ok := w.(Configurer)
		if !ok {
			continue
		}
		needs, err := c.Configure()
		if err != nil {
			return nil, err
		}
		for name, section := range needs {
			if sections[name] != nil {
				return nil, fmt.Errorf("jepsen: two of the workloads %v need section %s of the configuration to be their way", o.Workloads, name)
			}
			sections[name] = section
		}
	}
	o.loads = loads
	return sections, nil
}

// made are the workloads of o: those that Sections made, if it was called.
func (o Options) made() (loads []Workload, err error) {
	if o.loads != nil {
		return o.loads, nil
	}
	for _, name := range o.Workloads {
		load, ok := workloads[name]
		if !ok {
			return nil, fmt.Errorf("jepsen: there is no workload %q: %v are there", name, sortedKeys(workloads))
		}
		loads = append(loads, load())
	}
	return loads, nil
}

// workloads are how workloads are made, by name; each has a file of its own.
var workloads = map[string]func() Workload{}

// Workloads are the names of all there are.
func Workloads() []string { return sortedKeys(workloads) }

// Caller is one client of a workload.
type Caller struct {
	*Run
	ID  int // of the client, unique in the run
	Rng *rand.Rand
	// State is the workload's own.
	State any
}

// At is a client of the run that asks one node, once: what it was told is what happened.
func (r *Run) At(node string) *client.Client { return r.clients[node] }

// AnyNode draws one of the nodes that clients ask.
func (c *Caller) AnyNode() string {
	names := c.Members()
	return names[c.Rng.IntN(len(names))]
}

// chance draws whether something that happens so often happens.
func (c *Caller) chance(share float64) bool { return c.Rng.Float64() < share }

// op begins an operation on a node that is drawn.
func (c *Caller) op(kind linearizability.Kind, key string) *linearizability.Op {
	op := &linearizability.Op{ID: c.Recorder.ID(), Client: c.ID, Node: c.AnyNode(), Kind: kind, Key: key}
	if kind == linearizability.Put {
		op.Value = valueOf(op)
	}
	return op
}

// valueOf is a value that no other operation writes.
func valueOf(op *linearizability.Op) string { return fmt.Sprintf("v%d", op.ID) }

// spells count a workload's operations: after some the clients go on to other keys. So each key is asked often
// enough to show a fault, and seldom enough to be judged quickly.
type spells struct {
	each  uint64
	asked atomic.Uint64
}

// next is the spell that the next operation is in.
func (s *spells) next() uint64 { return (s.asked.Add(1) - 1) / s.each }

// all are those that there were.
func (s *spells) all() iter.Seq[uint64] {
	n := (s.asked.Load() + s.each - 1) / s.each
	return func(yield func(uint64) bool) {
		for spell := range n {
			if !yield(spell) {
				return
			}
		}
	}
}

// settler is the client that reads back in the end.
const settler = -1

// insist makes an operation after the other, each by itself, until one is answered.
func (r *Run) insist(ctx context.Context, ask func() *linearizability.Op) (*linearizability.Op, error) {
	for {
		op := ask()
		switch op.Outcome {
		case linearizability.Applied, linearizability.Unchanged, linearizability.CompareFailed, linearizability.ReadDone:
			return op, nil
		case linearizability.NotApplied, linearizability.Unknown, linearizability.ReadFailed:
		}
		if !pause(ctx, pollEvery) {
			return op, fmt.Errorf("%s does not answer a %s of %s", op.Node, op.Kind, op.Key)
		}
	}
}

// atAll does something for each of the nodes, side by side, and returns the first error in their order.
func (r *Run) atAll(do func(node string) error) error {
	names := r.Members()
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { errs[i] = do(name) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// readBack reads keys at every node.
func (r *Run) readBack(ctx context.Context, keys iter.Seq[string]) error {
	return r.atAll(func(node string) error {
		for key := range keys {
			_, err := r.insist(ctx, func() *linearizability.Op {
				op := &linearizability.Op{Client: settler, Node: node, Kind: linearizability.Read, Key: key}
				r.Do(ctx, op)
				return op
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// leastOfKind is how many operations of each kind that a workload makes a run must have answered.
const leastOfKind = 3

// kind is one that a workload makes.
type kind struct {
	what string
	is   func(*linearizability.Op) bool
}

// answered is a kind of operation: one that ended in a way.
func answered(what linearizability.Kind, as ...linearizability.Outcome) kind {
	return kind{fmt.Sprintf("%s %v", what, as), func(o *linearizability.Op) bool {
		if o.Kind != what || o.Return == linearizability.Never {
			return false
		}
		for _, outcome := range as {
			if o.Outcome == outcome {
				return true
			}
		}
		return false
	}}
}

// thin says of what kind a workload had too little. Its keys begin with its name and a slash.
func thin(h *linearizability.History, name string, kinds ...kind) error {
	had := make([]int, len(kinds))
	for i := range h.Ops {
		o := &h.Ops[i]
		key := o.Key
		if o.Kind == linearizability.Txn {
			key = o.Steps[0].Key
		}
		if !strings.HasPrefix(key, name+"/") || o.Client == settler {
			continue
		}
		for n, k := range kinds {
			if k.is(o) {
				had[n]++
			}
		}
	}
	for n, k := range kinds {
		if had[n] < leastOfKind {
			return fmt.Errorf("%w: workload %s had %d of %q", errThin, name, had[n], k.what)
		}
	}
	return nil
}
