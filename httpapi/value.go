package httpapi

import (
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/confman/confman/fsm"
)

// Content types. A stored text is marked as UTF-8 because it was checked to be.
const (
	typeJSON    = "application/json"
	typeText    = "text/plain; charset=utf-8"
	typeOctets  = "application/octet-stream"
	typeRecords = "application/x-ndjson"
	typeYAML    = "application/yaml" // RFC 9512
	typeProblem = "application/problem+json"
	typeForm    = "application/x-www-form-urlencoded"
)

// contentTypeOf decides a value's content type from the header and the value.
func contentTypeOf(header string, value []byte) (string, error) {
	switch header {
	case "", typeForm: // curl -d sends the latter without being asked to
		return guessType(value), nil
	case typeJSON:
	case plainText, typeText, typeOctets: // what most say
		return header, nil
	default:
		if reason := checkContentType(header); reason != "" {
			return "", invalidHeader("Content-Type", reason)
		}
		if !isJSONType(header) {
			return header, nil
		}
	}
	if err := checkJSON(value); err != nil {
		return "", err.problem(value, "")
	}
	return header, nil
}

func guessType(value []byte) string {
	switch {
	case checkJSON(value) == nil:
		return typeJSON
	case utf8.Valid(value):
		return typeText
	}
	return typeOctets
}

// checkContentType says what is wrong with a content type, or "".
func checkContentType(s string) string {
	if len(s) > fsm.MaxContentTypeBytes {
		return fmt.Sprintf("has %d bytes, at most %d are allowed", len(s), fsm.MaxContentTypeBytes)
	}
	if essence, _, err := mime.ParseMediaType(s); err != nil || !strings.Contains(essence, "/") || !printable(s) {
		return fmt.Sprintf("%q is not a media type", s)
	}
	return ""
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// problem tells a client where in its text the error is.
func (e *syntaxError) problem(text []byte, file string) *problem {
	line, column := position(text, e.offset)
	return e.problemAt(line, column, file)
}

func (e *syntaxError) problemAt(line, column int, file string) *problem {
	k := e.kind
	if k.name == "" {
		k = kindInvalidBody
	}
	place := fmt.Sprintf("line %d, column %d", line, column)
	if file != "" {
		place = file + ", " + place
	}
	p := problemf(k, "%s: %s", place, e.reason).with("line", line).with("column", column)
	if file != "" {
		p = p.with("file", file)
	}
	if e.limit != 0 {
		p = p.with("limit", e.limit)
	}
	return p
}
