package localissuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Provider is the provider. Safe for concurrent use.
type Provider struct {
	base string
	now  func() time.Time
	mux  *http.ServeMux

	down        atomic.Bool
	discoveries atomic.Int64
	fetches     atomic.Int64
	mu          sync.Mutex
	keys        []*signingKey // published, oldest first
	withdrawn   []*signingKey
	made        int
	clients     map[string]client
	server      *http.Server
	served      chan struct{}
}

// Options are how a provider is made.
type Options struct {
	// Now is its clock; default time.Now.
	Now func() time.Time
}

// New is a provider whose issuers begin with base, such as "http://127.0.0.1:8400". It has one
// key for RS256 and one for ES256. It is an http.Handler, and listens to nobody by itself.
func New(base string, o Options) (*Provider, error) {
	p := &Provider{base: base, now: o.Now, clients: map[string]client{}}
	if p.now == nil {
		p.now = time.Now
	}
	for _, alg := range []string{RS256, ES256} {
		if _, err := p.Rotate(alg); err != nil {
			return nil, err
		}
	}
	p.mux = http.NewServeMux()
	p.mux.HandleFunc("GET /oidc/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.discovery(w, p.URL(), base+"/oidc/keys", base+"/oidc/token")
	})
	p.mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", p.tenantDiscovery)
	p.mux.HandleFunc("GET /oidc/keys", p.serveKeys)
	p.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", p.serveKeys)
	p.mux.HandleFunc("POST /oidc/token", p.serveToken)
	p.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", p.serveToken)
	return p, nil
}

// readTimeout bounds how long a request may take to come.
const readTimeout = 10 * time.Second

// Start is a provider that listens at address, which must be on loopback; port 0 is any that
// is free. Close stops it.
func Start(address string, o Options) (*Provider, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("localissuer: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("localissuer: %q is not an address of loopback, such as 127.0.0.1:8400: whoever reaches the provider gets a token", address)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("localissuer: %w", err)
	}
	p, err := New("http://"+listener.Addr().String(), o)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	p.server = &http.Server{Handler: p, ReadTimeout: readTimeout, ReadHeaderTimeout: readTimeout}
	p.served = make(chan struct{})
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener) // until Close
	}()
	return p, nil
}

// Close stops a provider that was started.
func (p *Provider) Close() error {
	if p.server == nil {
		return errors.New("localissuer: the provider was not started")
	}
	err := p.server.Close()
	<-p.served
	return err
}

// Base is what the URLs begin with.
func (p *Provider) Base() string { return p.base }

// URL is the plain issuer.
func (p *Provider) URL() string { return p.base + "/oidc" }

// EntraV1URL is what the issuers of version 1 begin with; Base is that of version 2.
func (p *Provider) EntraV1URL() string { return p.base + "/sts" }

// SetDown has all requests answered 503, or not any more.
func (p *Provider) SetDown(down bool) { p.down.Store(down) }

// Discoveries and Fetches count the requests for discovery documents and for keys, those that
// were answered 503 included.
func (p *Provider) Discoveries() int { return int(p.discoveries.Load()) }

// Fetches: see Discoveries.
func (p *Provider) Fetches() int { return int(p.fetches.Load()) }

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// tenantDiscovery is the document of a tenant, of which there are all.
func (p *Provider) tenantDiscovery(w http.ResponseWriter, r *http.Request) {
	tenant := r.PathValue("tenant")
	keys := p.base + "/" + tenant + "/discovery/v2.0/keys"
	token := p.base + "/" + tenant + "/oauth2/v2.0/token"
	switch {
	case guid.MatchString(tenant):
	case tenant == "common" || tenant == "organizations":
		tenant = "{tenantid}"
	default:
		http.NotFound(w, r)
		return
	}
	p.discovery(w, p.base+"/"+tenant+"/v2.0", keys, token)
}

func (p *Provider) discovery(w http.ResponseWriter, issuer, keys, token string) {
	p.discoveries.Add(1)
	p.answer(w, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              keys,
		"token_endpoint":                        token,
		"authorization_endpoint":                issuer + "/authorize", // nobody is there
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{RS256, ES256},
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
	})
}

func (p *Provider) answer(w http.ResponseWriter, doc any) {
	if p.down.Load() {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(doc) // the other side went away
}
