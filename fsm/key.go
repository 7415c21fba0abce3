package fsm

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The rules of keys; a *KeyError wraps the first one that a key breaks.
var (
	// ErrKeyEmpty: the key has no bytes.
	ErrKeyEmpty = errors.New("is empty")
	// ErrKeyTooLong: more than MaxKeyBytes.
	ErrKeyTooLong = fmt.Errorf("is longer than %d bytes", MaxKeyBytes)
	// ErrKeyTooDeep: more than MaxKeyDepth segments.
	ErrKeyTooDeep = fmt.Errorf("has more than %d segments", MaxKeyDepth)
	// ErrKeySlash: a slash at the start or at the end.
	ErrKeySlash = errors.New("starts or ends with a slash")
	// ErrKeyEmptySegment: two slashes next to each other.
	ErrKeyEmptySegment = errors.New("has an empty segment")
	// ErrKeyDots: a segment that is "." or "..".
	ErrKeyDots = errors.New(`has a segment "." or ".."`)
	// ErrKeyControl: a control character. None can occur, so a zero byte can
	// separate a key from what follows it.
	ErrKeyControl = errors.New("has a control character")
	// ErrKeyUTF8: not valid UTF-8.
	ErrKeyUTF8 = errors.New("is not valid UTF-8")
)

// KeyError is a key, or a prefix of keys, that breaks a rule.
type KeyError struct {
	Key string
	Err error // one of the ErrKey errors
}

// Error names the key, cut to a readable length, and the rule.
func (e *KeyError) Error() string {
	const readable = 80
	key := e.Key
	if len(key) > readable {
		key = key[:readable] + "..."
	}
	return fmt.Sprintf("fsm: key %q %v", key, e.Err)
}

// Unwrap returns the rule.
func (e *KeyError) Unwrap() error { return e.Err }

// ValidateKey returns nil if key may name a record: 1 to MaxKeyDepth segments
// joined by "/", else a *KeyError. Safe for concurrent use.
func ValidateKey(key string) error {
	if err := checkKey(key); err != nil {
		return &KeyError{Key: key, Err: err}
	}
	return nil
}

// ValidatePrefix returns nil if prefix may name a subtree: "" for the root, or a
// key followed by "/"; else a *KeyError.
func ValidatePrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok || key == "" {
		return &KeyError{Key: prefix, Err: ErrKeySlash}
	}
	if err := checkKey(key); err != nil {
		return &KeyError{Key: prefix, Err: err}
	}
	return nil
}

// isPrefix tells a prefix from a key; both are valid.
func isPrefix(s string) bool { return s == "" || s[len(s)-1] == '/' }

// checkKey goes through the key once if it is ASCII, as nearly all are.
func checkKey(key string) error {
	switch {
	case key == "":
		return ErrKeyEmpty
	case len(key) > MaxKeyBytes:
		return ErrKeyTooLong
	case key[0] == '/' || key[len(key)-1] == '/':
		return ErrKeySlash
	}
	ascii, depth, start := true, 1, 0
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '/':
			if err := checkSegment(key[start:i]); err != nil {
				return err
			}
			depth++
			start = i + 1
		case c < ' ' || c == 0x7f:
			return ErrKeyControl
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	if err := checkSegment(key[start:]); err != nil {
		return err
	}
	if depth > MaxKeyDepth {
		return ErrKeyTooDeep
	}
	if ascii {
		return nil
	}
	if !utf8.ValidString(key) {
		return ErrKeyUTF8
	}
	if strings.ContainsFunc(key, unicode.IsControl) {
		return ErrKeyControl
	}
	return nil
}

func checkSegment(s string) error {
	switch s {
	case "":
		return ErrKeyEmptySegment
	case ".", "..":
		return ErrKeyDots
	}
	return nil
}
