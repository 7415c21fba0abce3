package grpctransport

import (
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/transport"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// What programs before wire version 2 say and look for, letter by letter.
const (
	firstWire    = "confman-wire"
	firstCluster = "confman-cluster"
)

// firstHello is the metadata of their streams.
func firstHello(from, to string) metadata.MD {
	return metadata.Pairs(firstWire, "1", firstCluster, clusterID(cluster).String(),
		"confman-from", from, "confman-to", to, "confman-incarnation", "1")
}

// firstReceiver is their listener.
type firstReceiver struct {
	wire.UnimplementedPeerServer
	mu     sync.Mutex
	frames []*wire.Frame
}

func (r *firstReceiver) Stream(s grpc.BidiStreamingServer[wire.Frame, wire.Pong]) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	if v := md.Get(firstWire); len(v) != 1 || v[0] != "1" {
		return status.Errorf(codes.FailedPrecondition, "a stream of wire version %q", v)
	}
	if err := s.SendHeader(metadata.Pairs(firstCluster, clusterID(cluster).String())); err != nil {
		return err
	}
	for {
		f, err := s.Recv()
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.frames = append(r.frames, f)
		r.mu.Unlock()
		if f.GetPing() != 0 {
			if err := s.Send(&wire.Pong{Ping: f.GetPing()}); err != nil {
				return err
			}
		}
	}
}

func TestTheFirstReleaseIsSpokenTo(t *testing.T) {
	addresses := freePorts(t, 2)
	l, err := net.Listen("tcp", addresses[1])
	require.NoError(t, err)
	r, server := &firstReceiver{}, grpc.NewServer()
	wire.RegisterPeerServer(server, r)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	a := startMember(t, 1, addresses[0], membersAt(addresses...))
	heard := func() (n int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, f := range r.frames {
			n += len(f.GetRaft())
		}
		return n
	}
	eventually(t, func() bool { a.Send([]transport.Message{beat(1, 2)}); return heard() > 0 }, "connected as members")
	assert.Equal(t, 1, a.Stats()[0].Version)
	unreachable := func() int {
		a.inbox.mu.Lock()
		defer a.inbox.mu.Unlock()
		return a.inbox.unreachable[2]
	}
	dropped, lost := a.Stats()[0].Dropped, unreachable()
	was := heard()
	a.Send(append(claims(), app(1, 2, 1, 10)))
	eventually(t, func() bool { return heard() > was && a.Stats()[0].Dropped == dropped+2 }, "what it does not know is counted")
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.frames {
		assert.Empty(t, f.GetClaims())
		assert.Empty(t, f.GetClaimReplies())
		assert.Empty(t, f.ProtoReflect().GetUnknown())
	}
	assert.Equal(t, lost, unreachable(), "and it is reachable")
}

func TestTheFirstReleaseIsHeard(t *testing.T) {
	addresses := freePorts(t, 2)
	a := startMember(t, 1, addresses[0], membersAt(addresses...))
	conn, err := grpc.NewClient("passthrough:///"+addresses[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	s, err := wire.NewPeerClient(conn).Stream(metadata.NewOutgoingContext(t.Context(), firstHello("2", "1")))
	require.NoError(t, err)
	head, err := s.Header()
	require.NoError(t, err)
	require.Equal(t, []string{clusterID(cluster).String()}, head.Get(firstCluster), "all that it looks for")
	assert.Equal(t, []string{"1"}, head.Get(metaVersion))
	require.NoError(t, s.Send(frameOf([]transport.Message{beat(2, 1)})))
	eventually(t, func() bool { return a.inbox.heard(2) == 1 }, "it is heard")
	require.NoError(t, s.Send(frameOf(claims()[:1])))
	_, err = s.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err), "it would not say that: %v", err)
	assert.Equal(t, 1, a.inbox.heard(2))
}

// TestNodesOfTwoReleasesSpeakTheOlderOnesVersion, in both directions.
func TestNodesOfTwoReleasesSpeakTheOlderOnesVersion(t *testing.T) {
	addresses := freePorts(t, 2)
	all := membersAt(addresses...)
	a := startMember(t, 1, addresses[0], all)
	b := startMember(t, 2, addresses[1], all, func(cfg *Config) { cfg.WireVersion = 1 })
	pass(t, a, b, beat(1, 2))
	pass(t, b, a, beat(2, 1))
	for n, peer := range map[*testNode]uint64{a: 2, b: 1} {
		s := n.Stats()[0]
		require.Equal(t, 1, s.Version)
		n.Send([]transport.Message{{From: n.cfg.RaftID, To: peer, Claim: claims()[0].Claim}})
		eventually(t, func() bool { return n.Stats()[0].Dropped > s.Dropped }, "a claim is not for this stream")
	}
	pass(t, a, b, beat(1, 2))
	pass(t, b, a, beat(2, 1))
	// What the older one cannot say of itself is said for it; of the newer one it is not, whoever hears it.
	from := func(n *testNode) (all []transport.Claim) {
		for _, m := range n.inbox.messages() {
			if m.Claim != nil {
				all = append(all, *m.Claim)
			}
		}
		return all
	}
	eventually(t, func() bool { return len(from(a)) > 1 }, "the older one is known for what it is, again and again")
	assert.Equal(t, transport.Claim{Version: 1}, from(a)[0])
	assert.Empty(t, from(b))

	require.NoError(t, b.Close())
	b = startMember(t, 2, addresses[1], all, func(cfg *Config) { cfg.Incarnation = 2 })
	for _, n := range []*testNode{a, b} {
		eventually(t, func() bool { s := n.Stats()[0]; return s.Connected && s.Version == WireVersion }, "the newest after an upgrade")
	}
	pass(t, a, b, claims()[0])
}

func TestVersionsAreChosen(t *testing.T) {
	n := startWith(t, freePorts(t, 1), 0, func(cfg *Config) { cfg.PlainText = true })
	for name, c := range map[string]struct {
		offer []string // pairs
		want  int
		err   string
	}{
		"the first release":     {[]string{metaVersion, "1"}, 1, ""},
		"this one":              {n.offer(), WireVersion, ""},
		"a newer one":           {[]string{metaVersion, "1", metaNewest, "9"}, WireVersion, ""},
		"one that forgot 1":     {[]string{metaVersion, "2", metaNewest, "9"}, 2, ""},
		"one that came later":   {[]string{metaVersion, "3", metaNewest, "9"}, 0, "a stream of wire versions 3 to 9, node1 speaks 1 to 2: the two run programs that do not go together"},
		"the other way round":   {[]string{metaVersion, "2", metaNewest, "1"}, 0, "which are none"},
		"nothing":               {nil, 0, "which are none"},
		"two":                   {[]string{metaVersion, "1", metaVersion, "1"}, 0, "which are none"},
		"two newest":            {[]string{metaVersion, "1", metaNewest, "1", metaNewest, "2"}, 0, "which are none"},
		"no newest":             {[]string{metaVersion, "1", metaNewest, ""}, 0, "which are none"},
		"zero":                  {[]string{metaVersion, "0", metaNewest, "2"}, 0, "which are none"},
		"less than zero":        {[]string{metaVersion, "-1", metaNewest, "2"}, 0, "which are none"},
		"more than a number is": {[]string{metaVersion, "1", metaNewest, "99999999999999999999"}, 0, "which are none"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := n.choose(metadata.Pairs(c.offer...))
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				assert.Equal(t, codes.FailedPrecondition, status.Code(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	for answer, want := range map[string]int{"1": 1, "2": 2, "3": 0, "0": 0, "x": 0, "": 0} {
		got, err := n.chosen(metadata.Pairs(metaVersion, answer))
		if want == 0 {
			require.Error(t, err, "an answer of %q", answer)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	got, err := n.chosen(metadata.MD{})
	require.NoError(t, err)
	assert.Equal(t, 1, got, "the first release does not answer")
}

func TestAVersionThatIsNoneIsRefused(t *testing.T) {
	for _, v := range []int{-1, WireVersion + 1} {
		_, err := New(Config{Listen: "127.0.0.1:0", PlainText: true, WireVersion: v})
		require.ErrorContains(t, err, "is none that this program speaks (1 to 2)")
	}
}
