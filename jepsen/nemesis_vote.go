package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

func init() {
	enlist(&Nemesis{
		Name: "kill-voter", About: "the leader is cut off; who votes for the next one is killed before it hears more of it, and meets the old one again, which asks for a vote in the same term",
		Needs: []Capability{Cuts, Delays}, Strike: killVoter,
	})
}

// Times of killVoter.
const (
	voteDelay = 120 * time.Millisecond // of packets between those who elect: two of them are between a vote and the first entry, two more before; less than an election
	voteEvery = 5 * time.Millisecond   // who has voted is looked for
	voteTime  = 10 * time.Second       // for an election
	againTime = 4 * time.Second        // for the other one
)

// killVoter makes two candidates of one term ask one node for its vote, which dies in between: a node that does not remember its vote gives it
// twice, and there are two leaders. Chance hardly ever does: as soon as the voter has an entry of the term, the log keeps the other one from leading.
func killVoter(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	all := r.Members()
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	leader := r.Leader(ctx)
	if leader == "" || len(all) < 3 {
		return nil, nil
	}
	others := without(all, []string{leader})
	old, rest := append([]string{leader}, others[len(all)/2+1:]...), others[:len(all)/2+1] // rest is a majority only with all of it
	s, err := r.Standing(ctx, leader)
	if err != nil || !r.Claim(all...) {
		return nil, nil //nolint:nilerr // it is down, or busy: another time
	}
	rule := map[Link]Condition{}
	for _, l := range apart(rest, rest) {
		if l.From != l.To {
			rule[l] = Condition{Delay: voteDelay}
		}
	}
	for _, l := range apart(old, rest) {
		rule[l] = Condition{Cut: true}
	}
	restore, err := r.BreakLinks(ctx, rule)
	if err != nil {
		r.Release(all...)
		return nil, err
	}
	once, end := job(ctx, func(ctx context.Context) error {
		who := r.voter(ctx, rest, s.Term)
		if who == "" {
			return restore(ctx)
		}
		if err := r.KillNode(ctx, who); err != nil {
			return errors.Join(err, restore(ctx))
		}
		pause(ctx, 2*voteDelay) // its vote arrives
		rule := map[Link]Condition{}
		for _, l := range apart(append([]string{who}, old...), without(rest, []string{who})) {
			rule[l] = Condition{Cut: true}
		}
		again, err := r.BreakLinks(ctx, rule)
		if err != nil {
			return errors.Join(err, restore(ctx))
		}
		err = errors.Join(restore(ctx), r.StartNode(ctx, who))
		r.Log("%s voted, and was killed: it meets %v again", who, old)
		pause(ctx, againTime)
		return errors.Join(err, again(ctx))
	})
	undo := func(ctx context.Context) error { return errors.Join(end(ctx), r.up(ctx, all)) }
	return &Fault{Text: fmt.Sprintf("cut %v off; who votes in the term after %d is killed", old, s.Term), Nodes: all, Hold: undoTime, Until: once, Undo: undo}, nil
}

// voter waits until one of some nodes has voted in a later term, and has no leader yet; "": none does.
func (r *Run) voter(ctx context.Context, some []string, term uint64) string {
	ctx, cancel := context.WithTimeout(ctx, voteTime)
	defer cancel()
	for {
		for _, name := range some {
			if s, err := r.Standing(ctx, name); err == nil && s.Term > term && s.Role == "follower" && s.Leader == "" {
				return name
			}
		}
		if !pause(ctx, voteEvery) {
			return ""
		}
	}
}
