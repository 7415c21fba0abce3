package httpapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/fsm"
	"github.com/confman/confman/tlsfiles"
)

// testCA signs certificates for 127.0.0.1 into the files of a node.
type testCA struct {
	t *testing.T
	*tlsfiles.CA
	caFile, certFile, keyFile string
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	dir := t.TempDir()
	authority, pair, err := tlsfiles.NewCA("test CA", validNow)
	require.NoError(t, err)
	ca := &testCA{t, authority, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	ca.replace(ca.caFile, pair.Cert)
	return ca
}

// validNow is of the CAs and of what they sign.
var validNow = tlsfiles.Validity{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}

// issue makes a certificate and its key, in PEM, and returns its serial number.
func (ca *testCA) issue() (cert, key []byte, serial string) {
	pair, err := ca.Node("node1", []string{"127.0.0.1"}, validNow)
	require.NoError(ca.t, err)
	return pair.Cert, pair.Key, pair.Leaf.SerialNumber.String()
}

// replace puts text in the place of a file, as a careful program does.
func (ca *testCA) replace(file string, text []byte) {
	require.NoError(ca.t, os.WriteFile(file+".new", text, 0o600))
	require.NoError(ca.t, os.Rename(file+".new", file))
}

// renew issues a certificate into the files.
func (ca *testCA) renew() (serial string) {
	cert, key, serial := ca.issue()
	ca.replace(ca.certFile, cert)
	ca.replace(ca.keyFile, key)
	return serial
}

// load is LoadCertificate with a clock that each look at the files finds advanced.
func (ca *testCA) load(f *fixture, files CertificateFiles) *Certificate {
	var looks atomic.Int64
	files.Now = func() time.Time {
		return time.Now().Add(time.Duration(looks.Add(1)) * tlsfiles.CheckInterval)
	}
	c, err := LoadCertificate(files, f.Logger)
	require.NoError(ca.t, err)
	return c
}

// handshake speaks TLS on a connection.
func (ca *testCA) handshake(conn net.Conn) net.Conn {
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	require.NoError(ca.t, c.Handshake())
	return c
}

// transport trusts the CA.
func (ca *testCA) transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	ca.t.Cleanup(t.CloseIdleConnections)
	return t
}

// serveTLS is serve with a certificate.
func (f *fixture) serveTLS(t *testing.T) (*Server, string, *testCA) {
	t.Helper()
	ca := newTestCA(t)
	ca.renew()
	f.Now = time.Now
	f.Logger = slog.New(slog.DiscardHandler)
	f.Certificate = ca.load(f, CertificateFiles{CertFile: ca.certFile, KeyFile: ca.keyFile})
	s, addr := f.serve(t)
	return s, addr, ca
}

func TestTLS(t *testing.T) {
	f := newFixture(t)
	f.ok("PUT", config+"/a", `"`+strings.Repeat("x", 100<<10)+`"`)
	_, addr, ca := f.serveTLS(t)
	for _, major := range []int{1, 2} {
		transport := ca.transport()
		transport.ForceAttemptHTTP2 = major == 2
		res, err := (&http.Client{Transport: transport}).Get("https://" + addr + config + "/a")
		require.NoError(t, err)
		assert.Equal(t, major, res.ProtoMajor)
		assert.Equal(t, uint16(tls.VersionTLS13), res.TLS.Version)
		assert.Contains(t, bodyOf(t, res), "xxxx")
		require.NoError(t, res.Body.Close())
	}
	handshake := func(cfg *tls.Config) (tls.ConnectionState, error) {
		cfg.InsecureSkipVerify = true
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState(), nil
	}
	st, err := handshake(&tls.Config{MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	require.NoError(t, err)
	assert.Equal(t, uint16(tls.VersionTLS12), st.Version)
	assert.Equal(t, "h2", st.NegotiatedProtocol)
	_, err = handshake(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	require.ErrorContains(t, err, "protocol version")
	_, err = handshake(&tls.Config{
		MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
	})
	require.ErrorContains(t, err, "handshake failure")
	res, err := http.Get("http://" + addr + config + "/a")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, res.StatusCode)
	assert.Contains(t, bodyOf(t, res), "HTTPS")
}

// TestCertificateIsRenewed: the next handshake has the new one, a connection that is open goes on,
// and files that are no good change nothing.
func TestCertificateIsRenewed(t *testing.T) {
	f := newFixture(t)
	_, addr, ca := f.serveTLS(t)
	// get answers with the serial number of the connection's certificate.
	get := func(c *http.Client) (serial string, reused bool) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		})
		r, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr+config+"/", nil)
		require.NoError(t, err)
		res, err := c.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res.TLS.PeerCertificates[0].SerialNumber.String(), reused
	}
	fresh := func() string { serial, _ := get(&http.Client{Transport: ca.transport()}); return serial }
	old := &http.Client{Transport: ca.transport()}
	first, _ := get(old)
	second := ca.renew()
	assert.Equal(t, second, fresh())
	serial, reused := get(old)
	assert.Equal(t, first, serial)
	assert.True(t, reused, "no connection is dropped")

	cert, key, third := ca.issue()
	ca.replace(ca.certFile, cert)
	assert.Equal(t, second, fresh(), "the key has not followed yet")
	ca.replace(ca.keyFile, key)
	assert.Equal(t, third, fresh())
	ca.replace(ca.certFile, []byte("nonsense"))
	assert.Equal(t, third, fresh())
	require.NoError(t, os.Remove(ca.keyFile))
	assert.Equal(t, third, fresh())
	fourth := ca.renew()
	var group sync.WaitGroup
	serials := make([]string, 8)
	for i := range serials {
		group.Go(func() {
			conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			serials[i] = conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
			_ = conn.Close()
		})
	}
	group.Wait()
	for _, serial := range serials {
		assert.Contains(t, []string{third, fourth}, serial, "who does not look gets the one before")
	}
	assert.Equal(t, fourth, fresh())
}

// TestClientCertificates: a client may show a certificate, which the handler finds verified, or
// none; one of another CA, one for servers only and one that has ended are refused.
func TestClientCertificates(t *testing.T) {
	ca, clients := newTestCA(t), newTestCA(t)
	ca.renew()
	f := newFixture(t)
	f.Now, f.Logger = time.Now, slog.New(slog.DiscardHandler)
	f.Certificate = ca.load(f, CertificateFiles{CertFile: ca.certFile, KeyFile: ca.keyFile, ClientCAFile: clients.caFile})
	var seen atomic.Pointer[tls.ConnectionState]
	_, addr := f.serveWith(t, func(s *Server) {
		handler := s.http.Handler
		s.http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen.Store(r.TLS)
			handler.ServeHTTP(w, r)
		})
	})
	var sessions tls.ClientSessionCache
	get := func(major int, show ...tls.Certificate) error {
		transport := ca.transport()
		transport.ForceAttemptHTTP2 = major == 2
		transport.TLSClientConfig.ClientSessionCache = sessions
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(show) == 0 {
				return &tls.Certificate{}, nil
			}
			return &show[0], nil
		}
		res, err := (&http.Client{Transport: transport}).Get("https://" + addr + config + "/")
		if err != nil {
			return err
		}
		assert.Equal(t, major, res.ProtoMajor)
		_, err = io.Copy(io.Discard, res.Body)
		return errors.Join(err, res.Body.Close())
	}
	shown := func(pair tlsfiles.Pair, err error) tls.Certificate {
		require.NoError(t, err)
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		require.NoError(t, err)
		return cert
	}
	mine := shown(clients.Client("ci", nil, validNow))
	for _, major := range []int{1, 2} {
		require.NoError(t, get(major))
		assert.Empty(t, seen.Load().PeerCertificates)
		require.NoError(t, get(major, mine))
		require.Len(t, seen.Load().VerifiedChains, 1)
		assert.Equal(t, "ci", seen.Load().VerifiedChains[0][0].Subject.CommonName)
	}
	// Who is refused hears of it when they read, unless they write before.
	refusal := func(show tls.Certificate) error {
		conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessions, Certificates: []tls.Certificate{show}})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		return err
	}
	past := tlsfiles.Validity{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}
	require.ErrorContains(t, refusal(shown(ca.Client("ci", nil, validNow))), "unknown certificate authority")
	require.ErrorContains(t, refusal(shown(clients.Client("ci", nil, past))), "expired certificate")
	require.ErrorContains(t, refusal(shown(clients.Issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, validNow))), "bad certificate")

	// The CA is replaced: who resumes a session that the old one opened is not believed either.
	sessions = tls.NewLRUClientSessionCache(10)
	require.NoError(t, get(1, mine))
	require.NoError(t, get(1, mine))
	assert.True(t, seen.Load().DidResume)
	require.Len(t, seen.Load().VerifiedChains, 1)
	next := newTestCA(t)
	text, err := os.ReadFile(next.caFile)
	require.NoError(t, err)
	clients.replace(clients.caFile, text)
	require.Error(t, get(1, mine))
	require.NoError(t, get(1, shown(next.Client("ci", nil, validNow))))
}

// TestStreamsAreBounded reads what the server says of itself in its first frame: SETTINGS (RFC
// 9113 §6.5), whose 3 is the number of streams it takes at a time.
func TestStreamsAreBounded(t *testing.T) {
	f := newFixture(t)
	_, addr, _ := f.serveTLS(t)
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and no settings of ours
	require.NoError(t, err)
	head := make([]byte, 9)
	_, err = io.ReadFull(conn, head)
	require.NoError(t, err)
	require.Equal(t, byte(4), head[3], "SETTINGS")
	payload := make([]byte, int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(conn, payload)
	require.NoError(t, err)
	settings := map[uint16]uint32{}
	for ; len(payload) >= 6; payload = payload[6:] {
		settings[binary.BigEndian.Uint16(payload)] = binary.BigEndian.Uint32(payload[2:])
	}
	assert.Equal(t, uint32(MaxStreams), settings[3])
	assert.Equal(t, uint32(MaxStreamBufferBytes), settings[4], "the window of a stream")
}

// TestDrainOverHTTP2: the client is told to open no more streams, and those it has are answered.
func TestDrainOverHTTP2(t *testing.T) {
	f := newFixture(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	f.node.during = func(*fsm.Command) { close(inside); <-leave }
	s, addr, ca := f.serveTLS(t)
	client := &http.Client{Transport: ca.transport()}
	answered := make(chan int, 1)
	go func() {
		r, _ := http.NewRequest("PUT", "https://"+addr+config+"/a", strings.NewReader("1"))
		res, err := client.Do(r)
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-inside
	s.Drain()
	reused := func() (reused bool) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused },
		})
		r, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr+"/health/live", nil)
		require.NoError(t, err)
		res, err := client.Do(r)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return reused
	}
	assert.True(t, reused(), "it has not heard yet")
	require.Eventually(t, func() bool { return !reused() }, 10*time.Second, time.Millisecond, "GOAWAY")
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-s.api.drained
	close(leave)
	assert.Equal(t, http.StatusCreated, <-answered)
	require.NoError(t, <-stopped)
}
