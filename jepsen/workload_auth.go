package jepsen

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/confman/confman/client"
	"github.com/confman/confman/linearizability"
)

func init() {
	workloads["auth"] = func() Workload { return &authorized{owner: map[uint64]*suspect{}, denied: map[uint64]bool{}} }
}

const (
	authAdmin = "admin"
	authKeys  = 3
	// authStaleness is how old a node's policy may be for the reads that it allows.
	authStaleness = time.Second
	// A suspect does so many things before its permission is revoked, and some more while and after it is.
	authBefore, authDuring, authAfter = 6, 4, 8
	// maxRetired bounds the suspects of before that a client remembers, to try again as one of them.
	maxRetired = 6
)

// ErrRevoked: somebody could do something after the permission was revoked.
var ErrRevoked = errors.New("a revoked permission was good for something")

// ErrGranted: somebody could not do what was permitted.
var ErrGranted = errors.New("a permission that was granted was good for nothing")

// authorized has each client grant a permission to somebody new, act as that one, and revoke it again. From the moment at which that
// was acknowledged on nothing may be accepted from there, wherever it is asked, and nothing that was on its way may be applied
// at a later revision. Before that, once it was acknowledged that it was granted, no linearizable read may be refused for want of it: not by a node
// that was just started either.
type authorized struct {
	issuer *issuer

	mu    sync.Mutex
	owner map[uint64]*suspect // of operations
	all   []*mind
	// denied are linearizable reads that were refused for want of a permission.
	denied map[uint64]bool
}

// suspect is somebody whose permission is granted once, and revoked.
type suspect struct {
	name    string
	root    string
	clients map[string]*client.Client
	// When it was acknowledged that it was granted, and when it was first asked to revoke it; 0: it was not yet.
	grantedAt, revokingAt int64
	// Of the revocation: when it was acknowledged, and its revision; 0: it was not yet.
	revokedAt int64
	revokedBy uint64
}

// mind is what a client of this workload has in mind.
type mind struct {
	who     int
	round   uint64
	now     *suspect
	left    int // of what now does before it is revoked
	retired []*suspect
}

// Configure is part of Configurer.
func (w *authorized) Configure() (_ map[string]any, err error) {
	if w.issuer, err = newIssuer(); err != nil {
		return nil, err
	}
	return map[string]any{"Auth": w.issuer.section(authAdmin, authStaleness)}, nil
}

// Identity is part of Identifier: all other workloads act as the administrator.
func (w *authorized) Identity() (client.TokenSource, error) {
	if w.issuer == nil {
		return nil, errors.New("jepsen: workload auth needs the configuration of Options.Sections")
	}
	return w.issuer.token(authAdmin)
}

// neighbour is a Ground on which the harness can serve something to the nodes as if it ran beside each of them.
type neighbour interface {
	// ListenBeside has every machine find this process at an address of its own loopback, such as 127.0.0.1:8000, until the
	// ground is closed.
	ListenBeside(address string) ([]net.Listener, error)
}

// Host is part of Hoster: each node finds the issuer on its own loopback.
func (w *authorized) Host(_ context.Context, r *Run) error {
	ground, ok := r.Ground.(neighbour)
	if !ok {
		return errors.New("jepsen: workload auth needs a ground on which the harness can serve beside the nodes, as on this machine")
	}
	listeners, err := ground.ListenBeside(w.issuer.address())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: w.issuer, ReadHeaderTimeout: attemptTime}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }() // until the ground closes it
	}
	return nil
}

// Prepare is part of Workload: the administrator is one once there is a leader.
func (w *authorized) Prepare(ctx context.Context, r *Run) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		_, _, err := r.At(r.Members()[0]).Namespace(ctx, "/", client.ReadOptions{Consistency: client.Linearizable})
		if err == nil {
			return nil
		}
		if !pause(ctx, pollEvery) {
			return fmt.Errorf("nobody administers the cluster: %w", err)
		}
	}
}

// Step is part of Workload.
func (w *authorized) Step(ctx context.Context, c *Caller) {
	m, _ := c.State.(*mind)
	if m == nil {
		m = &mind{who: c.ID}
		c.State = m
		w.mu.Lock()
		w.all = append(w.all, m)
		w.mu.Unlock()
	}
	switch {
	case m.now == nil && len(m.retired) > 0 && c.chance(0.3):
		w.act(ctx, c.Run, m.retired[c.Rng.IntN(len(m.retired))], w.draw(c, m))
	case m.now == nil:
		w.admit(ctx, c, m)
	case m.left > 0:
		m.left--
		w.act(ctx, c.Run, m.now, w.draw(c, m))
	default:
		w.revoke(ctx, c, m)
	}
}

// draw is something that somebody may try. The keys are those of the newest round, so that each is judged quickly.
func (*authorized) draw(c *Caller, m *mind) *linearizability.Op {
	op := c.op(linearizability.Put, fmt.Sprintf("auth/%d/%d/%d", m.who, m.round, c.Rng.IntN(authKeys)))
	switch c.Rng.IntN(6) {
	case 0, 1:
		op.Kind, op.Value = linearizability.Read, ""
	case 2:
		op.Kind, op.Value = linearizability.Local, ""
	case 3:
		op.Kind, op.Value = linearizability.Delete, ""
	}
	return op
}

// act asks as somebody.
func (w *authorized) act(ctx context.Context, r *Run, s *suspect, op *linearizability.Op) {
	w.mu.Lock()
	w.owner[op.ID] = s
	w.mu.Unlock()
	if op.Kind != linearizability.Read {
		r.Ask(ctx, s.clients[op.Node], op, nil)
		return
	}
	r.record(ctx, op, func(ctx context.Context, h *heard) {
		if err := read(ctx, s.clients[op.Node], op, h); client.IsForbidden(err) {
			w.mu.Lock()
			w.denied[op.ID] = true
			w.mu.Unlock()
		}
	})
}

// admit grants somebody new a permission.
func (w *authorized) admit(ctx context.Context, c *Caller, m *mind) {
	m.round++
	s := &suspect{name: fmt.Sprintf("u%d-%d", m.who, m.round), root: fmt.Sprintf("auth/%d/", m.who), clients: map[string]*client.Client{}}
	token, err := w.issuer.token(s.name)
	if err != nil {
		c.Log("auth: %v", err)
		return
	}
	for name := range c.machines {
		if s.clients[name], err = c.client(name, token); err != nil {
			c.Log("auth: %v", err)
			return
		}
	}
	if _, ok := w.bind(ctx, c, s, subject(s.name)); ok {
		w.mu.Lock()
		s.grantedAt = c.Recorder.Now()
		w.mu.Unlock()
		m.now, m.left = s, authBefore
	}
}

// bind has an administrator bind whom there are to the root of s, and nobody else. It is one write, under one key, made again until it is known
// what became of it: none comes late. ok: it was acknowledged, at revision rev.
func (w *authorized) bind(ctx context.Context, c *Caller, s *suspect, subjects ...string) (rev uint64, ok bool) {
	n := &client.Namespace{Owner: "jepsen"}
	for _, who := range subjects {
		n.Grant("editor", who)
	}
	key := fmt.Sprintf("auth-%x-%s-%d", c.Seed, s.name, len(subjects))
	for ctx.Err() == nil {
		_, meta, err := c.At(c.AnyNode()).PutNamespace(ctx, s.root, n, client.WriteOptions{IdempotencyKey: key, Comment: s.name})
		if err == nil {
			return meta.Revision, true
		}
		if !client.IsUnavailable(err) && ctx.Err() == nil {
			c.Log("auth: %s: %v", s.root, err)
		}
		pause(ctx, pollEvery)
	}
	return 0, false
}

// revoke takes the permission away while its holder goes on.
func (w *authorized) revoke(ctx context.Context, c *Caller, m *mind) {
	s := m.now
	var during sync.WaitGroup
	for range authDuring {
		op := w.draw(c, m)
		during.Go(func() { w.act(ctx, c.Run, s, op) })
	}
	w.mu.Lock()
	s.revokingAt = c.Recorder.Now()
	w.mu.Unlock()
	rev, ok := w.bind(ctx, c, s)
	if ok {
		w.mu.Lock()
		s.revokedAt, s.revokedBy = c.Recorder.Now(), rev
		w.mu.Unlock()
		for range authAfter {
			op := w.draw(c, m)
			during.Go(func() { w.act(ctx, c.Run, s, op) })
		}
		m.retired = append(m.retired, s)
		m.retired = m.retired[max(0, len(m.retired)-maxRetired):]
	}
	during.Wait()
	m.now = nil
}

// Settle is part of Workload: who was revoked is refused at every node, also when the bound of reads is over.
func (w *authorized) Settle(ctx context.Context, r *Run) error {
	if !pause(ctx, 2*authStaleness) {
		return ctx.Err()
	}
	for _, m := range w.all {
		for _, s := range m.retired {
			for _, node := range r.Members() {
				key := fmt.Sprintf("auth/%d/%d/0", m.who, m.round)
				for _, kind := range []linearizability.Kind{linearizability.Put, linearizability.Read, linearizability.Local} {
					op := &linearizability.Op{ID: r.Recorder.ID(), Client: settler, Node: node, Kind: kind, Key: key}
					if kind == linearizability.Put {
						op.Value = valueOf(op)
					}
					w.act(ctx, r, s, op)
				}
			}
		}
	}
	return r.readBack(ctx, w.keys())
}

func (w *authorized) keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, m := range w.all {
			for round := range m.round {
				for n := range authKeys {
					if !yield(fmt.Sprintf("auth/%d/%d/%d", m.who, round+1, n)) {
						return
					}
				}
			}
		}
	}
}

// Judge is part of Workload.
func (w *authorized) Judge(h *linearizability.History) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range h.Ops {
		o := &h.Ops[i]
		s := w.owner[o.ID]
		if s != nil && w.denied[o.ID] && s.grantedAt != 0 && o.Call > s.grantedAt && (s.revokingAt == 0 || o.Return < s.revokingAt) {
			return fmt.Errorf("%w: that of %s was known at %d, and then %v was refused for want of it", ErrGranted, s.name, s.grantedAt, o)
		}
		if s != nil && s.revokedAt != 0 {
			if err := s.judge(o); err != nil {
				return err
			}
		}
	}
	for _, ch := range h.Changes {
		if s := w.owner[ch.Op]; s != nil && s.revokedAt != 0 && ch.Revision > s.revokedBy {
			return fmt.Errorf("%w: %s lost it at revision %d, and changed %s at revision %d by op %d", ErrRevoked, s.name, s.revokedBy, ch.Key, ch.Revision, ch.Op)
		}
	}
	return nil
}

// judge judges one operation of somebody who was revoked.
func (s *suspect) judge(o *linearizability.Op) error {
	accepted, since := false, s.revokedAt
	switch o.Outcome {
	case linearizability.Applied, linearizability.Unchanged, linearizability.CompareFailed:
		accepted = true
		if o.Revision > s.revokedBy {
			return fmt.Errorf("%w: %s lost it at revision %d, and then was answered %v", ErrRevoked, s.name, s.revokedBy, o)
		}
	case linearizability.ReadDone:
		accepted = true
		if o.Kind == linearizability.Local {
			since += int64(authStaleness)
		}
	case linearizability.NotApplied, linearizability.Unknown, linearizability.ReadFailed:
	}
	if accepted && o.Call > since {
		return fmt.Errorf("%w: that of %s was known to be at %d, and then there was %v", ErrRevoked, s.name, s.revokedAt, o)
	}
	return nil
}

// Thin is part of Thinner.
func (w *authorized) Thin(h *linearizability.History) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, after := 0, 0
	for i := range h.Ops {
		o := &h.Ops[i]
		s := w.owner[o.ID]
		switch {
		case s == nil || s.revokedAt == 0 || o.Client == settler:
		case o.Call > s.revokedAt && (o.Outcome == linearizability.NotApplied || o.Outcome == linearizability.ReadFailed):
			after++
		case o.Outcome == linearizability.Applied || o.Outcome == linearizability.ReadDone:
			before++
		}
	}
	if before < leastOfKind || after < leastOfKind {
		return fmt.Errorf("%w: workload auth had %d operations accepted before a revocation, and %d refused after it", errThin, before, after)
	}
	return nil
}
