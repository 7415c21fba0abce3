package jepsen

import (
	"context"
	"math/rand/v2"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

// Workload is what clients ask for in a run. Its keys are below its own name, so that several can be at work at a time.
type Workload interface {
	// Prepare writes what the clients need to find, before any fault.
	Prepare(ctx context.Context, r *Run) error
	// Step is one thing that one client does; it returns soon after ctx has ended. A client does one thing at a time.
	Step(ctx context.Context, c *Caller)
	// Settle is called when all faults are over and all clients have stopped: it reads everything back, at every node.
	Settle(ctx context.Context, r *Run) error
	// Judge says what is wrong beyond what the judges of histories see; h is all that was recorded.
	Judge(h *linearizability.History) error
}

// workloads are how workloads are made, by name; each has a file of its own.
var workloads = map[string]func() Workload{}

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
