package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// checkText says what is wrong with a text of an Identity.
func checkText(text string) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > MaxTextBytes:
		return fmt.Errorf("has %d bytes, at most %d", len(text), MaxTextBytes)
	case strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("has control characters")
	case strings.ContainsRune(text, utf8.RuneError):
		// Also what a lone surrogate becomes: two names would become one.
		return errors.New("has characters that are not Unicode")
	}
	return nil
}

// text is the claim as text; "" if it is absent.
func (o object) text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	var text string
	// Of null, encoding/json would make an empty text.
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", refuse(BadClaim, "%s is not a text", name)
	}
	if err := checkText(text); err != nil {
		return "", refuse(BadClaim, "%s %v", name, err)
	}
	return text, nil
}

// required is the claim as text, which must be there.
func (o object) required(name string) (string, error) {
	text, err := o.text(name)
	if err == nil && text == "" {
		return "", refuse(MissingClaim, "the token has no %s", name)
	}
	return text, err
}

// list is the claim as a list of texts; nil if it is absent.
func (o object) list(name string) ([]string, error) {
	raw, ok := o[name]
	if !ok {
		return nil, nil
	}
	var items []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return nil, refuse(BadClaim, "%s is not a list", name)
	}
	texts := make([]string, len(items))
	for n, item := range items {
		if item[0] != '"' || json.Unmarshal(item, &texts[n]) != nil {
			return nil, refuse(BadClaim, "%s has a member that is not a text", name)
		}
		if err := checkText(texts[n]); err != nil {
			return nil, refuse(BadClaim, "%s has a member that %v", name, err)
		}
	}
	return texts, nil
}

// listOrText is a list, or the only member of one (RFC 7519, section 4.1.3).
func (o object) listOrText(name string) ([]string, error) {
	if raw := o[name]; len(raw) > 0 && raw[0] == '"' {
		text, err := o.text(name)
		return []string{text}, err
	}
	if raw := o[name]; len(raw) > 0 && raw[0] != '[' {
		return nil, refuse(BadClaim, "%s is neither a text nor a list of texts", name)
	}
	return o.list(name)
}

// words is the claim as words with spaces between, and nothing else that Unicode has for one (RFC
// 6749, section 3.3); present tells an empty text from none.
func (o object) words(name string) (words []string, present bool, err error) {
	raw, present := o[name]
	if !present {
		return nil, false, nil
	}
	if string(raw) == `""` {
		return nil, true, nil
	}
	var text string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return nil, true, refuse(BadClaim, "%s is not a text", name)
	}
	words = keep(strings.Split(text, " "), func(word string) bool { return word != "" })
	if n := len(words); n > MaxScopes {
		return nil, true, refuse(BadClaim, "%s has %d words, at most %d", name, n, MaxScopes)
	}
	for _, word := range words {
		if err := checkText(word); err != nil {
			return nil, true, refuse(BadClaim, "%s has a word that %v", name, err)
		}
	}
	return words, true, nil
}

// time is the claim as a time (RFC 7519, NumericDate); present is false if it is absent.
func (o object) time(name string) (at time.Time, present bool, err error) {
	raw, present := o[name]
	if !present {
		return at, false, nil
	}
	const (
		year10000 = 253402300800
		nanos     = 1e9
	)
	seconds, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || seconds < 0 || seconds >= year10000 {
		return at, true, refuse(BadClaim, "%s is not a number of seconds since 1970", name)
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*nanos)), true, nil
}

// flag is the claim as a boolean; false if it is absent.
func (o object) flag(name string) (bool, error) {
	switch raw, ok := o[name]; {
	case !ok || string(raw) == "false":
		return false, nil
	case string(raw) == "true":
		return true, nil
	}
	return false, refuse(BadClaim, "%s is neither true nor false", name)
}

func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}
