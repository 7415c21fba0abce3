package auth

import "time"

// Kind says what sort of caller an Identity is.
type Kind uint8

const (
	// User is a person, by way of an application that acts for them.
	User Kind = iota + 1
	// ServicePrincipal is an application on its own behalf.
	ServicePrincipal
	// Certificate is the holder of a client certificate.
	Certificate
)

// Identity is who calls. It is shared between requests: nobody changes one.
type Identity struct {
	Kind Kind
	// Issuer is the configured Name of the token's issuer; empty for a certificate.
	Issuer string
	// Tenant is empty where the issuer has none. Of Entra ID, Tenant, Object and App are
	// GUIDs in lower case.
	Tenant string
	// Object is the user's or the service principal's id, or a certificate's name.
	Object string
	// App is the client that the token was issued to; for a ServicePrincipal, the caller itself.
	App string
	// Roles are the app roles, Scopes what the user lets the client do; sorted, each once.
	// A User has at least one scope that is configured, a ServicePrincipal has no scope and
	// at least one role.
	Roles  []string
	Scopes []string
	// Groups are sorted, each once.
	Groups [][16]byte
	// Name is for people to read. It can change and be somebody else's tomorrow: nothing may
	// be decided by it.
	Name string
	// Expires is when the caller starts to be refused: of a token, with the leeway.
	Expires time.Time
}
