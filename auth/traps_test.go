package auth

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// These show what go-oidc does by itself, and beside it what this package does with the same
// token: why we do not leave it to the library. One that fails after an upgrade is good news.

// library is go-oidc as its documentation has one use it, for a user's issuer.
func library(t *testing.T, w *world) (context.Context, *oidc.IDTokenVerifier) {
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: w.wire})
	provider, err := oidc.NewProvider(ctx, w.Issuer(user()))
	require.NoError(t, err)
	return ctx, provider.Verifier(&oidc.Config{ClientID: apiID, Now: w.clock.now})
}

func TestTrapTheCommonEndpoint(t *testing.T) {
	w := newWorld(t)
	ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: w.wire})
	_, err := oidc.NewProvider(ctx, base+"/common/v2.0")
	require.Error(t, err)
	// Believing it all the same pins one issuer, which is none.
	_, err = oidc.NewProvider(oidc.InsecureIssuerURLContext(ctx, base+"/common/v2.0"), base+"/common/v2.0")
	require.NoError(t, err)

	cfg := w.config()
	cfg.Issuers[0].EntraTenants = []string{"common"}
	require.ErrorContains(t, cfg.Validate(), "common")
	a := w.authenticator(t)
	_, err = a.Token(t.Context(), w.edit(user(), "tid", foreign, "iss", base+"/"+foreign+"/v2.0"))
	assert.Equal(t, WrongTenant, reason(t, err))
}

func TestTrapLeeway(t *testing.T) {
	w := newWorld(t)
	ctx, verifier := library(t, w)
	a := w.authenticator(t)

	late := shifted("exp", -time.Second)(w)
	_, err := verifier.Verify(ctx, late)
	require.Error(t, err, "exp has no leeway there")
	_, err = a.Token(t.Context(), late)
	require.NoError(t, err)

	early := shifted("nbf", 4*time.Minute)(w)
	_, err = verifier.Verify(ctx, early)
	require.NoError(t, err, "nbf has five minutes there")
	_, err = a.Token(t.Context(), early)
	assert.Equal(t, NotYetValid, reason(t, err))
}

// TestTrapsOfLenience: tokens that go-oidc takes.
func TestTrapsOfLenience(t *testing.T) {
	w := newWorld(t)
	ctx, verifier := library(t, w)
	a := w.authenticator(t)
	parts := strings.Split(w.edit(user()), ".")
	for name, c := range map[string]struct {
		token string
		want  Reason
	}{
		"overage":                {w.edit(user(), "_claim_names", map[string]string{"groups": "s"}, "_claim_sources", map[string]any{"s": map[string]string{"endpoint": "https://example.com"}}), GroupsOverage},
		"id token":               {w.edit(user(), "azp", drop{}, "scp", drop{}, "nonce", "n"), NotAccessToken},
		"another kind of token":  {w.head("typ", "logout+jwt"), NotAccessToken},
		"tid of another tenant":  {w.edit(user(), "tid", tenantB), WrongIssuer},
		"iss in capitals":        {w.edit(user(), "iss", drop{}, "ISS", w.Issuer(user())), MissingClaim},
		"two members":            {w.payload(double(marshal(w.Claims(user())), "scp", "Config.Write")), Malformed},
		"embedded key":           {w.head("jku", "https://example.com"), Malformed},
		"spaces":                 {" " + w.edit(user()) + "\n", Malformed},
		"JSON serialization":     {string(marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]})), Malformed},
		"scp is a list":          {w.edit(user(), "scp", []string{"Config.Read"}), BadClaim},
		"100 KiB":                {w.edit(user(), "x", strings.Repeat("x", 100<<10)), TooLarge},
		"no kid, by trying keys": {w.head("kid", drop{}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := verifier.Verify(ctx, c.token)
			require.NoError(t, err, "go-oidc has become stricter")
			_, err = a.Token(t.Context(), c.token)
			assert.Equal(t, c.want, reason(t, err))
		})
	}
}

func TestTrapForgedTokensFetch(t *testing.T) {
	w := newWorld(t)
	ctx, verifier := library(t, w)
	const forged = 50
	stranger := w.stranger().KeyID(localissuer.RS256)
	for _, token := range []string{w.head("kid", "forged"), w.headed(w.stranger(), stranger)} {
		// One fetch for each, but that it sometimes takes a fetch that ended for one under way.
		before := w.Fetches()
		for n := 0; n < 100*forged && w.Fetches()-before < forged; n++ {
			_, err := verifier.Verify(ctx, token)
			require.Error(t, err)
		}
		assert.Equal(t, forged, w.Fetches()-before)

		a := w.authenticator(t)
		before = w.Fetches()
		for range forged {
			_, err := a.Token(t.Context(), token)
			require.Error(t, err)
		}
		assert.Equal(t, 1, w.Fetches()-before)
	}
}

func TestTrapAWithdrawnKeyStays(t *testing.T) {
	w := newWorld(t)
	ctx, verifier := library(t, w)
	a := w.authenticator(t)
	token := w.edit(user(), "exp", w.clock.now().Add(48*time.Hour).Unix())
	_, err := verifier.Verify(ctx, token)
	require.NoError(t, err)
	_, err = a.Token(t.Context(), token)
	require.NoError(t, err)

	w.Withdraw(w.KeyID(localissuer.RS256))
	w.clock.advance(25 * time.Hour)
	_, err = verifier.Verify(ctx, token)
	require.NoError(t, err, "a day later, still")
	_, err = a.Token(t.Context(), token)
	assert.Equal(t, UnknownKey, reason(t, err), "at the latest when the keys are too old, even if nobody runs the timer")
}

// TestTrapGoogle: go-oidc takes one issuer without its scheme.
func TestTrapGoogle(t *testing.T) {
	const google = "https://accounts.google.com"
	w := newWorld(t)
	token := w.edit(user(), "iss", "accounts.google.com")
	keys := &oidc.StaticKeySet{}
	keys.PublicKeys = append(keys.PublicKeys, w.PublicKey(w.KeyID(localissuer.RS256)))
	_, err := oidc.NewVerifier(google, keys, &oidc.Config{ClientID: apiID, Now: w.clock.now}).Verify(t.Context(), token)
	require.NoError(t, err)

	a := w.authenticator(t, func(c *Config) {
		c.Issuers = append(c.Issuers, Issuer{Name: "google", URL: google, Audiences: []string{apiID}})
	})
	_, err = a.Token(t.Context(), token)
	assert.Equal(t, UnknownIssuer, reason(t, err))
}

// TestAKeySetServesNobodyElse: its answer depends on what verify told it.
func TestAKeySetServesNobodyElse(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	_, err := a.sets[0].VerifySignature(t.Context(), w.edit(user()))
	require.Error(t, err)
}
