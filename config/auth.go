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
	// Mode is ModeOIDC or ModeNone. Only where all nodes are on loopback it need not be there: none.
	Mode string
	// AnyoneMayReadAndWrite lets ModeNone be served beyond loopback.
	AnyoneMayReadAndWrite bool
	// Bootstrap is a subject, such as "user:entra/<tenant>/<object id>": who administers the cluster
	// if nobody does. It may be taken out afterwards.
	Bootstrap string
	// MaxPolicyStaleness is how old a node's state may be at most for reads to be allowed by it.
	MaxPolicyStaleness time.Duration
	// Issuers are whose tokens are believed.
	Issuers []Issuer
	// Certificates are which client certificates are believed.
	Certificates Certificates
	// Refresh is how often the keys of issuers are fetched, MinRefresh how often tokens of unknown
	// keys may cause that, MaxKeyAge how long keys are good for that cannot be fetched again.
	// 0: the defaults of package auth, which knows what they may be.
	Refresh    time.Duration
	MinRefresh time.Duration
	MaxKeyAge  time.Duration
}

// Issuer is one issuer of tokens. Its fields are those of auth.Issuer, where they are told; only
// what can be said of a file by itself is looked at here.
type Issuer struct {
	Name string
	URL  string `koanf:"Url"`

	EntraTenants []string
	EntraURL     string `koanf:"EntraUrl"`
	EntraV1URL   string `koanf:"EntraV1Url"`

	Audiences       []string
	Algorithms      []string
	Tenants         []string
	Leeway          time.Duration
	Clients         []string
	Claims          Claims
	Scopes          map[string][]string // for each scope, the verbs it stands for
	RequireAtJWT    bool                `koanf:"RequireAtJwt"`
	OverageFallback string
}

// Claims are the names of claims, as of auth.Claims.
type Claims struct {
	Tenant string
	Object string
	App    string
	Roles  string
	Groups string
	Scopes string
	Name   string
}

// Certificates are client certificates and whose they are, as of auth.Certificates.
type Certificates struct {
	// CAFile (in the file: CaFile) is a bundle of the CAs that sign them, in PEM. Files that are
	// replaced are read again. It takes Api.Tls.
	CAFile    string `koanf:"CaFile"`
	Rules     []CertificateRule
	URIPrefix string `koanf:"UriPrefix"`
}

// CertificateRule gives a name to who holds a certificate, as of auth.CertificateRule.
type CertificateRule struct {
	URI        string `koanf:"Uri"`
	CommonName string
	Subject    string
	Name       string
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
