package jepsen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// electionTime is the longest that a follower waits for its leader before it calls an election, as the program has it.
const electionTime = time.Second

func init() {
	pauser("pause-leader", "the node that leads stands still (SIGSTOP), up to several election timeouts", true, func(int, *rand.Rand) int { return 1 })
	pauser("pause-followers", "nodes that do not lead stand still, up to several election timeouts", false, func(n int, rng *rand.Rand) int { return 1 + rng.IntN(n-1) })
	pauser("pause-all", "all nodes stand still at once", false, func(n int, _ *rand.Rand) int { return n })
}

// pauser is a nemesis that has nodes stand still: the leader first, if it is meant, else last.
func pauser(name, about string, leading bool, many func(nodes int, rng *rand.Rand) int) {
	enlist(&Nemesis{Name: name, About: about, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		hold, who := pauseTime(rng), r.Members()
		n := many(len(who), rng)
		rng.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
		leader := r.Leader(ctx)
		if leader == "" {
			return nil, nil
		}
		slices.SortStableFunc(who, func(a, b string) int {
			switch {
			case a == b || (a == leader) == (b == leader):
				return 0
			case (a == leader) == leading:
				return -1
			default:
				return 1
			}
		})
		who = who[:n]
		slices.Sort(who)
		if !r.Claim(who...) {
			return nil, nil
		}
		f := &Fault{Text: fmt.Sprintf("paused %v for %v", who, hold.Round(time.Millisecond)), Nodes: who, Hold: hold, Undo: func(ctx context.Context) error {
			defer r.Release(who...)
			for _, name := range who {
				if err := r.ResumeNode(ctx, name); err != nil {
					return err
				}
			}
			return nil
		}}
		for _, name := range who {
			if err := r.PauseNode(ctx, name); err != nil {
				return made(ctx, f, err)
			}
		}
		return f, nil
	}})
}

// pauseTime is shorter than an election takes to begin, about as long, or longer than two.
func pauseTime(rng *rand.Rand) time.Duration {
	switch rng.IntN(3) {
	case 0:
		return between(rng, electionTime/50, electionTime/2)
	case 1:
		return between(rng, electionTime/2, 2*electionTime)
	default:
		return between(rng, 2*electionTime, 6*electionTime)
	}
}
