package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config is whom to believe. Zero durations and the last three fields have defaults.
type Config struct {
	Issuers      []Issuer
	Certificates Certificates

	// Refresh is how often keys are fetched; default DefaultRefresh.
	Refresh time.Duration
	// MinRefresh is the least time between fetches that tokens cause; default DefaultMinRefresh.
	MinRefresh time.Duration
	// MaxKeyAge is how long keys are good for, from the last time they were fetched;
	// default DefaultMaxKeyAge.
	MaxKeyAge time.Duration

	// Now is the clock; default time.Now. Its times should have a monotonic reading, as
	// those of time.Now have: ages are measured with it.
	Now func() time.Time
	// Client fetches what issuers publish; default: one of its own. Its redirects and its
	// timeout are replaced, in a copy.
	Client *http.Client
	// Log says when keys come and go and when an issuer does not answer; default: nobody.
	Log *slog.Logger
}

// Issuer is one issuer of tokens: either exactly one, by its URL, or tenants of Entra ID.
type Issuer struct {
	// Name is what subjects call it: lower-case letters, digits, '.', '_' and '-'.
	Name string

	// URL is the issuer exactly as its tokens and its discovery document have it, a slash
	// at the end included. https, unless it is on loopback.
	URL string

	// EntraTenants are ids (GUIDs) of tenants of Entra ID. Both versions of their tokens are taken:
	// of "<EntraV1URL>/<tenant>/" and of "<EntraURL>/<tenant>/v2.0".
	EntraTenants []string
	// EntraURL and EntraV1URL are for national clouds and local providers; default
	// DefaultEntraURL and DefaultEntraV1URL.
	EntraURL   string
	EntraV1URL string

	// Audiences are what this service is called in tokens; one of them must be in "aud". Of
	// Entra ID: the client id of the API's registration (v2) and its application id URI (v1).
	Audiences []string
	// Algorithms may sign; default RS256 and ES256.
	Algorithms []string
	// Tenants, unless empty, are the only ones that are believed of the issuer at URL.
	Tenants []string
	// Leeway is by how much clocks may differ; 0: DefaultLeeway; at most MaxLeeway.
	Leeway time.Duration
	// Clients, unless empty, are the only applications whose tokens are taken.
	Clients []string
	Claims  Claims
	// Scopes are the scopes of this service, and for each what it stands for: texts that mean
	// nothing to this package. A user's token without any of them is refused.
	Scopes map[string][]string
	// RequireAtJWT refuses tokens that are not of type "at+jwt" (RFC 9068). Set it for issuers that do that;
	// Entra ID does not.
	RequireAtJWT bool
	// OverageFallback is what to do with a token that says that its user has more groups than it
	// names. Empty: refuse it. "roles": take it, with no groups at all, if it has app roles.
	OverageFallback string
}

// OverageToRoles is the other value of Issuer.OverageFallback.
const OverageToRoles = "roles"

// Claims are the names of the claims that an Identity is made of; empty: as Entra ID has them.
type Claims struct {
	Tenant string // default "tid"
	Object string // default "oid"; of most others, "sub"
	App    string // default "appid" (v1) and "azp" (v2 and others); in RFC 9068, "client_id"
	Roles  string // default "roles"
	Groups string // default "groups"
	Scopes string // default "scp"; in RFC 9068, "scope"
	Name   string // default "preferred_username", else "upn"
}

const (
	// DefaultEntraURL and DefaultEntraV1URL are those of the public cloud.
	DefaultEntraURL   = "https://login.microsoftonline.com"
	DefaultEntraV1URL = "https://sts.windows.net"
)

// algorithms are all that can be configured: those with a public key.
var algorithms = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// foreignAudiences are services of Microsoft that a token can be had for by anybody in a tenant.
var foreignAudiences = []string{
	"00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com",
	"00000002-0000-0000-c000-000000000000", "https://graph.windows.net",
	"797f4846-ba00-4fd7-ba43-dac1f8f63013", "https://management.azure.com", "https://management.core.windows.net",
}

// mutableClaims can change, or be another's tomorrow.
var mutableClaims = []string{"email", "name", "preferred_username", "unique_name", "upn"}

var issuerName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// Validate reports everything wrong with c, or nil.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if n := len(c.Issuers); n > MaxIssuers {
		bad("Issuers: %d, at most %d", n, MaxIssuers)
	}
	names, urls := map[string]int{}, map[string]int{}
	for i, issuer := range c.Issuers {
		at := fmt.Sprintf("Issuers[%d]", i)
		for _, err := range issuer.faults() {
			bad("%s.%w", at, err)
		}
		if first, ok := names[issuer.Name]; ok && issuer.Name != "" {
			bad("%s.Name: %q is the Name of Issuers[%d] already", at, issuer.Name, first)
		}
		names[issuer.Name] = i
		for _, t := range issuer.withDefaults().trusts() {
			if first, ok := urls[t.url]; ok {
				bad("%s: tokens of %s are those of Issuers[%d] already", at, t.url, first)
			}
			urls[t.url] = i
		}
	}
	for _, err := range c.Certificates.faults() {
		bad("Certificates.%w", err)
	}
	f := c.withDefaults()
	if f.MinRefresh < time.Second {
		bad("MinRefresh: %v is less than 1s: forged tokens would flood the issuer", f.MinRefresh)
	}
	if f.Refresh < f.MinRefresh {
		bad("Refresh: %v is less than MinRefresh, %v", f.Refresh, f.MinRefresh)
	}
	if f.MaxKeyAge < 2*f.Refresh {
		bad("MaxKeyAge: %v is less than twice Refresh, %v: keys would be too old when one fetch fails", f.MaxKeyAge, f.Refresh)
	}
	return errors.Join(errs...)
}

// faults are what is wrong with i by itself.
func (i Issuer) faults() []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch {
	case i.Name == "":
		bad("Name: missing: subjects name the issuer by it")
	case len(i.Name) > MaxIssuerNameBytes || !issuerName.MatchString(i.Name):
		bad("Name: %q is not 1 to %d lower-case letters, digits, '.', '_' or '-'", i.Name, MaxIssuerNameBytes)
	}

	switch {
	case (i.URL == "") == (len(i.EntraTenants) == 0):
		bad("Url: exactly one of Url and EntraTenants is needed")
	case i.URL != "":
		if err := checkURL(i.URL); err != nil {
			bad("Url: %w", err)
		}
		if i.EntraURL != "" || i.EntraV1URL != "" {
			bad("EntraUrl: only for EntraTenants")
		}
	default:
		f := i.withDefaults()
		for _, u := range []struct{ name, url string }{{"EntraUrl", f.EntraURL}, {"EntraV1Url", f.EntraV1URL}} {
			if err := checkURL(u.url); err != nil {
				bad("%s: %w", u.name, err)
			} else if strings.HasSuffix(u.url, "/") {
				bad("%s: %q ends in a slash", u.name, u.url)
			}
		}
		seen := map[string]bool{}
		for n, tenant := range i.EntraTenants {
			lower := strings.ToLower(tenant)
			switch {
			case !isGUID(tenant):
				bad("EntraTenants[%d]: %q is not the id of a tenant (a GUID); common, organizations and domain names are not", n, tenant)
			case seen[lower]:
				bad("EntraTenants[%d]: %s is there twice", n, lower)
			}
			seen[lower] = true
		}
		if len(i.Tenants) > 0 {
			bad("Tenants: only for Url; EntraTenants lists them already")
		}
		if i.RequireAtJWT {
			bad("RequireAtJwt: tokens of Entra ID are never of that type")
		}
		if i.Claims.Tenant != "" || i.Claims.Object != "" || i.Claims.App != "" {
			bad("Claims: Tenant, Object and App are fixed for EntraTenants")
		}
	}

	for _, list := range []struct {
		name   string
		values []string
		most   int
	}{
		{"Audiences", i.Audiences, MaxListed},
		{"Tenants", i.Tenants, MaxTenants},
		{"EntraTenants", i.EntraTenants, MaxTenants},
		{"Clients", i.Clients, MaxListed},
	} {
		if n := len(list.values); n > list.most {
			bad("%s: %d, at most %d", list.name, n, list.most)
		}
		for n, value := range list.values {
			if err := checkText(value); err != nil {
				bad("%s[%d]: %w", list.name, n, err)
			}
		}
	}
	if len(i.Audiences) == 0 {
		bad("Audiences: missing: without them any token of the issuer would do")
	}
	for n, audience := range i.Audiences {
		if slices.Contains(foreignAudiences, strings.ToLower(strings.TrimSuffix(audience, "/"))) {
			bad("Audiences[%d]: %q is a service of Microsoft, not this one", n, audience)
		}
	}
	for n, alg := range i.Algorithms {
		switch {
		case slices.Contains(algorithms, alg):
		case strings.EqualFold(alg, "none"):
			bad("Algorithms[%d]: %q: a token without a signature is anybody's", n, alg)
		case strings.HasPrefix(strings.ToUpper(alg), "HS"):
			bad("Algorithms[%d]: %q needs a shared secret, and would take the public key for one", n, alg)
		default:
			bad("Algorithms[%d]: %q is not one of %s", n, alg, strings.Join(algorithms, ", "))
		}
	}
	if i.Leeway < 0 || i.Leeway > MaxLeeway {
		bad("Leeway: %v is not 0s to %v", i.Leeway, MaxLeeway)
	}
	for _, claim := range []struct{ name, claim string }{
		{"Tenant", i.Claims.Tenant},
		{"Object", i.Claims.Object},
		{"App", i.Claims.App},
		{"Roles", i.Claims.Roles},
		{"Groups", i.Claims.Groups},
		{"Scopes", i.Claims.Scopes},
		{"Name", i.Claims.Name},
	} {
		if claim.claim != "" {
			if err := checkText(claim.claim); err != nil {
				bad("Claims.%s: %w", claim.name, err)
			}
		}
	}
	if slices.Contains(mutableClaims, i.Claims.Object) {
		bad("Claims.Object: %q can change, and be somebody else's tomorrow: use oid or sub", i.Claims.Object)
	}
	if n := len(i.Scopes); n > MaxScopes {
		bad("Scopes: %d, at most %d", n, MaxScopes)
	}
	for scope, texts := range i.Scopes {
		if checkText(scope) != nil || strings.Contains(scope, " ") {
			bad("Scopes: %q is not a scope", scope)
		}
		if len(texts) == 0 {
			bad("Scopes[%q]: stands for nothing", scope)
		}
	}
	if i.OverageFallback != "" && i.OverageFallback != OverageToRoles {
		bad("OverageFallback: %q is neither empty nor %q", i.OverageFallback, OverageToRoles)
	}
	return errs
}

// checkURL says what is wrong with what an issuer's tokens and keys are found by.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return fmt.Errorf("%q is not a URL, such as https://login.example.com", text)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("%q has a user, a query or a fragment", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return fmt.Errorf("%q is not https: whoever is between could put in keys of their own (http is for loopback only)", text)
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Refresh, DefaultRefresh)
	set(&c.MinRefresh, DefaultMinRefresh)
	set(&c.MaxKeyAge, DefaultMaxKeyAge)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Client == nil {
		c.Client = &http.Client{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// entra tells that i is tenants of Entra ID.
func (i Issuer) entra() bool { return len(i.EntraTenants) > 0 }

// withDefaults is i as it is used; it shares nothing that its owner may change.
func (i Issuer) withDefaults() Issuer {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	i.Audiences, i.Tenants = slices.Clone(i.Audiences), slices.Clone(i.Tenants)
	i.Algorithms = slices.Clone(i.Algorithms)
	if len(i.Algorithms) == 0 {
		i.Algorithms = []string{"RS256", "ES256"}
	}
	if i.Leeway == 0 {
		i.Leeway = DefaultLeeway
	}
	set(&i.Claims.Tenant, "tid")
	set(&i.Claims.Object, "oid")
	set(&i.Claims.Roles, "roles")
	set(&i.Claims.Groups, "groups")
	set(&i.Claims.Scopes, "scp")
	i.EntraTenants, i.Clients = slices.Clone(i.EntraTenants), slices.Clone(i.Clients)
	if i.entra() {
		set(&i.EntraURL, DefaultEntraURL)
		set(&i.EntraV1URL, DefaultEntraV1URL)
		lower := func(list []string) {
			for n := range list {
				list[n] = strings.ToLower(list[n])
			}
		}
		lower(i.EntraTenants)
		lower(i.Clients)
	}
	scopes := make(map[string][]string, len(i.Scopes))
	for scope, texts := range i.Scopes {
		scopes[scope] = slices.Clone(texts)
	}
	i.Scopes = scopes
	return i
}

// trust is one exact issuer of tokens.
type trust struct {
	url    string // as in "iss"
	tenant string // empty: the issuer is not one tenant's
	v1     bool
	// discovery is the issuer whose discovery document leads to the keys. Both versions of
	// Entra's tokens are signed with the same keys.
	discovery string
}

// trusts are the issuers that i stands for.
func (i Issuer) trusts() []trust {
	if !i.entra() {
		if i.URL == "" {
			return nil
		}
		return []trust{{url: i.URL, discovery: i.URL}}
	}
	var all []trust
	for _, tenant := range i.EntraTenants {
		v1, v2 := i.EntraV1URL+"/"+tenant+"/", i.EntraURL+"/"+tenant+"/v2.0"
		all = append(all,
			trust{url: v2, tenant: tenant, discovery: v2},
			trust{url: v1, tenant: tenant, discovery: v2, v1: true})
	}
	return all
}

// foreignTenant tells that iss is what a tenant of Entra ID that is not listed puts in tokens.
func (i Issuer) foreignTenant(iss string) bool {
	if !i.entra() {
		return false
	}
	if rest, ok := strings.CutPrefix(iss, i.EntraV1URL+"/"); ok {
		tenant, ok := strings.CutSuffix(rest, "/")
		return ok && isGUID(tenant)
	}
	rest, ok := strings.CutPrefix(iss, i.EntraURL+"/")
	tenant, isV2 := strings.CutSuffix(rest, "/v2.0")
	return ok && isV2 && isGUID(tenant)
}
