package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/config"
)

// certificates makes a CA and a certificate of it for 127.0.0.1.
func certificates(t *testing.T) (caFile string, files config.TLS) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		return key
	}
	caKey, key := newKey(), newKey()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return write("ca.pem", "CERTIFICATE", caDER), config.TLS{
		CertFile: write("tls.crt", "CERTIFICATE", leafDER), KeyFile: write("tls.key", "PRIVATE KEY", keyDER),
	}
}

// TestServeTLS: a node with a certificate speaks nothing else, and the client commands trust
// whom --cacert or its variable names.
func TestServeTLS(t *testing.T) {
	s := single(t, t.TempDir())
	caFile, files := certificates(t)
	s.config.API.TLS = files
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.run(ctx) }()
	url := "https://" + s.config.Self().API()
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer trusting.CloseIdleConnections()
	require.Eventually(t, func() bool {
		resp, err := trusting.Get(url + "/health/ready")
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)

	assert.Equal(t, result{out: "a/b: created at revision 1\n"}, command(t, url, "", "put", "a/b", "30", "--cacert", caFile))
	var out, errs bytes.Buffer
	e := env{in: strings.NewReader(""), out: &out, err: &errs, environ: []string{endpointsVariable + "=" + url, caVariable + "=" + caFile}}
	assert.Zero(t, run(t.Context(), e, []string{"get", "a/b"}), errs.String())
	assert.Equal(t, "30", out.String())
	r := command(t, url, "", "get", "a/b", "--timeout", "1s")
	assert.Equal(t, exitUnavailable, r.code)
	assert.Contains(t, r.err, "--cacert, names whom to trust")
	r = command(t, url, "", "get", "a/b", "--cacert", files.KeyFile)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.err, "holds no certificate")
	cancel()
	require.NoError(t, <-ended)
}

func TestServeTellsOfABadCertificate(t *testing.T) {
	s := single(t, t.TempDir())
	_, files := certificates(t)
	s.config.API.TLS = config.TLS{CertFile: files.CertFile, KeyFile: files.CertFile}
	require.ErrorContains(t, s.run(t.Context()), "Api.Tls: certificate "+files.CertFile)
}

// TestServeTellsOfABadRaftCertificate: a node does not start with what the others would refuse,
// and opens nothing before it knows.
func TestServeTellsOfABadRaftCertificate(t *testing.T) {
	s := single(t, filepath.Join(t.TempDir(), "data"))
	caFile, files := certificates(t)
	s.config.Raft = config.Raft{TLS: config.RaftTLS{CAFile: caFile, CertFile: files.CertFile, KeyFile: files.KeyFile}}
	require.ErrorContains(t, s.run(t.Context()), `Raft.Tls: certificate `+files.CertFile+`: it names no node (its common name is "") and not "node1"`)
	s.config.Raft.TLS.CAFile = files.KeyFile
	require.ErrorContains(t, s.run(t.Context()), "Raft.Tls: CA bundle "+files.KeyFile+": it holds a PRIVATE KEY")
	require.NoDirExists(t, s.config.Data.Dir)
}

// TestServeWarnsOfPlainText: not on loopback, where nobody else is.
func TestServeWarnsOfPlainText(t *testing.T) {
	var log bytes.Buffer
	s := single(t, t.TempDir())
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	_, err := s.raftTLS()
	require.NoError(t, err)
	assert.Empty(t, log.String())
	s.config.Cluster.Nodes = append(s.config.Cluster.Nodes, config.Node{ID: "node2", Address: "10.0.1.11"}, config.Node{ID: "node3", Address: "10.0.1.12"})
	_, err = s.raftTLS()
	require.NoError(t, err)
	assert.Equal(t, 1, strings.Count(log.String(), "the nodes speak plain text"), log.String())
}
