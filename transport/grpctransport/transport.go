package grpctransport

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/tlsfiles"
	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// Config is what a Transport serves.
type Config struct {
	// Listen is the host:port to accept peers on.
	Listen string
	// RaftID and Incarnation are this node's.
	RaftID      uint64
	Incarnation uint64
	// Peers maps the raft ids of the other members to host:port ("": the peer connects, this node
	// does not), Names to their names: for messages, and since a certificate names its node.
	// SetMembers changes both.
	Peers map[uint64]string
	Names map[uint64]string
	// Handler takes what arrives; its Receive may wait, which delays that peer only.
	Handler transport.Handler
	Logger  *slog.Logger
	// TLS (see LoadTLS) has each node prove to each other, in both directions, that it is the
	// member it says it is.
	TLS *tlsfiles.Source
	// PlainText does without TLS: whoever reaches the port can be any member. One of the two
	// must be set.
	PlainText bool
	// WireVersion is the newest version of the protocol to speak (0: the newest there is), to
	// be as programs were before it.
	WireVersion int
	// Now is time.Now, but in tests; of what is logged once a minute.
	Now func() time.Time
}

// clusterID is a cluster's id; zero: none yet.
type clusterID [16]byte

func (c clusterID) String() string {
	if c == (clusterID{}) {
		return "none"
	}
	return hex.EncodeToString(c[:])
}

// Transport is a node's connections to all others. Safe for concurrent use.
type Transport struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	lobby    *lobby // of listener
	server   *grpc.Server
	newest   int                    // wire version
	batches  transport.BatchHandler // the handler, if it is one
	members  atomic.Pointer[membership]
	ctx      context.Context //nolint:containedctx // the transport's life, ended by Close
	end      context.CancelFunc
	running  sync.WaitGroup

	mu           sync.Mutex
	cluster      clusterID
	incoming     map[uint64]*incoming // the newest stream of each peer
	incarnations map[uint64]uint64    // the newest of each peer that came as a member

	refusals refusals // of this listener
}

// New listens and begins to connect to all peers.
func New(cfg Config) (*Transport, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if (cfg.TLS == nil) != cfg.PlainText {
		return nil, errors.New("grpctransport: either TLS or PlainText must be set")
	}
	if cfg.WireVersion == 0 {
		cfg.WireVersion = WireVersion
	}
	if cfg.WireVersion < MinWireVersion || cfg.WireVersion > WireVersion {
		return nil, fmt.Errorf("grpctransport: wire version %d is none that this program speaks (%d to %d)", cfg.WireVersion, MinWireVersion, WireVersion)
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("grpctransport: listen for peers: %w", err)
	}
	t := &Transport{
		cfg:          cfg,
		newest:       cfg.WireVersion,
		log:          cfg.Logger,
		listener:     l,
		incoming:     make(map[uint64]*incoming),
		incarnations: make(map[uint64]uint64),
	}
	t.lobby = &lobby{Listener: l, t: t}
	t.ctx, t.end = context.WithCancel(context.Background())
	first := &membership{self: cfg.RaftID, peers: make(map[uint64]*peer)}
	for id, address := range cfg.Peers {
		first.peers[id] = newPeer(t, id, cfg.Names[id], address)
	}
	t.members.Store(first)
	t.batches, _ = cfg.Handler.(transport.BatchHandler)
	security := newPlain()
	if cfg.TLS != nil {
		security = credentials.NewTLS(t.serverTLS())
	}
	t.server = grpc.NewServer(
		grpc.Creds(door{security, t}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(MaxReceiveBytes),
		grpc.InitialWindowSize(streamWindowBytes),
		grpc.InitialConnWindowSize(streamWindowBytes),
		grpc.ConnectionTimeout(handshakePatience),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveInterval, Timeout: silencePatience}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveInterval / 2}),
		// Without it Stop returns while a stream is still being accepted.
		grpc.WaitForHandlers(true),
	)
	wire.RegisterPeerServer(t.server, &receiver{t: t})
	for _, p := range first.peers {
		t.running.Go(p.run)
	}
	if cfg.TLS != nil {
		t.running.Go(t.watchTLS)
	}
	t.running.Go(func() {
		if err := t.server.Serve(t.lobby); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.log.Error("the listener for peers ended", slog.Any("error", err))
		}
	})
	return t, nil
}

// Addr is the address that peers are accepted on.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// Send queues msgs for their receivers and returns at once. A message to an
// unknown peer, and one that finds no room, is dropped.
func (t *Transport) Send(msgs []transport.Message) {
	peers := t.members.Load().peers
	for i := range msgs {
		if p := peers[msgs[i].To]; p != nil {
			p.put(msgs[i])
		}
	}
}

// SetCluster says which cluster this node belongs to. All streams begin anew.
func (t *Transport) SetCluster(id [16]byte) {
	t.mu.Lock()
	if t.cluster == id {
		t.mu.Unlock()
		return
	}
	t.cluster = id
	for _, in := range t.incoming {
		in.cancel(errMember)
	}
	t.mu.Unlock()
	for _, p := range t.members.Load().peers {
		signal(p.again)
	}
}

// errMember ends a stream that was opened before this node was a member; the peer
// opens the next at once.
var errMember = status.Error(codes.Aborted, "the peer became a member of its cluster")

func (t *Transport) clusterID() clusterID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cluster
}

// Stats returns the state of each peer, in ascending order of ids.
func (t *Transport) Stats() []transport.PeerStats {
	peers := t.members.Load().peers
	out := make([]transport.PeerStats, 0, len(peers))
	for _, p := range peers {
		out = append(out, p.stats())
	}
	slices.SortFunc(out, func(a, b transport.PeerStats) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Close ends all connections and waits for what they started. Handler.Receive
// must not wait for Close.
func (t *Transport) Close() error {
	t.mu.Lock()
	t.end() // no peer begins after it
	for _, in := range t.incoming {
		in.cancel(context.Canceled)
	}
	t.mu.Unlock()
	t.server.Stop()
	t.running.Wait()
	return nil
}
