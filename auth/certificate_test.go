package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// certificate is one as a server sees it, signed by itself: who signed is for TLS to check.
func certificate(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := newClock().now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		Subject:     pkix.Name{CommonName: "deploy", OrganizationalUnit: []string{"ci"}, Organization: []string{"Example"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return parsed
}

func uris(texts ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "nobody"}
		for _, text := range texts {
			c.URIs = append(c.URIs, must(url.Parse(text)))
		}
	}
}

// part is one of those of a subject.
type part struct{ name, value string }

// subject is a subject of these parts in this order, the largest first as in certificates.
func subject(parts ...part) func(*x509.Certificate) {
	types := map[string]asn1.ObjectIdentifier{"CN": oidCommonName, "O": {2, 5, 4, 10}, "OU": {2, 5, 4, 11}}
	var all pkix.RDNSequence
	for _, p := range parts {
		all = append(all, []pkix.AttributeTypeAndValue{{Type: types[p.name], Value: p.value}})
	}
	return func(c *x509.Certificate) { c.RawSubject = must(asn1.Marshal(all)) }
}

// rawURI is one that package url would write in another way.
func rawURI(text string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
			Id:    oidAlternativeNames,
			Value: must(asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tagURI, Bytes: []byte(text)}})),
		})
		c.Subject = pkix.Name{CommonName: "nobody"}
	}
}

func TestCertificates(t *testing.T) {
	a, err := New(Config{Now: newClock().now, Certificates: Certificates{
		URIPrefix: "spiffe://example.org/",
		Rules: []CertificateRule{
			{URI: "https://example.org/robot", Name: "robot"},
			{CommonName: "deploy", Name: "deployer"},
			{Subject: "CN=backup,OU=ops,O=Example", Name: "backup"},
		},
	}})
	require.NoError(t, err)
	names := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.Subject = pkix.Name{}
			for _, name := range names {
				c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: oidCommonName, Value: name})
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		want   string
		reason Reason
	}{
		"common name":          {nil, "deployer", ""},
		"common name, another": {names("Deploy"), "", UnknownCertificate},
		"two common names":     {names("other", "deploy"), "", UnknownCertificate},
		"whole subject": {func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: "backup", OrganizationalUnit: []string{"ops"}, Organization: []string{"Example"}}
		}, "backup", ""},
		"whole subject, as openssl orders it":  {subject(part{"O", "Example"}, part{"OU", "ops"}, part{"CN", "backup"}), "backup", ""},
		"a subject in another order":           {subject(part{"CN", "backup"}, part{"OU", "ops"}, part{"O", "Example"}), "", UnknownCertificate},
		"a subject with one name more":         {subject(part{"O", "Example"}, part{"OU", "ops"}, part{"CN", "ann"}, part{"CN", "backup"}), "", UnknownCertificate},
		"part of a subject":                    {func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "backup"} }, "", UnknownCertificate},
		"a subject in a name":                  {names("backup,OU=ops,O=Example"), "", UnknownCertificate},
		"URI of a rule":                        {uris("https://example.org/robot"), "robot", ""},
		"URI that begins so":                   {uris("https://example.org/robot2"), "", UnknownCertificate},
		"URI that is a name":                   {uris("spiffe://example.org/ns/x"), "spiffe://example.org/ns/x", ""},
		"URI that would be written as another": {rawURI("https://example.org/robot#"), "", UnknownCertificate},
		"URI of a scheme in capitals":          {rawURI("HTTPS://example.org/robot"), "", UnknownCertificate},
		"URI that is a name, with a fragment":  {rawURI("spiffe://example.org/ns/x#"), "spiffe://example.org/ns/x#", ""},
		"URI of another host":                  {uris("spiffe://example.org.evil.com/ns/x"), "", UnknownCertificate},
		"URI that is only prefix":              {uris("spiffe://example.org/"), "", UnknownCertificate},
		"two URIs that are names":              {uris("spiffe://example.org/a", "spiffe://example.org/b"), "", BadCertificate},
		"a name that is too long":              {uris("spiffe://example.org/" + strings.Repeat("x", MaxTextBytes)), "", BadCertificate},
		"for servers only":                     {func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }, "", BadCertificate},
		"for any purpose":                      {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "", BadCertificate},
		"for no purpose":                       {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "", BadCertificate},
		"a node's": {func(c *x509.Certificate) {
			c.Subject, c.DNSNames = pkix.Name{CommonName: "node1"}, []string{"node1", "deploy"}
		}, "", UnknownCertificate},
		"an authority":              {func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "", BadCertificate},
		"expired, on an open line":  {func(c *x509.Certificate) { c.NotAfter = newClock().now().Add(-time.Second) }, "", Expired},
		"not yet valid":             {func(c *x509.Certificate) { c.NotBefore = newClock().now().Add(time.Second) }, "", NotYetValid},
		"the last second":           {func(c *x509.Certificate) { c.NotAfter = newClock().now() }, "deployer", ""},
		"its name is nobody's rule": {func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: "robot"} }, "", UnknownCertificate},
	} {
		t.Run(name, func(t *testing.T) {
			cert := certificate(t, c.change)
			id, err := a.Certificate(cert)
			require.Equal(t, c.reason, reason(t, err), "%v", err)
			if c.reason != "" {
				assert.Nil(t, id)
				return
			}
			assert.Equal(t, &Identity{Kind: Certificate, Object: c.want, Name: c.want, Expires: cert.NotAfter}, id)
		})
	}
	_, err = a.Certificate(nil)
	assert.Equal(t, MissingToken, reason(t, err))

	none, err := New(Config{Now: newClock().now})
	require.NoError(t, err)
	_, err = none.Certificate(certificate(t, nil))
	assert.Equal(t, UnknownCertificate, reason(t, err))
	_, err = none.Token(t.Context(), newWorld(t).edit(user()))
	assert.Equal(t, Algorithm, reason(t, err))
}
