package httpapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
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
)

// testCA signs certificates for 127.0.0.1 into the files of a node.
type testCA struct {
	t                 *testing.T
	cert              *x509.Certificate
	key               *ecdsa.PrivateKey
	certFile, keyFile string
	serial            int64
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	dir := t.TempDir()
	ca := &testCA{t: t, certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key")}
	var err error
	ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca.cert = ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, &ca.key.PublicKey)
	return ca
}

// sign makes a certificate from template; a parent of nil: it signs itself.
func (ca *testCA) sign(template, parent *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	ca.serial++
	template.SerialNumber = big.NewInt(ca.serial)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, ca.key)
	require.NoError(ca.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(ca.t, err)
	return cert
}

// issue makes a certificate and its key, in PEM, and returns its serial number.
func (ca *testCA) issue() (cert, key []byte, serial int64) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(ca.t, err)
	leaf := ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "node1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.cert, &private.PublicKey)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(ca.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), ca.serial
}

// replace puts text in the place of a file, as a careful program does.
func (ca *testCA) replace(file string, text []byte) {
	require.NoError(ca.t, os.WriteFile(file+".new", text, 0o600))
	require.NoError(ca.t, os.Rename(file+".new", file))
}

// renew issues a certificate into the files.
func (ca *testCA) renew() (serial int64) {
	cert, key, serial := ca.issue()
	ca.replace(ca.certFile, cert)
	ca.replace(ca.keyFile, key)
	return serial
}

// load is LoadCertificate with a clock that each look at the files finds advanced.
func (ca *testCA) load(f *fixture) *Certificate {
	c, err := LoadCertificate(ca.certFile, ca.keyFile, f.Logger)
	require.NoError(ca.t, err)
	var looks atomic.Int64
	c.now = func() time.Time { return time.Now().Add(time.Duration(looks.Add(1)) * certificateCheck) }
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
	roots.AddCert(ca.cert)
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
	f.Certificate = ca.load(f)
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
	get := func(c *http.Client) (serial int64, reused bool) {
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
		return res.TLS.PeerCertificates[0].SerialNumber.Int64(), reused
	}
	fresh := func() int64 { serial, _ := get(&http.Client{Transport: ca.transport()}); return serial }
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
	serials := make([]int64, 8)
	for i := range serials {
		group.Go(func() {
			conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			serials[i] = conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
			_ = conn.Close()
		})
	}
	group.Wait()
	for _, serial := range serials {
		assert.Contains(t, []int64{third, fourth}, serial, "who does not look gets the one before")
	}
	assert.Equal(t, fourth, fresh())
}

// TestCertificateIsLookedAtRarely: not in each handshake.
func TestCertificateIsLookedAtRarely(t *testing.T) {
	f := newFixture(t)
	ca := newTestCA(t)
	serial := ca.renew()
	c := ca.load(f)
	now := time.Now()
	c.now = func() time.Time { return now }
	c.checked = now
	get := func() int64 {
		cert, err := c.get(nil)
		require.NoError(t, err)
		return cert.Leaf.SerialNumber.Int64()
	}
	renewed := ca.renew()
	assert.Equal(t, serial, get())
	now = now.Add(certificateCheck)
	assert.Equal(t, renewed, get())

	cert, _, _ := ca.issue()
	ca.replace(ca.certFile, cert)
	f.log.Reset()
	for range 3 {
		now = now.Add(certificateCheck)
		assert.Equal(t, renewed, get())
	}
	assert.Equal(t, 1, strings.Count(f.log.String(), "cannot be renewed"), f.log.String())
	now = now.Add(2 * time.Hour)
	ca.renew()
	get()
	assert.Contains(t, f.log.String(), "not valid now")
}

func TestLoadCertificateRefuses(t *testing.T) {
	ca := newTestCA(t)
	_, err := LoadCertificate(ca.certFile, ca.keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "tls.crt: no such file")
	cert, _, _ := ca.issue()
	ca.renew()
	ca.replace(ca.certFile, cert)
	_, err = LoadCertificate(ca.certFile, ca.keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "private key does not match")
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
