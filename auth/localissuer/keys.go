package localissuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The algorithms that Rotate makes keys for.
const (
	RS256 = "RS256"
	ES256 = "ES256"
)

const rsaBits = 2048

// signingKey is one key, its private half included.
type signingKey struct {
	id      string
	alg     string
	private crypto.Signer
}

// Rotate adds a key for alg, which signs from now on, and returns its id. Those before stay
// published until they are withdrawn.
func (p *Provider) Rotate(alg string) (kid string, err error) {
	var private crypto.Signer
	switch alg {
	case RS256:
		private, err = rsa.GenerateKey(rand.Reader, rsaBits)
	case ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		err = fmt.Errorf("localissuer: no keys for algorithm %q", alg)
	}
	if err != nil {
		return "", err
	}
	return p.add(&signingKey{alg: alg, private: private})
}

// add publishes a key under its thumbprint: two providers never have two keys of one name.
func (p *Provider) add(key *signingKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: key.private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	key.id = fmt.Sprintf("%d-%x", p.made, sum[:8])
	p.keys = append(p.keys, key)
	return key.id, nil
}

// Withdraw takes a key off the set. Sign can still use it by its id.
func (p *Provider) Withdraw(kid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = slices.DeleteFunc(p.keys, func(k *signingKey) bool {
		if k.id != kid {
			return false
		}
		p.withdrawn = append(p.withdrawn, k)
		return true
	})
}

// KeyID is the id of the newest published key for alg; empty: there is none.
func (p *Provider) KeyID(alg string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range slices.Backward(p.keys) {
		if k.alg == alg {
			return k.id
		}
	}
	return ""
}

// PublicKey is the public half of a key, withdrawn or not; nil: there is none of that id.
func (p *Provider) PublicKey(kid string) crypto.PublicKey {
	k, err := p.key(kid)
	if err != nil {
		return nil
	}
	return k.private.Public()
}

func (p *Provider) key(kid string) (*signingKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range slices.Concat(p.keys, p.withdrawn) {
		if k.id == kid {
			return k, nil
		}
	}
	return nil, errors.New("localissuer: no such key")
}

func (p *Provider) serveKeys(w http.ResponseWriter, _ *http.Request) {
	p.fetches.Add(1)
	p.mu.Lock()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range p.keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	}
	p.mu.Unlock()
	p.answer(w, set)
}
