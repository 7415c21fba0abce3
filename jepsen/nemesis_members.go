package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/confman/confman/client"
)

func init() {
	changes := []Capability{Spares, LostDisks}
	enlist(&Nemesis{
		Name: "grow-shrink", About: "two spares are added and promoted, then two members removed, whoever they are", Needs: changes, Members: true,
		Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) { return grow(ctx, r, rng, 2, false) },
	})
	enlist(&Nemesis{
		Name: "remove-leader", About: "a spare is added and promoted, then the node that leads is removed", Needs: changes, Members: true,
		Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) { return grow(ctx, r, rng, 1, true) },
	})
	enlist(&Nemesis{Name: "learner", About: "a spare is added, learns for a while, and is removed", Needs: changes, Members: true, Strike: learnFor})
	enlist(&Nemesis{Name: "replace", About: "a sound member is stopped, and replaced by one with an empty disk", Needs: []Capability{LostDisks}, Members: true, Strike: replaceOne})
	enlist(&Nemesis{Name: "transfer", About: "another node is told to lead", Strike: handOver})
	enlist(&Nemesis{Name: "drain", About: "a node is taken out of service, and back", Strike: drainOne})
}

// grow adds spares, gives them votes, and removes as many members.
func grow(ctx context.Context, r *Run, rng *rand.Rand, n int, leader bool) (*Fault, error) {
	spares := r.spares()
	if len(spares) < n {
		return nil, nil
	}
	spares = some(rng, spares, n)
	stay := between(rng, 500*time.Millisecond, 4*time.Second)
	leaving := some(rng, slices.Concat(r.Members(), spares), n)
	if !r.Claim(append(spares, membership)...) {
		return nil, nil
	}
	text := fmt.Sprintf("%v join, %v leave", spares, leaving)
	if leader {
		text = fmt.Sprintf("%v joins, the leader leaves", spares)
	}
	once, end := job(ctx, func(ctx context.Context) error {
		defer r.Release(membership)
		err := r.join(ctx, spares...)
		if err == nil {
			err = r.promote(ctx, spares...)
		}
		r.Release(spares...) // now they are nodes like others
		if err != nil {
			return err
		}
		pause(ctx, stay)
		var who []string
		err = insist(ctx, func(ctx context.Context) error {
			if who = leaving; leader {
				l := r.Leader(ctx)
				if l == "" {
					return errors.New("jepsen: nobody leads")
				}
				who = []string{l}
			}
			if !r.Claim(who...) {
				return fmt.Errorf("jepsen: %v are to leave, and other faults have them", who)
			}
			return nil
		})
		if err != nil {
			return err
		}
		defer r.Release(who...)
		return r.leave(ctx, who...)
	})
	return &Fault{Text: text, Nodes: spares, Hold: undoTime, Until: once, Undo: end}, nil
}

func learnFor(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	spares := r.spares()
	if len(spares) == 0 {
		return nil, nil
	}
	who, stay := some(rng, spares, 1), between(rng, 500*time.Millisecond, 4*time.Second)
	mine := append(slices.Clone(who), membership)
	if !r.Claim(mine...) {
		return nil, nil
	}
	once, end := job(ctx, func(ctx context.Context) error {
		defer r.Release(mine...)
		if err := r.join(ctx, who...); err != nil {
			return err
		}
		pause(ctx, stay)
		return r.leave(ctx, who...)
	})
	return &Fault{Text: fmt.Sprintf("%s learns", who[0]), Nodes: who, Hold: undoTime, Until: once, Undo: end}, nil
}

func replaceOne(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	who := some(rng, r.Members(), 1)
	mine := append(slices.Clone(who), membership, soundness)
	if !r.Claim(mine...) {
		return nil, nil
	}
	if !r.sound(ctx, who...) {
		r.Release(mine...)
		return nil, nil
	}
	once, end := job(ctx, func(ctx context.Context) error {
		defer r.Release(mine...)
		if err := r.StopNode(ctx, who[0]); err != nil {
			return err
		}
		return r.replace(ctx, who[0])
	})
	return &Fault{Text: fmt.Sprintf("replacing %s", who[0]), Nodes: who, Hold: undoTime, Until: once, Undo: end}, nil
}

func handOver(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	leader := r.Leader(ctx)
	others := without(r.Members(), []string{leader})
	if leader == "" || len(others) == 0 {
		return nil, nil
	}
	to := one(rng, others)
	var told struct{ Leader string }
	err := r.confman(ctx, &told, "cluster", "transfer-leadership", "--to", to)
	if err != nil {
		return nil, err
	}
	return &Fault{Text: fmt.Sprintf("%s leads instead of %s", to, leader), Nodes: []string{leader, to}}, nil
}

func drainOne(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	who := some(rng, r.Members(), 1)
	if !r.Claim(who...) {
		return nil, nil
	}
	f := &Fault{Text: "draining " + who[0], Nodes: who, Undo: func(ctx context.Context) error {
		defer r.Release(who...)
		return insist(ctx, func(ctx context.Context) error {
			if !r.Ground.Runs(who[0]) {
				return nil // its next life does not know of it
			}
			var d client.Drained
			return r.confman(ctx, &d, "cluster", "drain", who[0], "--off")
		})
	}}
	var d client.Drained
	err := r.confman(ctx, &d, "cluster", "drain", who[0])
	if err != nil && strings.Contains(err.Error(), "leads still") {
		err = nil // it goes on trying
	}
	return made(ctx, f, err)
}
