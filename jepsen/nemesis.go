package jepsen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Nemesis makes faults of one kind.
type Nemesis struct {
	Name  string
	About string // for people: what it does, in a sentence
	Needs []Capability
	// Members: it changes who is a member of the cluster.
	Members bool
	// Strike makes a fault, and returns how to undo it. If it returns an error there must be nothing to undo. A
	// nil Fault: there was nobody to hit just now; it is asked again, with the same draws. Everything that it draws comes from rng.
	Strike func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error)

	drawn bool // by the seed: it need not strike
}

// Fault is something that was broken.
type Fault struct {
	Text     string // for people
	Nodes    []string
	Links    []Link
	Minority []string // nodes that cannot reach a majority, and back, for as long as it lasts
	// Hold is how long it lasts; 0: as the run draws.
	Hold time.Duration
	// Until ends it earlier; nil: nothing does.
	Until <-chan struct{}
	// Felt tells whether anything was hit by it until now: a fault that was not felt was none; nil: it is not known.
	Felt func() bool
	// Undo makes it whole again, whatever became of it since; nil: there is nothing to undo.
	Undo func(ctx context.Context) error
}

// nemeses are all there are, by name.
var nemeses = map[string]*Nemesis{}

func enlist(n *Nemesis) {
	if nemeses[n.Name] != nil {
		panic("jepsen: two nemeses are called " + n.Name)
	}
	nemeses[n.Name] = n
}

// Mixed is what stands for nemeses that the seed draws from all that the ground allows.
const Mixed = "mixed"

// mostMixed bounds how many nemeses the seed draws: with more, each finds its nodes taken.
const mostMixed = 4

// Nemeses are all there are, by name, as Options.Nemeses has them.
func Nemeses() (list []Nemesis) {
	for _, name := range sortedKeys(nemeses) {
		list = append(list, *nemeses[name])
	}
	return append(list, Nemesis{Name: Mixed, About: fmt.Sprintf("one to %d of the others, as the seed draws from all that can be made", mostMixed)})
}

func (r *Run) nemeses() (chosen []*Nemesis, err error) {
	for _, name := range r.Nemeses {
		if name == Mixed {
			chosen = append(chosen, r.mixed()...)
			continue
		}
		n, ok := nemeses[name]
		if !ok {
			return nil, fmt.Errorf("jepsen: there is no nemesis %q: %v are there, and %s", name, sortedKeys(nemeses), Mixed)
		}
		if err := n.possible(r.Ground); err != nil {
			return nil, fmt.Errorf("jepsen: %s: %w", name, err)
		}
		chosen = append(chosen, n)
	}
	r.unsure = slices.ContainsFunc(chosen, func(n *Nemesis) bool { return n.Members })
	return chosen, nil
}

// possible says why a nemesis cannot be at work on a ground.
func (n *Nemesis) possible(g Ground) error {
	for _, need := range n.Needs {
		if err := g.Can(need); err != nil {
			return err
		}
	}
	return nil
}

// mixed draws which nemeses there are.
func (r *Run) mixed() (drawn []*Nemesis) {
	rng := r.rng("mixed")
	var can []string
	for _, name := range sortedKeys(nemeses) {
		if nemeses[name].possible(r.Ground) == nil {
			can = append(can, name)
		}
	}
	for _, name := range some(rng, can, min(1+rng.IntN(mostMixed), len(can))) {
		n := *nemeses[name]
		n.drawn = true
		drawn = append(drawn, &n)
	}
	r.Log("%s: %v", Mixed, names(drawn))
	return drawn
}

func names(list []*Nemesis) (names []string) {
	for _, n := range list {
		names = append(names, n.Name)
	}
	return names
}

// between draws a time.
func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)+1))
}
