package sim

import (
	"slices"
	"strings"

	"github.com/confman/confman/fsm"
)

// The cast: who asks for anything in a world, by number.
const (
	nobody   = iota // anonymous
	alice           // a person, through an application
	bob             // a person in a group
	service         // an application that has an application role
	robot           // the holder of a certificate
	root            // whom the first bootstrap names
	second          // whom another bootstrap names, at another node; an administrator at times
	steward         // administers one namespace
	stranger        // is bound to nothing, anywhere
)

const (
	issuer = "entra"
	tenant = "t/1" // with a slash, which subjects escape
)

var team = [16]byte{0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

// principals are who clients and governors are, by their numbers: an idempotency key is its principal's own.
var principals = []fsm.Principal{
	nobody:   {Kind: fsm.Anonymous},
	alice:    {Kind: fsm.User, Issuer: issuer, Tenant: tenant, Object: "alice", App: "cli"},
	bob:      {Kind: fsm.User, Issuer: issuer, Tenant: tenant, Object: "bob", App: "portal", Groups: [][16]byte{{1}, team}},
	service:  {Kind: fsm.ServicePrincipal, Issuer: issuer, Tenant: tenant, Object: "service", App: "deployer", Roles: []string{"Writers"}},
	robot:    {Kind: fsm.Certificate, Object: "robot.example"},
	root:     {Kind: fsm.User, Issuer: issuer, Tenant: tenant, Object: "root"},
	second:   {Kind: fsm.User, Issuer: "other", Object: "second"},
	steward:  {Kind: fsm.User, Issuer: issuer, Tenant: tenant, Object: "steward", Groups: [][16]byte{{2}}},
	stranger: {Kind: fsm.User, Issuer: issuer, Tenant: tenant, Object: "stranger", App: "cli", Groups: [][16]byte{{3}}, Roles: []string{"Readers"}},
}

// writers are those of the cast who are clients, beside nobody.
var writers = []int{alice, bob, service, robot}

// namesOfPrincipal are the subjects that a principal is, itself first, spelled as the documentation
// of fsm's subjects says.
func namesOfPrincipal(p *fsm.Principal) []string {
	escape := func(s string) string {
		return strings.ReplaceAll(strings.ReplaceAll(s, "%", "%25"), "/", "%2F")
	}
	of := func(kind string, parts ...string) string {
		parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" })
		for i := range parts {
			parts[i] = escape(parts[i])
		}
		return kind + ":" + strings.Join(parts, "/")
	}
	var out []string
	switch p.Kind {
	case fsm.User:
		out = append(out, of("user", p.Issuer, p.Tenant, p.Object))
	case fsm.ServicePrincipal:
		out = append(out, of("app", p.Issuer, p.Tenant, p.App))
	case fsm.Certificate:
		out = append(out, of("cert", p.Object))
	case fsm.Anonymous:
		return []string{"anonymous"}
	}
	for _, g := range p.Groups {
		out = append(out, of("group", p.Issuer, p.Tenant, hexOf(g)))
	}
	for _, r := range p.Roles {
		out = append(out, of("role", p.Issuer, r))
	}
	return out
}

// throughWhom is the application that a person's token was given to, as a subject; "": none.
func throughWhom(p *fsm.Principal) string {
	if p.Kind != fsm.User || p.App == "" {
		return ""
	}
	as := fsm.Principal{Kind: fsm.ServicePrincipal, Issuer: p.Issuer, Tenant: p.Tenant, App: p.App}
	return namesOfPrincipal(&as)[0]
}

// hexOf writes a UUID.
func hexOf(id [16]byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i, c := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b.WriteByte('-')
		}
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
