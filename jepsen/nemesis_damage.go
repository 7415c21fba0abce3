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
	"github.com/confman/confman/linearizability"
)

func init() {
	for _, d := range []struct {
		name string
		kind DamageKind
	}{
		{"flip-log", FlipLog},
		{"truncate-log", TruncateLog},
		{"flip-database", FlipDatabase},
		{"flip-record", FlipRecord},
		{"truncate-database", TruncateDatabase},
		{"lose-database", LoseDatabase},
	} {
		verb := "a node that is down loses "
		if d.kind == FlipLog || d.kind == FlipDatabase || d.kind == FlipRecord {
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
		Name: "lose-disk", About: "a node loses all of its disk: it must refuse to take part, and is replaced", Needs: []Capability{LostDisks}, Members: true,
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
	if aimed := rng.IntN(2) == 0; aimed && kind == FlipDatabase {
		d.Kind = FlipRecord // of what the file holds much is not in use, and more is seldom read
	}
	pick := rng.Uint64()
	mine := []string{who, membership, soundness}
	if !r.Claim(mine...) {
		return nil, nil
	}
	if !r.sound(ctx, who) {
		r.Release(mine...)
		return nil, nil
	}
	if d.Kind == FlipRecord {
		if d.Key, d.Value = r.resting(ctx, rand.New(rand.NewPCG(pick, 0)), who); d.Key == "" {
			d.Kind = FlipDatabase // there is none yet
		}
	}
	rebuilt, err := r.says(ctx, who, astray)
	if err != nil {
		r.Release(mine...)
		return nil, err
	}
	// It holds until nothing of what was damaged is there any more: it may find that much later.
	revoke := r.Excuse(who, replaceIt)
	f := &Fault{Nodes: []string{who}, Undo: func(ctx context.Context) error {
		defer r.Release(mine...)
		return r.restore(ctx, who)
	}}
	if err := r.KillNode(ctx, who); err != nil {
		return made(ctx, f, err)
	}
	what, err := r.Damage(ctx, who, d)
	if err != nil {
		return made(ctx, f, fmt.Errorf("jepsen: damaging %s: %w", who, err))
	}
	f.Text = fmt.Sprintf("damaged %s: %s", who, what)
	once, end := job(ctx, func(ctx context.Context) error {
		defer r.Release(mine...)
		if d.Kind != FlipRecord {
			err = mends(ctx, who)
		} else {
			_, stop := job(ctx, func(ctx context.Context) error { return r.readUntil(ctx, who, d.Key) })
			err = mends(ctx, who)
			within, cancel := context.WithTimeout(ctx, lookTime)
			defer cancel()
			err = errors.Join(err, stop(within))
		}
		if err == nil && (d.Kind == LoseDatabase || d.Kind.ofDatabase() && rebuilt()) {
			revoke()
		}
		return err
	})
	f.Hold, f.Until, f.Undo = undoTime, once, end
	return f, nil
}

// restore starts a node whose disk may be damaged, and has it serve: rebuilt, or replaced if it says that it cannot be used. It
// needs the membership.
func (r *Run) restore(ctx context.Context, who string) error {
	for {
		gone, err := r.gone(ctx, who)
		if err != nil {
			return err
		}
		if gone {
			if l := r.last(who); l != nil && strings.Contains(l.words, replaceIt) {
				return r.replace(ctx, who)
			}
			if err := r.StartNode(ctx, who); err != nil {
				return err
			}
		}
		err = r.AwaitNode(ctx, who)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if l := r.last(who); l.words != "" && l.excuse == "" {
			return err // that was a crash
		}
	}
}

// restTime is how long ago a record was written that is certainly in the database; lookTime is how long one is asked for when its node serves
// again.
const (
	restTime = 2 * time.Second
	lookTime = 5 * time.Second
)

// resting draws a key that nobody has asked for some time, and its value at a node; "": there is none.
func (r *Run) resting(ctx context.Context, rng *rand.Rand, who string) (key, value string) {
	h, _ := r.Recorder.History()
	put, newest := map[string]bool{}, map[string]int64{}
	for i := range h.Ops {
		o := &h.Ops[i]
		for _, s := range slices.Concat([]linearizability.Step{{Kind: o.Kind, Key: o.Key}}, o.Steps, o.Else) {
			newest[s.Key] = max(newest[s.Key], o.Call)
			if s.Kind == linearizability.Put && o.Outcome == linearizability.Applied {
				put[s.Key] = true
			}
		}
	}
	keys := sortedKeys(put)
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, key := range keys {
		if newest[key] > r.Recorder.Now()-int64(restTime) {
			continue
		}
		rec, _, err := r.At(who).Get(ctx, key, client.ReadOptions{Consistency: client.Local})
		switch {
		case err == nil && len(rec.Value) > 0:
			return key, string(rec.Value)
		case err != nil && !client.IsNotFound(err):
			return "", "" // it is down, or busy: another time
		}
	}
	return "", ""
}

// readUntil reads a key at a node until it has an answer.
func (r *Run) readUntil(ctx context.Context, who, key string) error {
	for ctx.Err() == nil {
		op := &linearizability.Op{Client: settler, Node: who, Kind: linearizability.Local, Key: key}
		if r.Do(ctx, op); op.Outcome == linearizability.ReadDone {
			return nil
		}
		pause(ctx, pollEvery)
	}
	return nil // it is waited for elsewhere
}

// refuseTime is how long a node whose disk was lost may look for others before it must have said so.
const refuseTime = 15 * time.Second

// refuse starts a node whose disk was lost: it must stop, and say that, or at least wait. Then it is replaced.
func refuse(ctx context.Context, r *Run, who string) error {
	if err := r.StartNode(ctx, who); err != nil {
		return err
	}
	err := r.awaitRefusal(ctx, who)
	switch l := r.last(who); {
	case err == nil:
		r.blame(Disks, fmt.Errorf("%w: %s", ErrServed, who))
	case l != nil && l.isOver():
		if !strings.Contains(l.words, "data directory was lost or replaced") {
			r.blame(Disks, fmt.Errorf("%s lost its disk, and does not say so: %s", who, l.words))
		}
	case ctx.Err() != nil:
		return err
	default:
		// It waits. Where all others were replaced themselves, those that it looks for are no more: nobody can tell it.
		known, err := r.knowsAnyone(ctx, who)
		if err != nil {
			return err
		}
		if known {
			r.blame(Disks, fmt.Errorf("%s lost its disk, and does not say so within %v", who, refuseTime))
		}
		r.Log("%s waits for members that are no more, and does not say that its disk is lost", who)
	}
	if err := r.KillNode(ctx, who); err != nil {
		return err
	}
	return r.replace(ctx, who)
}

// awaitRefusal waits until a node serves, which is no error, has ended, or has had its time while the network was whole.
func (r *Run) awaitRefusal(ctx context.Context, who string) error {
	for {
		wait, cancel := context.WithTimeout(ctx, refuseTime)
		err := r.AwaitNode(wait, who)
		late := wait.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return err
		}
		r.breaking.Lock()
		whole := len(r.rules) == 0
		r.breaking.Unlock()
		if whole {
			return err
		}
	}
}

// knowsAnyone tells whether a member is left, beside one, that formed the cluster.
func (r *Run) knowsAnyone(ctx context.Context, who string) (known bool, err error) {
	formed := uint64(0)
	for _, m := range r.machines {
		if !m.Spare {
			formed++
		}
	}
	for _, name := range without(r.Members(), []string{who}) {
		items, err := r.seated(ctx, name)
		if err != nil {
			return false, err
		}
		for i := range items {
			known = known || items[i].RaftID <= formed
		}
	}
	return known, nil
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
