package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Certificates says which client certificates stand for whom. Empty: none is taken.
type Certificates struct {
	// Rules are tried in their order; the first that fits gives the name.
	Rules []CertificateRule
	// URIPrefix, unless empty, makes a URI in the certificate that begins so the name itself,
	// if no rule fits. It ends at a slash, such as "spiffe://example.org/": a prefix of a host
	// name is anybody's.
	URIPrefix string
}

// CertificateRule fits a certificate by exactly one of its first three fields.
type CertificateRule struct {
	URI        string // one of the subject's alternative names
	CommonName string // the only one of the subject
	Subject    string // all of it, as in RFC 2253: "CN=deploy,OU=ci,O=Example"
	// Name is what the holder is called: "cert:<name>".
	Name string
}

func (c Certificates) faults() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if n := len(c.Rules); n > MaxListed {
		bad("Rules: %d, at most %d", n, MaxListed)
	}
	seen := map[CertificateRule]int{}
	for n, rule := range c.Rules {
		given := 0
		for _, by := range []string{rule.URI, rule.CommonName, rule.Subject} {
			if by != "" {
				given++
			}
		}
		if given != 1 {
			bad("Rules[%d]: exactly one of Uri, CommonName and Subject is needed", n)
		}
		if err := checkText(rule.Name); err != nil {
			bad("Rules[%d].Name: %w", n, err)
		}
		if c.URIPrefix != "" && strings.HasPrefix(rule.Name, c.URIPrefix) {
			bad("Rules[%d].Name: %q begins with UriPrefix: a certificate with that URI would have the same name", n, rule.Name)
		}
		by := rule
		by.Name = ""
		if first, ok := seen[by]; ok && given == 1 {
			bad("Rules[%d]: fits what Rules[%d] fits already", n, first)
		} else {
			seen[by] = n
		}
	}
	if c.URIPrefix != "" {
		u, err := url.Parse(c.URIPrefix)
		if err != nil || u.Scheme == "" || u.Host == "" || !strings.HasSuffix(c.URIPrefix, "/") || checkText(c.URIPrefix) != nil {
			bad("UriPrefix: %q is not a URI with a host that ends in a slash, such as spiffe://example.org/", c.URIPrefix)
		}
	}
	return errs
}

// certificates is Certificates, ready to be asked.
type certificates struct {
	rules         []CertificateRule
	prefix        string
	needsSubjects bool
}

func newCertificates(c Certificates) certificates {
	return certificates{
		rules:         slices.Clone(c.Rules),
		prefix:        c.URIPrefix,
		needsSubjects: slices.ContainsFunc(c.Rules, func(r CertificateRule) bool { return r.Subject != "" }),
	}
}

// Certificate says who holds the key of a client certificate.
//
// The caller vouches that TLS has verified it, against the authorities for clients, in this
// connection: it must be the first of a chain of tls.ConnectionState.VerifiedChains. What is
// checked here is what may have changed since, and that the certificate is meant for
// clients. The error is an *Error.
func (a *Authenticator) Certificate(verified *x509.Certificate) (*Identity, error) {
	switch now := a.now(); {
	case verified == nil:
		return nil, refuse(MissingToken, "there is neither a token nor a client certificate")
	case !slices.Contains(verified.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return nil, refuse(BadCertificate, "the certificate is not one for clients (extended key usage clientAuth)")
	case verified.IsCA:
		return nil, refuse(BadCertificate, "the certificate is an authority's")
	case now.After(verified.NotAfter):
		return nil, refuse(Expired, "the certificate has expired: renew it and connect again")
	case now.Before(verified.NotBefore):
		return nil, refuse(NotYetValid, "the certificate is not valid yet: compare the clocks")
	}
	name, err := a.certs.name(verified)
	if err != nil {
		return nil, &Error{Reason: BadCertificate, Detail: "the certificate cannot be told from another: " + err.Error()}
	}
	if name == "" {
		return nil, refuse(UnknownCertificate, "the certificate stands for nobody here: a rule for it is missing in the configuration")
	}
	return &Identity{Kind: Certificate, Object: name, Name: name, Expires: verified.NotAfter}, nil
}

// name is what the rules call the certificate's holder; empty: nothing.
func (c certificates) name(cert *x509.Certificate) (string, error) {
	uris, err := urisOf(cert)
	if err != nil {
		return "", err
	}
	subject := ""
	if c.needsSubjects {
		if subject, err = subjectOf(cert); err != nil {
			return "", err
		}
	}
	commonName := onlyCommonName(cert)
	for _, rule := range c.rules {
		switch {
		case rule.URI != "" && slices.Contains(uris, rule.URI),
			rule.CommonName != "" && rule.CommonName == commonName,
			rule.Subject != "" && rule.Subject == subject:
			return rule.Name, nil
		}
	}
	if c.prefix == "" {
		return "", nil
	}
	own := keep(uris, func(uri string) bool { return strings.HasPrefix(uri, c.prefix) && len(uri) > len(c.prefix) })
	switch {
	case len(own) == 0:
		return "", nil
	case len(own) > 1:
		return "", errors.New("it has more than one URI that is a name")
	}
	if err := checkText(own[0]); err != nil {
		return "", fmt.Errorf("its URI %w", err)
	}
	return own[0], nil
}

var (
	oidCommonName       = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidAlternativeNames = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// tagURI is that of a uniformResourceIdentifier (RFC 5280, section 4.2.1.6).
const tagURI = 6

// urisOf are the subject's alternative names that are URIs, as they are there: two that package
// url writes in one way, such as with an empty fragment and without, are two names.
func urisOf(cert *x509.Certificate) ([]string, error) {
	var uris []string
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(oidAlternativeNames) {
			continue
		}
		var names []asn1.RawValue
		if _, err := asn1.Unmarshal(extension.Value, &names); err != nil {
			return nil, errors.New("its alternative names cannot be read")
		}
		for _, name := range names {
			if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI {
				uris = append(uris, string(name.Bytes))
			}
		}
	}
	return uris, nil
}

// subjectOf is the whole subject. That of pkix.Name is not: it has an order of its own, and of
// several common names only the last.
func subjectOf(cert *x509.Certificate) (string, error) {
	var whole pkix.RDNSequence
	if rest, err := asn1.Unmarshal(cert.RawSubject, &whole); err != nil || len(rest) > 0 {
		return "", errors.New("its subject cannot be read")
	}
	return whole.String(), nil
}

// onlyCommonName is the subject's common name; of several, crypto/x509 shows the last.
func onlyCommonName(cert *x509.Certificate) string {
	found := 0
	for _, part := range cert.Subject.Names {
		if part.Type.Equal(oidCommonName) {
			found++
		}
	}
	if found != 1 {
		return ""
	}
	return cert.Subject.CommonName
}
