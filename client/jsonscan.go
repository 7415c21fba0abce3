package client

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// SyntaxError is what is wrong with a text, and where. Line and Column count from
// 1, the column in characters.
type SyntaxError struct {
	Line, Column int
	Reason       string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Reason)
}

const byteOrderMark = "\ufeff"

// scanner walks JSON text (RFC 8259) without copying it: encoding/json's tokens
// cost ten times as much and keep neither their place nor a value's own text.
// Its methods return false once there is a fault.
type scanner struct {
	s      string
	i      int
	reason string // of the fault
	at     int    // its offset
}

// fault notes what is wrong at an offset; always false.
func (s *scanner) fault(at int, format string, args ...any) bool {
	s.at, s.reason = at, fmt.Sprintf(format, args...)
	return false
}

// err is the fault, placed.
func (s *scanner) err() *SyntaxError {
	before := strings.TrimPrefix(s.s[:min(s.at, len(s.s))], byteOrderMark)
	return &SyntaxError{
		Line:   strings.Count(before, "\n") + 1,
		Column: utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1,
		Reason: s.reason,
	}
}

// begin checks the encoding and moves to the first value. A byte order mark, which
// some editors leave and no JSON text needs, is ignored (RFC 8259 §8.1).
func (s *scanner) begin() bool {
	if !utf8.ValidString(s.s) {
		i := 0
		for i < len(s.s) {
			r, n := utf8.DecodeRuneInString(s.s[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return s.fault(i, "byte %#02x is not UTF-8", s.s[i])
	}
	if strings.HasPrefix(s.s, byteOrderMark) {
		s.i = len(byteOrderMark)
	}
	s.space()
	return true
}

// end wants nothing but space.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.s) || s.unexpected("the end")
}

func (s *scanner) unexpected(want string) bool {
	if s.i >= len(s.s) {
		return s.fault(s.i, "text ends, want %s", want)
	}
	r, _ := utf8.DecodeRuneInString(s.s[s.i:])
	return s.fault(s.i, "%q is not expected, want %s", r, want)
}

func (s *scanner) space() {
	for s.i < len(s.s) {
		switch s.s[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

// peek is the next byte, or 0 at the end.
func (s *scanner) peek() byte {
	if s.i < len(s.s) {
		return s.s[s.i]
	}
	return 0
}

// raw skips one value and returns its text.
func (s *scanner) raw() (string, bool) {
	start := s.i
	ok := s.skipValue(0)
	return s.s[start:s.i], ok
}

func (s *scanner) skipValue(depth int) bool {
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
		for more := s.first('}'); more; more = s.next('}') {
			if !s.skipName() || !s.skipValue(depth+1) {
				return false
			}
		}
		return s.reason == ""
	case c == '[':
		s.i++
		for more := s.first(']'); more; more = s.next(']') {
			if !s.skipValue(depth + 1) {
				return false
			}
		}
		return s.reason == ""
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if strings.HasPrefix(s.s[s.i:], word) {
			s.i += len(word)
			return true
		}
	}
	return s.unexpected("a value")
}

// first tells whether the list whose opening was just read has an element, and
// next whether it has another after the one just read; false at its end or at a
// fault, which reason tells apart.
func (s *scanner) first(closing byte) bool {
	s.space()
	if s.peek() == closing {
		s.i++
		return false
	}
	return true
}

func (s *scanner) next(closing byte) bool {
	s.space()
	switch s.peek() {
	case closing:
		s.i++
		return false
	case ',':
		s.i++
		s.space()
		return true
	}
	return s.unexpected(fmt.Sprintf("a comma or %q", closing))
}

// skipName skips a member's name and the colon, up to its value.
func (s *scanner) skipName() bool {
	if s.peek() != '"' {
		return s.unexpected("a member name in quotes")
	}
	return s.skipString() && s.colon()
}

func (s *scanner) colon() bool {
	s.space()
	if s.peek() != ':' {
		return s.unexpected("a colon")
	}
	s.i++
	s.space()
	return true
}

func (s *scanner) skipString() bool {
	for s.i++; s.i < len(s.s); s.i++ {
		switch c := s.s[s.i]; {
		case c == '"':
			s.i++
			return true
		case c < ' ':
			return s.fault(s.i, "string holds the control character %U; write it as an escape", rune(c))
		case c == '\\':
			if !s.skipEscape() {
				return false
			}
		}
	}
	return s.unexpected("the end of the string")
}

// skipEscape moves from the backslash to the escape's last byte.
func (s *scanner) skipEscape() bool {
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		for range 4 {
			s.i++
			if !isHex(s.peek()) {
				return s.unexpected("four hexadecimal digits")
			}
		}
		return true
	}
	return s.unexpected("an escape")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) skipNumber() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c = s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	if c := s.peek(); c < '0' || c > '9' {
		return s.unexpected("a digit")
	}
	for s.peek() >= '0' && s.peek() <= '9' {
		s.i++
	}
	return true
}

// unquote reads the string here and moves past it. Half a surrogate pair has no
// UTF-8 and is refused.
func (s *scanner) unquote() (string, bool) {
	start := s.i
	if !s.skipString() {
		return "", false
	}
	text := s.s[start+1 : s.i-1]
	if strings.IndexByte(text, '\\') < 0 {
		return text, true
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
			at := start + i // of the backslash
			r := hex4(text[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+6 < len(text) && text[i+1] == '\\' && text[i+2] == 'u' {
					low = hex4(text[i+3:])
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					return "", s.fault(at, "string holds half a surrogate pair")
				}
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

func hex4(s string) rune {
	var r rune
	for i := range 4 {
		c := rune(s[i])
		switch {
		case c >= 'a':
			c -= 'a' - 10
		case c >= 'A':
			c -= 'A' - 10
		default:
			c -= '0'
		}
		r = r<<4 | c
	}
	return r
}
