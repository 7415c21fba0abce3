package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

func init() {
	kill := func(name, about string, many func(n int) int) {
		enlist(&Nemesis{Name: name, About: about, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
			all := r.Members()
			return r.down(ctx, "killed", some(rng, all, many(len(all))), r.KillNode)
		}})
	}
	kill("kill-one", "one node is killed, and started again", func(int) int { return 1 })
	kill("kill-minority", "as many nodes are killed as may fail, and started again", func(n int) int { return (n - 1) / 2 })
	kill("kill-majority", "more than half of the nodes are killed, and started again", func(n int) int { return n/2 + 1 })
	kill("kill-all", "all nodes are killed, and started again", func(n int) int { return n })
	enlist(&Nemesis{Name: "kill-leader", About: "the node that leads is killed, and started again", Strike: func(ctx context.Context, r *Run, _ *rand.Rand) (*Fault, error) {
		leader := r.Leader(ctx)
		if leader == "" {
			return nil, nil
		}
		return r.down(ctx, "killed the leader", []string{leader}, r.KillNode)
	}})
	enlist(&Nemesis{Name: "restart-storm", About: "one node is killed again and again, soon after each start", Strike: storm})
	enlist(&Nemesis{Name: "rolling-restart", About: "one node after the other is stopped in order, started, and waited for", Strike: rolling})
}

// down ends nodes, each in this way, and undoes that by starting them.
func (r *Run) down(ctx context.Context, what string, who []string, end func(ctx context.Context, name string) error) (*Fault, error) {
	if !r.Claim(who...) {
		return nil, nil
	}
	f := &Fault{Text: fmt.Sprintf("%s %v", what, who), Nodes: who, Undo: func(ctx context.Context) error { return r.up(ctx, who) }}
	for _, name := range who {
		if err := end(ctx, name); err != nil {
			return made(ctx, f, err)
		}
	}
	return f, nil
}

// up starts nodes that were claimed, and gives them back.
func (r *Run) up(ctx context.Context, who []string) error {
	defer r.Release(who...)
	for _, name := range who {
		if err := r.Revive(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// A storm kills so often, so long after each start.
const (
	stormKills                = 40
	stormSoonest, stormLatest = 5 * time.Millisecond, 1500 * time.Millisecond
	stormTime                 = 10 * time.Second
)

func storm(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	who := some(rng, r.Members(), 1)
	var after []time.Duration
	for range stormKills {
		most := between(rng, stormSoonest, stormLatest) // soon is as likely as late
		after = append(after, between(rng, stormSoonest, most))
	}
	if !r.Claim(who...) {
		return nil, nil
	}
	storming, calm := context.WithCancel(context.WithoutCancel(ctx))
	once, end := job(ctx, func(ctx context.Context) error {
		for _, d := range after {
			if err := r.KillNode(ctx, who[0]); err != nil {
				return err
			}
			if err := r.StartNode(ctx, who[0]); err != nil {
				return err
			}
			if !pause(storming, d) {
				return nil
			}
		}
		return nil
	})
	undo := func(ctx context.Context) error {
		calm()
		return errors.Join(end(ctx), r.up(ctx, who))
	}
	return &Fault{Text: fmt.Sprintf("killing %s again and again", who[0]), Nodes: who, Hold: between(rng, stormTime/5, stormTime), Until: once, Undo: undo}, nil
}

func rolling(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	who := r.Members()
	rng.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
	if !r.Claim(who...) {
		return nil, nil
	}
	once, end := job(ctx, func(ctx context.Context) error {
		for _, name := range who {
			if err := r.StopNode(ctx, name); err != nil {
				return err
			}
			if err := r.StartNode(ctx, name); err != nil {
				return err
			}
			if err := r.AwaitNode(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
	undo := func(ctx context.Context) error { return errors.Join(end(ctx), r.up(ctx, who)) }
	return &Fault{Text: fmt.Sprintf("restarting %v, one after the other", who), Nodes: who, Hold: undoTime, Until: once, Undo: undo}, nil
}

// AwaitNode waits until a node says that it is ready. If its process ends meanwhile, by itself, that is the error.
func (r *Run) AwaitNode(ctx context.Context, name string) error {
	for {
		if s, err := r.Standing(ctx, name); err == nil && s.Ready {
			return nil
		}
		if l := r.last(name); l != nil && l.isOver() {
			return fmt.Errorf("jepsen: %s ended while it was waited for: %s", name, l.words)
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("jepsen: waiting until %s is ready: %w", name, ctx.Err())
		}
	}
}
