package jepsen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/confman/confman/linearizability"
)

// scriptClient is the client that a script is in the history.
const scriptClient = 1_000

// Stage is where a script plays. Its methods are steps: one that cannot be taken, or does not bring about what it is
// for, ends the script, so that this reads from top to bottom. They are for the script's own goroutine, unless they say otherwise.
type Stage struct {
	*Run
	Rng      *rand.Rand
	scenario *Scenario
	undo     []func(context.Context) error
	beside   sync.WaitGroup // what the script has going on beside itself

	keysMu sync.Mutex
	keys   map[string]bool // that the script wrote
}

// fail ends the script.
func (s *Stage) fail(err error) { panic(ended{err}) }

// ok ends the script if a step could not be taken: then it shows nothing.
func (s *Stage) ok(err error) {
	if err != nil {
		s.fail(fmt.Errorf("%w: a step could not be taken: %w", ErrProvesNothing, err))
	}
}

// shown ends the script unless the situation is what it must be to show anything.
func (s *Stage) shown(holds bool, format string, args ...any) {
	if !holds {
		s.fail(fmt.Errorf("%w: %s", ErrProvesNothing, fmt.Sprintf(format, args...)))
	}
}

// promised ends the script unless what must hold does.
func (s *Stage) promised(holds bool, format string, args ...any) {
	if !holds {
		s.fail(fmt.Errorf("%w: %s", ErrPromise, fmt.Sprintf(format, args...)))
	}
}

// until waits for what the cluster owes: in time, or a promise is not kept.
func (s *Stage) until(ctx context.Context, what string, holds func(context.Context) bool) {
	s.wait(ctx, ErrPromise, what, holds)
}

// broughtAbout waits for what the script is to bring about.
func (s *Stage) broughtAbout(ctx context.Context, what string, holds func(context.Context) bool) {
	s.wait(ctx, ErrProvesNothing, what, holds)
}

func (s *Stage) wait(ctx context.Context, or error, what string, holds func(context.Context) bool) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, stepTime)
	defer cancel()
	for !holds(ctx) {
		if !pause(ctx, pollEvery) {
			s.fail(fmt.Errorf("%w: not within %v: %s", or, stepTime, what))
		}
	}
	s.Log("%s (%.1f s)", what, time.Since(began).Seconds())
}

// lasts lets time pass.
func (s *Stage) lasts(ctx context.Context, d time.Duration) {
	if !pause(ctx, d) {
		s.fail(ctx.Err())
	}
}

// leader is who leads; among those that are named, if any are.
func (s *Stage) leader(ctx context.Context, among ...string) (leader string) {
	if len(among) == 0 {
		among = s.Members()
	}
	s.until(ctx, "there is a leader", func(ctx context.Context) bool {
		leader = s.leads(ctx, among...)
		return leader != ""
	})
	return leader
}

// leads is who says that it leads, of those that are named, in the newest term; "": none does.
func (s *Stage) leads(ctx context.Context, among ...string) (leader string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	term := uint64(0)
	for _, name := range among {
		all.Go(func() {
			st, err := s.Standing(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && st.Role == "leader" && st.Term > term {
				leader, term = name, st.Term
			}
		})
	}
	all.Wait()
	return leader
}

// others are the members but for those that are named.
func (s *Stage) others(names ...string) (others []string) {
	for _, m := range s.Members() {
		if !contains(names, m) {
			others = append(others, m)
		}
	}
	return others
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// begin notes that something is broken now; the returned function, that it is undone, after it did so. What the script leaves broken is
// undone in the end.
func (s *Stage) begin(f Fault) (end func(context.Context)) {
	e := linearizability.Event{Name: s.scenario.Name, Nodes: f.Nodes, Minority: f.Minority, Text: f.Text}
	for _, l := range f.Links {
		e.Links = append(e.Links, [2]string{l.From, l.To})
	}
	id := s.Recorder.Begin(e)
	s.Log("%s", f.Text)
	over := false
	undo := func(ctx context.Context) error {
		if over {
			return nil
		}
		over = true
		if len(f.Minority) > 0 {
			s.Recorder.End(id) // they may have a majority as soon as the undoing begins
		} else {
			defer s.Recorder.End(id)
		}
		if f.Undo == nil {
			return nil
		}
		return f.Undo(ctx)
	}
	s.undo = append(s.undo, undo)
	return func(ctx context.Context) {
		s.ok(undo(ctx))
		s.Log("over: %s", f.Text)
	}
}

// stopped stops processes, which go on when it ends.
func (s *Stage) stopped(ctx context.Context, names ...string) (goOn func(context.Context)) {
	for _, name := range names {
		s.ok(s.PauseNode(ctx, name))
	}
	return s.begin(Fault{Text: fmt.Sprintf("stopped %v", names), Nodes: names, Undo: func(ctx context.Context) error {
		var errs []error
		for _, name := range names {
			errs = append(errs, s.ResumeNode(ctx, name))
		}
		return errors.Join(errs...)
	}})
}

// killed kills nodes, all at once; the returned function starts those that do not run again.
func (s *Stage) killed(ctx context.Context, names ...string) (start func(context.Context)) {
	s.ok(s.KillNodes(ctx, names...))
	return s.down(fmt.Sprintf("killed %v", names), names)
}

// powerless has nodes lose their power at once; the returned function starts those that do not run again.
func (s *Stage) powerless(ctx context.Context, names ...string) (start func(context.Context)) {
	s.ok(s.LosePower(ctx, names...))
	return s.down(fmt.Sprintf("%v lost power, and what was not synced", names), names)
}

func (s *Stage) down(text string, names []string) (start func(context.Context)) {
	for _, name := range names {
		s.shown(!s.Ground.Runs(name), "%s went down and runs", name)
	}
	return s.begin(Fault{Text: text, Nodes: names, Undo: func(ctx context.Context) error {
		for _, name := range names {
			if s.Ground.Runs(name) {
				continue
			}
			if err := s.StartNode(ctx, name); err != nil {
				return err
			}
		}
		return nil
	}})
}

// cut breaks links; minority are the nodes that cannot reach a majority and back then.
func (s *Stage) cut(ctx context.Context, text string, minority []string, links []Link) (heal func(context.Context)) {
	felt := s.hitOn(links, isCut)
	restore, err := s.BreakLinks(ctx, broken(links))
	s.ok(err)
	end := s.begin(Fault{Text: text, Links: links, Minority: minority, Undo: restore})
	return func(ctx context.Context) {
		end(ctx)
		s.shown(felt == nil || felt(), "%s: nothing was sent there", text)
	}
}

// isolated cuts nodes off from all others, but not from clients.
func (s *Stage) isolated(ctx context.Context, names ...string) (heal func(context.Context)) {
	var minority []string
	if others := s.others(names...); len(names) <= len(others) {
		minority = names
	}
	return s.cut(ctx, fmt.Sprintf("%v cut off from the other nodes, not from clients", names), minority, s.between(names, s.rest(names)))
}

// rest are all machines but for those that are named.
func (s *Stage) rest(names []string) (rest []string) {
	for _, m := range s.Ground.Machines() {
		if !contains(names, m.Name) {
			rest = append(rest, m.Name)
		}
	}
	return rest
}

// between are the links of each of some with each of others, both ways.
func (s *Stage) between(some, others []string) (links []Link) {
	for _, a := range some {
		for _, b := range others {
			links = append(links, Link{From: a, To: b}, Link{From: b, To: a})
		}
	}
	return links
}

// aside runs f beside the script, which ends only when it has. f must end soon after its context.
func (s *Stage) aside(f func()) { s.beside.Go(f) }

// newKey is a key for the script.
func (s *Stage) newKey() string { return s.mine(fmt.Sprintf("scenario/%d", s.Recorder.ID())) }

// mine makes a key one that is read back in the end.
func (s *Stage) mine(key string) string {
	s.keysMu.Lock()
	defer s.keysMu.Unlock()
	s.keys[key] = true
	return key
}

// scriptValue is what operation id of a script puts.
func scriptValue(id uint64) string { return fmt.Sprintf("s%d", id) }

// put asks a node to put something new at a key, once, and records it. Safe for concurrent use.
func (s *Stage) put(ctx context.Context, node, key string) *linearizability.Op {
	id := s.Recorder.ID()
	op := &linearizability.Op{ID: id, Client: scriptClient + int(id), Node: node, Kind: linearizability.Put, Key: key, Value: scriptValue(id)}
	s.Do(ctx, op)
	return op
}

// read asks a node for a linearizable read, once, and records it. Safe for concurrent use.
func (s *Stage) read(ctx context.Context, node, key string) *linearizability.Op {
	id := s.Recorder.ID()
	op := &linearizability.Op{ID: id, Client: scriptClient + int(id), Node: node, Kind: linearizability.Read, Key: key}
	s.Do(ctx, op)
	return op
}

// keyed asks for a write under an idempotency key, as put does: first is the one that it is another attempt of, or nil.
func (s *Stage) keyed(ctx context.Context, node, key string, first *linearizability.Op) *linearizability.Op {
	op := s.keyedOp(node, key, first)
	s.Do(ctx, op)
	return op
}

func (s *Stage) keyedOp(node, key string, first *linearizability.Op) *linearizability.Op {
	id := s.Recorder.ID()
	op := &linearizability.Op{ID: id, Client: scriptClient + int(id), Node: node, Kind: linearizability.Put, Key: key, Value: scriptValue(id), IdempotencyKey: fmt.Sprintf("scenario-%d-%d", s.Seed, id)}
	if first != nil {
		op.Value, op.IdempotencyKey = first.Value, first.IdempotencyKey
	}
	return op
}

// writes has a node acknowledge n writes; those before that it does not are asked again as others.
func (s *Stage) writes(ctx context.Context, node string, n int) {
	done := 0
	s.until(ctx, fmt.Sprintf("%s acknowledges %d writes", node, n), func(ctx context.Context) bool {
		for done < n {
			if op := s.put(ctx, node, s.newKey()); op.Outcome != linearizability.Applied {
				return false
			}
			done++
		}
		return true
	})
}

// ready waits until all members serve.
func (s *Stage) ready(ctx context.Context) {
	why := ""
	s.until(ctx, "all nodes serve", func(ctx context.Context) bool {
		why = s.unready(ctx)
		return why == ""
	})
}
