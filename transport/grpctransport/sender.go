package grpctransport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// The metadata of a stream, besides that of versions.
const (
	metaCluster     = "confman-cluster"
	metaFrom        = "confman-from"
	metaTo          = "confman-to"
	metaIncarnation = "confman-incarnation"
	// metaOutdated is in the trailer of a refusal of an incarnation that is not the newest.
	metaOutdated = "confman-outdated"
)

type outgoing = grpc.BidiStreamingClient[wire.Frame, wire.Pong]

// dial makes a connection. It is new for each stream: one that a partition cut
// would sit out TCP's back-off.
func (p *peer) dial(address string) (*grpc.ClientConn, error) {
	dialer := &net.Dialer{Timeout: connectPatience}
	security := insecure.NewCredentials()
	if p.t.cfg.TLS != nil {
		security = caller{credentials.NewTLS(p.clientTLS())}
	}
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(security),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if errors.Is(err, syscall.ECONNREFUSED) {
				p.t.cfg.Handler.Gone(p.id)
			}
			return conn, err
		}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: maxBackoff, Multiplier: 1, MaxDelay: maxBackoff}, MinConnectTimeout: handshakePatience}),
		// Where the system has it, gRPC makes Timeout the socket's TCP_USER_TIMEOUT:
		// the kernel gives up when the peer's kernel acknowledges nothing for that
		// long. Unlike a late pong, that tells a black hole from a slow link.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: wirePatience}),
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithInitialConnWindowSize(streamWindowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(MaxReceiveBytes), grpc.ForceCodecV2(newCodec())),
	)
}

// stream connects, shakes hands and sends until something breaks. It reports
// whether it came to sending.
func (p *peer) stream() (connected bool, err error) {
	address := *p.address.Load()
	if address == "" {
		return false, errWaits
	}
	conn, err := p.dial(address)
	if err != nil {
		return false, err
	}
	defer conn.Close() // nothing is left to be delivered

	ctx, cancel := context.WithCancelCause(p.ctx)
	defer cancel(nil)
	handshake := time.AfterFunc(handshakePatience, func() { cancel(fmt.Errorf("no answer within %v", handshakePatience)) })
	defer handshake.Stop()

	cluster := p.t.clusterID()
	s, err := wire.NewPeerClient(conn).Stream(metadata.AppendToOutgoingContext(ctx, append(p.t.offer(),
		metaCluster, cluster.String(),
		metaFrom, strconv.FormatUint(p.t.cfg.RaftID, 10),
		metaTo, strconv.FormatUint(p.id, 10),
		metaIncarnation, strconv.FormatUint(p.t.cfg.Incarnation, 10),
	)...))
	if err != nil {
		return false, cause(ctx, err)
	}
	head, err := s.Header()
	if err == nil && len(head.Get(metaCluster)) != 1 {
		// The stream ended before its header: the refusal is its status.
		if _, err = s.Recv(); err == nil {
			err = fmt.Errorf("what answers at %s is not a node of this protocol", address)
		} else if len(s.Trailer().Get(metaRemoved)) > 0 {
			p.dismissed()
		} else if len(s.Trailer().Get(metaOutdated)) > 0 {
			p.outdated()
		}
	}
	if err != nil {
		return false, cause(ctx, err)
	}
	version, err := p.t.chosen(head)
	if err != nil {
		return false, err
	}
	handshake.Stop()
	member := cluster != (clusterID{}) && head.Get(metaCluster)[0] == cluster.String()
	p.t.log.Info("connected to a peer", slog.String("peer", p.t.name(p.id)), slog.String("address", address), slog.Bool("member", member), slog.Int("wire", version))
	return true, cause(ctx, p.send(ctx, cancel, s, member, version))
}

// send sends what is queued, until the stream ends.
func (p *peer) send(ctx context.Context, cancel context.CancelCauseFunc, s outgoing, member bool, version int) error {
	f := newFlow(version, time.Now())
	p.flow.Store(f)
	defer p.flow.Store(nil)
	// A send can wait for the peer's window, so these are not its goroutine's.
	p.t.running.Go(func() { hear(s, f, cancel) })
	p.t.running.Go(func() { watch(ctx, f, cancel) })
	for {
		select {
		case <-p.again:
			return errRestart
		default:
		}
		msgs, bulkBytes := p.queue.take(f.room())
		if len(msgs) == 0 && !f.pingDue() {
			select {
			case <-p.queue.wake:
				runtime.Gosched() // whoever can run puts what it has beside it: a frame of many costs little more than one
			case <-f.wake:
			case <-p.again:
				return errRestart
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if !member {
			msgs = p.onlyForms(msgs)
		}
		msgs = p.onlyUpTo(version, msgs)
		if faultpoint.HitPeer("transport/grpctransport/send", p.name) != nil {
			continue
		}
		frame := &outFrame{msgs: msgs, ping: f.sending(bulkBytes, time.Now())}
		if err := s.SendMsg(frame); err != nil {
			// gRPC says io.EOF here and the reason to Recv, whose goroutine cancels.
			<-ctx.Done()
			return err
		}
		if err := faultpoint.HitPeer("transport/grpctransport/sent", p.name); err != nil {
			return err
		}
	}
}

// hear takes the peer's answers until the stream ends, and then ends the sending.
func hear(s outgoing, f *flow, cancel context.CancelCauseFunc) {
	for {
		pong, err := s.Recv()
		if err != nil {
			cancel(err)
			return
		}
		f.pong(pong.GetPing(), time.Now())
	}
}

// watch makes a ping due in each interval, and ends the sending when the peer
// stays silent.
func watch(ctx context.Context, f *flow, cancel context.CancelCauseFunc) {
	ticker := time.NewTicker(pingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if f.tick(time.Now()) {
				cancel(errSilent)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// onlyForms leaves of msgs what may be said before both sides are members; the
// rest is dropped.
func (p *peer) onlyForms(msgs []transport.Message) []transport.Message {
	forms := msgs[:0]
	for _, m := range msgs {
		if isForm(m) {
			forms = append(forms, m)
		} else {
			p.queue.refuse()
		}
	}
	if len(forms) < len(msgs) {
		p.t.cfg.Handler.Unreachable(p.id)
	}
	return forms
}

// onlyUpTo leaves of msgs what a version of the wire has; the rest is dropped. The peer can be
// reached all the same.
func (p *peer) onlyUpTo(version int, msgs []transport.Message) []transport.Message {
	return slices.DeleteFunc(msgs, func(m transport.Message) bool {
		if since(m) <= version {
			return false
		}
		p.queue.refuse()
		return true
	})
}
