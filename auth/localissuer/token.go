package localissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Token says what a token is to say. Of most fields the zero value leaves the claim out.
type Token struct {
	// Tenant makes it a token of that tenant, of Version 1 or, by default, 2; without one it
	// is the plain issuer's.
	Tenant  string
	Version int

	Audience string
	Object   string // oid
	// Subject is sub; default: Object of an application's token, else a text that only this App sees.
	Subject string
	App     string // appid or azp
	// AppOnly makes it an application's own (idtyp "app"), else it is a user's.
	AppOnly bool
	Scope   string // scp
	Roles   []string
	Groups  []string
	Name    string // preferred_username or upn
	// Lifetime is how long it is good for; default an hour.
	Lifetime time.Duration
}

// DefaultLifetime is that of a Token unless it says otherwise; Entra's live for 60 to 90 minutes.
const DefaultLifetime = time.Hour

// Issuer is the issuer of t.
func (p *Provider) Issuer(t Token) string {
	switch {
	case t.Tenant == "":
		return p.URL()
	case t.Version == 1:
		return p.EntraV1URL() + "/" + t.Tenant + "/"
	default:
		return p.base + "/" + t.Tenant + "/v2.0"
	}
}

// Claims are those of t, as Entra ID has them; the caller may change them before Sign.
func (p *Provider) Claims(t Token) map[string]any {
	now := p.now()
	lifetime := t.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	claims := map[string]any{
		"iss": p.Issuer(t), "aud": t.Audience,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	set := func(name, value string) {
		if value != "" {
			claims[name] = value
		}
	}
	set("tid", t.Tenant)
	set("oid", t.Object)
	subject := t.Subject
	if subject == "" && t.AppOnly {
		subject = t.Object
	}
	if subject == "" {
		sum := sha256.Sum256([]byte(t.App + " " + t.Object))
		subject = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	set("sub", subject)
	app, acr, name, version := "azp", "azpacr", "preferred_username", "2.0"
	if t.Version == 1 {
		app, acr, name, version = "appid", "appidacr", "upn", "1.0"
	}
	set(app, t.App)
	set(name, t.Name)
	if t.Tenant != "" {
		set("ver", version)
	}
	set("scp", t.Scope)
	if t.AppOnly {
		set("idtyp", "app")
		set(acr, "1")
	}
	if t.Roles != nil {
		claims["roles"] = t.Roles
	}
	if t.Groups != nil {
		claims["groups"] = t.Groups
	}
	return claims
}

// Issue is t, signed with the newest key for RS256.
func (p *Provider) Issue(t Token) (string, error) { return p.Sign(p.Claims(t)) }

// Sign makes a token of any claims, signed with the newest key for RS256.
func (p *Provider) Sign(claims any) (string, error) {
	kid := p.KeyID(RS256)
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(map[string]any{"alg": RS256, "typ": "JWT", "kid": kid})
	if err != nil {
		return "", err
	}
	return p.SignRaw(kid, header, payload)
}

// SignRaw signs a header and a payload of any bytes with the key kid, withdrawn or not, by that
// key's algorithm whatever the header says.
func (p *Provider) SignRaw(kid string, header, payload []byte) (string, error) {
	k, err := p.key(kid)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	switch private := k.private.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, private, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, private, sum[:])
		if err = signErr; err == nil {
			const half = 32 // RFC 7518, section 3.4
			signature = make([]byte, 2*half)
			r.FillBytes(signature[:half])
			s.FillBytes(signature[half:])
		}
	default:
		err = fmt.Errorf("localissuer: cannot sign with %T", private)
	}
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// client may have tokens at the token endpoint.
type client struct {
	secret string
	token  Token
}

// AddClient lets whoever knows secret have t, by the client credentials grant, at
// <base>/oidc/token or, of its tenant, <base>/<tenant>/oauth2/v2.0/token.
func (p *Provider) AddClient(id, secret string, t Token) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[id] = client{secret: secret, token: t}
}

const maxFormBytes = 16 << 10

// serveToken is RFC 6749, section 4.4.
func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code}) // the other side went away
	}
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, "invalid_request")
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		refuse(http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	p.mu.Lock()
	c, ok := p.clients[r.PostForm.Get("client_id")]
	p.mu.Unlock()
	right := subtle.ConstantTimeCompare([]byte(c.secret), []byte(r.PostForm.Get("client_secret"))) == 1
	if !ok || !right || c.token.Tenant != r.PathValue("tenant") {
		refuse(http.StatusUnauthorized, "invalid_client")
		return
	}
	token, err := p.Issue(c.token)
	if err != nil {
		refuse(http.StatusInternalServerError, "server_error")
		return
	}
	lifetime := c.token.Lifetime
	if lifetime == 0 {
		lifetime = DefaultLifetime
	}
	p.answer(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(lifetime.Seconds())})
}
