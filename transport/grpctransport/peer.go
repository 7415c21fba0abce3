package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// The metadata of a stream.
const (
	metaVersion     = "confman-wire"
	metaCluster     = "confman-cluster"
	metaFrom        = "confman-from"
	metaTo          = "confman-to"
	metaIncarnation = "confman-incarnation"
)

// peer is the sender to one other member: a queue, and a goroutine that keeps a
// stream to it.
type peer struct {
	t       *Transport
	id      uint64
	address string
	queue   queue
	again   chan struct{} // capacity 1: begin a new stream

	connected chan bool // capacity 1, holds whether a stream is open
}

var (
	errRestart = errors.New("the cluster id changed")
	errSilent  = errors.New("the peer did not answer a ping in time")
)

func newPeer(t *Transport, id uint64, address string) *peer {
	p := &peer{t: t, id: id, address: address, again: make(chan struct{}, 1), connected: make(chan bool, 1)}
	p.queue.wake = make(chan struct{}, 1)
	p.connected <- false
	return p
}

func (p *peer) put(m transport.Message) {
	if p.queue.put(m) {
		p.t.cfg.Handler.Unreachable(p.id)
	}
}

func (p *peer) restart() {
	select {
	case p.again <- struct{}{}:
	default:
	}
}

func (p *peer) stats() PeerStats {
	connected := <-p.connected
	p.connected <- connected
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	s := PeerStats{ID: p.id, Connected: connected, Dropped: p.queue.dropped}
	for c := range p.queue.items {
		s.Queued += len(p.queue.items[c])
		s.QueuedBytes += p.queue.bytes[c]
	}
	return s
}

func (p *peer) setConnected(v bool) {
	<-p.connected
	p.connected <- v
}

// run keeps a stream to the peer until the transport is closed.
func (p *peer) run() {
	wait := minBackoff
	said := ""
	for p.t.ctx.Err() == nil {
		started := time.Now()
		err := p.stream()
		p.setConnected(false)
		if p.t.ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRestart) || reasonOf(err) == errClusterChanged.Error() {
			wait, said = minBackoff, ""
			continue // one side became a member: not a fault
		}
		// One line for each reason, not one for each attempt.
		if reason := reasonOf(err); reason != said {
			said = reason
			p.t.log.Warn("no connection to a peer; trying again",
				slog.String("peer", p.t.name(p.id)), slog.String("address", p.address), slog.String("error", reason))
		}
		if p.queue.clear() {
			p.t.cfg.Handler.Unreachable(p.id)
		}
		if time.Since(started) > pongPatience {
			wait, said = minBackoff, ""
		}
		pause := time.NewTimer(wait/2 + rand.N(wait/2))
		wait = min(2*wait, maxBackoff)
		select {
		case <-pause.C:
		case <-p.again:
		case <-p.t.ctx.Done():
		}
		pause.Stop()
	}
}

// reasonOf is an error without what gRPC adds to it.
func reasonOf(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
		return s.Message()
	}
	return fmt.Sprint(err)
}

// stream connects, shakes hands and sends until something breaks. The connection
// is new each time: one that a partition cut would sit out TCP's back-off.
func (p *peer) stream() error {
	conn, err := grpc.NewClient("passthrough:///"+p.address,
		grpc.WithTransportCredentials(p.t.cfg.Client),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: maxBackoff, Multiplier: 1, MaxDelay: maxBackoff}, MinConnectTimeout: dialPatience}),
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithInitialConnWindowSize(streamWindowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(MaxReceiveBytes)),
		grpc.WithNoProxy(),
	)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing is left to be delivered

	ctx, cancel := context.WithCancelCause(p.t.ctx)
	defer cancel(nil)
	handshake := time.AfterFunc(dialPatience, func() { cancel(fmt.Errorf("no answer within %v", dialPatience)) })
	defer handshake.Stop()

	cluster := p.t.clusterID()
	s, err := wire.NewPeerClient(conn).Stream(metadata.AppendToOutgoingContext(ctx,
		metaVersion, strconv.Itoa(WireVersion),
		metaCluster, cluster.String(),
		metaFrom, strconv.FormatUint(p.t.cfg.RaftID, 10),
		metaTo, strconv.FormatUint(p.id, 10),
		metaIncarnation, strconv.FormatUint(p.t.cfg.Incarnation, 10),
	))
	if err != nil {
		return cause(ctx, err)
	}
	head, err := s.Header()
	if err == nil && len(head.Get(metaCluster)) != 1 {
		// The stream ended before its header: the refusal is its status.
		_, err = s.Recv()
	}
	if err != nil {
		return cause(ctx, err)
	}
	handshake.Stop()
	member := cluster != (clusterID{}) && head.Get(metaCluster)[0] == cluster.String()
	p.setConnected(true)
	p.t.log.Info("connected to a peer", slog.String("peer", p.t.name(p.id)), slog.String("address", p.address), slog.Bool("member", member))
	return cause(ctx, p.send(ctx, cancel, s, member))
}

// cause is why a stream ended: ctx's cause, if this side ended it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	return err
}

func (p *peer) send(ctx context.Context, cancel context.CancelCauseFunc, s grpc.BidiStreamingClient[wire.Frame, wire.Pong], member bool) error {
	pass := onlyForms
	if member {
		pass = anything
	}
	pongs := make(chan uint64, 1)
	ended := make(chan error, 1)
	p.t.running.Go(func() {
		for {
			pong, err := s.Recv()
			if err != nil {
				cancel(err) // a send that waits for the window must not wait for ever
				ended <- err
				return
			}
			select {
			case pongs <- pong.GetPing():
			default: // a newer one will come
			}
		}
	})
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	// A send can wait for the peer's window, so what ends a silent stream is a timer.
	silent := time.AfterFunc(pongPatience, func() { cancel(errSilent) })
	defer silent.Stop()
	sent := uint64(0)
	for {
		var frame *wire.Frame
		select {
		case <-p.queue.wake:
			msgs := p.queue.take(pass)
			for len(msgs) > 0 {
				if err := s.Send(frameOf(msgs)); err != nil {
					return p.sendError(ended, err)
				}
				msgs = p.queue.take(pass)
			}
			continue
		case <-ping.C:
			sent++
			frame = &wire.Frame{Ping: sent}
		case <-pongs:
			silent.Reset(pongPatience)
			continue
		case <-p.again:
			return errRestart
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.Send(frame); err != nil {
			return p.sendError(ended, err)
		}
	}
}

// sendError is why Send failed: gRPC says io.EOF there and the reason to Recv.
func (p *peer) sendError(ended <-chan error, err error) error {
	select {
	case reason := <-ended:
		return reason
	case <-p.t.ctx.Done():
		return err
	}
}
