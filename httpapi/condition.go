package httpapi

import (
	"net/http"
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
		return condition{}, invalidCondition("If-None-Match is %s, a write takes only *", none)
	case !hasMatch:
		return condition{}, nil
	case match == "*":
		return condition{kind: fsm.KeyExists}, nil
	case strings.HasPrefix(match, "W/"):
		return condition{}, invalidCondition("If-Match is %s: a weak etag never matches; send it without W/", match)
	case strings.Contains(match, ","):
		return condition{}, invalidCondition("If-Match is %s, a write takes one etag or *", match)
	}
	revision, ok := parseETag(match)
	if !ok {
		return condition{}, invalidCondition("If-Match is %s, want a revision in quotes as in an ETag", match)
	}
	return condition{kind: fsm.RevisionIs, revision: revision}, nil
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

// parseETag reads a strong etag of ours: a revision in quotes, as appendETag wrote it.
func parseETag(s string) (fsm.Revision, bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' || s[1] < '1' || s[1] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:len(s)-1], 10, 64)
	return fsm.Revision(n), err == nil
}

// noneMatch tells whether If-None-Match of a read names the revision (weak
// comparison): then the client has the value already.
func noneMatch(lines []string, r fsm.Revision) bool {
	return len(lines) > 0 && listed(lines, r, true)
}

// listed tells whether a list of etags, or *, covers an existing key's revision.
func listed(lines []string, r fsm.Revision, weak bool) bool {
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if weak {
				tag = strings.TrimPrefix(tag, "W/")
			}
			if tag == "*" {
				return true
			}
			if got, ok := parseETag(tag); ok && got == r {
				return true
			}
		}
	}
	return false
}
