package grpctransport

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/confman/confman/tlsfiles"
)

// TLSFiles are what a node proves to the others who it is, and by which CAs the others must
// have proven it: PEM, and read again when they change.
type TLSFiles struct {
	CAFile, CertFile, KeyFile string
	// Name is this node's: its certificate must have it among its DNS names.
	Name   string
	Logger *slog.Logger
	// Now is time.Now, but in tests.
	Now func() time.Time
}

// LoadTLS reads the files. It refuses those with which the others would refuse this node: the
// certificate must be valid now, name the node, and be signed by a CA of the bundle for both
// ends of a connection.
func LoadTLS(f TLSFiles) (*tlsfiles.Source, error) {
	return tlsfiles.Load(tlsfiles.Config{
		CertFile: f.CertFile, KeyFile: f.KeyFile, CAFile: f.CAFile, Logger: f.Logger, Now: f.Now,
		Check: func(m *tlsfiles.Material, now time.Time) error {
			leaf := m.Certificate.Leaf
			switch {
			case now.Before(leaf.NotBefore):
				return fmt.Errorf("it is valid from %s on, and this machine's clock says %s", leaf.NotBefore.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
			case now.After(leaf.NotAfter):
				return fmt.Errorf("it ended at %s: renew it (confman cert node %s)", leaf.NotAfter.Format(time.RFC3339), f.Name)
			case !namesNode(leaf, f.Name):
				return fmt.Errorf("it names %s and not %q: a node's certificate has its Id as a DNS name (confman cert node %s)", namesOf(leaf), f.Name, f.Name)
			}
			var chain []*x509.Certificate
			for _, der := range m.Certificate.Certificate {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				chain = append(chain, cert)
			}
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
				if err := verify(chain, m.CAs, usage, f.Name, now); err != nil {
					return fmt.Errorf("by the CAs in %s, at both ends of a connection: %w", f.CAFile, err)
				}
			}
			return nil
		},
	})
}

// verify is what crypto/tls does in a handshake.
func verify(chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, name string, now time.Time) error {
	between := x509.NewCertPool()
	for _, cert := range chain[1:] {
		between.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}, DNSName: name, CurrentTime: now,
	})
	return err
}

// namesNode tells whether a certificate is that of a node: its id is there as it is spelled,
// and no pattern stands for it.
func namesNode(cert *x509.Certificate, id string) bool {
	return id != "" && slices.Contains(cert.DNSNames, id)
}

// namesOf is what a certificate says of its holder, for messages.
func namesOf(cert *x509.Certificate) string {
	if len(cert.DNSNames) == 0 {
		return fmt.Sprintf("no node (its common name is %.100q)", cert.Subject.CommonName)
	}
	return fmt.Sprintf("%.200q", strings.Join(cert.DNSNames, ", "))
}

// serverTLS is for the peers that connect. Only TLS 1.3: all nodes are of this program.
func (t *Transport) serverTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			m := t.cfg.TLS.Current()
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{*m.Certificate},
				ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: m.CAs,
				Time: t.cfg.TLS.Now,
				// Each connection proves itself anew.
				SessionTicketsDisabled: true,
				VerifyConnection:       t.isMember,
			}, nil
		},
	}
}

// isMember refuses who is none, before a byte of theirs is read. Which one it is, the stream says.
// If somebody was removed, other nodes of the CA pass, for a moment: one of them must hear it,
// and its name is forgotten. They are refused by their stream, before a message is read.
func (t *Transport) isMember(cs tls.ConnectionState) error {
	chain, m := cs.PeerCertificates, t.members.Load()
	if m.named(chain[0]) || m.someLeft() && t.isNode(chain) {
		return nil
	}
	return t.stranger(chain[0])
}

// isNode tells whether certificates that are good for a client are those of some node.
func (t *Transport) isNode(chain []*x509.Certificate) bool {
	return len(chain[0].DNSNames) > 0 && verify(chain, t.cfg.TLS.Current().CAs, x509.ExtKeyUsageServerAuth, "", t.cfg.TLS.Now()) == nil
}

// isVisitor tells whether a connection was let in although it is no member's.
func (t *Transport) isVisitor(info credentials.AuthInfo) bool {
	secured, ok := info.(credentials.TLSInfo)
	return ok && !t.members.Load().named(secured.State.PeerCertificates[0])
}

func (t *Transport) stranger(cert *x509.Certificate) error {
	return fmt.Errorf("the certificate names %s, and that is no other member that %s knows", namesOf(cert), t.name(t.cfg.RaftID))
}

// clientTLS is for connecting to a peer, with what is in the files now.
func (p *peer) clientTLS() *tls.Config {
	m, name := p.t.cfg.TLS.Current(), p.name
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    m.CAs, ServerName: name,
		Time: p.t.cfg.TLS.Now,
		// Certificates would leave ours out if the peer asks for one of another CA, and the
		// refusal would say that there is none.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.Certificate, nil },
		VerifyConnection: func(cs tls.ConnectionState) error {
			if cert := cs.PeerCertificates[0]; !namesNode(cert, name) {
				return fmt.Errorf("the certificate names %s, not %q", namesOf(cert), name)
			}
			proven := &proof{cs.PeerCertificates, p.t.cfg.TLS.Now()}
			p.proof.Store(proven) // watchTLS finds it from here on; before, the bundle may have changed
			return proven.check(p.t.cfg.TLS.Current().CAs, x509.ExtKeyUsageServerAuth)
		},
	}
}

// proof is the certificates by which the other end of a connection was believed, and when.
type proof struct {
	chain []*x509.Certificate
	at    time.Time
}

// check says why the CAs would not have it believed any more. It may have ended since.
func (p *proof) check(roots *x509.CertPool, usage x509.ExtKeyUsage) error {
	if p == nil {
		return nil
	}
	return verify(p.chain, roots, usage, "", p.at)
}

// believed refuses a stream on a connection whose other end would not be believed now: it may have
// been let in for a CA that is in the bundle no longer.
func (t *Transport) believed(from uint64, p *proof) error {
	if p == nil {
		return nil
	}
	if err := p.check(t.cfg.TLS.Current().CAs, x509.ExtKeyUsageClientAuth); err != nil {
		return status.Errorf(codes.PermissionDenied, "the certificate of %s, by which it connected, is not believed any more: %v", t.name(from), err)
	}
	return nil
}

// watchTLS ends the connections of those who were believed for a CA that is in the bundle no
// longer: to replace it is the way to shut a node out. All others go on.
func (t *Transport) watchTLS() {
	ticker := time.NewTicker(tlsfiles.CheckInterval)
	defer ticker.Stop()
	last := t.cfg.TLS.Current().CAs
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticker.C:
		}
		// Whether anybody connects or not: the log hears of files that do not fit, and of an end.
		roots := t.cfg.TLS.Current().CAs
		if roots == last || roots.Equal(last) {
			continue
		}
		last = roots
		t.mu.Lock()
		for _, in := range t.incoming {
			if in.proof.check(roots, x509.ExtKeyUsageClientAuth) != nil {
				in.cancel(status.Errorf(codes.PermissionDenied, "the CA of the certificate of %s is not in the bundle of %s any more", t.name(in.from), t.name(t.cfg.RaftID)))
			}
		}
		t.mu.Unlock()
		for _, p := range t.members.Load().peers {
			if p.proof.Load().check(roots, x509.ExtKeyUsageServerAuth) != nil {
				signal(p.again)
			}
		}
	}
}
