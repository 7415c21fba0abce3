package grpctransport

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

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
	member  bool      // both its ends belong to one cluster
	cluster clusterID // this node's, when the stream was accepted
	cancel  context.CancelCauseFunc
	proof   *proof // nil without TLS
}

// hello is a stream's metadata.
type hello struct {
	from, incarnation uint64
	cluster           string
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
		t.refused(remote(ctx), reasonOf(err))
		return err
	}
	t.log.Info("a peer connected", slog.String("peer", t.name(in.from)), slog.String("from", remote(ctx)),
		slog.Uint64("incarnation", in.incarnation), slog.Bool("member", in.member))
	if err := s.SendHeader(metadata.Pairs(metaCluster, in.cluster.String())); err != nil {
		return err
	}
	failed := make(chan error, 1)
	t.running.Go(func() { failed <- t.receive(s, in) })
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		// Returning ends the stream, and with it the goroutine's Recv.
		return status.Convert(context.Cause(ctx)).Err()
	}
}

func (t *Transport) receive(s grpc.BidiStreamingServer[wire.Frame, wire.Pong], in *incoming) error {
	for {
		f, err := s.Recv()
		if err != nil {
			return err
		}
		if n := f.GetPing(); n != 0 {
			if err := s.Send(&wire.Pong{Ping: n}); err != nil {
				return err
			}
		}
		msgs, err := messagesOf(f, in.from, t.cfg.RaftID)
		if err != nil {
			t.log.Error("a peer sent what this protocol does not have", slog.String("peer", t.name(in.from)), slog.Any("error", err))
			return status.Error(codes.InvalidArgument, err.Error())
		}
		for _, m := range msgs {
			if in.member || isForm(m) {
				t.cfg.Handler.Receive(m)
			}
		}
	}
}

// accept decides whether a stream may be opened, and whether both its ends are
// members of one cluster. The refusal says what does not fit; both sides log it.
func (t *Transport) accept(ctx context.Context, cancel context.CancelCauseFunc) (*incoming, error) {
	h, err := t.greet(ctx)
	if err != nil {
		return nil, err
	}
	proven, err := t.identify(ctx, h.from)
	if err != nil {
		return nil, err
	}
	// What SetCluster finds here and what the stream is taken for must agree.
	t.mu.Lock()
	defer t.mu.Unlock()
	none, mine := clusterID{}.String(), t.cluster.String()
	in := &incoming{hello: h, member: h.cluster == mine && mine != none, cluster: t.cluster, cancel: cancel, proof: proven}
	if !in.member && h.cluster != none && mine != none {
		return nil, status.Errorf(codes.FailedPrecondition,
			"%s belongs to cluster %s, %s (%s) to cluster %s: one of the two has another cluster's data directory, or the wrong addresses in Cluster.Nodes",
			t.name(h.from), h.cluster, t.name(t.cfg.RaftID), t.listener.Addr(), mine)
	}
	// A member that forgot its incarnation has forgotten its votes. One that is none
	// is heard all the same: it must be told what it lost.
	if newest := t.incarnations[h.from]; in.member && h.incarnation < newest {
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

// greet reads a stream's metadata, and refuses what is not from a member to this node.
func (t *Transport) greet(ctx context.Context) (hello, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	get := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	self := t.name(t.cfg.RaftID)
	if v := get(metaVersion); v != strconv.Itoa(WireVersion) {
		return hello{}, status.Errorf(codes.FailedPrecondition, "a stream of wire version %q, %s speaks %d: the two run programs that do not go together", v, self, WireVersion)
	}
	from, err1 := strconv.ParseUint(get(metaFrom), 10, 64)
	to, err2 := strconv.ParseUint(get(metaTo), 10, 64)
	incarnation, err3 := strconv.ParseUint(get(metaIncarnation), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return hello{}, status.Error(codes.InvalidArgument, "the stream does not say who speaks to whom")
	}
	h := hello{from: from, incarnation: incarnation, cluster: get(metaCluster)}
	places := fmt.Sprintf("(its cluster: %s, that of %s: %s)", h.cluster, self, t.clusterID())
	if to != t.cfg.RaftID {
		return hello{}, status.Errorf(codes.FailedPrecondition, "the stream is for raft id %d, this node is %d, %s, at %s %s: compare the addresses in Cluster.Nodes", to, t.cfg.RaftID, self, t.listener.Addr(), places)
	}
	if t.peers[from] == nil {
		return hello{}, status.Errorf(codes.PermissionDenied, "raft id %d is not a member that %s (raft id %d, at %s) knows %s: compare Cluster.Nodes of both", from, self, t.cfg.RaftID, t.listener.Addr(), places)
	}
	return h, nil
}

// identify refuses who is not the member they say they are: the certificate of another member
// is not enough.
func (t *Transport) identify(ctx context.Context, from uint64) (*proof, error) {
	if t.cfg.TLS == nil {
		return nil, nil
	}
	p, _ := grpcpeer.FromContext(ctx)
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return nil, status.Error(codes.Unauthenticated, "no certificate") // the handshake lets none such pass
	}
	chain := info.State.PeerCertificates
	if !namesNode(chain[0], t.name(from)) {
		return nil, status.Errorf(codes.PermissionDenied, "the stream says that it is of %s, and its certificate names %s", t.name(from), namesOf(chain[0]))
	}
	proven := &proof{chain, t.cfg.TLS.Now()}
	return proven, t.believed(from, proven)
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
