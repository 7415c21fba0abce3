package main

import (
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readCert is the certificate in a file.
func readCert(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	block, rest := pem.Decode(text)
	require.NotNil(t, block)
	require.Empty(t, rest)
	c, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return c
}

func TestCert(t *testing.T) {
	t.Chdir(t.TempDir())
	do := func(args ...string) result { return command(t, "", "", append([]string{"cert"}, args...)...) }
	r := do("node", "node1")
	assert.Equal(t, exitError, r.code)
	assert.Contains(t, r.err, "no CA is in raft-ca: make one with confman cert init --dir raft-ca")
	r = do("init")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, `raft-ca/ca.crt and raft-ca/ca.key: the CA "Confman raft-ca", good until `+time.Now().AddDate(0, 0, 3650).UTC().Format(time.DateOnly))
	r = do("init")
	assert.Equal(t, exitError, r.code)
	assert.Contains(t, r.err, "to replace it, say --force")

	r = do("node", "node1", "--address", "10.0.1.10,cfg.example.com", "--address", "::1")
	require.Zero(t, r.code, r.err)
	assert.Contains(t, r.out, `"CertFile": "/etc/confman/node1.crt"`)
	assert.Contains(t, r.out, `"Api": { "Tls"`)
	assert.Contains(t, r.out, time.Now().AddDate(0, 0, 365).UTC().Format(time.DateOnly))
	node, ca := readCert(t, "raft-ca/node1.crt"), readCert(t, "raft-ca/ca.crt")
	require.NoError(t, node.CheckSignatureFrom(ca))
	assert.Equal(t, []string{"node1", "cfg.example.com"}, node.DNSNames)
	assert.Len(t, node.IPAddresses, 2)
	assert.True(t, node.NotBefore.Before(time.Now().Add(-time.Minute)))
	for _, name := range []string{"ca.key", "node1.key"} {
		info, err := os.Stat(filepath.Join("raft-ca", name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
	}
	require.NotZero(t, do("node", "node1").code)
	assert.Equal(t, node, readCert(t, "raft-ca/node1.crt"), "it is not replaced")
	r = do("node", "node1", "--force", "--days", "30")
	require.Zero(t, r.code, r.err)
	assert.NotContains(t, r.out, "Api")
	assert.NotEqual(t, node, readCert(t, "raft-ca/node1.crt"))

	require.Zero(t, do("ca", "--dir", "client-ca", "--days", "100").code)
	r = do("client", "ci", "--uri", "spiffe://example.com/ci")
	require.Zero(t, r.code, r.err)
	client := readCert(t, "client-ca/ci.crt")
	assert.Equal(t, "ci", client.Subject.CommonName)
	assert.Equal(t, "spiffe://example.com/ci", client.URIs[0].String())
	require.Error(t, client.CheckSignatureFrom(ca))

	for want, args := range map[string]string{
		"would outlive its CA":     "client ci2 --days 101",
		"--days is 0":              "client ci2 --days 0",
		`"ca" is the name of`:      "client ca",
		"is not a name for a cert": "client a/b",
		"is no URI":                "client ci2 --uri ci",
		"--uri: parse":             "client ci2 --uri %zz",
		"neither a host name":      "node node2 --address node2:5001",
		"accepts 1 arg":            "node",
		"unknown command":          "tpyo",
	} {
		r := do(strings.Fields(args)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Contains(t, r.err, want, args)
	}
	files, err := filepath.Glob("*/*")
	require.NoError(t, err)
	assert.Len(t, files, 8)
}
