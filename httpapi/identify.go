package httpapi

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/confman/confman/auth"
	"github.com/confman/confman/fsm"
)

// Authenticator tells who sent a request. *auth.Authenticator is one. Its errors are *auth.Error.
// The same token has the same *auth.Identity as long as that is remembered.
type Authenticator interface {
	Token(ctx context.Context, raw string) (*auth.Identity, error)
	Certificate(verified *x509.Certificate) (*auth.Identity, error)
}

var _ Authenticator = (*auth.Authenticator)(nil)

// caller is who sent a request; the zero value is anybody.
type caller struct {
	identity  *auth.Identity // nil: anybody
	principal fsm.Principal
	withheld  fsm.Verbs // what a user's token does not let its holder do, whatever the user may
}

// identify finds out who sent the request. It is refused if that cannot be told.
func (c *call) identify() error {
	if c.api.Auth == nil {
		return nil
	}
	id, err := c.identity()
	if err == nil {
		c.who, err = c.api.callerOf(id)
	}
	if err != nil {
		c.strangerDenied(err)
		return err
	}
	c.api.counted.letIn(id.Kind)
	if s := c.sees(); s != nil {
		s.caller = c.who.principal.String()
	}
	return nil
}

// identity is that of the token in the Authorization header or, without one, of the client
// certificate that the TLS layer has verified. A token anywhere else, as in the query, which ends
// up in logs, is not looked at.
func (c *call) identity() (*auth.Identity, error) {
	lines := c.r.Header["Authorization"]
	if len(lines) > 1 {
		return nil, &auth.Error{Reason: auth.Malformed, Detail: "there is more than one Authorization header: send one"}
	}
	if len(lines) == 1 {
		if scheme, token, _ := strings.Cut(lines[0], " "); strings.EqualFold(scheme, "Bearer") {
			if token = strings.Trim(token, " "); token == "" {
				return nil, &auth.Error{Reason: auth.Malformed, Detail: "the Authorization header has no token after Bearer"}
			}
			return c.api.Auth.Token(c.r.Context(), token)
		}
	}
	if t := c.r.TLS; t != nil && len(t.VerifiedChains) > 0 && len(t.VerifiedChains[0]) > 0 {
		return c.api.Auth.Certificate(t.VerifiedChains[0][0])
	}
	if len(lines) == 1 {
		return nil, &auth.Error{Reason: auth.MissingToken, Detail: "the Authorization header is not of scheme Bearer: send an access token"}
	}
	return nil, &auth.Error{Reason: auth.MissingToken, Detail: "there is no access token: send one in an Authorization header, after Bearer and a space"}
}

// callerOf is id as the store knows it. What its lists hold is shared, and nobody changes it.
func (a *api) callerOf(id *auth.Identity) (caller, error) {
	who := caller{identity: id, principal: fsm.Principal{
		Issuer: id.Issuer, Tenant: id.Tenant, Object: id.Object, App: id.App, Roles: id.Roles, Groups: id.Groups,
	}}
	switch id.Kind {
	case auth.User:
		who.principal.Kind = fsm.User
		if scopes, limited := a.Scopes[id.Issuer]; limited {
			who.withheld = ^fsm.Verbs(0)
			for _, scope := range id.Scopes {
				who.withheld &^= scopes[scope]
			}
		}
	case auth.ServicePrincipal:
		who.principal.Kind = fsm.ServicePrincipal
	case auth.Certificate:
		who.principal.Kind = fsm.Certificate
	default: // it must not pass for anybody
		return caller{}, fmt.Errorf("httpapi: an identity of kind %d", id.Kind)
	}
	return who, nil
}

// expires is when the caller is refused, as far as that is known; zero: never.
func (who *caller) expires() time.Time {
	if who.identity == nil {
		return time.Time{}
	}
	return who.identity.Expires
}

// expired is what a stream ends with whose caller is not let in any more.
func (c *call) expired() error {
	at := c.who.expires()
	if at.IsZero() || c.api.Now().Before(at) {
		return nil
	}
	return expired()
}

func expired() error {
	return &auth.Error{Reason: auth.Expired, Detail: "the token, or the certificate, expired meanwhile: go on with a new one"}
}

// notLetIn is the problem that an error of an Authenticator is. Its Err is not for the log of
// errors: whoever sends forged tokens would fill that.
func notLetIn(err *auth.Error) *problem {
	k := kindUnauthenticated
	switch err.Reason.Status() {
	case http.StatusForbidden:
		k = kindNoPermission
	case http.StatusServiceUnavailable:
		return problemf(kindKeysUnavailable, "%s", err.Detail)
	}
	return problemf(k, "%s", err.Detail).with("reason", string(err.Reason))
}

// challenge says how to be let in, in the answer to a request that was not (RFC 6750, section 3);
// "" if nothing about the caller is wrong.
func challenge(p *problem, err error) string {
	const realm = `Bearer realm="confman"`
	var refused *auth.Error
	switch {
	case errors.As(err, &refused) && refused.Reason == auth.MissingToken:
		return realm // no error: it was not known that there must be a token
	case p.name == kindUnauthenticated.name:
		return realm + `, error="invalid_token", error_description="` + described(p.detail) + `"`
	case p.name == kindForbidden.name, p.name == kindNoPermission.name:
		return realm + `, error="insufficient_scope", error_description="` + described(p.detail) + `"`
	}
	return ""
}

// described is a text as error_description may hold it: ASCII without quotes and backslashes.
func described(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ', r > '~', r == '\\':
			return '?'
		}
		return r
	}, text)
}
