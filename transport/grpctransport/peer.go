package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/transport"
)

// peer is the sender to one other member: a queue, and a goroutine that keeps a
// stream to it.
type peer struct {
	t       *Transport
	id      uint64
	name    string                 // "": not known
	address atomic.Pointer[string] // "": the peer connects, this node does not
	ctx     context.Context        //nolint:containedctx // the peer's time as a member
	end     context.CancelFunc
	queue   queue
	again   chan struct{} // capacity 1: begin a new stream
	flow    atomic.Pointer[flow]
	proof   atomic.Pointer[proof] // that of the newest connection; nil without TLS
	said    refusals              // why there is no connection
	told    time.Time             // when Handler.Dismissed was called last; of the goroutine
}

var (
	errRestart = errors.New("the cluster id, the bundle of CAs or the peer's address changed")
	errWaits   = errors.New("the peer has no address to connect to")
	errSilent  = errors.New("the peer did not answer a ping in time")
)

func newPeer(t *Transport, id uint64, name, address string) *peer {
	p := &peer{t: t, id: id, name: name, again: make(chan struct{}, 1)}
	p.address.Store(t.elsewhere(address))
	p.ctx, p.end = context.WithCancel(t.ctx)
	p.queue.init()
	return p
}

// move says where the peer is from now on.
func (p *peer) move(address string) {
	to := p.t.elsewhere(address)
	if *p.address.Swap(to) != *to {
		signal(p.again)
	}
}

// elsewhere is an address to connect to; "" for this node's own: whom this node takes the place
// of is not there.
func (t *Transport) elsewhere(address string) *string {
	if address == t.cfg.Listen {
		address = ""
	}
	return &address
}

func (p *peer) put(m transport.Message) {
	if size := sizeOf(m); size > MaxMessageBytes {
		p.queue.refuse()
		p.t.log.Error("a message is too large to be sent and is dropped",
			slog.String("peer", p.t.name(p.id)), slog.Int("bytes", size), slog.Int("limit", MaxMessageBytes))
		p.t.cfg.Handler.Unreachable(p.id)
		return
	}
	if p.queue.put(m) {
		p.t.cfg.Handler.Unreachable(p.id)
	}
}

func (p *peer) stats() transport.PeerStats {
	s := transport.PeerStats{ID: p.id, Name: p.t.name(p.id), Address: *p.address.Load()}
	if f := p.flow.Load(); f != nil {
		s.Connected, s.Version, s.RoundTrip = true, f.version, f.roundTrip()
	}
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	s.Dropped = p.queue.dropped
	for c := range p.queue.lanes {
		s.Queued += len(p.queue.lanes[c].items)
		s.QueuedBytes += p.queue.lanes[c].bytes
	}
	return s
}

// run keeps a stream to the peer until it is no member any more, or the transport is closed.
func (p *peer) run() {
	wait := minBackoff
	for p.ctx.Err() == nil {
		started := time.Now()
		connected, err := p.stream()
		if p.ctx.Err() != nil {
			return
		}
		lost := p.queue.clear() || connected // what was on its way may be lost, too
		if lost {
			p.t.cfg.Handler.Unreachable(p.id)
		}
		if connected && time.Since(started) > silencePatience {
			wait = minBackoff
			p.said.forget()
			if reason := reasonOf(err); !errors.Is(err, errRestart) && p.due(reason) {
				p.t.log.Warn("the connection to a peer is lost; trying again",
					slog.String("peer", p.t.name(p.id)), slog.String("address", *p.address.Load()), slog.String("error", reason))
			}
			continue // at once: that nobody listens any more only a connection tells
		}
		if errors.Is(err, errRestart) || status.Code(err) == codes.Aborted {
			wait = minBackoff // one of the two became a member
			p.said.forget()
			if errors.Is(err, errRestart) {
				continue
			}
		} else if reason := reasonOf(err); !errors.Is(err, errWaits) && p.due(reason) {
			p.t.log.Warn("no connection to a peer; trying again",
				slog.String("peer", p.t.name(p.id)), slog.String("address", *p.address.Load()), slog.String("error", reason))
		}
		p.pause(wait)
		wait = min(2*wait, maxBackoff)
	}
}

// due tells whether to log a reason: not for each attempt, and not since the port of this
// end is another.
func (p *peer) due(reason string) bool {
	due, _ := p.said.due(thisEnd.ReplaceAllString(reason, ""), p.t.cfg.Now())
	return due
}

// thisEnd is how package net begins to say between which addresses something failed.
var thisEnd = regexp.MustCompile(`\S+:\d+->`)

// pause waits between half of wait and all of it, unless there is news.
func (p *peer) pause(wait time.Duration) {
	timer := time.NewTimer(wait/2 + rand.N(wait/2))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.again:
	case <-p.ctx.Done():
	}
}

// dismissed tells the handler that the peer says this node is no member any more.
func (p *peer) dismissed() {
	if now := p.t.cfg.Now(); p.told.IsZero() || now.Sub(p.told) >= dismissInterval || now.Before(p.told) {
		p.told = now
		p.t.cfg.Handler.Dismissed(p.id)
	}
}

// outdated tells the handler that the peer has heard a later incarnation of this node.
func (p *peer) outdated() {
	if h, ok := p.t.cfg.Handler.(transport.OutdatedHandler); ok {
		h.Outdated(p.id)
	}
}

// reasonOf is an error without what gRPC adds to it.
func reasonOf(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return s.Message()
	}
	return fmt.Sprint(err)
}

// cause is why a stream ended: ctx's cause, if this side ended it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}
