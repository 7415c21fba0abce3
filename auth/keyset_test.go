package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// TestForgedTokensFetchSeldom: 1,000 tokens that name keys nobody has, one a second, and as
// many that are badly signed.
func TestForgedTokensFetchSeldom(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	genuine := w.edit(user(), "exp", w.clock.now().Add(24*time.Hour).Unix())
	_, err := a.Token(t.Context(), genuine)
	require.NoError(t, err)
	require.Equal(t, 1, w.Fetches())

	stranger := w.stranger().KeyID(localissuer.RS256)
	unknown, badlySigned := w.headed(w.stranger(), stranger, "kid", "forged"), w.headed(w.stranger(), stranger)
	const forged = 1000
	for range forged {
		w.clock.advance(time.Second)
		_, err := a.Token(t.Context(), unknown)
		require.Equal(t, UnknownKey, reason(t, err))
		_, err = a.Token(t.Context(), badlySigned)
		require.Equal(t, BadSignature, reason(t, err))
		_, err = a.Token(t.Context(), genuine)
		require.NoError(t, err)
	}
	most := 1 + forged/int(DefaultMinRefresh/time.Second)
	assert.LessOrEqual(t, w.Fetches(), most)
	assert.Greater(t, w.Fetches(), most/2, "new keys must be found")
	assert.Equal(t, 1, w.Discoveries(), "the address of the keys is remembered")
}

// TestForgedTokensWhileDown: no more often when the issuer does not answer; and who has a
// genuine token is not held up.
func TestForgedTokensWhileDown(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	_, err := a.Token(t.Context(), w.edit(user()))
	require.NoError(t, err)
	w.SetDown(true)
	forged := w.head("kid", "forged")
	for range 300 {
		w.clock.advance(time.Second)
		_, err := a.Token(t.Context(), forged)
		require.Contains(t, []Reason{UnknownKey, KeysUnavailable}, reason(t, err))
		_, err = a.Token(t.Context(), w.edit(user()))
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, w.Fetches()+w.Discoveries(), 2+2*300/int(DefaultMinRefresh/time.Second))
}

// gate holds requests up until it is opened, or their context ends.
type gate struct {
	next http.RoundTripper
	open chan struct{}
}

func (g gate) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-g.open:
		return g.next.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// TestConcurrentTokensShareOneFetch, and whoever gives up goes.
func TestConcurrentTokensShareOneFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := gate{next: w.wire, open: make(chan struct{})}
		a := w.authenticator(t, func(c *Config) { c.Client = &http.Client{Transport: g} })
		raw := w.edit(user())

		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := a.Token(impatient, raw)
		require.Equal(t, KeysUnavailable, reason(t, err))
		require.ErrorIs(t, err, context.DeadlineExceeded)

		var all sync.WaitGroup
		ids := make([]*Identity, 100)
		for n := range ids {
			all.Go(func() {
				var err error
				ids[n], err = a.Token(t.Context(), raw)
				assert.NoError(t, err)
			})
		}
		synctest.Wait()
		close(g.open)
		all.Wait()
		assert.Equal(t, 1, w.Fetches())
		assert.Equal(t, 1, w.Discoveries())
		for _, id := range ids {
			require.Same(t, ids[0], id, "one token has one identity")
		}
	})
}

// TestAnIssuerThatHangs: the fetch ends by itself, and the next one works.
func TestAnIssuerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := gate{next: w.wire, open: make(chan struct{})}
		a := w.authenticator(t, func(c *Config) { c.Client = &http.Client{Transport: g}; c.Now = time.Now })
		began := time.Now()
		_, err := a.Token(t.Context(), w.edit(user()))
		require.Equal(t, KeysUnavailable, reason(t, err))
		assert.LessOrEqual(t, time.Since(began), fetchTimeout)
		close(g.open)
		time.Sleep(DefaultMinRefresh)
		_, err = a.Token(t.Context(), w.edit(user(), "exp", time.Now().Add(time.Hour).Unix(), "nbf", 0))
		require.NoError(t, err)
	})
}

// running is a world on the bubble's clock, and an authenticator that runs.
func running(t *testing.T) (*localissuer.Provider, *Authenticator, func() string) {
	w := &world{}
	var err error
	w.Provider, err = localissuer.New(base, localissuer.Options{Now: time.Now})
	require.NoError(t, err)
	w.wire = &direct{handler: w.Provider}
	w.clock = newClock()
	a := w.authenticator(t, func(c *Config) { c.Now = nil })
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); all.Wait() })
	long := user()
	long.Lifetime = 72 * time.Hour
	return w.Provider, a, func() string { return must(w.Issue(long)) }
}

func TestAWithdrawnKeyIsRefusedWithinTheRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, issue := running(t)
		synctest.Wait()
		old := issue()
		first, err := a.Token(t.Context(), old)
		require.NoError(t, err)
		before := p.Fetches()

		time.Sleep(DefaultRefresh / 2)
		kid := p.KeyID(localissuer.RS256)
		_, err = p.Rotate(localissuer.RS256)
		require.NoError(t, err)
		p.Withdraw(kid)
		again, err := a.Token(t.Context(), old)
		require.NoError(t, err)
		require.Same(t, first, again)

		time.Sleep(DefaultRefresh / 2)
		synctest.Wait()
		_, err = a.Token(t.Context(), old)
		assert.Equal(t, UnknownKey, reason(t, err), "it was in the cache of verified tokens")
		assert.Zero(t, a.verified.len())
		_, err = a.Token(t.Context(), issue())
		require.NoError(t, err, "the new key came with the same refresh")
		assert.Equal(t, before+3, p.Fetches(), "one for each of three issuers")
	})
}

// TestAKeyThatIsForLessNow: what its issuer says that a key is for holds of tokens in the cache too.
func TestAKeyThatIsForLessNow(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	raw := w.edit(user())
	_, err := a.Token(t.Context(), raw)
	require.NoError(t, err)
	w.wire.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, r)
		_, _ = rw.Write(bytes.ReplaceAll(rec.Body.Bytes(), []byte(`"alg":"RS256"`), []byte(`"alg":"PS256"`)))
	})
	require.NoError(t, a.sets[0].refresh(t.Context()))
	_, err = a.Token(t.Context(), raw)
	assert.Equal(t, Algorithm, reason(t, err))
}

// TestFewWaitForKeys: tokens that name unknown keys, while an issuer does not answer, must not keep
// whoever serves requests busy.
func TestFewWaitForKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		g := gate{next: w.wire, open: make(chan struct{})}
		a := w.authenticator(t)
		known := w.edit(user())
		_, err := a.Token(t.Context(), known)
		require.NoError(t, err)
		w.clock.advance(DefaultMinRefresh)
		for _, set := range a.sets {
			set.client = boundedClient(&http.Client{Transport: g})
		}

		raws := []string{
			w.head("kid", "forged"),
			w.edit(with(user(), func(t *localissuer.Token) { t.Tenant = tenantB })), // whose keys were never fetched
		}
		var all sync.WaitGroup
		var refused atomic.Int64
		const sent = 10 * maxWaiting
		for n := range sent {
			all.Go(func() {
				if _, err := a.Token(t.Context(), raws[n%2]); reason(t, err) == KeysUnavailable {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		assert.Equal(t, int64(sent-maxWaiting), refused.Load(), "the others need not wait")
		_, err = a.Token(t.Context(), known)
		require.NoError(t, err)
		_, err = a.Token(t.Context(), w.edit(user(), "jti", "new"))
		require.NoError(t, err)
		close(g.open)
		all.Wait()
	})
}

func TestARotatedKeyIsFoundAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, issue := running(t)
		synctest.Wait()
		old := issue()
		time.Sleep(DefaultMinRefresh)
		_, err := p.Rotate(localissuer.RS256)
		require.NoError(t, err)
		_, err = a.Token(t.Context(), issue())
		require.NoError(t, err)
		_, err = a.Token(t.Context(), old)
		require.NoError(t, err, "the one before is still published")
	})
}

func TestAnOutageGoesUnnoticedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, a, issue := running(t)
		synctest.Wait()
		cached := issue()
		_, err := a.Token(t.Context(), cached)
		require.NoError(t, err)
		p.SetDown(true)
		time.Sleep(DefaultMaxKeyAge - time.Second)
		_, err = a.Token(t.Context(), cached)
		require.NoError(t, err)
		_, err = a.Token(t.Context(), issue())
		require.NoError(t, err, "and so does one that is seen for the first time")
		asked := p.Discoveries() + p.Fetches()
		assert.Less(t, asked, 3*2*int(DefaultMaxKeyAge/DefaultRefresh)+30, "an issuer that is down is not hammered")

		time.Sleep(2 * time.Second)
		for _, raw := range []string{cached, issue()} {
			_, err = a.Token(t.Context(), raw)
			require.Equal(t, KeysUnavailable, reason(t, err))
			require.Equal(t, http.StatusServiceUnavailable, KeysUnavailable.Status())
		}
		p.SetDown(false)
		time.Sleep(DefaultRefresh)
		_, err = a.Token(t.Context(), cached)
		require.NoError(t, err)
	})
}

func TestStartUpDoesNotNeedTheIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.SetDown(true)
		a := w.authenticator(t, func(c *Config) { c.Now = time.Now })
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { a.Run(ctx) })
		raw := w.edit(user(), "exp", time.Now().Add(time.Hour).Unix(), "nbf", 0)
		_, err := a.Token(t.Context(), raw)
		require.Equal(t, KeysUnavailable, reason(t, err))
		require.ErrorContains(t, err, "503")
		w.SetDown(false)
		time.Sleep(2 * firstRetry)
		_, err = a.Token(t.Context(), raw)
		require.NoError(t, err)
		cancel()
		all.Wait()
	})
}

func TestNoKid(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	first, err := w.Rotate(localissuer.RS256)
	require.NoError(t, err)
	_, err = a.Token(t.Context(), w.headed(w.Provider, first, "kid", drop{}))
	assert.Equal(t, UnknownKey, reason(t, err), "there are two that it can mean")
}

// TestKeysThatAreNotUsed: one that is unfit does not spoil the others.
func TestKeysThatAreNotUsed(t *testing.T) {
	entra := trust{tenant: tenantA, discovery: base + "/" + tenantA + "/v2.0"}
	const ec = `"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"`
	for name, c := range map[string]struct{ jwk, want string }{
		"fits":                          {`{` + ec + `}`, ""},
		"for signatures":                {`{` + ec + `,"use":"sig","alg":"ES256"}`, ""},
		"for this tenant":               {`{` + ec + `,"issuer":"` + base + `/{tenantid}/v2.0"}`, ""},
		"for a template of others":      {`{` + ec + `,"issuer":"https://login.example.com/{tenantid}/v2.0"}`, "another issuer"},
		"for a template of anything":    {`{` + ec + `,"issuer":"{tenantid}"}`, "another issuer"},
		"for just this tenant":          {`{` + ec + `,"issuer":"` + base + `/` + tenantA + `/v2.0"}`, ""},
		"for personal accounts":         {`{` + ec + `,"issuer":"` + base + `/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"}`, "another issuer"},
		"for encryption":                {`{` + ec + `,"use":"enc"}`, "for use"},
		"of another algorithm":          {`{` + ec + `,"alg":"ES384"}`, "for algorithm"},
		"a shared secret":               {`{"kty":"oct","k":"AAAA"}`, "not a public key"},
		"a private key":                 {`{` + ec + `,"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}`, "not a public key"},
		"not on the curve":              {`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, "curve"},
		"an RSA key that can be broken": {`{"kty":"RSA","e":"AQAB","n":"` + strings.Repeat("v", 171) + `"}`, "bits"},
		"a kind of key nobody knows":    {`{"kty":"XYZ"}`, "unsupported"},
		"not an object":                 {`[]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := parseKey([]byte(c.jwk), entra)
			if c.want == "" && name != "not an object" {
				require.NoError(t, err)
				assert.Equal(t, []string{"ES256"}, k.algorithms)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

// TestWhatAnIssuerCanSend: whatever answers in its place, the keys that are known stay.
func TestWhatAnIssuerCanSend(t *testing.T) {
	page := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
				issuer := base + strings.TrimSuffix(r.URL.Path, "/.well-known/openid-configuration")
				_, _ = w.Write(marshal(map[string]string{"issuer": issuer, "jwks_uri": base + "/keys"}))
				return
			}
			if status == http.StatusFound {
				w.Header().Set("Location", body)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	discovery := func(doc map[string]string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(marshal(doc)) }
	}
	own := base + "/" + tenantA + "/v2.0"
	for name, c := range map[string]struct {
		handler http.Handler
		want    string
	}{
		"a page":                      {page(200, "<html>"), "not JSON"},
		"an object":                   {page(200, "{}"), "no list of keys"},
		"an error":                    {page(500, "oops"), "500"},
		"too much":                    {page(200, `{"keys":[`+strings.Repeat(" ", MaxResponseBytes)+`]}`), "more than"},
		"too many keys":               {page(200, `{"keys":[`+strings.Repeat("{},", MaxKeys)+`{}]}`), "at most"},
		"a redirect elsewhere":        {page(302, "http://169.254.169.254/latest"), "another host"},
		"a redirect to another port":  {page(302, "http://127.0.0.1:2/keys"), "another host"},
		"redirects without end":       {page(302, base+"/keys"), "too many redirects"},
		"too much discovery":          {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, MaxResponseBytes+1)) }), "more than"},
		"the document of another":     {discovery(map[string]string{"issuer": base + "/" + tenantB + "/v2.0", "jwks_uri": base + "/keys"}), "did not match"},
		"the document of common":      {discovery(map[string]string{"issuer": base + "/{tenantid}/v2.0", "jwks_uri": base + "/keys"}), "did not match"},
		"a document without keys":     {discovery(map[string]string{"issuer": own}), "no jwks_uri"},
		"keys over plain text":        {discovery(map[string]string{"issuer": own, "jwks_uri": "http://keys.example.com/"}), "not https"},
		"keys at something not a URL": {discovery(map[string]string{"issuer": own, "jwks_uri": "keys"}), "not a URL"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.wire.handler = c.handler
			a := w.authenticator(t)
			_, err := a.Token(t.Context(), w.edit(user()))
			require.Equal(t, KeysUnavailable, reason(t, err))
			require.ErrorContains(t, err, c.want)
			assert.Less(t, len(err.Error()), 600)

			w.wire.mu.Lock()
			w.wire.handler = w.Provider
			w.wire.mu.Unlock()
			w.clock.advance(DefaultMinRefresh)
			_, err = a.Token(t.Context(), w.edit(user()))
			require.NoError(t, err)

			w.wire.mu.Lock()
			w.wire.handler = c.handler
			w.wire.mu.Unlock()
			w.clock.advance(DefaultMinRefresh)
			require.Error(t, a.sets[0].refresh(t.Context()))
			_, err = a.Token(t.Context(), w.edit(user(), "jti", "another"))
			require.NoError(t, err, "the keys are forgotten")
			for _, host := range w.wire.hosts {
				require.Equal(t, strings.TrimPrefix(base, "http://"), host)
			}
		})
	}
}

// TestAnIssuerMayWithdrawAllItsKeys: an empty set is a set.
func TestAnIssuerMayWithdrawAllItsKeys(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	raw := w.edit(user())
	_, err := a.Token(t.Context(), raw)
	require.NoError(t, err)
	w.Withdraw(w.KeyID(localissuer.RS256))
	w.Withdraw(w.KeyID(localissuer.ES256))
	require.NoError(t, a.sets[0].refresh(t.Context()))
	_, err = a.Token(t.Context(), raw)
	assert.Equal(t, UnknownKey, reason(t, err))
}

// TestKeysThatMove are found where they are now.
func TestKeysThatMove(t *testing.T) {
	w := newWorld(t)
	a := w.authenticator(t)
	_, err := a.Token(t.Context(), w.edit(user()))
	require.NoError(t, err)
	moved := false
	w.wire.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
			moved = true
			_, _ = rw.Write(marshal(map[string]string{"issuer": base + "/" + tenantA + "/v2.0", "jwks_uri": base + "/oidc/keys"}))
		case r.URL.Path == "/oidc/keys":
			w.ServeHTTP(rw, r)
		default:
			http.NotFound(rw, r)
		}
	})
	require.Error(t, a.sets[0].refresh(t.Context()))
	require.NoError(t, a.sets[0].refresh(t.Context()))
	assert.True(t, moved)
}

// TestEveryAlgorithm that can be configured works with its keys, and with no others.
func TestEveryAlgorithm(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, minRSABits)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	curve := func(c elliptic.Curve) crypto.Signer { return must(ecdsa.GenerateKey(c, rand.Reader)) }
	private := map[string]crypto.Signer{
		"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": curve(elliptic.P256()), "ES384": curve(elliptic.P384()), "ES512": curve(elliptic.P521()), "EdDSA": edKey,
	}
	w := newWorld(t)
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: private[alg], KeyID: "k"}}, nil)
			require.NoError(t, err)
			jws, err := signer.Sign(marshal(w.Claims(user())))
			require.NoError(t, err)
			raw, err := jws.CompactSerialize()
			require.NoError(t, err)
			for other, signs := range private {
				a := w.authenticator(t, func(c *Config) { c.Issuers[0].Algorithms = algorithms })
				k, err := parseKey(marshal(jose.JSONWebKey{Key: signs.Public(), KeyID: "k"}), a.sets[0].trust)
				require.NoError(t, err)
				a.sets[0].current.Store(&keys{list: []*key{k}, held: map[thumbprint]bool{k.thumbprint: true}, fetched: w.clock.now()})
				_, err = a.Token(t.Context(), raw)
				if reflect.DeepEqual(signs, private[alg]) {
					assert.NoError(t, err)
				} else {
					assert.Equal(t, Algorithm, reason(t, err), other)
				}
			}
		})
	}
}

// TestTheLog: no token is in it, nor a part of one, nor does a day of outage fill a disk.
func TestTheLog(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	a := w.authenticator(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for _, c := range tokenCases {
		raw := c.token(w)
		_, _ = a.Token(t.Context(), raw)
		w.clock.advance(time.Second)
	}
	w.SetDown(true)
	for range 100 {
		_, _ = a.Token(t.Context(), w.head("kid", "forged"))
		w.clock.advance(time.Second)
	}
	assert.NotContains(t, log.String(), "eyJ")
	assert.NotContains(t, log.String(), person)
	assert.Contains(t, log.String(), "issuer=corp tenant="+tenantA)
	assert.Contains(t, log.String(), "an issuer's keys cannot be fetched")
	assert.LessOrEqual(t, strings.Count(log.String(), "cannot be fetched"), 4)
}

// slow answers after a while.
type slow struct {
	next  http.RoundTripper
	after time.Duration
}

func (s slow) RoundTrip(req *http.Request) (*http.Response, error) {
	time.Sleep(s.after)
	return s.next.RoundTrip(req)
}

// TestAgeCountsFromTheQuestion: the answer may have been under way for as long.
func TestAgeCountsFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a := w.authenticator(t, func(c *Config) {
			c.Client = &http.Client{Transport: slow{w.wire, time.Second}}
			c.Now = time.Now
		})
		began := time.Now()
		_, err := a.Token(t.Context(), w.edit(user(), "exp", began.Add(time.Hour).Unix(), "nbf", 0))
		require.NoError(t, err)
		assert.Equal(t, 2*time.Second, time.Since(began))
		assert.Equal(t, began, a.sets[0].current.Load().fetched)
	})
}
