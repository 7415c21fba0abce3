package tlsfiles

import (
	"crypto/x509"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func verify(ca *CA, p Pair, name string, usage x509.ExtKeyUsage) error {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate())
	_, err := p.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestNodesAreBothEnds(t *testing.T) {
	ca, _ := newCA(t, "test CA")
	p, err := ca.Node("node1", []string{"node1", "cfg.example.com", "10.0.1.10", "::1"}, validFor(time.Hour))
	require.NoError(t, err)
	for _, name := range []string{"node1", "cfg.example.com", "10.0.1.10", "::1"} {
		require.NoError(t, verify(ca, p, name, x509.ExtKeyUsageServerAuth), name)
		require.NoError(t, verify(ca, p, name, x509.ExtKeyUsageClientAuth), name)
	}
	require.Error(t, verify(ca, p, "node2", x509.ExtKeyUsageServerAuth))
	other, _ := newCA(t, "test CA")
	require.Error(t, verify(other, p, "node1", x509.ExtKeyUsageServerAuth), "of the same name, but another CA")
	assert.Equal(t, []string{"node1", "cfg.example.com"}, p.Leaf.DNSNames)
	assert.Equal(t, x509.ECDSA, p.Leaf.PublicKeyAlgorithm)

	p, err = ca.Node("10.0.1.10", nil, validFor(time.Hour))
	require.NoError(t, err)
	assert.Equal(t, []string{"10.0.1.10"}, p.Leaf.DNSNames)
	assert.True(t, p.Leaf.IPAddresses[0].Equal(net.IPv4(10, 0, 1, 10)))
}

func TestClientsAreNoServers(t *testing.T) {
	ca, _ := newCA(t, "test CA")
	uri, err := url.Parse("spiffe://example.com/ci")
	require.NoError(t, err)
	p, err := ca.Client("ci@example.com", []*url.URL{uri}, validFor(time.Hour))
	require.NoError(t, err)
	require.NoError(t, verify(ca, p, "", x509.ExtKeyUsageClientAuth))
	require.Error(t, verify(ca, p, "", x509.ExtKeyUsageServerAuth))
	assert.Equal(t, "ci@example.com", p.Leaf.Subject.CommonName)
	assert.Equal(t, uri, p.Leaf.URIs[0])
	assert.Empty(t, p.Leaf.DNSNames)
}

func TestTheCAIsThatAndNoMore(t *testing.T) {
	ca, p := newCA(t, "test CA")
	c := ca.Certificate()
	assert.True(t, c.IsCA)
	assert.True(t, c.MaxPathLenZero)
	assert.Zero(t, c.MaxPathLen)
	assert.Equal(t, x509.KeyUsageCertSign, c.KeyUsage)
	assert.Positive(t, c.SerialNumber.BitLen())
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	require.NoError(t, p.Write(cert, key, false))
	again, err := ReadCA(cert, key)
	require.NoError(t, err)
	leaf, err := again.Node("node1", nil, validFor(time.Hour))
	require.NoError(t, err)
	require.NoError(t, verify(ca, leaf, "node1", x509.ExtKeyUsageServerAuth))

	require.NoError(t, leaf.Write(cert, key, true))
	_, err = ReadCA(cert, key)
	require.ErrorContains(t, err, "ca.crt is no CA")
}

func TestIssueRefuses(t *testing.T) {
	ca, _ := newCA(t, "test CA")
	_, err := ca.Node("node1", nil, validFor(10001*time.Hour))
	require.ErrorContains(t, err, "would outlive its CA")
	_, err = ca.Node("node1", nil, Validity{time.Now(), time.Now().Add(-time.Hour)})
	require.ErrorContains(t, err, "is never valid")
	for _, id := range []string{"", ".", "a..b", "-a", "a b", "*.example.com", "../a", strings.Repeat("a", 65)} {
		_, err = ca.Node(id, nil, validFor(time.Hour))
		require.ErrorIs(t, err, errName, id)
	}
	for _, name := range []string{"", ".ci", "../ci", "a/b", "ä"} {
		_, err = ca.Client(name, nil, validFor(time.Hour))
		require.ErrorIs(t, err, errName, name)
	}
	for _, address := range []string{"", "node1:5001", "*.example.com", "http://a"} {
		_, err = ca.Node("node1", []string{address}, validFor(time.Hour))
		require.ErrorContains(t, err, "neither a host name nor an IP address", address)
	}
	_, err = ca.Client("ci", []*url.URL{{Path: "ci"}}, validFor(time.Hour))
	require.ErrorContains(t, err, "is no URI")
	_, err = ca.Node("node1", make([]string, maxNames), validFor(time.Hour))
	require.ErrorContains(t, err, "fewer than 100")
	_, err = ca.Client("ci", make([]*url.URL, maxNames+1), validFor(time.Hour))
	require.ErrorContains(t, err, "at most 100")
}

func TestWriteReplacesOnlyIfTold(t *testing.T) {
	ca, p := newCA(t, "test CA")
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "a.crt"), filepath.Join(dir, "a.key")
	require.NoError(t, p.Write(cert, key, false))
	info, err := os.Stat(key)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	next, err := ca.Node("node1", nil, validFor(time.Hour))
	require.NoError(t, err)
	require.ErrorIs(t, next.Write(cert, key, false), fs.ErrExist)
	require.NoError(t, os.Remove(cert))
	require.ErrorIs(t, next.Write(cert, key, false), fs.ErrExist, "one is enough, and nothing is written")
	require.NoFileExists(t, cert)
	require.ErrorIs(t, write(key, nil, 0o600, false), fs.ErrExist, "somebody was faster")
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	assert.Equal(t, p.Key, text)
	require.NoError(t, next.Write(cert, key, true))
	text, err = os.ReadFile(key)
	require.NoError(t, err)
	assert.Equal(t, next.Key, text)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, files, 2, "nothing is left over")
}
