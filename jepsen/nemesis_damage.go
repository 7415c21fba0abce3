package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

func init() {
	for _, d := range []struct {
		name string
		kind DamageKind
	}{
		{"flip-log", FlipLog},
		{"truncate-log", TruncateLog},
		{"flip-database", FlipDatabase},
		{"lose-database", LoseDatabase},
	} {
		verb := "a node that is down loses "
		if d.kind == FlipLog || d.kind == FlipDatabase {
			verb = "a node that is down has changed in it "
		}
		enlist(&Nemesis{
			Name: d.name, About: verb + string(d.kind) + ": it says so, and is rebuilt or replaced", Needs: []Capability{Damages}, Members: true,
			Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
				return damage(ctx, r, rng, d.kind, func(ctx context.Context, who string) error { return r.restore(ctx, who) })
			},
		})
	}
	enlist(&Nemesis{
		Name: "lose-disk", About: "a node loses all of its disk: it must refuse to take part, and is replaced", Needs: []Capability{Damages}, Members: true,
		Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
			return damage(ctx, r, rng, LoseDirectory, func(ctx context.Context, who string) error { return refuse(ctx, r, who) })
		},
	})
}

// ErrServed: a node took part although its disk was lost.
var ErrServed = errors.New("a node takes part although it lost its disk, and with it what it voted")

// damage damages what one node has, which mends it then. All others are sound, and none changes the members meanwhile.
func damage(ctx context.Context, r *Run, rng *rand.Rand, kind DamageKind, mends func(ctx context.Context, who string) error) (*Fault, error) {
	who := some(rng, r.Members(), 1)[0]
	d := Damage{Kind: kind, Seed: rng.Uint64()}
	mine := []string{who, membership, soundness}
	if !r.Claim(mine...) {
		return nil, nil
	}
	if !r.sound(ctx, who) {
		r.Release(mine...)
		return nil, nil
	}
	// Not revoked: it may find the damage much later.
	_ = r.Excuse(who, replaceIt)
	f := &Fault{Nodes: []string{who}, Undo: func(ctx context.Context) error {
		defer r.Release(mine...)
		return r.restore(ctx, who)
	}}
	if err := r.KillNode(ctx, who); err != nil {
		return made(ctx, f, err)
	}
	what, err := r.Ground.Damage(ctx, who, d)
	if err != nil {
		return made(ctx, f, fmt.Errorf("jepsen: damaging %s: %w", who, err))
	}
	f.Text = fmt.Sprintf("damaged %s: %s", who, what)
	once, end := job(ctx, func(ctx context.Context) error {
		defer r.Release(mine...)
		return mends(ctx, who)
	})
	f.Hold, f.Until, f.Undo = undoTime, once, end
	return f, nil
}

// restore starts a node whose disk may be damaged, and has it serve: rebuilt, or replaced if it says that it cannot be used. It
// needs the membership.
func (r *Run) restore(ctx context.Context, who string) error {
	for {
		if !r.Ground.Runs(who) {
			if l := r.last(who); l != nil {
				if err := l.await(ctx); err != nil {
					return err
				}
				if strings.Contains(l.words, replaceIt) {
					return r.replace(ctx, who)
				}
			}
			if err := r.StartNode(ctx, who); err != nil {
				return err
			}
		}
		err := r.AwaitNode(ctx, who)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if l := r.last(who); l.excuse == "" {
			return err // that was a crash
		}
	}
}

// refuse starts a node whose disk was lost: it must stop, and say that. Then it is replaced.
func refuse(ctx context.Context, r *Run, who string) error {
	if err := r.StartNode(ctx, who); err != nil {
		return err
	}
	err := r.AwaitNode(ctx, who)
	switch {
	case err == nil:
		r.blame(Disks, fmt.Errorf("%w: %s", ErrServed, who))
		err = r.KillNode(ctx, who)
	case ctx.Err() == nil:
		err = nil
		if words := r.last(who).words; !strings.Contains(words, "data directory was lost or replaced") {
			r.blame(Disks, fmt.Errorf("%s lost its disk, and does not say so: %s", who, words))
		}
	}
	if err != nil {
		return err
	}
	return r.replace(ctx, who)
}

// sound tells whether all members but some serve: only then may one of those be damaged.
func (r *Run) sound(ctx context.Context, but ...string) bool {
	for _, name := range r.Members() {
		if slices.Contains(but, name) {
			continue
		}
		if s, err := r.Standing(ctx, name); err != nil || !s.Ready {
			return false
		}
	}
	return true
}
