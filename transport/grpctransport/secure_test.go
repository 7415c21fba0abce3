package grpctransport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/tlsfiles"
	"github.com/confman/confman/transport"
)

// valid is when the CAs and certificates of the tests are good, if nothing else is said.
var valid = tlsfiles.Validity{NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}

// authority is a CA.
type authority struct {
	t testing.TB
	*tlsfiles.CA
	cert []byte
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	ca, pair, err := tlsfiles.NewCA("test CA", valid)
	require.NoError(t, err)
	return authority{t, ca, pair.Cert}
}

// node is the certificate of a node.
func (a authority) node(name string) tlsfiles.Pair {
	pair, err := a.Node(name, nil, valid)
	require.NoError(a.t, err)
	return pair
}

// files are those of a node.
type files struct {
	t testing.TB
	TLSFiles
}

// put writes files for a node: its certificate, and whom it believes.
func put(t testing.TB, name string, pair tlsfiles.Pair, bundle ...authority) files {
	dir := t.TempDir()
	f := files{t, TLSFiles{
		CAFile: filepath.Join(dir, "ca.crt"), CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), Name: name,
	}}
	f.believe(bundle...)
	f.renew(pair)
	return f
}

func (f files) renew(pair tlsfiles.Pair) {
	require.NoError(f.t, pair.Write(f.CertFile, f.KeyFile, true))
}

func (f files) believe(bundle ...authority) {
	var text []byte
	for _, a := range bundle {
		text = append(text, a.cert...)
	}
	require.NoError(f.t, os.WriteFile(f.CAFile+".new", text, 0o600))
	require.NoError(f.t, os.Rename(f.CAFile+".new", f.CAFile))
}

// unchecked reads files that LoadTLS would refuse.
func (f files) unchecked() *tlsfiles.Source {
	s, err := tlsfiles.Load(tlsfiles.Config{CAFile: f.CAFile, CertFile: f.CertFile, KeyFile: f.KeyFile, Now: f.Now})
	require.NoError(f.t, err)
	return s
}

// startTLS starts the node with the i-th address.
func startTLS(t testing.TB, addresses []string, i int, f files) *testNode {
	t.Helper()
	return startWith(t, addresses, i, func(cfg *Config) { cfg.TLS = f.unchecked() })
}

// pass waits until messages of one node have come to another.
func pass(t testing.TB, from, to *testNode, m transport.Message) {
	t.Helper()
	was := len(to.inbox.messages())
	eventually(t, func() bool { from.Send([]transport.Message{m}); return len(to.inbox.messages()) > was }, "messages pass")
}

func says(n *testNode, text string) func() bool {
	return func() bool { return strings.Contains(n.log.String(), text) }
}

func TestMembersProveWhoTheyAre(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 3)
	var nodes []*testNode
	for i := range addresses {
		f := put(t, fmt.Sprintf("node%d", i+1), ca.node(fmt.Sprintf("node%d", i+1)), ca)
		source, err := LoadTLS(f.TLSFiles)
		require.NoError(t, err)
		nodes = append(nodes, startWith(t, addresses, i, func(cfg *Config) { cfg.TLS = source }))
	}
	pass(t, nodes[0], nodes[1], form(1, 2))
	for _, n := range nodes {
		n.SetCluster(cluster)
	}
	for i, from := range nodes {
		for k, to := range nodes {
			if i != k {
				a, b := uint64(i+1), uint64(k+1)
				eventually(t, func() bool {
					from.Send([]transport.Message{beat(a, b)})
					for _, m := range to.inbox.messages() {
						if m.From == a && m.Raft != nil {
							return true
						}
					}
					return false
				}, "members hear each other")
			}
		}
	}
	for _, n := range nodes {
		assert.NotContains(t, n.log.String(), "refused a peer")
	}
}

// TestIdsNeedNotLookLikeHosts: an id may be an IP address, or be spelled as no host is.
func TestIdsNeedNotLookLikeHosts(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	names := map[uint64]string{1: "10.0.1.10", 2: "Node_2.a-B"}
	var nodes []*testNode
	for i := range addresses {
		name := names[uint64(i+1)]
		source, err := LoadTLS(put(t, name, ca.node(name), ca).TLSFiles)
		require.NoError(t, err)
		nodes = append(nodes, startWith(t, addresses, i, func(cfg *Config) { cfg.TLS, cfg.Names = source, names }))
	}
	pass(t, nodes[0], nodes[1], form(1, 2))
	pass(t, nodes[1], nodes[0], form(2, 1))
}

// TestNobodyElseGetsIn: node 2 is not what it should be; no message of it is heard, and as far
// as it would have had to prove itself to be told something, it is told nothing.
func TestNobodyElseGetsIn(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	issue := func(usage []x509.ExtKeyUsage, v tlsfiles.Validity) tlsfiles.Pair {
		pair, err := ca.Issue(&x509.Certificate{DNSNames: []string{"node2"}, ExtKeyUsage: usage}, v)
		require.NoError(t, err)
		return pair
	}
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := append(server, client...)
	wildcard, err := ca.Issue(&x509.Certificate{DNSNames: []string{"*.example.com"}, ExtKeyUsage: both}, valid)
	require.NoError(t, err)
	dot, err := ca.Issue(&x509.Certificate{DNSNames: []string{"node2."}, ExtKeyUsage: both}, valid)
	require.NoError(t, err)
	user, err := ca.Client("node2", nil, valid)
	require.NoError(t, err)
	now := time.Now()
	for name, c := range map[string]struct {
		pair tlsfiles.Pair
		// in is what the listener of node 1 says of node 2, out what its sender says; "": the
		// other direction is as it should be.
		in, out string
	}{
		"another CA":       {other.node("node2"), "signed by unknown authority", "signed by unknown authority"},
		"a wrong name":     {ca.node("node9"), `the certificate names \"node9\", and that is no other member that node1 knows`, "valid for node9, not node2"},
		"its own name":     {ca.node("node1"), `the certificate names \"node1\", and that is no other`, "valid for node1, not node2"},
		"no name":          {user, `names no node (its common name is \"node2\"), and that`, "tls: failed to verify certificate"},
		"a pattern":        {wildcard, `names \"*.example.com\", and that`, "valid for *.example.com, not node2"},
		"another member":   {ca.node("node3"), `the stream says that it is of node2, and its certificate names \"node3\"`, "valid for node3, not node2"},
		"another case":     {ca.node("Node2"), `names \"Node2\", and that`, `handshake failed: the certificate names`},
		"a dot at its end": {dot, `names \"node2.\", and that`, "valid for node2., not node2"},
		"expired":          {issue(both, tlsfiles.Validity{NotBefore: valid.NotBefore, NotAfter: now.Add(-time.Minute)}), "certificate has expired", "certificate has expired"},
		"not yet valid":    {issue(both, tlsfiles.Validity{NotBefore: now.Add(time.Hour), NotAfter: valid.NotAfter}), "is not yet valid", "is not yet valid"},
		"for servers":      {issue(server, valid), "incompatible key usage", ""},
		"for clients":      {issue(client, valid), "", "incompatible key usage"},
		"signs by itself":  {ownCA(t), "unknown authority", "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			addresses := append(freePorts(t, 2), "127.0.0.1:1")
			good := put(t, "node1", ca.node("node1"), ca)
			bad := put(t, "node2", c.pair, ca)
			a, b := startTLS(t, addresses, 0, good), startTLS(t, addresses, 1, bad)
			eventually(t, func() bool {
				a.Send([]transport.Message{form(1, 2)})
				b.Send([]transport.Message{form(2, 1)})
				s := a.log.String()
				return strings.Contains(s, c.in) && strings.Contains(s, c.out) && (c.in == "" || strings.Contains(s, "refused a peer"))
			}, "node 1 says why")
			if c.in != "" {
				eventually(t, says(b, "no connection to a peer; trying again"), "node 2 hears of it")
				assert.Empty(t, a.inbox.messages())
				assert.False(t, connected(b, 1)())
			}
			if c.out != "" {
				assert.Empty(t, b.inbox.messages())
				assert.False(t, connected(a, 2)())
			}
		})
	}
}

// ownCA is a certificate for node2 that signs itself.
func ownCA(t *testing.T) tlsfiles.Pair {
	pair, err := new(tlsfiles.CA).Issue(&x509.Certificate{
		DNSNames: []string{"node2"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, valid)
	require.NoError(t, err)
	return pair
}

// TestOtherClustersAreRefusedUnderOneCA: CA, names and addresses fit, the clusters do not.
func TestOtherClustersAreRefusedUnderOneCA(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	a := startTLS(t, addresses, 0, put(t, "node1", ca.node("node1"), ca))
	b := startTLS(t, addresses, 1, put(t, "node2", ca.node("node2"), ca))
	a.SetCluster([16]byte{0xaa})
	b.SetCluster([16]byte{0xbb})
	eventually(t, says(a, "node2 belongs to cluster bb"), "said")
	eventually(t, says(b, "node1 belongs to cluster aa"), "said")
	a.Send([]transport.Message{beat(1, 2), form(1, 2)})
	assert.Empty(t, b.inbox.messages())
}

// TestNobodyIsHeardWithoutACertificate, nor with an older TLS.
func TestNobodyIsHeardWithoutACertificate(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 1)
	n := startTLS(t, addresses, 0, put(t, "node1", ca.node("node1"), ca))
	for want, cfg := range map[string]*tls.Config{
		"client didn't provide a certificate": {},
		"unsupported versions":                {MaxVersion: tls.VersionTLS12},
	} {
		cfg.InsecureSkipVerify, cfg.NextProtos = true, []string{"h2"}
		conn, err := tls.Dial("tcp", addresses[0], cfg)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			require.NoError(t, conn.Close())
		}
		require.Error(t, err)
		eventually(t, says(n, want), "said")
	}
}

func TestPlainTextAndTLSDoNotMeet(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	a := startTLS(t, addresses, 0, put(t, "node1", ca.node("node1"), ca))
	b := start(t, addresses, 1)
	eventually(t, says(a, "it speaks no TLS: is Raft.PlainText set there?"), "the listener with TLS says so")
	eventually(t, says(b, "it speaks TLS, and Raft.PlainText is set here"), "the listener without says so")
	eventually(t, says(a, "it hung up in the middle of the TLS handshake: is Raft.PlainText set there?"), "and so does who connects")
	eventually(t, says(b, "no connection to a peer"), "both")
	assert.Empty(t, a.inbox.messages())
	assert.Empty(t, b.inbox.messages())
}

func TestWithoutAWordThereIsNoPlainText(t *testing.T) {
	ca := newAuthority(t)
	source := put(t, "node1", ca.node("node1"), ca).unchecked()
	for _, cfg := range []Config{{}, {PlainText: true, TLS: source}} {
		cfg.Listen = "127.0.0.1:0"
		_, err := New(cfg)
		require.ErrorContains(t, err, "either TLS or PlainText")
	}
}

// TestARefusalOfTLSIsLoggedOnceAMinute hammers a listener with a foreign certificate.
func TestARefusalOfTLSIsLoggedOnceAMinute(t *testing.T) {
	ca, other, addresses := newAuthority(t), newAuthority(t), freePorts(t, 1)
	var minutes atomic.Int64
	n := startWith(t, addresses, 0, func(cfg *Config) {
		cfg.TLS = put(t, "node1", ca.node("node1"), ca).unchecked()
		cfg.Peers, cfg.Names[2] = map[uint64]string{2: "127.0.0.1:1"}, "node2"
		cfg.Now = func() time.Time { return time.Unix(0, 0).Add(time.Duration(minutes.Load()) * time.Minute) }
	})
	pair := other.node("node2")
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)
	hammer := func() {
		for range 20 {
			conn, err := tls.Dial("tcp", addresses[0], &tls.Config{
				InsecureSkipVerify: true, NextProtos: []string{"h2"},
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
			})
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
			require.Error(t, err)
		}
	}
	lines := func() int { return strings.Count(n.log.String(), "refused a peer") }
	hammer()
	eventually(t, func() bool { return lines() == 1 }, "logged")
	minutes.Add(1)
	hammer()
	eventually(t, func() bool { return lines() == 2 }, "logged again")
	hammer()
	assert.Equal(t, 2, lines())
	// Who only looks whether the port is open is not worth a line.
	conn, err := net.Dial("tcp", addresses[0])
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	minutes.Add(1)
	hammer()
	eventually(t, func() bool { return lines() == 3 }, "logged again")
	assert.NotContains(t, n.log.String(), "EOF")
}

// TestRenewalDropsNoConnection: certificates are renewed while messages pass; those that are
// open go on, and the next ones are made with the new certificate.
func TestRenewalDropsNoConnection(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	f1, f2 := put(t, "node1", ca.node("node1"), ca), put(t, "node2", ca.node("node2"), ca)
	a, b := startTLS(t, addresses, 0, f1), startTLS(t, addresses, 1, f2)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	pass(t, a, b, beat(1, 2))
	pass(t, b, a, beat(2, 1))
	there, back := a.peer(2).flow.Load(), b.peer(1).flow.Load()
	next := ca.node("node1")
	f1.renew(next)
	f2.renew(ca.node("node2"))
	eventually(t, func() bool {
		a.Send([]transport.Message{app(1, 2, 1, 64<<10)})
		b.Send([]transport.Message{beat(2, 1)})
		conn, err := tls.Dial("tcp", addresses[0], &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Equal(next.Leaf)
	}, "the new certificate is there")
	pass(t, a, b, beat(1, 2))
	pass(t, b, a, beat(2, 1))
	assert.Same(t, there, a.peer(2).flow.Load())
	assert.Same(t, back, b.peer(1).flow.Load())
}

// TestACAIsReplaced as docs/tls.md says: believe both, renew, believe the new one. Who did not
// follow is shut out, of connections that are open too.
func TestACAIsReplaced(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	addresses := freePorts(t, 3)
	var fs []files
	var nodes []*testNode
	for i := range addresses {
		name := fmt.Sprintf("node%d", i+1)
		fs = append(fs, put(t, name, before.node(name), before))
		nodes = append(nodes, startTLS(t, addresses, i, fs[i]))
		nodes[i].SetCluster(cluster)
	}
	a, b, c := nodes[0], nodes[1], nodes[2]
	pass(t, a, b, beat(1, 2))
	pass(t, c, a, beat(3, 1))
	reloaded := func(n *testNode, was *x509.CertPool) {
		eventually(t, func() bool { return n.cfg.TLS.Current().CAs != was }, "read again")
	}
	there := a.peer(2).flow.Load()
	for i, n := range nodes {
		was := n.cfg.TLS.Current().CAs
		fs[i].believe(before, after)
		reloaded(n, was)
	}
	for i, n := range nodes[:2] { // node 3 does not follow
		was := n.cfg.TLS.Current().CAs
		fs[i].renew(after.node(fmt.Sprintf("node%d", i+1)))
		reloaded(n, was)
	}
	pass(t, a, b, beat(1, 2))
	pass(t, c, a, beat(3, 1))
	assert.Same(t, there, a.peer(2).flow.Load())
	for i, n := range nodes[:2] {
		was := n.cfg.TLS.Current().CAs
		fs[i].believe(after)
		reloaded(n, was)
	}
	eventually(t, func() bool { f := a.peer(2).flow.Load(); return f != nil && f != there }, "what the old CA vouched for begins anew")
	eventually(t, func() bool { return !connected(c, 1)() && !connected(a, 3)() }, "node 3 is shut out")
	eventually(t, says(a, "signed by unknown authority"), "and it is said why")
	pass(t, a, b, beat(1, 2))
	pass(t, b, a, beat(2, 1))
	fs[2].renew(after.node("node3"))
	pass(t, c, a, beat(3, 1))
}

// TestAnEndDropsNoConnection: the certificate of node 2 ends; its open connections go on, new
// ones are refused.
func TestAnEndDropsNoConnection(t *testing.T) {
	ca, addresses := newAuthority(t), freePorts(t, 2)
	var late atomic.Bool
	now := func() time.Time {
		if late.Load() {
			return time.Now().Add(2 * time.Hour)
		}
		return time.Now()
	}
	pair, err := ca.Node("node2", nil, tlsfiles.Validity{NotBefore: valid.NotBefore, NotAfter: time.Now().Add(time.Hour)})
	require.NoError(t, err)
	f1, f2 := put(t, "node1", ca.node("node1"), ca), put(t, "node2", pair, ca)
	f1.Now, f2.Now = now, now
	a, b := startTLS(t, addresses, 0, f1), startTLS(t, addresses, 1, f2)
	a.SetCluster(cluster)
	b.SetCluster(cluster)
	pass(t, b, a, beat(2, 1))
	late.Store(true)
	pass(t, b, a, beat(2, 1))
	was := a.cfg.TLS.Current().CAs
	f1.believe(ca, newAuthority(t)) // to go through all that are open does not end it
	eventually(t, func() bool { return a.cfg.TLS.Current().CAs != was }, "read again")
	pass(t, b, a, beat(2, 1))
	require.NoError(t, b.Close())
	b = startTLS(t, addresses, 1, f2)
	eventually(t, func() bool {
		b.Send([]transport.Message{form(2, 1)})
		return strings.Contains(a.log.String(), "refused a peer") && strings.Contains(a.log.String(), "certificate has expired")
	}, "refused")
	assert.Zero(t, formsOf(a))
}

func TestLoadTLSRefuses(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	issue := func(usage x509.ExtKeyUsage, v tlsfiles.Validity) tlsfiles.Pair {
		pair, err := ca.Issue(&x509.Certificate{DNSNames: []string{"node1"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, v)
		require.NoError(t, err)
		return pair
	}
	now := time.Now()
	for name, c := range map[string]struct {
		pair tlsfiles.Pair
		want string
	}{
		"another CA":    {other.node("node1"), "at both ends of a connection: x509: certificate signed by unknown authority"},
		"another node":  {ca.node("node2"), `it names "node2" and not "node1": a node's certificate has its Id as a DNS name (confman cert node node1)`},
		"expired":       {issue(x509.ExtKeyUsageServerAuth, tlsfiles.Validity{NotBefore: valid.NotBefore, NotAfter: now.Add(-time.Hour)}), "it ended at "},
		"not yet valid": {issue(x509.ExtKeyUsageServerAuth, tlsfiles.Validity{NotBefore: now.Add(time.Hour), NotAfter: valid.NotAfter}), "and this machine's clock says "},
		"for servers":   {issue(x509.ExtKeyUsageServerAuth, valid), "incompatible key usage"},
		"for clients":   {issue(x509.ExtKeyUsageClientAuth, valid), "incompatible key usage"},
	} {
		t.Run(name, func(t *testing.T) {
			f := put(t, "node1", c.pair, ca)
			f.Logger = slog.New(slog.DiscardHandler)
			_, err := LoadTLS(f.TLSFiles)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "certificate "+f.CertFile)
		})
	}
	f := put(t, "node1", ca.node("node1"), ca)
	require.NoError(t, os.Remove(f.KeyFile))
	_, err := LoadTLS(f.TLSFiles)
	require.ErrorContains(t, err, "tls.key: no such file")
}
