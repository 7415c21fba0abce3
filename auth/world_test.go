package auth

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

const (
	tenantA = "11111111-aaaa-4aaa-8aaa-aaaaaaaaaaaa"
	tenantB = "22222222-bbbb-4bbb-8bbb-bbbbbbbbbbbb"
	foreign = "33333333-cccc-4ccc-8ccc-cccccccccccc"

	apiID  = "44444444-dddd-4ddd-8ddd-dddddddddddd" // aud of v2
	apiURI = "api://confman"                        // aud of v1
	person = "55555555-eeee-4eee-8eee-eeeeeeeeeeee"
	robot  = "66666666-ffff-4fff-8fff-ffffffffffff"
	appID  = "77777777-abab-4bab-8bab-abababababab"
	groupA = "88888888-cdcd-4dcd-8dcd-cdcdcdcdcdcd"
	groupB = "99999999-efef-4fef-8fef-efefefefefef"
)

// base is where the providers of tests are; nobody listens there: see direct.
const base = "http://127.0.0.1:1"

// direct takes requests to a handler without sockets.
type direct struct {
	mu      sync.Mutex
	handler http.Handler
	hosts   []string
}

func (d *direct) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.hosts = append(d.hosts, req.URL.Host)
	handler := d.handler
	d.mu.Unlock()
	rec := httptest.NewRecorder()
	handler.ServeHTTP(rec, req)
	resp := rec.Result()
	resp.Request = req
	return resp, nil
}

// clock is a clock that stands still until it is told to go.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// world is an issuer, and a stranger with the same address and other keys.
type world struct {
	*localissuer.Provider
	clock    *clock
	stranger func() *localissuer.Provider // made when it is needed
	wire     *direct
}

func newWorld(t testing.TB) *world {
	w := &world{clock: newClock()}
	var err error
	w.Provider, err = localissuer.New(base, localissuer.Options{Now: w.clock.now})
	require.NoError(t, err)
	w.stranger = sync.OnceValue(func() *localissuer.Provider {
		return must(localissuer.New(base, localissuer.Options{Now: w.clock.now}))
	})
	w.wire = &direct{handler: w.Provider}
	return w
}

// config trusts two tenants of w, and its plain issuer as one of RFC 9068.
func (w *world) config() Config {
	return Config{
		Issuers: []Issuer{
			{
				Name: "corp", EntraTenants: []string{tenantA, tenantB},
				EntraURL: w.Base(), EntraV1URL: w.EntraV1URL(),
				Audiences: []string{apiID, apiURI},
				Scopes:    map[string][]string{"Config.Read": {"read"}, "Config.Write": {"read", "write"}},
			},
			{
				Name: "plain", URL: w.URL(), Audiences: []string{"confman"},
				Claims:       Claims{Object: "sub", App: "client_id", Scopes: "scope"},
				Scopes:       map[string][]string{"config": {"read"}},
				RequireAtJWT: true,
			},
		},
		Now:    w.clock.now,
		Client: &http.Client{Transport: w.wire},
	}
}

func (w *world) authenticator(t testing.TB, changes ...func(*Config)) *Authenticator {
	cfg := w.config()
	for _, change := range changes {
		change(&cfg)
	}
	a, err := New(cfg)
	require.NoError(t, err)
	return a
}

// user and app are the tokens that the cases begin with.
func user() localissuer.Token {
	return localissuer.Token{
		Tenant: tenantA, Audience: apiID, Object: person, App: appID, Scope: "Config.Read",
		Roles: []string{"Reader"}, Name: "ann@example.com",
	}
}

func app() localissuer.Token {
	return localissuer.Token{Tenant: tenantA, Audience: apiID, Object: robot, App: appID, AppOnly: true, Roles: []string{"Deployer"}}
}

func v1(t localissuer.Token) localissuer.Token {
	t.Version, t.Audience = 1, apiURI
	return t
}

// drop is what edit takes for a claim to be left out.
type drop struct{}

// edit is a token with claims changed: name, value, name, value.
func (w *world) edit(t localissuer.Token, pairs ...any) string {
	return must(w.Sign(w.claims(t, pairs...)))
}

func (w *world) claims(t localissuer.Token, pairs ...any) map[string]any {
	claims := w.Claims(t)
	for i := 0; i < len(pairs); i += 2 {
		name, value := pairs[i].(string), pairs[i+1]
		if value == (drop{}) {
			delete(claims, name)
			continue
		}
		claims[name] = value
	}
	return claims
}

// head is a genuine user's token with another header: name, value, name, value.
func (w *world) head(pairs ...any) string {
	return w.headed(w.Provider, w.KeyID(localissuer.RS256), pairs...)
}

func (w *world) headed(by *localissuer.Provider, kid string, pairs ...any) string {
	header := map[string]any{"alg": "RS256", "typ": "JWT", "kid": w.KeyID(localissuer.RS256)}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == (drop{}) {
			delete(header, pairs[i].(string))
			continue
		}
		header[pairs[i].(string)] = pairs[i+1]
	}
	return must(by.SignRaw(kid, marshal(header), marshal(w.Claims(user()))))
}

// payload is a genuine token of a payload of any bytes.
func (w *world) payload(payload []byte) string {
	kid := w.KeyID(localissuer.RS256)
	return must(w.SignRaw(kid, marshal(map[string]any{"alg": "RS256", "kid": kid}), payload))
}

// at9068 is a token of the plain issuer.
func (w *world) at9068(typ string, pairs ...any) string {
	claims := map[string]any{
		"iss": w.URL(), "aud": "confman", "sub": "u1", "client_id": "cli", "scope": "config openid",
		"iat": w.clock.now().Unix(), "exp": w.clock.now().Add(time.Hour).Unix(),
	}
	for i := 0; i < len(pairs); i += 2 {
		claims[pairs[i].(string)] = pairs[i+1]
	}
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == (drop{}) })
	kid := w.KeyID(localissuer.ES256)
	return must(w.SignRaw(kid, marshal(map[string]any{"alg": "ES256", "typ": typ, "kid": kid}), marshal(claims)))
}

// double puts a second member into a JSON object.
func double(object []byte, name string, value any) []byte {
	more := append([]byte{','}, bytes.TrimPrefix(marshal(map[string]any{name: value}), []byte("{"))...)
	return append(bytes.TrimSuffix(object, []byte("}")), more...)
}

func marshal(v any) []byte { return must(json.Marshal(v)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// reason is err's; empty for none. It is nothing else than an *Error, ever.
func reason(t testing.TB, err error) Reason {
	if err == nil {
		return ""
	}
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, Reasons(), e.Reason)
	require.NotEmpty(t, e.Detail)
	return e.Reason
}
