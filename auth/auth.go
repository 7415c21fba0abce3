package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Authenticator turns tokens and certificates into identities. Safe for concurrent use.
type Authenticator struct {
	now     func() time.Time
	issuers []*Issuer // of foreign tenants
	trusted map[string]*trusted
	// algorithms are those of any issuer.
	algorithms map[string]bool
	sets       []*keySet
	verified   cache
	certs      certificates
}

// trusted is one issuer whose tokens are taken.
type trusted struct {
	trust
	issuer   *Issuer // with defaults
	keys     *keySet
	verifier *oidc.IDTokenVerifier
}

// New checks cfg and fetches nothing: an issuer may be down. Until Run is called, keys are
// fetched when the first token of an issuer needs them.
func New(cfg Config) (*Authenticator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	cfg = cfg.withDefaults()
	a := &Authenticator{
		verified:   newCache(),
		now:        cfg.Now,
		trusted:    map[string]*trusted{},
		algorithms: map[string]bool{},
		certs:      newCertificates(cfg.Certificates),
	}
	client := boundedClient(cfg.Client)
	waiting := make(chan struct{}, maxWaiting)
	byDiscovery := map[string]*keySet{}
	for _, configured := range cfg.Issuers {
		issuer := configured.withDefaults()
		a.issuers = append(a.issuers, &issuer)
		for _, alg := range issuer.Algorithms {
			a.algorithms[alg] = true
		}
		for _, trust := range issuer.trusts() {
			keys := byDiscovery[trust.discovery]
			if keys == nil {
				keys = newKeySet(trust, cfg, client, waiting, cfg.Log.With(slog.String("issuer", issuer.Name)))
				byDiscovery[trust.discovery] = keys
				a.sets = append(a.sets, keys)
			}
			a.trusted[trust.url] = &trusted{
				trust:  trust,
				issuer: &issuer,
				keys:   keys,
				verifier: oidc.NewVerifier(trust.url, keys, &oidc.Config{
					SupportedSigningAlgs: issuer.Algorithms,
					SkipClientIDCheck:    true, // it holds one audience
					SkipExpiryCheck:      true, // its leeway is none for exp and five minutes for nbf
					Now:                  cfg.Now,
				}),
			}
		}
	}
	return a, nil
}

// Run fetches the keys of all issuers and keeps them fresh until ctx ends. While nobody
// runs it, withdrawn keys stay good for as long as Config.MaxKeyAge.
func (a *Authenticator) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, set := range a.sets {
		all.Go(func() { set.run(ctx) })
	}
	all.Wait()
}

// Token says who sent raw, the text after "Bearer ". The same token gives the same
// *Identity while it is remembered.
//
// ctx bounds the wait for keys that are not there yet. The error is an *Error.
func (a *Authenticator) Token(ctx context.Context, raw string) (*Identity, error) {
	if raw == "" {
		return nil, refuse(MissingToken, "there is no token: send one in an Authorization header, Bearer and a space before it")
	}
	if len(raw) > MaxTokenBytes {
		return nil, refuse(TooLarge, "the token has %d bytes, at most %d", len(raw), MaxTokenBytes)
	}
	if id := a.verified.get(raw, a.now()); id != nil {
		return id, nil
	}
	e, err := a.verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	e.raw = strings.Clone(raw) // it is a part of what the connection read
	return a.verified.put(e), nil
}

// verify does all the work for one token.
func (a *Authenticator) verify(ctx context.Context, raw string) (entry, error) {
	h, payload, err := split(raw)
	if err != nil {
		return entry{}, err
	}
	if !a.algorithms[h.alg] {
		return entry{}, refuse(Algorithm, "tokens signed with %q are not taken", short(h.alg))
	}
	claims, err := parseObject(payload)
	if err != nil {
		return entry{}, refuse(Malformed, "the token's payload %v", err)
	}
	// Nobody vouches for iss yet: it only chooses whose keys are tried.
	iss, err := claims.required("iss")
	if err != nil {
		return entry{}, err
	}
	t := a.trusted[iss]
	if t == nil {
		return entry{}, a.unknownIssuer(iss)
	}
	if !slices.Contains(t.issuer.Algorithms, h.alg) {
		return entry{}, refuse(Algorithm, "tokens of this issuer signed with %q are not taken", short(h.alg))
	}
	// go-oidc makes texts of the errors that a key set returns: ours come back in v.
	v := &verification{header: h}
	_, refused := t.verifier.Verify(context.WithValue(ctx, verificationKey{}, v), raw)
	switch {
	case v.err != nil:
		return entry{}, v.err
	case v.key == nil || !bytes.Equal(v.payload, payload):
		return entry{}, &Error{Reason: Malformed, Detail: "the token cannot be read", Err: refused}
	}
	id, err := t.identify(h, claims, a.now())
	if err != nil {
		return entry{}, err
	}
	if refused != nil {
		// It is stricter than we are about some claim that we do not read.
		return entry{}, refuse(BadClaim, "a claim of the token is not of its usual type")
	}
	return entry{id: id, keys: t.keys, key: v.key.thumbprint}, nil
}

// unknownIssuer says why tokens of iss are not taken; that much of the configuration anybody
// could find out by trying.
func (a *Authenticator) unknownIssuer(iss string) error {
	if slices.ContainsFunc(a.issuers, func(i *Issuer) bool { return i.foreignTenant(iss) }) {
		return refuse(WrongTenant, "tokens of this tenant are not taken")
	}
	return refuse(UnknownIssuer, "tokens of this issuer are not taken (issuers are compared exactly, with case and slashes)")
}

// verification is what one call of go-oidc and the key set it calls tell each other.
type verification struct {
	header  header
	key     *key   // that signed the token
	payload []byte // that it signed
	err     error  // an *Error
}

type verificationKey struct{}

// VerifySignature is called by go-oidc, within verify.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	v, ok := ctx.Value(verificationKey{}).(*verification)
	if !ok {
		return nil, errors.New("auth: a key set serves its authenticator only")
	}
	var keys []*key
	if keys, v.err = s.find(ctx, v.header.kid, v.header.alg); v.err != nil {
		return nil, v.err
	}
	for _, k := range keys {
		payload, err := k.verify(raw, v.header.alg)
		if err == nil {
			v.key, v.payload = k, payload
			return payload, nil
		}
	}
	v.err = refuse(BadSignature, "the token was not signed with the key that it names")
	return nil, v.err
}

// boundedClient is client with bounds on what an issuer, or whoever answers for it, can
// have us do.
func boundedClient(client *http.Client) *http.Client {
	bounded := *client
	bounded.Timeout = fetchTimeout
	bounded.Jar = nil
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	bounded.Transport = boundedTransport{next}
	bounded.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		const most = 3
		switch first := via[0].URL; {
		case len(via) > most:
			return errors.New("too many redirects")
		case req.URL.Scheme != first.Scheme || req.URL.Host != first.Host:
			return errors.New("redirected to another host")
		}
		return nil
	}
	return &bounded
}
