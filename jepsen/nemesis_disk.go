package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"
)

// What a node may say when it stops because of its disk.
const (
	saysEIO    = "input/output error"
	saysENOSPC = "no space left on device"
	saysEROFS  = "read-only file system"
)

// lacksRoom is how a node says that it takes no writes since its disk is full, or about to be.
var lacksRoom = regexp.MustCompile(`\bstorage_full"?[=:]true\b`)

func init() {
	power := func(name, about string, many func(n int, rng *rand.Rand) int) {
		enlist(&Nemesis{Name: name, About: about, Needs: []Capability{PowerLoss}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
			all := r.Members()
			return r.dark(ctx, some(rng, all, many(len(all), rng)))
		}})
	}
	power("power-one", "one node loses power: what it did not sync is gone", func(int, *rand.Rand) int { return 1 })
	power("power-some", "several nodes lose power at once", func(n int, rng *rand.Rand) int { return 1 + rng.IntN(n) })
	power("power-all", "all nodes lose power at once", func(n int, _ *rand.Rand) int { return n })
	enlist(&Nemesis{Name: "power-in-partition", About: "one node loses power while the network is in two halves, and starts before or after they meet", Needs: []Capability{PowerLoss, Cuts}, Strike: darkPartition})

	sick("slow-disk", "each sync of a node takes 0.2 to 5 s longer", func(rng *rand.Rand) DiskState {
		return DiskState{SyncDelay: between(rng, 200*time.Millisecond, 200*time.Millisecond<<rng.IntN(5))}
	})
	sick("sync-errors", "a node's syncs fail: it stops, and is started again once they do not", func(*rand.Rand) DiskState { return DiskState{SyncError: true} }, saysEIO)
	sick("read-errors", "a node's reads fail, at once or when it starts again: it serves nothing wrong, stops, or is rebuilt", func(*rand.Rand) DiskState { return DiskState{ReadError: true} }, saysEIO, replaceIt)
	sick("read-only", "a node's disk takes no writes: it stops, and is started again once it does", func(*rand.Rand) DiskState { return DiskState{ReadOnly: true} }, saysEROFS)
	enlist(&Nemesis{Name: "full-disk", About: "a node's disk has room for a few more MiB, or none, and then again", Needs: []Capability{DiskSizes}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		who := some(rng, r.Members(), 1)[0]
		more := rng.Int64N(8 << 20)
		s, err := r.Standing(ctx, who)
		if err != nil {
			return nil, nil //nolint:nilerr // it is down, or busy: another time
		}
		noRoom, err := r.says(ctx, who, lacksRoom)
		if err != nil {
			return nil, err
		}
		f, err := r.sicken(ctx, who, DiskState{Bytes: s.StoreBytes + s.LogBytes + more}, fmt.Sprintf("the disk of %s is full, but for %d KiB", who, more>>10), saysENOSPC)
		if f != nil {
			refused := f.Felt
			f.Felt = func() bool { return refused != nil && refused() || noRoom() } // it sees that there is none, and asks for none
		}
		return f, err
	}})
}

// dark is a loss of power.
func (r *Run) dark(ctx context.Context, who []string) (*Fault, error) {
	if !r.Claim(who...) {
		return nil, nil
	}
	f := &Fault{Text: fmt.Sprintf("%v lost power", who), Nodes: who, Undo: func(ctx context.Context) error { return r.up(ctx, who) }}
	return made(ctx, f, r.LosePower(ctx, who...))
}

func darkPartition(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
	all := r.Members()
	side, who, early := some(rng, all, len(all)/2), some(rng, all, 1), rng.IntN(2) == 0
	dark, err := r.dark(ctx, who)
	if dark == nil {
		return nil, err
	}
	text := fmt.Sprintf("cut %v from %v, and %s lost power", side, without(all, side), who[0])
	f, err := r.cut(ctx, apart(side, without(all, side)), text)
	if err != nil {
		return made(ctx, dark, err)
	}
	restore := f.Undo
	f.Undo = func(ctx context.Context) error {
		if early {
			return errors.Join(dark.Undo(ctx), restore(ctx))
		}
		return errors.Join(restore(ctx), dark.Undo(ctx))
	}
	return f, nil
}

// sick is a nemesis of one disk. Its node may stop with these words, and is started again when the disk is well.
func sick(name, about string, draw func(rng *rand.Rand) DiskState, words ...string) {
	enlist(&Nemesis{Name: name, About: about, Needs: []Capability{DiskFaults}, Strike: func(ctx context.Context, r *Run, rng *rand.Rand) (*Fault, error) {
		who := some(rng, r.Members(), 1)[0]
		d, again := draw(rng), rng.IntN(2) == 0
		f, err := r.sicken(ctx, who, d, fmt.Sprintf("the disk of %s: %v", who, d), words...)
		if f == nil || !d.ReadError || !again {
			return f, err
		}
		f.Text += ", and it is killed and started"
		return made(ctx, f, errors.Join(r.KillNode(ctx, who), r.StartNode(ctx, who)))
	}})
}

func (r *Run) sicken(ctx context.Context, who string, d DiskState, text string, words ...string) (*Fault, error) {
	mine := []string{who}
	if d.ReadError {
		mine = append(mine, soundness, membership) // it may have to be replaced
	}
	if !r.Claim(mine...) {
		return nil, nil
	}
	if d.ReadError && !r.sound(ctx, who) {
		r.Release(mine...)
		return nil, nil
	}
	revoke, felt, was := r.Excuse(who, words...), r.hitDisk(who), r.last(who)
	undo := func(ctx context.Context) error {
		defer r.Release(mine...)
		defer revoke()
		if d.ReadError && felt != nil && !felt() {
			if err := r.mustRead(ctx, who, felt); err != nil {
				return err
			}
		}
		if err := r.SetDisk(ctx, who, DiskState{}); err != nil {
			return err
		}
		if d.ReadError {
			return r.restore(ctx, who)
		}
		if d.SyncError && felt != nil && felt() {
			r.mustEnd(ctx, was)
		}
		return r.Revive(ctx, who)
	}
	f := &Fault{Text: text, Nodes: []string{who}, Felt: felt, Undo: undo}
	return made(ctx, f, r.SetDisk(ctx, who, d))
}

// mustRead starts a node anew that has read nothing: it remembers what it read before, but for then.
func (r *Run) mustRead(ctx context.Context, who string, felt func() bool) error {
	r.Log("%s reads nothing: it is killed and started", who)
	if err := errors.Join(r.KillNode(ctx, who), r.StartNode(ctx, who)); err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	for !felt() && pause(wait, pollEvery) { //nolint:revive // suffer says if it was in vain
	}
	return nil
}

// endTime is how long a node whose disk failed may take to end.
const endTime = 20 * time.Second

// ErrTrusted: a node goes on although a sync failed: what it has written may be gone.
var ErrTrusted = errors.New("a sync failed, and the node goes on")

// mustEnd waits until a node's life is over in which a sync failed.
func (r *Run) mustEnd(ctx context.Context, l *life) {
	if l == nil {
		return
	}
	wait, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if l.await(wait) != nil && ctx.Err() == nil {
		r.blame(Disks, fmt.Errorf("%w: %s", ErrTrusted, l.node))
	}
}

// String is a disk in words.
func (d DiskState) String() string {
	switch {
	case d.SyncError:
		return "syncs fail"
	case d.ReadError:
		return "reads fail"
	case d.ReadOnly:
		return "no writes"
	case d.Bytes != 0:
		return fmt.Sprintf("%d MiB", d.Bytes>>20)
	case d.SyncDelay != 0:
		return fmt.Sprintf("each sync takes %v more", d.SyncDelay.Round(time.Millisecond))
	}
	return "sound"
}
