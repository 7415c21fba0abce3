package client

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const idempotencyKey = "Idempotency-Key"

// once gives the write r the key that all its attempts carry: the one the caller named, or
// a random one unless there is to be none. A chunked write has none.
func (r *request) once(key string, none, chunked bool) error {
	switch {
	case key != "" && chunked:
		return errSeveral
	case key != "" && none:
		return &RequestError{"IdempotencyKey and NoIdempotencyKey contradict each other"}
	case none, chunked:
		return nil
	case key == "":
		key = rand.Text() // 130 bits
	default:
		if err := CheckIdempotencyKey(key); err != nil {
			return err
		}
	}
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header[idempotencyKey] = []string{key}
	r.keyed, r.repeatable = true, true
	return nil
}

// errSeveral: what would be applied once is not one thing.
var errSeveral = &RequestError{"an idempotency key names one transaction, and a chunked request is several"}

// CheckIdempotencyKey returns nil if key may name a write: 1 to MaxIdempotencyKeyBytes
// visible ASCII characters; else a *RequestError.
func CheckIdempotencyKey(key string) error {
	switch {
	case key == "":
		return &RequestError{"the idempotency key is empty"}
	case len(key) > MaxIdempotencyKeyBytes:
		return &RequestError{fmt.Sprintf("the idempotency key has %d bytes, at most %d are allowed", len(key), MaxIdempotencyKeyBytes)}
	case strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }):
		return &RequestError{fmt.Sprintf("the idempotency key %q holds something else than visible ASCII characters", key)}
	}
	return nil
}

// tooOld tells whether a write that was first sent at first may not be sent again any more,
// though it has a key. Go's monotonic clock stops while a machine sleeps, the wall clock
// may be set: the greater of both is taken.
func tooOld(first, now time.Time) bool {
	return max(now.Sub(first), now.Round(0).Sub(first.Round(0))) >= MaxRetryAge
}
