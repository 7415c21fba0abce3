package auth

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// header is what is read of a token's header.
type header struct {
	alg string
	kid string // empty: none
	typ string // lower case; empty: none
}

// segments decodes base64url without padding and without spare bits: a token has
// one spelling.
var segments = base64.RawURLEncoding.Strict()

// split takes a token apart: a JWS in compact serialization (RFC 7515, section
// 7.1), which has exactly one signature. Nothing of it is verified.
func split(raw string) (header, []byte, error) {
	if strings.HasPrefix(raw, "{") {
		return header{}, nil, refuse(Malformed, "the token is in JWS JSON serialization; only the compact one is taken")
	}
	parts := strings.Split(raw, ".")
	if len(parts) == 5 {
		return header{}, nil, refuse(Malformed, "the token is encrypted; only signed ones are taken")
	}
	if len(parts) != 3 {
		return header{}, nil, refuse(Malformed, "the token is not three parts with dots between")
	}
	var decoded [3][]byte
	for n, part := range parts {
		var err error
		// The decoder itself passes over line breaks.
		if decoded[n], err = segments.DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return header{}, nil, refuse(Malformed, "part %d of the token is not base64url without padding", n+1)
		}
	}
	o, err := parseObject(decoded[0])
	if err != nil {
		return header{}, nil, refuse(Malformed, "the token's header %v", err)
	}
	h, err := readHeader(o)
	return h, decoded[1], err
}

func readHeader(o object) (header, error) {
	for _, name := range []string{"jwk", "jku", "x5c", "x5u"} {
		if o.has(name) {
			return header{}, refuse(Malformed, "the token's header has %s: keys come from the issuer, never out of a token", name)
		}
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		if o.has(name) {
			return header{}, refuse(Malformed, "the token's header has %s, which is not supported", name)
		}
	}
	var h header
	for _, field := range []struct {
		name string
		to   *string
	}{{"alg", &h.alg}, {"kid", &h.kid}, {"typ", &h.typ}} {
		raw, ok := o[field.name]
		if !ok {
			continue
		}
		if raw[0] != '"' || json.Unmarshal(raw, field.to) != nil || checkText(*field.to) != nil {
			return header{}, refuse(Malformed, "%s of the token's header is not a text", field.name)
		}
	}
	if h.alg == "" {
		return header{}, refuse(Malformed, "the token's header has no alg")
	}
	h.typ = strings.TrimPrefix(strings.ToLower(h.typ), "application/")
	return h, nil
}
