package grpctransport

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
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
type incoming struct{ cancel context.CancelCauseFunc }

// hello is a stream's metadata.
type hello struct {
	from, incarnation uint64
	cluster           string
}

// Stream is part of wire.PeerServer.
func (r *receiver) Stream(s grpc.BidiStreamingServer[wire.Frame, wire.Pong]) error {
	t := r.t
	h, member, err := t.admit(s.Context())
	if err != nil {
		t.log.Warn("refused a stream", slog.String("from", remote(s.Context())), slog.String("error", reasonOf(err)))
		return err
	}
	ctx, cancel := context.WithCancelCause(s.Context())
	defer cancel(nil)
	in := &incoming{cancel: cancel}
	t.mu.Lock()
	old := t.incoming[h.from]
	t.incoming[h.from] = in
	mine := t.cluster
	t.mu.Unlock()
	t.log.Info("a peer connected", slog.String("peer", t.name(h.from)), slog.String("from", remote(s.Context())), slog.Uint64("incarnation", h.incarnation), slog.Bool("member", member))
	if old != nil {
		old.cancel(fmt.Errorf("%s opened a newer stream", t.name(h.from)))
	}
	defer func() {
		t.mu.Lock()
		if t.incoming[h.from] == in {
			delete(t.incoming, h.from)
		}
		t.mu.Unlock()
	}()
	if err := s.SendHeader(metadata.Pairs(metaCluster, mine.String())); err != nil {
		return err
	}
	failed := make(chan error, 1)
	t.running.Go(func() { failed <- t.receive(s, h.from, member) })
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		// Returning ends the stream, and with it the goroutine's Recv.
		return status.Error(codes.Unavailable, context.Cause(ctx).Error())
	}
}

func (t *Transport) receive(s grpc.BidiStreamingServer[wire.Frame, wire.Pong], from uint64, member bool) error {
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
		msgs, err := messagesOf(f, from, t.cfg.RaftID)
		if err != nil {
			t.log.Error("a peer sent what this protocol does not have", slog.String("peer", t.name(from)), slog.Any("error", err))
			return status.Error(codes.InvalidArgument, err.Error())
		}
		for _, m := range msgs {
			if member || onlyForms(m) {
				t.cfg.Handler.Receive(m)
			}
		}
	}
}

// admit decides whether a stream may be opened, and whether both its ends are
// members of one cluster. The refusal says what does not fit, to both sides' logs.
func (t *Transport) admit(ctx context.Context) (hello, bool, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	get := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	if v := get(metaVersion); v != strconv.Itoa(WireVersion) {
		return hello{}, false, status.Errorf(codes.FailedPrecondition, "wire version %q, this node speaks %d", v, WireVersion)
	}
	from, err1 := strconv.ParseUint(get(metaFrom), 10, 64)
	to, err2 := strconv.ParseUint(get(metaTo), 10, 64)
	incarnation, err3 := strconv.ParseUint(get(metaIncarnation), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return hello{}, false, status.Error(codes.InvalidArgument, "the stream does not say who speaks to whom")
	}
	if to != t.cfg.RaftID {
		return hello{}, false, status.Errorf(codes.FailedPrecondition, "the stream is for raft id %d, this node is %d: compare the addresses in Cluster.Nodes", to, t.cfg.RaftID)
	}
	if t.peers[from] == nil {
		return hello{}, false, status.Errorf(codes.PermissionDenied, "raft id %d is not a member that this node (%d) knows", from, t.cfg.RaftID)
	}
	h := hello{from: from, incarnation: incarnation, cluster: get(metaCluster)}
	mine, none := t.clusterID().String(), clusterID{}.String()
	switch {
	case h.cluster == none || mine == none:
		return h, false, nil
	case h.cluster != mine:
		return hello{}, false, status.Errorf(codes.FailedPrecondition,
			"%s belongs to cluster %s, this node (raft id %d) to cluster %s: one of the two has another cluster's data directory, or the wrong addresses in Cluster.Nodes",
			t.name(from), h.cluster, t.cfg.RaftID, mine)
	}
	return h, true, nil
}

func remote(ctx context.Context) string {
	if p, ok := grpcpeer.FromContext(ctx); ok {
		return p.Addr.String()
	}
	return "unknown"
}
