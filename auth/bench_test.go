package auth

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// BenchmarkToken is a token of some 1,300 bytes with 10 groups: remembered, seen for the first
// time, and forged.
func BenchmarkToken(b *testing.B) {
	w := newWorld(b)
	a := w.authenticator(b)
	t := with(user(), func(t *localissuer.Token) { t.Groups = groups(10) })
	raw := must(w.Issue(t))
	_, err := a.Token(b.Context(), raw)
	require.NoError(b, err)

	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = a.Token(b.Context(), raw)
		}
	})
	b.Run("remembered-parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				_, _ = a.Token(b.Context(), raw)
			}
		})
	})
	kid := w.KeyID(localissuer.ES256)
	es256 := must(w.SignRaw(kid, marshal(map[string]any{"alg": "ES256", "kid": kid}), marshal(w.Claims(t))))
	stranger := w.stranger().KeyID(localissuer.RS256)
	for _, c := range []struct{ name, raw string }{
		{"first-RS256", raw},
		{"first-ES256", es256},
		{"forged-key-unknown", w.headed(w.stranger(), stranger, "kid", "forged")},
		{"forged-badly-signed", w.headed(w.stranger(), stranger)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = a.verify(b.Context(), c.raw)
			}
		})
	}
}

func BenchmarkCertificate(b *testing.B) {
	a, err := New(Config{Now: newClock().now, Certificates: Certificates{URIPrefix: "spiffe://example.org/"}})
	require.NoError(b, err)
	cert := certificate(b, uris("spiffe://example.org/ns/x"))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = a.Certificate(cert)
	}
}
