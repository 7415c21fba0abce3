package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// The values of Auth.Mode.
const (
	// ModeOIDC: a caller proves who it is, by a token of one of Issuers or a client certificate.
	ModeOIDC = "oidc"
	// ModeNone: nobody proves anything.
	ModeNone = "none"
)

const (
	// DefaultMaxPolicyStaleness is Auth.MaxPolicyStaleness unless the file says otherwise: as old as
	// a node may be that calls itself ready.
	DefaultMaxPolicyStaleness = 5 * time.Second

	// MaxMaxPolicyStaleness bounds it: for so long a node that is cut off lets in whose permission
	// is gone.
	MaxMaxPolicyStaleness = time.Minute
)

// Auth is who callers of the API are. What they may do is in the replicated state.
type Auth struct {
	// Mode is whether callers prove who they are (oidc: by a token of one of Issuers, or a client
	// certificate) or nobody does (none).
	Mode string `unit:"word" default:"must be set; none if all nodes are on loopback" allowed:"oidc, none"`
	// AnyoneMayReadAndWrite lets Mode none be served beyond loopback.
	AnyoneMayReadAndWrite bool `allowed:"with Mode none"`
	// Bootstrap is who administers the cluster if nobody does, such as
	// "user:entra/<tenant>/<object id>". It may be taken out afterwards.
	Bootstrap string `unit:"subject" allowed:"with Mode oidc"`
	// MaxPolicyStaleness is how old a node's state may be at most for reads to be allowed by it.
	MaxPolicyStaleness time.Duration `range:"1ns..1m"`
	// Issuers are whose tokens are believed.
	Issuers []Issuer
	// Certificates are which client certificates are believed.
	Certificates Certificates
	// Refresh is how often the keys of issuers are fetched.
	Refresh time.Duration `default:"5m" allowed:"at least MinRefresh"`
	// MinRefresh is how often tokens of unknown keys may cause that.
	MinRefresh time.Duration `default:"30s" allowed:"at least 1s"`
	// MaxKeyAge is how long keys are good for that cannot be fetched again.
	MaxKeyAge time.Duration `default:"24h" allowed:"at least twice Refresh"`
}

// Issuer is one issuer of tokens. Its fields are those of auth.Issuer, and package auth knows their
// defaults; only what can be said of a file by itself is looked at here.
type Issuer struct {
	// Name is what subjects call the issuer: user:<name>/…
	Name string `unit:"name" default:"must be set" allowed:"lower-case letters, digits, '.', '_' and '-'"`
	// URL (in the file: Url) is the issuer exactly as its tokens have it.
	URL string `koanf:"Url" unit:"URL" default:"must be set, or EntraTenants" allowed:"https; http on loopback"`

	// EntraTenants are tenants of Entra ID, whose tokens of both versions are taken.
	EntraTenants []string `unit:"GUID" default:"must be set, or Url"`
	// EntraURL (in the file: EntraUrl) is who issues tokens of version 2: another one in national clouds.
	EntraURL string `koanf:"EntraUrl" unit:"URL" default:"https://login.microsoftonline.com" allowed:"with EntraTenants"`
	// EntraV1URL (in the file: EntraV1Url) is who issues those of version 1.
	EntraV1URL string `koanf:"EntraV1Url" unit:"URL" default:"https://sts.windows.net" allowed:"with EntraTenants"`

	// Audiences are what the API is called in tokens, one of which a token must have. Of Entra ID the
	// client id of the API's registration, and its application id URI.
	Audiences []string `unit:"text" default:"must be set"`
	// Algorithms are what tokens may be signed with.
	Algorithms []string `unit:"word" default:"RS256, ES256" allowed:"RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA"`
	// Tenants are the only ones of the issuer at Url that are believed.
	Tenants []string `unit:"text" default:"all" allowed:"with Url"`
	// Leeway is by how much clocks may differ.
	Leeway time.Duration `default:"1m" allowed:"0s to 5m; 0s is 1m"`
	// Clients are the only applications whose tokens are taken.
	Clients []string `unit:"text" default:"all"`
	// Claims are the names of the claims that say who a caller is.
	Claims Claims
	// Scopes are, for each scope of a token, the verbs it stands for. A user's token without any of them
	// is refused, and may do no more than they say.
	Scopes map[string][]string `unit:"object: scope to list of verbs" default:"none: users' tokens are refused"`
	// RequireAtJWT (in the file: RequireAtJwt) refuses tokens that are not of type at+jwt (RFC 9068).
	RequireAtJWT bool `koanf:"RequireAtJwt" allowed:"with Url"`
	// OverageFallback is what becomes of tokens that do not name all groups of their user: "roles"
	// takes them without groups, if they have app roles.
	OverageFallback string `unit:"word" default:"none: they are refused" allowed:"roles"`
}

// Claims are the names of claims, as of auth.Claims.
type Claims struct {
	// Tenant is the claim with the tenant.
	Tenant string `unit:"claim" default:"tid" allowed:"with Url"`
	// Object is the claim with who it is; of most issuers other than Entra ID: sub.
	Object string `unit:"claim" default:"oid" allowed:"with Url; none that can change"`
	// App is the claim with the application.
	App string `unit:"claim" default:"appid, azp" allowed:"with Url"`
	// Roles is the claim with app roles.
	Roles string `unit:"claim" default:"roles"`
	// Groups is the claim with groups.
	Groups string `unit:"claim" default:"groups"`
	// Scopes is the claim with scopes.
	Scopes string `unit:"claim" default:"scp"`
	// Name is the claim with a name to show.
	Name string `unit:"claim" default:"preferred_username, else upn"`
}

// Certificates are client certificates and whose they are, as of auth.Certificates.
type Certificates struct {
	// CAFile (in the file: CaFile) is a bundle of the CAs that sign the certificates of clients. It
	// takes Api.Tls.
	CAFile string `koanf:"CaFile" unit:"PEM file" default:"none: no certificates are taken"`
	// Rules are tried in their order; the first that fits gives the name.
	Rules []CertificateRule
	// URIPrefix (in the file: UriPrefix) makes URIs that begin so names by themselves, if no rule fits.
	URIPrefix string `koanf:"UriPrefix" unit:"URI" allowed:"such as spiffe://example.org/"`
}

// CertificateRule gives a name to who holds a certificate, as of auth.CertificateRule.
type CertificateRule struct {
	// URI (in the file: Uri) is one of the certificate's alternative names.
	URI string `koanf:"Uri" unit:"URI" allowed:"one of Uri, CommonName, Subject"`
	// CommonName is the only one of the certificate's subject.
	CommonName string `unit:"text" allowed:"one of Uri, CommonName, Subject"`
	// Subject is all of the certificate's subject, such as CN=deploy,OU=ci,O=Example.
	Subject string `unit:"text" allowed:"one of Uri, CommonName, Subject"`
	// Name is what its holder is called: cert:<name>.
	Name string `unit:"name" default:"must be set"`
}

func (c Certificates) none() bool { return c.CAFile == "" && c.URIPrefix == "" && len(c.Rules) == 0 }

// Open tells that callers prove nothing.
func (a Auth) Open() bool { return a.Mode != ModeOIDC }

// Exposed tells that others than this machine may reach a node.
func (c Config) Exposed() bool { return c.exposed() != nil }

// exposed is the first node that others than this machine may reach, nil if there is none.
func (c Config) exposed() *Node {
	i := slices.IndexFunc(c.Cluster.Nodes, func(n Node) bool { return !isLoopback(n.Address) })
	if i < 0 {
		return nil
	}
	return &c.Cluster.Nodes[i]
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// validateAuth reports everything wrong with c.Auth.
func (c Config) validateAuth() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	a := c.Auth
	exposed := c.exposed()
	switch {
	case a.Mode == ModeOIDC:
		if len(a.Issuers) == 0 && a.Certificates.none() {
			bad("Auth: Mode is oidc, and nobody could prove who they are: name at least one of Issuers, or Certificates")
		}
		if a.AnyoneMayReadAndWrite {
			bad("Auth.AnyoneMayReadAndWrite: true, and Mode is oidc: remove one of the two")
		}
	case a.Mode == ModeNone || a.Mode == "" && exposed == nil:
		errs = append(errs, a.validateOpen(exposed)...)
	case a.Mode == "":
		bad(`Auth.Mode: missing, and node %s is reached at %s, from beyond this machine: set "oidc" and name Issuers or Certificates (docs/operations.md); "none" is for loopback`, exposed.ID, exposed.Address)
	default:
		bad("Auth.Mode: %q, want oidc or none", a.Mode)
	}
	if d := a.MaxPolicyStaleness; d <= 0 || d > MaxMaxPolicyStaleness {
		bad("Auth.MaxPolicyStaleness: %v is not more than 0s, up to %v", d, MaxMaxPolicyStaleness)
	}
	switch certs := a.Certificates; {
	case certs.none():
	case certs.CAFile == "":
		bad("Auth.Certificates.CaFile: missing: it says who signs the certificates of clients")
	case len(certs.Rules) == 0 && certs.URIPrefix == "":
		bad("Auth.Certificates: neither Rules nor UriPrefix: they say what the holders of certificates are called")
	case c.API.TLS == (TLS{}):
		bad("Auth.Certificates: clients can show certificates over TLS only: set Api.Tls")
	}
	return errs
}

// validateOpen reports what is wrong if nobody proves who they are.
func (a Auth) validateOpen(exposed *Node) (errs []error) {
	if exposed != nil && !a.AnyoneMayReadAndWrite {
		errs = append(errs, fmt.Errorf("Auth.Mode: none, and node %s is reached at %s, from beyond this machine: whoever reaches it could read and write everything; set oidc, or, if that is what you want, Auth.AnyoneMayReadAndWrite to true", exposed.ID, exposed.Address))
	}
	if len(a.Issuers) > 0 || !a.Certificates.none() {
		errs = append(errs, errors.New("Auth: Issuers or Certificates are there, and nobody is asked for what they prove: set Mode to oidc, or remove them"))
	}
	if a.Bootstrap != "" {
		errs = append(errs, errors.New("Auth.Bootstrap: with Mode none nobody can prove to be the administrator, and once there is one, nobody else may do anything: set Mode to oidc, or remove it"))
	}
	return errs
}
