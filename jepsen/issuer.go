package jepsen

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/confman/confman/client"
)

// issuer is an OpenID provider that gives a token to whoever is named: it is for nodes under test only.
type issuer struct {
	port    int
	private *ecdsa.PrivateKey
}

const (
	issuerName   = "local"   // what subjects call it
	issuerScope  = "all"     // the one scope
	issuerPeople = "confman" // what it calls the cluster
	issuerKey    = "1"
	// tokenTime is how long tokens are good for, before and after now: no fault of clocks ends one.
	tokenTime = 12 * time.Hour
)

func newIssuer() (*issuer, error) {
	ports, err := freePorts(portsEach*MaxLocalMachines + 1) // the first ones are the nodes', of a ground that is made later
	if err != nil {
		return nil, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &issuer{port: ports[len(ports)-1], private: private}, err
}

// address is where it listens, on each node's own loopback.
func (i *issuer) address() string { return fmt.Sprintf("127.0.0.1:%d", i.port) }

func (i *issuer) url() string { return "http://" + i.address() + "/oidc" }

// subject is what somebody is called in bindings.
func subject(user string) string { return "user:" + issuerName + "/" + user }

// ServeHTTP answers what nodes ask: where the keys are, and which.
func (i *issuer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var doc any
	switch req.URL.Path {
	case "/oidc/.well-known/openid-configuration":
		doc = map[string]any{
			"issuer": i.url(), "jwks_uri": i.url() + "/keys", "authorization_endpoint": i.url() + "/authorize",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		}
	case "/oidc/keys":
		public, err := i.private.PublicKey.Bytes() // 4, x, y
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		half := (len(public) - 1) / 2
		doc = map[string]any{"keys": []any{map[string]any{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": issuerKey, "x": text64(public[1 : 1+half]), "y": text64(public[1+half:]),
		}}}
	default:
		http.NotFound(w, req)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc) // whoever does not get it asks again
}

func text64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// token is one of a user (RFC 7519, signed as RFC 7518, section 3.4, has it).
func (i *issuer) token(user string) (client.TokenSource, error) {
	now := time.Now()
	claims := map[string]any{
		"iss": i.url(), "aud": issuerPeople, "sub": user, "oid": user, "azp": "jepsen", "scp": issuerScope,
		"iat": now.Add(-tokenTime).Unix(), "nbf": now.Add(-tokenTime).Unix(), "exp": now.Add(tokenTime).Unix(),
	}
	var parts [2]string
	for n, part := range []any{map[string]any{"alg": "ES256", "typ": "JWT", "kid": issuerKey}, claims} {
		text, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		parts[n] = text64(text)
	}
	signed := parts[0] + "." + parts[1]
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, i.private, sum[:])
	if err != nil {
		return nil, err
	}
	const half = 32
	var signature [2 * half]byte
	r.FillBytes(signature[:half])
	s.FillBytes(signature[half:])
	return client.StaticToken(signed + "." + text64(signature[:])), nil
}

// section is section Auth of the nodes' configuration, with an administrator.
func (i *issuer) section(admin string, policyStaleness time.Duration) map[string]any {
	return map[string]any{
		"Mode": "oidc", "AnyoneMayReadAndWrite": false, "Bootstrap": subject(admin), "MaxPolicyStaleness": policyStaleness.String(),
		"Issuers": []any{map[string]any{
			"Name": issuerName, "Url": i.url(), "Audiences": []string{issuerPeople},
			"Scopes": map[string]any{issuerScope: []string{"read", "write", "rollback", "delete-tree", "retention", "bind", "cluster", "audit"}},
		}},
	}
}
