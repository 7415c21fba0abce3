package tlsfiles

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"time"
)

// CA issues certificates. Its keys, and theirs, are ECDSA on P-256: unlike Ed25519, all clients
// and browsers take it.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Validity is from when until when a certificate is good.
type Validity struct{ NotBefore, NotAfter time.Time }

// Pair is a certificate and its key, in PEM.
type Pair struct {
	Cert, Key []byte
	Leaf      *x509.Certificate
}

// NewCA makes a CA that signs itself, and may sign certificates, but no further CAs.
func NewCA(name string, v Validity) (*CA, Pair, error) {
	if err := checkName(name, caName); err != nil {
		return nil, Pair{}, err
	}
	ca := &CA{}
	p, err := ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, v)
	if err != nil {
		return nil, Pair{}, err
	}
	return ca, p, nil
}

// ReadCA takes a CA from its two files.
func ReadCA(certFile, keyFile string) (*CA, error) {
	cert, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	key, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("%s is no CA: it may not sign certificates", certFile)
	}
	return &CA{pair.Leaf, signer}, nil
}

// Certificate is the CA's own.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// Node issues the certificate of a node: its id is the name that the other nodes look for;
// addresses are host names and IP addresses, by which clients find its API. It is for both
// ends of a connection, since each node is both.
func (ca *CA) Node(id string, addresses []string, v Validity) (Pair, error) {
	if err := checkName(id, dnsName); err != nil {
		return Pair{}, err
	}
	if len(addresses) >= maxNames {
		return Pair{}, fmt.Errorf("%d addresses, fewer than %d fit a certificate", len(addresses), maxNames)
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: id}, DNSNames: []string{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	// A TLS client takes an id that is an IP address for one.
	if ip := net.ParseIP(id); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	for _, a := range addresses {
		switch ip := net.ParseIP(a); {
		case ip != nil:
			t.IPAddresses = append(t.IPAddresses, ip)
		case dnsName.MatchString(a):
			if a != id {
				t.DNSNames = append(t.DNSNames, a)
			}
		default:
			return Pair{}, fmt.Errorf("%q is neither a host name nor an IP address (a port is not part of it)", a)
		}
	}
	return ca.Issue(t, v)
}

// Client issues the certificate of a client of the API, which goes by its common name, and by
// URIs if there are any. It is not for a server.
func (ca *CA) Client(name string, uris []*url.URL, v Validity) (Pair, error) {
	if err := checkName(name, clientName); err != nil {
		return Pair{}, err
	}
	if len(uris) > maxNames {
		return Pair{}, fmt.Errorf("%d URIs, at most %d fit a certificate", len(uris), maxNames)
	}
	for _, u := range uris {
		if !u.IsAbs() || u.Host == "" {
			return Pair{}, fmt.Errorf("%q is no URI with a scheme and a host, such as spiffe://example.com/ci", u)
		}
	}
	return ca.Issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, URIs: uris,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, v)
}

// Issue signs template with a key of its own. It is what Node and Client are made of; a CA
// that has no certificate yet signs itself.
func (ca *CA) Issue(template *x509.Certificate, v Validity) (Pair, error) {
	v.NotBefore, v.NotAfter = v.NotBefore.UTC().Truncate(time.Second), v.NotAfter.UTC().Truncate(time.Second)
	if !v.NotBefore.Before(v.NotAfter) {
		return Pair{}, fmt.Errorf("a certificate from %s to %s is never valid", v.NotBefore.Format(time.DateTime), v.NotAfter.Format(time.DateTime))
	}
	if ca.cert != nil && v.NotAfter.After(ca.cert.NotAfter) {
		return Pair{}, fmt.Errorf("a certificate until %s would outlive its CA, which ends on %s: make it valid for a shorter time, or a new CA",
			v.NotAfter.Format(time.DateOnly), ca.cert.NotAfter.Format(time.DateOnly))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	template.NotBefore, template.NotAfter, template.BasicConstraintsValid = v.NotBefore, v.NotAfter, true
	parent, signer := ca.cert, ca.key
	if parent == nil {
		parent, signer = template, key
	}
	// The serial number is x509's: random, as RFC 5280 wants it.
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return Pair{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, err
	}
	if ca.cert == nil {
		ca.cert, ca.key = leaf, key
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}),
		Leaf: leaf,
	}, nil
}

var (
	// dnsName is what a node's id must be to be a name in its certificate; package config demands it.
	dnsName    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*$`)
	clientName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]*$`)
	caName     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@ -]*$`)

	errName = errors.New("is not a name for a certificate: letters, digits, '_', '-' and '.', the first a letter or a digit")
)

func checkName(name string, want *regexp.Regexp) error {
	if len(name) > maxNameBytes || !want.MatchString(name) {
		return fmt.Errorf("%q %w, at most %d", name, errName, maxNameBytes)
	}
	return nil
}
