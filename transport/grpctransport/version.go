package grpctransport

import (
	"context"
	"fmt"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/transport"
)

// The versions of the protocol between nodes: this program speaks all from MinWireVersion to
// WireVersion. Who opens a stream offers a range, and who accepts it chooses the newest that both
// speak.
//
//	1	what there is without a version below
//	2	Claim, ClaimReply
const (
	MinWireVersion = 1
	WireVersion    = 2
)

// The metadata of versions. Programs of the first release know metaVersion alone: they offer 1
// there, accept nothing else, and answer without it.
const (
	metaVersion = "confman-wire"        // in an offer the oldest, in an answer the one that was chosen
	metaNewest  = "confman-wire-newest" // the newest that is offered; absent: the oldest is
)

// metaRemoved is in the trailer of a stream that was refused since its sender is not a member
// of the cluster any more.
const metaRemoved = "confman-removed"

// since is the version that a message came with.
func since(m transport.Message) int {
	if m.Claim != nil || m.ClaimReply != nil {
		return 2
	}
	return MinWireVersion
}

// offer is what the opener of a stream says.
func (t *Transport) offer() []string {
	return []string{metaVersion, strconv.Itoa(MinWireVersion), metaNewest, strconv.Itoa(t.newest)}
}

// choose is the version of a stream, by what its opener said, and the newest that the opener speaks.
func (t *Transport) choose(md metadata.MD) (chosen, newest int, err error) {
	oldest, err := versionIn(md, metaVersion)
	newest = oldest
	if err == nil && len(md.Get(metaNewest)) > 0 {
		newest, err = versionIn(md, metaNewest)
	}
	if err != nil || oldest > newest {
		return 0, 0, status.Errorf(codes.FailedPrecondition, "a stream of wire version %.40q to %.40q, which are none", md.Get(metaVersion), md.Get(metaNewest))
	}
	chosen = min(newest, t.newest)
	if chosen < max(oldest, MinWireVersion) {
		return 0, 0, status.Errorf(codes.FailedPrecondition, "a stream of wire versions %d to %d, %s speaks %d to %d: the two run programs that do not go together, upgrade the older one (one release at a time)",
			oldest, newest, t.name(t.cfg.RaftID), MinWireVersion, t.newest)
	}
	return chosen, newest, nil
}

// claimFor is what a peer would say of itself whose program speaks no version that has claims, not even of the stream
// that it opens: commands of the first version are all that such programs know. It goes out with each ping, since who
// leads then must hear it: a member that went back to such a program may have said better before.
func (t *Transport) claimFor(in *incoming) (transport.Message, bool) {
	claim := transport.Message{From: in.from, To: t.cfg.RaftID, Claim: &transport.Claim{Version: 1}}
	return claim, in.member && in.newest < since(claim)
}

// chosen is the version that the answer to an offer names.
func (t *Transport) chosen(head metadata.MD) (int, error) {
	if len(head.Get(metaVersion)) == 0 {
		return MinWireVersion, nil
	}
	v, err := versionIn(head, metaVersion)
	if err == nil && (v < MinWireVersion || v > t.newest) {
		err = fmt.Errorf("it chose wire version %d, offered were %d to %d", v, MinWireVersion, t.newest)
	}
	return v, err
}

// versionIn reads a version, of which there must be one.
func versionIn(md metadata.MD, key string) (int, error) {
	v := md.Get(key)
	if len(v) != 1 {
		return 0, fmt.Errorf("%d values of %s", len(v), key)
	}
	n, err := strconv.ParseUint(v[0], 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("wire version %.40q is none", v[0])
	}
	return int(n), nil
}

// dismiss refuses who is not a member any more, so that it understands.
func dismiss(ctx context.Context, from uint64, self string) error {
	if err := grpc.SetTrailer(ctx, metadata.Pairs(metaRemoved, "true")); err != nil {
		return err
	}
	return status.Errorf(codes.PermissionDenied, "raft id %d is not a member of the cluster of %s any more: it was removed or replaced", from, self)
}
