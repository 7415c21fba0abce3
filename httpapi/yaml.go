package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Trees in YAML are written here and not by a library: those build a document whole, and an
// export may be larger than the memory. What is written is little: block mappings for what is
// nested by path, and in them values as JSON, which YAML 1.2 includes, but for what readers of
// YAML do not take or take for something else. Numbers keep their text.

// appendYAMLString appends s as it is if nothing can take it for anything but a string, else in
// double quotes.
func appendYAMLString(b []byte, s string) []byte {
	if plainYAML(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\t':
			b = append(b, '\\', 't')
		case printableYAML(r):
			b = utf8.AppendRune(b, r)
		default: // none above FFFF: what is no rune is FFFD by now
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}

// plainYAML tells whether s needs no quotes: a word, and none that a version of YAML takes for
// a boolean, nothing or a number.
func plainYAML(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
		case i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == '/'):
		default:
			return false
		}
	}
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf":
		return false
	}
	return true
}

// printableYAML tells whether a rune may stand in quotes as it is: printable as YAML has it, and
// no line break of its first versions.
func printableYAML(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
		return false
	}
	return true
}

// longYAMLKey is the longest name that is followed by its value without more ado; readers give
// up after 1,024 characters.
const longYAMLKey = 128

// appendYAMLKey appends a name and the colon before its value; after a long name, space stands
// between them: in a block a new line at the name's own indentation.
func appendYAMLKey(b []byte, name, space string) []byte {
	start := len(b)
	b = appendYAMLString(b, name)
	if len(b)-start <= longYAMLKey {
		return append(b, ':')
	}
	key := string(b[start:])
	b = append(append(b[:start], "? "...), key...)
	return append(append(b, space...), ':')
}

// appendYAMLValue appends a JSON value on one line.
func appendYAMLValue(b, value []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	return appendYAMLToken(b, d)
}

func appendYAMLToken(b []byte, d *json.Decoder) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return b, err
	}
	switch token := token.(type) {
	case nil:
		return append(b, "null"...), nil
	case bool:
		return fmt.Append(b, token), nil
	case json.Number:
		return append(b, token...), nil
	case string:
		return appendYAMLString(b, token), nil
	}
	closing := byte(']')
	if token == json.Delim('{') {
		closing = '}'
	}
	b = append(b, closing-2) // '[' and '{' are two before
	for i := 0; d.More(); i++ {
		if i > 0 {
			b = append(b, ", "...)
		}
		if closing == '}' {
			name, err := d.Token()
			if err != nil {
				return b, err
			}
			b = append(appendYAMLKey(b, name.(string), " "), ' ')
		}
		if b, err = appendYAMLToken(b, d); err != nil {
			return b, err
		}
	}
	_, err = d.Token() // the closing one
	return append(b, closing), err
}
