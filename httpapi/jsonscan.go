package httpapi

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/confman/confman/fsm"
)

// scanner walks JSON text (RFC 8259) without copying it: encoding/json keeps
// neither the place of an error in a tree nor the text of a number.
type scanner struct {
	b []byte
	i int
}

// syntaxError is what is wrong with a text, and where.
type syntaxError struct {
	offset int
	reason string
	kind   kind // zero: invalid-body
	limit  int64
}

func (e *syntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.offset, e.reason) }

// position is the line and the column, in characters, of an offset; both from 1.
func position(b []byte, offset int) (line, column int) {
	before := b[:min(offset, len(b))]
	line = bytes.Count(before, []byte{'\n'}) + 1
	return line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
}

// checkJSON says what is wrong with b as one JSON value, or nil.
func checkJSON(b []byte) *syntaxError {
	s := scanner{b: b}
	if err := s.begin(); err != nil {
		return err
	}
	if err := s.skipValue(0); err != nil {
		return err
	}
	return s.end()
}

// begin checks the encoding and skips to the first value.
func (s *scanner) begin() *syntaxError {
	if bytes.HasPrefix(s.b, []byte("\xef\xbb\xbf")) {
		return s.fault(0, "text begins with a byte order mark: remove it")
	}
	if !utf8.Valid(s.b) {
		i := 0
		for i < len(s.b) {
			r, n := utf8.DecodeRune(s.b[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return s.fault(i, "byte %#02x is not UTF-8", s.b[i])
	}
	s.space()
	return nil
}

// end wants nothing but space.
func (s *scanner) end() *syntaxError {
	s.space()
	if s.i < len(s.b) {
		return s.unexpected("the end")
	}
	return nil
}

func (s *scanner) fault(offset int, format string, args ...any) *syntaxError {
	return &syntaxError{offset: offset, reason: fmt.Sprintf(format, args...)}
}

func (s *scanner) unexpected(want string) *syntaxError {
	if s.i >= len(s.b) {
		return s.fault(s.i, "text ends, want %s", want)
	}
	r, _ := utf8.DecodeRune(s.b[s.i:])
	return s.fault(s.i, "%q is not expected, want %s", r, want)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) expect(c byte, want string) *syntaxError {
	if s.peek() != c {
		return s.unexpected(want)
	}
	s.i++
	return nil
}

// raw skips one value and returns its text.
func (s *scanner) raw() ([]byte, *syntaxError) {
	start := s.i
	if err := s.skipValue(0); err != nil {
		return nil, err
	}
	return s.b[start:s.i:s.i], nil
}

func (s *scanner) skipValue(depth int) *syntaxError {
	if depth > MaxJSONDepth {
		return s.fault(s.i, "value is nested more than %d deep", MaxJSONDepth)
	}
	switch c := s.peek(); {
	case c == '"':
		return s.skipString()
	case c == '-' || c >= '0' && c <= '9':
		return s.skipNumber()
	case c == '{':
		s.i++
		return s.members('}', func() *syntaxError {
			if err := s.skipName(); err != nil {
				return err
			}
			return s.skipValue(depth + 1)
		})
	case c == '[':
		s.i++
		return s.members(']', func() *syntaxError { return s.skipValue(depth + 1) })
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if bytes.HasPrefix(s.b[s.i:], []byte(word)) {
			s.i += len(word)
			return nil
		}
	}
	return s.unexpected("a value")
}

// members calls one for each of a list's elements, which end with closing.
func (s *scanner) members(closing byte, one func() *syntaxError) *syntaxError {
	s.space()
	if s.peek() == closing {
		s.i++
		return nil
	}
	for {
		if err := one(); err != nil {
			return err
		}
		s.space()
		switch s.peek() {
		case closing:
			s.i++
			return nil
		case ',':
			s.i++
			s.space()
		default:
			return s.unexpected(fmt.Sprintf("a comma or %q", closing))
		}
	}
}

// object reads an object, which want describes: one reads the value of each member, whose name
// begins at at. A name that is there twice is a fault.
func (s *scanner) object(want string, one func(name string, at int) *syntaxError) *syntaxError {
	if fault := s.expect('{', want); fault != nil {
		return fault
	}
	seen := make([]string, 0, 12)
	return s.members('}', func() *syntaxError {
		at := s.i
		if s.peek() != '"' {
			return s.unexpected("a member name in quotes")
		}
		name, fault := s.unquote()
		if fault != nil {
			return fault
		}
		if slices.Contains(seen, name) {
			return s.fault(at, "member %q is there twice", name)
		}
		seen = append(seen, name)
		s.space()
		if fault = s.expect(':', "a colon"); fault != nil {
			return fault
		}
		s.space()
		return one(name, at)
	})
}

// text reads the string here.
func (s *scanner) text() (string, *syntaxError) {
	if s.peek() != '"' {
		return "", s.unexpected("a string")
	}
	return s.unquote()
}

// flag reads true or false.
func (s *scanner) flag() (bool, *syntaxError) {
	for _, v := range [...]bool{true, false} {
		if word := strconv.FormatBool(v); bytes.HasPrefix(s.b[s.i:], []byte(word)) {
			s.i += len(word)
			return v, nil
		}
	}
	return false, s.unexpected("true or false")
}

// revision reads a revision, which is a whole number.
func (s *scanner) revision() (fsm.Revision, *syntaxError) {
	start := s.i
	if c := s.peek(); c != '-' && (c < '0' || c > '9') {
		return 0, s.unexpected("a revision, which is a number")
	}
	if fault := s.skipNumber(); fault != nil {
		return 0, fault
	}
	n, err := strconv.ParseUint(string(s.b[start:s.i]), 10, 64)
	if err != nil {
		return 0, s.fault(start, "revision is %s, want a whole number", short(string(s.b[start:s.i])))
	}
	return fsm.Revision(n), nil
}

// skipName skips a member's name and the colon, up to its value.
func (s *scanner) skipName() *syntaxError {
	if s.peek() != '"' {
		return s.unexpected("a member name in quotes")
	}
	if err := s.skipString(); err != nil {
		return err
	}
	s.space()
	if err := s.expect(':', "a colon"); err != nil {
		return err
	}
	s.space()
	return nil
}

func (s *scanner) skipString() *syntaxError {
	for s.i++; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return nil
		case c < ' ':
			return s.fault(s.i, "string holds the control character %U; write it as an escape", rune(c))
		case c == '\\':
			if err := s.skipEscape(); err != nil {
				return err
			}
		}
	}
	return s.unexpected("the end of the string")
}

// skipEscape moves from the backslash to the escape's last byte.
func (s *scanner) skipEscape() *syntaxError {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			s.i++
			if !isHex(s.peek()) {
				return s.unexpected("four hexadecimal digits")
			}
		}
		return nil
	}
	return s.unexpected("an escape")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) skipNumber() *syntaxError {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.i++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c = s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return nil
}

func (s *scanner) digits() *syntaxError {
	if c := s.peek(); c < '0' || c > '9' {
		return s.unexpected("a digit")
	}
	for s.peek() >= '0' && s.peek() <= '9' {
		s.i++
	}
	return nil
}

// unquote reads the string here and moves past it. Half a surrogate pair has no
// UTF-8 and is refused.
func (s *scanner) unquote() (string, *syntaxError) {
	start := s.i
	if err := s.skipString(); err != nil {
		return "", err
	}
	text := s.b[start+1 : s.i-1]
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text), nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		i++
		switch c := text[i]; c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(text[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 < len(text) && text[i+1] == '\\' && text[i+2] == 'u' {
					low = hex4(text[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return "", s.fault(start+1+i-5, "string holds half a surrogate pair")
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return string(out), nil
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | rune(c)
	}
	return r
}
