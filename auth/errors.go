package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Reason says why a caller was refused. There are only those of [Reasons]; docs/tokens.md
// has a row for each.
type Reason string

// 401: who calls is not established.
const (
	MissingToken       Reason = "missing-token"
	Malformed          Reason = "malformed"
	TooLarge           Reason = "too-large"
	Algorithm          Reason = "algorithm"
	UnknownIssuer      Reason = "unknown-issuer"
	WrongIssuer        Reason = "wrong-issuer"
	WrongTenant        Reason = "wrong-tenant"
	WrongAudience      Reason = "wrong-audience"
	Expired            Reason = "expired"
	NotYetValid        Reason = "not-yet-valid"
	UnknownKey         Reason = "unknown-key"
	BadSignature       Reason = "bad-signature"
	NotAccessToken     Reason = "not-access-token"
	MissingClaim       Reason = "missing-claim"
	BadClaim           Reason = "bad-claim"
	ClientNotAllowed   Reason = "client-not-allowed"
	BadCertificate     Reason = "bad-certificate"
	UnknownCertificate Reason = "unknown-certificate"
)

// 403: the caller is known, and the token says that it may do nothing here, or too little to tell.
const (
	NoRoles       Reason = "no-roles"
	GroupsOverage Reason = "groups-overage"
	Scope         Reason = "scope"
)

// KeysUnavailable is a 503: the issuer could not be asked for the key that would tell.
const KeysUnavailable Reason = "keys-unavailable"

// Reasons are all there are.
func Reasons() []Reason {
	return []Reason{
		MissingToken, Malformed, TooLarge, Algorithm, UnknownIssuer, WrongIssuer, WrongTenant, WrongAudience,
		Expired, NotYetValid, UnknownKey, BadSignature, NotAccessToken, MissingClaim, BadClaim, ClientNotAllowed,
		BadCertificate, UnknownCertificate, NoRoles, GroupsOverage, Scope, KeysUnavailable,
	}
}

// Status is the HTTP status of an answer to r: 401, 403 or 503.
func (r Reason) Status() int {
	switch r {
	case NoRoles, GroupsOverage, Scope:
		return http.StatusForbidden
	case KeysUnavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusUnauthorized
	}
}

// Error is why a caller was refused.
type Error struct {
	Reason Reason
	// Detail is a sentence for the caller. It tells of a token only what its holder can
	// read there, and of what a token claims only once its signature was verified; of this
	// service, no more than its audiences and scopes. It holds no key and no internal address.
	Detail string
	// Err is for the log; nil, if Detail says all. It holds no token and no claim.
	Err error
}

func (e *Error) Error() string {
	text := fmt.Sprintf("auth: %s: %s", e.Reason, e.Detail)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// refuse makes an Error that says all in its Detail.
func refuse(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// short is what is shown of a text that nobody vouched for.
func short(text string) string {
	const most = 40
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// brief is err for the log, without the page that a broken proxy sent.
func brief(err error) error {
	const most = 300
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + " [cut]")
	}
	return err
}
