package jepsen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

func init() {
	nemeses["kill-one"] = killer("kill-one", "one node is killed, and started again", func(n int, _ *rand.Rand) int { return 1 })
	nemeses["kill-all"] = killer("kill-all", "all nodes are killed, and started again", func(n int, _ *rand.Rand) int { return n })
}

// killer kills as many nodes at once as many says.
func killer(name, about string, many func(nodes int, rng *rand.Rand) int) *Nemesis {
	return &Nemesis{Name: name, About: about, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		who := r.Members()
		rng.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
		who = who[:many(len(who), rng)]
		slices.Sort(who)
		if !r.Claim(who...) {
			return nil, nil
		}
		undo := func(ctx context.Context) error {
			defer r.Release(who...)
			for _, name := range who {
				if !r.Ground.Runs(name) {
					if err := r.StartNode(ctx, name); err != nil {
						return err
					}
				}
			}
			return nil
		}
		for _, name := range who {
			if err := r.KillNode(ctx, name); err != nil {
				return nil, err
			}
		}
		return &Fault{Text: fmt.Sprintf("killed %v", who), Nodes: who, Undo: undo}, nil
	}}
}
