package jepsen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/confman/confman/client"
)

// Bounds of operations on members.
const (
	askTime   = "10s"            // for the program to ask for one
	goneTime  = 20 * time.Second // for a removed node to hear of it
	insistFor = 300 * time.Millisecond
)

// confman runs the program, as whom the run's clients are, and reads what it prints.
func (r *Run) confman(ctx context.Context, out any, args ...string) error {
	if r.who != nil {
		file, err := tokenFile(ctx, r.who)
		if err != nil {
			return err
		}
		defer os.Remove(file)
		args = append(args, "--token-file", file, "--plain-text-token")
	}
	text, err := r.Ground.Confman(ctx, append(args, "--output", "json", "--timeout", askTime)...)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// tokenFile writes a token into a file that nobody else can read.
func tokenFile(ctx context.Context, who client.TokenSource) (file string, err error) {
	token, err := who(ctx, "")
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "jepsen-token-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(token)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), err
}

// insist does something again and again until it is done, or ctx ends.
func insist(ctx context.Context, do func(ctx context.Context) error) error {
	for {
		err := do(ctx)
		if err == nil || !pause(ctx, insistFor) {
			return err
		}
	}
}

// seat has the program make a seat for a machine's node, or tells the one that nobody came for.
func (r *Run) seat(ctx context.Context, name string, args ...string) (seat string, err error) {
	err = insist(ctx, func(ctx context.Context) error {
		var made client.NewSeat
		err := r.confman(ctx, &made, args...)
		if err != nil {
			// It may be of an attempt before, of which nobody knows what became.
			if r.confman(ctx, &made, "cluster", "seat", name) != nil || made.Seat == "" {
				return err
			}
		}
		seat = made.Seat
		return nil
	})
	return seat, err
}

// sit starts a node with a seat and an empty directory.
func (r *Run) sit(ctx context.Context, name, seat string) error {
	if r.last(name) != nil { // it was there before
		if _, err := r.Damage(ctx, name, Damage{Kind: LoseDirectory}); err != nil {
			return fmt.Errorf("jepsen: emptying the directory of %s: %w", name, err)
		}
		r.afresh(name)
	}
	r.mu.Lock()
	r.args[name] = []string{"--seat", seat} // for good: a node that lost its directory must not found a cluster
	r.mu.Unlock()
	return r.StartNode(ctx, name)
}

// ReplaceNode replaces a node that does not run, whose directory cannot be used, by one on the same machine: it gets a seat,
// starts with an empty directory, and has its vote back when this returns. It waits until no other fault changes the members.
func (r *Run) ReplaceNode(ctx context.Context, name string) error {
	for !r.Claim(membership) {
		if !pause(ctx, againEvery) {
			return fmt.Errorf("jepsen: replacing %s: others change the members: %w", name, ctx.Err())
		}
	}
	defer r.Release(membership)
	return r.replace(ctx, name)
}

// replace needs the membership.
func (r *Run) replace(ctx context.Context, name string) error {
	seat, err := r.seat(ctx, name, "cluster", "replace", name)
	if err != nil {
		return err
	}
	r.Log("%s is replaced", name)
	if err := r.sit(ctx, name, seat); err != nil {
		return err
	}
	return r.settled(ctx, name)
}

// settled waits until a node votes, nobody else has its name, and it is ready.
func (r *Run) settled(ctx context.Context, name string) error {
	err := insist(ctx, func(ctx context.Context) error {
		if l := r.last(name); l != nil && l.isOver() {
			return fmt.Errorf("jepsen: %s is to vote, and ended: %s", name, l.words)
		}
		items, err := r.seated(ctx, name)
		if err != nil {
			return err
		}
		if len(items) != 1 || items[0].Membership != "voter" || !items[0].Settled() {
			return fmt.Errorf("jepsen: %s is to vote, and is %+v", name, items)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.AwaitNode(ctx, name)
}

// seated is what the cluster has under a name.
func (r *Run) seated(ctx context.Context, name string) (items []client.Seated, err error) {
	for _, ask := range r.Members() {
		list, _, failed := r.At(ask).Members(ctx, client.ReadOptions{Consistency: client.Linearizable})
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		return slices.DeleteFunc(list.Items, func(m client.Seated) bool { return m.ID != name }), nil
	}
	return nil, err
}

// spares are the machines whose nodes are no members.
func (r *Run) spares() []string { return without(sortedKeys(r.machines), r.Members()) }

// join adds spares, which must be claimed, as learners, and has clients ask them.
func (r *Run) join(ctx context.Context, spares ...string) error {
	for _, name := range spares {
		m := r.machines[name]
		seat, err := r.seat(ctx, name, "cluster", "add", name, "--address", m.Address, "--api-port", strconv.Itoa(m.APIPort), "--raft-port", strconv.Itoa(m.RaftPort))
		if err != nil {
			return err
		}
		if err := r.sit(ctx, name, seat); err != nil {
			return err
		}
		r.SetMembers(append(r.Members(), name))
	}
	return nil
}

// promote gives learners votes.
func (r *Run) promote(ctx context.Context, names ...string) error {
	err := insist(ctx, func(ctx context.Context) error {
		var done client.MembersChanged
		return r.confman(ctx, &done, slices.Concat([]string{"cluster", "promote", "--wait=false"}, names)...)
	})
	for _, name := range names {
		if err == nil {
			err = r.settled(ctx, name)
		}
	}
	return err
}

// leave has members, which must be claimed, leave, and waits until they say so and stop. Their machines are spares then.
func (r *Run) leave(ctx context.Context, names ...string) error {
	r.SetMembers(without(r.Members(), names))
	for _, name := range names {
		defer r.Excuse(name, "removed from its cluster")()
	}
	err := insist(ctx, func(ctx context.Context) error {
		var done client.MembersChanged
		err := r.confman(ctx, &done, slices.Concat([]string{"cluster", "remove", "--wait=false"}, names)...)
		if err == nil {
			return nil
		}
		for _, name := range names { // an attempt before may have done it
			if items, e := r.seated(ctx, name); e != nil || len(items) > 0 {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		err := insist(ctx, func(ctx context.Context) error {
			items, err := r.seated(ctx, name)
			if err == nil && len(items) > 0 {
				err = fmt.Errorf("jepsen: %s is to leave, and is still there: %+v", name, items)
			}
			return err
		})
		if err != nil {
			return err
		}
		if err := r.bury(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// bury waits until a removed node has stopped. One that nobody can tell is ended after a while: it is no member any more.
func (r *Run) bury(ctx context.Context, name string) error {
	l := r.last(name)
	if l == nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, goneTime)
	defer cancel()
	if l.await(wait) == nil {
		return nil
	}
	r.Log("%s is no member any more, and does not know it", name)
	return r.KillNode(ctx, name)
}
