package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// key is one public key of an issuer.
type key struct {
	id         string // kid; may be empty
	algorithms []string
	public     crypto.PublicKey
	thumbprint thumbprint
}

// thumbprint is a key's SHA-256 by RFC 7638, its id, and the only algorithm that it is for, if its
// issuer says so: a key under a new id, or for another algorithm, is another.
type thumbprint struct {
	sum     [32]byte
	id, alg string
}

// parseKey takes a JWK that tokens of t may be signed with.
func parseKey(raw []byte, t trust) (*key, error) {
	var jwk jose.JSONWebKey
	if err := json.Unmarshal(raw, &jwk); err != nil {
		return nil, err
	}
	// Entra ID says of some keys whose tokens they sign: those of other clouds and of personal
	// accounts are in the same set.
	var extra struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &extra); err != nil {
		return nil, err
	}
	if extra.Issuer != "" && !isFor(extra.Issuer, t.discovery) {
		return nil, errors.New("is for another issuer")
	}
	if jwk.Use != "" && jwk.Use != "sig" {
		return nil, fmt.Errorf("is for use %q", short(jwk.Use))
	}
	if !jwk.Valid() || !jwk.IsPublic() {
		return nil, errors.New("is not a public key")
	}
	fits, err := fitting(jwk.Key)
	if err != nil {
		return nil, err
	}
	if jwk.Algorithm != "" {
		only := jwk.Algorithm
		fits = keep(fits, func(alg string) bool { return alg == only })
		if len(fits) == 0 {
			return nil, fmt.Errorf("is for algorithm %q", short(only))
		}
	}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	k := &key{id: jwk.KeyID, algorithms: fits, public: jwk.Key}
	copy(k.thumbprint.sum[:], sum)
	k.thumbprint.id, k.thumbprint.alg = k.id, jwk.Algorithm
	return k, nil
}

// isFor tells whether issuer is what a key says of its issuer, in which {tenantid} is any tenant.
func isFor(template, issuer string) bool {
	before, after, found := strings.Cut(template, "{tenantid}")
	if !found {
		return template == issuer
	}
	rest, begins := strings.CutPrefix(issuer, before)
	tenant, ends := strings.CutSuffix(rest, after)
	return begins && ends && isGUID(tenant)
}

// fitting are the algorithms that can be used with a public key. One that is not listed
// is never tried: that is what keeps a public key from being taken for a shared secret.
func fitting(public crypto.PublicKey) ([]string, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("has %d bits, want %d to %d", bits, minRSABits, maxRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		switch name := public.Curve.Params().Name; name {
		case "P-256":
			return []string{"ES256"}, nil
		case "P-384":
			return []string{"ES384"}, nil
		case "P-521":
			return []string{"ES512"}, nil
		default:
			return nil, fmt.Errorf("is on curve %s", name)
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("is of a kind that is not used")
}

func keep(all []string, ok func(string) bool) []string {
	var kept []string
	for _, one := range all {
		if ok(one) {
			kept = append(kept, one)
		}
	}
	return kept
}

// verify is the payload of raw if k signed it with alg.
func (k *key) verify(raw, alg string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
	if err != nil {
		return nil, err
	}
	return jws.Verify(k.public)
}
