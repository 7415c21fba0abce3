package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/confman/confman/auth/localissuer"
)

// tokenCase is a token and what becomes of it.
type tokenCase struct {
	name  string
	token func(w *world) string
	want  Reason // empty: it is taken
	// config changes that of world.config.
	config func(*Config)
	// check looks at the identity of a token that is taken.
	check func(t *testing.T, id *Identity)
}

func issue(t localissuer.Token) func(*world) string {
	return func(w *world) string { return must(w.Issue(t)) }
}

func edited(t localissuer.Token, pairs ...any) func(*world) string {
	return func(w *world) string { return w.edit(t, pairs...) }
}

func head(pairs ...any) func(*world) string {
	return func(w *world) string { return w.head(pairs...) }
}

func text(token string) func(*world) string { return func(*world) string { return token } }

// shifted is a user's token with a time claim that far from now.
func shifted(claim string, by time.Duration) func(*world) string {
	return func(w *world) string { return w.edit(user(), claim, w.clock.now().Add(by).Unix()) }
}

func clients(ids ...string) func(*Config) { return func(c *Config) { c.Issuers[0].Clients = ids } }
func fallback(c *Config)                  { c.Issuers[0].OverageFallback = OverageToRoles }

// groupsAsRoles is how docs/tokens.md has names of groups bound.
func groupsAsRoles(c *Config) { c.Issuers[0].Claims = Claims{Roles: "groups", Groups: "none"} }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// unsigned is the genuine user's token under another alg and signature.
func (w *world) unsigned(alg string, sign func(signed string) []byte) string {
	signed := b64(marshal(map[string]any{"alg": alg, "typ": "JWT", "kid": w.KeyID(localissuer.RS256)})) + "." + b64(marshal(w.Claims(user())))
	return signed + "." + b64(sign(signed))
}

func nothing(string) []byte { return nil }

// hmacOfPublicKey takes the public key for a shared secret, as a careless reader would.
func (w *world) hmacOfPublicKey(signed string) []byte {
	der := must(x509.MarshalPKIXPublicKey(w.PublicKey(w.KeyID(localissuer.RS256))))
	mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	mac.Write([]byte(signed))
	return mac.Sum(nil)
}

func groups(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("88888888-cdcd-4dcd-8dcd-%012x", i)
	}
	return all
}

func roles(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("role%d", i)
	}
	return all
}

func with(t localissuer.Token, change func(*localissuer.Token)) localissuer.Token {
	change(&t)
	return t
}

var tokenCases = []tokenCase{
	// What is taken.
	{name: "user of version 2", token: issue(user()), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, User, id.Kind)
		assert.Equal(t, []string{"corp", tenantA, person, appID}, []string{id.Issuer, id.Tenant, id.Object, id.App})
		assert.Equal(t, []string{"Reader"}, id.Roles)
		assert.Equal(t, []string{"Config.Read"}, id.Scopes)
		assert.Equal(t, "ann@example.com", id.Name)
	}},
	{name: "user of version 1", token: issue(v1(user())), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, User, id.Kind)
		assert.Equal(t, []string{"corp", tenantA, person, appID, "ann@example.com"}, []string{id.Issuer, id.Tenant, id.Object, id.App, id.Name})
	}},
	{name: "user of the other tenant", token: issue(with(user(), func(t *localissuer.Token) { t.Tenant = tenantB })), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, tenantB, id.Tenant)
	}},
	{name: "user without roles", token: issue(with(user(), func(t *localissuer.Token) { t.Roles = nil }))},
	{name: "application with a secret, version 2", token: issue(app()), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, ServicePrincipal, id.Kind)
		assert.Equal(t, []string{robot, appID}, []string{id.Object, id.App})
		assert.Equal(t, []string{"Deployer"}, id.Roles)
		assert.Empty(t, id.Scopes)
	}},
	{name: "application with a secret, version 1", token: issue(v1(app())), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, ServicePrincipal, id.Kind)
	}},
	{name: "application with a certificate", token: edited(app(), "azpacr", "2"), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, ServicePrincipal, id.Kind)
	}},
	{name: "application without idtyp", token: edited(app(), "idtyp", drop{}), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, ServicePrincipal, id.Kind)
	}},
	{name: "application without idtyp, version 1", token: edited(v1(app()), "idtyp", drop{}), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, ServicePrincipal, id.Kind)
	}},
	{name: "idtyp user", token: edited(user(), "idtyp", "user"), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, User, id.Kind)
	}},
	{name: "signed with ES256", token: func(w *world) string {
		kid := w.KeyID(localissuer.ES256)
		return w.headed(w.Provider, kid, "alg", "ES256", "kid", kid)
	}},
	{name: "RFC 9068", token: func(w *world) string { return w.at9068("at+jwt") }, check: func(t *testing.T, id *Identity) {
		assert.Equal(t, User, id.Kind)
		assert.Equal(t, []string{"plain", "", "u1", "cli"}, []string{id.Issuer, id.Tenant, id.Object, id.App})
		assert.Equal(t, []string{"config", "openid"}, id.Scopes)
	}},
	{name: "RFC 9068, long name of the type", token: func(w *world) string { return w.at9068("application/AT+JWT") }},
	{name: "several audiences, one of them ours", token: edited(user(), "aud", []string{"other", apiID})},
	{name: "groups", token: issue(with(user(), func(t *localissuer.Token) { t.Groups = []string{groupB, groupA, groupB} })), check: func(t *testing.T, id *Identity) {
		require.Len(t, id.Groups, 2)
		assert.Equal(t, byte(0x88), id.Groups[0][0])
		assert.Equal(t, byte(0x99), id.Groups[1][0])
	}},
	{name: "as many groups as Entra ID sends", token: issue(with(user(), func(t *localissuer.Token) { t.Groups = groups(MaxGroups) })), check: func(t *testing.T, id *Identity) {
		assert.Len(t, id.Groups, MaxGroups)
	}},
	{name: "as many roles as can be", token: issue(with(user(), func(t *localissuer.Token) { t.Roles = roles(MaxRoles) }))},
	{name: "ids in capitals become one identity", token: edited(user(), "oid", strings.ToUpper(person)), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, person, id.Object)
	}},
	{name: "a claim that nobody reads is of any type", token: edited(user(), "acct", []int{1}, "xms_x", map[string]any{"a": nil})},
	{name: "x5t in the header", token: head("x5t", "abc")},
	{name: "typ in lower case", token: head("typ", "jwt")},
	{name: "no typ", token: head("typ", drop{})},

	// Its time.
	{name: "exp just within the leeway", token: shifted("exp", -DefaultLeeway+time.Second), check: func(t *testing.T, id *Identity) {
		assert.Equal(t, newClock().now().Add(time.Second), id.Expires.UTC())
	}},
	{name: "exp at the leeway", token: shifted("exp", -DefaultLeeway), want: Expired},
	{name: "expired", token: shifted("exp", -time.Hour), want: Expired},
	{name: "exp 0", token: edited(user(), "exp", 0), want: Expired},
	{name: "nbf at the leeway", token: shifted("nbf", DefaultLeeway)},
	{name: "nbf beyond the leeway", token: shifted("nbf", DefaultLeeway+time.Second), want: NotYetValid},
	{name: "nbf within go-oidc's five minutes", token: shifted("nbf", 4*time.Minute), want: NotYetValid},
	{name: "no nbf", token: edited(user(), "nbf", drop{})},
	{name: "exp with a fraction", token: edited(user(), "exp", 1900000000.5)},
	{name: "a longer leeway", token: shifted("exp", -4*time.Minute), config: func(c *Config) { c.Issuers[0].Leeway = MaxLeeway }},

	// Whom it is for.
	{name: "audience of another", token: edited(user(), "aud", "other"), want: WrongAudience},
	{name: "audience of Microsoft Graph", token: edited(user(), "aud", "00000003-0000-0000-c000-000000000000"), want: WrongAudience},
	{name: "audience of the other issuer", token: edited(user(), "aud", "confman"), want: WrongAudience},
	{name: "audience with a slash more", token: edited(user(), "aud", apiURI+"/"), want: WrongAudience},
	{name: "no audience", token: edited(user(), "aud", []string{}), want: WrongAudience},

	// Who issued it.
	{name: "unknown issuer", token: edited(user(), "iss", "https://login.example.com"), want: UnknownIssuer},
	{name: "tenant that is not listed", token: issue(with(user(), func(t *localissuer.Token) { t.Tenant = foreign })), want: WrongTenant},
	{name: "tenant that is not listed, version 1", token: issue(with(v1(user()), func(t *localissuer.Token) { t.Tenant = foreign })), want: WrongTenant},
	{name: "tid not that of iss", token: edited(user(), "tid", tenantB), want: WrongIssuer},
	{name: "tid of a tenant that is not listed", token: edited(user(), "tid", foreign), want: WrongIssuer},
	{name: "issuer of the common endpoint", token: edited(user(), "iss", base+"/common/v2.0"), want: UnknownIssuer},
	{name: "issuer template", token: edited(user(), "iss", base+"/{tenantid}/v2.0"), want: UnknownIssuer},
	{name: "issuer in other case", token: edited(user(), "iss", base+"/"+strings.ToUpper(tenantA)+"/v2.0"), want: WrongTenant},
	{name: "issuer's host in capitals", token: edited(user(), "iss", strings.Replace(base, "http", "HTTP", 1)+"/"+tenantA+"/v2.0"), want: UnknownIssuer},
	{name: "issuer with a slash more", token: edited(user(), "iss", base+"/"+tenantA+"/v2.0/"), want: UnknownIssuer},
	{name: "issuer of version 1 without its slash", token: edited(v1(user()), "iss", base+"/sts/"+tenantA), want: UnknownIssuer},
	{name: "tenant list of a plain issuer", token: func(w *world) string { return w.at9068("at+jwt", "tid", "t2") }, want: WrongTenant, config: func(c *Config) { c.Issuers[1].Tenants = []string{"t1"} }},
	{name: "tenant list of a plain issuer, its own", token: func(w *world) string { return w.at9068("at+jwt", "tid", "t1") }, config: func(c *Config) { c.Issuers[1].Tenants = []string{"t1"} }},
	{name: "tenant list of a plain issuer, none", token: func(w *world) string { return w.at9068("at+jwt") }, want: MissingClaim, config: func(c *Config) { c.Issuers[1].Tenants = []string{"t1"} }},

	// Its signature.
	{name: "another's key under a known kid", token: func(w *world) string {
		return w.headed(w.stranger(), w.stranger().KeyID(localissuer.RS256))
	}, want: BadSignature},
	{name: "another's key under its own kid", token: func(w *world) string {
		kid := w.stranger().KeyID(localissuer.RS256)
		return w.headed(w.stranger(), kid, "kid", kid)
	}, want: UnknownKey},
	{name: "payload changed", token: func(w *world) string {
		parts := strings.Split(w.edit(user()), ".")
		return parts[0] + "." + b64(marshal(w.claims(user(), "roles", []string{"Admin"}))) + "." + parts[2]
	}, want: BadSignature},
	{name: "no signature", token: func(w *world) string { return w.unsigned("RS256", nothing) }, want: BadSignature},
	{name: "signature of an HMAC under RS256", token: func(w *world) string { return w.unsigned("RS256", w.hmacOfPublicKey) }, want: BadSignature},
	{name: "HS256 with the public key", token: func(w *world) string { return w.unsigned("HS256", w.hmacOfPublicKey) }, want: Algorithm},
	{name: "none", token: func(w *world) string { return w.unsigned("none", nothing) }, want: Algorithm},
	{name: "None", token: func(w *world) string { return w.unsigned("None", nothing) }, want: Algorithm},
	{name: "nOnE with a genuine signature", token: head("alg", "nOnE"), want: Algorithm},
	{name: "an algorithm that is not configured", token: head("alg", "PS256"), want: Algorithm},
	{name: "an algorithm that only another issuer has", token: head(), want: Algorithm, config: func(c *Config) { c.Issuers[0].Algorithms = []string{"ES256"} }},
	{name: "alg in lower case", token: head("alg", "rs256"), want: Algorithm},
	{name: "alg of another kind of key", token: func(w *world) string { return w.head("kid", w.KeyID(localissuer.ES256)) }, want: Algorithm},
	{name: "no kid, and one key that it can mean", token: head("kid", drop{})},
	{name: "unknown kid", token: head("kid", "nobody"), want: UnknownKey},
	{name: "withdrawn key", token: func(w *world) string {
		kid := must(w.Rotate(localissuer.RS256))
		w.Withdraw(kid)
		return w.headed(w.Provider, kid, "kid", kid)
	}, want: UnknownKey},
	{name: "withdrawn key without kid", token: func(w *world) string {
		kid := must(w.Rotate(localissuer.RS256))
		w.Withdraw(kid)
		return w.headed(w.Provider, kid, "kid", drop{})
	}, want: BadSignature},

	// Its header.
	{name: "embedded jwk", token: func(w *world) string {
		kid := w.stranger().KeyID(localissuer.RS256)
		return w.headed(w.stranger(), kid, "kid", drop{}, "jwk", jose.JSONWebKey{Key: w.stranger().PublicKey(kid)})
	}, want: Malformed},
	{name: "embedded jwk, genuine", token: func(w *world) string {
		return w.head("jwk", jose.JSONWebKey{Key: w.PublicKey(w.KeyID(localissuer.RS256))})
	}, want: Malformed},
	{name: "jku", token: head("jku", base+"/oidc/keys"), want: Malformed},
	{name: "x5u", token: head("x5u", "https://example.com/cert.pem"), want: Malformed},
	{name: "x5c", token: head("x5c", []string{"AAAA"}), want: Malformed},
	{name: "crit", token: head("crit", []string{"exp"}, "exp", 1), want: Malformed},
	{name: "crit, empty", token: head("crit", []string{}), want: Malformed},
	{name: "b64", token: head("b64", false, "crit", []string{"b64"}), want: Malformed},
	{name: "zip", token: head("zip", "DEF"), want: Malformed},
	{name: "no alg", token: head("alg", drop{}), want: Malformed},
	{name: "alg is null", token: head("alg", nil), want: Malformed},
	{name: "alg is a list", token: head("alg", []string{"RS256"}), want: Malformed},
	{name: "kid is a number", token: head("kid", 1), want: Malformed},
	{name: "kid is long", token: head("kid", strings.Repeat("k", MaxTextBytes+1)), want: Malformed},
	{name: "two algs", token: func(w *world) string {
		kid := w.KeyID(localissuer.RS256)
		header := double(marshal(map[string]any{"alg": "RS256", "kid": kid}), "alg", "none")
		return must(w.SignRaw(kid, header, marshal(w.Claims(user()))))
	}, want: Malformed},
	{name: "header is not an object", token: func(w *world) string {
		return must(w.SignRaw(w.KeyID(localissuer.RS256), []byte(`["RS256"]`), marshal(w.Claims(user()))))
	}, want: Malformed},

	// Its shape.
	{name: "none at all", token: text(""), want: MissingToken},
	{name: "not a token", token: text("secret"), want: Malformed},
	{name: "dots only", token: text(".."), want: Malformed},
	{name: "four parts", token: text("a.b.c.d"), want: Malformed},
	{name: "encrypted", token: text("a.b.c.d.e"), want: Malformed},
	{name: "not base64url", token: func(w *world) string { return "+" + w.edit(user()) }, want: Malformed},
	{name: "padding", token: func(w *world) string { return w.edit(user()) + "==" }, want: Malformed},
	{name: "spare bits in the signature", token: func(w *world) string {
		token := []byte(w.edit(user()))
		token[len(token)-1]++ // 2048 bits leave four of the last character
		return string(token)
	}, want: Malformed},
	{name: "space before", token: func(w *world) string { return " " + w.edit(user()) }, want: Malformed},
	{name: "line break after", token: func(w *world) string { return w.edit(user()) + "\n" }, want: Malformed},
	{name: "line break within", token: func(w *world) string { return strings.Replace(w.edit(user()), ".", ".\r\n", 1) }, want: Malformed},
	{name: "100 KiB", token: edited(user(), "x", strings.Repeat("x", 100<<10)), want: TooLarge},
	{name: "as large as can be", token: func(w *world) string { return sized(w, MaxTokenBytes) }},
	{name: "a little larger", token: func(w *world) string { return sized(w, MaxTokenBytes+2) }, want: TooLarge},
	{name: "two signatures", token: func(w *world) string {
		parts := strings.Split(w.edit(user()), ".")
		signature := map[string]string{"protected": parts[0], "signature": parts[2]}
		return string(marshal(map[string]any{"payload": parts[1], "signatures": []any{signature, signature}}))
	}, want: Malformed},
	{name: "JSON serialization, one genuine signature", token: func(w *world) string {
		parts := strings.Split(w.edit(user()), ".")
		return string(marshal(map[string]string{"protected": parts[0], "payload": parts[1], "signature": parts[2]}))
	}, want: Malformed},
	{name: "payload is not JSON", token: func(w *world) string { return w.payload([]byte("x")) }, want: Malformed},
	{name: "payload is null", token: func(w *world) string { return w.payload([]byte("null")) }, want: Malformed},
	{name: "payload is a list", token: func(w *world) string { return w.payload([]byte("[]")) }, want: Malformed},
	{name: "payload is two objects", token: func(w *world) string {
		return w.payload(append(marshal(w.Claims(user())), "{}"...))
	}, want: Malformed},
	{name: "payload is not UTF-8", token: func(w *world) string {
		return w.payload(double(marshal(w.Claims(user())), "x", json.RawMessage("\"\xff\"")))
	}, want: Malformed},
	{name: "two times the same claim", token: func(w *world) string {
		return w.payload(double(marshal(w.Claims(user())), "roles", []string{"Admin"}))
	}, want: Malformed},
	{name: "two times the same member, deeper", token: func(w *world) string {
		return w.payload(double(marshal(w.Claims(user())), "x", json.RawMessage(`[{"a":1,"\u0061":2}]`)))
	}, want: Malformed},
	{name: "deeply nested", token: func(w *world) string {
		deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
		return w.payload(double(marshal(w.Claims(user())), "x", json.RawMessage(deep)))
	}, want: Malformed},

	// What is missing.
	{name: "no iss", token: edited(user(), "iss", drop{}), want: MissingClaim},
	{name: "no aud", token: edited(user(), "aud", drop{}), want: MissingClaim},
	{name: "no exp", token: edited(user(), "exp", drop{}), want: MissingClaim},
	{name: "no tid", token: edited(user(), "tid", drop{}), want: MissingClaim},
	{name: "no oid", token: edited(user(), "oid", drop{}), want: MissingClaim},
	{name: "no sub, of a user", token: edited(user(), "sub", drop{})},
	{name: "no azp", token: edited(user(), "azp", drop{}), want: NotAccessToken},
	{name: "no appid", token: edited(v1(user()), "appid", drop{}), want: NotAccessToken},
	{name: "appid in version 2", token: edited(user(), "azp", drop{}, "appid", appID), want: NotAccessToken},
	{name: "iss in capitals only", token: edited(user(), "iss", drop{}, "ISS", base+"/"+tenantA+"/v2.0"), want: MissingClaim},
	{name: "iss in capitals besides, before", token: edited(user(), "ISS", "https://example.com")},
	{name: "iss in capitals besides, after", token: func(w *world) string {
		return w.payload(double(marshal(w.Claims(user())), "ISS", "https://example.com"))
	}, want: BadClaim}, // go-oidc takes it for iss

	// What is of a wrong type.
	{name: "iss is a list", token: edited(user(), "iss", []string{base}), want: BadClaim},
	{name: "iss is null", token: edited(user(), "iss", nil), want: BadClaim},
	{name: "aud is null", token: edited(user(), "aud", nil), want: BadClaim},
	{name: "aud is a number", token: edited(user(), "aud", 1), want: BadClaim},
	{name: "aud has a number", token: edited(user(), "aud", []any{apiID, 1}), want: BadClaim},
	{name: "aud is an object", token: edited(user(), "aud", map[string]any{apiID: 1}), want: BadClaim},
	{name: "exp is a text", token: edited(user(), "exp", "1900000000"), want: BadClaim},
	{name: "exp is null", token: edited(user(), "exp", nil), want: BadClaim},
	{name: "exp is before all time", token: edited(user(), "exp", -1), want: BadClaim},
	{name: "exp is after all time", token: edited(user(), "exp", 1e300), want: BadClaim},
	{name: "nbf is true", token: edited(user(), "nbf", true), want: BadClaim},
	{name: "iat is a text", token: edited(user(), "iat", "now"), want: BadClaim},
	{name: "tid is a number", token: edited(user(), "tid", 1), want: BadClaim},
	{name: "tid is a name", token: edited(user(), "tid", "example.com"), want: BadClaim},
	{name: "oid is null", token: edited(user(), "oid", nil), want: BadClaim},
	{name: "oid is empty", token: edited(user(), "oid", ""), want: BadClaim},
	{name: "oid is not a GUID", token: edited(user(), "oid", "ann"), want: BadClaim},
	{name: "azp is a list", token: edited(user(), "azp", []string{appID}), want: BadClaim},
	{name: "scp is a list", token: edited(user(), "scp", []string{"Config.Read"}), want: BadClaim},
	{name: "scp is null", token: edited(user(), "scp", nil), want: BadClaim},
	{name: "too many scopes", token: edited(user(), "scp", strings.Repeat("s ", MaxScopes+1)), want: BadClaim},
	{name: "roles is a text", token: edited(user(), "roles", "Admin"), want: BadClaim},
	{name: "roles is null", token: edited(user(), "roles", nil), want: BadClaim},
	{name: "roles has a null", token: edited(user(), "roles", []any{nil}), want: BadClaim},
	{name: "roles has an empty text", token: edited(user(), "roles", []string{""}), want: BadClaim},
	{name: "too many roles", token: edited(user(), "roles", roles(MaxRoles+1)), want: BadClaim},
	{name: "a role too long", token: edited(user(), "roles", []string{strings.Repeat("r", MaxTextBytes+1)}), want: BadClaim},
	{name: "a role with a line break", token: edited(user(), "roles", []string{"a\nb"}), want: BadClaim},
	{name: "a role that is not Unicode", token: func(w *world) string {
		claims := w.claims(user(), "roles", []json.RawMessage{json.RawMessage(`"\ud800"`)})
		return must(w.Sign(claims))
	}, want: BadClaim},
	{name: "groups is a text", token: edited(user(), "groups", groupA), want: BadClaim},
	{name: "groups has a name", token: edited(user(), "groups", []string{groupA, "Admins"}), want: BadClaim},
	{name: "groups has a number", token: edited(user(), "groups", []any{1}), want: BadClaim},
	{name: "idtyp is true", token: edited(app(), "idtyp", true), want: BadClaim},
	{name: "idtyp of a device", token: edited(app(), "idtyp", "device"), want: BadClaim},
	{name: "preferred_username is a list", token: edited(user(), "preferred_username", []string{"ann"}), want: BadClaim},
	{name: "preferred_username is long", token: edited(user(), "preferred_username", strings.Repeat("a", MaxTextBytes+1)), want: BadClaim},
	{name: "hasgroups is a text", token: edited(user(), "hasgroups", "true"), want: BadClaim},
	{name: "_claim_names is a list", token: edited(user(), "_claim_names", []string{"groups"}), want: BadClaim},

	// More groups than fit.
	{name: "overage", token: edited(user(), "roles", drop{}, "_claim_names", map[string]string{"groups": "src1"},
		"_claim_sources", map[string]any{"src1": map[string]string{"endpoint": base + "/oidc/keys"}}), want: GroupsOverage},
	{name: "overage of the implicit flow", token: edited(user(), "roles", drop{}, "hasgroups", true), want: GroupsOverage},
	{name: "overage with roles", token: edited(user(), "hasgroups", true), want: GroupsOverage},
	{name: "overage with roles, which is allowed", token: edited(user(), "hasgroups", true), config: fallback, check: func(t *testing.T, id *Identity) {
		assert.Equal(t, []string{"Reader"}, id.Roles)
		assert.Empty(t, id.Groups)
	}},
	{name: "overage without roles, where roles would do", token: edited(user(), "roles", drop{}, "hasgroups", true), want: GroupsOverage, config: fallback},
	{name: "overage and some groups", token: edited(user(), "hasgroups", true, "groups", []string{groupA}), config: fallback, check: func(t *testing.T, id *Identity) {
		assert.Empty(t, id.Groups)
	}},
	{name: "overage of groups that are mapped as roles", token: edited(user(), "roles", drop{}, "_claim_names", map[string]string{"groups": "src1"}), want: GroupsOverage, config: groupsAsRoles},
	{name: "overage of roles", token: edited(user(), "roles", drop{}, "_claim_names", map[string]string{"roles": "src1"}), want: GroupsOverage},
	{name: "groups that are mapped as roles", token: edited(user(), "groups", []string{"Ops"}), config: groupsAsRoles, check: func(t *testing.T, id *Identity) {
		assert.Equal(t, []string{"Ops"}, id.Roles)
	}},
	{name: "hasgroups is false", token: edited(user(), "hasgroups", false)},
	{name: "another claim is elsewhere", token: edited(user(), "_claim_names", map[string]string{"photo": "src1"},
		"_claim_sources", map[string]any{"src1": map[string]string{"endpoint": "https://example.com"}})},
	{name: "more groups than we keep", token: issue(with(user(), func(t *localissuer.Token) { t.Groups = groups(MaxGroups + 1) })), want: GroupsOverage},

	// What is not an access token.
	{name: "id token", token: edited(user(), "azp", drop{}, "scp", drop{}, "nonce", "n", "name", "Ann"), want: NotAccessToken},
	{name: "id token with roles for our own registration", token: edited(user(), "azp", drop{}, "scp", drop{}), want: NotAccessToken},
	{name: "id token of version 1", token: edited(v1(user()), "appid", drop{}, "scp", drop{}, "aud", apiID), want: NotAccessToken},
	{name: "id token with azp and nonce", token: edited(user(), "nonce", "n"), want: NotAccessToken},
	{name: "id token with azp and at_hash", token: edited(user(), "at_hash", "h"), want: NotAccessToken},
	{name: "id token with azp and c_hash", token: edited(user(), "c_hash", "h"), want: NotAccessToken},
	{name: "id token that passes for an application", token: edited(app(), "azp", drop{}), want: NotAccessToken},
	{name: "logout token", token: head("typ", "logout+jwt"), want: NotAccessToken},
	{name: "id token of Keycloak", token: func(w *world) string { return w.at9068("at+jwt", "typ", "ID") }, want: NotAccessToken},
	{name: "not of type at+jwt", token: func(w *world) string { return w.at9068("JWT") }, want: NotAccessToken},
	{name: "RFC 9068 without its client", token: func(w *world) string { return w.at9068("at+jwt", "client_id", drop{}) }, want: NotAccessToken},

	// Who may be the client.
	{name: "client that is listed", token: issue(user()), config: clients(strings.ToUpper(appID))},
	{name: "client that is not listed", token: issue(user()), want: ClientNotAllowed, config: clients(robot)},
	{name: "application that is not listed", token: issue(v1(app())), want: ClientNotAllowed, config: clients(robot)},
	{name: "two clients", token: func(w *world) string { return w.at9068("at+jwt", "azp", "a", "appid", "b") }, want: BadClaim, config: func(c *Config) { c.Issuers[1].Claims.App = "" }},

	// Who it is.
	{name: "application without roles", token: issue(with(app(), func(t *localissuer.Token) { t.Roles = nil })), want: NoRoles},
	{name: "application with an empty list of roles", token: edited(app(), "roles", []string{}), want: NoRoles},
	{name: "application without roles or idtyp", token: edited(app(), "roles", drop{}, "idtyp", drop{}), want: NoRoles},
	{name: "user without scopes", token: edited(user(), "scp", drop{}), want: Scope},
	{name: "user with an empty scope", token: edited(user(), "scp", ""), want: Scope},
	{name: "user with scopes of others", token: edited(user(), "scp", "User.Read openid"), want: Scope},
	{name: "user with a scope in other case", token: edited(user(), "scp", "config.read"), want: Scope},
	{name: "a scope with another space in it", token: edited(user(), "scp", "x\u00a0Config.Read"), want: Scope},
	{name: "a scope with a line break in it", token: edited(user(), "scp", "x\nConfig.Read"), want: BadClaim},
	{name: "scopes with spaces around", token: edited(user(), "scp", " x  Config.Read ")},
	{name: "issuer without configured scopes", token: issue(user()), want: Scope, config: func(c *Config) { c.Issuers[0].Scopes = nil }},
	{name: "user whose scope was left out, as if an application", token: edited(user(), "scp", drop{}, "sub", person), want: Scope},
	{name: "public client, as if an application", token: edited(app(), "idtyp", drop{}, "azpacr", "0"), want: Scope},
	{name: "no idtyp, and sub is not oid", token: edited(app(), "idtyp", drop{}, "sub", person), want: Scope},
	{name: "no idtyp, and no sub", token: edited(app(), "idtyp", drop{}, "sub", drop{}), want: Scope},
	{name: "application and user at once", token: edited(app(), "scp", "Config.Read"), want: BadClaim},
	{name: "idtyp user without scopes", token: edited(app(), "idtyp", "user"), want: Scope},
	{name: "another's sub is its client", token: func(w *world) string {
		return w.at9068("at+jwt", "scope", drop{}, "sub", "cli", "roles", []string{"a"})
	}, want: Scope},
	{name: "another's application", token: func(w *world) string {
		return w.at9068("at+jwt", "scope", drop{}, "idtyp", "app", "roles", []string{"a"})
	}, check: func(t *testing.T, id *Identity) { assert.Equal(t, ServicePrincipal, id.Kind) }},
	{name: "another issuer without Claims.Object", token: func(w *world) string { return w.at9068("at+jwt") }, want: MissingClaim, config: func(c *Config) { c.Issuers[1].Claims.Object = "" }},
}

// sized is a genuine token of that many bytes, or one more.
func sized(w *world, n int) string {
	for pad := (n - len(w.edit(user()))) * 3 / 4; ; pad-- {
		if token := w.edit(user(), "x", strings.Repeat("x", pad)); len(token) <= n {
			return token
		}
	}
}

func TestTokens(t *testing.T) {
	require.GreaterOrEqual(t, len(tokenCases), 75)
	w := newWorld(t)
	seen := map[string]bool{}
	for _, c := range tokenCases {
		require.False(t, seen[c.name], c.name)
		seen[c.name] = true
		t.Run(c.name, func(t *testing.T) {
			raw := c.token(w)
			cfg := w.config()
			if c.config != nil {
				c.config(&cfg)
			}
			a, err := New(cfg)
			require.NoError(t, err)
			id, err := a.Token(t.Context(), raw)
			require.Equal(t, c.want, reason(t, err), "%v", err)
			if c.want != "" {
				assert.Nil(t, id)
				assert.Zero(t, a.verified.len(), "a refused token is remembered")
				return
			}
			require.NotNil(t, id)
			checkIdentity(t, id)
			if c.check != nil {
				c.check(t, id)
			}
			again, err := a.Token(t.Context(), raw)
			require.NoError(t, err)
			assert.Same(t, id, again)
		})
	}
	for _, host := range w.wire.hosts {
		require.Equal(t, strings.TrimPrefix(base, "http://"), host, "something else was fetched")
	}
}

// checkIdentity: what holds of each, whatever was in the token.
func checkIdentity(t testing.TB, id *Identity) {
	require.NotEmpty(t, id.Object)
	require.LessOrEqual(t, len(id.Roles), MaxRoles)
	require.LessOrEqual(t, len(id.Groups), MaxGroups)
	for _, text := range append([]string{id.Issuer, id.Object, id.App}, id.Roles...) {
		require.NoError(t, checkText(text))
	}
	require.LessOrEqual(t, len(id.Tenant), MaxTextBytes)
	require.LessOrEqual(t, len(id.Name), MaxTextBytes)
	switch id.Kind {
	case User:
		require.NotEmpty(t, id.Scopes)
	case ServicePrincipal:
		require.NotEmpty(t, id.Roles)
		require.Empty(t, id.Scopes)
	default:
		require.Fail(t, "the kind of a caller with a token", "%d", id.Kind)
	}
}

// TestDetailsLeakNothing: no part of a token that nobody vouched for, but its algorithm and a
// name, and no address of the issuer, is in what the caller is shown.
func TestDetailsLeakNothing(t *testing.T) {
	w := newWorld(t)
	for _, c := range tokenCases {
		if c.want == "" {
			continue
		}
		raw := c.token(w)
		cfg := w.config()
		if c.config != nil {
			c.config(&cfg)
		}
		a, err := New(cfg)
		require.NoError(t, err)
		_, err = a.Token(t.Context(), raw)
		require.Error(t, err, c.name)
		for _, secret := range []string{"127.0.0.1", person, "ann@", "Deployer", "eyJ"} {
			assert.NotContains(t, err.Error(), secret, c.name)
		}
		assert.Less(t, len(err.Error()), 2*MaxTextBytes, c.name)
	}
}
