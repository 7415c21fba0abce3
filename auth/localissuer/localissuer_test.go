package localissuer

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const tenant = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa"

func start(t *testing.T) *Provider {
	p, err := Start("127.0.0.1:0", Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// TestAClientGetsAToken that a relying party takes, over real HTTP.
func TestAClientGetsAToken(t *testing.T) {
	p := start(t)
	p.AddClient("ci", "s3cret", Token{Tenant: tenant, Audience: "confman", Object: "o", App: "ci", AppOnly: true, Roles: []string{"r"}})
	ask := func(at, secret string) (int, map[string]any) {
		form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"ci"}, "client_secret": {secret}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at, strings.NewReader(form.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = resp.Body.Close() }()
		var answer map[string]any
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
		return resp.StatusCode, answer
	}
	provider, err := oidc.NewProvider(t.Context(), p.Issuer(Token{Tenant: tenant}))
	require.NoError(t, err)
	status, answer := ask(provider.Endpoint().TokenURL, "s3cret")
	require.Equal(t, http.StatusOK, status)
	_, err = provider.Verifier(&oidc.Config{ClientID: "confman"}).Verify(t.Context(), answer["access_token"].(string))
	require.NoError(t, err)

	status, answer = ask(provider.Endpoint().TokenURL, "wrong")
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Equal(t, map[string]any{"error": "invalid_client"}, answer)
	status, _ = ask(p.URL()+"/token", "s3cret")
	assert.Equal(t, http.StatusUnauthorized, status, "of another tenant")
}

func TestOnlyLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		_, err := Start(address, Options{})
		require.Error(t, err, address)
	}
}

func TestKeysComeAndGo(t *testing.T) {
	p := start(t)
	ctx := context.Background()
	verify := func(token string) error {
		provider, err := oidc.NewProvider(ctx, p.URL())
		if err != nil {
			return err
		}
		_, err = provider.Verifier(&oidc.Config{ClientID: "confman"}).Verify(ctx, token)
		return err
	}
	first := p.KeyID(RS256)
	old, err := p.Issue(Token{Audience: "confman", Object: "o", App: "a"})
	require.NoError(t, err)
	require.NoError(t, verify(old))
	second, err := p.Rotate(RS256)
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
	assert.Equal(t, second, p.KeyID(RS256))
	require.NoError(t, verify(old))
	p.Withdraw(first)
	require.Error(t, verify(old))
	assert.Equal(t, 3, p.Fetches())
	assert.Equal(t, 3, p.Discoveries())
	p.SetDown(true)
	require.ErrorContains(t, verify(old), "503")
	p.SetDown(false)

	_, err = p.Rotate("HS256")
	require.Error(t, err)
	_, err = p.SignRaw("nobody", nil, nil)
	require.Error(t, err)
	assert.Nil(t, p.PublicKey("nobody"))
	assert.Empty(t, p.KeyID("HS256"))
}

func TestTwoProvidersShareNoKeyID(t *testing.T) {
	a, err := New("http://127.0.0.1:1", Options{Now: time.Now})
	require.NoError(t, err)
	b, err := New("http://127.0.0.1:1", Options{})
	require.NoError(t, err)
	assert.NotEqual(t, a.KeyID(RS256), b.KeyID(RS256))
	require.Error(t, a.Close(), "it was not started")
}
