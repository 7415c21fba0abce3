package grpctransport

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/faultpoint"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// receiver takes the streams of the peers.
type receiver struct {
	wire.UnimplementedPeerServer
	t *Transport
}

// incoming is one accepted stream.
type incoming struct {
	hello
	version int       // of the wire
	member  bool      // both its ends belong to one cluster
	cluster clusterID // this node's, when the stream was accepted
	cancel  context.CancelCauseFunc
	proof   *proof // nil without TLS
}

// hello is a stream's metadata.
type hello struct {
	from, to, incarnation uint64
	cluster               string
	newest                int // version of the wire that its opener speaks
}

// Stream is part of wire.PeerServer.
func (r *receiver) Stream(s grpc.BidiStreamingServer[wire.Frame, wire.Pong]) error {
	t := r.t
	ctx, cancel := context.WithCancelCause(s.Context())
	defer cancel(nil)
	in, err := t.accept(ctx, cancel)
	if err == nil {
		defer t.forget(in)
		err = t.believed(in.from, in.proof) // watchTLS may have gone through all streams before this one was there
	}
	if err != nil {
		if status.Code(err) != codes.Unavailable { // that passes by itself, and the peer says it
			t.refused(remote(ctx), reasonOf(err))
		}
		return err
	}
	t.log.Info("a peer connected", slog.String("peer", t.name(in.from)), slog.String("from", remote(ctx)),
		slog.Uint64("incarnation", in.incarnation), slog.Bool("member", in.member), slog.Int("wire", in.version))
	if err := s.SendHeader(metadata.Pairs(metaCluster, in.cluster.String(), metaVersion, strconv.Itoa(in.version))); err != nil {
		return err
	}
	failed := make(chan error, 1)
	t.running.Go(func() { failed <- t.receive(ctx, s, in) })
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		// Returning ends the stream, and with it the goroutine's Recv.
		return status.Convert(context.Cause(ctx)).Err()
	}
}

func (t *Transport) receive(ctx context.Context, s grpc.BidiStreamingServer[wire.Frame, wire.Pong], in *incoming) error {
	for {
		f := &inFrame{}
		if err := s.RecvMsg(f); err != nil {
			return err
		}
		if f.ping != 0 {
			if err := s.Send(&wire.Pong{Ping: f.ping}); err != nil {
				return err
			}
			if m, ok := t.claimFor(in); ok {
				t.cfg.Handler.Receive(m)
			}
		}
		msgs, err := f.messages(in.from, t.cfg.RaftID, in.version)
		if err != nil {
			t.log.Error("a peer sent what this protocol does not have", slog.String("peer", t.name(in.from)), slog.Any("error", err))
			return status.Error(codes.InvalidArgument, err.Error())
		}
		msgs = slices.DeleteFunc(msgs, func(m transport.Message) bool {
			lost := faultpoint.On && faultpoint.HitPeer("transport/grpctransport/receive", t.name(in.from)) != nil
			return lost || !in.member && !isForm(m)
		})
		if err := t.deliver(ctx, msgs); err != nil {
			return err
		}
	}
}

// deliver hands a frame's messages to the handler.
func (t *Transport) deliver(ctx context.Context, msgs []transport.Message) error {
	if t.batches != nil && len(msgs) > 0 && ctx.Err() == nil {
		t.batches.ReceiveAll(msgs)
		return nil
	}
	for _, m := range msgs {
		if ctx.Err() != nil {
			return ctx.Err() // the peer may be no member any more
		}
		t.cfg.Handler.Receive(m)
	}
	return ctx.Err()
}

// accept decides whether a stream may be opened, and whether both its ends are
// members of one cluster. The refusal says what does not fit; both sides log it.
func (t *Transport) accept(ctx context.Context, cancel context.CancelCauseFunc) (*incoming, error) {
	h, version, err := t.greet(ctx)
	if err != nil {
		return nil, err
	}
	chain, err := t.chainOf(ctx)
	if err != nil {
		return nil, err
	}
	p, err := t.member(ctx, h, chain)
	if err != nil {
		return nil, err
	}
	proven, err := t.identify(p, chain)
	if err != nil {
		return nil, err
	}
	// What SetCluster and SetMembers find here and what the stream is taken for must agree.
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.peer(h.from) != p {
		return nil, status.Errorf(codes.Unavailable, "the members changed while %s connected", t.name(h.from))
	}
	none, mine := clusterID{}.String(), t.cluster.String()
	in := &incoming{hello: h, version: version, member: h.cluster == mine && mine != none, cluster: t.cluster, cancel: cancel, proof: proven}
	if !in.member && h.cluster != none && mine != none {
		return nil, status.Errorf(codes.FailedPrecondition,
			"%s belongs to cluster %s, %s (%s) to cluster %s: one of the two has another cluster's data directory, or the wrong addresses in Cluster.Nodes",
			t.name(h.from), h.cluster, t.name(t.cfg.RaftID), t.listener.Addr(), mine)
	}
	// A member that forgot its incarnation has forgotten its votes. One that is none
	// is heard all the same: it must be told what it lost.
	if newest := t.incarnations[h.from]; in.member && h.incarnation < newest {
		if err := grpc.SetTrailer(ctx, metadata.Pairs(metaOutdated, "true")); err != nil {
			return nil, err
		}
		return nil, status.Errorf(codes.FailedPrecondition,
			"%s is in its incarnation %d, but %s has spoken with its incarnation %d: its data directory was set back, or two processes run as one node",
			t.name(h.from), h.incarnation, t.name(t.cfg.RaftID), newest)
	}
	if in.member {
		t.incarnations[h.from] = h.incarnation
	}
	if old := t.incoming[h.from]; old != nil {
		old.cancel(status.Errorf(codes.Unavailable, "%s opened a newer stream", t.name(h.from)))
	}
	t.incoming[h.from] = in
	return in, nil
}

// greet reads a stream's metadata, and chooses its version.
func (t *Transport) greet(ctx context.Context) (hello, int, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	get := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	version, newest, err := t.choose(md)
	if err != nil {
		return hello{}, 0, err
	}
	from, err1 := strconv.ParseUint(get(metaFrom), 10, 64)
	to, err2 := strconv.ParseUint(get(metaTo), 10, 64)
	incarnation, err3 := strconv.ParseUint(get(metaIncarnation), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return hello{}, 0, status.Error(codes.InvalidArgument, "the stream does not say who speaks to whom")
	}
	return hello{from: from, to: to, incarnation: incarnation, cluster: get(metaCluster), newest: newest}, version, nil
}

// chainOf is the certificates by which the other end was let in, nil without TLS.
func (t *Transport) chainOf(ctx context.Context) ([]*x509.Certificate, error) {
	if t.cfg.TLS == nil {
		return nil, nil
	}
	p, _ := grpcpeer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil, status.Error(codes.Unauthenticated, "no certificate") // the handshake lets none such pass
	}
	return info.State.PeerCertificates, nil
}

// identify refuses who is not the member they say they are: the certificate of another member
// is not enough.
func (t *Transport) identify(p *peer, chain []*x509.Certificate) (*proof, error) {
	if chain == nil {
		return nil, nil
	}
	if !namesNode(chain[0], p.name) {
		return nil, status.Errorf(codes.PermissionDenied, "the stream says that it is of %s, and its certificate names %s", t.name(p.id), namesOf(chain[0]))
	}
	proven := &proof{chain, t.cfg.TLS.Now()}
	return proven, t.believed(p.id, proven)
}

// forget is the end of an accepted stream.
func (t *Transport) forget(in *incoming) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.incoming[in.from] == in {
		delete(t.incoming, in.from)
	}
}

// refused logs a refusal, unless it was logged a short while ago: who is refused tries again,
// from another port.
func (t *Transport) refused(from, reason string) {
	host, _, err := net.SplitHostPort(from)
	if err != nil {
		host = from
	}
	reason = reason[:min(len(reason), maxReasonBytes)]
	if due, unsaid := t.refusals.due(host+" "+reason, t.cfg.Now()); due {
		attrs := []any{slog.String("from", from), slog.String("error", reason)}
		if unsaid > 0 {
			attrs = append(attrs, slog.Int("refusals_not_logged", unsaid))
		}
		t.log.Warn("refused a peer", attrs...)
	}
}

func remote(ctx context.Context) string {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}
