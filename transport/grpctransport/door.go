package grpctransport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// door is the credentials of the listener, and tells of those who did not get in.
type door struct {
	credentials.TransportCredentials
	t *Transport
}

func (d door) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	g, waits := conn.(*guest)
	if waits {
		conn = g.Conn
	}
	secured, info, err := d.TransportCredentials.ServerHandshake(conn)
	switch {
	case !waits:
	case err == nil && d.t.isVisitor(info):
		time.AfterFunc(visitPatience, func() { _ = g.Close() }) // till then it is one of the lobby's
	default:
		g.leave()
	}
	if reason := reasonOfHandshake(err); reason != "" {
		d.t.refused(conn.RemoteAddr().String(), reason)
	}
	return secured, info, err
}

func (d door) Clone() credentials.TransportCredentials {
	return door{d.TransportCredentials.Clone(), d.t}
}

// reasonOfHandshake is what is worth saying of a handshake; "": nothing, as when somebody only
// looked whether the port is open, or the node stops.
func reasonOfHandshake(err error) string {
	var record tls.RecordHeaderError
	switch {
	case err == nil || isHangup(err):
		return ""
	case errors.As(err, &record) && record.Conn != nil:
		return "it speaks no TLS: is Raft.PlainText set there?"
	case errors.Is(err, errSpeaksTLS):
		return err.Error()
	}
	reason := "TLS: " + err.Error()
	if strings.Contains(reason, "remote error") {
		reason += ": it refuses this node's certificate, and its log says why"
	}
	return reason
}

// isHangup tells whether the other side went away without a word.
func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET)
}

// caller is the credentials for connecting.
type caller struct {
	credentials.TransportCredentials
}

// errHungUp stands for the end of a connection in a handshake: a refusal by TLS comes after it.
var errHungUp = errors.New("it hung up in the middle of the TLS handshake: is Raft.PlainText set there?")

func (c caller) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, conn)
	if err != nil && isHangup(err) {
		err = errHungUp
	}
	return secured, info, err
}

func (c caller) Clone() credentials.TransportCredentials {
	return caller{c.TransportCredentials.Clone()}
}

// plain is the credentials of a listener without TLS. It tells of peers that speak TLS: they
// would wait for an answer in vain.
type plain struct {
	credentials.TransportCredentials
}

// errSpeaksTLS is the reason.
var errSpeaksTLS = errors.New("it speaks TLS, and Raft.PlainText is set here")

func newPlain() credentials.TransportCredentials { return plain{insecure.NewCredentials()} }

func (p plain) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	first := make([]byte, 1)
	if _, err := conn.Read(first); err != nil {
		return nil, nil, err
	}
	const handshakeRecord = 22 // RFC 8446 §5.1; HTTP/2 begins with a P
	if first[0] == handshakeRecord {
		return nil, nil, errSpeaksTLS
	}
	return p.TransportCredentials.ServerHandshake(&pushedBack{Conn: conn, first: first})
}

func (p plain) Clone() credentials.TransportCredentials {
	return plain{p.TransportCredentials.Clone()}
}

// pushedBack is a connection of which the beginning was read already.
type pushedBack struct {
	net.Conn
	first []byte
}

func (c *pushedBack) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}
