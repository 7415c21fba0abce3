package fsm

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A subject is whom a role can be bound to, or who can be denied everything, as a text:
//
//	user:issuer/tenant/object     a person
//	app:issuer/tenant/app         a service principal
//	cert:name                     the holder of a client certificate
//	group:issuer/tenant/id        who is in the group; id is a UUID in lower case
//	role:issuer/name              to whom the issuer assigns the application role
//
// A tenant that there is none of is left out, with its slash. In each part '%' and '/' are written
// %25 and %2F, so no two subjects are spelled alike; the rest stands as it is, since a subject
// that a library escaped could come out differently in another release of it.

// String is the principal as a subject, and as Record.ModifiedBy shows it.
func (p *Principal) String() string {
	switch p.Kind {
	case User:
		return subject("user", p.Issuer, p.Tenant, p.Object)
	case ServicePrincipal:
		return subject("app", p.Issuer, p.Tenant, p.App)
	case Certificate:
		return subject("cert", "", "", p.Object)
	default:
		return "anonymous"
	}
}

// subjects calls fn with each subject that p is.
func (p *Principal) subjects(fn func(string)) {
	if p.Kind == Anonymous {
		return
	}
	fn(p.String())
	if len(p.Groups) > 0 {
		of := subject("group", p.Issuer, p.Tenant) + "/"
		for i := range p.Groups {
			fn(of + uuid(p.Groups[i]))
		}
	}
	for _, role := range p.Roles {
		fn(subject("role", p.Issuer, "", role))
	}
}

// client is the application that a user's token was given to, "" if there is none. To deny it is
// to deny all that act through it.
func (p *Principal) client() string {
	if p.Kind != User || p.App == "" {
		return ""
	}
	return subject("app", p.Issuer, p.Tenant, p.App)
}

func subject(kind string, parts ...string) string {
	var b strings.Builder
	b.WriteString(kind)
	between := byte(':')
	for _, part := range parts {
		if part != "" {
			b.WriteByte(between)
			b.WriteString(subjectEscapes.Replace(part))
			between = '/'
		}
	}
	return b.String()
}

var (
	subjectEscapes = strings.NewReplacer("%", "%25", "/", "%2F")
	escapesGone    = strings.NewReplacer("%25", "", "%2F", "")
)

func uuid(id [16]byte) string {
	b := make([]byte, 36)
	at := 0
	for i, n := range [...]int{4, 2, 2, 2, 6} {
		if i > 0 {
			b[at] = '-'
			at++
		}
		hex.Encode(b[at:], id[:n])
		at += 2 * n
		copy(id[:], id[n:])
	}
	return string(b)
}

// ValidateSubject returns nil if text is a subject, else what is wrong with it.
func ValidateSubject(text string) error {
	if len(text) > MaxSubjectBytes {
		return &LimitError{What: "bytes of the subject", Got: len(text), Max: MaxSubjectBytes}
	}
	kind, rest, _ := strings.Cut(text, ":")
	least, most := 1, 1
	switch kind {
	case "user", "app", "group":
		least, most = 2, 3
	case "role":
		least, most = 2, 2
	case "cert":
	default:
		return fmt.Errorf("fsm: subject %q: want user:, app:, group:, role: or cert: in front", text)
	}
	parts := strings.Split(rest, "/")
	if n := len(parts); n < least || n > most {
		return fmt.Errorf("fsm: subject %q: has %d parts after %s:, want %d to %d", text, n, kind, least, most)
	}
	for _, part := range parts {
		if part == "" {
			return fmt.Errorf("fsm: subject %q: has an empty part", text)
		}
		if strings.Contains(escapesGone.Replace(part), "%") {
			return fmt.Errorf("fsm: subject %q: %q stands for itself, as %%25, or for a slash, as %%2F, only", text, "%")
		}
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("fsm: subject %q: has control characters, or is not UTF-8", text)
	}
	if id := parts[len(parts)-1]; kind == "group" && !isUUID(id) {
		return fmt.Errorf("fsm: subject %q: %q is no UUID in lower case", text, id)
	}
	return nil
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f':
		default:
			return false
		}
	}
	return true
}
