package httpapi

import (
	"net/http"
	"strconv"
	"strings"
)

// accepted picks the type of offers that the request's Accept header wants most;
// the first of those wanted alike. No header, or */*, means the first. It returns
// -1 if none will do.
func accepted(r *http.Request, offers ...string) int {
	lines := r.Header["Accept"]
	if len(lines) == 0 || len(lines) == 1 && (lines[0] == "*/*" || lines[0] == offers[0]) {
		return 0
	}
	best, bestQ := -1, 0.0
	for i, offer := range offers {
		if q := quality(lines, offer); q > bestQ {
			best, bestQ = i, q
		}
	}
	return best
}

// quality is how much the header wants a type, from 0 to 1 (RFC 9110 §12.5.1).
// The most specific range that covers the type decides.
func quality(lines []string, offer string) float64 {
	major, _, _ := strings.Cut(offer, "/")
	q, rank := 0.0, 0
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			media, params, _ := strings.Cut(item, ";")
			media = strings.ToLower(strings.TrimSpace(media))
			r := 0
			switch media {
			case offer:
				r = 3
			case major + "/*":
				r = 2
			case "*/*":
				r = 1
			}
			if r > rank {
				q, rank = weight(params), r
			}
		}
	}
	return q
}

// weight is the q parameter; one that cannot be read counts as 1.
func weight(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			if q, err := strconv.ParseFloat(strings.TrimSpace(value), 64); err == nil && q >= 0 && q <= 1 {
				return q
			}
		}
	}
	return 1
}

func notAcceptable(offers ...string) *problem {
	return problemf(kindNotAcceptable, "the Accept header leaves none of %s", strings.Join(offers, ", ")).
		with("available", offers)
}
