package jepsen

import (
	"context"
	"math/rand/v2"
	"time"
)

// Nemesis makes faults of one kind.
type Nemesis struct {
	Name  string
	About string // for people: what it does, in a sentence
	Needs []Capability
	// Strike makes a fault, and returns how to undo it. If it returns an error there must be nothing to undo. A
	// nil Fault: there was nobody to hit just now. Everything that it draws comes from rng.
	Strike func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error)
}

// Fault is something that was broken.
type Fault struct {
	Text     string // for people
	Nodes    []string
	Links    []Link
	Minority []string // nodes that cannot reach a majority, and back, for as long as it lasts
	// Hold is how long it lasts; 0: as the run draws.
	Hold time.Duration
	// Undo makes it whole again, whatever became of it since; nil: there is nothing to undo.
	Undo func(ctx context.Context) error
}

// nemeses are all there are, by name.
var nemeses = map[string]*Nemesis{}

// between draws a time.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}
