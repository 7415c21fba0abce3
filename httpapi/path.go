package httpapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/confman/confman/fsm"
)

// target is what a request's path names: a key, or the subtree below it.
type target struct {
	key     string // without the trailing slash; "" is the root
	subtree bool
}

// prefix is what the keys below the target begin with.
func (t target) prefix() string {
	if t.key == "" {
		return ""
	}
	return t.key + "/"
}

// path is the target as packages fsm and node know it: a key, or a prefix.
func (t target) path() string {
	if t.subtree {
		return t.prefix()
	}
	return t.key
}

// covers tells whether path, a key or a prefix, is the target's, or below it.
func (t target) covers(path string) bool {
	return path == t.path() || t.subtree && strings.HasPrefix(path, t.prefix())
}

// end is the first key after all that begin with prefix; "" means none.
func (t target) end() string { return afterPrefix(t.prefix()) }

// span is where the target's keys are, the first and the first after them; "" means none.
func (t target) span() (lo, hi string) {
	if t.subtree {
		return t.prefix(), t.end()
	}
	return t.key, t.key + "\x00"
}

// String spells the target as a URL does.
func (t target) String() string {
	if t.subtree {
		return t.key + "/"
	}
	return t.key
}

// parseTarget reads a route's catch-all parameter, "" or beginning with a slash.
func parseTarget(u *url.URL, param string) (target, error) {
	// RawPath is set only if the path was escaped in another way than Go would.
	if u.RawPath != "" && strings.Contains(strings.ToLower(u.RawPath), "%2f") {
		return target{}, problemf(kindInvalidPath, "a segment holds an encoded slash (%%2F)")
	}
	if param == "" || param == "/" {
		return target{subtree: true}, nil
	}
	t := target{key: param[1:]}
	if strings.HasSuffix(t.key, "/") {
		t = target{key: t.key[:len(t.key)-1], subtree: true}
	}
	if err := fsm.ValidateKey(t.key); err != nil {
		return target{}, invalidKey(err)
	}
	return t, nil
}

// checkKey says what is wrong with a key, or "".
func checkKey(key string) string {
	err := fsm.ValidateKey(key)
	if err == nil {
		return ""
	}
	return keyReason(err)
}

// invalidKey is the problem that an error of fsm.ValidateKey is.
func invalidKey(err error) *problem {
	p := problemf(kindInvalidPath, "%s", keyReason(err))
	switch {
	case errors.Is(err, fsm.ErrKeyTooLong):
		p = p.with("limit", fsm.MaxKeyBytes)
	case errors.Is(err, fsm.ErrKeyTooDeep):
		p = p.with("limit", fsm.MaxKeyDepth)
	}
	return p
}

// keyReason names the path and the rule of package fsm that it breaks.
func keyReason(err error) string {
	var ke *fsm.KeyError
	if !errors.As(err, &ke) {
		return err.Error()
	}
	return fmt.Sprintf("path %q %v", short(ke.Key), ke.Err)
}

// short is the beginning of what may be too long to show.
func short(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// checkText says what is wrong with a text of one line, or "".
func checkText(s string) string {
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "holds a control character"
	}
	return ""
}

// afterPrefix is the first string after all that begin with prefix, which ends
// in a slash; "" for the empty prefix, after which there is nothing.
func afterPrefix(prefix string) string {
	if prefix == "" {
		return ""
	}
	return prefix[:len(prefix)-1] + string(rune('/'+1))
}
