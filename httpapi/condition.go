package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/confman/confman/fsm"
)

// condition is what a write demands of its key; the zero value demands nothing.
type condition struct {
	kind     fsm.CompareKind
	revision fsm.Revision
}

func (c condition) compares(key string) []fsm.Compare {
	if c.kind == 0 {
		return nil
	}
	return []fsm.Compare{{Kind: c.kind, Key: key, Revision: c.revision}}
}

// writeCondition reads If-Match and If-None-Match of a write. Lists and weak
// etags, which RFC 9110 allows, cannot be one atomic comparison and are refused.
func writeCondition(h http.Header) (condition, error) {
	match, hasMatch := single(h["If-Match"])
	none, hasNone := single(h["If-None-Match"])
	switch {
	case hasMatch && hasNone:
		return condition{}, invalidCondition("If-Match and If-None-Match contradict each other: send one")
	case hasNone && none == "*":
		return condition{kind: fsm.KeyAbsent}, nil
	case hasNone:
		return condition{}, invalidCondition("If-None-Match is %s, a write takes only *", orEmpty(none))
	case !hasMatch:
		return condition{}, nil
	case match == "*":
		return condition{kind: fsm.KeyExists}, nil
	case strings.HasPrefix(match, "W/"):
		return condition{}, invalidCondition("If-Match is %s: a weak etag never matches; send it without W/", match)
	case strings.Contains(match, ","):
		return condition{}, invalidCondition("If-Match is %s, a write takes one etag or *", match)
	}
	revision, _, ok := parseETag(match)
	if !ok {
		return condition{}, invalidCondition("If-Match is %s, want a revision in quotes as in an ETag", orEmpty(match))
	}
	return condition{kind: fsm.RevisionIs, revision: revision}, nil
}

// orEmpty is a header's value as a sentence can hold it.
func orEmpty(s string) string {
	if s == "" {
		return "empty"
	}
	return s
}

func invalidCondition(format string, args ...any) *problem {
	return problemf(kindInvalidCondition, format, args...)
}

// single joins a header's lines, as RFC 9110 §5.3 does.
func single(lines []string) (string, bool) {
	if len(lines) == 1 {
		return strings.TrimSpace(lines[0]), true
	}
	return strings.Join(lines, ", "), len(lines) > 0
}

// parseETag reads a strong etag of ours: a revision in quotes, as appendETag wrote it, and in
// which coding it was seen.
func parseETag(s string) (fsm.Revision, coding, bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' || s[1] < '1' || s[1] > '9' {
		return 0, identity, false
	}
	s = s[1 : len(s)-1]
	k := identity
	if i := strings.IndexByte(s, '-'); i >= 0 {
		if k = coding(max(0, slices.Index(codingSuffixes[:], s[i:]))); k != identity {
			s = s[:i]
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return fsm.Revision(n), k, err == nil
}

// listed tells whether a list of etags, or *, covers an existing key's revision, and the coding
// of the one that does.
func listed(lines []string, r fsm.Revision, weak bool) (coding, bool) {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if weak {
				tag = strings.TrimPrefix(tag, "W/")
			}
			if tag == "*" {
				return identity, true
			}
			if got, k, ok := parseETag(tag); ok && got == r {
				return k, true
			}
		}
	}
	return identity, false
}
