package grpctransport

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/confman/confman/tlsfiles"
	"github.com/confman/confman/transport/grpctransport/wire"
)

// thief is a program that has the files of a node, and keeps its connection.
type thief struct{ conn *grpc.ClientConn }

func newThief(t *testing.T, address string, stolen tlsfiles.Pair) thief {
	cert, err := tls.X509KeyPair(stolen.Cert, stolen.Key)
	require.NoError(t, err)
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}})))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return thief{conn}
}

// stream is a stream that says that it is of from; its end is in the channel.
func (h thief) stream(ctx context.Context, from, to, incarnation uint64) (started bool, ended chan error) {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	ended = make(chan error, 1)
	s, err := wire.NewPeerClient(h.conn).Stream(metadata.AppendToOutgoingContext(ctx, metaVersion, number(WireVersion),
		metaCluster, clusterID(cluster).String(), metaFrom, number(from), metaTo, number(to), metaIncarnation, number(incarnation)))
	if err != nil {
		ended <- err
		return false, ended
	}
	head, err := s.Header()
	if err != nil || len(head.Get(metaCluster)) == 0 {
		if err == nil {
			_, err = s.Recv()
		}
		ended <- err
		return false, ended
	}
	go func() {
		_, err := s.Recv()
		ended <- err
	}()
	return true, ended
}

// TestAConnectionOfARevokedNodeIsOfNoUse: its streams end, and it opens no other, nor does
// what it says of itself stay.
func TestAConnectionOfARevokedNodeIsOfNoUse(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	addresses := freePorts(t, 2)
	f := put(t, "node1", before.node("node1"), before, after)
	n := startTLS(t, addresses, 0, f)
	n.SetCluster(cluster)

	h := newThief(t, addresses[0], before.node("node2"))
	started, ended := h.stream(t.Context(), 2, 1, 5)
	require.True(t, started)
	f.renew(after.node("node1"))
	f.believe(after)
	require.ErrorContains(t, <-ended, "is not in the bundle of node1 any more")

	started, ended = h.stream(t.Context(), 2, 1, 1000)
	require.False(t, started, "on the same connection")
	require.ErrorContains(t, <-ended, "signed by unknown authority")
	n.mu.Lock()
	assert.Equal(t, uint64(5), n.incarnations[2])
	assert.Empty(t, n.incoming)
	n.mu.Unlock()
}

// TestAHandshakeOfARevokedNodeIsOfNoUse: a thief who answers slowly is believed by the bundle as it is
// at the end.
func TestAHandshakeOfARevokedNodeIsOfNoUse(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	addresses := freePorts(t, 2)
	l, err := net.Listen("tcp", addresses[1])
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	stolen := before.node("node2")
	cert, err := tls.X509KeyPair(stolen.Cert, stolen.Key)
	require.NoError(t, err)

	f := put(t, "node1", before.node("node1"), before, after)
	n := startTLS(t, addresses, 0, f)
	conn, err := l.Accept()
	require.NoError(t, err)
	defer conn.Close()
	was := n.cfg.TLS.Current().CAs
	f.renew(after.node("node1"))
	f.believe(after)
	eventually(t, func() bool { return n.cfg.TLS.Current().CAs != was }, "read again")
	secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	err = secured.HandshakeContext(t.Context())
	if err == nil {
		_, err = secured.Read(make([]byte, 1))
	}
	require.Error(t, err, "it is told nothing")
}
