package jepsen

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["watch"] = func() Workload { return &watching{spells: spells{each: 300}} }
}

const (
	// watchKeys are how many keys each half of a spell has.
	watchKeys = 3
	// A stream lasts so long before its watcher goes on at another node.
	shortStream, longStream = 200 * time.Millisecond, 4 * time.Second
	// watchBeat is how often a node says that it is there. A watcher gives it up after some of them.
	watchBeat = time.Second
	// watcherLag bounds how long a watcher may take, when all is well, to have everything.
	watcherLag = 30 * time.Second
	// maxTrouble bounds the errors that are kept.
	maxTrouble = 8
)

// watchPrefixes are what is followed from the first change to the last.
var watchPrefixes = []string{"watch/", "watch/a/", "watch/b/"}

// watching has clients that write and clients that watch, each by streams of one node after the other.
type watching struct {
	spells

	mu      sync.Mutex
	callers int
	follows []*follow
	trouble []error
}

// follow is what one watcher has of one prefix.
type follow struct {
	who    int
	prefix string
	has    uint64 // all changes up to this revision
}

func watchKey(spell uint64, half string, n uint64) string {
	return fmt.Sprintf("watch/%s/%d/%d", half, spell, n)
}

// Prepare is part of Workload.
func (*watching) Prepare(context.Context, *Run) error { return nil }

// Step is part of Workload.
func (w *watching) Step(ctx context.Context, c *Caller) {
	if c.State == nil {
		c.State = w.role(c)
	}
	follows := c.State.([]*follow)
	if follows == nil {
		w.write(ctx, c)
		return
	}
	// And one key, from where the first follower is: whatever revision that is.
	single := &follow{who: c.ID, prefix: watchKey(w.asked.Load()/w.each, "a", c.Rng.Uint64N(watchKeys)), has: follows[0].has}
	var streams sync.WaitGroup
	for _, f := range append(follows[:len(follows):len(follows)], single) {
		node, lasts := c.AnyNode(), between(c.Rng, shortStream, longStream)
		if c.chance(0.3) {
			node = "" // wherever somebody is well
		}
		streams.Go(func() { w.stream(ctx, c.Run, f, node, lasts) })
	}
	streams.Wait()
}

// role has every second client watch, and a single one too.
func (w *watching) role(c *Caller) (follows []*follow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.callers++
	if w.callers%2 != 0 && c.Clients > 1 {
		return nil
	}
	for _, prefix := range watchPrefixes {
		follows = append(follows, &follow{who: c.ID, prefix: prefix})
	}
	w.follows = append(w.follows, follows...)
	return follows
}

// write changes one key, or several in one transaction.
func (w *watching) write(ctx context.Context, c *Caller) {
	spell := w.next()
	half := []string{"a", "b"}[c.Rng.IntN(2)]
	op := c.op(linearizability.Put, watchKey(spell, half, c.Rng.Uint64N(watchKeys)))
	switch c.Rng.IntN(6) {
	case 0:
		op.Kind, op.Value = linearizability.Delete, ""
	case 1, 2:
		op.Kind, op.Key, op.Value = linearizability.Txn, "", ""
		for _, half := range []string{"a", "b"} {
			for n := range uint64(1 + c.Rng.IntN(watchKeys)) {
				s := linearizability.Step{Kind: linearizability.Put, Key: watchKey(spell, half, n), Value: valueOf(op)}
				if c.Rng.IntN(5) == 0 {
					s.Kind, s.Value = linearizability.Delete, ""
				}
				op.Steps = append(op.Steps, s)
			}
		}
	}
	c.Do(ctx, op)
}

// stream follows from where f is, at one node for a while; "": as programs of users do, at whichever is well.
func (w *watching) stream(ctx context.Context, r *Run, f *follow, node string, lasts time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	err := r.follow(ctx, f, node, func() bool { return false })
	if err == nil || ctx.Err() != nil || client.IsUnavailable(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.trouble) < maxTrouble {
		w.trouble = append(w.trouble, err)
	}
}

// watcher is a client for streams of a node; of none: one that goes on at another one where it was, of which the client alone
// may know, since a node tells it how far it has come also when there is nothing to tell of.
func (r *Run) watcher(node string) (c *client.Client, name string, err error) {
	if node != "" {
		return r.At(node), node, nil
	}
	names := r.Members()
	urls := make([]string, len(names))
	first := int(r.Recorder.ID()) % len(names) // not always the same one
	for i := range names {
		urls[i] = r.machines[names[(first+i)%len(names)]].URL
	}
	c, err = client.New(client.Options{Endpoints: urls, MaxAttempts: -1, AttemptTimeout: attemptTime, HTTP: r.http, Token: r.who, PlainTextToken: true})
	return c, strings.Join(names, ","), err
}

// follow takes and records what a node has for f until it is enough, or ctx ends.
func (r *Run) follow(ctx context.Context, f *follow, node string, enough func() bool) error {
	c, node, err := r.watcher(node)
	if err != nil {
		return err
	}
	seen := linearizability.Watch{Client: f.who, Node: node, Prefix: f.prefix, From: f.has, Start: r.Recorder.Now()}
	defer func() { r.Recorder.Watched(seen) }()
	for ch, err := range c.Watch(ctx, f.prefix, client.WatchOptions{From: f.has, FromStart: f.has == 0, Heartbeat: watchBeat}) {
		if err != nil {
			return fmt.Errorf("%s, watching %s after revision %d: %w", node, f.prefix, f.has, err)
		}
		for i := range ch.Events {
			e := &ch.Events[i]
			seen.Events = append(seen.Events, linearizability.WatchEvent{
				At: r.Recorder.Now(), Revision: ch.Revision, Key: e.Path, Deleted: e.Deleted, Value: string(e.Value),
			})
		}
		if f.has = ch.Revision; enough() || len(seen.Events) > MaxWatched {
			return nil
		}
	}
	return nil
}

// Settle is part of Workload: every watcher comes to what is written last, and at every node one that begins with the first change.
func (w *watching) Settle(ctx context.Context, r *Run) error {
	spell := w.next()
	last, err := r.insist(ctx, func() *linearizability.Op {
		op := &linearizability.Op{ID: r.Recorder.ID(), Client: settler, Node: r.Members()[0], Kind: linearizability.Txn}
		for _, half := range []string{"a", "b"} {
			op.Steps = append(op.Steps, linearizability.Step{Kind: linearizability.Put, Key: watchKey(spell, half, 0), Value: valueOf(op)})
		}
		r.Do(ctx, op)
		return op
	})
	if err != nil {
		return err
	}
	names := r.Members()
	follows := w.follows
	at := make([]string, len(follows))
	for i := range follows {
		at[i] = names[i%len(names)]
	}
	for _, name := range names {
		follows = append(follows, &follow{who: settler, prefix: watchPrefixes[0]})
		at = append(at, name)
	}
	ctx, cancel := context.WithTimeout(ctx, watcherLag)
	defer cancel()
	errs := make([]error, len(follows))
	var all sync.WaitGroup
	for i, f := range follows {
		all.Go(func() {
			err := r.follow(ctx, f, at[i], func() bool { return f.has >= last.Revision })
			if err != nil || f.has < last.Revision {
				errs[i] = errors.Join(fmt.Errorf("%s has a watcher of %s that is at revision %d, not at %d, after %v", at[i], f.prefix, f.has, last.Revision, watcherLag), err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return r.readBack(ctx, w.keys())
}

func (w *watching) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for spell := range w.all() {
			for _, half := range []string{"a", "b"} {
				for n := range uint64(watchKeys) {
					if !yield(watchKey(spell, half, n)) {
						return
					}
				}
			}
		}
	}
}

// Judge is part of Workload.
func (w *watching) Judge(*linearizability.History) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.trouble) == 0 {
		return nil
	}
	return fmt.Errorf("jepsen: streams ended that should not: %w", errors.Join(w.trouble...))
}

// Thin is part of Thinner.
func (*watching) Thin(h *linearizability.History) error {
	changes, streams := 0, 0
	for i := range h.Watches {
		if w := &h.Watches[i]; strings.HasPrefix(w.Prefix, "watch/") && len(w.Events) > 0 && w.Client != settler {
			streams++
			changes += len(w.Events)
		}
	}
	if streams < leastOfKind || changes < leastOfKind {
		return fmt.Errorf("%w: workload watch had %d changes in %d streams", errThin, changes, streams)
	}
	return thin(h, "watch",
		answered(linearizability.Put, linearizability.Applied), answered(linearizability.Delete, linearizability.Applied), answered(linearizability.Txn, linearizability.Applied),
	)
}
