package auth

import (
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// FuzzToken: whatever is sent, the answer is an *Error, and only what was signed is taken.
func FuzzToken(f *testing.F) {
	w := newWorld(f)
	a := w.authenticator(f)
	genuine := map[string]bool{}
	for _, c := range tokenCases {
		raw := c.token(w)
		f.Add(raw)
		if c.want == "" || c.config != nil { // of another configuration, it may be taken here
			genuine[raw] = true
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, err := a.Token(t.Context(), raw)
		if err != nil {
			require.Nil(t, id)
			require.NotEmpty(t, reason(t, err))
			return
		}
		require.True(t, genuine[raw], "a forged token is taken: %s", raw)
		checkIdentity(t, id)
	})
}

// FuzzClaims signs whatever it is given: an issuer may be badly set up.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	a := w.authenticator(f)
	kid := w.KeyID(localissuer.ES256)
	header := marshal(map[string]any{"alg": "ES256", "kid": kid})
	for _, t := range []localissuer.Token{user(), v1(user()), app(), v1(app())} {
		f.Add(marshal(w.Claims(t)))
	}
	f.Add(marshal(w.claims(user(), "groups", groups(3), "hasgroups", true)))
	f.Add(marshal(w.claims(user(), "_claim_names", map[string]string{"groups": "a"}, "exp", 1.5e9)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		id, err := a.Token(t.Context(), must(w.SignRaw(kid, header, payload)))
		if err != nil {
			require.Nil(t, id)
			require.NotEmpty(t, reason(t, err))
			return
		}
		checkIdentity(t, id)
		require.True(t, id.Expires.After(w.clock.now()))
	})
}

// FuzzKey: a key that is taken can verify; none makes a fetch fail.
func FuzzKey(f *testing.F) {
	w := newWorld(f)
	for _, alg := range []string{localissuer.RS256, localissuer.ES256} {
		f.Add(marshal(jose.JSONWebKey{Key: w.PublicKey(w.KeyID(alg)), KeyID: "k", Use: "sig"}))
	}
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","issuer":"x"}`))
	raw := w.edit(user())
	f.Fuzz(func(t *testing.T, jwk []byte) {
		k, err := parseKey(jwk, trust{tenant: tenantA, discovery: base})
		if err != nil {
			return
		}
		require.NotEmpty(t, k.algorithms)
		for _, alg := range k.algorithms {
			require.Contains(t, algorithms, alg)
			_, _ = k.verify(raw, alg) // does not panic
		}
	})
}
