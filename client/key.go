package client

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// KeyError is a key that no node would take.
type KeyError struct {
	Key    string
	Reason string
}

func (e *KeyError) Error() string {
	const readable = 80
	key := e.Key
	if len(key) > readable {
		key = key[:readable] + "..."
	}
	return fmt.Sprintf("path %q %s", key, e.Reason)
}

// CheckKey returns nil if key may name a value: 1 to MaxKeyDepth segments joined
// by slashes; else a *KeyError.
func CheckKey(key string) error {
	if reason := keyFault(key); reason != "" {
		return &KeyError{Key: key, Reason: reason}
	}
	return nil
}

// CheckPrefix is CheckKey for what a subtree is named by: a key, with or without
// a slash at its end, or the root, which is "" or "/". It returns the key.
func CheckPrefix(prefix string) (string, error) {
	key := strings.TrimSuffix(prefix, "/")
	if key == "" {
		return "", nil
	}
	return key, CheckKey(key)
}

func keyFault(key string) string {
	switch {
	case key == "":
		return "is empty"
	case len(key) > MaxKeyBytes:
		return fmt.Sprintf("is longer than %d bytes", MaxKeyBytes)
	case key[0] == '/' || key[len(key)-1] == '/':
		return "starts or ends with a slash"
	case !utf8.ValidString(key):
		return "is not valid UTF-8"
	}
	n := 0
	for segment := range strings.SplitSeq(key, "/") {
		n++
		if reason := segmentFault(segment); reason != "" {
			return reason
		}
	}
	if n > MaxKeyDepth {
		return fmt.Sprintf("has more than %d segments", MaxKeyDepth)
	}
	return ""
}

// segmentFault says what is wrong with a segment, which is UTF-8, or "".
func segmentFault(s string) string {
	switch s {
	case "":
		return "has an empty segment"
	case ".", "..":
		return `has a segment "." or ".."`
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return "has a control character"
		case c >= utf8.RuneSelf:
			if strings.ContainsFunc(s[i:], unicode.IsControl) {
				return "has a control character"
			}
			return ""
		}
	}
	return ""
}

// isSubtree tells whether path names a subtree: a slash ends it, or it is the root.
func isSubtree(path string) bool { return path == "" || strings.HasSuffix(path, "/") }
