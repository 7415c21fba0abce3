package auth

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"
)

// identify reads the claims of a token whose signature was verified. The order
// decides which of several faults is reported.
func (t *trusted) identify(h header, claims object, now time.Time) (*Identity, error) {
	id := &Identity{Issuer: t.issuer.Name}
	if err := t.checkTenant(claims, id); err != nil {
		return nil, err
	}
	if err := t.checkAudience(claims); err != nil {
		return nil, err
	}
	if err := t.checkTime(claims, now, id); err != nil {
		return nil, err
	}
	if err := t.checkClient(claims, id); err != nil {
		return nil, err
	}
	if err := t.checkAccessToken(h, claims, id); err != nil {
		return nil, err
	}
	var err error
	if id.Object, err = t.guid(claims, t.issuer.Claims.Object, true); err != nil {
		if t.issuer.Claims.Object == "oid" && !t.issuer.entra() && !claims.has("oid") {
			return nil, refuse(MissingClaim, "the token has no oid; an issuer other than Entra ID needs Claims.Object in the configuration, such as sub")
		}
		return nil, err
	}
	if err := t.readRoles(claims, id); err != nil {
		return nil, err
	}
	if err := t.classify(claims, id); err != nil {
		return nil, err
	}
	if err := t.readGroups(claims, id); err != nil {
		return nil, err
	}
	return id, t.readName(claims, id)
}

// guid is a claim that is a GUID in tokens of Entra ID; those are made lower case, for
// subjects are compared as texts.
func (t *trusted) guid(claims object, name string, required bool) (string, error) {
	text, err := claims.text(name)
	switch {
	case err != nil:
		return "", err
	case text == "" && required:
		return "", refuse(MissingClaim, "the token has no %s", name)
	case text == "" || !t.issuer.entra():
		return text, nil
	case !isGUID(text):
		return "", refuse(BadClaim, "%s is not a GUID", name)
	}
	return strings.ToLower(text), nil
}

// checkTenant: iss is that of the token's tenant. go-oidc compared iss already, but took
// its name in any case.
func (t *trusted) checkTenant(claims object, id *Identity) error {
	if iss, err := claims.required("iss"); err != nil {
		return err
	} else if iss != t.url {
		return refuse(WrongIssuer, "iss is not that of the issuer whose key signed the token")
	}
	var err error
	id.Tenant, err = t.guid(claims, t.issuer.Claims.Tenant, t.tenant != "" || len(t.issuer.Tenants) > 0)
	switch {
	case err != nil:
		return err
	case t.tenant != "" && id.Tenant != t.tenant:
		return refuse(WrongIssuer, "iss is not that of the token's tenant (%s)", t.issuer.Claims.Tenant)
	case len(t.issuer.Tenants) > 0 && !slices.Contains(t.issuer.Tenants, id.Tenant):
		return refuse(WrongTenant, "the token is of tenant %q, which is not let in here", id.Tenant)
	}
	return nil
}

func (t *trusted) checkAudience(claims object) error {
	got, err := claims.listOrText("aud")
	switch {
	case err != nil:
		return err
	case got == nil:
		return refuse(MissingClaim, "the token has no aud")
	case slices.ContainsFunc(got, func(aud string) bool { return slices.Contains(t.issuer.Audiences, aud) }):
		return nil
	case len(got) == 0:
		return refuse(WrongAudience, "the token is for no audience, and this service is %s", t.ownAudiences())
	}
	return refuse(WrongAudience, "the token is for audience %q, and this service is %s", got[0], t.ownAudiences())
}

func (t *trusted) ownAudiences() string {
	const most = 3
	quoted := make([]string, 0, most)
	for _, audience := range t.issuer.Audiences[:min(most, len(t.issuer.Audiences))] {
		quoted = append(quoted, `"`+audience+`"`)
	}
	return strings.Join(quoted, " or ")
}

// checkTime: a token is good from nbf on, if it has one, until just before exp; the
// leeway is added at both ends.
func (t *trusted) checkTime(claims object, now time.Time, id *Identity) error {
	exp, present, err := claims.time("exp")
	if err != nil {
		return err
	}
	if !present {
		return refuse(MissingClaim, "the token has no exp")
	}
	nbf, _, err := claims.time("nbf")
	if err != nil {
		return err
	}
	if _, _, err := claims.time("iat"); err != nil {
		return err
	}
	id.Expires = exp.Add(t.issuer.Leeway)
	if !now.Before(id.Expires) {
		return refuse(Expired, "the token expired at %s, and it is %s: get a new one", exp.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if now.Add(t.issuer.Leeway).Before(nbf) {
		return refuse(NotYetValid, "the token is not valid before %s, and it is %s: compare the clocks", nbf.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return nil
}

// checkClient reads the application and asks the list of those that are let in.
func (t *trusted) checkClient(claims object, id *Identity) error {
	var err error
	switch name := t.issuer.Claims.App; {
	case name != "":
		id.App, err = claims.text(name)
	case t.v1:
		id.App, err = t.guid(claims, "appid", false)
	case t.tenant != "":
		id.App, err = t.guid(claims, "azp", false)
	default:
		if id.App, err = claims.text("azp"); err != nil {
			return err
		}
		appID, err := claims.text("appid")
		switch {
		case err != nil:
			return err
		case id.App == "":
			id.App = appID
		case appID != "" && appID != id.App:
			return refuse(BadClaim, "azp and appid are different applications")
		}
	}
	if err != nil {
		return err
	}
	if id.App != "" && len(t.issuer.Clients) > 0 && !slices.Contains(t.issuer.Clients, id.App) {
		return refuse(ClientNotAllowed, "the token was issued to application %q, which is not let in here", id.App)
	}
	return nil
}

// checkAccessToken refuses what proves to a client who its user is (an id token), and
// the other tokens that issuers sign with the same keys.
//
// An id token of Entra ID can have this service's audience (of one registration for the
// page and the API) and app roles; it has no azp or appid, and if it has a nonce or the
// hash of another token, it is one whatever else it has.
func (t *trusted) checkAccessToken(h header, claims object, id *Identity) error {
	no := func(format string, args ...any) error {
		return refuse(NotAccessToken, format+": send the access token", args...)
	}
	switch h.typ {
	case "at+jwt":
	case "", "jwt":
		if t.issuer.RequireAtJWT {
			return no("the token is not of type at+jwt")
		}
	default:
		return no("the token is of type %q", short(h.typ))
	}
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if claims.has(name) {
			return no("the token has %s, as id tokens have", name)
		}
	}
	if t.tenant != "" && claims.has("nonce") {
		return no("the token has nonce, as id tokens have")
	}
	// Keycloak and Cognito say so in a claim.
	for _, marker := range []struct{ name, value string }{{"typ", "ID"}, {"token_use", "id"}} {
		if string(claims[marker.name]) == `"`+marker.value+`"` {
			return no("%s of the token says that it is an id token", marker.name)
		}
	}
	if id.App == "" {
		name := t.issuer.Claims.App
		switch {
		case name != "":
		case t.v1:
			name = "appid"
		default:
			name = "azp"
		}
		return no("the token has no %s, so it is no access token", name)
	}
	return nil
}

// readRoles keeps the app roles.
func (t *trusted) readRoles(claims object, id *Identity) error {
	roles, err := claims.list(t.issuer.Claims.Roles)
	if err != nil {
		return err
	}
	if n := len(roles); n > MaxRoles {
		return refuse(BadClaim, "%s has %d members, at most %d", t.issuer.Claims.Roles, n, MaxRoles)
	}
	slices.Sort(roles)
	id.Roles = slices.Compact(roles)
	return nil
}

// classify tells a user from an application. The mistake that must not be made is to take
// a user's token for its application's own: that would hand out the application's rights.
//
//   - A scope is given to an application by a user: a token that has one is that user's.
//   - idtyp, where configured as an optional claim, says "app" or "user".
//   - Without either, only a token of Entra ID can be an application's: one in which sub is
//     oid. Of a user sub is another text for each application, of a service principal both
//     are its object id. A claim that only users have, or a public client (acr "0": it has
//     nothing to prove who it is by), says no.
//
// Entra ID issues tokens without roles to every application of a tenant, unless the
// registration says that assignment is required: being one authorizes nothing.
func (t *trusted) classify(claims object, id *Identity) error {
	scopes, hasScopes, err := claims.words(t.issuer.Claims.Scopes)
	if err != nil {
		return err
	}
	idtyp, err := claims.text("idtyp")
	if err != nil {
		return err
	}
	if idtyp != "" && idtyp != "app" && idtyp != "user" {
		return refuse(BadClaim, "idtyp is neither app nor user")
	}
	if hasScopes {
		if idtyp == "app" {
			return refuse(BadClaim, "idtyp says that the token is an application's, and %s that it is a user's", t.issuer.Claims.Scopes)
		}
		slices.Sort(scopes)
		id.Kind, id.Scopes = User, slices.Compact(scopes)
		if !slices.ContainsFunc(id.Scopes, func(scope string) bool { return t.issuer.Scopes[scope] != nil }) {
			return refuse(Scope, "none of the token's scopes is one of this service%s", t.ownScopes())
		}
		return nil
	}
	app := idtyp == "app"
	if idtyp == "" && t.tenant != "" {
		if app, err = t.looksLikeApp(claims, id); err != nil {
			return err
		}
	}
	if !app {
		return refuse(Scope, "the token has no %s, as a user's has, and does not say that it is an application's (idtyp)%s", t.issuer.Claims.Scopes, t.ownScopes())
	}
	if len(id.Roles) == 0 {
		return refuse(NoRoles, "the application has no app role of this service: have one assigned to it")
	}
	id.Kind = ServicePrincipal
	return nil
}

func (t *trusted) looksLikeApp(claims object, id *Identity) (bool, error) {
	subject, err := t.guidOrText(claims, "sub")
	if err != nil || subject != id.Object {
		return false, err
	}
	for _, name := range mutableClaims {
		if claims.has(name) {
			return false, nil
		}
	}
	name := "azpacr"
	if t.v1 {
		name = "appidacr"
	}
	acr, err := claims.text(name)
	return acr != "0", err
}

// guidOrText is a claim that is a GUID in some tokens, in lower case then.
func (t *trusted) guidOrText(claims object, name string) (string, error) {
	text, err := claims.text(name)
	if isGUID(text) {
		text = strings.ToLower(text)
	}
	return text, err
}

func (t *trusted) ownScopes() string {
	const most = 5
	names := slices.Sorted(maps.Keys(t.issuer.Scopes))
	if len(names) == 0 {
		return ", which has no Scopes configured"
	}
	return ": ask for " + strings.Join(names[:min(most, len(names))], " or ")
}

// readGroups keeps the groups, all or none. Roles that are not in the token are as bad, and nothing
// makes up for them: they may be groups by another name (Claims.Roles).
func (t *trusted) readGroups(claims object, id *Identity) error {
	name := t.issuer.Claims.Groups
	elsewhere, err := elsewhere(claims)
	if err != nil {
		return err
	}
	over, err := claims.flag("hasgroups")
	if err != nil {
		return err
	}
	texts, err := claims.list(name)
	if err != nil {
		return err
	}
	if roles := elsewhere.has(t.issuer.Claims.Roles); roles || over || elsewhere.has(name) || len(texts) > MaxGroups {
		if t.issuer.OverageFallback == OverageToRoles && len(id.Roles) > 0 && !roles {
			return nil
		}
		return refuse(GroupsOverage, "the user is in more groups than a token names (%d): use app roles, or have the token name only groups assigned to the application", MaxGroups)
	}
	groups := make([][16]byte, len(texts))
	for n, text := range texts {
		var ok bool
		if groups[n], ok = parseGUID(text); !ok {
			return refuse(BadClaim, "%s has a member that is not a GUID: names of groups can be mapped as roles instead (Claims.Roles)", name)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	slices.SortFunc(groups, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	id.Groups = slices.Compact(groups)
	return nil
}

// elsewhere are the claims that the token names an address for instead of having them. Nobody
// goes there: the address is not ours to visit.
func elsewhere(claims object) (object, error) {
	raw, ok := claims["_claim_names"]
	if !ok {
		return nil, nil
	}
	names, err := parseObject(raw)
	if err != nil {
		return nil, refuse(BadClaim, "_claim_names is not an object")
	}
	return names, nil
}

func (t *trusted) readName(claims object, id *Identity) error {
	names := []string{"preferred_username", "upn"}
	if name := t.issuer.Claims.Name; name != "" {
		names = []string{name}
	}
	for _, name := range names {
		text, err := claims.text(name)
		if err != nil {
			return err
		}
		if text != "" {
			id.Name = text
			return nil
		}
	}
	return nil
}
